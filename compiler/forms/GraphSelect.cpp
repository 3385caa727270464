// Selections as maps: the score of each candidate, then a mask over all of them that says which are
// among the best k.
#include "compiler/forms/GraphReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// A list of the best candidates is a mask over all of them: the score of each in workspace, then
///   mask[row, n] = visible and (how many candidates come before n) < k
/// where larger scores come first, then smaller numbers, and forced candidates before all.
Status GraphReader::readSelect(pattern::SelectOp op) {
  if (op.getStrategy() != pattern::SelectStrategy::top)
    return unsupported("select {} is not lowered yet",
                       pattern::stringifySelectStrategy(op.getStrategy()).str());
  auto ready = [&](Expr expr) { return readExpr(expr, op.getReads(), op.getReadNames()); };
  std::vector<std::string> vars;
  llvm::SmallVector<Expr> at;
  std::vector<Extent> shape;
  for (auto [name, extent] : llvm::zip(op.getVars(), op.getExtents())) {
    vars.push_back(cast<StringAttr>(name).getValue().str());
    at.push_back(makeVar(context, vars.back()));
    shape.push_back(graph.extentOf(cast<Expr>(extent)));
  }
  auto number = [&](double value) { return pattern::makeFloat(context, value); };
  Expr score = ready(op.getScoreAttr());
  if (Expr forced = ready(op.getForcedAttr()))
    score = call("select", {forced, number(3.0e38), score});
  if (Expr visible = ready(op.getVisibleAttr()))
    score = call("select", {visible, score, number(-3.3e38)});
  bool batched = pattern::arrayType(op.getList()).getBatched();
  std::string list = pattern::valueName(op.getList()).str();
  std::string scores = freshName(list + "_score"), mask = freshName(list + "_mask");
  HEDDLE_CHECK(addBuffer(scores, batched, shape, Float32Type::get(context)));
  HEDDLE_CHECK(addBuffer(mask, batched, shape, IntegerType::get(context, 8)));
  graph.stages.push_back(MapStage{scores, vars, score, "scores of candidates"});
  Expr n = at.back(), m = makeVar(context, "m'");
  llvm::SmallVector<Expr> other(at);
  other.back() = m;
  Expr mine = read(scores, at), theirs = read(scores, other);
  Expr before = makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                           makeBinary(ExprKind::And, makeBinary(ExprKind::Eq, theirs, mine),
                                      makeBinary(ExprKind::Lt, m, n)));
  Expr rank = pattern::makeReduction(ExprKind::Sum, "m'", makeInteger(context, 0),
                                     graph.lengthExpr(shape.back()),
                                     call("select", {before, number(1), number(0)}));
  Expr count = graph.specialise(op.getCountAttr());
  Expr chosen = makeBinary(ExprKind::And, makeBinary(ExprKind::Gt, mine, number(-3.1e38)),
                           makeBinary(ExprKind::Lt, rank, count));
  Expr bit = call("select", {chosen, makeInteger(context, 1), makeInteger(context, 0)});
  graph.stages.push_back(MapStage{mask, vars, graph.specialise(bit), "the best of them"});
  masks[list] = mask;
  if (count.is(ExprKind::Integer))
    graph.chosen[mask] = count.integer();
  return {};
}

} // namespace heddle::compiler
