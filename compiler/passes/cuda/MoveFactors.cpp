// MoveFactors: numbers a token (decays, norms, scales of codes) leave the operand that lies in
// shared memory, where they would cost a pass over the tile and be rounded with it.
//
//   %q = map(%Q, %f) { q * f_i } ; %O = mma %S, %q        ->   %P = mma %S, %Q ; %O = map { p * f_i
//   } %k = map(%K, %g) { k * g_j } ; %S = mma %V, %k (j)    ->   %v = map { v * g_j } ; mma %v, %K
//
// A factor along a kept dimension goes to the result where that starts from 0, one along the summed
// dimension to operand a, which lies in registers. So scores of coded keys are sums of products
// with the codes, exact in 16 bits, times the token's scale; and a token's scale of values
// multiplies its weight. Where a result is weighed by 2^(u_i - v_j), a positive factor of a row or
// column joins u or v as its logarithm. What is masked keeps its mask: select(m_j, k * g_j, 0) is
// select(m_j, k, 0) times select(m_j, g_j, 0).
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "ir/tile/TilePadding.h"

#include "llvm/ADT/SetVector.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

#include <functional>

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// A map's result as a product: what has both dimensions, and numbers along one of them at most.
struct Product {
  tile::MapOp map;
  Value rest;                        ///< in the map's body
  int64_t dim = -1;                  ///< of the factors; -1: the numbers are the same everywhere
  SmallVector<Value> tiles, scalars; ///< factors: vectors along dim or tiles of rank 0; numbers
  SmallVector<Value> masks;          ///< vectors along dim; factors count as 0 where one is false
};

/// What the map computes from numbers along one dimension alone, as a tile of its own; null if it
/// reads others.
Value computedVector(tile::MapOp map, Value leaf, int64_t &dim) {
  llvm::SetVector<Operation *> ops;
  llvm::SetVector<unsigned> inputs;
  std::function<bool(Value)> collect = [&](Value value) {
    if (auto argument = dyn_cast<BlockArgument>(value);
        argument && map.getBody().isAncestor(argument.getParentRegion())) {
      SmallVector<int64_t> positions = map.getInputPositions(argument.getArgNumber());
      if (positions.size() > 1 || (!positions.empty() && dim >= 0 && dim != positions[0]))
        return false;
      if (!positions.empty())
        dim = positions[0];
      inputs.insert(argument.getArgNumber());
      return true;
    }
    Operation *op = value.getDefiningOp();
    if (!op || op->getParentRegion() != &map.getBody())
      return true; // from outside
    const bool known = llvm::all_of(op->getOperands(), collect);
    ops.insert(op);
    return known;
  };
  if (!collect(leaf) || dim < 0)
    return {};
  OpBuilder builder(map);
  SmallVector<Value> tiles;
  SmallVector<SmallVector<StringRef>> names;
  for (unsigned n : inputs) {
    tiles.push_back(map.getInputs()[n]);
    names.push_back(SmallVector<StringRef>(map.getInputPositions(n).size(), "n"));
  }
  auto type = tile::TileType::get({map.getExtents()[dim]}, leaf.getType());
  return tile::MapOp::create(builder, map.getLoc(), TypeRange{type}, tiles, names,
                             SmallVector<StringRef>{"n"},
                             [&](OpBuilder &b, Location at, ValueRange x) {
                               IRMapping mapping;
                               for (auto [n, input] : llvm::enumerate(inputs))
                                 mapping.map(map.getBody().front().getArgument(input), x[n]);
                               for (Operation *op : ops)
                                 b.clone(*op, mapping);
                               tile::YieldOp::create(b, at, mapping.lookup(leaf));
                             })
      .getResult(0);
}

