// AssignStateLayouts, for kernels that carry a state (tile.state): layout and space of every tile,
// op by op in the order in which they run. Each op says in which layout it wants its operands; a
// tile that lies otherwise is brought there:
//
//   %A = mma %Q, %K          -> accumulators, rows i over the warps
//   %P = map %A, %b          -> the same layout; %b from shared memory to where its rows are
//   %O = mma %V[j, e], %P    -> %P converted to shared memory (operand b), %V read there as it lies
//   %S = mma %V[j, e], %K    -> accumulators of S', each warp its rows e: carried in registers
//
// Loads of 16 bits that a loop steps through lie in shared memory, where StageLoads makes rings of
// them. The converts are right anywhere; which of them are needless is a matter of layouts alone.
#include "compiler/machine/Atoms.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "compiler/passes/cuda/Distribution.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

using layout::Layout;
using tile::Space;
using tile::TileType;

bool isShort(TileType type) {
  return type.getElementType().isBF16() || type.getElementType().isF16();
}

bool isShared(Value value) { return tileType(value).getSpace() == Space::Smem; }
bool isPlaced(Value value) { return tileType(value).isConcrete(); }

Layout layoutOf(Value value) {
  return cast<tile::DistAttr>(tileType(value).getLayout()).getLayout();
}

class StateLayouts {
public:
  StateLayouts(tile::KernelOp kernel, const LayoutOptions &options)
      : kernel(kernel), warps(stateWarps(kernel, options)), builder(kernel.getContext()) {}

  LogicalResult run() {
    hoistViews();
    if (failed(block(kernel.getBody().front())))
      return failure();
    kernel.setStage(tile::Stage::Concrete);
    kernel->setAttr("tile.warps", builder.getI64IntegerAttr(warps));
    return success();
  }

private:
  int64_t threads() const { return 32 * warps; }

  /// Windows that a loop does not move, so that rings can be made before it.
  void hoistViews() {
    kernel.walk([&](tile::ForOp loop) { // inner loops first
      for (auto view : llvm::make_early_inc_range(loop.getBody().front().getOps<tile::ViewOp>()))
        if (llvm::all_of(view->getOperands(), [&](Value operand) {
              return !loop.getBody().isAncestor(operand.getParentRegion());
            }))
          view->moveBefore(loop);
    });
  }

  // ---- types ----

  /// A number without dimensions is everywhere, however it came about.
  void setRegisters(Value value, const Layout &wanted) {
    const Layout layout = tileType(value).getRank() > 0 ? wanted : spread({}, threads());
    value.setType(
        tileType(value).withPlace(tile::DistAttr::get(kernel.getContext(), layout), Space::Reg));
  }

  TileType sharedType(TileType type) {
    type = type.withPlace({}, Space::Unplaced);
    int64_t bytes = std::max<int64_t>(type.getElementType().getIntOrFloatBitWidth() / 8, 1);
    layout::SwizzledLayout memory;
    if (type.getRank() != 2)
      memory.layout =
          *layout::rowMajor(layout::IntTuple::tuple({layout::IntTuple(type.getDim(0))}));
    else if (bytes == 2)
      memory = sharedLayout(type.getShape(), bytes);
    else
      memory.layout = *layout::paddedRows(type.getDim(0), type.getDim(1), bytes);
    return type.withPlace(tile::MemAttr::get(kernel.getContext(), memory), Space::Smem);
  }

  // ---- bringing tiles where they are wanted ----

  /// `value` in registers as `layout`, for `user`.
  Value inRegisters(Value value, const Layout &layout, Operation *user) {
    if (!isPlaced(value)) { // a fill, an index or a load: made where and as it is wanted
      setRegisters(value, layout);
      return value;
    }
    if (!isShared(value) && (layoutOf(value) == layout || tileType(value).getRank() == 0))
      return value;
    Operation *source = value.getDefiningOp();
    // Few numbers are loaded again; more would each take an address and a comparison.
    const bool isCheap = isa_and_nonnull<tile::FillOp, tile::IndexOp>(source) ||
                         (isa_and_nonnull<tile::LoadOp>(source) && tileType(value).getRank() < 2 &&
                          layout.mode(1).size() <= 4);
    DominanceInfo dominance(kernel);
    for (Value copy : copies[value])
      if (!isShared(copy) && layoutOf(copy) == layout && dominance.properlyDominates(copy, user))
        return copy;
    if (Value again = computedAgain(value, layout, user))
      return again;
    Value copy;
    if (isCheap && !isShared(value) && !(isa<tile::LoadOp>(source) && hasSharedCopy(value))) {
      builder.setInsertionPointAfter(source);
      copy = builder.clone(*source)->getResult(0);
    } else {
      Value from = inShared(value);
      builder.setInsertionPoint(user);
      copy =
          tile::ConvertOp::create(builder, value.getLoc(),
                                  tileType(value).withPlace({}, Space::Unplaced), from, UnitAttr());
    }
    setRegisters(copy, layout);
    copies[value].push_back(copy);
    return copy;
  }

