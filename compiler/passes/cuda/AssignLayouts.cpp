// Decides for mma.sync where each tile lives and which thread holds which element:
//
//   %Q = load (128x64)    -> smem, then registers as operand a (or read from smem by each product)
//   %K, %V = load (64x64) -> smem, swizzled or padded; products read fragments with ldmatrix
//   %S = mma %Q, %K       -> registers, accumulators of m16n8k16, rows shared out over the warps
//   %P = map %S           -> the same layout, which is also that of operand a: no conversion
//   %m, %r (128)          -> registers, copies in the four threads of a row
//   %K = map %codes       -> registers, 8 columns a thread, then convert to smem for the product
//
// Steps: products fix the layouts of what they touch; these spread through maps, reductions and
// loops; what no product reaches is laid out element by element; results of 16 bits are turned in
// shared memory, so that they are stored by rows. Where two layouts of one tile meet, a load or a
// mask is made twice and anything else moves through shared memory.
#include "compiler/machine/Atoms.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "compiler/passes/cuda/Distribution.h"

#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

#include <optional>

using namespace mlir;

namespace heddle::compiler::cuda {

bool hasWholeChunks(Value view, OperandRange valid) {
  auto op = view.getDefiningOp<tile::ViewOp>();
  APInt columns;
  const bool whole = valid.size() < 2 || (matchPattern(valid[1], m_ConstantInt(&columns)) &&
                                          columns.getSExtValue() % 8 == 0);
  return whole && op && op.getKept().back() &&
         cast<tile::ViewType>(view.getType()).getShape().back() % 8 == 0;
}

bool isCopied(tile::LoadOp load) {
  tile::TileType type = load.getType();
  if (type.getRank() != 2 || type.getElementType().getIntOrFloatBitWidth() != 16)
    return false;
  int64_t column = load.getStaticOffsets()[1];
  return !ShapedType::isDynamic(column) && column % 8 == 0 &&
         hasWholeChunks(load.getView(), load.getValid());
}

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
    if (failed(placeProducts()) || failed(placeLists()))
      return failure();
    spread();
    placeRest();
    if (options.tensorTiles && failed(markTensorTiles()))
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

  /// Rows of running lists and of their candidates lie along the lanes of the only warp.
  LogicalResult placeLists() {
    LogicalResult result = success();
    kernel.walk([&](tile::TopkOp op) {
      if (warps > 1)
        result = op.emitError("lists beside products are not lowered for mma.sync");
      const auto inRows = [](Value tile) { return cuda::spread(tileType(tile).getShape(), 32, 0); };
      for (Value list : {op.getResultScore(), op.getResultId()})
        setResult(list, inRows(list));
      for (OpOperand *list : {&op.getBestScoreMutable(), &op.getBestIdMutable()})
        setOperand(*list, inRows(list->get()));
      const Layout candidates = inRows(op.getScore());
      setOperand(op.getScoreMutable(), candidates);
      ArrayRef<int64_t> shape = tileType(op.getScore()).getShape();
      const bool shared = tileType(op.getId()).getRank() == 1;
      setOperand(op.getIdMutable(), shared ? project(candidates, shape, {1}) : candidates);
    });
    return result;
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
    if (auto load = op.getA().getDefiningOp<tile::LoadOp>(); load && isCopied(load))
      placeOperandA(op, op.getAMutable(), fragments);
    else
      setOperand(op.getAMutable(), fragments);
    placeOperandB(op.getBMutable());
    setOperand(op.getInitMutable(), sums);
    setResult(op.getResult(), sums);
    return success();
  }

  /// Operand a, written as sums are where both are the same: what a product made needs no renaming.
  Layout fragmentsOf(const MmaAtom &atom, TileType a) {
    Layout own = tiledLayout(atom.a, atom.rows, atom.sum, a.getDim(0), a.getDim(1), warps);
    Layout sums = tiledLayout(atom.c, atom.rows, atom.columns, a.getDim(0), a.getDim(1), warps);
    return sameDistribution(own, sums) ? sums : own;
  }

  /// A load that a product reads from shared memory has no other readers.
  tile::LoadOp ownLoad(OpOperand &use) {
    auto load = use.get().getDefiningOp<tile::LoadOp>();
    if (llvm::all_of(load->getUsers(),
                     [](Operation *user) { return isa<tile::MmaOp, tile::ConvertOp>(user); }))
      return load;
    builder.setInsertionPointAfter(load);
    auto own = cast<tile::LoadOp>(builder.clone(*load));
    use.set(own);
    return own;
  }

