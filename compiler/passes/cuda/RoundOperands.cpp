// RoundOperands: forms multiply f32 tiles where an operand is one; here the operands of products
// are rounded to the 16-bit type of the tensors, while sums and the state stay f32.
//
//   %k = map extf(%K) ; %A = mma %q, %k     ->   %A = mma %q16, %K
//   %O = mma %S, %q                         ->   %S16 = map truncf(%S) ; %O = mma %S16, %q16
//
// Products that ask for more (precision tf32x3) take both operands as sums of two numbers of 16
// bits, x = h + l, good to 2^-17, and leave l l' out:
//
//   mma %S, %q precision(tf32x3)   ->   mma %Sh, %qh, mma %Sh, %ql, mma %Sl, %qh
//
// Where operand a is a tile of 16 bits times a number for each row that is summed (a token's
// decay), the number is rounded before they are multiplied, so that one instruction multiplies two.
#include "compiler/passes/Passes.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {

Type shortFloat(tile::ProgramOp program) {
  for (auto tensor : program.getBody().getOps<tile::TensorOp>())
    if (Type type = tensor.getElementType(); type.isBF16() || type.isF16())
      return type;
  return {};
}

namespace {

class RoundOperandsPass : public PassWrapper<RoundOperandsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RoundOperandsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "cuda-round-operands"; }
  StringRef getDescription() const override { return "operands of products have 16 bits"; }

  void runOnOperation() override {
    Type type = shortFloat(getOperation()->getParentOfType<tile::ProgramOp>());
    SmallVector<tile::MmaOp> products;
    getOperation().walk([&](tile::MmaOp op) { products.push_back(op); });
    Copies rounded, rests;
    for (tile::MmaOp op : products) {
      if (!tileType(op.getA()).getElementType().isF32())
        continue;
      if (!type) {
        op.emitError("no mma.sync for operands of f32 yet (it would need tf32 in three products); "
                     "use bf16 or f16");
        return signalPassFailure();
      }
      const bool split = op.getPrecision() == tile::Precision::TF32x3;
      op.setPrecision(type.isBF16() ? tile::Precision::BF16 : tile::Precision::F16);
      if (split)
        addRests(op, type, rounded, rests);
      op.getAMutable().set(split ? copyOf(op.getA(), type, rounded)
                                 : roundFactors(op, type, rounded));
      op.getBMutable().set(copyOf(op.getB(), type, rounded));
    }
  }

private:
  using Copies = llvm::DenseMap<Value, Value>;

  /// The products of what rounding leaves of an operand, to which `op` then adds.
  static void addRests(tile::MmaOp op, Type type, Copies &rounded, Copies &rests) {
    auto add = [&](Value a, Value b) {
      if (!a || !b)
        return;
      OpBuilder builder(op);
      auto product = cast<tile::MmaOp>(builder.clone(*op));
      product.getAMutable().set(a);
      product.getBMutable().set(b);
      op.getInitMutable().set(product.getResult());
    };
    Value a = op.getA(), b = op.getB();
    add(restOf(a, type, rounded, rests), copyOf(b, type, rounded));
    add(copyOf(a, type, rounded), restOf(b, type, rounded, rests));
  }

  /// What rounding leaves of a tile; null: nothing.
  static Value restOf(Value value, Type type, Copies &rounded, Copies &rests) {
    if (unwidened(value, type))
      return {};
    if (Value known = rests.lookup(value))
      return known;
    Value high = copyOf(value, type, rounded);
    OpBuilder builder(value.getContext());
    builder.setInsertionPointAfterValue(high);
    SmallVector<StringRef> names{"r", "c"};
    return rests[value] =
               tile::MapOp::create(builder, value.getLoc(), TypeRange{high.getType()},
                                   ValueRange{value, high},
                                   ArrayRef<SmallVector<StringRef>>{names, names}, names,
                                   [&](OpBuilder &b, Location at, ValueRange x) {
                                     Value h = arith::ExtFOp::create(b, at, b.getF32Type(), x[1]);
                                     Value l = arith::SubFOp::create(b, at, x[0], h);
                                     Value y = arith::TruncFOp::create(b, at, type, l);
                                     tile::YieldOp::create(b, at, y);
                                   })
                   .getResult(0);
  }

  static Value copyOf(Value value, Type type, Copies &rounded) {
    if (Value known = rounded.lookup(value))
      return known;
    return rounded[value] = round(value, type);
  }

  /// Operand a, rounded: x16 * f16 where it is x * f for a vector f along what is summed.
  static Value roundFactors(tile::MmaOp op, Type type, Copies &rounded) {
    auto map = op.getA().getDefiningOp<tile::MapOp>();
    std::optional<ProductDims> dims = dimsOf(op);
    if (!carriesState(op->getParentOfType<tile::KernelOp>()) || !map || !dims ||
        map.getNumResults() != 1 || map.getInputs().size() != 2 ||
        map.getInputDims()[0] != map.getDims() ||
        map.getInputPositions(1) != SmallVector<int64_t>{dims->sumA})
      return copyOf(op.getA(), type, rounded);
    auto product = map.getYield().getValues()[0].getDefiningOp<arith::MulFOp>();
    Block &body = map.getBody().front();
    auto isInput = [&](Value value, unsigned n) { // as it is, or widened
      if (auto wide = value.getDefiningOp<arith::ExtFOp>())
        value = wide.getOperand();
      return value == body.getArgument(n);
    };
    if (!product || !isInput(product.getLhs(), 0) || product.getRhs() != body.getArgument(1))
      return copyOf(op.getA(), type, rounded);
    Value tile = map.getInputs()[0];
    if (Value whole = unwidened(tile, type))
      tile = whole;
    if (tileType(tile).getElementType() !=
        type) // computed in f32: rounded once, behind the product
      return copyOf(op.getA(), type, rounded);
    Value factors = copyOf(map.getInputs()[1], type, rounded);
    OpBuilder builder(op);
    SmallVector<StringRef> names{"r", "c"};
    return tile::MapOp::create(builder, op.getLoc(), TypeRange{tile.getType()},
                               ValueRange{tile, factors},
                               ArrayRef<SmallVector<StringRef>>{names, {names[dims->sumA]}}, names,
                               [](OpBuilder &b, Location at, ValueRange x) {
                                 Value y = arith::MulFOp::create(b, at, x[0], x[1]);
                                 tile::YieldOp::create(b, at, y);
                               })
        .getResult(0);
  }

  static Value round(Value value, Type type) {
    if (Value whole = unwidened(value, type))
      return whole;
    // Ones of a sum are constants of the instruction; whole tiles are made by maps.
    auto fill = value.getDefiningOp<tile::FillOp>();
    OpBuilder builder(value.getContext());
    builder.setInsertionPointAfterValue(value);
    if (fill && tileType(value).getRank() == 1)
      return tile::FillOp::create(builder, value.getLoc(), tileType(value).withElementType(type),
                                  fill.getValue().convertToDouble());
    return narrowed(value, type);
  }
};

} // namespace

std::unique_ptr<Pass> createRoundOperandsPass() { return std::make_unique<RoundOperandsPass>(); }

} // namespace heddle::compiler::cuda
