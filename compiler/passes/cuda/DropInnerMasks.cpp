// DropInnerMasks: an exponent need not be masked where its power is masked by the same condition,
// since an infinite power that a select throws away does no harm here.
//
//   select(c, s * exp2(select(c, x, 0)), 0)   ->   select(c, s * exp2(x), 0)
#include "compiler/passes/cuda/CudaPasses.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// Whether whatever is made of `value` by products is kept only where `condition` holds.
bool isKeptOnlyIf(Value condition, Value value) {
  return llvm::all_of(value.getUses(), [&](OpOperand &use) {
    if (auto product = dyn_cast<arith::MulFOp>(use.getOwner()))
      return isKeptOnlyIf(condition, product);
    auto select = dyn_cast<arith::SelectOp>(use.getOwner());
    return select && select.getCondition() == condition && use.getOperandNumber() == 1;
  });
}

class DropInnerMasksPass : public PassWrapper<DropInnerMasksPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(DropInnerMasksPass)
  StringRef getArgument() const override { return "cuda-drop-inner-masks"; }
  StringRef getDescription() const override {
    return "exponents whose powers are masked are not masked";
  }

  void runOnOperation() override {
    if (!carriesState(getOperation()))
      return;
    getOperation().walk([&](math::Exp2Op power) {
      auto masked = power.getOperand().getDefiningOp<arith::SelectOp>();
      if (masked && isKeptOnlyIf(masked.getCondition(), power))
        power.getOperandMutable().set(masked.getTrueValue());
    });
  }
};

} // namespace

std::unique_ptr<Pass> createDropInnerMasksPass() { return std::make_unique<DropInnerMasksPass>(); }

} // namespace heddle::compiler::cuda
