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
  return graph.specialise(terms::headOf(h, graph.lengthExpr(heads), graph.lengthExpr(problem.H)));
}

/// The first output head that reads the state of head `h`.
Expr MixReader::readerOf(Expr h) {
  const Extent states = graph.extentOf(graph.specialise(mix.stateHeads()));
  if (states == problem.H)
    return h;
  return graph.specialise(makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(problem.H)),
                                     graph.lengthExpr(states)));
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

/// The log-decay of what the state on entry is until token `at`; null: none.
Expr MixReader::decayOfStart(Expr at, Expr h, Expr d) {
  if (tapJoint.empty() || mix.getDecay() == pattern::DecayKind::None)
    return decaySince(at, h, d);
  return decayBetween(at, makeInteger(context, 0), h, d); // tapStart has the first decay
}

/// States on entry, and final states as maps that sum over the sequence:
///   state[h, d, e] = e^{b_last} s0[h, d, e] + sum[t < T] { e^{b_last - b_t} k[t, d] v[t, e] }
Status MixReader::readStates(ArrayAttr featuresQ, ArrayAttr featuresK) {
  Value state0 = mix.getStateInit(), z0 = mix.getZInit();
  Value state = mix.output("state"), z = mix.output("z");
  bool gives = (state && !state.use_empty()) || (z && !z.use_empty());
  if (!state0 && !z0 && !gives && !mix.input("in_k_last"))
    return {};
  if (mix.getLayout() != pattern::LayoutKind::dense)
    return unsupported("a state beside layout {} is not lowered yet",
                       pattern::stringifyLayoutKind(mix.getLayout()).str());
  bool taps = !tapJoint.empty(), tree = !ancestors.empty();
  bool folded = featuresQ != mix.getFeaturesQ() || (problem.gate && !taps);
  if (folded || mix.getWeight() != pattern::WeightKind::id || mix.getDecaySymmetric() ||
      problem.Tq != problem.Tk)
    return unsupported("a state beside weights of pairs other than id, symmetric decays, power "
                       "features or two lengths is not lowered yet");
  Expr causal = makeBinary(ExprKind::Le, makeVar(context, "j"), makeVar(context, "i"));
  if (tree && gives)
    return unsupported("the state after a tree: it has no last token");
  if (tree ? !seesAncestors(mix.getSupportAttr()) : problem.support != pattern::simplify(causal))
    return unsupported("a state beside support {} is not lowered yet", problem.support.str());
  Expr i = makeVar(context, "i"), h = makeVar(context, "h"), d = makeVar(context, "d");
  if (state0 || z0 || mix.input("in_k_last")) {
    Expr slope = slopeOf(problem.score);
    if (!slope)
      return unsupported("a state on entry beside a score that is not linear is not lowered yet");
    bool before = mix.getRead() == pattern::ReadKind::bonus;
    Expr since = decayOfStart(before ? minus(i, makeInteger(context, 1)) : i, h, d);
    problem.entry = since ? times(slope, call("exp", {since})) : slope;
    problem.entry = graph.specialise(problem.entry);
    HEDDLE_CHECK(addStart(state0, true, problem.state0));
    if (z0 || mix.getNorm() != pattern::NormKind::None)
      HEDDLE_CHECK(addStart(z0, false, problem.z0));
  }
  HEDDLE_CHECK(addState(state, state0, true));
  return addState(z, z0, false);
}

/// The tensor of what decays on entry: the state itself, or two taps' start.
Status MixReader::addStart(Value start, bool matrix, std::string &name) {
  bool tap = mix.input("in_k_last") && (!matrix || mix.input("in_v_last"));
  if (tapJoint.empty() || (!start && !tap)) {
    name = start ? pattern::valueName(start).str() : "";
    return {};
  }
  if (!name.empty()) // made for the rows already
    return {};
  std::vector<std::string> vars{"h", "d"};
  std::vector<Extent> shape{graph.extentOf(graph.specialise(mix.stateHeads())),
                            graph.extentOf(makeInteger(context, problem.D))};
  if (matrix)
    vars.push_back("e"), shape.push_back(graph.extentOf(makeInteger(context, problem.Dv)));
  name = reader.freshName((matrix ? "start_of_" : "sums_of_") + problem.o);
  HEDDLE_CHECK(reader.addBuffer(name, true, shape, Float32Type::get(context)));
  graph.stages.push_back(MapStage{name, vars, graph.specialise(tapStart(start, matrix)),
                                  "the state on entry and the token before"});
  return {};
}

/// The state after the last token, as a sum over the rows of keys.
Status MixReader::addState(Value output, Value start, bool matrix) {
  if (!output || output.use_empty())
    return {};
  HEDDLE_CHECK(reader.ensureTensor(output, Float32Type::get(context)));
  Expr h = makeVar(context, "h"), d = makeVar(context, "d"), e = makeVar(context, "e");
  Expr t = makeVar(context, "t'"), one = makeInteger(context, 1);
  Expr tokens = graph.lengthExpr(problem.Tk), last = minus(tokens, one);
  Expr rows = writes ? times(tokens, makeInteger(context, writes)) : tokens;
  Expr token = writes ? makeBinary(ExprKind::FloorDiv, t, makeInteger(context, writes)) : t;
  const Expr head = readerOf(h);
  Expr term = elementAt(problem.k, t, headOf(head, problem.Hk), d);
  if (matrix)
    term = times(term, elementAt(problem.v, t, headOf(head, problem.v.heads), e));
  if (!tapJoint.empty())
    term = times(term, rename(problem.gate, {{"i", last}, {"j", token}, {"h", head}}));
  else if (mix.getDecay() != pattern::DecayKind::None)
    term = times(term, call("exp", {decayBetween(last, token, head, d)}));
  Expr sum = pattern::makeReduction(ExprKind::Sum, "t'", makeInteger(context, 0), rows, term);
  std::vector<std::string> vars{"h", "d"};
  if (matrix)
    vars.push_back("e");
  std::string &from = matrix ? problem.state0 : problem.z0;
  HEDDLE_CHECK(addStart(start, matrix, from));
  if (!from.empty()) {
    llvm::SmallVector<Expr> at{h, d};
    if (matrix)
      at.push_back(e);
    Expr kept = read(from, at);
    if (Expr whole = decayOfStart(last, head, d))
      kept = times(kept, call("exp", {whole}));
    sum = sumOf(kept, sum);
  }
  graph.stages.push_back(MapStage{pattern::valueName(output).str(), vars, graph.specialise(sum),
                                  "the state after the last token"});
  return {};
}

} // namespace heddle::compiler
