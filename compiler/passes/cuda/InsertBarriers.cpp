// InsertBarriers: what hand-over through shared memory needs with mma.sync.
//
//   put                        ->  put ; commit                         one group a put, also where
//                                                                       a branch skips it
//   put into a slot of its own ->  barrier ; put ; commit               what lay there is read
//   take                       ->  wait_copies pending ; barrier ; take
//   put by TMA                 ->  barrier ; put                        where what lay there was
//                                                                       read; takes wait alone
//   convert, read              ->  barrier ; convert ; barrier ; read   where one is needed
//
// Tiles that are exchanged: a barrier stands before a read of what other threads wrote since the
// last one, and before a write of what they read. That holds for tensors too which a kernel writes
// and reads again (states in workspace).
//
// The barrier before a take also frees the slots that were released before it: every warp has
// passed its last read. So a put belongs after the next take of its ring.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "llvm/ADT/StringSet.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// The op that owns the place of a tile in shared memory: its ring, or the convert that makes it.
Operation *ownerOf(Value tile) {
  Operation *op = tile.getDefiningOp();
  if (auto take = dyn_cast<tile::TakeOp>(op))
    return take.getRing().getDefiningOp();
  if (auto slice = dyn_cast<tile::SliceOp>(op))
    return ownerOf(slice.getTile());
  return op;
}

/// A put or take of a ring that TMA fills: a barrier in shared memory a slot counts the bytes, and
/// each take waits for it.
bool isByTensor(Operation *op) {
  Operation *ring = nullptr;
  if (auto put = dyn_cast<tile::PutOp>(op))
    ring = put.getRing().getDefiningOp();
  else if (auto take = dyn_cast<tile::TakeOp>(op))
    ring = take.getRing().getDefiningOp();
  return ring && ring->hasAttr(kTensorTile);
}

/// Barriers by hazards. Loop bodies are visited twice, so that what the end of a step leaves is
/// seen by the start of the next.
class Hazards {
public:
  Hazards(tile::KernelOp kernel, int64_t warps)
      : kernel(kernel), warps(warps), builder(kernel.getContext()) {}

  void run() {
    kernel.walk([&](tile::StoreOp store) { stored.insert(tensorOf(store.getView())); });
    visit(kernel.getBody().front());
  }

private:
  struct Place {
    Operation *owner;
    int64_t begin, end;
    bool overlaps(const Place &other) const { return begin < other.end && other.begin < end; }
  };

  /// Since the last barrier.
  struct Accesses {
    SmallVector<Place> written, reads;
    llvm::StringSet<> storedTensors, loadedTensors;

    void add(const Accesses &other) {
      written.append(other.written);
      reads.append(other.reads);
      storedTensors.insert(other.storedTensors.keys().begin(), other.storedTensors.keys().end());
      loadedTensors.insert(other.loadedTensors.keys().begin(), other.loadedTensors.keys().end());
    }
  };

  static Place placeOf(Operation *owner) {
    auto offset = owner->getAttrOfType<IntegerAttr>("tile.offset");
    const int64_t begin = offset ? offset.getInt() : 0;
    return {owner, begin, begin + sharedBytesOf(owner)};
  }

  static StringRef tensorOf(Value view) { return view.getDefiningOp<tile::ViewOp>().getName(); }

  /// A loop that may run no trip leaves what was there before it.
  void visit(tile::ForOp loop) {
    const Accesses before = now;
    visit(loop.getBody().front());
    visit(loop.getBody().front());
    APInt begin, end;
    const bool runs = loop.getBounds().size() == 2 &&
                      matchPattern(loop.getBounds()[0], m_ConstantInt(&begin)) &&
                      matchPattern(loop.getBounds()[1], m_ConstantInt(&end)) && begin.slt(end);
    if (!runs)
      now.add(before);
  }

