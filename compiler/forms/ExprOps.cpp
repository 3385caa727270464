// Emits expressions of the pattern language as arith and math ops on scalars.
//
//   30 * tanh(s * 0.125 / 30)  ->  mulf 0.125, divf 30, math.tanh, mulf 30
//
// Only functions every target has are used: exp, log, sigmoid and so on become math.exp2, math.log2
// and arithmetic, softplus is written so that it does not overflow.
#include "compiler/forms/ExprOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;
using pattern::ExprType;

static bool isSmallPower(Expr expr) {
  return expr.is(ExprKind::Integer) && std::abs(expr.integer()) <= 4;
}

static bool isPositiveConstant(Expr expr) {
  return (expr.is(ExprKind::Integer) && expr.integer() > 0) ||
         (expr.is(ExprKind::Float) && expr.number() > 0);
}

std::string refuseExpr(Expr expr) {
  std::string reason;
  pattern::walk(expr, [&](Expr e) {
    if (!reason.empty())
      return false;
    if (e.is(ExprKind::Call)) {
      static constexpr llvm::StringRef kMissing[] = {"erf", "depth", "ancestor", "binom"};
      if (llvm::is_contained(kMissing, e.getName()))
        reason = fmt::format("function {} is not lowered yet", e.getName().str());
    }
    return true;
  });
  return reason;
}

ExprType ExprOps::typeOf(Expr expr) const {
  pattern::TypeResult result = pattern::typeOf(expr, scope);
  assert(result.type && "an expression of a verified pattern has a type");
  return result.type.value_or(ExprType::Real);
}

Value ExprOps::constantInteger(int64_t value) {
  return arith::ConstantOp::create(builder, location, builder.getIntegerAttr(integerType, value));
}

Value ExprOps::constantReal(double value) {
  return arith::ConstantOp::create(builder, location, builder.getF32FloatAttr(float(value)));
}

Value ExprOps::asReal(Value x) {
  Type f32 = builder.getF32Type();
  Type type = x.getType();
  if (type == f32)
    return x;
  if (auto real = dyn_cast<FloatType>(type))
    return real.getWidth() > 32 ? make<arith::TruncFOp>(f32, x) : make<arith::ExtFOp>(f32, x);
  if (type.isIndex())
    x = make<arith::IndexCastOp>(builder.getI64Type(), x);
  return make<arith::SIToFPOp>(f32, x);
}

Value ExprOps::once(Expr expr, ExprType type, Value (ExprOps::*make)(Expr)) {
  if (Value value = known.lookup({expr, type}))
    return value;
  return known[{expr, type}] = (this->*make)(expr);
}

Value ExprOps::integer(Expr expr) { return once(expr, ExprType::Integer, &ExprOps::makeInteger); }
Value ExprOps::real(Expr expr) { return once(expr, ExprType::Real, &ExprOps::makeReal); }
Value ExprOps::truth(Expr expr) { return once(expr, ExprType::Boolean, &ExprOps::makeTruth); }

Value ExprOps::any(Expr expr) {
  switch (typeOf(expr)) {
  case ExprType::Integer:
    return integer(expr);
  case ExprType::Real:
    return real(expr);
  case ExprType::Boolean:
    return truth(expr);
  }
  return {};
}

// ---- integers ----

Value ExprOps::makeInteger(Expr expr) {
  if (Value value = leaf(expr))
    return value;
  switch (expr.getKind()) {
  case ExprKind::Integer:
    return constantInteger(expr.integer());
  case ExprKind::Neg:
    return make<arith::SubIOp>(constantInteger(0), integer(expr[0]));
  case ExprKind::Add:
    return make<arith::AddIOp>(integer(expr[0]), integer(expr[1]));
  case ExprKind::Sub:
    return make<arith::SubIOp>(integer(expr[0]), integer(expr[1]));
  case ExprKind::Mul:
    return make<arith::MulIOp>(integer(expr[0]), integer(expr[1]));
  case ExprKind::FloorDiv:
    return floorDivide(integer(expr[0]), integer(expr[1]));
  case ExprKind::Mod: {
    Value x = integer(expr[0]), y = integer(expr[1]);
    return make<arith::SubIOp>(x, make<arith::MulIOp>(floorDivide(x, y), y));
  }
  case ExprKind::Call:
    return integerCall(expr);
  default:
    assert(false && "refuseExpr lets through only integer expressions that are emitted");
    return constantInteger(0);
  }
}

