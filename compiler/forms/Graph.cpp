// Reads a pattern into stages and puts everything static into its expressions:
//
//   score { cap * tanh(s * rsqrt(D) / cap) }, D = 128, cap = 50.0
//     ->  50 * tanh(s * 0.0883883 / 50)
//   features k [rope]   ->  stage map k' over T x Hk x D, then the mix of q, k', v
#include "compiler/forms/Graph.h"

#include "compiler/forms/Features.h"
#include "compiler/forms/Program.h"
#include "compiler/forms/ScanFeatures.h"

#include <fmt/format.h>

#include <cmath>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

namespace {

template <typename... Args> Error unsupported(fmt::format_string<Args...> text, Args &&...args) {
  return {ErrorCode::Unsupported, fmt::format(text, std::forward<Args>(args)...)};
}

Type elementOf(MLIRContext *context, DType type) {
  switch (type) {
  case DType::F64:
    return Float64Type::get(context);
  case DType::F32:
    return Float32Type::get(context);
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F16:
    return Float16Type::get(context);
  case DType::F8E4M3:
    return Float8E4M3FNType::get(context);
  case DType::F8E5M2:
    return Float8E5M2Type::get(context);
  case DType::I64:
    return IntegerType::get(context, 64);
  case DType::I32:
    return IntegerType::get(context, 32);
  case DType::I8:
    return IntegerType::get(context, 8);
  case DType::U8:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  }
  return Float32Type::get(context);
}

bool isProductElement(Type type) { return isa<Float32Type, BFloat16Type, Float16Type>(type); }

/// Whether an expression is worth computing again each time an operand is read.
bool isCheap(Expr expr) {
  bool cheap = true;
  pattern::walk(expr, [&](Expr e) {
    bool slow = e.is(ExprKind::Call) &&
                llvm::is_contained({"sin", "cos", "exp", "log", "tanh", "pow", "sigmoid", "silu"},
                                   e.getName());
    cheap &= !pattern::isReduction(e.getKind()) && !e.is(ExprKind::Member) && !slow;
    return cheap;
  });
  return cheap;
}

bool reduces(Expr expr) {
  bool found = false;
  pattern::walk(expr, [&](Expr e) {
    found |= pattern::isReduction(e.getKind()) || e.is(ExprKind::Member);
    return !found;
  });
  return found;
}

class Reader {
public:
  Reader(const FormRequest &request, MixAs mixes)
      : request(request), mixes(mixes), def(request.def), context(def.getContext()) {
    graph.context = context;
  }

  Result<Graph> run() {
    HEDDLE_CHECK(readScalars());
    HEDDLE_CHECK(readSignature());
    for (Operation &op : def.getBody().front()) {
      if (auto map = dyn_cast<pattern::MapOp>(op))
        HEDDLE_CHECK(readMap(map));
      else if (auto mix = dyn_cast<pattern::MixOp>(op))
        HEDDLE_CHECK(mixes == MixAs::Scan ? readScan(mix) : readMix(mix));
      else if (auto merge = dyn_cast<pattern::MergeOp>(op))
        HEDDLE_CHECK(readMerge(merge));
      else if (auto select = dyn_cast<pattern::SelectOp>(op))
        HEDDLE_CHECK(readSelect(select));
    }
    return std::move(graph);
  }

private:
  // ---- scalars ----

  Expr numberExpr(double value, bool integer) {
    return integer ? makeInteger(context, int64_t(value)) : pattern::makeFloat(context, value);
  }

