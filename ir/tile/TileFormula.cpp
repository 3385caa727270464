// FormulaAttr: text <-> postfix steps, evaluation over named scalars.
//   ceildiv(Tq, 64) * Hq   <->   [Tq, 64, CeilDiv, Hq, Mul]
// Constants are folded when a formula is built, so that equal formulas of constants are one
// attribute.
#include "ir/tile/TileDialect.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace heddle::tile {
namespace {

struct Function {
  StringRef name;
  FormulaOp op;
};
constexpr Function kFunctions[] = {{"ceildiv", FormulaOp::CeilDiv},
                                   {"floordiv", FormulaOp::FloorDiv},
                                   {"min", FormulaOp::Min},
                                   {"max", FormulaOp::Max}};

std::optional<int64_t> apply(FormulaOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
  case FormulaOp::Add:
    return llvm::AddOverflow(a, b, result) ? std::nullopt : std::optional(result);
  case FormulaOp::Sub:
    return llvm::SubOverflow(a, b, result) ? std::nullopt : std::optional(result);
  case FormulaOp::Mul:
    return llvm::MulOverflow(a, b, result) ? std::nullopt : std::optional(result);
  case FormulaOp::CeilDiv:
  case FormulaOp::FloorDiv:
    if (b == 0 || (a == INT64_MIN && b == -1))
      return std::nullopt;
    return op == FormulaOp::CeilDiv ? llvm::divideCeilSigned(a, b) : llvm::divideFloorSigned(a, b);
  case FormulaOp::Min:
    return std::min(a, b);
  case FormulaOp::Max:
    return std::max(a, b);
  case FormulaOp::Constant:
  case FormulaOp::Scalar:
    break;
  }
  return std::nullopt;
}

/// Recursive descent over: sum = product (+|- product)*; product = factor (* factor)*.
class FormulaParser {
public:
  explicit FormulaParser(AsmParser &parser) : parser(parser) {}

  FormulaAttr sum() {
    FormulaAttr left = product();
    while (left) {
      FormulaOp op = FormulaOp::Add;
      if (failed(parser.parseOptionalPlus())) {
        if (failed(parser.parseOptionalMinus()))
          return left;
        op = FormulaOp::Sub;
      }
      FormulaAttr right = product();
      left = right ? FormulaAttr::binary(op, left, right) : FormulaAttr();
    }
    return left;
  }

private:
  FormulaAttr product() {
    FormulaAttr left = factor();
    while (left && succeeded(parser.parseOptionalStar())) {
      FormulaAttr right = factor();
      left = right ? FormulaAttr::binary(FormulaOp::Mul, left, right) : FormulaAttr();
    }
    return left;
  }

  FormulaAttr call(FormulaOp op) {
    FormulaAttr left = sum();
    if (!left || failed(parser.parseComma()))
      return {};
    FormulaAttr right = sum();
    if (!right || failed(parser.parseRParen()))
      return {};
    return FormulaAttr::binary(op, left, right);
  }

  FormulaAttr factor() {
    int64_t value = 0;
    OptionalParseResult number = parser.parseOptionalInteger(value);
    if (number.has_value())
      return failed(*number) ? FormulaAttr() : FormulaAttr::constant(parser.getContext(), value);
    if (succeeded(parser.parseOptionalLParen())) {
      FormulaAttr inner = sum();
      return inner && succeeded(parser.parseRParen()) ? inner : FormulaAttr();
    }
    StringRef name;
    llvm::SMLoc loc = parser.getCurrentLocation();
    if (failed(parser.parseOptionalKeyword(&name))) {
      parser.emitError(loc,
                       "expected a formula: a number, the name of a run-time scalar, or one of "
                       "ceildiv, floordiv, min, max with two arguments");
      return {};
    }
    if (failed(parser.parseOptionalLParen()))
      return FormulaAttr::scalar(parser.getContext(), name);
    for (const Function &function : kFunctions)
      if (function.name == name)
        return call(function.op);
    parser.emitError(loc) << "formula has no function '" << name
                          << "'; there are ceildiv, floordiv, min and max";
    return {};
  }

  AsmParser &parser;
};

struct Piece {
  std::string text;
  int precedence; // 1 sum, 2 product, 3 atom
};

std::string wrapped(const Piece &piece, int least) {
  return piece.precedence < least ? "(" + piece.text + ")" : piece.text;
}

