// OrientProducts, for kernels that carry a state: operand a of each product becomes the one whose
// rows the warps share out. Where the result has a dimension of the state that is never summed
// (the values' features e), that is the rows, so that each warp owns its part of the state:
//
//   O[i, e] = mma S[d, e], Q[i, d]   a is S already: O' = S' Q'
//   S[d, e] = mma K[j, d], V[j, e]   ->   mma V[j, e], K[j, d]: S' = V' K
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// The class of the carried state's dimension that no product sums; null without a state.
const void *stateRows(tile::KernelOp kernel, Dimensions &dimensions) {
  llvm::SmallPtrSet<const void *, 4> summed;
  kernel.walk([&](tile::MmaOp op) {
    if (std::optional<ProductDims> dims = dimsOf(op))
      summed.insert(dimensions.classOf(op.getA(), dims->sumA));
  });
  const void *rows = nullptr;
  kernel.walk([&](tile::ForOp loop) {
    for (Value carried : loop.getIterArgs())
      if (tileType(carried) && tileType(carried).getRank() == 2)
        for (int64_t dim : {0, 1}) // the last one where neither is summed
          if (const void *found = dimensions.classOf(carried, dim); !summed.contains(found))
            rows = found;
  });
  return rows;
}

class OrientProductsPass : public PassWrapper<OrientProductsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(OrientProductsPass)
  StringRef getArgument() const override { return "cuda-orient-products"; }
  StringRef getDescription() const override {
    return "operand a of products has the rows that warps share out";
  }

  void runOnOperation() override {
    if (!carriesState(getOperation()))
      return;
    separateFills();
    Dimensions dimensions(getOperation());
    const void *rows = stateRows(getOperation(), dimensions);
    getOperation().walk([&](tile::MmaOp op) {
      std::optional<ProductDims> dims = dimsOf(op);
      if (!dims || dims->isVector())
        return;
      const auto isRows = [&](int64_t dim) {
        return dimensions.classOf(op.getResult(), dim) == rows;
      };
      const int64_t wanted = isRows(0) || !isRows(1) ? 0 : 1;
      if (dims->rowsC != wanted)
        swap(op);
    });
  }

private:
  /// One fill for two tiles of the same extents would make their dimensions one.
  void separateFills() {
    SmallVector<tile::FillOp> fills;
    getOperation().walk([&](tile::FillOp fill) { fills.push_back(fill); });
    for (tile::FillOp fill : fills)
      for (OpOperand &use : llvm::make_early_inc_range(fill->getUses()))
        if (&use != &*fill->use_begin())
          use.set(OpBuilder(fill).clone(*fill)->getResult(0));
  }

  static void swap(tile::MmaOp op) {
    Value a = op.getA(), b = op.getB();
    ArrayAttr aDims = op.getADims(), bDims = op.getBDims();
    op.getAMutable().set(b);
    op.getBMutable().set(a);
    op.setADimsAttr(bDims);
    op.setBDimsAttr(aDims);
  }
};

} // namespace

bool carriesState(tile::KernelOp kernel) { return kernel->hasAttr("tile.state"); }

std::unique_ptr<Pass> createOrientProductsPass() { return std::make_unique<OrientProductsPass>(); }

} // namespace heddle::compiler::cuda
