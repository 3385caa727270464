// Decays of pairs: g (i - j), or differences of prefix sums b_i - b_j; inside the sum over features
// where each feature decays by itself.
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// The log-decay of a pair: g * (i - j), or b_i - b_j of a prefix sum b.
Status MixReader::readDecay(Expr hk, Expr constant) {
  Expr i = makeVar(context, "i"), j = makeVar(context, "j");
  if (constant) {
    problem.decay = times(constant, minus(placeOf(i), placeOf(j)));
  } else if (Value given = mix.getDecayInput()) {
    const ProblemTensor &g = *graph.find(pattern::valueName(given));
    Expr head = g.dim(1) == problem.H ? makeVar(context, "h") : hk;
    if (g.dim(1) != problem.H && g.dim(1) != problem.Hk)
      return unsupported("decays of {} have other heads than the output and the keys", g.name);
    PrefixStage stage{g.name, reader.freshName(g.name + "_sum"),
                      reader.freshName(g.name + "_rest")};
    std::vector<Extent> shape{g.dim(0), g.dim(1)};
    bool batched = g.batched || !ancestors.empty(), diagonal = g.rank() == 3;
    if (diagonal)
      shape.push_back(g.dim(2));
    stage.ancestors = ancestors;
    std::string logs = g.name;
    prefix = stage, prefixHead = head;
    HEDDLE_CHECK(reader.addBuffer(stage.high, batched, shape, Float32Type::get(context)));
    HEDDLE_CHECK(reader.addBuffer(stage.low, batched, shape, Float32Type::get(context)));
    auto difference = [&](const std::string &name) {
      return minus(read(name, {decayedTo(i), head}), read(name, {j, head}));
    };
    graph.stages.push_back(stage);
    if (diagonal)
      readProduct(logs);
    else
      problem.decay = sumOf(difference(stage.high), difference(stage.low));
  }
  if (problem.decay && mix.getDecaySymmetric())
    problem.decay = pattern::makeUnary(ExprKind::Neg, call("abs", {problem.decay}));
  return {};
}

/// The token up to which decays of row i have been summed: rows behind the last key stay with it.
Expr MixReader::decayedTo(Expr i) {
  if (problem.bottomRight || problem.Tq == problem.Tk)
    return i;
  Expr last = minus(graph.lengthExpr(problem.Tk), makeInteger(context, 1));
  return call("min", {i, last});
}

/// A decay for each feature: s is sum[d] { q_d k_d e^{b_id - b_jd} }; with a bonus read the key
/// of the row itself weighs u_d, and earlier ones decay up to the token before.
void MixReader::readProduct(const std::string &g) {
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
  bool bonus = mix.getRead() == pattern::ReadKind::bonus;
  Expr to = decayedTo(bonus ? minus(i, makeInteger(context, 1)) : i);
  Expr factor = call("exp", {sumOf(minus(high(to), high(j)), minus(low(to), low(j)))});
  if (bonus)
    factor = call("select", {makeBinary(ExprKind::Eq, i, j),
                             read(pattern::valueName(mix.input("bonus")), {h, f}), factor});
  problem.product = pattern::makeReduction(ExprKind::Sum, "f'", makeInteger(context, 0),
                                           makeInteger(context, problem.k.width),
                                           times(times(queryAt(f), keyAt), factor));
}

Expr MixReader::prefixPart(const std::string &tensor, Expr at, Expr h, Expr d) {
  return read(tensor, {at, rename(prefixHead, {{"h", h}}), d});
}

/// The log-decay from before the first token to `at`, itself included; null: none.
Expr MixReader::decaySince(Expr at, Expr h, Expr d) {
  if (mix.getDecay() == pattern::DecayKind::None)
    return {};
  if (Expr constant = mix.getDecayExprAttr())
    return times(resolved(constant), sumOf(placeOf(at), makeInteger(context, 1)));
  return prefixAt(at, h, d);
}

/// The log-decay from token `from`, not included, to `to`. Sums are subtracted part by part:
/// their own rounding would be larger than the difference.
Expr MixReader::decayBetween(Expr to, Expr from, Expr h, Expr d) {
  if (Expr constant = mix.getDecayExprAttr())
    return times(resolved(constant), minus(placeOf(to), placeOf(from)));
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
Expr MixReader::prefixAt(Expr at, Expr h, Expr d) {
  llvm::SmallVector<Expr> indices{at, rename(prefixHead, {{"h", h}})};
  if (graph.find(prefix.high)->rank() == 3)
    indices.push_back(d);
  return sumOf(read(prefix.high, indices), read(prefix.low, indices));
}

} // namespace heddle::compiler
