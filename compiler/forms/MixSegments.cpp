// Segments and their gates as a factor of each pair.
#include "compiler/forms/MixReader.h"
#include "compiler/forms/SegmentGates.h"

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
  if (kind == pattern::SegmentKind::by)
    return unsupported("segments by an expression are not lowered yet");
  Expr length = graph.specialise(mix.getSegmentArgAttr());
  const SegmentCuts cuts{length, graph.lengthExpr(problem.Tk)};
  std::string gates;
  if (mix.getGate() == pattern::GateKind::given)
    gates = pattern::valueName(mix.input("gate")).str();
  else if (mix.getGate() != pattern::GateKind::ones) {
    SegmentPools pools(reader, mix, cuts);
    HEDDLE_CHECK(pools.addSums());
    HEDDLE_CHECK(pools.addGates(problem.Tq, problem.H, problem.o, gates));
  }
  auto factor = [&](Expr n) -> Expr {
    Expr gate = gates.empty() ? Expr() : read(gates, {i, h, n});
    if (mix.getBank() != pattern::BankKind::frozen || mix.getDecay() == pattern::DecayKind::None)
      return gate ? gate : pattern::makeFloat(context, 1);
    Expr end = minus(cuts.end(n), makeInteger(context, 1));
    Expr to = call("min", {i, end}), d = makeInteger(context, 0);
    Expr weight = call("exp", {decayBetween(to, j, h, d)});
    return gate ? times(gate, weight) : weight;
  };
  if (mix.getBank() == pattern::BankKind::frozen)
    problem.decay = {};
  if (mix.getReset()) {
    problem.gate = graph.specialise(factor(cuts.of(j)));
    return {};
  }
  Expr n = makeVar(context, "n'");
  problem.gate = graph.specialise(pattern::makeReduction(
      ExprKind::Sum, "n'", cuts.of(j), sumOf(cuts.of(i), makeInteger(context, 1)), factor(n)));
  return {};
}

} // namespace heddle::compiler
