// Decides for the CPU where each tile lives and which of its dimensions runs along the SIMD lanes:
//
//   %Q = load (64x128)      -> local, lanes along i: transposed once
//   %K = load (128x128)     -> global: elements are broadcast from memory as they lie there
//   %S = mma %Q, %K         -> reg: accumulators, consumed where they are made
//   %s = map %S             -> local, lanes along i      %m, %r (64) -> reg: four vectors
//   %O = mma %P, %V         -> local, lanes along i
//
// Steps: orient each product; spread the lane dimension through maps and reductions; choose spaces;
// then write the types.
#include "compiler/passes/cpu/Layouts.h"

#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler {
namespace {

using tile::Space;
using tile::tileType;
using tile::TileType;

/// Step 3: where each tile lies, and so its type.
class SpaceChooser {
public:
  SpaceChooser(tile::KernelOp kernel, const CpuLayoutOptions &options, ArrayRef<Product> products)
      : kernel(kernel), options(options), products(products), laneDims(kernel, options, products) {}

  void run();

private:
  void placeLoad(tile::LoadOp load);
  void placeMap(tile::MapOp map);
  void placeLoop(tile::ForOp loop);
  void place(Value value, Attribute layout, Space space) {
    value.setType(tileType(value).withPlace(layout, space));
  }
  void placeLanes(Value value, int64_t dim, Space space) {
    int64_t width = dim < 0 ? 1 : options.lanes;
    place(value, tile::LanesAttr::get(kernel.getContext(), std::max<int64_t>(dim, 0), width),
          space);
  }
  /// Along its lanes, or the last dimension of a matrix without.
  void placeInOrder(Value value, Space space) {
    int64_t lanes = laneDims.of(value);
    placeLanes(value,
               lanes < 0 && tileType(value).getRank() > 1 ? tileType(value).getRank() - 1 : lanes,
               space);
  }
  void placePairs(Value value, int64_t lanes, int64_t packed) {
    place(value, tile::PairsAttr::get(kernel.getContext(), lanes, options.lanes, packed, 2),
          Space::Local);
  }
  void placeGlobal(Value value) {
    place(value, tile::StridedAttr::get(kernel.getContext()), Space::Global);
  }
  bool needsMemory(Value value);
  bool isSummedInMemory(Value value);
  bool readByColumns(Value value);

