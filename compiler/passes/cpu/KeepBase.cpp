// KeepBase: the base of a softmax's exponentials moves only when a row's maximum grew by more than
// 8 in log2 (RunningBase.h), where weights are rounded to bf16 for a product. The accumulators of
// the matrix unit are in scratch, and a sweep scales them before each product: it is passed over
// where no row's base moved (NestLoops.cpp).
#include "compiler/passes/RunningBase.h"
#include "compiler/passes/cpu/CpuPasses.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler {
namespace {

class KeepBasePass : public PassWrapper<KeepBasePass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(KeepBasePass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "keep-base"; }
  StringRef getDescription() const override {
    return "the base of exponentials moves when a maximum grew by much";
  }

  void runOnOperation() override {
    auto rounds = [](tile::MmaOp product) {
      return tile::tileType(product.getA()).getElementType().isBF16();
    };
    getOperation().walk([&](tile::ForOp loop) {
      std::optional<RunningBase> base = runningBase(loop);
      if (base && llvm::any_of(loop.getBody().getOps<tile::MmaOp>(), rounds))
        keepBase(*base);
    });
  }
};

} // namespace

std::unique_ptr<Pass> createKeepBasePass() { return std::make_unique<KeepBasePass>(); }

} // namespace heddle::compiler