  /// Operand a of a product in a loop stays in registers where it was loaded before the loop.
  void placeOperandA(tile::MmaOp op, OpOperand &use, const Layout &fragments) {
    tile::LoadOp load = ownLoad(use);
    shared.insert(load.getResult());
    if (!options.queriesInRegisters || load->getParentOp() == op->getParentOp())
      return;
    auto &converted = registers[load];
    if (!converted) {
      builder.setInsertionPointAfter(load);
      converted = tile::ConvertOp::create(builder, load.getLoc(), load.getType(), load, UnitAttr());
      setResult(converted, fragments);
    }
    use.set(converted);
  }

  /// Operand b is read with ldmatrix; what is computed, or loaded by elements, is written there.
  void placeOperandB(OpOperand &use) {
    Value tile = use.get();
    if (auto slice = tile.getDefiningOp<tile::SliceOp>()) { // of a tile that only products read
      shared.insert(slice.getTile());
      shared.insert(tile);
      return;
    }
    if (auto load = tile.getDefiningOp<tile::LoadOp>(); load && isCopied(load)) {
      shared.insert(ownLoad(use).getResult());
      return;
    }
    auto &converted = written[tile];
    if (!converted) {
      builder.setInsertionPointAfterValue(tile);
      converted = tile::ConvertOp::create(builder, tile.getLoc(), tile.getType(), tile, UnitAttr());
      shared.insert(converted);
      toShared.push_back(tile);
    }
    use.set(converted);
  }

  // Step 2.

  /// The layout of a value whose op decides it. Readers that were promised another get a copy.
  void setResult(Value value, const Layout &layout) {
    auto [found, isNew] = layouts.try_emplace(value, layout);
    if (isNew)
      return work.push_back(value);
    if (sameDistribution(found->second, layout))
      return;
    Layout promised = found->second;
    layouts[value] = layout;
    work.push_back(value);
    Value copy = through(value, promised);
    Operation *first = copy.getDefiningOp()->getOperand(0).getDefiningOp();
    value.replaceAllUsesExcept(copy, first);
  }

  /// What an op reads has this layout, in a copy if the tile itself has another.
  void setOperand(OpOperand &use, const Layout &layout) {
    Value value = use.get();
    auto [found, isNew] = layouts.try_emplace(value, layout);
    if (isNew)
      return work.push_back(value);
    if (!sameDistribution(found->second, layout))
      use.set(copyOf(value, layout));
  }

  /// Whether making a tile twice costs less than moving it: loads, indices, masks of keys.
  static bool isMadeAnew(Operation *op) {
    auto map = dyn_cast<tile::MapOp>(op);
    return isa<tile::LoadOp, tile::FillOp, tile::IndexOp>(op) ||
           (map && map.getMask() && map.getExtents().size() == 1);
  }

  Value copyOf(Value value, const Layout &layout) {
    for (Value copy : copies[value])
      if (sameDistribution(layouts.lookup(copy), layout))
        return copy;
    Value copy;
    if (Operation *op = value.getDefiningOp(); op && isMadeAnew(op)) {
      builder.setInsertionPointAfter(op);
      copy = builder.clone(*op)->getResult(0);
      layouts[copy] = layout;
      work.push_back(copy);
    } else {
      copy = through(value, layout);
    }
    copies[value].push_back(copy);
    return copy;
  }

  /// The tile in another layout, moved through shared memory where it is made.
  Value through(Value value, const Layout &layout) {
    builder.setInsertionPointAfterValue(value);
    Value stored =
        tile::ConvertOp::create(builder, value.getLoc(), value.getType(), value, UnitAttr());
    Value copy =
        tile::ConvertOp::create(builder, value.getLoc(), value.getType(), stored, UnitAttr());
    shared.insert(stored);
    layouts[copy] = layout;
    return copy;
  }

  void spread() {
    while (!work.empty()) {
      Value value = work.pop_back_val();
      if (Operation *op = value.getDefiningOp())
        spreadThrough(op);
      if (auto argument = dyn_cast<BlockArgument>(value))
        if (auto loop = dyn_cast<tile::ForOp>(argument.getOwner()->getParentOp()))
          spreadLoop(loop, argument.getArgNumber() - 1);
      SmallVector<OpOperand *> uses;
      for (OpOperand &use : value.getUses())
        uses.push_back(&use);
      for (OpOperand *use : uses) {
        Operation *user = use->getOwner();
        if (auto loop = dyn_cast<tile::ForOp>(user)) {
          unsigned n = use->getOperandNumber() - loop.getBounds().size();
          if (n < loop.getNumResults())
            spreadLoop(loop, n);
        } else if (auto loop = dyn_cast<tile::ForOp>(user->getParentOp());
                   loop && isa<tile::YieldOp>(user)) {
          spreadLoop(loop, use->getOperandNumber());
        } else {
          spreadThrough(user);
        }
      }
    }
  }

