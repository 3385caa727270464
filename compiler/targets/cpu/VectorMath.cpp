// Range reduction, polynomial, reconstruction. E.g. exp2 on AVX-512 is
//   f = x - floor(x) (vreduceps) ; p = polynomial(f), 5 fma ; p * 2^floor(x) (vscalefps)
// The coefficients are minimax fits of the relative error with the leading terms held exact.
#include "compiler/targets/cpu/VectorMath.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLog2e = 1.4426950408889634;
// ln 2 in two parts: the first has few enough bits that n times it is exact for |n| < 2^12.
constexpr double kLn2High = 0.693359375;
constexpr double kLn2Low = -2.12194440054690583e-4;

// 2^f on [0, 1), error 8.3e-8; the same on [-1/2, 1/2], error 9.2e-8.
constexpr double kExp2Floor[] = {
    1.0, 0.693151311941, 0.240164449141, 0.0557999156082, 0.00901702778503, 0.00186713097998};
constexpr double kExp2Round[] = {
    1.0, 0.693146977587, 0.240222420776, 0.0555073376039, 0.00967151299703, 0.00132647220458};
// (e^r - 1 - r) / r^2 on [-ln2/2, ln2/2], error 3.1e-9 of e^r.
constexpr double kExpTail[] = {0.499999934515, 0.166665206876, 0.0416683874085, 0.00836871003529,
                               0.00138146110015};
// (log(1 + f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1], error 5.9e-9 of the logarithm.
constexpr double kLogTail[] = {0.333333317097, -0.250008210562, 0.200012266665, -0.166233564778,
                               0.142017624845, -0.131601950844, 0.127615502634, -0.0763442971398};
// (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 in powers of r^2 on [-pi/4, pi/4].
constexpr double kSinTail[] = {-0.166666666408, 0.00833332930528, -0.000198393123882,
                               2.71812260365e-6};
constexpr double kCosTail[] = {0.0416666666195, -0.00138888835005, 2.4799460278e-5,
                               -2.72057641804e-7};
// pi/2 in three parts of 11, 11 and 24 bits.
constexpr double kHalfPi[] = {1.5703125, 4.8351287841796875e-4, 3.13855707645416259765625e-7,
                              6.077100506506192e-11};

/// p * 2^floor(n) on AVX-512.
Value scalef(VectorBuilder &e, Value p, Value n) {
  Value mask = arith::ConstantOp::create(e.builder, e.loc, e.builder.getI16IntegerAttr(-1));
  Value current = arith::ConstantOp::create(e.builder, e.loc, e.builder.getI32IntegerAttr(4));
  return e.intrinsic("llvm.x86.avx512.mask.scalef.ps.512", e.floats,
                     {p, n, e.splat(0), mask, current});
}

/// x - floor(x), 0 for infinities, on AVX-512.
Value reduceFloor(VectorBuilder &e, Value x) {
  Value mask = arith::ConstantOp::create(e.builder, e.loc, e.builder.getI16IntegerAttr(-1));
  Value current = arith::ConstantOp::create(e.builder, e.loc, e.builder.getI32IntegerAttr(4));
  Value floor = arith::ConstantOp::create(e.builder, e.loc, e.builder.getI32IntegerAttr(9));
  return e.intrinsic("llvm.x86.avx512.mask.reduce.ps.512", e.floats,
                     {x, floor, e.splat(0), mask, current});
}

/// 2^n for an integer -126 <= n <= 127 given as ints.
Value powerOfTwo(VectorBuilder &e, Value n) {
  return e.fromBits(e.shiftLeft(e.addInt(n, e.splatInt(127)), 23));
}

/// p * 2^n for |n| <= 252 (n integral); in two steps, so that denormal results round once more at
/// most.
Value scale(VectorBuilder &e, Value p, Value n) {
  if (e.isa.level == Isa::Avx512)
    return scalef(e, p, n);
  Value whole = e.toInts(n);
  Value half = e.shiftRight(whole, 1);
  return e.mul(e.mul(p, powerOfTwo(e, half)), powerOfTwo(e, e.subInt(whole, half)));
}

/// lo <= x <= hi, NaN kept.
Value clamp(VectorBuilder &e, Value x, double lo, double hi) {
  return e.min(e.splat(hi), e.max(e.splat(lo), x));
}

