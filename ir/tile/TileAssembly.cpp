// Shared pieces of the text form, e.g. `[B, ceildiv(Tk, 512)]`, `-inf`, `dim(1)`, `permute(1, 0)`,
// `[i, j]`.
#include "ir/tile/TileAssembly.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

using namespace mlir;

namespace heddle::tile {

ParseResult parseFormulas(AsmParser &parser, ArrayAttr &formulas) {
  SmallVector<Attribute> list;
  auto one = [&]() -> ParseResult {
    FormulaAttr formula = FormulaAttr::parseText(parser);
    list.push_back(formula);
    return failure(!formula);
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, one))
    return failure();
  formulas = ArrayAttr::get(parser.getContext(), list);
  return success();
}

void printFormulas(AsmPrinter &printer, Operation *, ArrayAttr formulas) {
  printer << "[";
  llvm::interleaveComma(formulas.getAsRange<FormulaAttr>(), printer,
                        [&](FormulaAttr formula) { formula.printText(printer.getStream()); });
  printer << "]";
}

OptionalParseResult parseOptionalNumber(AsmParser &parser, FloatAttr &value) {
  bool negative = succeeded(parser.parseOptionalMinus());
  StringRef word;
  double number = 0;
  int64_t integer = 0;
  llvm::SMLoc loc = parser.getCurrentLocation();
  OptionalParseResult isInteger = parser.parseOptionalDecimalInteger(integer);
  if (isInteger.has_value()) {
    if (failed(*isInteger))
      return failure();
    number = static_cast<double>(integer);
  } else if (succeeded(parser.parseOptionalKeyword(&word))) {
    if (word != "inf" && word != "nan")
      return parser.emitError(loc) << "found '" << word << "', expected a number, inf or nan";
    number = word == "inf" ? std::numeric_limits<double>::infinity()
                           : std::numeric_limits<double>::quiet_NaN();
  } else if (parser.parseFloat(number)) {
    return failure();
  }
  value = FloatAttr::get(Float64Type::get(parser.getContext()), negative ? -number : number);
  return success();
}

ParseResult parseNumber(AsmParser &parser, FloatAttr &value) {
  return *parseOptionalNumber(parser, value);
}

void printNumber(AsmPrinter &printer, Operation *, FloatAttr value) {
  double number = value.getValueAsDouble();
  if (std::isnan(number) || std::isinf(number)) {
    printer << (std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    return;
  }
  // MLIR's lexer wants a point in a float: 1e+30 -> 1.0e+30.
  std::string text = fmt::format("{}", number);
  if (text.find('.') == std::string::npos)
    text.insert(std::min(text.find('e'), text.size()), ".0");
  printer << text;
}

ParseResult parseDim(AsmParser &parser, IntegerAttr &dim) {
  int64_t value = 0;
  if (parser.parseKeyword("dim") || parser.parseLParen() || parser.parseInteger(value) ||
      parser.parseRParen())
    return failure();
  dim = parser.getBuilder().getI64IntegerAttr(value);
  return success();
}

void printDim(AsmPrinter &printer, Operation *, IntegerAttr dim) {
  printer << "dim(" << dim.getInt() << ")";
}

OptionalParseResult parsePermutation(AsmParser &parser, DenseI64ArrayAttr &permute) {
  if (failed(parser.parseOptionalKeyword("permute")))
    return std::nullopt;
  SmallVector<int64_t> dims;
  auto one = [&] { return parser.parseInteger(dims.emplace_back()); };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, one))
    return failure();
  permute = parser.getBuilder().getDenseI64ArrayAttr(dims);
  return success();
}

void printPermutation(AsmPrinter &printer, Operation *, DenseI64ArrayAttr permute) {
  printer << "permute(";
  llvm::interleaveComma(permute.asArrayRef(), printer);
  printer << ")";
}

ParseResult parseNames(AsmParser &parser, ArrayAttr &names) {
  SmallVector<StringRef> list;
  auto one = [&] { return parser.parseKeyword(&list.emplace_back()); };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, one))
    return failure();
  names = parser.getBuilder().getStrArrayAttr(list);
  return success();
}

void printNames(AsmPrinter &printer, ArrayAttr names) {
  printer << "[";
  llvm::interleaveComma(names.getAsValueRange<StringAttr>(), printer);
  printer << "]";
}

ParseResult parseRegionWithYield(OpAsmParser &parser, OperationState &state,
                                 ArrayRef<OpAsmParser::Argument> arguments) {
  Region *body = state.addRegion();
  if (parser.parseRegion(*body, arguments))
    return failure();
  if (body->empty())
    body->emplaceBlock();
  Block &block = body->front();
  if (block.empty() || !block.back().hasTrait<OpTrait::IsTerminator>()) {
    OpBuilder builder(parser.getContext());
    builder.setInsertionPointToEnd(&block);
    YieldOp::create(builder, parser.getEncodedSourceLoc(parser.getCurrentLocation()));
  }
  return success();
}

void printRegionBody(OpAsmPrinter &printer, Region &region, bool terminator) {
  printer << " ";
  printer.printRegion(region, /*printEntryBlockArgs=*/false, terminator);
}

void printOtherAttributes(OpAsmPrinter &printer, Operation *op, ArrayRef<StringRef> shown) {
  printer.printOptionalAttrDictWithKeyword(op->getAttrs(), shown);
}

} // namespace heddle::tile
