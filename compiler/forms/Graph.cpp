// Reads a pattern into stages and puts everything static into its expressions:
//
//   score { cap * tanh(s * rsqrt(D) / cap) }, D = 128, cap = 50.0
//     ->  50 * tanh(s * 0.0883883 / 50)
//   features k [rope]   ->  stage map k' over T x Hk x D, then the mix of q, k', v
//
// Here: the walk, maps and merges. GraphTensors, GraphSelect, MixReader and ScanStages read the
// rest.
#include "compiler/forms/Graph.h"

#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

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

/// An expression with its reads by the values' own names and everything static put in.
Expr GraphReader::readExpr(Expr expr, ValueRange reads, ArrayAttr names) {
  llvm::StringMap<std::string> values;
  for (auto [value, name] : llvm::zip(reads, names))
    values[cast<StringAttr>(name).getValue()] = pattern::valueName(value).str();
  return expr ? graph.specialise(
                    throughMasks(pattern::renameTensors(pattern::expandLets(expr), values)))
              : expr;
}

/// Memberships in selected lists as reads of the masks that stand for them.
Expr GraphReader::throughMasks(Expr expr) {
  if (expr.is(ExprKind::Member))
    if (auto mask = masks.find(expr[1].getName()); mask != masks.end()) {
      std::vector<Expr> at = expr[1].children();
      at.push_back(throughMasks(expr[0]));
      return makeBinary(ExprKind::Eq, read(mask->second, at), makeInteger(context, 1));
    }
  return pattern::mapChildren(expr, [&](Expr child) { return throughMasks(child); });
}

// ---- maps ----

/// The role of the only mix that reads the value, once and as an operand; empty if there is none.
std::string GraphReader::onlyRole(Value value) {
  if (!value.hasOneUse())
    return "";
  auto mix = dyn_cast<pattern::MixOp>(*value.user_begin());
  for (const char *role : {"q", "k", "v"})
    if (mix && mix.input(role) == value)
      return role;
  return "";
}

/// Whether the value's only reader is a mix that is weights of pairs in every form.
bool GraphReader::weighsPairs(Value value) {
  if (onlyRole(value).empty())
    return false;
  return cast<pattern::MixOp>(*value.user_begin()).getWeight() != pattern::WeightKind::id;
}

/// Whether the value, an operand of one mix, is multiplied by an argument as it is: then it is
/// rounded as arguments are. What is made of codes is not rounded twice.
bool GraphReader::meetsArgument(Value value, const std::string &role) {
  auto mix = cast<pattern::MixOp>(*value.user_begin());
  Value other = role == "k" ? mix.getQ() : mix.getK();
  return role == "v" || isa<BlockArgument>(other);
}

bool GraphReader::readsCodes(Expr expr) {
  for (const std::string &name : pattern::tensorsOf(expr))
    if (const ProblemTensor *tensor = graph.find(name);
        tensor && tensor->element.getIntOrFloatBitWidth() == 8)
      return true;
  return false;
}

/// `expr` with one of its nodes replaced wherever it stands.
static Expr replaceNode(Expr expr, Expr node, Expr by) {
  if (expr == node)
    return by;
  return pattern::mapChildren(expr, [&](Expr child) { return replaceNode(child, node, by); });
}

/// The first sum over all tokens up to the map's own, sum[u <= t] { .. }, whose terms do not depend
/// on t; null if there is none.
static Expr runningSumIn(Expr expr, Expr t) {
  if (expr.is(ExprKind::Sum) && expr[0].isInteger(0) &&
      expr[1] == pattern::simplify(sumOf(t, makeInteger(expr.getContext(), 1))) &&
      !llvm::is_contained(pattern::freeVars(expr[2]), t.getName().str()))
    return expr;
  for (Expr child : expr.children())
    if (Expr found = runningSumIn(child, t))
      return found;
  return {};
}

/// Running sums become prefix sums of a map of their terms: linear in the tokens, and exact to
/// about 48 bits.
Status GraphReader::replaceRunningSums(MapStage &stage, pattern::MapOp op) {
  pattern::ArrayType type = pattern::arrayType(op.getOutput());
  bool tokens = stage.vars.size() == 2 || stage.vars.size() == 3;
  if (!tokens || !type.getBatched() || request.request.target != "cpu")
    return {};
  std::vector<Extent> shape;
  for (size_t n = 0; n < type.rank(); ++n)
    shape.push_back(graph.extentOf(type.dim(n)));
  Expr t = makeVar(context, stage.vars[0]);
  llvm::SmallVector<Expr> at;
  for (const std::string &name : stage.vars)
    at.push_back(makeVar(context, name));
  while (Expr sum = runningSumIn(stage.expr, t)) {
    Type f32 = Float32Type::get(context);
    MapStage terms{freshName(stage.name + "_terms"), stage.vars,
                   rename(sum[2], {{sum.getName().str(), t}}), "terms of running sums"};
    HEDDLE_CHECK(addBuffer(terms.name, true, shape, f32));
    PrefixStage prefix{terms.name, freshName(stage.name + "_sum"), freshName(stage.name + "_rest")};
    HEDDLE_CHECK(addBuffer(prefix.high, true, shape, f32));
    HEDDLE_CHECK(addBuffer(prefix.low, true, shape, f32));
    graph.stages.push_back(terms);
    graph.stages.push_back(prefix);
    stage.expr = replaceNode(stage.expr, sum, sumOf(read(prefix.high, at), read(prefix.low, at)));
  }
  return {};
}

