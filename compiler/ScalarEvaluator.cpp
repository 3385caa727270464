// A table of arith and math ops with their meaning in double and int64, e.g.
//   math.exp2 x  ->  exp2(x)      arith.cmpi slt, a, b  ->  a < b
// and the small machine that runs the region of a tile.map element by element.
#include "compiler/ScalarEvaluator.h"

#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

using namespace mlir;

namespace heddle::compiler {
namespace {

Number real(double value) { return {value, 0}; }
Number integer(Operation *op, int64_t value) {
  return {0, wrapInteger(value, op->getResult(0).getType())};
}

unsigned widthOf(Type type) { return type.isIndex() ? 64 : type.getIntOrFloatBitWidth(); }

/// The bits of an integer operand read as unsigned.
uint64_t bits(Operation *op, const Number *operands, unsigned n) {
  unsigned width = widthOf(op->getOperand(n).getType());
  uint64_t value = static_cast<uint64_t>(operands[n].integer);
  return width == 64 ? value : value & ((uint64_t(1) << width) - 1);
}

/// Signed and unsigned division that is defined everywhere.
int64_t divide(int64_t a, int64_t b) {
  if (b == 0 || (a == std::numeric_limits<int64_t>::min() && b == -1))
    return 0;
  return a / b;
}
int64_t remainder(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
int64_t floorDivide(int64_t a, int64_t b) {
  return divide(a, b) - (remainder(a, b) != 0 && (a < 0) != (b < 0) ? 1 : 0);
}
int64_t ceilDivide(int64_t a, int64_t b) {
  return divide(a, b) + (remainder(a, b) != 0 && (a < 0) == (b < 0) ? 1 : 0);
}

int64_t addWrapping(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t subWrapping(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t mulWrapping(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

/// IEEE maximum: NaN if one operand is.
double maximum(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::max(a, b);
}
double minimum(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::min(a, b);
}

bool compareReals(arith::CmpFPredicate predicate, double a, double b) {
  bool unordered = std::isnan(a) || std::isnan(b);
  switch (predicate) {
  case arith::CmpFPredicate::AlwaysFalse:
    return false;
  case arith::CmpFPredicate::OEQ:
    return !unordered && a == b;
  case arith::CmpFPredicate::OGT:
    return !unordered && a > b;
  case arith::CmpFPredicate::OGE:
    return !unordered && a >= b;
  case arith::CmpFPredicate::OLT:
    return !unordered && a < b;
  case arith::CmpFPredicate::OLE:
    return !unordered && a <= b;
  case arith::CmpFPredicate::ONE:
    return !unordered && a != b;
  case arith::CmpFPredicate::ORD:
    return !unordered;
  case arith::CmpFPredicate::UEQ:
    return unordered || a == b;
  case arith::CmpFPredicate::UGT:
    return unordered || a > b;
  case arith::CmpFPredicate::UGE:
    return unordered || a >= b;
  case arith::CmpFPredicate::ULT:
    return unordered || a < b;
  case arith::CmpFPredicate::ULE:
    return unordered || a <= b;
  case arith::CmpFPredicate::UNE:
    return unordered || a != b;
  case arith::CmpFPredicate::UNO:
    return unordered;
  case arith::CmpFPredicate::AlwaysTrue:
    return true;
  }
  return false;
}

bool compareIntegers(arith::CmpIPredicate predicate, int64_t a, int64_t b, uint64_t ua,
                     uint64_t ub) {
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return a == b;
  case arith::CmpIPredicate::ne:
    return a != b;
  case arith::CmpIPredicate::slt:
    return a < b;
  case arith::CmpIPredicate::sle:
    return a <= b;
  case arith::CmpIPredicate::sgt:
    return a > b;
  case arith::CmpIPredicate::sge:
    return a >= b;
  case arith::CmpIPredicate::ult:
    return ua < ub;
  case arith::CmpIPredicate::ule:
    return ua <= ub;
  case arith::CmpIPredicate::ugt:
    return ua > ub;
  case arith::CmpIPredicate::uge:
    return ua >= ub;
  }
  return false;
}

Number constant(Operation *op, const Number *) {
  Attribute value = cast<arith::ConstantOp>(op).getValue();
  if (FloatAttr number = dyn_cast<FloatAttr>(value))
    return real(number.getValueAsDouble());
  if (IntegerAttr number = dyn_cast<IntegerAttr>(value))
    return integer(op, number.getValue().getSExtValue());
  return {};
}

struct Entry {
  std::string_view name;
  ScalarEvaluator evaluate;
};

#define REAL1(name, expression)                                                                    \
  {name, [](Operation *, const Number *x) -> Number {                                              \
     double a = x[0].real;                                                                         \
     return real(expression);                                                                      \
   }}
#define REAL2(name, expression)                                                                    \
  {name, [](Operation *, const Number *x) -> Number {                                              \
     double a = x[0].real, b = x[1].real;                                                          \
     return real(expression);                                                                      \
   }}
#define INTEGER1(name, expression)                                                                 \
  {name, [](Operation *op, const Number *x) -> Number {                                            \
     int64_t a = x[0].integer;                                                                     \
     return integer(op, expression);                                                               \
   }}
#define INTEGER2(name, expression)                                                                 \
  {name, [](Operation *op, const Number *x) -> Number {                                            \
     int64_t a = x[0].integer, b = x[1].integer;                                                   \
     return integer(op, expression);                                                               \
   }}
#define UNSIGNED2(name, expression)                                                                \
  {name, [](Operation *op, const Number *x) -> Number {                                            \
     uint64_t a = bits(op, x, 0), b = bits(op, x, 1);                                              \
     return integer(op, static_cast<int64_t>(expression));                                         \
   }}

const Entry kEntries[] = {
    {"arith.constant", constant},
    REAL2("arith.addf", a + b),
    REAL2("arith.subf", a - b),
    REAL2("arith.mulf", a *b),
    REAL2("arith.divf", a / b),
    REAL2("arith.remf", std::fmod(a, b)),
    REAL2("arith.maximumf", maximum(a, b)),
    REAL2("arith.minimumf", minimum(a, b)),
    REAL2("arith.maxnumf", std::fmax(a, b)),
    REAL2("arith.minnumf", std::fmin(a, b)),
    REAL1("arith.negf", -a),
    REAL1("arith.extf", a),
    REAL1("arith.truncf", a),
    INTEGER2("arith.addi", addWrapping(a, b)),
    INTEGER2("arith.subi", subWrapping(a, b)),
    INTEGER2("arith.muli", mulWrapping(a, b)),
    INTEGER2("arith.divsi", divide(a, b)),
    INTEGER2("arith.remsi", remainder(a, b)),
    INTEGER2("arith.floordivsi", floorDivide(a, b)),
    INTEGER2("arith.ceildivsi", ceilDivide(a, b)),
    INTEGER2("arith.maxsi", std::max(a, b)),
    INTEGER2("arith.minsi", std::min(a, b)),
    INTEGER2("arith.andi", a &b),
    INTEGER2("arith.ori", a | b),
    INTEGER2("arith.xori", a ^ b),
    INTEGER2("arith.shrsi", b < 0 || b > 63 ? 0 : a >> b),
    UNSIGNED2("arith.divui", b == 0 ? 0 : a / b),
    UNSIGNED2("arith.remui", b == 0 ? 0 : a % b),
    UNSIGNED2("arith.ceildivui", b == 0 ? 0 : a / b + (a % b != 0)),
    UNSIGNED2("arith.maxui", std::max(a, b)),
    UNSIGNED2("arith.minui", std::min(a, b)),
    UNSIGNED2("arith.shli", b > 63 ? 0 : a << b),
    UNSIGNED2("arith.shrui", b > 63 ? 0 : a >> b),
    INTEGER1("arith.extsi", op->getOperand(0).getType().isInteger(1) ? -a : a),
    INTEGER1("arith.trunci", a),
    INTEGER1("arith.index_cast", op->getOperand(0).getType().isInteger(1) ? -a : a),
    INTEGER1("math.absi", a < 0 ? subWrapping(0, a) : a),
    {"math.ctlz",
     [](Operation *op, const Number *x) -> Number {
       int64_t width = widthOf(op->getOperand(0).getType());
       return {0, width - int64_t(std::bit_width(bits(op, x, 0)))};
     }},
    {"arith.extui",
     [](Operation *op, const Number *x) -> Number {
       return integer(op, static_cast<int64_t>(bits(op, x, 0)));
     }},
    {"arith.index_castui",
     [](Operation *op, const Number *x) -> Number {
       return integer(op, static_cast<int64_t>(bits(op, x, 0)));
     }},
    {"arith.sitofp",
     [](Operation *op, const Number *x) -> Number {
       int64_t a = x[0].integer;
       return real(static_cast<double>(op->getOperand(0).getType().isInteger(1) ? -a : a));
     }},
    {"arith.uitofp",
     [](Operation *op, const Number *x) -> Number {
       return real(static_cast<double>(bits(op, x, 0)));
     }},
    {"arith.fptosi",
     [](Operation *op, const Number *x) -> Number {
       bool fits = std::abs(x[0].real) < 9.2e18;
       return integer(op, fits ? static_cast<int64_t>(x[0].real) : 0);
     }},
    {"arith.fptoui",
     [](Operation *op, const Number *x) -> Number {
       bool fits = x[0].real > -1 && x[0].real < 9.2e18;
       return integer(op, fits ? static_cast<int64_t>(x[0].real) : 0);
     }},
    {"arith.cmpf",
     [](Operation *op, const Number *x) -> Number {
       return {0, compareReals(cast<arith::CmpFOp>(op).getPredicate(), x[0].real, x[1].real)};
     }},
    {"arith.cmpi",
     [](Operation *op, const Number *x) -> Number {
       return {0, compareIntegers(cast<arith::CmpIOp>(op).getPredicate(), x[0].integer,
                                  x[1].integer, bits(op, x, 0), bits(op, x, 1))};
     }},
    {"arith.select",
     [](Operation *, const Number *x) -> Number { return x[0].integer ? x[1] : x[2]; }},
    REAL1("math.exp", std::exp(a)),
    REAL1("math.exp2", std::exp2(a)),
    REAL1("math.expm1", std::expm1(a)),
    REAL1("math.log", std::log(a)),
    REAL1("math.log2", std::log2(a)),
    REAL1("math.log10", std::log10(a)),
    REAL1("math.log1p", std::log1p(a)),
    REAL1("math.sqrt", std::sqrt(a)),
    REAL1("math.rsqrt", 1 / std::sqrt(a)),
    REAL1("math.cbrt", std::cbrt(a)),
    REAL1("math.tanh", std::tanh(a)),
    REAL1("math.sin", std::sin(a)),
    REAL1("math.cos", std::cos(a)),
    REAL1("math.tan", std::tan(a)),
    REAL1("math.atan", std::atan(a)),
    REAL1("math.erf", std::erf(a)),
    REAL1("math.absf", std::abs(a)),
    REAL1("math.floor", std::floor(a)),
    REAL1("math.ceil", std::ceil(a)),
    REAL1("math.round", std::round(a)),
    REAL1("math.roundeven", std::nearbyint(a)),
    REAL1("math.trunc", std::trunc(a)),
    REAL2("math.powf", std::pow(a, b)),
    REAL2("math.copysign", std::copysign(a, b)),
    REAL2("math.atan2", std::atan2(a, b)),
    {"math.fma",
     [](Operation *, const Number *x) -> Number {
       return real(x[0].real * x[1].real + x[2].real);
     }},
    {"math.fpowi",
     [](Operation *, const Number *x)
         -> Number { return real(std::pow(x[0].real, static_cast<double>(x[1].integer))); }},
    {"math.isnan",
     [](Operation *, const Number *x) -> Number { return {0, std::isnan(x[0].real)}; }},
};

} // namespace

int64_t wrapInteger(int64_t value, Type type) {
  unsigned width = widthOf(type);
  if (width == 1)
    return value & 1;
  if (width >= 64)
    return value;
  return static_cast<int64_t>(static_cast<uint64_t>(value) << (64 - width)) >> (64 - width);
}

Result<ScalarEvaluator> findScalarEvaluator(Operation *op) {
  std::string_view name = op->getName().getStringRef();
  for (const Entry &entry : kEntries)
    if (entry.name == name)
      return entry.evaluate;
  return Error{
      ErrorCode::Unsupported,
      fmt::format("the walker has no meaning for {}; add it to compiler/ScalarEvaluator.cpp",
                  name)};
}

Result<ScalarFunction>
ScalarFunction::make(Block &block, llvm::function_ref<Result<Number>(mlir::Value)> captured,
                     llvm::function_ref<Gather(Operation *)> gather) {
  ScalarFunction function;
  llvm::DenseMap<mlir::Value, int> slotOf;
  auto newSlot = [&](mlir::Value value, Number number) {
    function.slots.push_back(number);
    return slotOf[value] = static_cast<int>(function.slots.size()) - 1;
  };
  auto find = [&](mlir::Value value) -> Result<int> {
    auto found = slotOf.find(value);
    if (found != slotOf.end())
      return found->second;
    HEDDLE_TRY(number, captured(value));
    return newSlot(value, number);
  };
  for (BlockArgument argument : block.getArguments())
    newSlot(argument, {});
  for (Operation &op : block.without_terminator()) {
    Step step = {nullptr, &op, {}, 0, {}};
    bool gathers = isa<tile::GatherOp>(op);
    if (gathers) {
      step.gather = gather(&op);
    } else {
      HEDDLE_TRY(evaluate, findScalarEvaluator(&op));
      step.evaluate = evaluate;
    }
    for (mlir::Value operand : op.getOperands().drop_front(gathers)) {
      HEDDLE_TRY(slot, find(operand));
      step.operands.push_back(slot);
    }
    step.result = newSlot(op.getResult(0), {});
    function.steps.push_back(std::move(step));
  }
  for (mlir::Value value : block.getTerminator()->getOperands()) {
    HEDDLE_TRY(slot, find(value));
    function.results.push_back(slot);
  }
  return function;
}

void ScalarFunction::run() {
  Number operands[4];
  for (const Step &step : steps) {
    for (size_t n = 0; n < step.operands.size(); ++n)
      operands[n] = slots[step.operands[n]];
    slots[step.result] = step.gather ? step.gather(operands) : step.evaluate(step.op, operands);
  }
}

} // namespace heddle::compiler
