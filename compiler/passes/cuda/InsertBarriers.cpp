// InsertBarriers: what hand-over through shared memory needs on sm_80 to sm_89 and sm_120.
//
//   put           ->  put ; commit                       one group a put, also where a branch skips
//   it take          ->  wait_copies pending ; barrier ; take convert to    ->  barrier ; convert ;
//   barrier        what lay there is read, what lies there is shared memory written
//
// The barrier before a take also frees the slots that were released before it: every warp has
// passed its last read. So a put belongs after the next take of its ring.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

class InsertBarriersPass : public PassWrapper<InsertBarriersPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(InsertBarriersPass)
  StringRef getArgument() const override { return "cuda-insert-barriers"; }
  StringRef getDescription() const override { return "groups of copies, waits and barriers"; }

  void runOnOperation() override {
    OpBuilder builder(&getContext());
    auto count = getOperation()->getAttrOfType<IntegerAttr>("tile.warps");
    int64_t warps = count ? count.getInt() : 1;
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : ops) {
      Location at = op->getLoc();
      const auto barrier = [&] { tile::BarrierOp::create(builder, at, 0, warps); };
      if (isa<tile::PutOp>(op)) {
        Operation *whole = isa<scf::IfOp>(op->getParentOp()) ? op->getParentOp() : op;
        builder.setInsertionPointAfter(whole);
        tile::CommitOp::create(builder, at);
      } else if (isa<tile::TakeOp>(op)) {
        auto pending = op->getAttrOfType<IntegerAttr>("tile.pending");
        builder.setInsertionPoint(op);
        tile::WaitCopiesOp::create(builder, at, pending ? pending.getInt() : 0);
        barrier();
        op->removeAttr("tile.pending");
      } else if (auto convert = dyn_cast<tile::ConvertOp>(op);
                 convert && convert.getType().getSpace() == tile::Space::Smem) {
        builder.setInsertionPoint(op);
        barrier();
        builder.setInsertionPointAfter(op);
        barrier();
      }
    }
  }
};

} // namespace

std::unique_ptr<Pass> createInsertBarriersPass() { return std::make_unique<InsertBarriersPass>(); }

} // namespace heddle::compiler::cuda