  Status readScalars() {
    using pattern::ExprType;
    for (auto [name, extent] : request.request.dims)
      graph.statics[name] = makeInteger(context, extent);
    for (Attribute attribute : def.getParams()) {
      auto param = cast<pattern::ParamAttr>(attribute);
      std::string name = param.getName().str();
      if (!param.getConstant()) {
        graph.params.push_back({name, param.getInteger(), param.required() ? 0.0 : param.number()});
        graph.scope.names[name] = param.getInteger() ? ExprType::Integer : ExprType::Real;
        continue;
      }
      auto given = request.request.constants.find(name);
      if (given == request.request.constants.end() && param.required())
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("constant {} has no value and no default, give one", name)};
      double value = given == request.request.constants.end() ? param.number() : given->second;
      if (!std::isfinite(value))
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("constant {} is {}, expected a finite number", name, value)};
      graph.statics[name] = numberExpr(value, param.getInteger());
    }
    for (Attribute attribute : def.getLets()) {
      auto let = cast<pattern::LetAttr>(attribute);
      graph.statics[let.getName()] = graph.specialise(let.getExpr());
    }
    for (const char *name : {"i", "j", "row", "b", "h", "hk", "hq", "hv", "d"})
      graph.scope.names[name] = ExprType::Integer;
    graph.scope.names["s"] = ExprType::Real;
    return {};
  }

  /// An extent of an argument or a result: its dims become known.
  Result<Extent> declaredExtent(Expr dim) {
    Extent extent = graph.extentOf(dim);
    if (extent.formula)
      return unsupported("extent {} of an argument is a formula, expected a name or a number",
                         extent.formula.str());
    if (!extent.fixed && !llvm::is_contained(graph.extents, extent.name)) {
      graph.extents.push_back(extent.name);
      graph.scope.names[extent.name] = pattern::ExprType::Integer;
    }
    return extent;
  }

  // ---- tensors ----

  Type requested(llvm::StringRef name) {
    const auto &dtypes = request.request.dtypes;
    auto found = dtypes.contains(name.str()) ? dtypes.find(name.str()) : dtypes.find("*");
    return elementOf(context, found == dtypes.end() ? DType::F32 : found->second);
  }

  Result<ProblemTensor> declared(llvm::StringRef name, pattern::ArrayType type) {
    ProblemTensor tensor;
    tensor.name = name.str();
    tensor.batched = type.getBatched();
    tensor.element = type.getElement() ? type.getElement() : requested(name);
    if (tensor.batched) {
      HEDDLE_TRY(batch, declaredExtent(pattern::makeDim(context, "B")));
      tensor.shape.push_back(batch);
    }
    for (size_t n = 0; n < type.rank(); ++n) {
      HEDDLE_TRY(extent, declaredExtent(type.dim(n)));
      tensor.shape.push_back(extent);
    }
    return tensor;
  }

  Status readSignature() {
    for (size_t n = 0; n < def.numArguments(); ++n) {
      HEDDLE_TRY(tensor, declared(def.argumentName(n), def.argumentType(n)));
      graph.add(std::move(tensor));
    }
    for (Value value : def.returned().getResults()) {
      if (!value.getDefiningOp())
        return unsupported("the pattern returns its argument {}", pattern::valueName(value).str());
      HEDDLE_TRY(tensor, declared(pattern::valueName(value), pattern::arrayType(value)));
      tensor.isResult = true;
      graph.add(std::move(tensor));
    }
    return {};
  }

  Status addBuffer(std::string name, bool batched, std::vector<Extent> shape, Type element) {
    ProblemTensor tensor{std::move(name), element, batched, false, true, {}};
    if (batched)
      tensor.shape.push_back({std::nullopt, "B", {}});
    if (batched)
      if (auto fixed = graph.statics.find("B"); fixed != graph.statics.end())
        tensor.shape[0] = graph.extentOf(fixed->second);
    tensor.shape.insert(tensor.shape.end(), shape.begin(), shape.end());
    for (const Extent &extent : tensor.shape)
      if (std::string reason = refuseExtent(graph, extent); !reason.empty())
        return unsupported("{}", reason);
    graph.add(std::move(tensor));
    return {};
  }

  /// The tensor of a value of the pattern: a result, or workspace made for it.
  Status ensureTensor(Value value, Type element) {
    std::string name = pattern::valueName(value).str();
    if (graph.find(name))
      return {};
    pattern::ArrayType type = pattern::arrayType(value);
    std::vector<Extent> shape;
    for (size_t n = 0; n < type.rank(); ++n)
      shape.push_back(graph.extentOf(type.dim(n)));
    return addBuffer(name, type.getBatched(), shape, element);
  }

  std::string freshName(std::string name) {
    while (graph.find(name))
      name += "_";
    return name;
  }

  // ---- maps ----

  /// An expression with its reads by the values' own names and everything static put in.
  Expr readExpr(Expr expr, ValueRange reads, ArrayAttr names) {
    llvm::StringMap<std::string> values;
    for (auto [value, name] : llvm::zip(reads, names))
      values[cast<StringAttr>(name).getValue()] = pattern::valueName(value).str();
    return expr ? graph.specialise(
                      throughMasks(pattern::renameTensors(pattern::expandLets(expr), values)))
                : expr;
  }

  /// Memberships in selected lists as reads of the masks that stand for them.
  Expr throughMasks(Expr expr) {
    if (expr.is(ExprKind::Member))
      if (auto mask = masks.find(expr[1].getName()); mask != masks.end()) {
        std::vector<Expr> at = expr[1].children();
        at.push_back(throughMasks(expr[0]));
        return makeBinary(ExprKind::Eq, read(mask->second, at), makeInteger(context, 1));
      }
    llvm::SmallVector<Attribute> children;
    bool changed = false;
    for (Expr child : expr.children()) {
      Expr next = throughMasks(child);
      changed |= next != child;
      children.push_back(next);
    }
    return changed ? Expr::get(context, expr.getKind(), expr.getSymbol(), expr.getValue(), children)
                   : expr;
  }

  // ---- selections ----

  /// A list of the best candidates is a mask over all of them: the score of each in workspace, then
  ///   mask[row, n] = visible and (how many candidates come before n) < k
  /// where larger scores come first, then smaller numbers, and forced candidates before all.
  Status readSelect(pattern::SelectOp op) {
    if (op.getStrategy() != pattern::SelectStrategy::top)
      return unsupported("select {} is not lowered yet",
                         pattern::stringifySelectStrategy(op.getStrategy()).str());
    auto ready = [&](Expr expr) { return readExpr(expr, op.getReads(), op.getReadNames()); };
    std::vector<std::string> vars;
    llvm::SmallVector<Expr> at;
    std::vector<Extent> shape;
    for (auto [name, extent] : llvm::zip(op.getVars(), op.getExtents())) {
      vars.push_back(cast<StringAttr>(name).getValue().str());
      at.push_back(makeVar(context, vars.back()));
      shape.push_back(graph.extentOf(cast<Expr>(extent)));
    }
    auto number = [&](double value) { return pattern::makeFloat(context, value); };
    Expr score = ready(op.getScoreAttr());
    if (Expr forced = ready(op.getForcedAttr()))
      score = call("select", {forced, number(3.0e38), score});
    if (Expr visible = ready(op.getVisibleAttr()))
      score = call("select", {visible, score, number(-3.3e38)});
    bool batched = pattern::arrayType(op.getList()).getBatched();
    std::string list = pattern::valueName(op.getList()).str();
    std::string scores = freshName(list + "_score"), mask = freshName(list + "_mask");
    HEDDLE_CHECK(addBuffer(scores, batched, shape, Float32Type::get(context)));
    HEDDLE_CHECK(addBuffer(mask, batched, shape, IntegerType::get(context, 8)));
    graph.stages.push_back(MapStage{scores, vars, score, "scores of candidates"});
    Expr n = at.back(), m = makeVar(context, "m'");
    llvm::SmallVector<Expr> other(at);
    other.back() = m;
    Expr mine = read(scores, at), theirs = read(scores, other);
    Expr before = makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                             makeBinary(ExprKind::And, makeBinary(ExprKind::Eq, theirs, mine),
                                        makeBinary(ExprKind::Lt, m, n)));
    Expr rank = pattern::makeReduction(ExprKind::Sum, "m'", makeInteger(context, 0),
                                       graph.lengthExpr(shape.back()),
                                       call("select", {before, number(1), number(0)}));
    Expr count = graph.specialise(op.getCountAttr());
    Expr chosen = makeBinary(ExprKind::And, makeBinary(ExprKind::Gt, mine, number(-3.1e38)),
                             makeBinary(ExprKind::Lt, rank, count));
    Expr bit = call("select", {chosen, makeInteger(context, 1), makeInteger(context, 0)});
    graph.stages.push_back(MapStage{mask, vars, graph.specialise(bit), "the best of them"});
    masks[list] = mask;
    return {};
  }

  /// The role of the only mix that reads the value, once and as an operand; empty if there is none.
  std::string onlyRole(Value value) {
    if (!value.hasOneUse())
      return "";
    auto mix = dyn_cast<pattern::MixOp>(*value.user_begin());
    for (const char *role : {"q", "k", "v"})
      if (mix && mix.input(role) == value)
        return role;
    return "";
  }

  /// Whether the value, an operand of one mix, is multiplied by an argument as it is: then it is
  /// rounded as arguments are. What is made of codes is not rounded twice.
  bool meetsArgument(Value value, const std::string &role) {
    auto mix = cast<pattern::MixOp>(*value.user_begin());
    Value other = role == "k" ? mix.getQ() : mix.getK();
    return role == "v" || isa<BlockArgument>(other);
  }

  bool readsCodes(Expr expr) {
    for (const std::string &name : pattern::tensorsOf(expr))
      if (const ProblemTensor *tensor = graph.find(name);
          tensor && tensor->element.getIntOrFloatBitWidth() == 8)
        return true;
    return false;
  }

  Status readMap(pattern::MapOp op) {
    MapStage stage;
    stage.name = pattern::valueName(op.getOutput()).str();
    for (Attribute name : op.getVars())
      stage.vars.push_back(cast<StringAttr>(name).getValue().str());
    stage.expr = readExpr(op.getExpr(), op.getReads(), op.getReadNames());
    pattern::ArrayType type = pattern::arrayType(op.getOutput());
    std::string role = onlyRole(op.getOutput());
    bool asOperand = type.rank() == 3 && type.getBatched();
    bool fused = asOperand && mixes == MixAs::Pairs &&
                 ((role == "q" && !reduces(stage.expr)) ||
                  ((role == "k" || role == "v") && isCheap(stage.expr) && readsCodes(stage.expr)));
    if (fused) {
      inlined[op.getOutput().getAsOpaquePointer()] = std::move(stage);
      return {};
    }
    // What only products read is rounded as an argument would be; gates and decays stay f32.
    Type element = type.getElement() ? type.getElement() : Float32Type::get(context);
    if (!role.empty() && element.isF32() && meetsArgument(op.getOutput(), role))
      element = requested(stage.name);
    HEDDLE_CHECK(ensureTensor(op.getOutput(), element));
    graph.stages.push_back(std::move(stage));
    return {};
  }

  // ---- merges ----

  Expr read(llvm::StringRef tensor, llvm::ArrayRef<Expr> at) {
    return pattern::makeRead(context, tensor, at);
  }
  Expr call(const char *function, llvm::ArrayRef<Expr> x) {
    return pattern::makeCall(context, function, x);
  }
  Expr sumOf(Expr x, Expr y) { return makeBinary(ExprKind::Add, x, y); }
  Expr times(Expr x, Expr y) { return makeBinary(ExprKind::Mul, x, y); }
  Expr minus(Expr x, Expr y) { return makeBinary(ExprKind::Sub, x, y); }

  /// Maps over the parts: o = sum e^{L_a - L} o_a, L = log sum e^{L_a}. A part of -inf, and its
  /// o, weigh nothing.
  Status readMerge(pattern::MergeOp op) {
    std::vector<std::string> names;
    for (Value input : op.getInputs())
      names.push_back(pattern::valueName(input).str());
    llvm::SmallVector<Expr> at{makeVar(context, "t"), makeVar(context, "h"), makeVar(context, "e")};
    llvm::ArrayRef<Expr> row = llvm::ArrayRef<Expr>(at).drop_back();
    Expr zero = pattern::makeFloat(context, 0), o, lse;
    if (op.getKind() == pattern::MergeKind::sum) {
      for (const std::string &name : names)
        o = o ? sumOf(o, read(name, at)) : read(name, at);
    } else {
      llvm::SmallVector<Expr> logs;
      for (size_t a = 1; a < names.size(); a += 2)
        logs.push_back(read(names[a], row));
      Expr most = logs.size() > 1 ? call("max", logs) : logs[0];
      Expr none = makeBinary(ExprKind::Lt, most, pattern::makeFloat(context, -3.0e38));
      Expr base = call("select", {none, zero, most}), weights, weighted;
      for (size_t a = 0; a < logs.size(); ++a) {
        Expr w = call("exp", {minus(logs[a], base)});
        Expr part = times(w, read(names[2 * a], at));
        weights = weights ? sumOf(weights, w) : w;
        weighted = weighted ? sumOf(weighted, part) : part;
      }
      o = call("select", {none, zero, makeBinary(ExprKind::Div, weighted, weights)});
      lse = call("select", {none, most, sumOf(base, call("log", {weights}))});
    }
    for (auto [n, output] : llvm::enumerate(op.getOutputs())) {
      Expr expr = n == 0 ? o : lse;
      HEDDLE_CHECK(ensureTensor(output, Float32Type::get(context)));
      const ProblemTensor &tensor = *graph.find(pattern::valueName(output));
      std::vector<std::string> vars{"t", "h", "e"};
      if (tensor.rank() != (n == 0 ? 3u : 2u))
        return unsupported("merge of results that are not [T, H, width]");
      vars.resize(tensor.rank());
      graph.stages.push_back(MapStage{tensor.name, vars, expr, "joins partial results"});
    }
    return {};
  }

  // ---- mix ----

  Status checkAttributes(pattern::MixOp mix) {
    if (mix.getUpdate() != pattern::UpdateKind::add)
      return unsupported("update {}: a weight of pairs would need the inverse of a triangular "
                         "matrix; it has a recurrent and a chunked form only",
                         pattern::stringifyUpdateKind(mix.getUpdate()).str());
    if (mix.getWrites() || mix.getReadouts())
      return unsupported("subtokens are not lowered yet");
    if (mix.getLayout() == pattern::LayoutKind::ring)
      return unsupported("layout {} is not lowered yet",
                         pattern::stringifyLayoutKind(mix.getLayout()).str());
    for (Attribute role : mix.getRoles()) {
      llvm::StringRef name = cast<StringAttr>(role).getValue();
      static constexpr llvm::StringRef kKnown[] = {"q",        "k",    "v",    "decay",  "bonus",
                                                   "in_state", "in_z", "cu_q", "cu_k",   "table",
                                                   "indptr",   "len",  "gate", "router", "pooled"};
      if (!llvm::is_contained(kKnown, name))
        return unsupported("input {} of the mix is not lowered yet", name.str());
    }
    pattern::DecayKind decay = mix.getDecay();
    if (decay == pattern::DecayKind::channel)
      return unsupported("decay channel: a weight for each pair of features is not lowered yet");
    bool diagonal = decay == pattern::DecayKind::diag;
    if (diagonal && (mix.getDecaySymmetric() || mix.getWeight() == pattern::WeightKind::exp))
      return unsupported("decay diag, symmetric or under weight exp, is not lowered yet");
    if (mix.getRead() != pattern::ReadKind::post && !diagonal)
      return unsupported("read bonus without decay diag is not lowered yet");
    for (Value output : mix.getOutputs()) {
      unsigned index = cast<OpResult>(output).getResultNumber();
      llvm::StringRef role = cast<StringAttr>(mix.getResultRoles()[index]).getValue();
      if (role != "o" && role != "lse" && role != "state" && role != "z" && !output.use_empty())
        return unsupported("result {} ({}) is a state; the attention form has none",
                           pattern::valueName(output).str(), role.str());
    }
    return {};
  }

  /// Width, heads and length of an operand as its type has them.
  struct Shape {
    Extent length, heads, width;
  };
  Result<Shape> shapeOf(pattern::MixOp mix, Value value, const char *role) {
    pattern::ArrayType type = pattern::arrayType(value);
    if (role[0] != 'q' && mix.getLayout() == pattern::LayoutKind::paged) {
      if (type.rank() != 4 || !isa<BlockArgument>(value))
        return unsupported("operand {} of the mix is no argument [pages, slots, H, D]", role);
      bool headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
      return Shape{Extent(), graph.extentOf(type.dim(headsFirst ? 1 : 2)),
                   graph.extentOf(type.dim(3))};
    }
    if (type.rank() != 3)
      return unsupported("operand {} of the mix is not [B, T, H, D]", role);
    return Shape{graph.extentOf(type.dim(0)), graph.extentOf(type.dim(1)),
                 graph.extentOf(type.dim(2))};
  }

  Status fixed(const char *what, const Extent &extent, int64_t &value) {
    if (!extent.fixed)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} {} is not fixed by the request, give it as a static dim", what,
                               graph.lengthExpr(extent).str())};
    value = *extent.fixed;
    return {};
  }

  Expr rename(Expr expr, std::initializer_list<std::pair<std::string, Expr>> names) {
    llvm::StringMap<Expr> map;
    for (const auto &[name, value] : names)
      map[name] = value;
    return expr ? pattern::substitute(expr, map) : expr;
  }

  /// What stands at feature `d` of operand `role`, before its feature maps: null for a plain tensor
  /// element. Token and head are the variables `token` and `head`.
  Expr elementExpr(MixProblem &problem, Value value, const char *role, const char *token,
                   const char *head, Expr codec) {
    Expr t = makeVar(context, token), h = makeVar(context, head), d = makeVar(context, "d");
    auto found = inlined.find(value.getAsOpaquePointer());
    Expr expr;
    if (found != inlined.end()) {
      const MapStage &stage = found->second;
      expr = rename(stage.expr, {{stage.vars[0], t}, {stage.vars[1], h}, {stage.vars[2], d}});
    }
    if (codec) {
      Expr x = expr ? expr : read(pattern::valueName(value), {t, h, d});
      expr = rename(readExpr(codec, problem.mix.getReads(), problem.mix.getReadNames()),
                    {{"x", x}, {"hk", h}, {role[0] == 'q' ? "h" : "hk", h}});
    }
    return expr;
  }

  Status readOperand(MixProblem &problem, Operand &operand, Value value, const char *role,
                     const char *token, const char *head, Expr codec, ArrayAttr features) {
    HEDDLE_TRY(shape, shapeOf(problem.mix, value, role));
    operand.heads = shape.heads;
    HEDDLE_CHECK(fixed("head size", shape.width, operand.width));
    Expr base = elementExpr(problem, value, role, token, head, codec);
    if (!base) {
      operand.tensor = pattern::valueName(value).str();
      if (!isProductElement(graph.find(operand.tensor)->element))
        return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", role);
    }
    operand.value = base;
    if (features && !features.empty())
      HEDDLE_CHECK(mapFeatures(problem, operand, role, token, head, features, shape));
    return {};
  }

  Status mapFeatures(MixProblem &problem, Operand &operand, const char *role, const char *token,
                     const char *head, ArrayAttr features, const Shape &shape) {
    Expr t = makeVar(context, token), h = makeVar(context, head), d = makeVar(context, "d");
    FeatureRow row;
    row.width = makeInteger(context, operand.width);
    row.at = [this, base = operand.value, name = operand.tensor, t, h](Expr feature) {
      return base ? rename(base, {{"d", feature}}) : read(name, {t, h, feature});
    };
    // Arguments of features name the head of the output where operands have fewer.
    if (role[0] == 'k' && problem.Hk != problem.H)
      for (Attribute feature : features)
        for (NamedAttribute argument : cast<pattern::FeatureAttr>(feature).getArguments())
          if (auto expr = dyn_cast<Expr>(argument.getValue());
              expr && llvm::is_contained(pattern::freeVars(expr), "h"))
            return unsupported("a feature of k reads the query head h");
    std::string refused;
    row = applyFeatures(graph, features, std::move(row),
                        makeVar(context, role[0] == 'q' ? "i" : "j"), refused);
    if (!refused.empty())
      return unsupported("feature map {} of {} alone is not lowered yet", refused, role);
    Extent width = graph.extentOf(row.width);
    HEDDLE_CHECK(fixed("width after the feature maps", width, operand.width));
    Expr expr = readExpr(row.at(d), problem.mix.getReads(), problem.mix.getReadNames());
    expr = rename(expr, {{"len_q", graph.lengthExpr(problem.Tq)},
                         {"len_k", graph.lengthExpr(problem.Tk)},
                         {role[0] == 'q' ? "h" : "hk", h},
                         {"h", h}});
    expr = graph.specialise(expr);
    bool query = role[0] == 'q';
    if ((query && !reduces(expr)) || isCheap(expr)) {
      operand.value = expr;
      operand.tensor.clear();
      return {};
    }
    std::string name = freshName(fmt::format("{}_of_{}", role, problem.o));
    HEDDLE_CHECK(addBuffer(name, true, {shape.length, shape.heads, width}, requested("")));
    if (query && problem.bottomRight) // positions of bottom-right rows
      expr = rename(
          expr,
          {{"i", sumOf(t, minus(graph.lengthExpr(problem.Tk), graph.lengthExpr(problem.Tq)))}});
    else if (query)
      expr = rename(expr, {{"i", t}});
    graph.stages.push_back(
        MapStage{name,
                 {token, head, "d"},
                 graph.specialise(expr),
                 query ? "features of q that join a whole row"
                       : "features of k, which every tile of queries reads again"});
    operand.tensor = name;
    operand.value = {};
    return {};
  }

  Status readLayout(MixProblem &problem) {
    pattern::MixOp mix = problem.mix;
    Expr b = makeVar(context, "b"), one = makeInteger(context, 1);
    auto tensor = [&](const char *role) { return pattern::valueName(mix.input(role)); };
    bool plain = mix.getFeaturesQ().empty() && mix.getFeaturesK().empty() &&
                 mix.getDecay() == pattern::DecayKind::None && !mix.getCodecQ() &&
                 !mix.getCodecK() && !mix.getCodecV();
    if (mix.getLayout() != pattern::LayoutKind::dense && !plain)
      return unsupported("feature maps, codecs and decays beside layout {} are not lowered yet",
                         pattern::stringifyLayoutKind(mix.getLayout()).str());
    if (mix.getLayout() == pattern::LayoutKind::varlen) {
      // Sequence b owns rows cu[b] .. cu[b + 1] of the packed tensors.
      const ProblemTensor &cu = *graph.find(tensor("cu_q"));
      problem.B = graph.extentOf(minus(graph.lengthExpr(cu.dim(0)), one));
      auto at = [&](const char *role, Expr n) { return read(tensor(role), {n}); };
      problem.startQ = at("cu_q", b), problem.startK = at("cu_k", b);
      problem.lenQ = minus(at("cu_q", sumOf(b, one)), problem.startQ);
      problem.lenK = minus(at("cu_k", sumOf(b, one)), problem.startK);
    } else if (mix.getLayout() == pattern::LayoutKind::paged) {
      pattern::ArrayType type = pattern::arrayType(mix.getK());
      problem.paging.headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
      Extent slots = graph.extentOf(type.dim(problem.paging.headsFirst ? 2 : 1));
      HEDDLE_CHECK(fixed("page size", slots, problem.paging.block));
      problem.paging.table = tensor("table").str();
      const ProblemTensor &table = *graph.find(problem.paging.table);
      problem.lenK = read(tensor("len"), {b});
      if (mix.input("indptr"))
        problem.paging.first = read(tensor("indptr"), {b});
      // No sequence has more keys than its table has slots.
      problem.Tk = graph.extentOf(
          times(graph.lengthExpr(table.dim(0)), makeInteger(context, problem.paging.block)));
    }
    return {};
  }

  Status readGroup(MixProblem &problem) {
    if (problem.Hq == problem.Hk) {
      problem.G = 1;
    } else if (problem.Hq.fixed && problem.Hk.fixed) {
      if (*problem.Hk.fixed <= 0 || *problem.Hq.fixed % *problem.Hk.fixed != 0)
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("{} query heads are no multiple of {} key heads",
                                 *problem.Hq.fixed, *problem.Hk.fixed)};
      problem.G = *problem.Hq.fixed / *problem.Hk.fixed;
    } else if (auto group = request.request.dims.find("G"); group != request.request.dims.end() &&
                                                            problem.Hq.name == "Hq" &&
                                                            problem.Hk.name == "Hk") {
      problem.G = group->second;
    } else {
      problem.G = 0; // known at run time only
    }
    return {};
  }

  Status readMix(pattern::MixOp mix) {
    HEDDLE_CHECK(checkAttributes(mix));
    MixProblem problem;
    problem.mix = mix;
    if (Value o = mix.output("o"); o && (!o.use_empty()))
      problem.o = pattern::valueName(o).str();
    if (Value lse = mix.output("lse"); lse && !lse.use_empty())
      problem.lse = pattern::valueName(lse).str();
    if (problem.o.empty() && mix.output("o"))
      problem.o = pattern::valueName(mix.output("o")).str();
    HEDDLE_TRY(q, shapeOf(mix, mix.getQ(), "q"));
    HEDDLE_TRY(k, shapeOf(mix, mix.getK(), "k"));
    problem.B = graph.extentOf(pattern::makeDim(context, "B"));
    problem.Tq = q.length, problem.Hq = q.heads;
    problem.Tk = k.length, problem.Hk = k.heads;
    problem.H = graph.extentOf(mix.outputHeads());
    problem.bottomRight = mix.getAlign() == pattern::Align::bottom_right;
    HEDDLE_CHECK(readLayout(problem));
    if (!pattern::arrayType(mix.getQ()).getBatched() && !problem.startQ)
      return unsupported("queries without a batch are not lowered yet");
    for (Value output : mix.getOutputs())
      if (!output.use_empty() || output == mix.output("o"))
        HEDDLE_CHECK(ensureTensor(output, Float32Type::get(context)));
    HEDDLE_CHECK(readGroup(problem));
    Expr score = readExpr(mix.getScoreAttr(), mix.getReads(), mix.getReadNames());
    ArrayAttr featuresQ = mix.getFeaturesQ(), featuresK = mix.getFeaturesK();
    foldProductFeatures(graph, featuresQ, featuresK, score);
    HEDDLE_CHECK(readOperand(problem, problem.q, mix.getQ(), "q", "row", "hq", mix.getCodecQAttr(),
                             featuresQ));
    HEDDLE_CHECK(readOperand(problem, problem.k, mix.getK(), "k", "j", "hk", mix.getCodecKAttr(),
                             featuresK));
    HEDDLE_CHECK(readValues(problem));
    problem.D = problem.q.width, problem.Dv = problem.v.width;
    if (problem.D != problem.k.width)
      return unsupported("queries have {} features and keys {}", problem.D, problem.k.width);
    HEDDLE_CHECK(chooseElement(problem));
    HEDDLE_CHECK(readExpressions(problem, score));
    HEDDLE_CHECK(readStates(problem, featuresQ, featuresK));
    static_cast<PatternProblem &>(problem) = graph;
    graph.stages.push_back(std::move(problem));
    return {};
  }

  // ---- segments ----

  /// The factor of a pair that segments and their gates give:
  ///   running bank    sum over the segments n that hold key j's state of gate[row, n]
  ///   frozen bank     the same with the decay of segment n up to its last token alone
  Status readSegments(MixProblem &problem) {
    pattern::MixOp mix = problem.mix;
    pattern::SegmentKind kind = mix.getSegment();
    if (kind == pattern::SegmentKind::None)
      return {};
    bool plain = mix.getWeight() == pattern::WeightKind::id && !problem.product &&
                 problem.Tq == problem.Tk && !mix.getDecaySymmetric() && !problem.lenQ;
    if (!plain)
      return unsupported("segments beside weights other than id, a decay for each feature or two "
                         "lengths are not lowered yet");
    Expr i = makeVar(context, "i"), j = makeVar(context, "j"), h = makeVar(context, "h");
    if (kind == pattern::SegmentKind::fenwick) {
      if (mix.getGate() != pattern::GateKind::given)
        return unsupported("fenwick segments without given gates are not lowered yet");
      Expr level = call("bitlen", {call("bitxor", {i, j})});
      problem.gate = read(pattern::valueName(mix.input("gate")), {i, h, level});
      return {};
    }
    if (kind != pattern::SegmentKind::constant)
      return unsupported("segments {} are not lowered yet",
                         pattern::stringifySegmentKind(kind).str());
    Expr length = graph.specialise(mix.getSegmentArgAttr());
    auto segmentOf = [&](Expr x) { return makeBinary(ExprKind::FloorDiv, x, length); };
    std::string gates;
    if (mix.getGate() == pattern::GateKind::given)
      gates = pattern::valueName(mix.input("gate")).str();
    else if (mix.getGate() != pattern::GateKind::ones)
      HEDDLE_CHECK(readRouter(problem, length, gates));
    auto factor = [&](Expr n) -> Expr {
      Expr gate = gates.empty() ? Expr() : read(gates, {i, h, n});
      if (mix.getBank() != pattern::BankKind::frozen || mix.getDecay() == pattern::DecayKind::None)
        return gate ? gate : pattern::makeFloat(context, 1);
      Expr end = minus(times(sumOf(n, makeInteger(context, 1)), length), makeInteger(context, 1));
      Expr to = call("min", {i, end}), d = makeInteger(context, 0);
      Expr weight = call("exp", {decayBetween(problem, to, j, h, d)});
      return gate ? times(gate, weight) : weight;
    };
    if (mix.getBank() == pattern::BankKind::frozen)
      problem.decay = {};
    if (mix.getReset()) {
      problem.gate = graph.specialise(factor(segmentOf(j)));
      return {};
    }
    Expr n = makeVar(context, "n'");
    problem.gate = graph.specialise(
        pattern::makeReduction(ExprKind::Sum, "n'", segmentOf(j),
                               sumOf(segmentOf(i), makeInteger(context, 1)), factor(n)));
    return {};
  }

  /// Gates [T, H, segments] of a softmax or top-k router: maps over pooled keys.
  Status readRouter(MixProblem &problem, Expr length, std::string &gates) {
    pattern::MixOp mix = problem.mix;
    auto var = [&](const char *name) { return makeVar(context, name); };
    auto whole = [&](int64_t value) { return makeInteger(context, value); };
    Expr t = var("t"), h = var("h"), n = var("n"), d = var("d"), x = var("x'"), m = var("m'");
    Value u = mix.input("router") ? mix.input("router") : mix.getQ();
    Value pooled = mix.input("pooled") ? mix.input("pooled") : mix.getK();
    if (!graph.find(pattern::valueName(u)) || !graph.find(pattern::valueName(pooled)))
      return unsupported("a router over operands that are made where they are read is not lowered "
                         "yet");
    auto head = [&](Value value) {
      return headOf(problem, h, graph.extentOf(pattern::arrayType(value).dim(1)));
    };
    Extent T = problem.Tq, width = graph.extentOf(pattern::arrayType(u).dim(2));
    Extent segments = graph.extentOf(call("cdiv", {graph.lengthExpr(T), length}));
    Expr count = graph.lengthExpr(segments), own = makeBinary(ExprKind::FloorDiv, t, length);
    auto sum = [&](const char *name, Expr lo, Expr hi, Expr body) {
      return pattern::makeReduction(ExprKind::Sum, name, lo, hi, body);
    };
    bool mean = mix.getPool() != pattern::PoolKind::sum_k;
    auto stage = [&](const char *what, std::vector<Extent> shape, std::vector<std::string> vars,
                     Expr expr, std::string &name) -> Status {
      name = freshName(fmt::format("{}_of_{}", what, problem.o));
      HEDDLE_CHECK(addBuffer(name, true, std::move(shape), Float32Type::get(context)));
      graph.stages.push_back(MapStage{name, std::move(vars), graph.specialise(expr), "the router"});
      return {};
    };
    Expr kept =
        sum("x'", whole(0), length,
            read(pattern::valueName(pooled), {sumOf(times(n, length), x), head(pooled), d}));
    Expr begin = times(own, length);
    Expr online = sum("x'", begin, sumOf(t, whole(1)),
                      read(pattern::valueName(pooled), {x, head(pooled), d}));
    if (mean) {
      kept = makeBinary(ExprKind::Div, kept, length);
      online = makeBinary(ExprKind::Div, online, sumOf(minus(t, begin), whole(1)));
    }
    std::string pools, running, logits;
    HEDDLE_CHECK(stage("pool", {segments, problem.H, width}, {"n", "h", "d"}, kept, pools));
    HEDDLE_CHECK(stage("running", {T, problem.H, width}, {"t", "h", "d"}, online, running));
    Expr e = var("e'");
    Expr summary = call("select", {makeBinary(ExprKind::Eq, n, own), read(running, {t, h, e}),
                                   read(pools, {n, h, e})});
    Expr dot = sum("e'", whole(0), graph.lengthExpr(width),
                   times(read(pattern::valueName(u), {t, head(u), e}), summary));
    Expr none = pattern::makeFloat(context, -3.0e38);
    Expr logit = call("select", {makeBinary(ExprKind::Le, n, own), dot, none});
    HEDDLE_CHECK(stage("logit", {T, problem.H, segments}, {"t", "h", "n"}, logit, logits));
    bool top = mix.getGate() == pattern::GateKind::top;
    if (top && mix.getRenorm() == pattern::RenormKind::all)
      return unsupported("a top-k router that is normalised over all segments is not lowered yet");
    if (top) {
      // Kept: the own segment, and the best k of those before.
      Expr mine = read(logits, {t, h, n}), theirs = read(logits, {t, h, m});
      Expr before = makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                               makeBinary(ExprKind::And, makeBinary(ExprKind::Eq, theirs, mine),
                                          makeBinary(ExprKind::Lt, m, n)));
      Expr one = pattern::makeFloat(context, 1), zero = pattern::makeFloat(context, 0);
      Expr rank = sum("m'", whole(0), own, call("select", {before, one, zero}));
      Expr chosen =
          makeBinary(ExprKind::Or, makeBinary(ExprKind::Eq, n, own),
                     makeBinary(ExprKind::Lt, rank, graph.specialise(mix.getGateTopAttr())));
      HEDDLE_CHECK(stage("chosen", {T, problem.H, segments}, {"t", "h", "n"},
                         call("select", {chosen, mine, none}), logits));
    }
    Expr largest =
        pattern::makeReduction(ExprKind::Max, "m'", whole(0), count, read(logits, {t, h, m}));
    Expr total = sum("m'", whole(0), count, call("exp", {minus(read(logits, {t, h, m}), largest)}));
    Expr gate =
        makeBinary(ExprKind::Div, call("exp", {minus(read(logits, {t, h, n}), largest)}), total);
    return stage("gate", {T, problem.H, segments}, {"t", "h", "n"}, gate, gates);
  }

  // ---- states ----

  /// Head floor(h heads / H) of an operand.
  Expr headOf(const MixProblem &problem, Expr h, const Extent &heads) {
    if (heads == problem.H)
      return h;
    if (heads.fixed == 1)
      return makeInteger(context, 0);
    return graph.specialise(makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(heads)),
                                       graph.lengthExpr(problem.H)));
  }

  /// An element of a key or value operand at (j, h, d).
  Expr elementAt(const Operand &operand, Expr j, Expr head, Expr d) {
    if (operand.value)
      return rename(operand.value, {{"j", j}, {"hk", head}, {"hv", head}, {"d", d}});
    return read(operand.tensor, {j, head, sumOf(d, makeInteger(context, operand.first))});
  }

  /// The factor of a score that is linear in s; null for others.
  Expr slopeOf(Expr score) {
    Expr one = pattern::makeFloat(context, 1);
    if (score.is(ExprKind::Var) && score.getName() == "s")
      return one;
    bool product = score.is(ExprKind::Mul), quotient = score.is(ExprKind::Div);
    if (!product && !quotient)
      return {};
    for (int side : {0, 1}) {
      if (quotient && side == 1)
        break;
      Expr other = score[1 - side];
      for (const char *name : {"s", "i", "j", "row"})
        if (llvm::is_contained(pattern::freeVars(other), name))
          return {};
      if (Expr slope = slopeOf(score[side]))
        return graph.specialise(makeBinary(score.getKind(), slope, other));
    }
    return {};
  }

  /// States on entry, and final states as maps that sum over the sequence:
  ///   state[h, d, e] = e^{b_last} s0[h, d, e] + sum[t < T] { e^{b_last - b_t} k[t, d] v[t, e] }
  Status readStates(MixProblem &problem, ArrayAttr featuresQ, ArrayAttr featuresK) {
    pattern::MixOp mix = problem.mix;
    Value state0 = mix.getStateInit(), z0 = mix.getZInit();
    Value state = mix.output("state"), z = mix.output("z");
    bool gives = (state && !state.use_empty()) || (z && !z.use_empty());
    if (!state0 && !z0 && !gives)
      return {};
    if (mix.getLayout() != pattern::LayoutKind::dense)
      return unsupported("a state beside layout {} is not lowered yet",
                         pattern::stringifyLayoutKind(mix.getLayout()).str());
    bool folded = featuresQ != mix.getFeaturesQ() || problem.gate;
    if (folded || mix.getWeight() != pattern::WeightKind::id || mix.getDecaySymmetric() ||
        problem.Tq != problem.Tk)
      return unsupported("a state beside weights of pairs other than id, symmetric decays, power "
                         "features or two lengths is not lowered yet");
    Expr causal = makeBinary(ExprKind::Le, makeVar(context, "j"), makeVar(context, "i"));
    if (problem.support != pattern::simplify(causal))
      return unsupported("a state beside support {} is not lowered yet", problem.support.str());
    Expr i = makeVar(context, "i"), h = makeVar(context, "h"), d = makeVar(context, "d");
    Expr e = makeVar(context, "e"), t = makeVar(context, "t'");
    Expr last = minus(graph.lengthExpr(problem.Tk), makeInteger(context, 1));
    if (state0 || z0) {
      Expr slope = slopeOf(problem.score);
      if (!slope)
        return unsupported("a state on entry beside a score that is not linear is not lowered yet");
      bool before = mix.getRead() == pattern::ReadKind::bonus;
      Expr since = decaySince(problem, before ? minus(i, makeInteger(context, 1)) : i, h, d);
      problem.entry = since ? times(slope, call("exp", {since})) : slope;
      problem.entry = graph.specialise(problem.entry);
      problem.state0 = state0 ? pattern::valueName(state0).str() : "";
      problem.z0 = z0 ? pattern::valueName(z0).str() : "";
    }
    auto addState = [&](Value output, Value start, bool matrix) -> Status {
      if (!output || output.use_empty())
        return {};
      HEDDLE_CHECK(ensureTensor(output, Float32Type::get(context)));
      Expr whole = decaySince(problem, last, h, d);
      Expr term = elementAt(problem.k, t, headOf(problem, h, problem.Hk), d);
      if (matrix)
        term = times(term, elementAt(problem.v, t, headOf(problem, h, problem.v.heads), e));
      if (whole)
        term = times(term, call("exp", {decayBetween(problem, last, t, h, d)}));
      Expr sum = pattern::makeReduction(ExprKind::Sum, "t'", makeInteger(context, 0),
                                        graph.lengthExpr(problem.Tk), term);
      if (start) {
        llvm::SmallVector<Expr> at{h, d};
        if (matrix)
          at.push_back(e);
        Expr kept = read(pattern::valueName(start), at);
        if (whole)
          kept = times(kept, call("exp", {whole}));
        sum = sumOf(kept, sum);
      }
      std::vector<std::string> vars{"h", "d"};
      if (matrix)
        vars.push_back("e");
      graph.stages.push_back(MapStage{pattern::valueName(output).str(), vars, graph.specialise(sum),
                                      "the state after the last token"});
      return {};
    };
    HEDDLE_CHECK(addState(state, state0, true));
    return addState(z, z0, false);
  }

  /// The log-decay from before the first token to `at`, itself included; null: none.
  Expr decaySince(const MixProblem &problem, Expr at, Expr h, Expr d) {
    pattern::MixOp mix = problem.mix;
    if (mix.getDecay() == pattern::DecayKind::None)
      return {};
    if (Expr constant = mix.getDecayExprAttr())
      return times(readExpr(constant, mix.getReads(), mix.getReadNames()),
                   sumOf(at, makeInteger(context, 1)));
    return prefixAt(at, h, d);
  }

  /// The log-decay from token `from`, not included, to `to`. Sums are subtracted part by part:
  /// their own rounding would be larger than the difference.
  Expr decayBetween(const MixProblem &problem, Expr to, Expr from, Expr h, Expr d) {
    pattern::MixOp mix = problem.mix;
    if (Expr constant = mix.getDecayExprAttr())
      return times(readExpr(constant, mix.getReads(), mix.getReadNames()), minus(to, from));
    auto part = [&](const std::string &name) {
      auto at = [&](Expr token) {
        llvm::SmallVector<Expr> indices{token, rename(prefixHead, {{"h", h}})};
        if (graph.find(name)->rank() == 3)
          indices.push_back(d);
        return read(name, indices);
      };
      return minus(at(to), at(from));
    };
    return sumOf(part(prefix.high), part(prefix.low));
  }

  /// b at a token, of the prefix sums made last.
  Expr prefixAt(Expr at, Expr h, Expr d) {
    llvm::SmallVector<Expr> indices{at, rename(prefixHead, {{"h", h}})};
    if (graph.find(prefix.high)->rank() == 3)
      indices.push_back(d);
    return sumOf(read(prefix.high, indices), read(prefix.low, indices));
  }

  Status readValues(MixProblem &problem) {
    pattern::MixOp mix = problem.mix;
    if (!mix.getAliasSize())
      return readOperand(problem, problem.v, mix.getV(), "v", "j", "hv", mix.getCodecVAttr(), {});
    if (!mix.getFeaturesK().empty() || mix.getCodecK() || problem.k.tensor.empty())
      return unsupported("values that are an alias of keys with feature maps or a codec are not "
                         "lowered yet");
    problem.v = problem.k;
    HEDDLE_CHECK(
        fixed("first feature of v", graph.extentOf(mix.getAliasFirstAttr()), problem.v.first));
    return fixed("number of features of v", graph.extentOf(mix.getAliasSizeAttr()),
                 problem.v.width);
  }

  /// f32 if an operand is, else the half type that they share.
  Status chooseElement(MixProblem &problem) {
    problem.element = requested("");
    if (!isProductElement(problem.element))
      problem.element = Float32Type::get(context);
    if (problem.k.value || problem.v.value) // made of codes: widened once, not rounded again
      problem.element = Float32Type::get(context);
    for (const Operand *operand : {&problem.q, &problem.k, &problem.v})
      if (!operand->tensor.empty() && graph.find(operand->tensor)->element != problem.element)
        problem.element = Float32Type::get(context);
    return {};
  }

  Status readExpressions(MixProblem &problem, Expr score) {
    pattern::MixOp mix = problem.mix;
    Expr h = makeVar(context, "h");
    Expr lengthQ = problem.lenQ ? problem.lenQ : graph.lengthExpr(problem.Tq);
    Expr lengthK = problem.lenK ? problem.lenK : graph.lengthExpr(problem.Tk);
    // Head h of the output reads head floor(h Hk / H) of k.
    Expr hk = h;
    if (problem.G > 1)
      hk = makeBinary(ExprKind::FloorDiv, h, makeInteger(context, problem.G));
    else if (problem.Hk != problem.H)
      hk = makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(problem.Hk)),
                      graph.lengthExpr(problem.H));
    auto ready = [&](Expr expr) {
      expr = readExpr(expr, mix.getReads(), mix.getReadNames());
      return expr ? graph.specialise(
                        rename(expr, {{"len_q", lengthQ}, {"len_k", lengthK}, {"hk", hk}}))
                  : expr;
    };
    problem.score = ready(score);
    problem.sink = ready(mix.getSinkAttr());
    problem.normArg = ready(mix.getNormArgAttr());
    HEDDLE_CHECK(readDecay(problem, hk, ready(mix.getDecayExprAttr())));
    HEDDLE_CHECK(readSegments(problem));
    // Bounds know i only: row = i - off.
    Expr off = problem.bottomRight ? minus(lengthK, lengthQ) : makeInteger(context, 0);
    problem.support = pattern::simplify(
        rename(ready(mix.getSupportAttr()), {{"row", minus(makeVar(context, "i"), off)}}));
    return {};
  }

  /// The log-decay of a pair: g * (i - j), or b_i - b_j of a prefix sum b.
  Status readDecay(MixProblem &problem, Expr hk, Expr constant) {
    pattern::MixOp mix = problem.mix;
    Expr i = makeVar(context, "i"), j = makeVar(context, "j");
    if (constant) {
      problem.decay = times(constant, minus(i, j));
    } else if (Value given = mix.getDecayInput()) {
      const ProblemTensor &g = *graph.find(pattern::valueName(given));
      Expr head = g.dim(1) == problem.H ? makeVar(context, "h") : hk;
      if (g.dim(1) != problem.H && g.dim(1) != problem.Hk)
        return unsupported("decays of {} have other heads than the output and the keys", g.name);
      PrefixStage stage{g.name, freshName(g.name + "_sum"), freshName(g.name + "_rest")};
      std::vector<Extent> shape{g.dim(0), g.dim(1)};
      bool batched = g.batched, diagonal = g.rank() == 3;
      if (diagonal)
        shape.push_back(g.dim(2));
      std::string logs = g.name;
      prefix = stage, prefixHead = head;
      HEDDLE_CHECK(addBuffer(stage.high, batched, shape, Float32Type::get(context)));
      HEDDLE_CHECK(addBuffer(stage.low, batched, shape, Float32Type::get(context)));
      auto difference = [&](const std::string &name) {
        return minus(read(name, {i, head}), read(name, {j, head}));
      };
      graph.stages.push_back(stage);
      if (diagonal)
        readProduct(problem, logs);
      else
        problem.decay = sumOf(difference(stage.high), difference(stage.low));
    }
    if (problem.decay && mix.getDecaySymmetric())
      problem.decay = pattern::makeUnary(ExprKind::Neg, call("abs", {problem.decay}));
    return {};
  }

  /// A decay for each feature: s is sum[d] { q_d k_d e^{b_id - b_jd} }; with a bonus read the key
  /// of the row itself weighs u_d, and earlier ones decay up to the token before.
  void readProduct(MixProblem &problem, const std::string &g) {
    Expr i = makeVar(context, "i"), j = makeVar(context, "j"), h = makeVar(context, "h");
    Expr f = makeVar(context, "f'"), row = makeVar(context, "row");
    auto queryAt = [&](Expr feature) {
      Expr hq = makeVar(context, "hq");
      return problem.q.value ? rename(problem.q.value, {{"d", feature}})
                             : read(problem.q.tensor, {row, hq, feature});
    };
    Expr keyAt = problem.k.value ? rename(problem.k.value, {{"d", f}})
                                 : read(problem.k.tensor, {j, makeVar(context, "hk"), f});
    auto low = [&](Expr at) { return prefixPart(prefix.low, at, h, f); };
    auto high = [&](Expr at) { return prefixPart(prefix.high, at, h, f); };
    pattern::MixOp mix = problem.mix;
    bool bonus = mix.getRead() == pattern::ReadKind::bonus;
    Expr to = bonus ? minus(i, makeInteger(context, 1)) : i;
    Expr factor = call("exp", {sumOf(minus(high(to), high(j)), minus(low(to), low(j)))});
    if (bonus)
      factor = call("select", {makeBinary(ExprKind::Eq, i, j),
                               read(pattern::valueName(mix.input("bonus")), {h, f}), factor});
    problem.product = pattern::makeReduction(ExprKind::Sum, "f'", makeInteger(context, 0),
                                             makeInteger(context, problem.k.width),
                                             times(times(queryAt(f), keyAt), factor));
  }

  Expr prefixPart(const std::string &tensor, Expr at, Expr h, Expr d) {
    return read(tensor, {at, rename(prefixHead, {{"h", h}}), d});
  }

  // ---- scan ----

  /// Feature maps that kernels of scans do not apply become a map before the mix, whose result then
  /// stands for the operand.
  Status mapScanFeatures(ScanProblem &scan, const char *role, ArrayAttr &features) {
    if (refuseFeatures(graph, features).empty())
      return {};
    bool query = role[0] == 'q';
    const ProblemTensor given = *scan.input(role);
    if (given.rank() != 3)
      return unsupported("feature maps of {} with subtokens are not lowered yet", role);
    Expr t = makeVar(context, "t"), h = makeVar(context, "h"), d = makeVar(context, "d");
    FeatureRow row;
    row.width = graph.lengthExpr(given.dim(2));
    row.at = [&](Expr feature) { return read(given.name, {t, h, feature}); };
    std::string refused;
    row = applyFeatures(graph, features, std::move(row), t, refused);
    if (!refused.empty())
      return unsupported("feature map {} of {} is not lowered yet for scans", refused, role);
    Expr expr = readExpr(row.at(d), scan.mix.getReads(), scan.mix.getReadNames());
    Expr length = graph.lengthExpr(scan.T);
    expr = rename(
        expr,
        {{query ? "i" : "j", t}, {"row", t}, {"hk", h}, {"len_q", length}, {"len_k", length}});
    std::string name = freshName(fmt::format("{}_of_{}", role, scan.results.lookup("o")));
    HEDDLE_CHECK(addBuffer(name, true, {given.dim(0), given.dim(1), graph.extentOf(row.width)},
                           given.element));
    graph.stages.push_back(MapStage{name,
                                    {"t", "h", "d"},
                                    graph.specialise(expr),
                                    fmt::format("features of {} that move between columns", role)});
    scan.inputs[role] = name;
    features = ArrayAttr::get(context, {});
    return {};
  }

  Status readScan(pattern::MixOp mix) {
    ScanProblem scan;
    scan.mix = mix;
    scan.context = context;
    for (auto [value, role] : llvm::zip(mix.getInputs(), mix.getRoles()))
      scan.inputs[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
    for (auto [value, role] : llvm::zip(mix.getOutputs(), mix.getResultRoles())) {
      if (value.use_empty())
        continue;
      HEDDLE_CHECK(ensureTensor(value, Float32Type::get(context)));
      scan.results[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
    }
    static_cast<PatternProblem &>(scan) = graph;
    for (const char *role : {"q", "k", "v"}) {
      const ProblemTensor *tensor = scan.input(role);
      bool subtokens = role[0] == 'q' ? mix.hasReadAxis() : mix.hasWriteAxis();
      if (!tensor || !tensor->batched || tensor->rank() != (subtokens ? 4u : 3u))
        return unsupported("operand {} of the mix is not [B, T, H, D]", role);
      if (!isProductElement(tensor->element))
        return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", role);
    }
    auto heads = [&](const char *role) {
      const ProblemTensor &tensor = *scan.input(role);
      return tensor.dim(tensor.rank() - 2);
    };
    scan.B = scan.input("k")->shape[0], scan.T = scan.input("k")->dim(0);
    scan.Hq = heads("q"), scan.Hk = heads("k"), scan.Hv = heads("v");
    if (auto group = request.request.dims.find("G"); group != request.request.dims.end())
      scan.givenG = group->second;
    scan.featuresQ = mix.getFeaturesQ(), scan.featuresK = mix.getFeaturesK();
    HEDDLE_CHECK(mapScanFeatures(scan, "q", scan.featuresQ));
    HEDDLE_CHECK(mapScanFeatures(scan, "k", scan.featuresK));
    Expr length = graph.lengthExpr(scan.T), h = makeVar(context, "h");
    Expr hk = scan.Hk == scan.Hv && scan.Hq == scan.Hk
                  ? h
                  : makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(scan.Hk)),
                               graph.lengthExpr(graph.extentOf(mix.outputHeads())));
    auto ready = [&](Expr expr) {
      expr = readExpr(expr, mix.getReads(), mix.getReadNames());
      return expr ? graph.specialise(
                        rename(expr, {{"len_q", length}, {"len_k", length}, {"hk", hk}}))
                  : expr;
    };
    scan.score = ready(mix.getScoreAttr());
    scan.normArg = ready(mix.getNormArgAttr());
    scan.constantDecay = ready(mix.getDecayExprAttr());
    scan.support =
        pattern::simplify(rename(ready(mix.getSupportAttr()), {{"row", makeVar(context, "i")}}));
    static_cast<PatternProblem &>(scan) = graph;
    HEDDLE_CHECK(compiler::readScan(scan));
    graph.stages.push_back(std::move(scan));
    return {};
  }

  const FormRequest &request;
  MixAs mixes;
  pattern::DefOp def;
  MLIRContext *context;
  Graph graph;
  PrefixStage prefix; ///< of the decays read last, and the head of a row in them
  Expr prefixHead;
  llvm::StringMap<std::string> masks; ///< of selected lists
  DenseMap<void *, MapStage> inlined; ///< maps computed where their only reader loads them
};

} // namespace

Result<Graph> readGraph(const FormRequest &request, MixAs mixes) {
  return Reader(request, mixes).run();
}

} // namespace heddle::compiler
