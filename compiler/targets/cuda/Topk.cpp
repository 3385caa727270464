// Running lists of the best candidates: a warp a row, its list and the new candidates side by side
// over the lanes. The worst that is kept is found bit by bit with a count over the row a step; what
// is at least as good is packed in order in shared memory and read back:
//
//   list 4 2 .   new 2 8 4 3, k = 3   ->   the third best is 4   ->   list 4 8 4
#include "compiler/targets/cuda/KernelEmitter.h"

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::typeOf;

namespace {

/// How many values of a row a thread holds, and their loop variable (empty: one).
std::pair<int64_t, std::string> columnsOf(const Fragment &fragment) {
  for (const Step &step : fragment.values)
    if (step.dim == 1)
      return {step.extent, step.variable};
  return {1, ""};
}

} // namespace

Status KernelEmitter::topk(tile::TopkOp op) {
  const auto become = [&](Value result, Value best, const char *name) {
    if (takePlace(result, best))
      return;
    declareTile(result, nameFor(result, name));
    copyTile(best, names[result], Fragment(typeOf(result)), false);
  };
  Fragment list(typeOf(op.getBestScore())), next(typeOf(op.getScore()));
  out.comment("The best of the list and of new candidates.");
  become(op.getResultScore(), op.getBestScore(), "best_score");
  become(op.getResultId(), op.getBestId(), "best_id");
  const auto [listed, listVariable] = columnsOf(list);
  const auto [added, nextVariable] = columnsOf(next);
  const std::string scores = names[op.getResultScore()] + subscript(list, {}),
                    ids = names[op.getResultId()] + subscript(list, {});
  Fragment rows = list;
  llvm::erase_if(rows.values, [](const Step &step) { return step.dim != 0; });
  const int outside = openLoops(rows);
  if (outside == 0)
    out.open("");
  const std::string rank = fresh("rank"), id = fresh("candidate"), place = fresh("place");
  out.line("u32 {}[{}];", rank, listed + added);
  out.line("int {}[{}];", id, listed + added);
  const auto collect = [&](int64_t first, int64_t count, const std::string &variable,
                           const std::string &score, const std::string &number,
                           const std::string &condition) {
    if (count > 1)
      out.unrolled(variable, count);
    const std::string at = count == 1   ? std::to_string(first)
                           : first == 0 ? variable
                                        : fmt::format("{} + {}", first, variable);
    out.line("{}[{}] = {};", id, at, number);
    out.line("{}[{}] = {}rank_of({}, {}[{}]){};", rank, at,
             condition.empty() ? "" : condition + " ? ", score, id, at,
             condition.empty() ? "" : " : 0");
    if (count > 1)
      out.close();
  };
  collect(0, listed, listVariable, scores, ids, replicaCondition(list));
  const bool shared = typeOf(op.getId()).getRank() == 1;
  collect(listed, added, nextVariable, element(op.getScore(), {0, 1}, next, {}),
          shared ? element(op.getId(), {1}, next, {}) : element(op.getId(), {0, 1}, next, {}),
          replicaCondition(next));
  const std::string to = sharedBase(op->getAttrOfType<IntegerAttr>("tile.offset").getInt());
  out.line("take_best<{}, {}>({}, {}, {});", listed + added, list.type.getDim(1), rank, id, to);
  if (listed > 1)
    out.unrolled(listVariable, listed);
  out.line("const float2 {} = load_shared_pair({} + ({}) * 8);", place, to,
           coordinate(list, 1, {}));
  out.line("{} = {}.x;", scores, place);
  out.line("{} = __float_as_int({}.y);", ids, place);
  out.close((listed > 1) + std::max(outside, 1));
  return {};
}

} // namespace heddle::compiler::cuda
