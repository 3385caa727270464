// Offsets in a block's shared memory, by liveness, first fit:
//
//   q    |####|                 ring of one slot, read before the loops (or through them)
//   k, v |  ##############|     rings
//   o                     |##|  results on their way out take the place of what was read
//
// Time is the position of an op among all of the kernel. What a loop reads and did not make lives
// to the loop's end; what it makes and reads lives from the one to the other. Places are multiples
// of 1024 bytes, so that every swizzle pattern starts anew.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "llvm/Support/MathExtras.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

constexpr int64_t kAlignment = 1024;

/// Bytes of a tile in shared memory.
int64_t bytesOf(tile::TileType type) {
  layout::SwizzledLayout layout = cast<tile::MemAttr>(type.getLayout()).getLayout();
  int64_t elements = std::max(*layout.span(), layout.layout.cosize());
  return elements * std::max<int64_t>(type.getElementType().getIntOrFloatBitWidth() / 8, 1);
}

struct Place {
  Operation *op;
  int64_t first, last, bytes, offset = 0;
};

std::vector<Place> placesOf(tile::KernelOp kernel) {
  llvm::DenseMap<Operation *, int64_t> begin, end; // of an op and of what is inside
  int64_t now = 0;
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) { begin[op] = now++; });
  kernel.walk([&](Operation *op) {
    end[op] = begin[op];
    for (Region &region : op->getRegions())
      for (Operation &inner : region.getOps())
        end[op] = std::max(end[op], end[&inner]);
  });
  std::vector<Place> places;
  kernel.walk([&](Operation *op) {
    int64_t bytes = sharedBytesOf(op);
    if (bytes == 0)
      return;
    Place place{op, INT64_MAX, begin[op], bytes};
    // A tile is there from the op that makes it, a ring from its first put on; but where copies run
    // without a barrier before them, nothing else may have lain there.
    if (isa<tile::RingOp>(op) && op->getParentOp() == kernel && !carriesState(kernel))
      place.first = 0;
    if (!isa<tile::RingOp>(op))
      place.first = place.last;
    const auto uses = [&](Operation *user) {
      Operation *here = op->getBlock()->findAncestorOpInBlock(*user);
      place.first = std::min(place.first, begin[here]);
      place.last = std::max(place.last, end[here]);
    };
    if (!isa<tile::RingOp, tile::ConvertOp>(op)) { // only within the op
      places.push_back(place);
      return;
    }
    for (Operation *user : op->getUsers()) {
      uses(user);
      // Taken slots, and terms that are computed where they are added.
      if (isa<tile::TakeOp, tile::MapOp>(user))
        for (Operation *reader : user->getUsers())
          uses(reader);
    }
    places.push_back(place);
  });
  return places;
}

/// Moves `place` up until it overlaps none of those before.
void fit(Place &place, llvm::ArrayRef<Place> placed) {
  bool moved = true;
  while (moved) {
    moved = false;
    for (const Place &other : placed) {
      bool together = place.first <= other.last && other.first <= place.last;
      if (together && place.offset < other.offset + other.bytes &&
          other.offset < place.offset + place.bytes) {
        place.offset = llvm::alignTo(other.offset + other.bytes, kAlignment);
        moved = true;
      }
    }
  }
}

/// Barriers of rings that TMA fills, 8 bytes a slot, behind all else: they live as long as the
/// kernel.
constexpr int64_t kBarrierBytes = 8;

class PlaceMemoryPass : public PassWrapper<PlaceMemoryPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PlaceMemoryPass)
  StringRef getArgument() const override { return "cuda-place-memory"; }
  StringRef getDescription() const override { return "offsets in shared memory by liveness"; }

  void runOnOperation() override {
    Builder builder(&getContext());
    std::vector<Place> places = placesOf(getOperation());
    int64_t total = 0;
    for (size_t n = 0; n < places.size(); ++n) {
      fit(places[n], llvm::ArrayRef<Place>(places).take_front(n));
      total = std::max(total, places[n].offset + places[n].bytes);
      places[n].op->setAttr("tile.offset", builder.getI64IntegerAttr(places[n].offset));
    }
    total = placeBarriers(total);
    getOperation()->setAttr("tile.shared", builder.getI64IntegerAttr(total));
  }

private:
  int64_t placeBarriers(int64_t total) {
    Builder builder(&getContext());
    getOperation().walk([&](tile::RingOp ring) {
      if (!ring->hasAttr(kTensorTile))
        return;
      total = llvm::alignTo(total, kBarrierBytes);
      ring->setAttr("tile.barriers", builder.getI64IntegerAttr(total));
      total += kBarrierBytes * ring.getType().getSlots();
    });
    return total;
  }
};

