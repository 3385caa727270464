// Offsets of `local` tiles in a worker's scratch, by liveness, for the CPU:
//
//   Q   |################|          lives through the loop
//   S,P |    ####  ####  |          one place: P is written over s point by point
//   O   |################|          start value, carried value and result share one place
//
// Positions are numbered in program order; a tile defined outside a loop and read inside lives to
// the loop's end. Places are handed out first fit at multiples of 64 bytes.
#include "compiler/passes/cpu/CpuPasses.h"
#include "ir/tile/TileDialect.h"
#include "ir/tile/TileLayouts.h"

#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/Support/MathExtras.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler {
namespace {

using tile::Space;
using tile::TileType;

TileType localType(Value value) {
  TileType type = dyn_cast<TileType>(value.getType());
  return type && type.getSpace() == Space::Local ? type : TileType();
}

/// Bytes of a local tile, in whole cache lines.
int64_t bytesOf(TileType type) { return llvm::alignTo(tile::scratchShapeOf(type).bytes, 64); }

class MemoryPlacer {
public:
  explicit MemoryPlacer(tile::KernelOp kernel) : kernel(kernel) {}

  void run() {
    number(kernel.getBody());
    uniteCarried();
    uniteInPlace();
    findLifetimes();
    assignOffsets();
    writeAttributes();
  }

private:
  struct Life {
    int64_t first = INT64_MAX, last = -1, bytes = 0, offset = 0;
  };

  void number(Region &region) {
    for (Operation &op : region.front()) {
      start[&op] = ++clock;
      if (isa<tile::MapOp>(op))
        continue;
      for (Region &inner : op.getRegions())
        if (!inner.empty())
          number(inner);
      end[&op] = ++clock;
    }
  }

  void unite(Value a, Value b) {
    classes.unionSets(a.getAsOpaquePointer(), b.getAsOpaquePointer());
  }

  void uniteCarried() {
    kernel.walk([&](tile::ForOp loop) {
      for (auto [n, result] : llvm::enumerate(loop.getResults()))
        if (localType(result))
          for (Value same : {Value(loop.getInits()[n]), Value(loop.getIterArgs()[n]),
                             Value(loop.getYield().getValues()[n])})
            unite(result, same);
    });
  }

  /// The last position at which `value` itself is read, as seen from its own block.
  int64_t lastUse(Value value) {
    int64_t last = -1;
    Block *home = value.getParentBlock();
    for (Operation *user : value.getUsers()) {
      last = std::max(last, lastUseThrough(user, home));
    }
    return last;
  }

  /// Where a use by `user` ends: streamed results are read where their own users are.
  int64_t lastUseThrough(Operation *user, Block *home) {
    int64_t last = start[user];
    for (Value result : user->getResults()) {
      TileType type = dyn_cast<TileType>(result.getType());
      bool streamed = type && type.getSpace() == Space::Reg && isa<tile::MapOp, tile::MmaOp>(user);
      if (streamed)
        for (Operation *next : result.getUsers())
          last = std::max(last, lastUseThrough(next, home));
    }
    for (Operation *op = user; op->getBlock() != home; op = op->getParentOp()) {
      if (op->getParentOp() == kernel)
        break;
      last = std::max(last, end[op->getParentOp()]);
    }
    return last;
  }

  /// A map's local result takes the place of an operand of the same type that dies in it. What a
  /// loop carries has its place already, with another value in it.
  void uniteInPlace() {
    // The matrix unit adds to its result's place: sums that end there need not be copied.
    kernel.walk([&](tile::MmaOp mma) {
      Value init = mma.getInit();
      if (mma->hasAttr(tile::kAtomAttr) && localType(init) &&
          isa_and_nonnull<tile::MmaOp>(init.getDefiningOp()) &&
          init.getParentBlock() == mma->getBlock() && init.getType() == mma.getResult().getType() &&
          !classes.contains(init.getAsOpaquePointer()) && lastUse(init) == start[mma])
        unite(mma.getResult(), init);
    });
    kernel.walk([&](tile::MapOp map) {
      if (llvm::any_of(map.getResults(),
                       [&](Value result) { return classes.contains(result.getAsOpaquePointer()); }))
        return;
      for (auto [n, input] : llvm::enumerate(map.getInputs())) {
        SmallVector<int64_t> positions = map.getInputPositions(n);
        bool identity = llvm::equal(positions, llvm::seq<int64_t>(0, positions.size()));
        if (map.getNumResults() != 1 || !identity || !localType(input) ||
            input.getType() != map.getResult(0).getType() || !input.getDefiningOp() ||
            input.getParentBlock() != map->getBlock() || isa<tile::ForOp>(input.getDefiningOp()))
          continue;
        if (lastUse(input) == start[map]) {
          unite(map.getResult(0), input);
          return;
        }
      }
    });
  }