// Division by zero gives 0 instead of a trap; every other divisor rounds towards -inf.
Value ExprOps::floorDivide(Value x, Value y) {
  using Predicate = arith::CmpIPredicate;
  Value zero = constantInteger(0), one = constantInteger(1);
  APInt divisor;
  if (matchPattern(y, m_ConstantInt(&divisor)) && divisor.isStrictlyPositive()) {
    Value less = make<arith::SubIOp>(x, make<arith::SubIOp>(y, one));
    Value negative = make<arith::CmpIOp>(Predicate::slt, x, zero);
    return make<arith::DivSIOp>(make<arith::SelectOp>(negative, less, x), y);
  }
  Value isZero = make<arith::CmpIOp>(Predicate::eq, y, zero);
  Value safe = make<arith::SelectOp>(isZero, one, y);
  Value quotient = make<arith::DivSIOp>(x, safe);
  Value rest = make<arith::SubIOp>(x, make<arith::MulIOp>(quotient, safe));
  Value inexact = make<arith::CmpIOp>(Predicate::ne, rest, zero);
  Value apart = make<arith::CmpIOp>(Predicate::slt, make<arith::XOrIOp>(rest, safe), zero);
  Value lower = make<arith::AndIOp>(inexact, apart);
  quotient = make<arith::SelectOp>(lower, make<arith::SubIOp>(quotient, one), quotient);
  return make<arith::SelectOp>(isZero, zero, quotient);
}

Value ExprOps::integerCall(Expr expr) {
  llvm::StringRef name = expr.getName();
  if (name == "select")
    return make<arith::SelectOp>(truth(expr[0]), integer(expr[1]), integer(expr[2]));
  if (name == "floor" || name == "ceil" || name == "round" || name == "int")
    return rounded(expr);
  Value x = integer(expr[0]), zero = constantInteger(0);
  if (name == "ascending")
    return x;
  if (name == "abs")
    return make<arith::MaxSIOp>(x, make<arith::SubIOp>(zero, x));
  if (name == "relu")
    return make<arith::MaxSIOp>(x, zero);
  if (name == "sign")
    return make<arith::MaxSIOp>(make<arith::MinSIOp>(x, constantInteger(1)), constantInteger(-1));
  if (name == "bitlen") {
    Value bits = constantInteger(integerType.isIndex() ? 64 : integerType.getIntOrFloatBitWidth());
    if (!integerType.isIndex())
      return make<arith::SubIOp>(bits, math::CountLeadingZerosOp::create(builder, location, x));
    Value wide = make<arith::IndexCastOp>(builder.getI64Type(), x);
    Value zeros = math::CountLeadingZerosOp::create(builder, location, wide);
    return make<arith::SubIOp>(bits, make<arith::IndexCastOp>(integerType, zeros));
  }
  Value y = integer(expr[1]);
  if (name == "cdiv")
    return make<arith::SubIOp>(zero, floorDivide(make<arith::SubIOp>(zero, x), y));
  if (name == "bitand")
    return make<arith::AndIOp>(x, y);
  if (name == "bitxor")
    return make<arith::XOrIOp>(x, y);
  if (name == "clamp")
    return make<arith::MinSIOp>(make<arith::MaxSIOp>(x, y), integer(expr[2]));
  assert((name == "min" || name == "max") && "the language has no other integer function");
  for (size_t k = 1; k < expr.size(); ++k) {
    y = integer(expr[k]);
    x = name == "min" ? make<arith::MinSIOp>(x, y) : make<arith::MaxSIOp>(x, y);
  }
  return x;
}

/// floor, ceil, round, int: an integer from a real. floor(log2(n)) of an integer is exact.
Value ExprOps::rounded(Expr expr) {
  Expr argument = expr[0];
  llvm::StringRef name = expr.getName();
  if (typeOf(argument) == ExprType::Integer)
    return integer(argument);
  if (name == "floor" && argument.is(ExprKind::Call) && argument.getName() == "log2" &&
      typeOf(argument[0]) == ExprType::Integer) {
    Expr bits = pattern::makeCall(expr.getContext(), "bitlen", {argument[0]});
    return make<arith::SubIOp>(integerCall(bits), constantInteger(1));
  }
  Value x = real(argument);
  if (name == "floor")
    x = make<math::FloorOp>(x);
  else if (name == "ceil")
    x = make<math::CeilOp>(x);
  else if (name == "round")
    x = make<math::RoundEvenOp>(x);
  if (!integerType.isIndex())
    return make<arith::FPToSIOp>(integerType, x);
  return make<arith::IndexCastOp>(integerType, make<arith::FPToSIOp>(builder.getI64Type(), x));
}