  /// A carried tile has one layout from its start value to the loop's result.
  void spreadLoop(tile::ForOp loop, unsigned n) {
    if (!tileType(loop.getResult(n)))
      return;
    OpOperand &init = loop.getInitsMutable()[n];
    OpOperand &yield = loop.getYield().getValuesMutable()[n];
    Value argument = loop.getIterArgs()[n], result = loop.getResult(n);
    std::optional<Layout> layout;
    for (Value same : {argument, result, init.get(), yield.get()})
      if (auto found = layouts.find(same); !layout && found != layouts.end())
        layout = found->second;
    if (!layout)
      return;
    setResult(argument, *layout);
    setResult(result, *layout);
    setOperand(init, *layout);
    setOperand(yield, *layout);
  }

  void spreadThrough(Operation *op) {
    if (auto map = dyn_cast<tile::MapOp>(op))
      spreadMap(map);
    else if (auto reduce = dyn_cast<tile::ReduceOp>(op))
      spreadReduce(reduce);
    else if (auto loop = dyn_cast<tile::ForOp>(op))
      for (unsigned n = 0; n < loop.getNumResults(); ++n)
        spreadLoop(loop, n);
  }

  /// The layout of a map's results: theirs, or that of an operand that has all dimensions.
  std::optional<Layout> layoutOf(tile::MapOp map) {
    for (Value result : map.getResults())
      if (auto found = layouts.find(result); found != layouts.end())
        return found->second;
    for (auto [n, input] : llvm::enumerate(map.getInputs())) {
      SmallVector<int64_t> positions = map.getInputPositions(n);
      auto found = layouts.find(input);
      if (found == layouts.end() || positions.size() != map.getExtents().size())
        continue;
      SmallVector<int64_t> inverse(positions.size());
      for (auto [from, to] : llvm::enumerate(positions))
        inverse[to] = from;
      return project(found->second, tileType(input).getShape(), inverse);
    }
    return std::nullopt;
  }

  void spreadMap(tile::MapOp map) {
    std::optional<Layout> layout = layoutOf(map);
    if (!layout)
      return;
    for (Value result : map.getResults())
      setResult(result, *layout);
    for (unsigned n = 0; n < map.getInputs().size(); ++n)
      setOperand(map.getInputsMutable()[n],
                 project(*layout, map.getExtents(), map.getInputPositions(n)));
  }

  void spreadReduce(tile::ReduceOp reduce) {
    auto found = layouts.find(reduce.getTile());
    ArrayRef<int64_t> shape = tileType(reduce.getTile()).getShape();
    int64_t dim = reduce.getDim();
    std::optional<Layout> layout;
    if (found != layouts.end()) {
      SmallVector<int64_t> kept;
      for (int64_t d = 0; d < int64_t(shape.size()); ++d)
        if (d != dim)
          kept.push_back(d);
      bool shares = tileType(reduce.getInit()).getRank() == int64_t(shape.size());
      layout = shares ? sharesOf(found->second, shape, dim) : project(found->second, shape, kept);
    } else {
      for (Value same : {Value(reduce.getInit()), Value(reduce.getResult())})
        if (auto known = layouts.find(same); !layout && known != layouts.end())
          layout = known->second;
    }
    if (!layout)
      return;
    setResult(reduce.getResult(), *layout);
    setOperand(reduce.getInitMutable(), *layout);
  }

  // Step 3.
  void placeRest() {
    for (Value tile : toShared)
      if (!layouts.contains(tile)) {
        setResult(tile, inChunks(tileType(tile).getShape(), 32 * warps));
        spread();
      }
    // Large tiles first: what they decide reaches the vectors.
    for (int64_t rank : {3, 2, 1, 0}) {
      SmallVector<Value> values;
      kernel.walk([&](Operation *op) {
        for (Value result : op->getResults())
          if (tileType(result) && tileType(result).getRank() == rank && !shared.contains(result))
            values.push_back(result);
      });
      for (Value value : values)
        if (!layouts.contains(value)) {
          setResult(value, elementwise(tileType(value).getShape(), 32 * warps));
          spread();
        }
    }
  }