  void touch(Value value) {
    if (!localType(value))
      return;
    void *leader = classes.getOrInsertLeaderValue(value.getAsOpaquePointer());
    auto [found, isNew] = index.try_emplace(leader, lives.size());
    if (isNew)
      lives.emplace_back();
    Life &life = lives[found->second];
    Operation *op = value.getDefiningOp();
    if (!op)
      op = value.getParentBlock()->getParentOp();
    life.first = std::min(life.first, start[op]);
    life.last = std::max({life.last, start[op], lastUse(value)});
    if (auto loop = dyn_cast<tile::ForOp>(op))
      life.last = std::max(life.last, end[loop]);
    life.bytes = std::max(life.bytes, bytesOf(localType(value)));
    offsetOf[value] = found->second;
  }

  void findLifetimes() {
    kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
      for (Value result : op->getResults())
        touch(result);
      if (auto loop = dyn_cast<tile::ForOp>(op))
        for (Value argument : loop.getIterArgs())
          touch(argument);
    });
  }

  void assignOffsets() {
    for (size_t n = 0; n < lives.size(); ++n) {
      bool moved = true;
      while (moved) {
        moved = false;
        for (size_t other = 0; other < n; ++other) {
          const Life &a = lives[n], &b = lives[other];
          bool together = a.first <= b.last && b.first <= a.last;
          if (together && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes) {
            lives[n].offset = b.offset + b.bytes;
            moved = true;
          }
        }
      }
      total = std::max(total, lives[n].offset + lives[n].bytes);
    }
  }

  void writeAttributes() {
    Builder builder(kernel.getContext());
    kernel.walk([&](Operation *op) {
      SmallVector<int64_t> offsets;
      bool any = false;
      for (Value result : op->getResults()) {
        bool local = static_cast<bool>(localType(result));
        offsets.push_back(local ? lives[offsetOf[result]].offset : -1);
        any |= local;
      }
      if (any)
        op->setAttr("tile.offset", builder.getDenseI64ArrayAttr(offsets));
    });
    kernel->setAttr("tile.scratch", builder.getI64IntegerAttr(total));
  }

  tile::KernelOp kernel;
  DenseMap<Operation *, int64_t> start, end;
  int64_t clock = 0;
  llvm::EquivalenceClasses<void *> classes;
  DenseMap<void *, size_t> index;
  DenseMap<Value, size_t> offsetOf;
  SmallVector<Life> lives;
  int64_t total = 0;
};

class PlaceMemoryPass : public PassWrapper<PlaceMemoryPass, OperationPass<tile::KernelOp>> {
public:
  StringRef getArgument() const override { return "place-memory"; }
  StringRef getDescription() const override { return "offsets of local tiles by liveness"; }
  void runOnOperation() override { MemoryPlacer(getOperation()).run(); }
};

class VerifyBudgetPass : public PassWrapper<VerifyBudgetPass, OperationPass<tile::KernelOp>> {
public:
  explicit VerifyBudgetPass(const CpuLayoutOptions &options) : limit(options.l2Bytes) {}
  StringRef getArgument() const override { return "verify-budget"; }
  StringRef getDescription() const override { return "refuses kernels whose scratch exceeds L2"; }

  void runOnOperation() override {
    tile::KernelOp kernel = getOperation();
    auto scratch = kernel->getAttrOfType<IntegerAttr>("tile.scratch");
    if (!scratch || scratch.getInt() <= limit)
      return;
    Value largest;
    kernel.walk([&](Operation *op) {
      for (Value result : op->getResults())
        if (localType(result) &&
            (!largest || bytesOf(localType(result)) > bytesOf(localType(largest))))
          largest = result;
    });
    kernel.emitError("needs ") << scratch.getInt() << " bytes of scratch, more than the " << limit
                               << " bytes of a core's L2 cache; the largest tile is "
                               << largest.getType() << "; take smaller BM or BN";
    signalPassFailure();
  }

private:
  int64_t limit;
};

} // namespace

std::unique_ptr<Pass> createPlaceMemoryPass() { return std::make_unique<PlaceMemoryPass>(); }

std::unique_ptr<Pass> createVerifyBudgetPass(const CpuLayoutOptions &options) {
  return std::make_unique<VerifyBudgetPass>(options);
}

} // namespace heddle::compiler