// ---- reals ----

Value ExprOps::makeReal(Expr expr) {
  if (expr.is(ExprKind::Float))
    return constantReal(expr.number());
  if (expr.is(ExprKind::Integer))
    return constantReal(double(expr.integer()));
  if (typeOf(expr) == ExprType::Integer)
    return asReal(integer(expr));
  if (Value value = leaf(expr))
    return asReal(value);
  switch (expr.getKind()) {
  case ExprKind::Neg:
    return make<arith::NegFOp>(real(expr[0]));
  case ExprKind::Add:
    return make<arith::AddFOp>(real(expr[0]), real(expr[1]));
  case ExprKind::Sub:
    return make<arith::SubFOp>(real(expr[0]), real(expr[1]));
  case ExprKind::Mul:
    return make<arith::MulFOp>(real(expr[0]), real(expr[1]));
  case ExprKind::Div:
    return make<arith::DivFOp>(real(expr[0]), real(expr[1]));
  case ExprKind::FloorDiv:
    return make<math::FloorOp>(make<arith::DivFOp>(real(expr[0]), real(expr[1])));
  case ExprKind::Mod: {
    Value x = real(expr[0]), y = real(expr[1]);
    Value quotient = make<math::FloorOp>(make<arith::DivFOp>(x, y));
    return make<arith::SubFOp>(x, make<arith::MulFOp>(quotient, y));
  }
  case ExprKind::Call:
    return realCall(expr);
  default:
    assert(false && "refuseExpr lets through only real expressions that are emitted");
    return constantReal(0);
  }
}

Value ExprOps::exp2(Value x) { return make<math::Exp2Op>(x); }

Value ExprOps::log2(Expr argument) { return make<math::Log2Op>(real(argument)); }

Value ExprOps::sigmoid(Value x) {
  Value e = exp2(make<arith::MulFOp>(x, constantReal(-std::numbers::log2e)));
  return make<arith::DivFOp>(constantReal(1), make<arith::AddFOp>(constantReal(1), e));
}

/// pow(x, n) for a small integer n by multiplication, pow(c, y) = exp2(y log2 c) for a constant
/// c > 0, else the general function.
Value ExprOps::power(Expr expr) {
  if (!isSmallPower(expr[1]) && !isPositiveConstant(expr[0]))
    return make<math::PowFOp>(real(expr[0]), real(expr[1]));
  if (!isSmallPower(expr[1])) {
    double base = expr[0].is(ExprKind::Float) ? expr[0].number() : double(expr[0].integer());
    return exp2(make<arith::MulFOp>(real(expr[1]), constantReal(std::log2(base))));
  }
  int64_t exponent = expr[1].integer();
  Value x = real(expr[0]), product = constantReal(1);
  for (int64_t n = 0; n < std::abs(exponent); ++n)
    product = n == 0 ? x : make<arith::MulFOp>(product, x);
  return exponent < 0 ? make<arith::DivFOp>(constantReal(1), product) : product;
}

