// Decides for mma.sync where each tile lives and which thread holds which element:
//
//   %Q = load (128x64)    -> smem, then registers as operand a (or read from smem by each product)
//   %K, %V = load (64x64) -> smem, swizzled or padded; products read fragments with ldmatrix
//   %S = mma %Q, %K       -> registers, accumulators of m16n8k16, rows shared out over the warps
//   %P = map %S           -> the same layout, which is also that of operand a: no conversion
//   %m, %r (128)          -> registers, copies in the four threads of a row
//
// Steps: products fix the layouts of what they touch; these spread through maps, reductions and
// loops; what no product reaches is laid out element by element; results of 16 bits are turned in
// shared memory, so that they are stored by rows.
#include "compiler/machine/Atoms.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "compiler/passes/cuda/Distribution.h"

#include "mlir/Pass/Pass.h"

#include <optional>

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

using layout::Layout;
using tile::Space;
using tile::TileType;

std::optional<DType> operandType(Type type) {
  if (type.isBF16())
    return DType::BF16;
  if (type.isF16())
    return DType::F16;
  return std::nullopt;
}

class LayoutAssigner {
public:
  LayoutAssigner(tile::KernelOp kernel, const LayoutOptions &options)
      : kernel(kernel), options(options), builder(kernel.getContext()) {}

  LogicalResult run() {
    separateSources();
    if (failed(placeProducts()) || failed(spread()) || failed(placeRest()))
      return failure();
    writeTypes();
    turnResults();
    kernel.setStage(tile::Stage::Concrete);
    kernel->setAttr("tile.warps", builder.getI64IntegerAttr(warps));
    return success();
  }

private:
  // Step 0: fills and indices cost nothing, so each reader gets its own.
  void separateSources() {
    SmallVector<Operation *> sources;
    kernel.walk([&](Operation *op) {
      if (isa<tile::FillOp, tile::IndexOp>(op))
        sources.push_back(op);
    });
    for (Operation *op : sources) {
      builder.setInsertionPointAfter(op);
      for (OpOperand &use : llvm::make_early_inc_range(op->getResult(0).getUses()))
        if (&use != &*op->getResult(0).use_begin())
          use.set(builder.clone(*op)->getResult(0));
      if (op->use_empty())
        op->erase();
    }
  }

  // Step 1.
  LogicalResult placeProducts() {
    SmallVector<tile::MmaOp> products;
    kernel.walk([&](tile::MmaOp op) { products.push_back(op); });
    warps = products.empty() ? 1 : options.warps;
    for (tile::MmaOp op : products)
      if (failed(place(op)))
        return failure();
    return success();
  }

  LogicalResult place(tile::MmaOp op) {
    std::optional<ProductDims> dims = dimsOf(op);
    if (!dims || dims->rowsA != 0 || dims->rowsC != 0)
      return op.emitError("mma.sync multiplies rows x k by k x columns here; another order of "
                          "dimensions is not lowered yet");
    Type element = tileType(op.getA()).getElementType();
    std::optional<DType> type = operandType(element);
    const MmaAtom *atom = type ? warpAtomFor(*type) : nullptr;
    if (!atom)
      return op.emitError("no mma.sync for operands of ")
             << element << " yet (f32 would need tf32 in three products); use bf16 or f16";
    TileType a = tileType(op.getA()), c = tileType(op.getResult());
    Layout sums = tiledLayout(atom->c, atom->rows, atom->columns, c.getDim(0), c.getDim(1), warps);
    Layout fragments = fragmentsOf(*atom, a);
    if (failed(set(op.getResult(), sums)) || failed(set(op.getInit(), sums)))
      return failure();
    if (auto load = op.getA().getDefiningOp<tile::LoadOp>())
      placeOperandA(op, load, fragments);
    else if (failed(set(op.getA(), fragments)))
      return failure();
    auto load = op.getB().getDefiningOp<tile::LoadOp>();
    if (!load)
      return op.emitError("operand b is computed; mma.sync reads it from shared memory, where only "
                          "loads go yet");
    shared.insert(load.getResult());
    return success();
  }