struct Reduced {
  Value n, r; ///< x = n ln 2 + r, n integral, |r| <= ln2 / 2
};
Reduced reduceByLn2(VectorBuilder &e, Value x) {
  Value n = e.roundEven(e.mul(x, e.splat(kLog2e)));
  Value r = e.fma(n, e.splat(-kLn2High), x);
  return {n, e.fma(n, e.splat(-kLn2Low), r)};
}

/// e^r - 1 for |r| <= ln2 / 2.
Value expm1Reduced(VectorBuilder &e, Value r) {
  Value tail = e.polynomial(r, kExpTail);
  return e.fma(e.mul(r, r), tail, r);
}

struct Split {
  Value exponent; ///< of x = 2^exponent * (1 + f), as floats
  Value f;        ///< in [sqrt(1/2) - 1, sqrt(2) - 1]
};
Split splitMantissa(VectorBuilder &e, Value x) {
  Value tiny = e.less(x, e.splat(0x1p-126));
  Value normal = e.select(tiny, e.mul(x, e.splat(0x1p23)), x);
  Value bits = e.toBits(normal);
  Value exponent = e.shiftRight(e.subInt(bits, e.splatInt(0x3f3504f3)), 23);
  Value mantissa = e.fromBits(e.subInt(bits, e.shiftLeft(exponent, 23)));
  Value shift = e.select(tiny, e.splat(-23), e.splat(0));
  return {e.add(e.toFloats(exponent), shift), e.sub(mantissa, e.splat(1))};
}

/// log(1 + f) - f for a split mantissa.
Value logTail(VectorBuilder &e, Value f) {
  Value square = e.mul(f, f);
  Value cubic = e.mul(e.mul(square, f), e.polynomial(f, kLogTail));
  return e.fma(square, e.splat(-0.5), cubic);
}

/// `value`, but -inf at 0, inf at inf, NaN below 0 and at NaN.
Value logSpecials(VectorBuilder &e, Value x, Value value) {
  Value finite = e.less(x, e.splat(kInfinity));
  Value result = e.select(finite, value, x);
  Value positive = e.less(e.splat(0), x);
  Value belowZero = e.less(x, e.splat(0));
  Value edge = e.select(belowZero, e.splat(std::nan("")), e.add(x, e.splat(-kInfinity)));
  return e.select(positive, result, edge);
}

/// sin(x + quarter * pi/2).
Value sinShifted(VectorBuilder &e, Value x, int64_t quarter) {
  Value n = e.roundEven(e.mul(x, e.splat(2 / M_PI)));
  Value r = x;
  for (double part : kHalfPi)
    r = e.fma(n, e.splat(-part), r);
  Value square = e.mul(r, r);
  Value sine = e.fma(e.mul(square, r), e.polynomial(square, kSinTail), r);
  Value cosine = e.fma(e.mul(square, square), e.polynomial(square, kCosTail),
                       e.fma(square, e.splat(-0.5), e.splat(1)));
  Value turn = e.addInt(e.toInts(n), e.splatInt(quarter));
  Value odd = arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::ne,
                                    e.andInt(turn, e.splatInt(1)), e.splatInt(0));
  Value sign = e.shiftLeft(e.andInt(turn, e.splatInt(2)), 30);
  Value bits = e.toBits(e.select(odd, cosine, sine));
  return e.fromBits(arith::XOrIOp::create(e.builder, e.loc, bits, sign));
}

} // namespace

Value emitExp2(VectorBuilder &e, Value x) {
  if (e.isa.level == Isa::Avx512)
    return scalef(e, e.polynomial(reduceFloor(e, x), kExp2Floor), x);
  Value inside = clamp(e, x, -126, 128);
  Value n = e.roundEven(inside);
  Value p = e.polynomial(e.sub(inside, n), kExp2Round);
  Value scaled = e.fromBits(e.addInt(e.toBits(p), e.shiftLeft(e.toInts(n), 23)));
  return e.select(e.less(x, e.splat(-126)), e.splat(0), scaled);
}

Value emitExp(VectorBuilder &e, Value x) {
  auto [n, r] = reduceByLn2(e, clamp(e, x, -104, 89));
  return scale(e, e.add(e.splat(1), expm1Reduced(e, r)), n);
}

