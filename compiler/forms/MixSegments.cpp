// Segments and their gates as a factor of each pair.
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// The factor of a pair that segments and their gates give:
///   running bank    sum over the segments n that hold key j's state of gate[row, n]
///   frozen bank     the same with the decay of segment n up to its last token alone
Status MixReader::readSegments() {
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
    HEDDLE_CHECK(readRouter(length, gates));
  auto factor = [&](Expr n) -> Expr {
    Expr gate = gates.empty() ? Expr() : read(gates, {i, h, n});
    if (mix.getBank() != pattern::BankKind::frozen || mix.getDecay() == pattern::DecayKind::None)
      return gate ? gate : pattern::makeFloat(context, 1);
    Expr end = minus(times(sumOf(n, makeInteger(context, 1)), length), makeInteger(context, 1));
    Expr to = call("min", {i, end}), d = makeInteger(context, 0);
    Expr weight = call("exp", {decayBetween(to, j, h, d)});
    return gate ? times(gate, weight) : weight;
  };
  if (mix.getBank() == pattern::BankKind::frozen)
    problem.decay = {};
  if (mix.getReset()) {
    problem.gate = graph.specialise(factor(segmentOf(j)));
    return {};
  }
  Expr n = makeVar(context, "n'");
  problem.gate = graph.specialise(pattern::makeReduction(
      ExprKind::Sum, "n'", segmentOf(j), sumOf(segmentOf(i), makeInteger(context, 1)), factor(n)));
  return {};
}

/// Gates [T, H, segments] of a softmax or top-k router: maps over pooled keys.
Status MixReader::readRouter(Expr length, std::string &gates) {
  auto var = [&](const char *name) { return makeVar(context, name); };
  auto whole = [&](int64_t value) { return makeInteger(context, value); };
  Expr t = var("t"), h = var("h"), n = var("n"), d = var("d"), x = var("x'"), m = var("m'");
  Value u = mix.input("router") ? mix.input("router") : mix.getQ();
  Value pooled = mix.input("pooled") ? mix.input("pooled") : mix.getK();
  if (!graph.find(pattern::valueName(u)) || !graph.find(pattern::valueName(pooled)))
    return unsupported("a router over operands that are made where they are read is not lowered "
                       "yet");
  auto head = [&](Value value) {
    return headOf(h, graph.extentOf(pattern::arrayType(value).dim(1)));
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
    name = reader.freshName(fmt::format("{}_of_{}", what, problem.o));
    HEDDLE_CHECK(reader.addBuffer(name, true, std::move(shape), Float32Type::get(context)));
    graph.stages.push_back(MapStage{name, std::move(vars), graph.specialise(expr), "the router"});
    return {};
  };
  Expr kept = sum("x'", whole(0), length,
                  read(pattern::valueName(pooled), {sumOf(times(n, length), x), head(pooled), d}));
  Expr begin = times(own, length);
  Expr online =
      sum("x'", begin, sumOf(t, whole(1)), read(pattern::valueName(pooled), {x, head(pooled), d}));
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

} // namespace heddle::compiler