  /// Operand a, written as sums are where both are the same: what a product made needs no renaming.
  Layout fragmentsOf(const MmaAtom &atom, TileType a) {
    Layout own = tiledLayout(atom.a, atom.rows, atom.sum, a.getDim(0), a.getDim(1), warps);
    Layout sums = tiledLayout(atom.c, atom.rows, atom.columns, a.getDim(0), a.getDim(1), warps);
    return sameDistribution(own, sums) ? sums : own;
  }

  /// Operand a of a product in a loop stays in registers where it was loaded before the loop.
  void placeOperandA(tile::MmaOp op, tile::LoadOp load, const Layout &fragments) {
    shared.insert(load.getResult());
    if (!options.queriesInRegisters || load->getParentOp() == op->getParentOp())
      return;
    auto &converted = registers[load];
    if (!converted) {
      builder.setInsertionPointAfter(load);
      converted = tile::ConvertOp::create(builder, load.getLoc(), load.getType(), load, UnitAttr());
      (void)set(converted, fragments);
    }
    op.getAMutable().set(converted);
  }

  // Step 2.
  LogicalResult set(Value value, const Layout &layout) {
    auto [found, isNew] = layouts.try_emplace(value, layout);
    if (isNew) {
      work.push_back(value);
      return success();
    }
    if (sameDistribution(found->second, layout))
      return success();
    Operation *op = value.getDefiningOp();
    return (op ? op : kernel.getOperation())->emitError("a tile of ")
           << value.getType() << " is needed in two layouts, " << layout::print(found->second)
           << " and " << layout::print(layout) << "; moving it between threads is not lowered yet";
  }

  LogicalResult spread() {
    while (!work.empty()) {
      Value value = work.pop_back_val();
      if (Operation *op = value.getDefiningOp(); op && failed(spreadThrough(op, value)))
        return failure();
      if (auto argument = dyn_cast<BlockArgument>(value))
        if (auto loop = dyn_cast<tile::ForOp>(argument.getOwner()->getParentOp());
            loop && failed(spreadLoop(loop, argument.getArgNumber() - 1, value)))
          return failure();
      for (OpOperand &use : value.getUses()) {
        Operation *user = use.getOwner();
        if (auto loop = dyn_cast<tile::ForOp>(user)) {
          unsigned n = use.getOperandNumber() - loop.getBounds().size();
          if (n < loop.getNumResults() && failed(spreadLoop(loop, n, value)))
            return failure();
        } else if (auto loop = dyn_cast<tile::ForOp>(user->getParentOp());
                   loop && isa<tile::YieldOp>(user)) {
          if (failed(spreadLoop(loop, use.getOperandNumber(), value)))
            return failure();
        } else if (failed(spreadThrough(user, value))) {
          return failure();
        }
      }
    }
    return success();
  }

  LogicalResult spreadLoop(tile::ForOp loop, unsigned n, Value value) {
    for (Value same : {Value(loop.getInits()[n]), Value(loop.getIterArgs()[n]),
                       Value(loop.getResult(n)), Value(loop.getYield().getValues()[n])})
      if (failed(set(same, layouts.at(value))))
        return failure();
    return success();
  }

  LogicalResult spreadThrough(Operation *op, Value value) {
    if (auto map = dyn_cast<tile::MapOp>(op))
      return spreadMap(map, value);
    if (auto reduce = dyn_cast<tile::ReduceOp>(op))
      return spreadReduce(reduce, value);
    if (auto loop = dyn_cast<tile::ForOp>(op))
      return spreadLoop(loop, cast<OpResult>(value).getResultNumber(), value);
    return success();
  }

  LogicalResult spreadMap(tile::MapOp map, Value value) {
    Layout layout = layouts.at(value);
    if (!llvm::is_contained(map.getResults(), value)) {
      // A whole operand decides for the result; a broadcast one does not.
      size_t n = llvm::find(map.getInputs(), value) - map.getInputs().begin();
      SmallVector<int64_t> positions = map.getInputPositions(n);
      if (positions.size() != map.getExtents().size())
        return success();
      SmallVector<int64_t> inverse(positions.size());
      for (auto [from, to] : llvm::enumerate(positions))
        inverse[to] = from;
      layout = project(layout, tileType(value).getShape(), inverse);
    }
    for (Value result : map.getResults())
      if (failed(set(result, layout)))
        return failure();
    for (auto [n, input] : llvm::enumerate(map.getInputs()))
      if (failed(set(input, project(layout, map.getExtents(), map.getInputPositions(n)))))
        return failure();
    return success();
  }