Value emitExpm1(VectorBuilder &e, Value x) {
  auto [n, r] = reduceByLn2(e, clamp(e, x, -20, 89));
  Value half = powerOfTwo(e, e.toInts(e.sub(n, e.splat(1)))); // 2^n alone may overflow
  Value result = e.fma(half, expm1Reduced(e, r), e.sub(half, e.splat(0.5)));
  return e.add(result, result);
}

Value emitLog(VectorBuilder &e, Value x) {
  auto [exponent, f] = splitMantissa(e, x);
  Value low = e.fma(exponent, e.splat(kLn2Low), logTail(e, f));
  return logSpecials(e, x, e.fma(exponent, e.splat(kLn2High), e.add(f, low)));
}

Value emitLog2(VectorBuilder &e, Value x) {
  auto [exponent, f] = splitMantissa(e, x);
  Value logarithm = e.add(f, logTail(e, f));
  return logSpecials(e, x, e.fma(logarithm, e.splat(kLog2e), exponent));
}

Value emitLog1p(VectorBuilder &e, Value x) {
  Value u = e.add(x, e.splat(1));
  Value lost = e.div(e.sub(x, e.sub(u, e.splat(1))), u);
  Value value = e.add(emitLog(e, u), lost);
  Value ordinary = e.select(e.less(x, e.splat(kInfinity)), value, x);
  return e.select(e.less(e.splat(-1), x), ordinary, emitLog(e, u));
}

Value emitTanh(VectorBuilder &e, Value x) {
  Value magnitude = math::AbsFOp::create(e.builder, e.loc, x);
  Value inside = e.min(e.splat(10), magnitude);
  Value growth = emitExpm1(e, e.add(inside, inside));
  Value result = e.div(growth, e.add(growth, e.splat(2)));
  return math::CopySignOp::create(e.builder, e.loc, result, x);
}

Value emitSin(VectorBuilder &e, Value x) { return sinShifted(e, x, 0); }
Value emitCos(VectorBuilder &e, Value x) { return sinShifted(e, x, 1); }

Value emitPow(VectorBuilder &e, Value x, Value y) {
  Value power = emitExp2(e, e.mul(y, emitLog2(e, x)));
  Value zeroth = arith::CmpFOp::create(e.builder, e.loc, arith::CmpFPredicate::OEQ, y, e.splat(0));
  return e.select(zeroth, e.splat(1), power);
}

// By f64. x / y differs from a whole number that it does not reach by 1 / |y| or more, which is
// more than half an ulp of a quotient below 2^52 / |y|: it is never rounded up to it. A y beyond
// 2^53, of which f64 has no exact value, is larger than any x. Sums with 1.5 x 2^52 change the
// format: their low bits are the integer, and AVX2 has no instruction for it.
Value emitDivide(VectorBuilder &e, Value x, Value y) {
  constexpr double kShift = 0x1.8p52;
  auto ints = cast<VectorType>(x.getType());
  VectorType doubles = VectorType::get(ints.getShape(), e.builder.getF64Type());
  auto constant = [&](VectorType type, Attribute number) -> Value {
    return arith::ConstantOp::create(e.builder, e.loc, DenseElementsAttr::get(type, number));
  };
  Value shift = constant(doubles, e.builder.getF64FloatAttr(kShift));
  Value bits = constant(ints, e.builder.getI64IntegerAttr(llvm::bit_cast<int64_t>(kShift)));
  Value shifted = arith::BitcastOp::create(e.builder, e.loc, doubles,
                                           arith::AddIOp::create(e.builder, e.loc, x, bits));
  Value dividend = arith::SubFOp::create(e.builder, e.loc, shifted, shift);
  bool number = !isa<VectorType>(y.getType());
  Type type = number ? Type(e.builder.getF64Type()) : Type(doubles);
  Value divisor = arith::SIToFPOp::create(e.builder, e.loc, type, y);
  if (number)
    divisor = vector::BroadcastOp::create(e.builder, e.loc, doubles, divisor);
  Value quotient = math::TruncOp::create(
      e.builder, e.loc, arith::DivFOp::create(e.builder, e.loc, dividend, divisor));
  Value sum = arith::AddFOp::create(e.builder, e.loc, quotient, shift);
  return arith::SubIOp::create(e.builder, e.loc,
                               arith::BitcastOp::create(e.builder, e.loc, ints, sum), bits);
}

} // namespace heddle::compiler::cpu