  tile::KernelOp kernel;
  const CpuLayoutOptions &options;
  ArrayRef<Product> products;
  Lanes laneDims;
};

/// Inside a loop over the tiles of a support nothing beyond `valid` counts, so it is never read.
bool clippedByLoop(Operation *op) {
  auto loop = op->getParentOfType<tile::ForOp>();
  return loop && loop.getKind() != tile::LoopKind::Any;
}

/// Whether a product of many rows reads the tile a few columns at a time, each down all rows. Rows
/// of a tensor lie far apart, with those of other heads between: such columns fall into a few sets
/// of the caches. A copy pays where several register blocks of rows share it.
bool SpaceChooser::readByColumns(Value value) {
  return llvm::any_of(products, [&](const Product &product) {
    int64_t sum = product.lanesFromA ? product.sumB : product.sumA;
    int64_t free = product.lanesFromA ? product.freeA : product.freeB;
    return product.kind == Product::Outer && value == product.scalarOperand() && sum == 0 &&
           tileType(product.lanesOperand()).getDim(free) > 4 * options.lanes;
  });
}

/// Whether the load's kernel stores to the tensor it loads from.
bool isWritten(tile::LoadOp load) {
  auto view = load.getView().getDefiningOp<tile::ViewOp>();
  return view && load->getParentOfType<tile::KernelOp>()
                     .walk([&](tile::StoreOp store) {
                       auto target = store.getView().getDefiningOp<tile::ViewOp>();
                       bool same = target && target.getName() == view.getName();
                       return same ? WalkResult::interrupt() : WalkResult::advance();
                     })
                     .wasInterrupted();
}

void SpaceChooser::placeLoad(tile::LoadOp load) {
  Value value = load.getResult();
  TileType type = tileType(value);
  int64_t last = type.getRank() - 1;
  if (type.getRank() == 0)
    return placeLanes(value, -1, Space::Reg);
  if (type.getRank() == 1) {
    bool carried = llvm::any_of(value.getUsers(), llvm::IsaPred<tile::ForOp>);
    if (!laneDims.inMemory(value) && (laneDims.of(value) == 0 || carried)) // as the loop has it
      return placeLanes(value, laneDims.of(value), Space::Reg);
    return load.getValid().empty() || clippedByLoop(load) ? placeGlobal(value)
                                                          : placeLanes(value, 0, Space::Local);
  }
  if (auto pairs = laneDims.pairsFor(value))
    return placePairs(value, pairs->first, pairs->second);
  if (int64_t lanes = laneDims.rowsOfPairs(value); lanes >= 0)
    return placeLanes(value, lanes, Space::Local);
  // What a product starts from lies as its result does. What the kernel also writes is read at
  // once: later it may be another value.
  if (isWritten(load))
    return placeInOrder(value, Space::Local);
  for (Operation *user : value.getUsers())
    if (auto mma = dyn_cast<tile::MmaOp>(user); mma && mma.getInit() == value)
      return placeInOrder(value, Space::Local);
  int64_t lanes = laneDims.writtenOf(value);
  bool multiplied = false;
  for (const Product &product : products) {
    if (product.kind == Product::Dot || (product.a() != value && product.b() != value))
      continue;
    if (value == product.lanesOperand())
      lanes = product.lanesFromA ? product.freeA : product.freeB;
    multiplied = true;
  }
  // Read more than once across memory, it is turned once; maps that read it once turn it
  // themselves.
  if (lanes < 0 && !value.hasOneUse())
    lanes = laneDims.wishedOf(value);
  if (lanes >= 0 && lanes != last)
    return placeLanes(value, lanes, Space::Local);
  if (readByColumns(value))
    return placeLanes(value, last, Space::Local);
  // What a product reads again and again must not be masked each time.
  if (multiplied && !load.getValid().empty() && !clippedByLoop(load))
    return placeLanes(value, last, Space::Local);
  placeGlobal(value);
}

/// How many reductions and products lie between the kernel's loads and the value, counted inside
/// the value's block: what is used after a reduction over it must be kept in memory.
int64_t level(Value value, Block *block, DenseMap<Value, int64_t> &memo) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != block || isa<tile::ForOp>(op))
    return 0;
  auto found = memo.find(value);
  if (found != memo.end())
    return found->second;
  int64_t highest = 0;
  for (Value operand : op->getOperands())
    if (tileType(operand))
      highest = std::max(highest, level(operand, block, memo));
  if (isa<tile::ReduceOp, tile::MmaOp>(op))
    ++highest;
  return memo[value] = highest;
}

/// Whether a store reads the tile, through maps made where they are read.
bool isStored(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<tile::StoreOp>(user) || (isa<tile::MapOp>(user) && isStored(user->getResult(0)));
  });
}

/// Whether a sum that goes to memory, and so has a loop of its own, reads the tile.
bool SpaceChooser::isSummedInMemory(Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    auto reduce = dyn_cast<tile::ReduceOp>(user);
    return reduce && laneDims.inMemory(reduce.getResult());
  });
}

/// Whether a product, in registers, is what maps make the tile of.
bool isMadeOfProduct(Value value) {
  auto map = value.getDefiningOp<tile::MapOp>();
  auto mma = value.getDefiningOp<tile::MmaOp>();
  return (mma && !mma->hasAttr(tile::kAtomAttr)) ||
         (map && llvm::any_of(map.getInputs(), isMadeOfProduct));
}

/// Whether some use reads the tile other than point by point in the nest that makes it.
bool SpaceChooser::needsMemory(Value value) {
  if (rankOf(value) == 2 && isMadeOfProduct(value) && isSummedInMemory(value))
    return true;
  DenseMap<Value, int64_t> memo;
  Block *block = value.getParentBlock();
  int64_t own = level(value, block, memo);
  if (value.getDefiningOp<tile::MmaOp>() && isStored(value))
    return true; // stores go line by line, products in blocks
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (user->getBlock() != block || isa<tile::ForOp, tile::YieldOp>(user))
      return true;
    if (auto mma = dyn_cast<tile::MmaOp>(user)) {
      if (value != mma.getInit())
        return true;
    } else if (auto map = dyn_cast<tile::MapOp>(user)) {
      if (rankOf(map.getResult(0)) > rankOf(value) && rankOf(value) > 1)
        return true; // would be made again for each point of the third dimension
      for (Value operand : map.getInputs())
        if (level(operand, block, memo) > own)
          return true;
    } else if (!isa<tile::ReduceOp, tile::StoreOp>(user)) {
      return true;
    }
  }
  return false;
}

