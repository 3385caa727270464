// SplitEdges: a full tile lies wholly inside its loop and inside the support, so the body of a full
// loop drops the mask (a map marked `mask` is true everywhere) and `valid` where it only counts the
// keys up to the loop's end:
//
//   s = map(S, keep) { select(keep, 0.1 S, -inf) }   ->   s = map(S) { 0.1 S }
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

/// Rebuilds `map` with one operand known to be true.
void assumeTrue(tile::MapOp map, unsigned operand) {
  OpBuilder builder(map);
  llvm::SmallVector<Value> inputs(map.getInputs());
  llvm::SmallVector<Attribute> dims(map.getInputDims().begin(), map.getInputDims().end());
  inputs.erase(inputs.begin() + operand);
  dims.erase(dims.begin() + operand);
  auto rebuilt = tile::MapOp::create(builder, map.getLoc(), map.getResultTypes(), inputs,
                                     builder.getArrayAttr(dims), map.getDims());
  rebuilt.setMask(map.getMask());
  rebuilt.getBody().takeBody(map.getBody());
  Block &body = rebuilt.getBody().front();
  OpBuilder inside = OpBuilder::atBlockBegin(&body);
  Value yes = arith::ConstantIntOp::create(inside, map.getLoc(), 1, 1);
  for (Operation *user : llvm::make_early_inc_range(body.getArgument(operand).getUsers()))
    if (auto select = dyn_cast<arith::SelectOp>(user);
        select && select.getCondition() == body.getArgument(operand)) {
      select.replaceAllUsesWith(select.getTrueValue());
      select.erase();
    }
  body.getArgument(operand).replaceAllUsesWith(yes);
  if (yes.use_empty())
    yes.getDefiningOp()->erase();
  body.eraseArgument(operand);
  map.replaceAllUsesWith(rebuilt);
  map.erase();
}

/// Drops a mask all of whose readers are maps.
void dropMask(tile::MapOp mask) {
  Value result = mask.getResult(0);
  for (Operation *user : result.getUsers())
    if (!isa<tile::MapOp>(user))
      return;
  while (!result.use_empty()) {
    OpOperand &use = *result.use_begin();
    assumeTrue(cast<tile::MapOp>(use.getOwner()), use.getOperandNumber());
  }
  mask.erase();
}

/// True for `end - j`: at least a whole tile in a full loop.
bool countsToEnd(Value valid, tile::ForOp loop) {
  auto difference = valid.getDefiningOp<arith::SubIOp>();
  return difference && difference.getLhs() == loop.getBounds().back() &&
         difference.getRhs() == loop.getIndex();
}

void dropValid(tile::LoadOp load, tile::ForOp loop) {
  if (load.getValid().empty() ||
      !llvm::all_of(load.getValid(), [&](Value valid) { return countsToEnd(valid, loop); }))
    return;
  load.getValidMutable().clear();
  load.removeFillAttr();
}

struct SplitEdgesPass : PassWrapper<SplitEdgesPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SplitEdgesPass)
  llvm::StringRef getArgument() const override { return "split-edges"; }
  llvm::StringRef getDescription() const override {
    return "bodies of full loops lose the mask and the bounds of loads along the keys";
  }

  void runOnOperation() override {
    getOperation()->walk([&](tile::ForOp loop) {
      if (loop.getKind() != tile::LoopKind::Full)
        return;
      Block &body = loop.getBody().front();
      for (auto load : llvm::make_early_inc_range(body.getOps<tile::LoadOp>()))
        dropValid(load, loop);
      llvm::SmallVector<tile::MapOp> masks;
      for (auto map : body.getOps<tile::MapOp>())
        if (map.getMask())
          masks.push_back(map);
      for (tile::MapOp mask : masks)
        dropMask(mask);
    });
  }
};

} // namespace

std::unique_ptr<Pass> createSplitEdgesPass() { return std::make_unique<SplitEdgesPass>(); }

} // namespace heddle::compiler