/// The vector along the product's dimension, or tile of rank 0, that `value` is an element of.
Value vectorOf(Product &product, Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument && carriesState(product.map->getParentOfType<tile::KernelOp>()) &&
      value.getType().isF32() && !value.getDefiningOp<arith::MulFOp>()) {
    int64_t dim = product.dim;
    Value vector = computedVector(product.map, value, dim);
    if (vector)
      product.dim = dim;
    return vector;
  }
  if (!argument)
    return {};
  SmallVector<int64_t> positions = product.map.getInputPositions(argument.getArgNumber());
  if (positions.size() > 1 ||
      (positions.size() == 1 && product.dim >= 0 && product.dim != positions[0]))
    return {};
  if (positions.size() == 1)
    product.dim = positions[0];
  return product.map.getInputs()[argument.getArgNumber()];
}

/// Takes the factors of `value` out; what is left of it, or null where all of it is one.
Value split(Product &product, Value value) {
  if (value.getParentRegion() != &product.map.getBody()) {
    product.scalars.push_back(value);
    return {};
  }
  if (Value vector = vectorOf(product, value)) {
    product.tiles.push_back(vector);
    return {};
  }
  Operation *op = value.getDefiningOp();
  if (auto multiply = dyn_cast_or_null<arith::MulFOp>(op)) {
    Value x = split(product, multiply.getLhs()), y = split(product, multiply.getRhs());
    if (!x || !y)
      return x ? x : y;
    OpBuilder builder(op);
    return arith::MulFOp::create(builder, op->getLoc(), x, y);
  }
  auto select = dyn_cast_or_null<arith::SelectOp>(op);
  if (!select || !matchPattern(select.getFalseValue(), m_AnyZeroFloat()))
    return value;
  Product inner = product;
  Value mask = vectorOf(inner, select.getCondition());
  Value x = mask ? split(inner, select.getTrueValue()) : Value();
  if (!x)
    return value;
  product = inner;
  product.masks.push_back(mask);
  OpBuilder builder(op);
  return arith::SelectOp::create(builder, op->getLoc(), select.getCondition(), x,
                                 select.getFalseValue());
}

std::optional<Product> productOf(Value value) {
  auto map = value.getDefiningOp<tile::MapOp>();
  if (!map || map.getNumResults() != 1 || map.getExtents().size() != 2 ||
      !tileType(value).getElementType().isF32())
    return std::nullopt;
  Product product{map, {}, -1, {}, {}, {}};
  product.rest = split(product, map.getYield().getValues()[0]);
  if (!product.rest || product.tiles.size() + product.scalars.size() == 0)
    return std::nullopt;
  return product;
}

/// The product of the factors, 0 where it is masked; x: elements of its tiles, then of its masks.
Value factorOf(OpBuilder &b, Location at, const Product &product, ValueRange x) {
  SmallVector<Value> factors(x.take_front(product.tiles.size()));
  factors.append(product.scalars);
  Value y = factors.empty() ? Value(arith::ConstantOp::create(b, at, b.getF32FloatAttr(1)))
                            : factors.front();
  for (Value factor : llvm::drop_begin(factors, factors.empty() ? 0 : 1))
    y = arith::MulFOp::create(b, at, y, factor);
  for (Value mask : x.drop_front(product.tiles.size())) {
    Value zero = arith::ConstantOp::create(b, at, b.getF32FloatAttr(0));
    y = arith::SelectOp::create(b, at, mask, y, zero);
  }
  return y;
}

/// Ops and operands that nothing in the map's body reads.
void dropUnused(tile::MapOp map) {
  Block &body = map.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body)))
    if (isOpTriviallyDead(&op))
      op.erase();
  SmallVector<Attribute> dims(map.getInputDims().begin(), map.getInputDims().end());
  for (unsigned n = map.getInputs().size(); n-- > 0;) {
    if (!body.getArgument(n).use_empty())
      continue;
    body.eraseArgument(n);
    map.getInputsMutable().erase(n);
    dims.erase(dims.begin() + n);
  }
  map.setInputDimsAttr(ArrayAttr::get(map.getContext(), dims));
}