  void visit(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto loop = dyn_cast<tile::ForOp>(op)) {
        visit(loop);
      } else if (auto branch = dyn_cast<scf::IfOp>(op)) {
        branch.walk(
            [&](tile::PutOp put) { write(placeOf(put.getRing().getDefiningOp()), branch); });
      } else {
        visit(&op);
      }
    }
  }

  void visit(Operation *op) {
    if (isa<tile::BarrierOp>(op))
      return clear();
    if (isa<tile::WaitCopiesOp, tile::ReleaseOp, tile::TakeOp>(op))
      return; // its barrier is there
    visitTensors(op);
    for (Value operand : op->getOperands())
      read(operand, op);
    if (auto reduce = dyn_cast<tile::ReduceOp>(op)) // terms are computed where they are added
      if (auto terms = reduce.getTile().getDefiningOp<tile::MapOp>())
        for (Value operand : terms.getInputs())
          read(operand, op);
    if (auto put = dyn_cast<tile::PutOp>(op))
      write(placeOf(put.getRing().getDefiningOp()), op);
    else if (sharedBytesOf(op) > 0 && !isa<tile::RingOp>(op))
      write(placeOf(op), op);
    if (isa<tile::ReduceOp, tile::SolveUnitLowerOp>(op) && sharedBytesOf(op) > 0) {
      // A barrier lies between its halves.
      clear();
      now.reads.push_back(placeOf(op));
    }
  }

  /// Loads and stores of tensors that the kernel writes. Which thread has which element is not
  /// asked: the layouts of the two may differ.
  void visitTensors(Operation *op) {
    const auto read = [&](Value view) {
      const StringRef tensor = tensorOf(view);
      if (!stored.contains(tensor))
        return;
      if (now.storedTensors.contains(tensor))
        barrierBefore(op);
      now.loadedTensors.insert(tensor);
    };
    if (auto load = dyn_cast<tile::LoadOp>(op))
      return read(load.getView());
    if (auto put = dyn_cast<tile::PutOp>(op))
      return read(put.getSource());
    if (auto store = dyn_cast<tile::StoreOp>(op)) {
      const StringRef tensor = tensorOf(store.getView());
      if (now.loadedTensors.contains(tensor))
        barrierBefore(op);
      now.storedTensors.insert(tensor);
    }
  }

  void read(Value tile, Operation *op) {
    if (!tileType(tile) || tileType(tile).getSpace() != tile::Space::Smem)
      return;
    const Place place = placeOf(ownerOf(tile));
    // Slots of rings are handed over by their takes.
    if (!isa<tile::RingOp>(place.owner) && meets(now.written, place))
      barrierBefore(op);
    now.reads.push_back(place);
  }

  void write(const Place &place, Operation *op) {
    if (meets(now.written, place) || meets(now.reads, place))
      barrierBefore(op);
    if (!isa<tile::RingOp>(place.owner))
      now.written.push_back(place);
  }

  static bool meets(ArrayRef<Place> places, const Place &place) {
    return llvm::any_of(places, [&](const Place &other) {
      // cp.async: the barrier of the take before the put has freed the slot.
      const bool sameRing = other.owner == place.owner && isa<tile::RingOp>(place.owner) &&
                            !place.owner->hasAttr(kTensorTile);
      return !sameRing && other.overlaps(place);
    });
  }

  void barrierBefore(Operation *op) {
    builder.setInsertionPoint(op);
    tile::BarrierOp::create(builder, op->getLoc(), 0, warps);
    clear();
  }

  void clear() { now = {}; }

  tile::KernelOp kernel;
  int64_t warps;
  OpBuilder builder;
  Accesses now;
  llvm::StringSet<> stored; ///< tensors that the kernel writes
};

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
      if (isa<tile::PutOp>(op) && op->removeAttr("tile.reused")) {
        builder.setInsertionPoint(op); // the slot was read on the trip before
        barrier();
      }
      if (isByTensor(op)) {
        op->removeAttr("tile.pending"); // its take waits for the slot alone
      } else if (isa<tile::PutOp>(op)) {
        Operation *whole = isa<scf::IfOp>(op->getParentOp()) ? op->getParentOp() : op;
        builder.setInsertionPointAfter(whole);
        tile::CommitOp::create(builder, at);
      } else if (isa<tile::TakeOp>(op)) {
        auto pending = op->getAttrOfType<IntegerAttr>("tile.pending");
        builder.setInsertionPoint(op);
        tile::WaitCopiesOp::create(builder, at, pending ? pending.getInt() : 0);
        barrier();
        op->removeAttr("tile.pending");
      }
    }
    Hazards(getOperation(), warps).run();
  }
};

} // namespace

std::unique_ptr<Pass> createInsertBarriersPass() { return std::make_unique<InsertBarriersPass>(); }

} // namespace heddle::compiler::cuda