  bool hasSharedCopy(Value value) { return llvm::any_of(copies[value], isShared); }

  /// A few numbers of a map of vectors, made as `layout` from what lies in shared memory anyway;
  /// null where that is not so.
  Value computedAgain(Value value, const Layout &layout, Operation *user) {
    auto map = value.getDefiningOp<tile::MapOp>();
    if (!map || map.getNumResults() != 1 || tileType(value).getRank() != 1 ||
        hasSharedCopy(value) || layout.mode(1).size() > 2)
      return {};
    for (Value input : map.getInputs())
      if (tileType(input).getRank() != 0 && !hasSharedCopy(input) &&
          !llvm::is_contained(user->getOperands(), input))
        return {};
    SmallVector<Value> inputs;
    for (Value input : map.getInputs())
      inputs.push_back(inRegisters(input, layout, user));
    builder.setInsertionPoint(user);
    auto again = cast<tile::MapOp>(builder.clone(*map));
    again.getInputsMutable().assign(inputs);
    setRegisters(again.getResult(0), layout);
    copies[value].push_back(again.getResult(0));
    return again.getResult(0);
  }

  /// Operand a of `op` in shared memory, which maps or other products want in registers as well: it
  /// is read once for all of them.
  bool isSharedOut(tile::MmaOp op) {
    const Layout wanted = fragmentsFor(op);
    int64_t readers = 0;
    for (Operation *user : op.getA().getUsers()) {
      auto product = dyn_cast<tile::MmaOp>(user);
      readers += isa<tile::MapOp>(user) ||
                 (product && product.getA() == op.getA() && fragmentsFor(product) == wanted);
    }
    for (Value copy : copies[op.getA()])
      readers += !isShared(copy) && layoutOf(copy) == wanted;
    return readers > 1 && wanted.mode(1).size() <= 32;
  }

  /// `value` in shared memory, from where it is made on.
  Value inShared(Value value) {
    if (!isPlaced(value))
      setRegisters(value, defaultLayout(tileType(value)));
    if (isShared(value))
      return value;
    for (Value copy : copies[value])
      if (isShared(copy))
        return copy;
    builder.setInsertionPointAfterValue(value);
    Value copy = tile::ConvertOp::create(builder, value.getLoc(), sharedType(tileType(value)),
                                         value, UnitAttr());
    copies[value].push_back(copy);
    return copy;
  }

  /// For what no product has a say in.
  Layout defaultLayout(TileType type) {
    if (type.getRank() == 1)
      return alongLanes(type.getDim(0), warps);
    if (type.getRank() == 2 && type.getDim(1) % 8 == 0)
      return inChunks(type.getShape(), threads());
    return spread(type.getShape(), threads());
  }

  // ---- ops ----

