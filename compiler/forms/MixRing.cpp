// Ring caches. Of n keys so far a ring of `size` slots has the first `keep` and the newest `turn` =
// size - keep; key j >= keep is in slot keep + (j - keep) mod turn. Loops run over slots:
//
//   slot:  0 .. keep | keep .. next | next .. size         next = keep + (n - keep) mod turn
//   key:     slot    | slot + base  | slot + base - turn   base = the whole turns of n - keep
//
// A support is the union of what it says of the three parts, so that its bounds on keys stay bounds
// on slots.
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

void MixReader::readRing() {
  Expr zero = makeInteger(context, 0), size = graph.lengthExpr(problem.Tk);
  Expr seen = read(pattern::valueName(mix.input("len")), {makeVar(context, "b")});
  ring.keep = mix.getRingKeepAttr() ? graph.specialise(resolved(mix.getRingKeepAttr())) : zero;
  ring.turn = call("max", {minus(size, ring.keep), makeInteger(context, 1)});
  Expr past = call("max", {minus(seen, ring.keep), zero});
  ring.base = times(makeBinary(ExprKind::FloorDiv, past, ring.turn), ring.turn);
  ring.next = sumOf(ring.keep, makeBinary(ExprKind::Mod, past, ring.turn));
  problem.seenK = seen;
  problem.lenK = call("min", {call("max", {seen, zero}), size});
}

/// The key of slot `j`; j itself where there is no ring.
Expr MixReader::keyOf(Expr j) {
  if (!ring.turn)
    return j;
  Expr newer = sumOf(j, ring.base), older = minus(newer, ring.turn);
  Expr wrapped = call("select", {makeBinary(ExprKind::Lt, j, ring.next), newer, older});
  return call("select", {makeBinary(ExprKind::Lt, j, ring.keep), j, wrapped});
}

/// A condition on keys as one on slots.
Expr MixReader::inRing(Expr support) {
  if (!ring.turn)
    return support;
  Expr j = makeVar(context, "j"), newer = sumOf(j, ring.base);
  auto both = [](Expr x, Expr y) { return makeBinary(ExprKind::And, x, y); };
  auto part = [&](Expr where, Expr key) { return both(where, rename(support, {{"j", key}})); };
  Expr kept = makeBinary(ExprKind::Lt, j, ring.keep);
  Expr behind = makeBinary(ExprKind::Ge, j, ring.keep);
  Expr first = part(both(behind, makeBinary(ExprKind::Lt, j, ring.next)), newer);
  Expr second = part(makeBinary(ExprKind::Ge, j, ring.next), minus(newer, ring.turn));
  return makeBinary(ExprKind::Or, part(kept, j), makeBinary(ExprKind::Or, first, second));
}

} // namespace heddle::compiler
