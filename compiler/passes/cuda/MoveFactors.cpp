// MoveFactors, for kernels that carry a state: numbers a token (decays, norms, scales) leave the
// operand that lies in shared memory, where they would cost a pass over the tile.
//
//   %q = map(%Q, %f) { q * f_i } ; %O = mma %S, %q        ->   %P = mma %S, %Q ; %O = map { p * f_i
//   } %k = map(%K, %g) { k * g_j } ; %S = mma %V, %k (j)    ->   %v = map { v * g_j } ; mma %v, %K
//
// A factor along a kept dimension goes to the result where that starts from 0, one along the summed
// dimension to operand a, which lies in registers.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "ir/tile/TilePadding.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// A tile times numbers that vary along one of its dimensions at most.
struct Product {
  Value tile;                        ///< as it was before it was widened
  bool widened = false;              ///< tile has 16 bits
  int64_t dim = -1;                  ///< of the tile; -1: the numbers are the same everywhere
  SmallVector<Value> tiles, scalars; ///< factors: vectors along dim or tiles of rank 0; numbers
};

void leavesOf(Value value, SmallVector<Value> &leaves) {
  if (auto product = value.getDefiningOp<arith::MulFOp>()) {
    leavesOf(product.getLhs(), leaves);
    leavesOf(product.getRhs(), leaves);
  } else {
    leaves.push_back(value);
  }
}

std::optional<Product> productOf(Value value) {
  auto map = value.getDefiningOp<tile::MapOp>();
  if (!map || map.getNumResults() != 1 || map.getExtents().size() != 2)
    return std::nullopt;
  SmallVector<Value> leaves;
  leavesOf(map.getYield().getValues()[0], leaves);
  Product product;
  for (Value leaf : leaves) {
    Value inner = leaf;
    if (auto wide = leaf.getDefiningOp<arith::ExtFOp>())
      inner = wide.getOperand();
    auto argument = dyn_cast<BlockArgument>(inner);
    if (!argument) { // a number from outside, or something else that the map computes
      if (leaf.getParentRegion() == &map.getBody())
        return std::nullopt;
      product.scalars.push_back(leaf);
      continue;
    }
    Value input = map.getInputs()[argument.getArgNumber()];
    SmallVector<int64_t> positions = map.getInputPositions(argument.getArgNumber());
    if (positions.size() == 2) {
      if (product.tile || positions[0] != 0)
        return std::nullopt;
      product.tile = input;
      product.widened = inner != leaf;
      continue;
    }
    if (inner != leaf || (positions.size() == 1 && product.dim >= 0 && product.dim != positions[0]))
      return std::nullopt;
    if (positions.size() == 1)
      product.dim = positions[0];
    product.tiles.push_back(input);
  }
  if (!product.tile || product.tiles.size() + product.scalars.size() == 0)
    return std::nullopt;
  return product;
}

class FactorMover {
public:
  explicit FactorMover(tile::MmaOp op) : op(op), builder(op.getContext()) {}

  void run() {
    for (bool first : {true, false})
      move(first);
  }

private:
  void move(bool isA) {
    std::optional<ProductDims> dims = dimsOf(op);
    OpOperand &operand = isA ? op.getAMutable() : op.getBMutable();
    std::optional<Product> product = productOf(operand.get());
    if (!dims || !product || !tileType(operand.get()).getElementType().isF32())
      return;
    const int64_t sum = isA ? dims->sumA : dims->sumB;
    if (product->dim != sum) { // kept, or everywhere
      auto fill = op.getInit().getDefiningOp<tile::FillOp>();
      if (!fill || !fill.getValue().isZero())
        return;
      operand.set(plain(*product));
      builder.setInsertionPointAfter(op);
      Value moved = times(op.getResult(), *product, isA ? dims->rowsC : 1 - dims->rowsC);
      op.getResult().replaceAllUsesExcept(moved, moved.getDefiningOp());
    } else if (!isA && paddingAllows(op.getA(), dims->sumA)) {
      operand.set(plain(*product));
      builder.setInsertionPoint(op);
      op.getAMutable().set(times(op.getA(), *product, dims->sumA));
    }
  }

  /// Zeros beyond the last token stay zeros when they are multiplied; nothing else is known to.
  static bool paddingAllows(Value tile, int64_t dim) {
    return tile::paddingOf(tile, dim).kind == tile::Padding::Zero;
  }

  /// The tile without its factors, as f32.
  Value plain(const Product &product) {
    if (!product.widened)
      return product.tile;
    builder.setInsertionPoint(op);
    SmallVector<StringRef> names{"r", "c"};
    auto type = tileType(product.tile).withElementType(builder.getF32Type());
    return tile::MapOp::create(builder, op.getLoc(), TypeRange{type}, ValueRange{product.tile},
                               ArrayRef<SmallVector<StringRef>>{names}, names,
                               [](OpBuilder &b, Location at, ValueRange x) {
                                 Value wide = arith::ExtFOp::create(b, at, b.getF32Type(), x[0]);
                                 tile::YieldOp::create(b, at, wide);
                               })
        .getResult(0);
  }

  /// `tile` times the factors along its dimension `dim`.
  Value times(Value tile, const Product &product, int64_t dim) {
    SmallVector<StringRef> names{"r", "c"};
    SmallVector<Value> inputs{tile};
    SmallVector<SmallVector<StringRef>> dims{names};
    for (Value factor : product.tiles) {
      inputs.push_back(factor);
      dims.push_back(tileType(factor).getRank() == 0 ? SmallVector<StringRef>()
                                                     : SmallVector<StringRef>{names[dim]});
    }
    return tile::MapOp::create(builder, op.getLoc(), TypeRange{tile.getType()}, inputs, dims, names,
                               [&](OpBuilder &b, Location at, ValueRange x) {
                                 Value y = x[0];
                                 for (Value factor : x.drop_front())
                                   y = arith::MulFOp::create(b, at, y, factor);
                                 for (Value factor : product.scalars)
                                   y = arith::MulFOp::create(b, at, y, factor);
                                 tile::YieldOp::create(b, at, y);
                               })
        .getResult(0);
  }

  tile::MmaOp op;
  OpBuilder builder;
};

class MoveFactorsPass : public PassWrapper<MoveFactorsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MoveFactorsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "cuda-move-factors"; }
  StringRef getDescription() const override {
    return "numbers a token leave operands in shared memory";
  }

  void runOnOperation() override {
    if (!carriesState(getOperation()))
      return;
    SmallVector<tile::MmaOp> products;
    getOperation().walk([&](tile::MmaOp op) { products.push_back(op); });
    for (tile::MmaOp op : products)
      FactorMover(op).run();
  }
};

} // namespace

std::unique_ptr<Pass> createMoveFactorsPass() { return std::make_unique<MoveFactorsPass>(); }

} // namespace heddle::compiler::cuda