Value ExprOps::realCall(Expr expr) {
  llvm::StringRef name = expr.getName();
  if (name == "select")
    return make<arith::SelectOp>(truth(expr[0]), real(expr[1]), real(expr[2]));
  if (name == "pow")
    return power(expr);
  if (name == "log2")
    return log2(expr[0]);
  if (name == "log")
    return make<arith::MulFOp>(log2(expr[0]), constantReal(std::numbers::ln2));
  Value x = real(expr[0]), zero = constantReal(0), one = constantReal(1);
  Value log2e = constantReal(std::numbers::log2e);
  if (name == "exp2")
    return exp2(x);
  if (name == "exp")
    return exp2(make<arith::MulFOp>(x, log2e));
  if (name == "sqrt")
    return make<math::SqrtOp>(x);
  if (name == "rsqrt")
    return make<arith::DivFOp>(one, make<math::SqrtOp>(x));
  if (name == "sin")
    return make<math::SinOp>(x);
  if (name == "cos")
    return make<math::CosOp>(x);
  if (name == "tanh")
    return make<math::TanhOp>(x);
  if (name == "sigmoid")
    return sigmoid(x);
  if (name == "silu")
    return make<arith::MulFOp>(x, sigmoid(x));
  if (name == "relu")
    return make<arith::MaximumFOp>(x, zero);
  if (name == "abs")
    return make<math::AbsFOp>(x);
  if (name == "float")
    return x;
  if (name == "softplus") { // max(x, 0) + log(1 + exp(-|x|))
    Value e = exp2(make<arith::MulFOp>(make<math::AbsFOp>(x), make<arith::NegFOp>(log2e)));
    Value l = make<math::Log2Op>(make<arith::AddFOp>(one, e));
    return make<arith::AddFOp>(make<arith::MaximumFOp>(x, zero),
                               make<arith::MulFOp>(l, constantReal(std::numbers::ln2)));
  }
  if (name == "sign") {
    using Predicate = arith::CmpFPredicate;
    Value negative = make<arith::CmpFOp>(Predicate::OLT, x, zero);
    Value positive = make<arith::CmpFOp>(Predicate::OGT, x, zero);
    return make<arith::SelectOp>(positive, one,
                                 make<arith::SelectOp>(negative, constantReal(-1), zero));
  }
  Value y = real(expr[1]);
  if (name == "clamp")
    return make<arith::MinimumFOp>(make<arith::MaximumFOp>(x, y), real(expr[2]));
  assert((name == "min" || name == "max") && "the language has no other real function");
  for (size_t k = 1; k < expr.size(); ++k) {
    y = real(expr[k]);
    x = name == "min" ? make<arith::MinimumFOp>(x, y) : make<arith::MaximumFOp>(x, y);
  }
  return x;
}

// ---- truth values ----

static arith::CmpIPredicate integerPredicate(ExprKind kind) {
  switch (kind) {
  case ExprKind::Lt:
    return arith::CmpIPredicate::slt;
  case ExprKind::Le:
    return arith::CmpIPredicate::sle;
  case ExprKind::Gt:
    return arith::CmpIPredicate::sgt;
  case ExprKind::Ge:
    return arith::CmpIPredicate::sge;
  case ExprKind::Eq:
    return arith::CmpIPredicate::eq;
  default:
    return arith::CmpIPredicate::ne;
  }
}

static arith::CmpFPredicate realPredicate(ExprKind kind) {
  switch (kind) {
  case ExprKind::Lt:
    return arith::CmpFPredicate::OLT;
  case ExprKind::Le:
    return arith::CmpFPredicate::OLE;
  case ExprKind::Gt:
    return arith::CmpFPredicate::OGT;
  case ExprKind::Ge:
    return arith::CmpFPredicate::OGE;
  case ExprKind::Eq:
    return arith::CmpFPredicate::OEQ;
  default:
    return arith::CmpFPredicate::UNE;
  }
}

Value ExprOps::makeTruth(Expr expr) {
  if (Value value = leaf(expr))
    return value;
  Type i1 = builder.getI1Type();
  auto constant = [&](bool value) -> Value {
    return arith::ConstantOp::create(builder, location, builder.getIntegerAttr(i1, value));
  };
  switch (expr.getKind()) {
  case ExprKind::Bool:
    return constant(expr.boolean());
  case ExprKind::Not:
    return make<arith::XOrIOp>(truth(expr[0]), constant(true));
  case ExprKind::And:
    return make<arith::AndIOp>(truth(expr[0]), truth(expr[1]));
  case ExprKind::Or:
    return make<arith::OrIOp>(truth(expr[0]), truth(expr[1]));
  case ExprKind::Call: // select
    return make<arith::SelectOp>(truth(expr[0]), truth(expr[1]), truth(expr[2]));
  default:
    break;
  }
  assert(pattern::isComparison(expr.getKind()) && "refuseExpr lets through only such truth values");
  bool integers = typeOf(expr[0]) == ExprType::Integer && typeOf(expr[1]) == ExprType::Integer;
  if (integers)
    return make<arith::CmpIOp>(integerPredicate(expr.getKind()), integer(expr[0]),
                               integer(expr[1]));
  return make<arith::CmpFOp>(realPredicate(expr.getKind()), real(expr[0]), real(expr[1]));
}

} // namespace heddle::compiler
