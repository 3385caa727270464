// A table from arith and math ops to C++: operators where there is one, wrappers of the prelude for
// what should be one or two instructions (exp2, log2, tanh, division, maxima that keep NaN).
#include "compiler/targets/cuda/Scalars.h"

#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/args.h>
#include <fmt/format.h>

#include <cmath>

namespace heddle::compiler::cuda {

using namespace mlir;

namespace {

/// {0}, {1}, {2}: operands.
struct Spelling {
  std::string_view op, format;
};

constexpr Spelling kSpellings[] = {
    {"arith.addi", "{0} + {1}"},
    {"arith.subi", "{0} - {1}"},
    {"arith.muli", "{0} * {1}"},
    {"arith.divsi", "{0} / {1}"},
    {"arith.divui", "{0} / {1}"}, // of numbers >= 0
    {"arith.remsi", "{0} % {1}"},
    {"arith.remui", "{0} % {1}"},
    {"arith.minsi", "min({0}, {1})"},
    {"arith.maxsi", "max({0}, {1})"},
    {"arith.xori", "{0} ^ {1}"},
    {"arith.shli", "{0} << {1}"},
    {"arith.shrui", "{0} >> {1}"}, // of numbers >= 0
    {"arith.addf", "{0} + {1}"},
    {"arith.subf", "{0} - {1}"},
    {"arith.mulf", "{0} * {1}"},
    {"arith.divf", "divide({0}, {1})"},
    {"arith.negf", "-{0}"},
    {"arith.maximumf", "max_nan({0}, {1})"},
    {"arith.minimumf", "min_nan({0}, {1})"},
    {"arith.maxnumf", "fmaxf({0}, {1})"},
    {"arith.minnumf", "fminf({0}, {1})"},
    {"arith.select", "{0} ? {1} : {2}"},
    {"math.exp2", "exp2_approx({0})"},
    {"math.log2", "log2_approx({0})"},
    {"math.tanh", "tanh_exp2({0})"},
    {"math.sqrt", "sqrt_approx({0})"},
    {"math.rsqrt", "rsqrt_approx({0})"},
    {"math.sin", "sin_reduced({0})"},
    {"math.cos", "cos_reduced({0})"},
    {"math.powf", "pow_approx({0}, {1})"},
    {"math.trunc", "truncf({0})"},
    {"math.copysign", "copysignf({0}, {1})"},
    {"math.absf", "fabsf({0})"},
    {"math.absi", "abs({0})"},
    {"math.floor", "floorf({0})"},
    {"math.ceil", "ceilf({0})"},
    {"math.roundeven", "rintf({0})"},
    {"math.fma", "fmaf({0}, {1}, {2})"},
};

bool isUnsigned(arith::CmpIPredicate predicate) {
  using Predicate = arith::CmpIPredicate;
  return predicate == Predicate::ult || predicate == Predicate::ule ||
         predicate == Predicate::ugt || predicate == Predicate::uge;
}

std::string_view relation(arith::CmpIPredicate predicate) {
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return "==";
  case arith::CmpIPredicate::ne:
    return "!=";
  case arith::CmpIPredicate::slt:
  case arith::CmpIPredicate::ult:
    return "<";
  case arith::CmpIPredicate::sle:
  case arith::CmpIPredicate::ule:
    return "<=";
  case arith::CmpIPredicate::sgt:
  case arith::CmpIPredicate::ugt:
    return ">";
  default:
    return ">=";
  }
}

/// C++ comparisons are ordered but for !=, which is true for NaN.
std::optional<std::string_view> relation(arith::CmpFPredicate predicate) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return "==";
  case arith::CmpFPredicate::UNE:
    return "!=";
  case arith::CmpFPredicate::OLT:
    return "<";
  case arith::CmpFPredicate::OLE:
    return "<=";
  case arith::CmpFPredicate::OGT:
    return ">";
  case arith::CmpFPredicate::OGE:
    return ">=";
  default:
    return std::nullopt;
  }
}

/// Without parentheses around the whole, as an argument of a call.
std::string bare(const std::string &text) {
  return text.starts_with('(') && isClosedBy(text, 0) ? text.substr(1, text.size() - 2) : text;
}

/// What widens a float of that type to f32.
const char *wideningOf(Type type) {
  if (type.isBF16())
    return "from_bf16";
  if (type.isF16())
    return "from_f16";
  if (isa<Float8E4M3FNType>(type))
    return "from_e4m3";
  return isa<Float8E5M2Type>(type) ? "from_e5m2" : nullptr;
}

