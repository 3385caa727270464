// CutEdges: tiles at the support's edge are visited in parts of 32 keys, so that parts which no row
// sees are passed over, and the masked body is short: it is compiled for a part, not for a tile.
//
//   for j .. kind(edge) {                       for j .. kind(edge) {
//     K = load k[j] ; V = load v[j]               K = load k[j] ; V = load v[j]
//     S = mma Q, K ; .. ; O = mma P, V    ->      for p = [0, min(step, end - j)) step 32 iter(..)
//     { yield m, l, O                                 S = mma Q, slice K[p] ; .. ; O = mma P, slice
//     V[p]
//   }                                             } }
//
// Rings still bring whole tiles, so loops over edge and full tiles share them. Only where a loop
// over full tiles follows: where all tiles are masked, whole ones are the faster ones.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "compiler/support/Emit.h"
#include "compiler/support/Names.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

constexpr int64_t kPart = 32; ///< keys; whole periods of every swizzle, whole steps of mma.sync

/// Where the first of two intervals is empty, all tiles end with the second.
void endAtLast(tile::ForOp loop) {
  OperandRange bounds = loop.getBounds();
  if (bounds.size() != 4 || !isEmptyInterval(bounds[0], bounds[1]))
    return;
  loop.getBody().walk([&](arith::SelectOp select) {
    auto inFirst = select.getCondition().getDefiningOp<arith::CmpIOp>();
    if (inFirst && inFirst.getLhs() == loop.getIndex() && inFirst.getRhs() == bounds[1] &&
        select.getFalseValue() == bounds[3])
      select.replaceAllUsesWith(bounds[3]);
  });
}

bool dependsOn(Value value, Value index) {
  Operation *op = value.getDefiningOp();
  return value == index || (op && op->getBlock() == index.getParentBlock() &&
                            llvm::any_of(op->getOperands(),
                                         [&](Value operand) { return dependsOn(operand, index); }));
}

class EdgeCutter {
public:
  explicit EdgeCutter(tile::ForOp loop) : loop(loop), index(loop.getIndex()), builder(loop) {}

  /// Whether every op of the body can be made part by part; notes what runs along the keys.
  bool canCut() {
    if (loop.getStep() % kPart != 0 || loop.getStep() <= kPart ||
        !llvm::all_of(loop.getInits(), [](Value init) { return bool(tileType(init)); }))
      return false;
    moved.insert(loop.getIterArgs().begin(), loop.getIterArgs().end());
    return llvm::all_of(loop.getBody().front().without_terminator(),
                        [&](Operation &op) { return note(&op); });
  }

  void run() {
    tile::YieldOp yield = loop.getYield();
    builder.setInsertionPoint(yield);
    Location at = loop.getLoc();
    Value rest = arith::SubIOp::create(builder, at, end(), index);
    Value stop = arith::MinSIOp::create(builder, at, constant(loop.getStep()), rest);
    SmallVector<Value> carried(loop.getIterArgs());
    auto parts = tile::ForOp::create(builder, at, ValueRange{constant(0), stop}, kPart, carried,
                                     tile::LoopKind::Edge);
    Block &body = parts.getBody().front();
    if (body.mightHaveTerminator())
      body.getTerminator()->erase();
    builder.setInsertionPointToEnd(&body);
    part = parts.getIndex();
    for (auto [from, to] : llvm::zip(loop.getIterArgs(), parts.getIterArgs()))
      mapping.map(from, to);
    SmallVector<Operation *> originals;
    for (Operation &op : loop.getBody().front().without_terminator())
      if (&op != parts && isMoved(&op)) {
        copy(&op);
        if (!isSliced(&op))
          originals.push_back(&op);
      }
    SmallVector<Value> results;
    for (Value value : yield.getValues())
      results.push_back(mapping.lookupOrDefault(value));
    tile::YieldOp::create(builder, at, results);
    yield.getValuesMutable().assign(parts.getResults());
    for (Operation *op : llvm::reverse(originals))
      op->erase();
  }

private:
  using Dims = uint32_t; ///< a bit for each dimension that runs along the keys

  // ---- what runs along the keys ----

