// PadTiles: whole instructions along every dimension of a product. For decode with 8 heads a key
// head, and for heads of 72 features:
//
//   %Q = tile.load %q[%h0, 0] : -> 8x72    ->   %Q = tile.load %q[%h0, 0] valid(8, 72) fill 0.0 :
//   -> 16x80 tile.store %O, .. : 8x72               ->   tile.store %O, .. valid(8) : 16x72
//
// Columns of a product need multiples of 8 only, so a result of 72 columns stays. Operands that are
// computed get a mask where they were widened along what is summed.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "ir/tile/TilePadding.h"

#include "llvm/Support/MathExtras.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

class TilePadder {
public:
  TilePadder(tile::KernelOp kernel, const LayoutOptions &options)
      : kernel(kernel),
        rowsMultiple(16 * (carriesState(kernel) ? stateWarps(kernel, options) : options.warps)),
        dimensions(kernel) {}

  void run() {
    kernel.walk([&](tile::MmaOp op) { require(op); });
    if (multiples.empty())
      return;
    SmallVector<std::pair<Value, tile::TileType>> changes;
    forEachTile([&](Value value) {
      tile::TileType type = tileType(value), wide = padded(value);
      if (type != wide)
        changes.push_back({value, wide});
    });
    kernel.walk([&](Operation *op) {
      if (auto load = dyn_cast<tile::LoadOp>(op))
        clip(load, load.getResult(), load.getValidMutable());
      else if (auto store = dyn_cast<tile::StoreOp>(op))
        clip(store, store.getTile(), store.getValidMutable());
    });
    llvm::DenseMap<Value, tile::TileType> before;
    for (auto [value, type] : changes) {
      before[value] = tileType(value);
      value.setType(type);
    }
    if (carriesState(kernel))
      maskFeatures();
    kernel.walk([&](tile::MmaOp op) {
      std::optional<ProductDims> dims = dimsOf(op);
      if (!dims)
        return;
      if (!dims->isVector()) // a vector's numbers meet the zeros of b
        clear(op, op.getAMutable(), dims->sumA, before);
      clear(op, op.getBMutable(), dims->sumB, before);
    });
  }

private:
  /// Features that were added stay 0 behind maps that make something else of 0 (elu + 1, exp),
  /// since sums over features meet them.
  void maskFeatures() {
    SmallVector<tile::MapOp> maps;
    kernel.walk([&](tile::MapOp map) { maps.push_back(map); });
    for (tile::MapOp map : maps)
      for (int64_t dim = 0; dim < int64_t(map.getExtents().size()); ++dim) {
        Value result = map.getResult(0);
        const int64_t now = map.getExtents()[dim];
        if (!originals.contains(dimensions.classOf(result, dim)))
          continue;
        const int64_t had = originals.lookup(dimensions.classOf(result, dim));
        const tile::Padding::Kind kind = tile::paddingOf(result, dim).kind;
        if (had < now && kind != tile::Padding::Zero && kind != tile::Padding::Inside)
          mask(map, dim, had);
      }
  }

  static void mask(tile::MapOp map, int64_t dim, int64_t extent) {
    OpBuilder builder(map);
    Location at = map.getLoc();
    auto numbers = tile::TileType::get({map.getExtents()[dim]}, builder.getI32Type());
    Value start = arith::ConstantIndexOp::create(builder, at, 0);
    Value number = tile::IndexOp::create(builder, at, numbers, start);
    SmallVector<Attribute> dims(map.getInputDims().begin(), map.getInputDims().end());
    dims.push_back(builder.getArrayAttr({map.getDims()[dim]}));
    map.getInputsMutable().append(number);
    map.setInputDimsAttr(builder.getArrayAttr(dims));
    Value n = map.getBody().front().addArgument(builder.getI32Type(), at);
    auto yield = map.getYield();
    // What is rounded last is masked before that.
    SmallVector<OpOperand *> masked;
    for (OpOperand &value : yield->getOpOperands()) {
      auto rounded = value.get().getDefiningOp<arith::TruncFOp>();
      if (rounded && rounded->hasOneUse())
        masked.push_back(&rounded->getOpOperand(0));
      else if (isa<FloatType>(value.get().getType()))
        masked.push_back(&value);
    }
    builder.setInsertionPoint(&map.getBody().front(), map.getBody().front().begin());
    Value limit = arith::ConstantOp::create(builder, at, builder.getI32IntegerAttr(extent));
    Value there = arith::CmpIOp::create(builder, at, arith::CmpIPredicate::slt, n, limit);
    for (OpOperand *value : masked) {
      builder.setInsertionPoint(value->getOwner());
      Value zero =
          arith::ConstantOp::create(builder, at, builder.getFloatAttr(value->get().getType(), 0.0));
      value->set(arith::SelectOp::create(builder, at, there, value->get(), zero));
    }
  }