/// Whether a 64-bit number is an index, which lies below 2^30 (the target's constraints).
bool isIndex(Value value) {
  if (auto cast = value.getDefiningOp<arith::IndexCastOp>())
    return cast.getIn().getType().isIndex();
  auto wide = value.getDefiningOp<arith::ExtSIOp>();
  auto element = wide ? dyn_cast<BlockArgument>(wide.getIn()) : BlockArgument();
  auto map = element ? dyn_cast<tile::MapOp>(element.getOwner()->getParentOp()) : tile::MapOp();
  return map && map.getInputs()[element.getArgNumber()].getDefiningOp<tile::IndexOp>();
}

/// i - j of two indices without 64-bit numbers, whose conversion to float takes four times as long:
/// "((long long)i)", "((long long)j)" -> "(long long)(i - j)".
std::optional<std::string> difference(arith::SubIOp op, const std::vector<std::string> &operands) {
  constexpr std::string_view kCast = "((long long)";
  std::string inner[2];
  for (int n : {0, 1}) {
    if (!isIndex(op->getOperand(n)) || !operands[n].starts_with(kCast) ||
        !isClosedBy(operands[n], 0))
      return std::nullopt;
    inner[n] = operands[n].substr(kCast.size(), operands[n].size() - kCast.size() - 1);
  }
  return fmt::format("(long long)({} - {})", inner[0], inner[1]);
}

/// Whether a number is a signed byte, as codes are.
bool isByte(Value value) {
  auto wide = value.getDefiningOp<arith::ExtSIOp>();
  return (wide ? wide.getIn() : value).getType().isInteger(8);
}

std::optional<std::string> conversion(Operation *op, const std::string &x) {
  Type from = op->getOperand(0).getType(), to = op->getResult(0).getType();
  if (isa<arith::SIToFPOp>(op) && isByte(op->getOperand(0)))
    return to.isF32()    ? fmt::format("from_i8({})", x)
           : to.isBF16() ? fmt::format("to_bf16(from_i8({}))", x)
                         : fmt::format("to_f16(from_i8({}))", x);
  if (isa<arith::SIToFPOp, arith::UIToFPOp>(op) && (to.isBF16() || to.isF16()))
    return fmt::format("{}((float){}{})", to.isBF16() ? "to_bf16" : "to_f16",
                       isa<arith::UIToFPOp>(op) ? "(unsigned)" : "", x);
  if (isa<arith::IndexCastOp, arith::SIToFPOp, arith::ExtSIOp, arith::TruncIOp, arith::FPToSIOp>(
          op))
    return typeText(from) == typeText(to) ? x : fmt::format("({}){}", typeText(to), x);
  if (isa<arith::ExtUIOp, arith::IndexCastUIOp>(op)) { // a truth value or an unsigned byte
    bool byte = from.isInteger(8);
    if (!byte && typeText(from) == typeText(to))
      return x;
    return fmt::format("({}){}{}", typeText(to), byte ? "(unsigned char)" : "", x);
  }
  if (isa<arith::UIToFPOp>(op))
    return fmt::format("({})(unsigned){}", typeText(to), x);
  if (isa<arith::ExtFOp>(op)) {
    if (to.isF64() || from.isF32())
      return fmt::format("({}){}", typeText(to), x);
    if (const char *reader = wideningOf(from); reader && to.isF32())
      return fmt::format("{}({})", reader, x);
  }
  if (isa<arith::TruncFOp>(op)) {
    if (from.isF64() && to.isF32())
      return fmt::format("(float){}", x);
    if (to.isBF16() || to.isF16())
      return fmt::format("{}({})", to.isBF16() ? "to_bf16" : "to_f16", x);
  }
  return std::nullopt;
}

} // namespace

std::string typeText(Type type) {
  if (type.isIndex() || type.isInteger(32))
    return "int";
  if (type.isInteger(1))
    return "bool";
  if (type.isInteger(64))
    return "long long";
  if (type.isInteger(8))
    return "signed char";
  if (type.isF64())
    return "double";
  if (type.isF32())
    return "float";
  if (type.isIntOrFloat() && type.getIntOrFloatBitWidth() == 8)
    return "unsigned char"; // fp8 as its bits
  return "u16";             // bf16 and f16 as their bits
}

