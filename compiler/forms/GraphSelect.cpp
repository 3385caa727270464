// Selections: lists of the best candidates of each row, or, where a target has no running lists of
// that length, the score of each candidate and a mask over all of them.
#include "compiler/forms/GraphReader.h"

#include <limits>

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// What a selection by scores reads, with everything static put in.
struct GraphReader::Selection {
  std::vector<std::string> vars;
  llvm::SmallVector<Expr> at;
  std::vector<Extent> shape; ///< of the rows, then the number of candidates
  Expr score, forced, visible, count;
  bool batched = false;
  std::string list;

  /// The score by which candidates rank: forced ones before all, `hidden` where one is not visible.
  Expr ranked(double hidden) const {
    auto number = [&](double value) { return pattern::makeFloat(score.getContext(), value); };
    Expr rank = forced ? call("select", {forced, number(3.0e38), score}) : score;
    return visible ? call("select", {visible, rank, number(hidden)}) : rank;
  }
};

Status GraphReader::readSelect(pattern::SelectOp op) {
  if (op.getStrategy() != pattern::SelectStrategy::top)
    return readRoutes(op);
  auto ready = [&](Expr expr) { return readExpr(expr, op.getReads(), op.getReadNames()); };
  Selection s;
  for (auto [name, extent] : llvm::zip(op.getVars(), op.getExtents())) {
    s.vars.push_back(cast<StringAttr>(name).getValue().str());
    s.at.push_back(makeVar(context, s.vars.back()));
    s.shape.push_back(graph.extentOf(cast<Expr>(extent)));
  }
  s.score = ready(op.getScoreAttr());
  s.forced = ready(op.getForcedAttr());
  s.visible = ready(op.getVisibleAttr());
  s.count = graph.specialise(op.getCountAttr());
  s.batched = pattern::arrayType(op.getList()).getBatched();
  s.list = pattern::valueName(op.getList()).str();
  // On a GPU a warp keeps a list in registers.
  const int64_t most = request.request.target == "cpu" ? std::numeric_limits<int64_t>::max() : 512;
  bool known = s.count.is(ExprKind::Integer) && s.count.integer() > 0 && s.count.integer() <= most;
  return known && s.shape.size() > 1 ? addList(s) : addMask(s);
}

/// The list itself: forced candidates before all, -inf where one is not visible.
Status GraphReader::addList(const Selection &s) {
  Expr score = s.ranked(-std::numeric_limits<double>::infinity());
  std::vector<Extent> shape = s.shape;
  shape.back() = graph.extentOf(s.count);
  if (!graph.find(s.list))
    HEDDLE_CHECK(addBuffer(s.list, s.batched, shape, IntegerType::get(context, 32)));
  graph.stages.push_back(ChooseStage{s.list,
                                     "",
                                     s.vars,
                                     s.shape.back(),
                                     graph.specialise(score),
                                     {},
                                     "the best candidates of each row"});
  graph.chosen[s.list] = s.count.integer();
  return {};
}

/// A list as a mask over all candidates: the score of each in workspace, then
///   mask[row, n] = visible and (how many candidates come before n) < k
/// where larger scores come first, then smaller numbers, and forced candidates before all.
Status GraphReader::addMask(const Selection &s) {
  auto number = [&](double value) { return pattern::makeFloat(context, value); };
  Expr score = s.ranked(-3.3e38);
  std::string scores = freshName(s.list + "_score"), mask = freshName(s.list + "_mask");
  HEDDLE_CHECK(addBuffer(scores, s.batched, s.shape, Float32Type::get(context)));
  HEDDLE_CHECK(addBuffer(mask, s.batched, s.shape, IntegerType::get(context, 8)));
  graph.stages.push_back(MapStage{scores, s.vars, score, "scores of candidates"});
  Expr n = s.at.back(), m = makeVar(context, "m'");
  llvm::SmallVector<Expr> other(s.at);
  other.back() = m;
  Expr mine = read(scores, s.at), theirs = read(scores, other);
  Expr before = makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                           makeBinary(ExprKind::And, makeBinary(ExprKind::Eq, theirs, mine),
                                      makeBinary(ExprKind::Lt, m, n)));
  Expr rank = pattern::makeReduction(ExprKind::Sum, "m'", makeInteger(context, 0),
                                     graph.lengthExpr(s.shape.back()),
                                     call("select", {before, number(1), number(0)}));
  Expr chosen = makeBinary(ExprKind::And, makeBinary(ExprKind::Gt, mine, number(-3.1e38)),
                           makeBinary(ExprKind::Lt, rank, s.count));
  Expr bit = call("select", {chosen, makeInteger(context, 1), makeInteger(context, 0)});
  graph.stages.push_back(MapStage{mask, s.vars, graph.specialise(bit), "the best of them"});
  masks[s.list] = mask;
  if (s.count.is(ExprKind::Integer))
    graph.chosen[mask] = s.count.integer();
  return {};
}

} // namespace heddle::compiler