  bool note(Operation *op) {
    if (auto load = dyn_cast<tile::LoadOp>(op))
      return noteLoad(load);
    if (auto number = dyn_cast<tile::IndexOp>(op)) {
      if (dependsOn(number.getBase(), index))
        return mark(number.getResult(), 1);
      return true;
    }
    if (auto map = dyn_cast<tile::MapOp>(op))
      return noteMap(map);
    if (auto reduce = dyn_cast<tile::ReduceOp>(op))
      return noteReduce(reduce);
    if (auto product = dyn_cast<tile::MmaOp>(op))
      return noteProduct(product);
    // Scalars stay before the parts.
    return op->getNumRegions() == 0 && !isa<tile::StoreOp>(op) &&
           llvm::none_of(op->getOperands(), [&](Value operand) { return moved.contains(operand); });
  }

  bool mark(Value value, Dims dims) {
    along[value] = dims;
    moved.insert(value);
    for (int64_t dim = 0; dim < tileType(value).getRank(); ++dim)
      if (dims >> dim & 1 && tileType(value).getDim(dim) != int64_t(loop.getStep()))
        return false;
    return true;
  }

  bool noteLoad(tile::LoadOp load) {
    if (llvm::none_of(load.getOffsets(), [&](Value offset) { return dependsOn(offset, index); }))
      return true;
    return ShapedType::isDynamic(load.getStaticOffsets()[0]) && mark(load.getResult(), 1) &&
           llvm::none_of(load.getOffsets().drop_front(),
                         [&](Value offset) { return dependsOn(offset, index); });
  }

  /// Dimensions of a result that an operand with these positions brings along.
  Dims bring(Value operand, ArrayRef<int64_t> positions) {
    Dims dims = 0;
    for (auto [dim, position] : llvm::enumerate(positions))
      if (position >= 0 && along.lookup(operand) >> dim & 1)
        dims |= Dims(1) << position;
    return dims;
  }

  /// Whether an operand has the extents of a part: it runs along the keys, or is a fill.
  bool fits(Value operand, ArrayRef<int64_t> positions, Dims dims) {
    for (auto [dim, position] : llvm::enumerate(positions))
      if (position >= 0 && dims >> position & 1 && !(along.lookup(operand) >> dim & 1) &&
          !operand.getDefiningOp<tile::FillOp>())
        return false;
    return true;
  }

  bool noteMap(tile::MapOp map) {
    Dims dims = 0;
    bool inside = false;
    for (auto [n, input] : llvm::enumerate(map.getInputs())) {
      dims |= bring(input, map.getInputPositions(n));
      inside |= moved.contains(input);
      if (isSliced(input.getDefiningOp()))
        return false;
    }
    for (auto [n, input] : llvm::enumerate(map.getInputs()))
      if (!fits(input, map.getInputPositions(n), dims))
        return false;
    return !inside ||
           llvm::all_of(map.getResults(), [&](Value result) { return mark(result, dims); });
  }

  bool noteReduce(tile::ReduceOp reduce) {
    const int64_t rank = tileType(reduce.getTile()).getRank();
    const bool shares = tileType(reduce.getInit()).getRank() == rank;
    SmallVector<int64_t> positions, own;
    for (int64_t dim = 0, out = 0; dim < rank; ++dim) {
      const bool kept = dim != int64_t(reduce.getDim());
      positions.push_back(!kept ? -1 : shares ? dim : out);
      out += kept;
    }
    const Dims dims = bring(reduce.getTile(), positions);
    for (int64_t dim = 0; dim < tileType(reduce.getInit()).getRank(); ++dim)
      own.push_back(dim);
    const bool inside = moved.contains(reduce.getTile()) || moved.contains(reduce.getInit());
    return fits(reduce.getInit(), own, dims) && (!inside || mark(reduce.getResult(), dims));
  }

  static SmallVector<int64_t> positionsIn(ArrayAttr names, ArrayAttr result) {
    SmallVector<int64_t> positions;
    for (StringAttr name : names.getAsRange<StringAttr>())
      positions.push_back(positionOf(result, name.getValue()));
    return positions;
  }

  /// Operand b comes from a ring, in slices.
  bool noteProduct(tile::MmaOp op) {
    auto load = op.getB().getDefiningOp<tile::LoadOp>();
    if (!load || load->getBlock() != op->getBlock() || !isCopied(load) || !along.lookup(load))
      return false;
    const Dims dims = bring(op.getA(), positionsIn(op.getADims(), op.getCDims())) |
                      bring(op.getB(), positionsIn(op.getBDims(), op.getCDims()));
    SmallVector<int64_t> own{0, 1};
    return tileType(op.getResult()).getRank() == 2 && fits(op.getInit(), own, dims) &&
           mark(op.getResult(), dims);
  }