  /// Tiles that TMA copies. Those of loops have to be: what else there is would be copied by
  /// another way than the schedule says.
  LogicalResult markTensorTiles() {
    const auto refuse = [](Operation *op, const std::string &why) {
      return op->emitError("TMA cannot copy this tile: ") << why << "; compile with TMA=0";
    };
    for (Value tile : toShared)
      if (tile.getDefiningOp() && tile.getDefiningOp()->getParentOp() != kernel)
        return refuse(tile.getDefiningOp(), "it is computed, or its rows are no whole chunks of 16 "
                                            "bytes, expected a tensor's own 16-bit elements");
    for (Value value : shared) {
      auto load = value.getDefiningOp<tile::LoadOp>();
      if (!load)
        continue;
      const std::string why = whyNoTensorTile(load);
      if (why.empty())
        load->setAttr(kTensorTile, builder.getUnitAttr());
      else if (load->getParentOp() != kernel)
        return refuse(load, why);
    }
    return success();
  }

  void writeTypes() {
    for (auto &[value, layout] : layouts)
      Value(value).setType(
          tileType(value).withPlace(tile::DistAttr::get(kernel.getContext(), layout), Space::Reg));
    for (Value value : shared) // slices after what they are of
      value.setType(sharedType(value));
  }

  TileType sharedType(Value value) {
    const TileType type = tileType(value);
    const auto in = [&](const layout::SwizzledLayout &layout) {
      return type.withPlace(tile::MemAttr::get(kernel.getContext(), layout), Space::Smem);
    };
    const auto ofTensor = [](tile::LoadOp load) { return load && load->hasAttr(kTensorTile); };
    if (auto load = value.getDefiningOp<tile::LoadOp>(); ofTensor(load))
      return in(tensorTileLayout(load));
    if (auto slice = value.getDefiningOp<tile::SliceOp>();
        slice && ofTensor(slice.getTile().getDefiningOp<tile::LoadOp>()))
      return in(rowsOf(cast<tile::MemAttr>(tileType(slice.getTile()).getLayout()).getLayout(),
                       type.getDim(0)));
    return sharedType(type);
  }

  /// Rows of chunks as ldmatrix wants them, or simply row after row.
  TileType sharedType(TileType type) {
    int64_t bytes = std::max<int64_t>(type.getElementType().getIntOrFloatBitWidth() / 8, 1);
    std::vector<layout::IntTuple> shape(type.getShape().begin(), type.getShape().end());
    if (shape.empty())
      shape.push_back(1);
    bool rows = type.getRank() == 2 && type.getDim(1) * bytes % 16 == 0;
    layout::SwizzledLayout layout =
        rows ? sharedLayout(type.getShape(), bytes)
             : layout::SwizzledLayout{layout::Swizzle(),
                                      *layout::rowMajor(layout::IntTuple::tuple(shape))};
    return type.withPlace(tile::MemAttr::get(kernel.getContext(), layout), Space::Smem);
  }

  // Step 4.
  void turnResults() {
    SmallVector<tile::StoreOp> stores;
    kernel.walk([&](tile::StoreOp op) { stores.push_back(op); });
    for (tile::StoreOp store : stores) {
      TileType type = tileType(store.getTile());
      bool accumulator = layouts.contains(store.getTile()) && type.getRank() == 2 &&
                         type.getElementType().getIntOrFloatBitWidth() == 16 &&
                         type.getDim(1) % 8 == 0 && type.getDim(0) % 16 == 0 && hasProducts() &&
                         isStoredByRows(store);
      if (!accumulator)
        continue;
      builder.setInsertionPoint(store);
      store.getTileMutable().set(tile::ConvertOp::create(builder, store.getLoc(), sharedType(type),
                                                         store.getTile(), UnitAttr()));
    }
  }

  bool hasProducts() { return !shared.empty(); }

  /// Whether rows of whole chunks are stored.
  static bool isStoredByRows(tile::StoreOp store) {
    auto view = cast<tile::ViewType>(store.getView().getType());
    auto op = store.getView().getDefiningOp<tile::ViewOp>();
    return op && op.getKept().back() && view.getShape().back() % 8 == 0 &&
           store.getValid().size() < 2 && store.getStaticOffsets()[1] == 0;
  }

  tile::KernelOp kernel;
  const LayoutOptions &options;
  OpBuilder builder;
  int64_t warps = 1;
  llvm::MapVector<Value, Layout> layouts;
  SmallVector<Value> work;
  llvm::SetVector<Value> shared;
  llvm::DenseMap<Operation *, Value> registers; ///< operands a, by their loads
  llvm::DenseMap<Value, Value> written;         ///< operands b in shared memory, by what they hold
  SmallVector<Value> toShared;                  ///< what is written there
  llvm::DenseMap<Value, SmallVector<Value>> copies;
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
