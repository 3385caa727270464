// arith and math ops on scalars -> the same on vectors:
//   %t = math.tanh %y : f32                ->  polynomial code (VectorMath)
//   %k = arith.cmpi sle, %pj, %pi : i32    ->  arith.cmpi sle, %vj, %vi : vector<16xi32>
// A value made of outside scalars alone stays scalar until it meets a vector.
#include "compiler/targets/cpu/MapLowering.h"

#include "compiler/targets/cpu/VectorMath.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

bool isVector(Value value) { return isa<VectorType>(value.getType()); }

Value spread(VectorBuilder &e, Value value) {
  if (isVector(value))
    return value;
  VectorType type = VectorType::get({e.lanes()}, value.getType());
  return vector::BroadcastOp::create(e.builder, e.loc, type, value);
}

/// f32 -> bf16, to nearest, ties to even; in integers where there is no instruction for it.
Value roundToBf16(VectorBuilder &e, Value x) {
  if (e.isa.bf16Dot)
    return e.intrinsic("llvm.x86.avx512bf16.cvtneps2bf16.512",
                       VectorType::get({e.lanes()}, e.builder.getBF16Type()), {x});
  Value bits = e.toBits(x);
  Value odd =
      e.andInt(e.builder.createOrFold<arith::ShRUIOp>(e.loc, bits, e.splatInt(16)), e.splatInt(1));
  Value rounded = e.addInt(bits, e.addInt(odd, e.splatInt(0x7fff)));
  Value isNan = arith::CmpFOp::create(e.builder, e.loc, arith::CmpFPredicate::UNO, x, x);
  Value quiet = e.orInt(bits, e.splatInt(0x400000));
  Value kept = e.select(isNan, quiet, rounded);
  Value high = e.builder.createOrFold<arith::ShRUIOp>(e.loc, kept, e.splatInt(16));
  VectorType shorts = VectorType::get({e.lanes()}, e.builder.getI16Type());
  Value cut = arith::TruncIOp::create(e.builder, e.loc, shorts, high);
  return arith::BitcastOp::create(e.builder, e.loc,
                                  VectorType::get({e.lanes()}, e.builder.getBF16Type()), cut);
}

/// bf16 -> f32: the bits move up. (LLVM has no vectors of bf16 where the machine has none.)
Value widenBf16(VectorBuilder &e, Value x) {
  VectorType shorts = VectorType::get({e.lanes()}, e.builder.getI16Type());
  Value bits = arith::BitcastOp::create(e.builder, e.loc, shorts, x);
  return e.fromBits(e.shiftLeft(arith::ExtUIOp::create(e.builder, e.loc, e.ints, bits), 16));
}

/// 8-bit floats, as bytes -> f32, by way of f16, whose exponent is at least as wide:
///   e5m2 is the upper byte of f16; e4m3 moved up by 7 bits is f16 but for a factor of 256, and the
///   code of all ones is NaN.
Value widenByte(VectorBuilder &e, Value x, bool e4m3) {
  VectorType shorts = VectorType::get({e.lanes()}, e.builder.getI16Type());
  VectorType halves = VectorType::get({e.lanes()}, e.builder.getF16Type());
  Value bits = arith::ExtUIOp::create(e.builder, e.loc, shorts, x);
  auto splat = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(
        e.builder, e.loc,
        DenseElementsAttr::get(shorts, e.builder.getI16IntegerAttr(int16_t(value))));
  };
  auto widen = [&](Value half) -> Value {
    Value cast = arith::BitcastOp::create(e.builder, e.loc, halves, half);
    return arith::ExtFOp::create(e.builder, e.loc, e.floats, cast);
  };
  if (!e4m3)
    return widen(arith::ShLIOp::create(e.builder, e.loc, bits, splat(8)));
  Value magnitude = arith::AndIOp::create(e.builder, e.loc, bits, splat(0x7f));
  Value sign = arith::AndIOp::create(e.builder, e.loc, bits, splat(0x80));
  Value half = arith::OrIOp::create(e.builder, e.loc,
                                    arith::ShLIOp::create(e.builder, e.loc, magnitude, splat(7)),
                                    arith::ShLIOp::create(e.builder, e.loc, sign, splat(8)));
  Value isNan =
      arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::eq, magnitude, splat(0x7f));
  Value nan = e.splat(std::numeric_limits<double>::quiet_NaN());
  return e.select(isNan, nan, e.mul(widen(half), e.splat(256)));
}