  LogicalResult block(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block))
      if (failed(visit(&op)))
        return failure();
    return success();
  }

  LogicalResult visit(Operation *op) {
    if (auto load = dyn_cast<tile::LoadOp>(op))
      return visitLoad(load);
    if (auto map = dyn_cast<tile::MapOp>(op))
      return visitMap(map);
    if (auto mma = dyn_cast<tile::MmaOp>(op))
      return visitMma(mma);
    if (auto reduce = dyn_cast<tile::ReduceOp>(op))
      return visitReduce(reduce);
    if (auto scan = dyn_cast<tile::ScanOp>(op))
      return visitScan(scan);
    if (auto solve = dyn_cast<tile::SolveUnitLowerOp>(op))
      return visitSolve(solve);
    if (auto store = dyn_cast<tile::StoreOp>(op))
      return visitStore(store);
    if (auto loop = dyn_cast<tile::ForOp>(op))
      return visitFor(loop);
    if (auto yield = dyn_cast<tile::YieldOp>(op)) {
      if (auto loop = dyn_cast<tile::ForOp>(op->getParentOp()))
        for (auto [n, argument] : llvm::enumerate(loop.getIterArgs()))
          if (tileType(argument))
            op->setOperand(n, inRegisters(yield.getValues()[n], layoutOf(argument), op));
      return success();
    }
    for (Value result : op->getResults())
      if (tileType(result) && !isa<tile::FillOp, tile::IndexOp>(op))
        return op->emitError("has no layout in a kernel that carries a state yet");
    return success();
  }

  /// Rows that a loop over tokens steps through, by whole chunks of 16 bytes.
  LogicalResult visitLoad(tile::LoadOp load) {
    TileType type = load.getType();
    auto loop = dyn_cast<tile::ForOp>(load->getParentOp());
    const bool steps = loop && loop->getParentOp() == kernel && load.getOffsets().size() == 1 &&
                       load.getOffsets()[0] == loop.getIndex() &&
                       ShapedType::isDynamic(load.getStaticOffsets()[0]);
    if (type.getRank() == 2 && isShort(type) && type.getDim(1) % 8 == 0 && steps && isCopied(load))
      load.getResult().setType(sharedType(type));
    return success();
  }

  LogicalResult visitMap(tile::MapOp map) {
    ArrayRef<int64_t> shape = map.getExtents();
    if (shape.size() > 2)
      return success(); // computed element by element where it is reduced
    const Layout layout = layoutFor(map);
    for (Value result : map.getResults())
      setRegisters(result, layout);
    for (OpOperand &operand : map.getInputsMutable()) {
      SmallVector<int64_t> positions = map.getInputPositions(operand.getOperandNumber());
      operand.set(inRegisters(operand.get(), project(layout, shape, positions), map));
    }
    return success();
  }

  /// That of a whole operand in registers, sums of products first; else what the reader wants.
  Layout layoutFor(tile::MapOp map) {
    ArrayRef<int64_t> shape = map.getExtents();
    for (auto [n, input] : llvm::enumerate(map.getInputs())) {
      SmallVector<int64_t> positions = map.getInputPositions(n);
      if (positions.size() != shape.size() || !isPlaced(input) || isShared(input))
        continue;
      SmallVector<int64_t> inverse(positions.size());
      for (auto [from, to] : llvm::enumerate(positions))
        inverse[to] = from;
      return project(layoutOf(input), tileType(input).getShape(), inverse);
    }
    for (Operation *user : map.getResult(0).getUsers())
      if (auto mma = dyn_cast<tile::MmaOp>(user); mma && mma.getA() == map.getResult(0) &&
                                                  shape.size() == 2 &&
                                                  isShort(tileType(map.getResult(0))))
        return fragmentsFor(mma);
    return defaultLayout(tileType(map.getResult(0)));
  }

  const MmaAtom &atomOf(tile::MmaOp op) {
    return *warpAtomFor(tileType(op.getA()).getElementType().isBF16() ? DType::BF16 : DType::F16);
  }

  /// Sums of a product, of which a vector's are one row.
  Layout sumsOf(tile::MmaOp op, const ProductDims &dims) {
    TileType c = tileType(op.getResult());
    if (!dims.isVector())
      return accumulators(atomOf(op), c.getDim(dims.rowsC), c.getDim(1 - dims.rowsC), warps,
                          dims.rowsC);
    const int64_t columns = c.getDim(0);
    return project(accumulators(atomOf(op), 16, columns, warps, 0), {16, columns}, {1});
  }

  Layout fragmentsFor(tile::MmaOp op) {
    ProductDims dims = *dimsOf(op);
    TileType a = tileType(op.getA());
    return operandA(atomOf(op), a.getDim(dims.rowsA), a.getDim(dims.sumA), warps, dims.rowsA);
  }

  LogicalResult visitMma(tile::MmaOp op) {
    std::optional<ProductDims> dims = dimsOf(op);
    if (!dims || !isShort(tileType(op.getA())))
      return op.emitError("mma.sync multiplies two tiles of two dimensions in bf16 or f16");
    const Layout sums = sumsOf(op, *dims);
    setRegisters(op.getResult(), sums);
    op.getInitMutable().set(inRegisters(op.getInit(), sums, op));
    if (dims->isVector())
      op.getAMutable().set(vectorFor(op));
    else if (!isShared(op.getA()) || isSharedOut(op))
      op.getAMutable().set(inRegisters(op.getA(), fragmentsFor(op), op));
    op.getBMutable().set(inShared(op.getB()));
    return success();
  }

  /// A vector as operand a: every row of the fragments reads it where it lies; ones are constants.
  Value vectorFor(tile::MmaOp op) {
    if (!op.getA().getDefiningOp<tile::FillOp>())
      return inShared(op.getA());
    const int64_t extent = tileType(op.getA()).getDim(0);
    return inRegisters(op.getA(), alongLanes(extent, warps), op);
  }

  LogicalResult visitReduce(tile::ReduceOp op) {
    TileType type = tileType(op.getTile());
    const int64_t dim = op.getDim();
    SmallVector<int64_t> kept;
    for (int64_t d = 0; d < type.getRank(); ++d)
      if (d != dim)
        kept.push_back(d);
    if (tileType(op.getInit()).getRank() == type.getRank())
      return op->emitError("shares of a sum are no tiles of a kernel that carries a state");
    if (type.getRank() > 2 && failed(placeTerms(op)))
      return failure();
    Value tile = op.getTile();
    if (type.getRank() <= 2 && (!isPlaced(tile) || isShared(tile)))
      op.getTileMutable().set(inRegisters(tile, spread(type.getShape(), threads(), dim), op));
    const Layout layout = project(layoutOf(op.getTile()), type.getShape(), kept);
    setRegisters(op.getResult(), layout);
    op.getInitMutable().set(inRegisters(op.getInit(), layout, op));
    return success();
  }

  /// Three dimensions, of which the last is summed: the terms are computed where they are added,
  /// from operands in shared memory.
  LogicalResult placeTerms(tile::ReduceOp op) {
    auto map = op.getTile().getDefiningOp<tile::MapOp>();
    TileType type = tileType(op.getTile());
    if (!map || !map->hasOneUse() || map.getNumResults() != 1 || op.getDim() != 2)
      return op.emitError("sums over tiles of three dimensions only where one map makes the terms");
    setRegisters(map.getResult(0), spread(type.getShape(), threads(), 2));
    for (OpOperand &operand : map.getInputsMutable())
      if (!isa_and_nonnull<tile::FillOp, tile::IndexOp>(operand.get().getDefiningOp()))
        operand.set(inShared(operand.get()));
      else if (!isPlaced(operand.get()))
        setRegisters(operand.get(), defaultLayout(tileType(operand.get())));
    return success();
  }

  LogicalResult visitScan(tile::ScanOp op) {
    TileType type = op.getType();
    if (type.getRank() > 2 || (type.getRank() == 2 && op.getDim() != 0))
      return op.emitError("prefix sums along rows are not lowered");
    const Layout layout = type.getRank() == 1 ? alongLanes(type.getDim(0), warps)
                                              : spread(type.getShape(), threads(), 0);
    setRegisters(op.getResult(), layout);
    op.getTileMutable().set(inRegisters(op.getTile(), layout, op));
    return success();
  }

  /// Right-hand sides as sums of products, their columns rows of the warps; the matrix in shared
  /// memory.
  LogicalResult visitSolve(tile::SolveUnitLowerOp op) {
    TileType type = op.getType();
    if (type.getDim(0) % 16 != 0 || type.getDim(1) % (16 * warps) != 0)
      return op.emitError("right-hand sides of ")
             << type << " are no whole blocks of 16 tokens by 16 columns a warp";
    const Layout layout =
        accumulators(warpAtoms()[0], type.getDim(1), type.getDim(0), warps, /*rowsDim=*/1);
    setRegisters(op.getResult(), layout);
    op.getRhsMutable().set(inRegisters(op.getRhs(), layout, op));
    op.getLowerMutable().set(inShared(op.getLower()));
    return success();
  }

  /// Results of 16 bits go by whole rows.
  LogicalResult visitStore(tile::StoreOp op) {
    TileType type = tileType(op.getTile());
    if (type.getRank() == 2 && isShort(type) && type.getDim(1) % 8 == 0 &&
        hasWholeChunks(op.getView(), op.getValid()))
      op.getTileMutable().set(inShared(op.getTile()));
    else if (!isPlaced(op.getTile()))
      setRegisters(op.getTile(), defaultLayout(type));
    return success();
  }

  LogicalResult visitFor(tile::ForOp loop) {
    for (auto [n, argument] : llvm::enumerate(loop.getIterArgs())) {
      if (!tileType(argument))
        continue;
      const Layout layout = carriedLayout(loop, argument);
      Value init = inRegisters(loop.getInits()[n], layout, loop);
      loop.getInitsMutable()[n].set(init);
      setRegisters(argument, layout);
      setRegisters(loop.getResult(n), layout);
    }
    return block(loop.getBody().front());
  }

  /// What the product that makes the next state leaves; without one, columns in threads.
  Layout carriedLayout(tile::ForOp loop, BlockArgument argument) {
    TileType type = tileType(argument);
    Value next = loop.getYield().getValues()[argument.getArgNumber() - 1];
    if (auto inner = next.getDefiningOp<tile::ForOp>())
      return carriedLayout(inner, inner.getIterArgs()[cast<OpResult>(next).getResultNumber()]);
    if (auto mma = next.getDefiningOp<tile::MmaOp>())
      if (std::optional<ProductDims> dims = dimsOf(mma); dims && isShort(tileType(mma.getA())))
        return sumsOf(mma, *dims);
    if (type.getRank() == 2)
      return spread(type.getShape(), threads());
    return defaultLayout(type);
  }

  tile::KernelOp kernel;
  int64_t warps;
  OpBuilder builder;
  llvm::DenseMap<Value, SmallVector<Value>> copies;
};

