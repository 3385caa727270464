// Two taps as weights of pairs. S_t = a_t S_{t-1} + prev_t k_{t-1} v_{t-1}' + here_t k_t v_t'
// writes token j twice, so that with b the prefix sum of the log-decays g
//
//   weight (i, j < i) = e^{b_i - b_{j+1}} c_j,   c_j = prev_{j+1} + here_j e^{g_{j+1}}
//   weight (i, i)     = here_i
//
// c and g_{j+1} are maps. The token before the first is a part of the state on entry:
//
//   S_i = e^{b_i - b_0} (e^{g_0} S_in + prev_0 k_in v_in') + ..
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

Status MixReader::readTaps() {
  if (!mix.input("tap_here"))
    return {};
  pattern::DecayKind kind = mix.getDecay();
  bool plain = (kind == pattern::DecayKind::None || kind == pattern::DecayKind::constant ||
                kind == pattern::DecayKind::scalar) &&
               !mix.getDecaySymmetric() && mix.getSegment() == pattern::SegmentKind::None &&
               mix.getLayout() == pattern::LayoutKind::dense && problem.Tq == problem.Tk;
  if (!plain)
    return unsupported("taps beside a decay for each feature, symmetric decays, segments, a layout "
                       "or two lengths have no weights of pairs");
  Expr t = makeVar(context, "t'"), h = makeVar(context, "h"), one = makeInteger(context, 1);
  auto tap = [&](const char *role, Expr at) { return tapAt(role, at, h); };
  // The decay of the token behind t; behind the last there is none.
  Expr behind;
  if (kind == pattern::DecayKind::constant) {
    behind = resolved(mix.getDecayExprAttr());
  } else if (Value given = mix.getDecayInput()) {
    const ProblemTensor &g = *graph.find(pattern::valueName(given));
    behind = read(g.name, {sumOf(t, one), rename(prefixHead, {{"h", h}})});
    tapDecay = reader.freshName(g.name + "_behind");
    HEDDLE_CHECK(
        reader.addBuffer(tapDecay, true, {problem.Tk, problem.H}, Float32Type::get(context)));
    graph.stages.push_back(
        MapStage{tapDecay, {"t'", "h"}, graph.specialise(behind), "the decay behind a token"});
  }
  Expr here = tap("tap_here", t);
  if (behind)
    here = times(here, call("exp", {behind}));
  Expr last = makeBinary(ExprKind::Ge, sumOf(t, one), graph.lengthExpr(problem.Tk));
  Expr joint = call("select", {last, pattern::makeFloat(context, 0),
                               sumOf(tap("tap_prev", sumOf(t, one)), here)});
  tapJoint = reader.freshName("taps_" + problem.o);
  HEDDLE_CHECK(
      reader.addBuffer(tapJoint, true, {problem.Tk, problem.H}, Float32Type::get(context)));
  graph.stages.push_back(
      MapStage{tapJoint, {"t'", "h"}, graph.specialise(joint), "both taps of a token's write"});

  Expr i = makeVar(context, "i"), j = makeVar(context, "j");
  Expr weight = read(tapJoint, {j, h});
  if (kind == pattern::DecayKind::constant)
    weight = times(weight, call("exp", {decayBetween(i, sumOf(j, one), h, {})}));
  else if (behind)
    weight = times(weight, call("exp", {minus(decayBetween(i, j, h, {}), read(tapDecay, {j, h}))}));
  problem.gate = graph.specialise(
      call("select", {makeBinary(ExprKind::Lt, j, i), weight, tap("tap_here", j)}));
  problem.decay = {};
  return {};
}

Expr MixReader::tapAt(const char *role, Expr token, Expr h) {
  const ProblemTensor &tap = *graph.find(pattern::valueName(mix.input(role)));
  return read(tap.name, {token, headOf(h, tap.dim(1))});
}

/// What decays from the first token on: S_in decayed once, and the write of the token before.
Expr MixReader::tapStart(Value start, bool matrix) {
  Expr h = makeVar(context, "h"), d = makeVar(context, "d"), e = makeVar(context, "e");
  Expr first = makeInteger(context, 0), state;
  llvm::SmallVector<Expr> at{h, d};
  if (matrix)
    at.push_back(e);
  if (start) {
    state = read(pattern::valueName(start), at);
    if (Expr decay = decaySince(first, readerOf(h), d))
      state = times(state, call("exp", {decay}));
  }
  Value k = mix.input("in_k_last"), v = mix.input("in_v_last");
  if (!k || !v)
    return state ? state : pattern::makeFloat(context, 0);
  llvm::SmallVector<Expr> key{h, d}, value{h, e};
  if (writes) {
    Expr r = makeVar(context, "r'");
    key.insert(key.begin(), r), value.insert(value.begin(), r);
  }
  Expr term = read(pattern::valueName(k), key);
  if (matrix)
    term = times(term, read(pattern::valueName(v), value));
  if (writes)
    term = pattern::makeReduction(ExprKind::Sum, "r'", first, makeInteger(context, writes), term);
  term = times(tapAt("tap_prev", first, readerOf(h)), term);
  return state ? sumOf(state, term) : term;
}

/// The last key and value, which the next run's first token writes.
Status MixReader::leaveTaps() {
  for (const char *role : {"k_last", "v_last"}) {
    Value output = mix.output(role);
    if (!output || output.use_empty())
      continue;
    HEDDLE_CHECK(reader.ensureTensor(output, Float32Type::get(context)));
    const Operand &operand = role[0] == 'k' ? problem.k : problem.v;
    Expr h = makeVar(context, "h"), d = makeVar(context, "d"), r = makeVar(context, "r'");
    Expr T = graph.lengthExpr(problem.Tk), token = minus(T, makeInteger(context, 1));
    Expr row = writes ? sumOf(times(token, makeInteger(context, writes)), r) : token;
    llvm::SmallVector<Expr> at{h, d};
    std::vector<std::string> vars{"h", "d"};
    if (writes)
      at.insert(at.begin(), r), vars.insert(vars.begin(), "r'");
    Value entry = mix.input(role[0] == 'k' ? "in_k_last" : "in_v_last");
    Expr before = entry ? read(pattern::valueName(entry), at) : pattern::makeFloat(context, 0);
    Expr last =
        call("select", {makeBinary(ExprKind::Gt, T, makeInteger(context, 0)),
                        elementAt(operand, row, headOf(readerOf(h), operand.heads), d), before});
    graph.stages.push_back(MapStage{pattern::valueName(output).str(), vars, graph.specialise(last),
                                    "what the next run begins with"});
  }
  return {};
}

} // namespace heddle::compiler