/// The functions VectorMath has, on f32 vectors; null for other ops.
Value lowerFunction(VectorBuilder &e, Operation *op, ValueRange x) {
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<math::Exp2Op>([&](auto) { return emitExp2(e, x[0]); })
      .Case<math::ExpOp>([&](auto) { return emitExp(e, x[0]); })
      .Case<math::ExpM1Op>([&](auto) { return emitExpm1(e, x[0]); })
      .Case<math::LogOp>([&](auto) { return emitLog(e, x[0]); })
      .Case<math::Log2Op>([&](auto) { return emitLog2(e, x[0]); })
      .Case<math::Log1pOp>([&](auto) { return emitLog1p(e, x[0]); })
      .Case<math::TanhOp>([&](auto) { return emitTanh(e, x[0]); })
      .Case<math::SinOp>([&](auto) { return emitSin(e, x[0]); })
      .Case<math::CosOp>([&](auto) { return emitCos(e, x[0]); })
      .Case<math::PowFOp>([&](auto) { return emitPow(e, x[0], x[1]); })
      .Case<arith::MaximumFOp, arith::MaxNumFOp>([&](auto) { return e.max(x[0], x[1]); })
      .Case<arith::MinimumFOp, arith::MinNumFOp>([&](auto) { return e.min(x[0], x[1]); })
      .Default([](Operation *) { return Value(); });
}

/// Ops that LLVM has on vectors as they are.
bool worksOnVectors(Operation *op) {
  if (isa<arith::ArithDialect>(op->getDialect()))
    return true;
  return isa<math::AbsFOp, math::AbsIOp, math::FloorOp, math::CeilOp, math::RoundEvenOp,
             math::CountLeadingZerosOp, math::TruncOp, math::SqrtOp, math::RsqrtOp,
             math::CopySignOp, math::FmaOp>(op);
}

/// A number that no element of the integer exceeds in magnitude; infinity if none is known.
double boundOf(Value value) {
  if (APInt constant; matchPattern(value, m_ConstantInt(&constant)))
    return std::abs(double(constant.getSExtValue()));
  if (auto type = dyn_cast<IntegerType>(value.getType()); type && type.getWidth() <= 32)
    return std::exp2(type.getWidth());
  Operation *op = value.getDefiningOp();
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case<arith::ExtSIOp, arith::ExtUIOp, arith::IndexCastOp>(
          [&](auto) { return boundOf(op->getOperand(0)); })
      .Case<arith::AddIOp, arith::SubIOp>(
          [&](auto) { return boundOf(op->getOperand(0)) + boundOf(op->getOperand(1)); })
      .Case<arith::MulIOp>(
          [&](auto) { return boundOf(op->getOperand(0)) * boundOf(op->getOperand(1)); })
      .Case<arith::DivSIOp>([&](auto) { return boundOf(op->getOperand(0)); })
      .Case<arith::SelectOp>(
          [&](auto) { return std::max(boundOf(op->getOperand(1)), boundOf(op->getOperand(2))); })
      .Default([](Operation *) { return std::numeric_limits<double>::infinity(); });
}

/// Whether the op divides 64-bit integers in a way that has no instruction on vectors.
bool dividesIntegers(Operation *op) {
  if (!isa<arith::DivSIOp>(op) || !op->getResult(0).getType().isInteger(64))
    return false;
  APInt divisor;
  bool shifts = matchPattern(op->getOperand(1), m_ConstantInt(&divisor)) && divisor.isPowerOf2();
  return !shifts && boundOf(op->getOperand(0)) < kMostDividend;
}

