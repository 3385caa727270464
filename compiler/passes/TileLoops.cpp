// TileLoops: the support a loop over keys carries becomes its bounds. For each zone of the support
// (compiler/support) there is a loop over edge tiles, whose range is two intervals, and a loop over
// full tiles, if the zone can have any:
//
//   for j in [0, Tk) support(j <= i)     ->   for j in [0, 0) + [f, i1 + 1) kind(edge)
//                                             for j in [0, f)               kind(full)
//
// A body clips itself to the loop's end wherever it mentions it (`valid`, the mask); in a loop of
// two intervals that becomes the end of the interval j is in.
#include "compiler/passes/Passes.h"
#include "compiler/support/Emit.h"
#include "compiler/support/Names.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

/// A loop like `loop` over other intervals, with the body's end replaced.
tile::ForOp cloneOver(OpBuilder &builder, tile::ForOp loop, llvm::ArrayRef<Value> bounds,
                      ValueRange inits, tile::LoopKind kind) {
  auto clone = tile::ForOp::create(builder, loop.getLoc(), bounds, loop.getStep(), inits, kind);
  Block &body = clone.getBody().front();
  if (body.mightHaveTerminator())
    body.getTerminator()->erase();
  OpBuilder inside = OpBuilder::atBlockEnd(&body);
  IRMapping mapping;
  Value end = intervalEnd(inside, loop.getLoc(), clone.getIndex(), bounds);
  mapping.map(loop.getBounds().back(), end);
  mapping.map(loop.getBody().front().getArguments(), body.getArguments());
  for (Operation &op : loop.getBody().front())
    inside.clone(op, mapping);
  return clone;
}

/// Whether a loop to `end` stays below `extent`.
bool staysBelow(Value end, Value extent) {
  if (end == extent)
    return true;
  if (auto least = end.getDefiningOp<arith::MinSIOp>())
    return staysBelow(least.getLhs(), extent) || staysBelow(least.getRhs(), extent);
  auto a = end.getDefiningOp<tile::ScalarOp>(), b = extent.getDefiningOp<tile::ScalarOp>();
  return a && b && a.getName() == b.getName();
}

/// Loads that count rows to the end of their tensor (what maps decode is loaded so) count to the
/// full loop's own end, so that SplitEdges sees that all are there.
void countToLoopEnd(tile::ForOp full, Value wholeEnd) {
  for (auto load : full.getBody().getOps<tile::LoadOp>())
    for (OpOperand &valid : load.getValidMutable())
      if (auto left = valid.get().getDefiningOp<arith::SubIOp>();
          left && left.getRhs() == full.getIndex() && staysBelow(wholeEnd, left.getLhs())) {
        OpBuilder builder(load);
        valid.set(arith::SubIOp::create(builder, load.getLoc(), full.getBounds().back(),
                                        full.getIndex()));
      }
}

void restrict(tile::ForOp loop) {
  OpBuilder builder(loop);
  Support support = supportOf(loop);
  ArithAlgebra algebra = algebraFor(builder, loop);
  ValueRange at = loop.getSupportArgs();
  KeyRange<ArithAlgebra> keys = {loop.getBounds()[0], loop.getBounds()[1]};
  llvm::SmallVector<Value> carried(loop.getInits());
  bool canBeFull = llvm::any_of(support.zones, [](const Zone &zone) { return zone.exact; });
  for (const KeyPart<ArithAlgebra> &part :
       keyParts(algebra, support, at[SupportArgument::FirstRow], at[SupportArgument::LastRow], keys,
                loop.getStep())) {
    llvm::SmallVector<Value> edges{named(part.begin, "keys_begin"), named(part.end, "keys_end")};
    if (canBeFull)
      edges = {part.begin, named(part.fullBegin, "full_begin"), named(part.fullEnd, "full_end"),
               part.end};
    tile::ForOp edge = cloneOver(builder, loop, edges, carried, tile::LoopKind::Edge);
    // Register blocks clip themselves with the same support.
    edge.setSupportAttr(loop.getSupportAttr());
    edge.getSupportArgsMutable().assign(at);
    carried.assign(edge.getResults().begin(), edge.getResults().end());
    if (!canBeFull)
      continue;
    tile::ForOp full =
        cloneOver(builder, loop, {part.fullBegin, part.fullEnd}, carried, tile::LoopKind::Full);
    countToLoopEnd(full, loop.getBounds().back());
    carried.assign(full.getResults().begin(), full.getResults().end());
  }
  loop.replaceAllUsesWith(carried);
  loop.erase();
}

struct TileLoopsPass : PassWrapper<TileLoopsPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TileLoopsPass)
  llvm::StringRef getArgument() const override { return "tile-loops"; }
  llvm::StringRef getDescription() const override {
    return "bounds of loops over keys from the support they carry";
  }

  void runOnOperation() override {
    llvm::SmallVector<tile::ForOp> loops;
    getOperation()->walk([&](tile::ForOp loop) {
      if (loop.getSupport() && loop.getKind() == tile::LoopKind::Any && !loop.hasTwoIntervals())
        loops.push_back(loop);
    });
    for (tile::ForOp loop : loops)
      restrict(loop);
  }
};

} // namespace

std::unique_ptr<Pass> createTileLoopsPass() { return std::make_unique<TileLoopsPass>(); }

} // namespace heddle::compiler
