// Reads a pattern into stages and puts everything static into its expressions:
//
//   score { cap * tanh(s * rsqrt(D) / cap) }, D = 128, cap = 50.0
//     ->  50 * tanh(s * 0.0883883 / 50)
//   features k [rope]   ->  stage map k' over T x Hk x D, then the mix of q, k', v
#include "compiler/forms/Graph.h"

#include "compiler/forms/Features.h"
#include "compiler/forms/Program.h"

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
  explicit Reader(const FormRequest &request)
      : request(request), def(request.def), context(def.getContext()) {
    graph.context = context;
  }

  Result<Graph> run() {
    HEDDLE_CHECK(readScalars());
    HEDDLE_CHECK(readSignature());
    for (Operation &op : def.getBody().front()) {
      if (auto map = dyn_cast<pattern::MapOp>(op))
        HEDDLE_CHECK(readMap(map));
      else if (auto mix = dyn_cast<pattern::MixOp>(op))
        HEDDLE_CHECK(readMix(mix));
      else if (auto merge = dyn_cast<pattern::MergeOp>(op))
        HEDDLE_CHECK(readMerge(merge));
      else if (isa<pattern::SelectOp>(op))
        return unsupported("op select is not lowered yet");
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
    return expr ? graph.specialise(pattern::renameTensors(pattern::expandLets(expr), values))
                : expr;
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
    bool fused = asOperand &&
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
    if (mix.getRead() != pattern::ReadKind::post)
      return unsupported("read bonus is not lowered yet");
    if (mix.getSegment() != pattern::SegmentKind::None)
      return unsupported("segments and their gates are not lowered yet");
    if (mix.getLayout() != pattern::LayoutKind::dense)
      return unsupported("layout {} is not lowered yet",
                         pattern::stringifyLayoutKind(mix.getLayout()).str());
    for (Attribute role : mix.getRoles()) {
      llvm::StringRef name = cast<StringAttr>(role).getValue();
      if (name != "q" && name != "k" && name != "v" && name != "decay")
        return unsupported("input {} of the mix is not lowered yet", name.str());
    }
    pattern::DecayKind decay = mix.getDecay();
    if (decay == pattern::DecayKind::diag || decay == pattern::DecayKind::channel)
      return unsupported("decay {}: a weight of pairs inside the sum over features is not lowered "
                         "yet",
                         pattern::stringifyDecayKind(decay).str());
    for (Value output : mix.getOutputs()) {
      unsigned index = cast<OpResult>(output).getResultNumber();
      llvm::StringRef role = cast<StringAttr>(mix.getResultRoles()[index]).getValue();
      if (role != "o" && role != "lse" && !output.use_empty())
        return unsupported("result {} ({}) is a state; the attention form has none",
                           pattern::valueName(output).str(), role.str());
    }
    return {};
  }

  /// Width, heads and length of an operand as its type has them.
  struct Shape {
    Extent length, heads, width;
  };
  Result<Shape> shapeOf(Value value, const char *role) {
    pattern::ArrayType type = pattern::arrayType(value);
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
    HEDDLE_TRY(shape, shapeOf(value, role));
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
    HEDDLE_TRY(q, shapeOf(mix.getQ(), "q"));
    HEDDLE_TRY(k, shapeOf(mix.getK(), "k"));
    problem.B = graph.extentOf(pattern::makeDim(context, "B"));
    problem.Tq = q.length, problem.Hq = q.heads;
    problem.Tk = k.length, problem.Hk = k.heads;
    problem.H = graph.extentOf(mix.outputHeads());
    problem.bottomRight = mix.getAlign() == pattern::Align::bottom_right;
    if (!pattern::arrayType(mix.getQ()).getBatched())
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
    static_cast<PatternProblem &>(problem) = graph;
    graph.stages.push_back(std::move(problem));
    return {};
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
    Expr lengthQ = graph.lengthExpr(problem.Tq), lengthK = graph.lengthExpr(problem.Tk);
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
      bool batched = g.batched;
      HEDDLE_CHECK(addBuffer(stage.high, batched, shape, Float32Type::get(context)));
      HEDDLE_CHECK(addBuffer(stage.low, batched, shape, Float32Type::get(context)));
      auto difference = [&](const std::string &name) {
        return minus(read(name, {i, head}), read(name, {j, head}));
      };
      problem.decay = sumOf(difference(stage.high), difference(stage.low));
      graph.stages.push_back(stage);
    }
    if (problem.decay && mix.getDecaySymmetric())
      problem.decay = pattern::makeUnary(ExprKind::Neg, call("abs", {problem.decay}));
    return {};
  }

  const FormRequest &request;
  pattern::DefOp def;
  MLIRContext *context;
  Graph graph;
  DenseMap<void *, MapStage> inlined; ///< maps computed where their only reader loads them
};

} // namespace

Result<Graph> readGraph(const FormRequest &request) { return Reader(request).run(); }

} // namespace heddle::compiler