void SpaceChooser::placeMap(tile::MapOp map) {
  for (Value result : map.getResults()) {
    int64_t lanes = laneDims.of(result);
    if (tileType(result).getRank() < 2) {
      placeLanes(result, lanes, laneDims.inMemory(result) ? Space::Local : Space::Reg);
      continue;
    }
    bool widened = map.getInputs().size() == 1 && laneDims.writtenOf(result) < 0;
    if (lanes < 0)
      lanes = tileType(result).getRank() - 1;
    bool readAsItLies =
        widened && contiguousLoad(result, lanes) &&
        llvm::none_of(products, [&](const Product &product) {
          return product.kind == Product::Outer && result == product.scalarOperand();
        });
    if (auto pairs = laneDims.pairsFor(result))
      placePairs(result, pairs->first, pairs->second);
    else if (int64_t rows = laneDims.rowsOfPairs(result); rows >= 0)
      placeLanes(result, rows, Space::Local);
    else
      placeLanes(result, lanes, needsMemory(result) && !readAsItLies ? Space::Local : Space::Reg);
  }
}

void SpaceChooser::placeLoop(tile::ForOp loop) {
  for (auto [n, result] : llvm::enumerate(loop.getResults())) {
    if (!tileType(result))
      continue;
    if (auto pairs = laneDims.pairsFor(result)) {
      placePairs(result, pairs->first, pairs->second);
      placePairs(loop.getIterArgs()[n], pairs->first, pairs->second);
      continue;
    }
    bool registers = tileType(result).getRank() < 2 && !laneDims.inMemory(result);
    Space space = registers ? Space::Reg : Space::Local;
    int64_t lanes = laneDims.of(result);
    if (space == Space::Local && lanes < 0)
      lanes = tileType(result).getRank() - 1;
    placeLanes(result, lanes, space);
    placeLanes(loop.getIterArgs()[n], lanes, space);
  }
}

void SpaceChooser::run() {
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (auto load = dyn_cast<tile::LoadOp>(op)) {
      placeLoad(load);
    } else if (auto map = dyn_cast<tile::MapOp>(op)) {
      placeMap(map);
    } else if (auto loop = dyn_cast<tile::ForOp>(op)) {
      placeLoop(loop);
    } else if (isa<tile::FillOp, tile::IndexOp>(op)) {
      placeInOrder(op->getResult(0), Space::Reg);
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      Value result = reduce.getResult();
      bool memory = laneDims.inMemory(result) || rankOf(result) == 2;
      placeInOrder(result, memory ? Space::Local : Space::Reg);
    } else if (isa<tile::ScanOp, tile::SolveUnitLowerOp, tile::TopkOp>(op)) {
      for (Value result : op->getResults())
        placeInOrder(result, Space::Local);
    } else if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      placeLanes(mma.getResult(), laneDims.of(mma.getResult()),
                 needsMemory(mma.getResult()) || mma->hasAttr(tile::kAtomAttr) ? Space::Local
                                                                               : Space::Reg);
    }
  });
}

class AssignLayoutsPass : public PassWrapper<AssignLayoutsPass, OperationPass<tile::KernelOp>> {
public:
  explicit AssignLayoutsPass(const CpuLayoutOptions &options) : options(options) {}
  StringRef getArgument() const override { return "assign-layouts-cpu"; }
  StringRef getDescription() const override {
    return "layout and space of every tile, for the CPU";
  }

  void runOnOperation() override {
    if (getOperation().getStage() == tile::Stage::Concrete)
      return;
    FailureOr<SmallVector<Product>> products = orientProducts(getOperation(), options);
    if (failed(products))
      return signalPassFailure();
    SpaceChooser(getOperation(), options, *products).run();
    carryInPlace(getOperation());
    getOperation().setStage(tile::Stage::Concrete);
  }

private:
  CpuLayoutOptions options;
};

} // namespace

std::unique_ptr<Pass> createAssignLayoutsPass(const CpuLayoutOptions &options) {
  return std::make_unique<AssignLayoutsPass>(options);
}

} // namespace heddle::compiler
