// Array types as text, and the words of element types.
//   seq<bf16, Tk x Hk x (D div 2)>  is  !pattern.array<seq, bf16, ..> of dims Tk, Hk, FloorDiv(D,
//   2)
#include "ir/pattern/ArrayText.h"

#include "ir/pattern/ExprParser.h"
#include "ir/pattern/ParseScope.h"

#include "llvm/ADT/StringExtras.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;

namespace heddle::pattern {

namespace {

struct Word {
  const char *text;
  Type (*make)(MLIRContext *);
};

template <int bits> Type integer(MLIRContext *context) { return IntegerType::get(context, bits); }
template <typename Float> Type real(MLIRContext *context) { return Float::get(context); }

constexpr Word kElements[] = {
    {"f64", real<Float64Type>},
    {"f32", real<Float32Type>},
    {"bf16", real<BFloat16Type>},
    {"f16", real<Float16Type>},
    {"f8e4m3", real<Float8E4M3FNType>},
    {"f8e5m2", real<Float8E5M2Type>},
    {"i64", integer<64>},
    {"i32", integer<32>},
    {"i8", integer<8>},
    {"u8", [](MLIRContext *c) -> Type { return IntegerType::get(c, 8, IntegerType::Unsigned); }},
};

} // namespace

Type parseElement(MLIRContext *context, StringRef word) {
  for (const Word &element : kElements)
    if (word == element.text)
      return element.make(context);
  return {};
}

StringRef elementWord(Type element) {
  for (const Word &known : kElements)
    if (element && element == known.make(element.getContext()))
      return known.text;
  return "";
}

ExprAttr ArrayType::dim(size_t index) const { return cast<ExprAttr>(getDims()[index]); }

bool ArrayType::holdsIntegers() const { return getElement() && isa<IntegerType>(getElement()); }

std::string ArrayType::str() const {
  std::string text = getBatched() ? "seq" : "tensor";
  llvm::raw_string_ostream os(text);
  printArray(*this, os, false);
  return text;
}

//===--- parsing ---===//

// A name, a positive integer, or any integer expression in parentheses.
static ParseResult parseDim(AsmParser &parser, ParseScope *scope,
                            SmallVectorImpl<Attribute> &dims) {
  SMLoc loc = parser.getCurrentLocation();
  MLIRContext *context = parser.getContext();
  StringRef text = peekText(parser, 1);
  if (text == "(") {
    ExprOptions options;
    options.scope = scope;
    options.unknownIsDim = true;
    ParsedExpr expr;
    if (parser.parseLParen() || parseExprOf(parser, options, ExprType::Integer, "a dim", expr) ||
        parser.parseRParen())
      return failure();
    ExprAttr folded = simplify(expr.expr);
    if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
      return errorAt(parser, loc) << "a dim is " << folded.integer()
                                  << ", expected a positive number";
    dims.push_back(expr.expr);
    return success();
  }
  if (text == "?")
    return errorAt(parser, loc) << "dims are named: write Tk instead of ?";
  if (!text.empty() && llvm::isDigit(text[0])) {
    StringRef digits = peekText(parser, 20).take_while(llvm::isDigit);
    if (digits.size() > 12)
      return errorAt(parser, loc) << "dim " << digits << " is too large";
    char next = digits.data()[digits.size()];
    if (llvm::isAlpha(next) || next == '_')
      return errorAt(parser, loc) << "write blanks around the x between dims";
    int64_t value = 0;
    if (parser.parseInteger(value))
      return failure();
    if (value <= 0)
      return errorAt(parser, loc) << "a dim is " << value << ", expected a positive number";
    dims.push_back(makeInteger(context, value));
    return success();
  }
  StringRef word;
  if (failed(parser.parseOptionalKeyword(&word)))
    return errorAt(parser, loc) << "expected a dim: a name, a positive integer, or an expression "
                                   "in parentheses";
  std::string name = word.str();
  if (scope && scope->scalars.contains(name)) {
    scope->used.insert(name);
    if (scope->scalars[name].type != ExprType::Integer)
      return errorAt(parser, loc) << "'" << name << "' is not an integer and cannot be a dim";
    dims.push_back(makeParam(context, name));
    return success();
  }
  if (scope && name == "G")
    return errorAt(parser, loc) << "G is reserved for Hq / Hk: choose another name";
  if (scope && !scope->hasDim(name) && name != "B")
    scope->dims.push_back(name);
  dims.push_back(makeDim(context, name));
  return success();
}

// f32 followed by , or > is an element type; anything else starts the dims.
static bool atElement(AsmParser &parser, MLIRContext *context) {
  StringRef word = peekWord(parser);
  const char *after = word.end();
  while (!word.empty() && *after == ' ')
    ++after;
  return parseElement(context, word) && (*after == ',' || *after == '>');
}

static ParseResult parseElementWord(AsmParser &parser, Type &element) {
  StringRef word;
  if (parser.parseKeyword(&word))
    return failure();
  element = parseElement(parser.getContext(), word);
  return success();
}

static ParseResult parseBody(AsmParser &parser, ParseScope *scope, bool batched, ArrayType &out) {
  Type element;
  SmallVector<Attribute> dims;
  MLIRContext *context = parser.getContext();
  if (succeeded(parser.parseOptionalGreater())) {
    out = ArrayType::get(context, batched, element, dims);
    return success();
  }
  bool expectDims = true;
  if (atElement(parser, context)) {
    if (parseElementWord(parser, element))
      return failure();
    expectDims = succeeded(parser.parseOptionalComma());
  }
  SMLoc loc = parser.getCurrentLocation();
  while (expectDims) {
    if (parseDim(parser, scope, dims))
      return failure();
    if (peekText(parser, 1) == ",") {
      std::string word;
      llvm::raw_string_ostream(word) << loc.getPointer()[0];
      return errorAt(parser, loc)
             << "expected an element type before ',': f64, f32, bf16, f16, f8e4m3, f8e5m2, i64, "
                "i32, i8 or u8; dims are joined by x";
    }
    expectDims = takeWord(parser, "x");
    if (!expectDims && peekWord(parser).starts_with("x"))
      return errorAt(parser, parser.getCurrentLocation())
             << "write blanks around the x between dims";
    if (dims.size() > 8)
      return errorAt(parser, loc) << "a tensor has at most 8 dims";
  }
  if (failed(parser.parseOptionalGreater()))
    return errorAt(parser, parser.getCurrentLocation()) << "expected 'x' and a dim, or '>'";
  out = ArrayType::get(context, batched, element, dims);
  return success();
}

ParseResult parseArray(AsmParser &parser, ParseScope *scope, bool batched, ArrayType &out) {
  return failure(parser.parseLess() || parseBody(parser, scope, batched, out));
}

//===--- printing ---===//

static void printDim(ExprAttr dim, raw_ostream &os, bool marked) {
  if (dim.is(ExprKind::Integer) || dim.is(ExprKind::Dim) || (dim.is(ExprKind::Param) && !marked)) {
    os << dim.str();
    return;
  }
  os << "(";
  print(dim, os, marked);
  os << ")";
}

static void printBody(ArrayType type, raw_ostream &os, bool marked) {
  os << elementWord(type.getElement());
  for (size_t n = 0; n < type.rank(); ++n) {
    os << (n ? " x " : type.getElement() ? ", " : "");
    printDim(type.dim(n), os, marked);
  }
  os << ">";
}

void printArray(ArrayType type, raw_ostream &os, bool marked) {
  os << "<";
  printBody(type, os, marked);
}

// !pattern.array<seq, f32, T x H>
void ArrayType::print(AsmPrinter &printer) const {
  printer << "<" << (getBatched() ? "seq" : "tensor") << (rank() || getElement() ? ", " : "");
  printBody(*this, printer.getStream(), true);
}

Type ArrayType::parse(AsmParser &parser) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (parser.parseLess() || parser.parseKeyword(&word))
    return {};
  bool batched = word == "seq";
  if (!batched && word != "tensor") {
    errorAt(parser, loc) << "expected seq or tensor";
    return {};
  }
  if (failed(parser.parseOptionalComma()) && peekText(parser, 1) != ">") {
    errorAt(parser, loc) << "expected ',' or '>'";
    return {};
  }
  ArrayType out;
  if (parseBody(parser, nullptr, batched, out))
    return {};
  return out;
}

} // namespace heddle::pattern