Status GraphReader::readMap(pattern::MapOp op) {
  MapStage stage;
  stage.name = pattern::valueName(op.getOutput()).str();
  for (Attribute name : op.getVars())
    stage.vars.push_back(cast<StringAttr>(name).getValue().str());
  stage.expr = readExpr(op.getExpr(), op.getReads(), op.getReadNames());
  HEDDLE_CHECK(replaceRunningSums(stage, op));
  pattern::ArrayType type = pattern::arrayType(op.getOutput());
  std::string role = onlyRole(op.getOutput());
  bool asOperand = type.rank() == 3 && type.getBatched();
  bool fused = asOperand && (mixes == MixAs::Pairs || weighsPairs(op.getOutput())) &&
               ((role == "q" && !reduces(stage.expr)) ||
                ((role == "k" || role == "v") && isCheap(stage.expr) && readsCodes(stage.expr)));
  if (fused) {
    inlined[op.getOutput().getAsOpaquePointer()] = std::move(stage);
    return {};
  }
  // What only products read is rounded as an argument would be; gates and decays stay f32, and so
  // does everything where single tokens meet a state in f32.
  Type element = type.getElement() ? type.getElement() : Float32Type::get(context);
  const bool inProducts = !role.empty() && (mixes != MixAs::Steps || weighsPairs(op.getOutput()));
  if (inProducts && element.isF32() && meetsArgument(op.getOutput(), role))
    element = requested(stage.name);
  HEDDLE_CHECK(ensureTensor(op.getOutput(), element));
  graph.stages.push_back(std::move(stage));
  return {};
}

// ---- merges ----

/// Maps over the parts: o = sum e^{L_a - L} o_a, L = log sum e^{L_a}. A part of -inf, and its
/// o, weigh nothing.
Status GraphReader::readMerge(pattern::MergeOp op) {
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

// ---- mixes ----

/// A mix as the form wants it. One that is no state becomes weights of pairs; that some other is a
/// state is checked at the end.
Status GraphReader::readMix(pattern::MixOp mix) {
  if (mixes == MixAs::Pairs)
    return MixReader(*this, mix).run();
  Graph before = graph;
  Status state = readScan(mix);
  if (state || state.error().code != ErrorCode::Unsupported)
    return state;
  graph = std::move(before);
  if (Status pairs = MixReader(*this, mix).run(); !pairs)
    return unsupported("{}; as weights of pairs: {}", state.error().message, pairs.error().message);
  for (Stage &stage : llvm::reverse(graph.stages))
    if (auto pairs = std::get_if<MixProblem>(&stage)) {
      pairs->notState = state.error().message;
      break;
    }
  return {};
}

/// The clause that forbids states, where no mix is one; empty else.
static std::string noState(const Graph &graph) {
  std::string reason;
  for (const Stage &stage : graph.stages) {
    if (std::holds_alternative<ScanProblem>(stage))
      return "";
    if (auto mix = std::get_if<MixProblem>(&stage); mix && reason.empty())
      reason = mix->notState;
  }
  return reason;
}

Result<Graph> GraphReader::run() {
  HEDDLE_CHECK(readScalars());
  HEDDLE_CHECK(readSignature());
  for (Operation &op : def.getBody().front()) {
    if (auto map = dyn_cast<pattern::MapOp>(op))
      HEDDLE_CHECK(readMap(map));
    else if (auto mix = dyn_cast<pattern::MixOp>(op))
      HEDDLE_CHECK(readMix(mix));
    else if (auto merge = dyn_cast<pattern::MergeOp>(op))
      HEDDLE_CHECK(readMerge(merge));
    else if (auto select = dyn_cast<pattern::SelectOp>(op))
      HEDDLE_CHECK(readSelect(select));
  }
  if (std::string reason = noState(graph); !reason.empty())
    return unsupported("{}", reason);
  return std::move(graph);
}

Result<Graph> readGraph(const FormRequest &request, MixAs mixes) {
  return GraphReader(request, mixes).run();
}

} // namespace heddle::compiler