std::string literal(double value) {
  if (std::isinf(value))
    return value < 0 ? "-infinity()" : "infinity()";
  std::string text = fmt::format("{:.9g}", float(value));
  if (text.find_first_of(".en") == std::string::npos)
    text += ".0";
  return text + "f";
}

std::string literal(Attribute value) {
  if (auto number = dyn_cast<FloatAttr>(value)) {
    if (number.getType().isF64())
      return fmt::format("{:.17g}", number.getValueAsDouble());
    if (!number.getType().isF32()) // narrow floats are their bits
      return fmt::format("({}){}", typeText(number.getType()),
                         number.getValue().bitcastToAPInt().getZExtValue());
    return literal(number.getValueAsDouble());
  }
  auto integer = cast<IntegerAttr>(value);
  if (integer.getType().isInteger(1))
    return integer.getValue().isZero() ? "false" : "true";
  if (integer.getType().isInteger(64))
    return fmt::format("{}ll", integer.getInt());
  return fmt::format("{}", integer.getInt());
}

/// A name, a number or one call needs no parentheses around it.
static bool isWhole(std::string_view text) {
  if (text.find_first_of(" -(") == text.npos)
    return true;
  size_t open = text.find('(');
  bool named = open != 0 && open != text.npos &&
               std::all_of(text.begin(), text.begin() + open,
                           [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  return named && isClosedBy(text, open);
}

std::string asOperand(const std::string &text) { return isWhole(text) ? text : "(" + text + ")"; }

bool isClosedBy(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t n = open; n < text.size(); ++n) {
    depth += text[n] == '(' ? 1 : text[n] == ')' ? -1 : 0;
    if (depth == 0)
      return n + 1 == text.size();
  }
  return false;
}

std::optional<std::string> expression(Operation *op, const std::vector<std::string> &operands) {
  llvm::StringRef name = op->getName().getStringRef();
  if (auto product = dyn_cast<arith::MulFOp>(op);
      product && !product.getType().isF32() && !product.getType().isF64()) {
    const bool isBf16 = product.getType().isBF16();
    if (!isBf16 && !product.getType().isF16())
      return std::nullopt;
    return fmt::format("(u16)multiply_{}({}, {})", isBf16 ? "bf16" : "f16", bare(operands[0]),
                       bare(operands[1]));
  }
  if (auto sub = dyn_cast<arith::SubIOp>(op))
    if (std::optional<std::string> text = difference(sub, operands))
      return text;
  for (const Spelling &spelling : kSpellings) {
    if (std::string_view(name.data(), name.size()) != spelling.op)
      continue;
    bool call = spelling.format.find("({0}") != std::string_view::npos;
    fmt::dynamic_format_arg_store<fmt::format_context> store;
    for (const std::string &operand : operands)
      store.push_back(call ? bare(operand) : operand);
    return fmt::vformat(spelling.format, store);
  }
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return literal(constant.getValue());
  if (auto compare = dyn_cast<arith::CmpIOp>(op)) {
    bool wide = compare.getLhs().getType().isInteger(64);
    const char *cast = !isUnsigned(compare.getPredicate()) ? ""
                       : wide                              ? "(unsigned long long)"
                                                           : "(unsigned)";
    return fmt::format("{0}{1} {2} {0}{3}", cast, operands[0], relation(compare.getPredicate()),
                       operands[1]);
  }
  if (auto compare = dyn_cast<arith::CmpFOp>(op)) {
    std::optional<std::string_view> text = relation(compare.getPredicate());
    return text ? std::optional(fmt::format("{} {} {}", operands[0], *text, operands[1]))
                : std::nullopt;
  }
  bool truth = op->getNumResults() == 1 && op->getResult(0).getType().isInteger(1);
  if (isa<arith::AndIOp>(op))
    return fmt::format("{} {} {}", operands[0], truth ? "&&" : "&", operands[1]);
  if (isa<arith::OrIOp>(op))
    return fmt::format("{} {} {}", operands[0], truth ? "||" : "|", operands[1]);
  if (isa<math::CountLeadingZerosOp>(op))
    return fmt::format("{}({})", op->getResult(0).getType().isInteger(64) ? "__clzll" : "__clz",
                       operands[0]);
  return operands.size() == 1 ? conversion(op, operands[0]) : std::nullopt;
}

} // namespace heddle::compiler::cuda