/// Registers that the tiles of a thread take where most live at once: carried ones, and the largest
/// result of a product besides.
class VerifyBudgetPass : public PassWrapper<VerifyBudgetPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(VerifyBudgetPass)
  explicit VerifyBudgetPass(const LayoutOptions &options) : options(options) {}
  StringRef getArgument() const override { return "cuda-verify-budget"; }
  StringRef getDescription() const override { return "refuses what does not fit the machine"; }

  void runOnOperation() override {
    if (succeeded(checkShared()) && succeeded(checkRegisters()))
      return;
    // Whoever chose the tiles may take smaller ones.
    getOperation()->setAttr("tile.over_budget", UnitAttr::get(&getContext()));
    signalPassFailure();
  }

private:
  LogicalResult checkShared() {
    auto shared = getOperation()->getAttrOfType<IntegerAttr>("tile.shared");
    if (!shared || shared.getInt() <= options.sharedBytes)
      return success();
    Operation *largest = nullptr;
    getOperation().walk([&](Operation *op) {
      if (!largest || sharedBytesOf(op) > sharedBytesOf(largest))
        largest = op;
    });
    return getOperation().emitError("needs ")
           << shared.getInt() << " bytes of shared memory, "
           << shared.getInt() - options.sharedBytes << " more than the " << options.sharedBytes
           << " a block of " << options.machine << " has; the largest part is "
           << largest->getResult(0).getType() << " with " << sharedBytesOf(largest)
           << " bytes; take smaller BM, BN or STAGES";
  }

  /// 32-bit registers of a thread for a tile in registers.
  static int64_t registersOf(Value value) {
    tile::TileType type = tileType(value);
    if (!type || type.getSpace() != tile::Space::Reg)
      return 0;
    int64_t values = cast<tile::DistAttr>(type.getLayout()).getLayout().mode(1).size();
    return llvm::divideCeil(values * type.getElementType().getIntOrFloatBitWidth(), 32);
  }

  LogicalResult checkRegisters() {
    LogicalResult result = success();
    getOperation().walk([&](tile::ForOp loop) {
      int64_t carried = 0, products = 0;
      Value largest;
      for (Value argument : loop.getIterArgs()) {
        carried += registersOf(argument);
        if (!largest || registersOf(argument) > registersOf(largest))
          largest = argument;
      }
      for (auto op : loop.getBody().front().getOps<tile::MmaOp>()) { // inner loops have their turn
        bool isCarried = llvm::is_contained(loop.getYield().getValues(), op.getResult());
        products = std::max(products, isCarried ? 0 : registersOf(op.getResult()));
        if (!largest)
          largest = op.getResult();
      }
      int64_t needed = carried + products;
      if (needed <= options.registers || failed(result))
        return;
      auto warps = getOperation()->getAttrOfType<IntegerAttr>("tile.warps");
      const bool least = warps && tileType(largest).getDim(0) <= 16 * warps.getInt();
      result = loop.emitError("needs at least ")
               << needed << " registers a thread, " << needed - options.registers
               << " more than the " << options.registers << " there are; the largest tile is "
               << largest.getType() << ", " << registersOf(largest) << " of them; "
               << (least ? "a warp takes no fewer than 16 rows, so no WARPS or BM would help: take "
                           "a smaller BN, or fewer columns (features of v)"
                         : "take more WARPS, or smaller BM or BN");
    });
    return result;
  }

  LayoutOptions options;
};

} // namespace

int64_t sharedBytesOf(Operation *op) {
  if (auto ring = dyn_cast<tile::RingOp>(op))
    return ring.getType().getSlots() * llvm::alignTo(bytesOf(ring.getType().getSlot()), 128);
  if (auto reduce = dyn_cast<tile::ReduceOp>(op); reduce && reducesAcrossWarps(reduce)) {
    auto warps = op->getParentOfType<tile::KernelOp>()->getAttrOfType<IntegerAttr>("tile.warps");
    return warps.getInt() * reduce.getType().getNumElements() * 4;
  }
  if (auto solve = dyn_cast<tile::SolveUnitLowerOp>(op)) {
    // The matrix as two of 16 bits, rows padded to an odd number of chunks of 16 bytes.
    const int64_t tokens = solve.getType().getDim(0);
    return 2 * tokens * (2 * tokens + 16);
  }
  if (auto topk = dyn_cast<tile::TopkOp>(op)) // scores and ids of a row on their way back
    return 8 * tileType(topk.getBestId()).getDim(1);
  auto convert = dyn_cast<tile::ConvertOp>(op);
  bool made = convert && convert.getType().getSpace() == tile::Space::Smem;
  return made ? bytesOf(convert.getType()) : 0;
}

std::unique_ptr<Pass> createPlaceMemoryPass() { return std::make_unique<PlaceMemoryPass>(); }

std::unique_ptr<Pass> createVerifyBudgetPass(const LayoutOptions &options) {
  return std::make_unique<VerifyBudgetPass>(options);
}

} // namespace heddle::compiler::cuda
