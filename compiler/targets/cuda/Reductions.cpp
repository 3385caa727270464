// Reductions of tiles in registers: in each thread, then over the threads that share a row, by
// shuffles within a warp and through shared memory across warps.
#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Scalars.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>

namespace heddle::compiler::cuda {

using namespace mlir;
using tile::TileType;
using tile::typeOf;

namespace {
struct Combiner {
  std::string neutral, format;
  std::string operator()(const std::string &x, const std::string &y) const {
    return fmt::format(fmt::runtime(format), x, y);
  }
};
Combiner combinerOf(tile::Reduction kind, Type element) {
  bool real = isa<FloatType>(element);
  switch (kind) {
  case tile::Reduction::Max:
    return real ? Combiner{"-infinity()", "fmaxf({}, {})"}
                : Combiner{"(int)0x80000000", "max({}, {})"};
  case tile::Reduction::Min:
    return real ? Combiner{"infinity()", "fminf({}, {})"} : Combiner{"0x7fffffff", "min({}, {})"};
  case tile::Reduction::Or:
    return {element.isInteger(1) ? "false" : "0", "{} | {}"};
  default:
    return {real ? "0.0f" : "0", "{} + {}"};
  }
}
} // namespace

Status KernelEmitter::reduce(tile::ReduceOp op) {
  Fragment fragment(typeOf(op.getTile())), result(typeOf(op.getResult()));
  int64_t dim = op.getDim(), rank = fragment.type.getRank();
  bool shares = result.type.getRank() == rank;
  Combiner combine = combinerOf(op.getKind(), fragment.type.getElementType());
  int64_t far = 1; // warps that hold parts of what is reduced
  for (const Step &step : fragment.threads) {
    if (step.dim != dim || step.lane * step.extent <= 32 || shares)
      continue;
    if (step.lane < 32 || rank != 2 || !fragment.type.getElementType().isF32())
      return unsupported(op, "a reduction across warps of other than two dimensions of f32");
    far *= step.extent;
  }
  bool fromFill = false;
  if (auto fill = op.getInit().getDefiningOp<tile::FillOp>()) {
    double value = fill.getValue().convertToDouble();
    fromFill = op.getKind() == tile::Reduction::Sum
                   ? value == 0
                   : value == -std::numeric_limits<double>::infinity() &&
                         op.getKind() == tile::Reduction::Max;
  }
  if (!kernel->hasAttr("tile.state"))
    out.comment(op.getKind() == tile::Reduction::Max ? "Maxima of rows, in each of their threads."
                : shares                             ? "Sums of weights, each thread its own share."
                                                     : "Sums of rows, in each of their threads.");
  if (!takePlace(op.getResult(), op.getInit()))
    declareTile(
        op.getResult(),
        nameFor(op.getResult(), op.getKind() == tile::Reduction::Max ? "row_max" : "row_sum"));
  // What is kept outside, what is reduced inside.
  Fragment kept = fragment, inner = fragment;
  llvm::erase_if(kept.values, [&](const Step &step) { return step.dim == dim; });
  llvm::erase_if(inner.values, [&](const Step &step) { return step.dim != dim; });
  SmallVector<int64_t> positions; // of the result's dimensions in the tile
  for (int64_t d = 0; d < rank; ++d)
    if (d != dim || shares)
      positions.push_back(d);
  int outside = openLoops(kept);
  std::string start = element(op.getInit(), positions, fragment, {});
  // A maximum may begin with the start value in every thread; a sum across threads may not.
  bool crossing = llvm::any_of(fragment.threads, [&](const Step &s) { return s.dim == dim; });
  bool first = !fromFill && (shares || !crossing || op.getKind() != tile::Reduction::Sum);
  std::string type = typeText(fragment.type.getElementType());
  std::string sum = fresh(op.getKind() == tile::Reduction::Max ? "largest" : "sum");
  SmallVector<int64_t> identity = identityOf(rank);
  auto terms = op.getTile().getDefiningOp<tile::MapOp>();
  const bool lazy = terms && isLazy(op.getTile());
  bool pairs = inner.pairs() && !lazy;
  const bool single = !lazy && inner.values.empty() && !first;
  out.line("{} {} = {};", type, sum,
           single  ? element(op.getTile(), identity, fragment, {})
           : first ? start
                   : combine.neutral);
  int inside = openLoops(inner, pairs, lazy ? 4 : 0);
  if (lazy) {
    HEDDLE_TRY(values, mapBody(terms, fragment, {}));
    out.line("{} = {};", sum, combine(sum, asOperand(values[0])));
  } else if (pairs) {
    std::string a = element(op.getTile(), identity, fragment, {{"c", "0"}});
    std::string b = element(op.getTile(), identity, fragment, {{"c", "1"}});
    if (kernel->hasAttr("tile.state") && op.getKind() == tile::Reduction::Sum) {
      // One after the other: squares are added by multiply-adds.
      out.line("{} = {};", sum, combine(sum, a));
      out.line("{} = {};", sum, combine(sum, b));
    } else {
      const bool isCall = op.getKind() == tile::Reduction::Max;
      out.line("{} = {};", sum,
               combine(sum, isCall ? combine(a, b) : fmt::format("({})", combine(a, b))));
    }
  } else if (!single) {
    out.line("{} = {};", sum, combine(sum, element(op.getTile(), identity, fragment, {})));
  }
  out.close(inside);
  for (const Step &step : fragment.threads)
    for (int64_t away = step.lane;
         step.dim == dim && !shares && step.lane < 32 && away < step.lane * step.extent; away *= 2)
      out.line("{} = {};", sum,
               combine(sum, fmt::format("__shfl_xor_sync(0xffffffffu, {}, {})", sum, away)));
  Indices own;
  for (const Step &step : result.values)
    if (const Step *same = fragment.value(positions[step.dim], step.step))
      own.push_back({step.variable, same->variable});
  std::string target = names[op.getResult()] + subscript(result, own);
  const bool begins = !first && !fromFill;
  if (far > 1) {
    // The start value waits in the result until the sums of all warps are there.
    if (begins)
      out.line("{} = {};", target, start);
    exchangeSums(op, fragment, sum, positions[0], far);
    out.close(outside);
    out.line("__syncthreads();");
    outside = openLoops(kept);
    std::string total = fresh("total");
    gatherSums(op, fragment, total, positions[0], far,
               [&](const std::string &x) { return combine(total, x); });
    out.line("{} = {};", target, begins ? combine(target, total) : total);
    out.close(outside);
    return {};
  }
  if (begins)
    out.line("{} = {};", sum, combine(start, sum));
  out.line("{} = {};", target, sum);
  out.close(outside);
  return {};
}

/// Number of the thread's warp among those that hold parts of dimension `dim`.
std::string KernelEmitter::warpAlong(const Fragment &fragment, int64_t dim) {
  std::string number;
  int64_t before = 1;
  for (const Step &step : fragment.threads) {
    if (step.dim != dim || step.lane < 32)
      continue;
    number += (number.empty() ? "" : " + ") + times(threadCoordinate(step), before);
    before *= step.extent;
  }
  return number;
}

/// The sum of the warp goes to shared memory: [warp][kept].
void KernelEmitter::exchangeSums(tile::ReduceOp op, const Fragment &fragment,
                                 const std::string &sum, int64_t keptDim, int64_t warps) {
  std::string condition;
  for (const Step &step : fragment.threads) // one of the lanes that share a sum, one of the copies
    if (step.lane < 32 ? step.dim != keptDim : step.dim < 0)
      condition +=
          fmt::format("{}{} == 0", condition.empty() ? "" : " && ", threadCoordinate(step));
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  const int64_t extent = fragment.type.getDim(keptDim);
  if (!condition.empty())
    out.add(fmt::format("if ({})", condition));
  out.line("{}store_shared_f32(smem + {} + (({}) * {} + {}) * 4, {});",
           condition.empty() ? "" : "  ", offset,
           warpAlong(fragment, fragment.type.getRank() - 1 - keptDim), extent,
           coordinate(fragment, keptDim, {}), sum);
}

/// Declares `sum`, all warps' sums combined.
void KernelEmitter::gatherSums(tile::ReduceOp op, const Fragment &fragment, const std::string &sum,
                               int64_t keptDim, int64_t warps,
                               llvm::function_ref<std::string(const std::string &)> combine) {
  int64_t offset = op->getAttrOfType<IntegerAttr>("tile.offset").getInt();
  const int64_t extent = fragment.type.getDim(keptDim);
  for (int64_t w = 0; w < warps; ++w) {
    std::string part = fmt::format("load_shared_f32(smem + {} + ({}) * 4)", offset + w * extent * 4,
                                   coordinate(fragment, keptDim, {}));
    if (w == 0)
      out.line("float {} = {};", sum, part);
    else
      out.line("{} = {};", sum, combine(part));
  }
}

void KernelEmitter::vote(tile::VoteOp op) {
  Fragment fragment(typeOf(op.getTile()));
  SmallVector<int64_t> identity = identityOf(fragment.type.getRank());
  std::string any = fresh("any");
  out.line("bool {} = false;", any);
  int loops = openLoops(fragment);
  out.line("{} |= {};", any, element(op.getTile(), identity, fragment, {}));
  out.close(loops);
  out.line("{0} = __any_sync(0xffffffffu, {0});", any);
  names[op.getResult()] = any;
}

} // namespace heddle::compiler::cuda
