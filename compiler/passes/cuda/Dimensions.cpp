// Joins the dimensions of operands and results, op by op:
//   tile.mma %Q[i, d], %K[j, d]      d of Q with d of K, i of Q and j of K with those of the result
#include "compiler/passes/cuda/Dimensions.h"

#include "compiler/support/Names.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace heddle::compiler::cuda {

using namespace mlir;

std::optional<ProductDims> dimsOf(tile::MmaOp op) {
  SmallVector<StringRef> sums = op.getContracted();
  const int64_t rankA = tileType(op.getA()).getRank();
  if (sums.size() != 1 || rankA < 1 || rankA > 2 || tileType(op.getB()).getRank() != 2)
    return std::nullopt;
  ProductDims dims;
  dims.sumA = positionOf(op.getADims(), sums[0]);
  dims.sumB = positionOf(op.getBDims(), sums[0]);
  dims.columnsB = 1 - dims.sumB;
  dims.rowsA = dims.rowsC = -1;
  if (rankA == 1)
    return dims;
  dims.rowsA = 1 - dims.sumA;
  dims.rowsC = op.getADims()[dims.rowsA] == op.getCDims()[0] ? 0 : 1;
  return dims;
}

void Dimensions::join(Value a, int64_t dimA, Value b, int64_t dimB) {
  classes.unionSets({a.getAsOpaquePointer(), dimA}, {b.getAsOpaquePointer(), dimB});
}

void Dimensions::joinAll(Value a, Value b) {
  for (int64_t dim = 0; tileType(a) && dim < tileType(a).getRank(); ++dim)
    join(a, dim, b, dim);
}

Dimensions::Dimensions(tile::KernelOp kernel) {
  kernel.walk([&](Operation *op) {
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      for (Value result : map.getResults())
        joinAll(map.getResult(0), result);
      for (auto [n, input] : llvm::enumerate(map.getInputs()))
        for (auto [dim, target] : llvm::enumerate(map.getInputPositions(n)))
          join(input, dim, map.getResult(0), target);
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      joinAll(reduce.getInit(), reduce.getResult());
      for (int64_t dim = 0, out = 0; dim < tileType(reduce.getTile()).getRank(); ++dim)
        if (dim != int64_t(reduce.getDim()))
          join(reduce.getTile(), dim, reduce.getResult(), out++);
    } else if (auto scan = dyn_cast<tile::ScanOp>(op)) {
      joinAll(scan.getTile(), scan.getResult());
    } else if (auto solve = dyn_cast<tile::SolveUnitLowerOp>(op)) {
      joinAll(solve.getRhs(), solve.getResult());
      join(solve.getLower(), 0, solve.getRhs(), 0);
      join(solve.getLower(), 1, solve.getRhs(), 0);
    } else if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      joinAll(mma.getInit(), mma.getResult());
      for (auto [dim, name] : llvm::enumerate(mma.getADims().getAsRange<StringAttr>()))
        if (int64_t in = positionOf(mma.getCDims(), name.getValue()); in >= 0)
          join(mma.getA(), dim, mma.getResult(), in);
        else
          join(mma.getA(), dim, mma.getB(), positionOf(mma.getBDims(), name.getValue()));
      for (auto [dim, name] : llvm::enumerate(mma.getBDims().getAsRange<StringAttr>()))
        if (int64_t in = positionOf(mma.getCDims(), name.getValue()); in >= 0)
          join(mma.getB(), dim, mma.getResult(), in);
    } else if (auto loop = dyn_cast<tile::ForOp>(op)) {
      for (auto [n, init] : llvm::enumerate(loop.getInits()))
        for (Value same : {Value(loop.getIterArgs()[n]), Value(loop.getResult(n)),
                           Value(loop.getYield().getValues()[n])})
          joinAll(init, same);
    }
  });
}

const void *Dimensions::classOf(Value value, int64_t dim) {
  const Key &leader = classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim});
  return &leader;
}

} // namespace heddle::compiler::cuda