  /// A load that stays before the parts.
  static bool isSliced(Operation *op) {
    return isa_and_nonnull<tile::LoadOp>(op) && llvm::any_of(op->getUsers(), [&](Operation *user) {
             auto product = dyn_cast<tile::MmaOp>(user);
             return product && product.getB() == op->getResult(0);
           });
  }

  bool isMoved(Operation *op) {
    return llvm::any_of(op->getResults(), [&](Value result) { return moved.contains(result); });
  }

  // ---- writing ----

  Value constant(int64_t value) {
    return arith::ConstantIndexOp::create(builder, loop.getLoc(), value);
  }

  Value end() { return intervalEnd(builder, loop.getLoc(), index, loop.getBounds()); }

  tile::TileType partOf(tile::TileType type, Dims dims) {
    SmallVector<int64_t> shape(type.getShape());
    for (auto [dim, extent] : llvm::enumerate(shape))
      if (dims >> dim & 1)
        extent = kPart;
    return type.withShape(shape);
  }

  void copy(Operation *op) {
    Location at = op->getLoc();
    if (isSliced(op)) {
      auto type = partOf(tileType(op->getResult(0)), 1);
      SmallVector<OpFoldResult> offsets(type.getRank(), builder.getIndexAttr(0));
      offsets[0] = part;
      mapping.map(op->getResult(0),
                  tile::SliceOp::create(builder, at, type, op->getResult(0), offsets).getResult());
      return;
    }
    for (OpOperand &operand : op->getOpOperands())
      shrinkFill(op, operand);
    Operation *made = builder.clone(*op, mapping);
    for (Value operand : op->getOperands())
      if (operand.getDefiningOp<tile::FillOp>()) // each reader has fills of its own extents
        mapping.erase(operand);
    for (auto [from, to] : llvm::zip(op->getResults(), made->getResults()))
      to.setType(partOf(tileType(from), along.lookup(from)));
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(made);
    if (auto number = dyn_cast<tile::IndexOp>(made))
      number.getBaseMutable().assign(arith::AddIOp::create(builder, at, number.getBase(), part));
    if (auto load = dyn_cast<tile::LoadOp>(made)) {
      load.getOffsetsMutable()[0].set(
          arith::AddIOp::create(builder, at, load.getOffsets()[0], part));
      if (!load.getValid().empty())
        load.getValidMutable()[0].set(arith::SubIOp::create(builder, at, load.getValid()[0], part));
    }
  }

  /// A fill that stands where the op's result runs along the keys.
  void shrinkFill(Operation *op, OpOperand &operand) {
    auto fill = operand.get().getDefiningOp<tile::FillOp>();
    if (!fill)
      return;
    Dims dims = 0;
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      for (auto [dim, position] :
           llvm::enumerate(map.getInputPositions(operand.getOperandNumber())))
        if (along.lookup(map.getResult(0)) >> position & 1)
          dims |= Dims(1) << dim;
    } else if (isa<tile::MmaOp, tile::ReduceOp>(op)) {
      dims = along.lookup(op->getResult(0));
    }
    if (dims)
      mapping.map(fill.getResult(),
                  tile::FillOp::create(builder, op->getLoc(), partOf(fill.getType(), dims),
                                       fill.getValue().convertToDouble())
                      .getResult());
  }

  tile::ForOp loop;
  Value index, part;
  OpBuilder builder;
  llvm::DenseMap<Value, Dims> along;
  llvm::DenseSet<Value> moved; ///< what is made part by part
  IRMapping mapping;
};

class CutEdgesPass : public PassWrapper<CutEdgesPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CutEdgesPass)
  explicit CutEdgesPass(const LayoutOptions &options) : stages(options.stages) {}
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "cuda-cut-edges"; }
  StringRef getDescription() const override { return "edge tiles are visited in parts"; }

  void runOnOperation() override {
    // A single slot is filled again while the parts read it.
    if (carriesState(getOperation()) || stages < 2)
      return;
    getOperation().walk(endAtLast);
    SmallVector<tile::ForOp> edges;
    bool full = false;
    for (auto loop : getOperation().getBody().front().getOps<tile::ForOp>()) {
      full |= loop.getKind() == tile::LoopKind::Full;
      if (loop.getKind() == tile::LoopKind::Edge)
        edges.push_back(loop);
    }
    for (tile::ForOp loop : edges)
      if (EdgeCutter cutter(loop); full && cutter.canCut())
        cutter.run();
  }

private:
  int64_t stages;
};

} // namespace

std::unique_ptr<Pass> createCutEdgesPass(const LayoutOptions &options) {
  return std::make_unique<CutEdgesPass>(options);
}

} // namespace heddle::compiler::cuda