/// Whether every element is above 0 by the way it is computed.
bool isPositive(Value value) {
  FloatAttr constant;
  if (matchPattern(value, m_Constant(&constant)))
    return constant.getValueAsDouble() > 0;
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto map = dyn_cast_or_null<tile::MapOp>(argument.getOwner()->getParentOp());
    return map && isPositive(map.getInputs()[argument.getArgNumber()]);
  }
  Operation *op = value.getDefiningOp();
  if (auto map = dyn_cast_or_null<tile::MapOp>(op))
    return map.getNumResults() == 1 && isPositive(map.getYield().getValues()[0]);
  if (isa_and_nonnull<arith::MulFOp>(op))
    return llvm::all_of(op->getOperands(), isPositive);
  return isa_and_nonnull<math::Exp2Op, math::RsqrtOp>(op);
}

/// The place in a map where x is multiplied by 2^(u - v), u and v along the two dimensions: factors
/// of x go there as logarithms.
struct Exponent {
  tile::MapOp map;
  unsigned u, v; ///< inputs
};

std::optional<Exponent> exponentOf(Value x) {
  if (!x.hasOneUse())
    return std::nullopt;
  OpOperand &use = *x.use_begin();
  auto map = dyn_cast<tile::MapOp>(use.getOwner());
  if (!map || map.getInputPositions(use.getOperandNumber()) != SmallVector<int64_t>{0, 1})
    return std::nullopt;
  BlockArgument argument = map.getBody().front().getArgument(use.getOperandNumber());
  auto product = argument.hasOneUse() ? dyn_cast<arith::MulFOp>(*argument.user_begin()) : nullptr;
  if (!product)
    return std::nullopt;
  Value other = product.getLhs() == argument ? product.getRhs() : product.getLhs();
  auto power = other.getDefiningOp<math::Exp2Op>();
  if (!power || !other.hasOneUse())
    return std::nullopt;
  Value exponent = power.getOperand();
  if (auto masked = exponent.getDefiningOp<arith::SelectOp>()) // the product is masked alike
    exponent = masked.getTrueValue();
  auto difference = exponent.getDefiningOp<arith::SubFOp>();
  if (!difference)
    return std::nullopt;
  auto u = dyn_cast<BlockArgument>(difference.getLhs()),
       v = dyn_cast<BlockArgument>(difference.getRhs());
  if (!u || !v || !u.hasOneUse() || !v.hasOneUse() ||
      map.getInputPositions(u.getArgNumber()) != SmallVector<int64_t>{0} ||
      map.getInputPositions(v.getArgNumber()) != SmallVector<int64_t>{1})
    return std::nullopt;
  return Exponent{map, u.getArgNumber(), v.getArgNumber()};
}

class FactorMover {
public:
  explicit FactorMover(tile::MmaOp op)
      : op(op), state(carriesState(op->getParentOfType<tile::KernelOp>())),
        builder(op.getContext()) {}

  void run() {
    if (state)
      move(true);
    move(false);
  }

private:
  void move(bool isA) {
    std::optional<ProductDims> dims = dimsOf(op);
    OpOperand &operand = isA ? op.getAMutable() : op.getBMutable();
    std::optional<Product> product = dims ? productOf(operand.get()) : std::nullopt;
    if (!product)
      return;
    Value rest = plain(*product);
    // Products of products are one where their factors lie along one dimension.
    for (std::optional<Product> inner; state && (inner = productOf(rest));) {
      if (inner->dim >= 0 && product->dim >= 0 && inner->dim != product->dim)
        break;
      rest = plain(*inner);
      product->dim = std::max(product->dim, inner->dim);
      product->tiles.append(inner->tiles);
      product->scalars.append(inner->scalars);
      product->masks.append(inner->masks);
    }
    const int64_t sum = isA ? dims->sumA : dims->sumB;
    if (product->dim != sum) { // kept, or everywhere
      auto fill = op.getInit().getDefiningOp<tile::FillOp>();
      if (!fill || !fill.getValue().isZero())
        return;
      operand.set(rest);
      const int64_t dim = isA ? dims->rowsC : dims->columnsC();
      if (intoExponent(*product, dim))
        return;
      builder.setInsertionPointAfter(op);
      Value moved = times(op.getResult(), *product, dim);
      op.getResult().replaceAllUsesExcept(moved, moved.getDefiningOp());
    } else if (!isA && mayScaleA(*dims)) {
      builder.setInsertionPoint(op);
      Value a = op.getA();
      if (dims->isVector() && product->masks.empty())
        a = clipped(a, tile::paddingOf(rest, dims->sumB).source, dims->sumB);
      const bool isClipped = a != op.getA();
      if (dims->isVector() && product->masks.empty() && !isClipped &&
          llvm::any_of(product->tiles, [](Value factor) {
            return tileType(factor).getRank() == 1 &&
                   tile::paddingOf(factor, 0).kind == tile::Padding::Filled;
          }))
        return;
      operand.set(rest);
      op.getAMutable().set(times(a, *product, dims->sumA));
    }
  }