Value lowerOp(VectorBuilder &e, Operation *op, ValueRange operands) {
  bool anyVector = llvm::any_of(operands, isVector);
  Type element = op->getResult(0).getType();
  bool function = isa<math::MathDialect>(op->getDialect()) && !worksOnVectors(op);
  if (!anyVector && !function) {
    Operation *copy = e.builder.create(e.loc, op->getName().getIdentifier(), operands,
                                       op->getResultTypes(), op->getAttrs());
    return copy->getResult(0);
  }
  Values spreadOut;
  for (Value operand : operands)
    spreadOut.push_back(spread(e, operand));
  if (element.isF32())
    if (Value result = lowerFunction(e, op, spreadOut))
      return result;
  if (isa<arith::TruncFOp>(op) && element.isBF16() && spreadOut[0].getType() == e.floats)
    return roundToBf16(e, spreadOut[0]);
  Type from = op->getNumOperands() ? op->getOperand(0).getType() : Type();
  if (isa<arith::ExtFOp>(op) && isa<Float8E4M3FNType, Float8E5M2Type>(from))
    return widenByte(e, spreadOut[0], isa<Float8E4M3FNType>(from));
  if (isa<arith::ExtFOp>(op) && element.isF32() &&
      getElementTypeOrSelf(spreadOut[0].getType()).isBF16())
    return widenBf16(e, spreadOut[0]);
  if (dividesIntegers(op))
    return emitDivide(e, spreadOut[0], operands[1]);
  if (!worksOnVectors(op)) {
    op->emitError("the CPU target has no vector form of this op on ") << element;
    return {};
  }
  Type type = VectorType::get({e.lanes()}, element);
  Operation *vector = e.builder.create(e.loc, op->getName().getIdentifier(), spreadOut,
                                       TypeRange{type}, op->getAttrs());
  return vector->getResult(0);
}

/// x * y - z and x * y + z of f32 vectors in one step with one rounding, where only that reads the
/// product (LLVM then drops it); null for all else.
Value lowerMultiplyAdd(VectorBuilder &e, Operation *op, function_ref<Value(Value)> lowered) {
  if (!isa<arith::AddFOp, arith::SubFOp>(op) || !op->getResult(0).getType().isF32())
    return {};
  auto product = op->getOperand(0).getDefiningOp<arith::MulFOp>();
  if (!product || !product->hasOneUse() || product->getBlock() != op->getBlock())
    return {};
  Value z = spread(e, lowered(op->getOperand(1)));
  if (isa<arith::SubFOp>(op))
    z = arith::NegFOp::create(e.builder, e.loc, z);
  return e.fma(spread(e, lowered(product.getLhs())), spread(e, lowered(product.getRhs())), z);
}

} // namespace

Value lowerScalarFunction(VectorBuilder &e, Operation *op, ValueRange operands) {
  bool function = isa<math::MathDialect>(op->getDialect()) && !worksOnVectors(op);
  if (!function || op->getNumResults() != 1 || !op->getResult(0).getType().isF32())
    return {};
  Value lanes = lowerOp(e, op, operands);
  return lanes ? vector::ExtractOp::create(e.builder, e.loc, lanes, int64_t(0)) : Value();
}

Values lowerMapBody(VectorBuilder &e, tile::MapOp map, ValueRange operands,
                    const IRMapping &scalars, EmitGather gather) {
  IRMapping values;
  Block &block = map.getBody().front();
  for (auto [argument, operand] : llvm::zip(block.getArguments(), operands))
    values.map(argument, operand);
  auto lookup = [&](Value value) {
    return values.contains(value) ? values.lookup(value) : scalars.lookupOrNull(value);
  };
  for (Operation &op : block.without_terminator()) {
    auto gathered = dyn_cast<tile::GatherOp>(op);
    Values lowered;
    for (Value operand : op.getOperands().drop_front(gathered ? 1 : 0))
      lowered.push_back(lookup(operand));
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      values.map(op.getResult(0), e.builder.clone(op)->getResult(0));
      continue;
    }
    if (llvm::is_contained(lowered, Value()) || op.getNumResults() != 1) {
      op.emitError("the CPU target cannot lower this op of a map");
      return {};
    }
    Value result = gathered ? gather(gathered, lowered) : lowerMultiplyAdd(e, &op, lookup);
    if (!result && !gathered)
      result = lowerOp(e, &op, lowered);
    if (!result)
      return {};
    values.map(op.getResult(0), result);
  }
  Values results;
  for (Value yielded : map.getYield().getValues()) {
    Value value = lookup(yielded);
    if (!value) {
      map.emitError("the CPU target cannot find a yielded value");
      return {};
    }
    results.push_back(spread(e, value));
  }
  return results;
}

} // namespace heddle::compiler::cpu