class AssignStateLayoutsPass
    : public PassWrapper<AssignStateLayoutsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AssignStateLayoutsPass)
  explicit AssignStateLayoutsPass(const LayoutOptions &options) : options(options) {}
  StringRef getArgument() const override { return "cuda-assign-state-layouts"; }
  StringRef getDescription() const override {
    return "layout and space of every tile of kernels that carry a state";
  }

  void runOnOperation() override {
    if (!carriesState(getOperation()) || getOperation().getStage() == tile::Stage::Concrete)
      return;
    if (failed(StateLayouts(getOperation(), options).run()))
      signalPassFailure();
  }

private:
  LayoutOptions options;
};

} // namespace

bool reducesAcrossWarps(tile::ReduceOp op) {
  TileType type = op.getTile().getType();
  if (op.getInit().getType().getRank() == type.getRank())
    return false; // shares stay where they are
  auto dist = dyn_cast_if_present<tile::DistAttr>(type.getLayout());
  if (!dist)
    return false;
  const int64_t dim = op.getDim();
  const Layout along = project(dist.getLayout(), type.getShape(), {dim}).mode(0);
  int64_t lanes = 1;
  for (const layout::Leaf &leaf : along.leaves()) {
    lanes *= leaf.extent;
    if (leaf.stride != 0 && leaf.extent > 1 && lanes > 32)
      return true;
  }
  return false;
}

/// 16 rows of the state a warp, as long as there are; without products, 8 elements a thread.
int64_t stateWarps(tile::KernelOp kernel, const LayoutOptions &options) {
  bool products = false;
  kernel.walk([&](tile::MmaOp) { products = true; });
  int64_t columns = 0;
  kernel.walk([&](tile::ForOp loop) {
    for (Value carried : loop.getIterArgs())
      if (tileType(carried) && tileType(carried).getRank() == 2)
        columns = std::max(columns, products ? tileType(carried).getDim(1)
                                             : tileType(carried).getNumElements() / 32);
  });
  int64_t warps = options.warps;
  while (warps > 1 && columns <= 8 * warps)
    warps /= 2;
  return warps;
}

std::unique_ptr<Pass> createAssignStateLayoutsPass(const LayoutOptions &options) {
  return std::make_unique<AssignStateLayoutsPass>(options);
}

} // namespace heddle::compiler::cuda