Piece join(FormulaOp op, const Piece &a, const Piece &b) {
  switch (op) {
  case FormulaOp::Add:
    return {wrapped(a, 1) + " + " + wrapped(b, 2), 1};
  case FormulaOp::Sub:
    return {wrapped(a, 1) + " - " + wrapped(b, 2), 1};
  case FormulaOp::Mul:
    return {wrapped(a, 2) + " * " + wrapped(b, 3), 2};
  default:
    for (const Function &function : kFunctions)
      if (function.op == op)
        return {function.name.str() + "(" + a.text + ", " + b.text + ")", 3};
    llvm_unreachable("a step that is no operation");
  }
}

} // namespace

FormulaAttr FormulaAttr::constant(MLIRContext *context, int64_t value) {
  return get(context, FormulaStep{FormulaOp::Constant, value, {}});
}

FormulaAttr FormulaAttr::scalar(MLIRContext *context, StringRef name) {
  return get(context, FormulaStep{FormulaOp::Scalar, 0, StringAttr::get(context, name)});
}

FormulaAttr FormulaAttr::binary(FormulaOp op, FormulaAttr left, FormulaAttr right) {
  std::optional<int64_t> a = left.asConstant(), b = right.asConstant();
  if (a && b)
    if (std::optional<int64_t> value = apply(op, *a, *b))
      return constant(left.getContext(), *value);
  SmallVector<FormulaStep> steps(left.getSteps());
  llvm::append_range(steps, right.getSteps());
  steps.push_back({op, 0, {}});
  return get(left.getContext(), steps);
}

FormulaAttr FormulaAttr::parseText(AsmParser &parser) { return FormulaParser(parser).sum(); }

void FormulaAttr::printText(raw_ostream &out) const {
  SmallVector<Piece> stack;
  for (const FormulaStep &step : getSteps()) {
    if (step.op == FormulaOp::Constant) {
      stack.push_back({std::to_string(step.value), step.value < 0 ? 1 : 3});
    } else if (step.op == FormulaOp::Scalar) {
      stack.push_back({step.name.str(), 3});
    } else {
      Piece right = stack.pop_back_val(), left = stack.pop_back_val();
      stack.push_back(join(step.op, left, right));
    }
  }
  out << stack.front().text;
}

std::optional<int64_t> FormulaAttr::asConstant() const {
  if (getSteps().size() != 1 || getSteps()[0].op != FormulaOp::Constant)
    return std::nullopt;
  return getSteps()[0].value;
}

std::optional<StringRef> FormulaAttr::asScalar() const {
  if (getSteps().size() != 1 || getSteps()[0].op != FormulaOp::Scalar)
    return std::nullopt;
  return getSteps()[0].name.getValue();
}

std::optional<int64_t>
FormulaAttr::evaluate(llvm::function_ref<std::optional<int64_t>(StringRef)> lookup) const {
  SmallVector<int64_t> stack;
  for (const FormulaStep &step : getSteps()) {
    std::optional<int64_t> value = step.value;
    if (step.op == FormulaOp::Scalar) {
      value = lookup(step.name.getValue());
    } else if (step.op != FormulaOp::Constant) {
      int64_t right = stack.pop_back_val(), left = stack.pop_back_val();
      value = apply(step.op, left, right);
    }
    if (!value)
      return std::nullopt;
    stack.push_back(*value);
  }
  return stack.front();
}

LogicalResult FormulaAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                                  ArrayRef<FormulaStep> steps) {
  int64_t depth = 0;
  for (const FormulaStep &step : steps) {
    bool leaf = step.op == FormulaOp::Constant || step.op == FormulaOp::Scalar;
    if (!leaf && depth < 2)
      return emitError() << "formula lacks an operand, expected postfix order";
    depth += leaf ? 1 : -1;
  }
  if (depth != 1)
    return emitError() << "formula leaves " << depth << " values, expected one";
  return success();
}

Attribute FormulaAttr::parse(AsmParser &parser, Type) {
  if (failed(parser.parseLess()))
    return {};
  FormulaAttr formula = parseText(parser);
  return formula && succeeded(parser.parseGreater()) ? formula : FormulaAttr();
}

void FormulaAttr::print(AsmPrinter &printer) const {
  printer << "<";
  printText(printer.getStream());
  printer << ">";
}

} // namespace heddle::tile
