// LazyRescale: a warp scales its accumulators only when the maximum of one of its rows grew by more
// than 8 in log2. Until then the base of the exponentials stays, weights may reach 2^8, and all of
// a row (sums, accumulators, later weights) share the base, so nothing is lost.
//
//   M = max(m, ..) ; b = finite(M) ; r = exp2(m - b)    ->    B = M > m + 8 ? M : m ; b = finite(B)
//   ; r = exp2(m - b) l = l r ; O = O r                                          if vote(B > m): l
//   = l r ; O = O r yield M, ..                                                yield B, ..
#include "compiler/passes/RunningBase.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// x r, where r is the correction.
bool isScaling(tile::MapOp map) {
  return map.getNumResults() == 1 && map.getInputs().size() == 2 &&
         map.getYield().getValues()[0].getDefiningOp<arith::MulFOp>() &&
         llvm::hasNItems(map.getBody().front(), 2);
}

class Rescaler {
public:
  explicit Rescaler(tile::ForOp loop) : loop(loop), builder(loop) {}

  void run() {
    std::optional<RunningBase> running = runningBase(loop);
    if (!running)
      return;
    SmallVector<tile::MapOp> scalings;
    for (Operation *user : running->correction->getUsers()) {
      auto map = dyn_cast<tile::MapOp>(user);
      if (!map || !isScaling(map))
        return;
      scalings.push_back(map);
    }
    // Users are listed backwards; program order reads better.
    std::reverse(scalings.begin(), scalings.end());
    Value base = keepBase(*running);
    guard(scalings, anyMoved(base, running->m, running->correction));
  }

private:
  /// Whether the base of any row of the warp is another than before.
  Value anyMoved(Value base, Value m, tile::MapOp correction) {
    builder.setInsertionPointAfter(correction);
    auto type = tileType(m).withElementType(builder.getI1Type());
    auto moved = tile::MapOp::create(
        builder, base.getLoc(), TypeRange{type}, ValueRange{base, m},
        SmallVector<SmallVector<StringRef>>(2, {"i"}), ArrayRef<StringRef>{"i"},
        [](OpBuilder &b, Location at, ValueRange x) {
          Value above = arith::CmpFOp::create(b, at, arith::CmpFPredicate::OGT, x[0], x[1]);
          tile::YieldOp::create(b, at, above);
        });
    return tile::VoteOp::create(builder, base.getLoc(), builder.getI1Type(), moved.getResult(0));
  }

  /// All scalings in one branch; what is not scaled passes by.
  void guard(ArrayRef<tile::MapOp> scalings, Value any) {
    SmallVector<Type> types;
    SmallVector<Value> before, after;
    for (tile::MapOp map : scalings) {
      types.push_back(map.getResult(0).getType());
      before.push_back(map.getInputs()[0]);
      after.push_back(map.getResult(0));
    }
    auto branch = scf::IfOp::create(builder, loop.getLoc(), types, any, /*withElseRegion=*/true);
    for (auto [scaled, result] : llvm::zip(after, branch.getResults()))
      scaled.replaceAllUsesWith(result);
    for (tile::MapOp map : scalings)
      map->moveBefore(branch.thenBlock(), branch.thenBlock()->end());
    builder.setInsertionPointToEnd(branch.thenBlock());
    scf::YieldOp::create(builder, loop.getLoc(), after);
    builder.setInsertionPointToEnd(branch.elseBlock());
    scf::YieldOp::create(builder, loop.getLoc(), before);
  }

  tile::ForOp loop;
  OpBuilder builder;
};

class LazyRescalePass : public PassWrapper<LazyRescalePass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LazyRescalePass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, scf::SCFDialect>();
  }
  StringRef getArgument() const override { return "cuda-lazy-rescale"; }
  StringRef getDescription() const override {
    return "accumulators are scaled when a maximum grew by much";
  }

  void runOnOperation() override {
    SmallVector<tile::ForOp> loops;
    getOperation().walk([&](tile::ForOp loop) {
      if (loop.getKind() != tile::LoopKind::Any || loop.getSupportAttr())
        loops.push_back(loop);
    });
    for (tile::ForOp loop : loops)
      Rescaler(loop).run();
  }
};

} // namespace

std::unique_ptr<Pass> createLazyRescalePass() { return std::make_unique<LazyRescalePass>(); }

} // namespace heddle::compiler::cuda