  /// Ones, and zeros where the load of operand b has no rows: factors there may be anything.
  Value clipped(Value ones, Operation *source, int64_t dim) {
    auto load = dyn_cast_or_null<tile::LoadOp>(source);
    if (!load || dim >= int64_t(load.getValid().size()))
      return ones;
    Location at = op.getLoc();
    Value first = arith::ConstantIndexOp::create(builder, at, 0);
    auto numbers = tile::TileType::get({tileType(ones).getDim(0)}, builder.getI32Type());
    Value index = tile::IndexOp::create(builder, at, numbers, first);
    Value count =
        arith::IndexCastOp::create(builder, at, builder.getI32Type(), load.getValid()[dim]);
    SmallVector<SmallVector<StringRef>> dims{{"n"}, {"n"}};
    return tile::MapOp::create(builder, at, TypeRange{ones.getType()}, ValueRange{ones, index},
                               dims, SmallVector<StringRef>{"n"},
                               [&](OpBuilder &b, Location loc, ValueRange x) {
                                 Value there = arith::CmpIOp::create(
                                     b, loc, arith::CmpIPredicate::slt, x[1], count);
                                 Value zero =
                                     arith::ConstantOp::create(b, loc, b.getF32FloatAttr(0));
                                 Value y = arith::SelectOp::create(b, loc, there, x[0], zero);
                                 tile::YieldOp::create(b, loc, y);
                               })
        .getResult(0);
  }

  /// x f_i 2^(u_i - v_j) = x 2^(u_i + log2 f_i - v_j): one logarithm a token in place of one
  /// product an element.
  bool intoExponent(const Product &product, int64_t dim) {
    std::optional<Exponent> exponent = exponentOf(op.getResult());
    if (!exponent || !product.masks.empty() || !llvm::all_of(product.tiles, isPositive) ||
        !llvm::all_of(product.scalars, isPositive))
      return false;
    const unsigned at = dim == 0 ? exponent->u : exponent->v;
    SmallVector<Value> inputs{exponent->map.getInputs()[at]};
    SmallVector<SmallVector<StringRef>> dims{{"n"}};
    for (Value factor : product.tiles) {
      inputs.push_back(factor);
      dims.push_back(SmallVector<StringRef>(tileType(factor).getRank(), "n"));
    }
    builder.setInsertionPoint(exponent->map);
    auto sum = tile::MapOp::create(builder, op.getLoc(), TypeRange{inputs[0].getType()}, inputs,
                                   dims, SmallVector<StringRef>{"n"},
                                   [&](OpBuilder &b, Location loc, ValueRange x) {
                                     Value y = x[0];
                                     SmallVector<Value> factors(x.drop_front());
                                     factors.append(product.scalars);
                                     for (Value factor : factors) {
                                       Value log = math::Log2Op::create(b, loc, factor);
                                       y = dim == 0
                                               ? arith::AddFOp::create(b, loc, y, log).getResult()
                                               : arith::SubFOp::create(b, loc, y, log).getResult();
                                     }
                                     tile::YieldOp::create(b, loc, y);
                                   });
    exponent->map.getInputsMutable()[at].set(sum.getResult(0));
    return true;
  }

