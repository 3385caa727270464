// States beside pairs: on entry a further term of each row, at the end a sum over the sequence.
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// Head floor(h heads / H) of an operand.
Expr MixReader::headOf(Expr h, const Extent &heads) {
  if (heads == problem.H)
    return h;
  if (heads.fixed == 1)
    return makeInteger(context, 0);
  return graph.specialise(makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(heads)),
                                     graph.lengthExpr(problem.H)));
}

/// An element of a key or value operand at (j, h, d).
Expr MixReader::elementAt(const Operand &operand, Expr j, Expr head, Expr d) {
  if (operand.value)
    return rename(operand.value, {{"j", j}, {"hk", head}, {"hv", head}, {"d", d}});
  return read(operand.tensor, {j, head, sumOf(d, makeInteger(context, operand.first))});
}

/// The factor of a score that is linear in s; null for others.
Expr MixReader::slopeOf(Expr score) {
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
Status MixReader::readStates(ArrayAttr featuresQ, ArrayAttr featuresK) {
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
    Expr since = decaySince(before ? minus(i, makeInteger(context, 1)) : i, h, d);
    problem.entry = since ? times(slope, call("exp", {since})) : slope;
    problem.entry = graph.specialise(problem.entry);
    problem.state0 = state0 ? pattern::valueName(state0).str() : "";
    problem.z0 = z0 ? pattern::valueName(z0).str() : "";
  }
  auto addState = [&](Value output, Value start, bool matrix) -> Status {
    if (!output || output.use_empty())
      return {};
    HEDDLE_CHECK(reader.ensureTensor(output, Float32Type::get(context)));
    Expr whole = decaySince(last, h, d);
    Expr term = elementAt(problem.k, t, headOf(h, problem.Hk), d);
    if (matrix)
      term = times(term, elementAt(problem.v, t, headOf(h, problem.v.heads), e));
    if (whole)
      term = times(term, call("exp", {decayBetween(last, t, h, d)}));
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

} // namespace heddle::compiler