  void require(tile::MmaOp op) {
    std::optional<ProductDims> dims = dimsOf(op);
    if (!dims)
      return; // AssignLayouts refuses it
    // Tokens of a chunk are as many as there are; warps without rows share columns.
    const bool tokens = carriesState(kernel) && dims->rowsC == 0;
    if (!dims->isVector())
      require(op.getA(), dims->rowsA, tokens ? 16 : rowsMultiple);
    require(op.getA(), dims->sumA, 16);
    originals[dimensions.classOf(op.getA(), dims->sumA)] = tileType(op.getA()).getDim(dims->sumA);
    require(op.getB(), dims->columnsB, 8);
  }

  void require(Value value, int64_t dim, int64_t multiple) {
    int64_t &known = multiples[dimensions.classOf(value, dim)];
    known = std::max(known, multiple); // 8, 16, or rows, which are a multiple of both
  }

  void forEachTile(llvm::function_ref<void(Value)> visit) {
    kernel.walk([&](Operation *op) {
      for (Value result : op->getResults())
        if (tileType(result))
          visit(result);
      if (auto loop = dyn_cast<tile::ForOp>(op))
        for (Value argument : loop.getIterArgs())
          if (tileType(argument))
            visit(argument);
    });
  }

  tile::TileType padded(Value value) {
    SmallVector<int64_t> shape(tileType(value).getShape());
    for (auto [dim, extent] : llvm::enumerate(shape))
      if (int64_t multiple = multiples.lookup(dimensions.classOf(value, dim)))
        extent = llvm::alignTo(extent, multiple);
    return tileType(value).withShape(shape);
  }

  /// Counts along each dimension up to the last padded one: no more than there were elements.
  void clip(Operation *op, Value tile, MutableOperandRange valid) {
    tile::TileType type = tileType(tile), wide = padded(tile);
    int64_t last = -1;
    for (int64_t dim = 0; dim < type.getRank(); ++dim)
      if (type.getDim(dim) != wide.getDim(dim))
        last = dim;
    if (last < 0)
      return;
    OpBuilder builder(op);
    SmallVector<Value> counts;
    for (Value count : OperandRange(valid))
      counts.push_back(count);
    for (int64_t dim = 0; dim <= last; ++dim) {
      Value extent = arith::ConstantIndexOp::create(builder, op->getLoc(), type.getDim(dim));
      if (dim >= int64_t(counts.size()))
        counts.push_back(extent);
      else if (type.getDim(dim) != wide.getDim(dim))
        counts[dim] = builder.createOrFold<arith::MinSIOp>(op->getLoc(), counts[dim], extent);
    }
    valid.assign(counts);
    if (auto load = dyn_cast<tile::LoadOp>(op); load && !load.getFill())
      load.setFillAttr(builder.getF64FloatAttr(0.0));
  }

  /// A computed operand is 0 in what was added along the summed dimension; loads are by their fill.
  void clear(tile::MmaOp op, OpOperand &operand, int64_t dim,
             const llvm::DenseMap<Value, tile::TileType> &before) {
    Value tile = operand.get();
    auto found = before.find(tile);
    if (found == before.end() || tile.getDefiningOp<tile::LoadOp>() ||
        found->second.getDim(dim) == tileType(tile).getDim(dim))
      return;
    OpBuilder builder(op);
    Location at = op.getLoc();
    const int64_t extent = found->second.getDim(dim);
    auto numbers = tile::TileType::get({tileType(tile).getDim(dim)}, builder.getI32Type());
    Value start = arith::ConstantIndexOp::create(builder, at, 0);
    Value index = tile::IndexOp::create(builder, at, numbers, start);
    SmallVector<StringRef> all{"x", "y"};
    SmallVector<SmallVector<StringRef>> names{all, {all[dim]}};
    operand.set(
        tile::MapOp::create(
            builder, at, TypeRange{tile.getType()}, ValueRange{tile, index}, names, all,
            [&](OpBuilder &b, Location loc, ValueRange x) {
              Value limit = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(extent)));
              Value inside = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x[1], limit);
              Value zero =
                  arith::ConstantOp::create(b, loc, b.getZeroAttr(tileType(tile).getElementType()));
              Value kept = arith::SelectOp::create(b, loc, inside, x[0], zero);
              tile::YieldOp::create(b, loc, kept);
            })
            .getResult(0));
  }

  tile::KernelOp kernel;
  int64_t rowsMultiple;
  Dimensions dimensions;
  llvm::DenseMap<const void *, int64_t> multiples;
  llvm::DenseMap<const void *, int64_t> originals; ///< extents of what products sum
};

class PadTilesPass : public PassWrapper<PadTilesPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PadTilesPass)
  explicit PadTilesPass(const LayoutOptions &options) : options(options) {}
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "cuda-pad-tiles"; }
  StringRef getDescription() const override { return "extents of whole mma instructions"; }
  void runOnOperation() override { TilePadder(getOperation(), options).run(); }

private:
  LayoutOptions options;
};

} // namespace

std::unique_ptr<Pass> createPadTilesPass(const LayoutOptions &options) {
  return std::make_unique<PadTilesPass>(options);
}

} // namespace heddle::compiler::cuda
