// Trees of queries (drafts of speculative decoding): ancestors and depths as workspace. A query
// stands at the end of the prefix plus its depth, and sees a draft if that is itself or an
// ancestor:
//
//   ancestor(n, m)   ->   0 <= m and m <= n and ancestors[n, m] == 1
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

Status MixReader::readTree() {
  Value parent = mix.input("parent");
  if (!parent)
    return {};
  bool plain = mix.getSegment() == pattern::SegmentKind::None && !mix.input("tap_here") &&
               mix.getRead() == pattern::ReadKind::post &&
               mix.getLayout() == pattern::LayoutKind::dense && problem.bottomRight &&
               pattern::arrayType(parent).getBatched();
  if (!plain)
    return unsupported("weights of pairs on a tree beside segments, taps, a bonus or a layout are "
                       "not lowered yet");
  ancestors = reader.freshName("ancestors_" + problem.o);
  depths = reader.freshName("depths_" + problem.o);
  HEDDLE_CHECK(
      reader.addBuffer(ancestors, true, {problem.Tq, problem.Tq}, IntegerType::get(context, 8)));
  HEDDLE_CHECK(reader.addBuffer(depths, true, {problem.Tq}, IntegerType::get(context, 32)));
  graph.stages.push_back(AncestorStage{ancestors, pattern::valueName(parent).str()});
  Expr n = makeVar(context, "n'"), m = makeVar(context, "m'"), one = makeInteger(context, 1);
  Expr count = pattern::makeReduction(ExprKind::Sum, "m'", makeInteger(context, 0),
                                      graph.lengthExpr(problem.Tq), read(ancestors, {n, m}));
  graph.stages.push_back(MapStage{depths, {"n'"}, minus(count, one), "depths in the tree"});
  return {};
}

/// How many tokens lie before token `at`: on a tree those before the drafts and its ancestors.
Expr MixReader::placeOf(Expr at) {
  if (ancestors.empty())
    return at;
  Expr prefix = minus(graph.lengthExpr(problem.Tk), graph.lengthExpr(problem.Tq));
  if (problem.Tk == problem.Tq)
    return read(depths, {at});
  Expr node = minus(at, prefix);
  return call("select", {makeBinary(ExprKind::Lt, node, makeInteger(context, 0)), at,
                         sumOf(prefix, read(depths, {node}))});
}

/// depth(n), ancestor(n, m) and the position of a query as reads.
Expr MixReader::inTree(Expr expr) {
  if (expr.is(ExprKind::Var) && expr.getName() == "i")
    return sumOf(minus(graph.lengthExpr(problem.Tk), graph.lengthExpr(problem.Tq)),
                 read(depths, {makeVar(context, "row")}));
  expr = pattern::mapChildren(expr, [&](Expr child) { return inTree(child); });
  if (expr.is(ExprKind::Call) && expr.getName() == "depth")
    return read(depths, {expr[0]});
  if (expr.is(ExprKind::Call) && expr.getName() == "ancestor") {
    // Bounds that say which tiles have any.
    Expr below = makeBinary(ExprKind::Le, makeInteger(context, 0), expr[1]);
    Expr range = makeBinary(ExprKind::And, below, makeBinary(ExprKind::Le, expr[1], expr[0]));
    Expr bit = makeBinary(ExprKind::Eq, read(ancestors, expr.children()), makeInteger(context, 1));
    return makeBinary(ExprKind::And, range, bit);
  }
  return expr;
}

} // namespace heddle::compiler