  /// With a state: ones of a sum, and zeros beyond the last token, which stay zeros when they are
  /// multiplied; nothing else is known to. Attention: weights, which this tile of keys has made; in
  /// f16 they would leave its range where scales are small.
  bool mayScaleA(const ProductDims &dims) {
    if (state && op.getA().getDefiningOp<tile::FillOp>())
      return true;
    if (state)
      return tile::paddingOf(op.getA(), dims.sumA).kind == tile::Padding::Zero;
    auto weights = op.getA().getDefiningOp<tile::MapOp>();
    Type type = shortFloat(op->getParentOfType<tile::ProgramOp>());
    return weights && weights->getBlock() == op->getBlock() && type && type.isBF16();
  }

  /// The tile without its factors.
  Value plain(const Product &product) {
    tile::MapOp map = product.map;
    if (auto whole = dyn_cast<BlockArgument>(product.rest))
      if (map.getInputDims()[whole.getArgNumber()] == map.getDims())
        return map.getInputs()[whole.getArgNumber()];
    builder.setInsertionPointAfter(map);
    IRMapping mapping;
    auto rest = cast<tile::MapOp>(builder.clone(*map, mapping));
    rest.getYield()->setOperand(0, mapping.lookup(product.rest));
    dropUnused(rest);
    return rest.getResult(0);
  }

  /// The factors as one number a token, since these are fewer than the elements.
  Product joined(const Product &product) {
    SmallVector<Value> tiles(product.tiles);
    auto vector =
        llvm::find_if(tiles, [](Value factor) { return tileType(factor).getRank() == 1; });
    if (!state || vector == tiles.end() ||
        tiles.size() + product.scalars.size() + product.masks.size() == 1)
      return product;
    std::swap(*vector, tiles.front());
    Product rest = product, one = product;
    rest.tiles.assign(tiles.begin() + 1, tiles.end());
    one.tiles = {scaled(tiles.front(), rest, {"n"}, "n")};
    one.scalars.clear();
    one.masks.clear();
    return one;
  }

  /// `tile` times the factors along its dimension `dim`.
  Value times(Value tile, const Product &product, int64_t dim) {
    SmallVector<StringRef> names{"r", "c"};
    names.resize(tileType(tile).getRank());
    return scaled(tile, joined(product), names, names[dim]);
  }

  Value scaled(Value tile, const Product &product, ArrayRef<StringRef> names, StringRef along) {
    SmallVector<Value> inputs{tile};
    SmallVector<SmallVector<StringRef>> dims{SmallVector<StringRef>(names)};
    const auto read = [&](Value vector) {
      inputs.push_back(vector);
      dims.push_back(tileType(vector).getRank() == 0 ? SmallVector<StringRef>()
                                                     : SmallVector<StringRef>{along});
    };
    llvm::for_each(product.tiles, read);
    llvm::for_each(product.masks, read);
    return tile::MapOp::create(builder, op.getLoc(), TypeRange{tile.getType()}, inputs, dims, names,
                               [&](OpBuilder &b, Location at, ValueRange x) {
                                 Value factor = factorOf(b, at, product, x.drop_front());
                                 Value y = arith::MulFOp::create(b, at, x[0], factor);
                                 tile::YieldOp::create(b, at, y);
                               })
        .getResult(0);
  }

  tile::MmaOp op;
  bool state;
  OpBuilder builder;
};

class MoveFactorsPass : public PassWrapper<MoveFactorsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MoveFactorsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect>();
  }
  StringRef getArgument() const override { return "cuda-move-factors"; }
  StringRef getDescription() const override {
    return "numbers a token leave operands in shared memory";
  }

  void runOnOperation() override {
    SmallVector<tile::MmaOp> products;
    getOperation().walk([&](tile::MmaOp op) { products.push_back(op); });
    for (tile::MmaOp op : products)
      FactorMover(op).run();
  }
};

} // namespace

std::unique_ptr<Pass> createMoveFactorsPass() { return std::make_unique<MoveFactorsPass>(); }

} // namespace heddle::compiler::cuda
