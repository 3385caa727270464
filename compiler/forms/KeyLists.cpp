// Splits a support at its membership in a list, which counts as true or as false:
//
//   j <= i and (j in keys[row] or i - j <= w)   ->   others: j <= i and i - j <= w
//                                                    inside: j <= i and not (others)
//
// Where entries are single keys, j becomes keys[row, j]: the mix then runs over entries.
#include "compiler/forms/KeyLists.h"

#include "compiler/forms/Terms.h"

namespace heddle::compiler {

using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;

namespace {

/// Memberships where they stand unnegated; false if there are others.
bool collectMembers(Expr expr, llvm::SmallVectorImpl<Expr> &members) {
  if (expr.is(ExprKind::And) || expr.is(ExprKind::Or))
    return collectMembers(expr[0], members) && collectMembers(expr[1], members);
  if (expr.is(ExprKind::Member)) {
    if (!llvm::is_contained(members, expr))
      members.push_back(expr);
    return true;
  }
  bool hidden = false;
  pattern::walk(expr, [&](Expr e) {
    hidden |= e.is(ExprKind::Member);
    return !hidden;
  });
  return !hidden;
}

/// The number of the query row as supports have it: bounds know positions only.
Expr rowOf(const Graph &graph, const MixProblem &mix) {
  Expr i = pattern::makeVar(mix.context, "i");
  if (!mix.bottomRight)
    return i;
  Expr off = minus(graph.lengthExpr(mix.Tk), graph.lengthExpr(mix.Tq));
  return pattern::simplify(minus(i, off));
}

/// What a row of the list is chosen by: names of the row and of heads, each within its extent.
bool readAt(const Graph &graph, const MixProblem &mix, Expr row, KeyList &list) {
  const ProblemTensor &tensor = *mix.find(row.getName());
  if (!tensor.batched || tensor.rank() != row.size() + 1)
    return false;
  for (auto [n, index] : llvm::enumerate(row.children())) {
    if (mix.G > 1 && index == mix.keyHead)
      index = pattern::makeVar(mix.context, "hk");
    if (index == rowOf(graph, mix))
      index = pattern::makeVar(mix.context, "row");
    if (!index.is(ExprKind::Var))
      return false;
    llvm::StringRef name = index.getName();
    const Extent *extent = name == "row"  ? &mix.Tq
                           : name == "h"  ? &mix.H
                           : name == "hq" ? &mix.Hq
                           : name == "hk" ? &mix.Hk
                           : name == "hv" ? &mix.v.heads
                                          : nullptr;
    if (!extent || tensor.dim(n) != *extent)
      return false;
    list.perHead |= name == "h" || name == "hq";
    list.at.push_back(index);
  }
  return true;
}

/// 1 for `j`, c for `j div c`; 0 for all else.
int64_t blockOf(Expr element) {
  auto isKey = [](Expr e) { return e.is(ExprKind::Var) && e.getName() == "j"; };
  if (isKey(element))
    return 1;
  bool quotient = element.is(ExprKind::FloorDiv) && isKey(element[0]) &&
                  element[1].is(ExprKind::Integer) && element[1].integer() > 0;
  return quotient ? element[1].integer() : 0;
}

/// The mix over entries of its list: key j is list[.., j].
void runOverEntries(MixProblem &mix) {
  std::vector<Expr> at(mix.list.at.begin(), mix.list.at.end());
  at.push_back(pattern::makeVar(mix.context, "j"));
  Expr key = read(mix.list.tensor, at);
  for (Expr *expr :
       {&mix.support, &mix.score, &mix.decay, &mix.gate, &mix.product, &mix.k.value, &mix.v.value})
    *expr = rename(*expr, {{"j", key}});
}

} // namespace

std::optional<ListedMix> planList(const Graph &graph, const MixProblem &mix) {
  llvm::SmallVector<Expr> members;
  bool plain = !mix.paging.block && !mix.lenQ && !mix.lenK && !mix.startK && !mix.entry;
  if (!plain || !collectMembers(mix.support, members) || members.size() != 1)
    return std::nullopt;
  Expr member = members.front(), row = member[1];
  KeyList list;
  list.tensor = row.getName().str();
  list.block = blockOf(member[0]);
  if (!graph.chosen.contains(list.tensor) || !list.block || !readAt(graph, mix, row, list))
    return std::nullopt;
  list.count = *mix.find(list.tensor)->shape.back().fixed;
  Expr with = assume(mix.support, member, true), without = assume(mix.support, member, false);
  ListedMix listed{mix, std::nullopt};
  listed.inside.list = list;
  listed.inside.support = with;
  bool alone = without.is(ExprKind::Bool) && !without.boolean();
  if (!alone) {
    listed.others = mix;
    listed.others->support = without;
    // Both parts name the heads of a row alike.
    listed.others->list.perHead = list.perHead;
    Expr rest = pattern::makeUnary(ExprKind::Not, without);
    listed.inside.support = pattern::simplify(makeBinary(ExprKind::And, with, rest));
  }
  if (list.block == 1)
    runOverEntries(listed.inside);
  return listed;
}

} // namespace heddle::compiler