  LogicalResult spreadReduce(tile::ReduceOp reduce, Value value) {
    if (value == reduce.getTile()) {
      ArrayRef<int64_t> shape = tileType(value).getShape();
      int64_t dim = reduce.getDim();
      SmallVector<int64_t> kept;
      for (int64_t d = 0; d < int64_t(shape.size()); ++d)
        if (d != dim)
          kept.push_back(d);
      bool shares = tileType(reduce.getInit()).getRank() == int64_t(shape.size());
      Layout layout = shares ? sharesOf(layouts.at(value), shape, dim)
                             : project(layouts.at(value), shape, kept);
      return success(succeeded(set(reduce.getInit(), layout)) &&
                     succeeded(set(reduce.getResult(), layout)));
    }
    return success(succeeded(set(reduce.getInit(), layouts.at(value))) &&
                   succeeded(set(reduce.getResult(), layouts.at(value))));
  }

  // Step 3.
  LogicalResult placeRest() {
    // Large tiles first: what they decide reaches the vectors.
    for (int64_t rank : {2, 1, 0}) {
      SmallVector<Value> values;
      kernel.walk([&](Operation *op) {
        for (Value result : op->getResults())
          if (tileType(result) && tileType(result).getRank() == rank && !shared.contains(result))
            values.push_back(result);
      });
      for (Value value : values)
        if (!layouts.contains(value) &&
            (failed(set(value, elementwise(tileType(value).getShape(), 32 * warps))) ||
             failed(spread())))
          return failure();
    }
    return success();
  }

  void writeTypes() {
    for (auto &[value, layout] : layouts)
      Value(value).setType(
          tileType(value).withPlace(tile::DistAttr::get(kernel.getContext(), layout), Space::Reg));
    for (Value value : shared)
      value.setType(sharedType(tileType(value)));
  }

  TileType sharedType(TileType type) {
    int64_t bytes = type.getElementType().getIntOrFloatBitWidth() / 8;
    return type.withPlace(
        tile::MemAttr::get(kernel.getContext(), sharedLayout(type.getShape(), bytes)), Space::Smem);
  }

  // Step 4.
  void turnResults() {
    SmallVector<tile::StoreOp> stores;
    kernel.walk([&](tile::StoreOp op) { stores.push_back(op); });
    for (tile::StoreOp store : stores) {
      TileType type = tileType(store.getTile());
      bool accumulator = layouts.contains(store.getTile()) && type.getRank() == 2 &&
                         type.getElementType().getIntOrFloatBitWidth() == 16 &&
                         type.getDim(1) % 8 == 0 && type.getDim(0) % 16 == 0 && hasProducts();
      if (!accumulator)
        continue;
      builder.setInsertionPoint(store);
      store.getTileMutable().set(tile::ConvertOp::create(builder, store.getLoc(), sharedType(type),
                                                         store.getTile(), UnitAttr()));
    }
  }

  bool hasProducts() { return !shared.empty(); }

  tile::KernelOp kernel;
  const LayoutOptions &options;
  OpBuilder builder;
  int64_t warps = 1;
  llvm::MapVector<Value, Layout> layouts;
  SmallVector<Value> work;
  llvm::SetVector<Value> shared;
  llvm::DenseMap<Operation *, Value> registers;
};

class AssignLayoutsPass : public PassWrapper<AssignLayoutsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AssignLayoutsPass)
  explicit AssignLayoutsPass(const LayoutOptions &options) : options(options) {}
  StringRef getArgument() const override { return "cuda-assign-layouts"; }
  StringRef getDescription() const override {
    return "layout and space of every tile, for mma.sync";
  }

  void runOnOperation() override {
    if (getOperation().getStage() == tile::Stage::Concrete || carriesState(getOperation()))
      return;
    if (failed(LayoutAssigner(getOperation(), options).run()))
      signalPassFailure();
  }

private:
  LayoutOptions options;
};

} // namespace

std::unique_ptr<Pass> createAssignLayoutsPass(const LayoutOptions &options) {
  return std::make_unique<AssignLayoutsPass>(options);
}

} // namespace heddle::compiler::cuda
