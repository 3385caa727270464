// pattern.def and its return: signature, scalars, conditions, and the names of everything inside.
//   pattern.def @p(%q: seq<T x H x D>, W = 4096, const c = 50.0, let N = cdiv(T, 64)) where D > 1
//   {..}
#include "ir/pattern/ArrayText.h"
#include "ir/pattern/Check.h"
#include "ir/pattern/OpText.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"
#include "mlir/IR/Builders.h"

#include <cmath>

using namespace mlir;

namespace heddle::pattern {

//===--- accessors ---===//

size_t DefOp::numArguments() { return getBody().getNumArguments(); }
StringRef DefOp::argumentName(size_t index) {
  return index < getArgNames().size() ? stringAt(getArgNames(), index) : StringRef();
}

int64_t DefOp::argumentIndex(StringRef name) {
  for (size_t n = 0; n < getArgNames().size(); ++n)
    if (stringAt(getArgNames(), n) == name)
      return int64_t(n);
  return -1;
}

BlockArgument DefOp::argument(StringRef name) {
  int64_t index = argumentIndex(name);
  return index < 0 ? BlockArgument() : getBody().getArgument(unsigned(index));
}

ArrayType DefOp::argumentType(size_t index) {
  return arrayType(getBody().getArgument(unsigned(index)));
}

ParamAttr DefOp::param(StringRef name) {
  for (auto param : getParams().getAsRange<ParamAttr>())
    if (param.getName().getValue() == name)
      return param;
  return {};
}

LetAttr DefOp::let(StringRef name) {
  for (auto let : getLets().getAsRange<LetAttr>())
    if (let.getName().getValue() == name)
      return let;
  return {};
}

SmallVector<std::string> DefOp::dimNames() {
  SmallVector<std::string> names;
  auto add = [&](StringRef name) {
    if (!llvm::is_contained(names, name))
      names.push_back(name.str());
  };
  for (size_t n = 0; n < numArguments(); ++n)
    if (argumentType(n).getBatched())
      add("B");
  for (size_t n = 0; n < numArguments(); ++n)
    for (size_t d = 0; d < argumentType(n).rank(); ++d)
      if (ExprAttr dim = argumentType(n).dim(d); dim.is(ExprKind::Dim))
        add(dim.getName());
  return names;
}

ReturnOp DefOp::returned() { return cast<ReturnOp>(getBody().front().back()); }

StringRef DefOp::getDefaultDialect() { return "pattern"; }

void DefOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  for (BlockArgument argument : region.getArguments())
    if (StringRef name = argumentName(argument.getArgNumber()); !name.empty())
      setName(argument, name);
}

//===--- parsing ---===//

namespace {

class DefParser {
public:
  DefParser(OpAsmParser &parser, OperationState &state) : parser(parser), state(state) {
    options.scope = &scope;
  }
  ParseResult parse();

private:
  ParseResult parseItem();
  ParseResult parseTensor();
  ParseResult parseLet();
  ParseResult parseScalar();
  ParseResult parseConstant(StringRef name, ExprType &type, Attribute &value);
  ParseResult parseScalarName(std::string &name);
  ParseResult parseConditions();
  ParseResult parseBody();
  ParseResult checkDims();
  void warnUnused();
  InFlightDiagnostic error(SMLoc loc) { return errorAt(parser, loc); }
  void warn(SMLoc loc, const Twine &message) {
    emitWarning(parser.getEncodedSourceLoc(loc)) << message;
  }

  OpAsmParser &parser;
  OperationState &state;
  ParseScope scope;
  ExprOptions options;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<StringRef> argumentNames;
  SmallVector<Attribute> params, conditions;
  SMLoc listLoc;
};

ParseResult DefParser::parseTensor() {
  OpAsmParser::Argument &argument = arguments.emplace_back();
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseOperand(argument.ssaName, /*allowResultNumber=*/false) || parser.parseColon())
    return failure();
  StringRef name = argument.ssaName.name.drop_front();
  if (!llvm::isAlpha(name[0]) || name.find_first_of("$.-") != StringRef::npos ||
      isReductionWord(name))
    return error(loc) << "the tensor '%" << name
                      << "' needs a name of letters, digits and _ that is no reduction, as in %q";
  if (scope.values.contains(name))
    return error(loc) << "the tensor %" << name << " is already defined";
  SMLoc typeLoc = parser.getCurrentLocation();
  StringRef word = peekWord(parser);
  if (word != "seq" && word != "tensor")
    return error(typeLoc) << "expected seq<..> (one per batch element) or tensor<..> as the type "
                          << "of %" << name;
  bool batched = word == "seq";
  ArrayType type;
  if (parser.parseKeyword(&word) || parseArray(parser, &scope, batched, type))
    return failure();
  argument.type = type;
  argumentNames.push_back(name);
  scope.defineValue(name, type, loc);
  return success();
}

ParseResult DefParser::parseScalarName(std::string &name) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (failed(parser.parseOptionalKeyword(&word)))
    return error(loc) << "expected a tensor (%q: seq<..>), a scalar (W = 4096, const c = 1.0) or "
                      << "let N = ..";
  if (isReserved(word))
    return error(loc) << "the name '" << word << "' is reserved: choose another";
  if (word.contains('.') || word.contains('$'))
    return error(loc) << "the name '" << word << "' may have letters, digits and _ only";
  if (scope.scalars.contains(word) || scope.hasDim(word))
    return error(loc) << "the name '" << word << "' is already a dim or a scalar of this pattern";
  name = word.str();
  return success();
}

// A constant expression of earlier numbers only.
ParseResult DefParser::parseConstant(StringRef name, ExprType &type, Attribute &value) {
  ParsedExpr parsed;
  SMLoc loc = parser.getCurrentLocation();
  if (parseExpr(parser, options, parsed))
    return failure();
  if (parsed.type == ExprType::Boolean)
    return error(loc) << "'" << name << "' is a truth value: use 0 or 1";
  ExprAttr folded = simplify(expandLets(parsed.expr));
  if (!folded.is(ExprKind::Integer) && !folded.is(ExprKind::Float))
    return error(loc) << "the value of '" << name << "' is no finite constant: for a value that "
                      << "depends on dims or parameters write let " << name << " = ..";
  type = parsed.type;
  value = folded.getValue();
  if (type == ExprType::Real && folded.is(ExprKind::Integer))
    value = Builder(parser.getContext()).getF64FloatAttr(double(folded.integer()));
  return success();
}

// W = 4096    const c = 50.0    n: int    x: float = 1
ParseResult DefParser::parseScalar() {
  bool constant = takeWord(parser, "const");
  SMLoc loc = parser.getCurrentLocation();
  std::string name;
  if (parseScalarName(name))
    return failure();
  ExprType type = ExprType::Integer;
  Attribute value;
  if (succeeded(parser.parseOptionalColon())) {
    SMLoc typeLoc = parser.getCurrentLocation();
    bool real = takeWord(parser, "float");
    if (!real && !takeWord(parser, "int"))
      return error(typeLoc) << "the type of a scalar is int or float; tensors start with %";
    if (succeeded(parser.parseOptionalEqual())) {
      SMLoc valueLoc = parser.getCurrentLocation();
      if (parseConstant(name, type, value))
        return failure();
      if (!real && type == ExprType::Real)
        return error(valueLoc) << "'" << name << "' is an int, its default is a real number";
      if (real && isa<IntegerAttr>(value))
        value =
            Builder(parser.getContext()).getF64FloatAttr(double(cast<IntegerAttr>(value).getInt()));
    }
    type = real ? ExprType::Real : ExprType::Integer;
  } else if (succeeded(parser.parseOptionalEqual())) {
    if (parseConstant(name, type, value))
      return failure();
  } else {
    return error(parser.getCurrentLocation())
           << "expected '=' and a default, or ': int' or ': float', after '" << name << "'";
  }
  MLIRContext *context = parser.getContext();
  scope.scalars[name] = {type, loc};
  scope.scalarNames.push_back(name);
  params.push_back(ParamAttr::get(context, StringAttr::get(context, name), constant,
                                  type == ExprType::Integer, value));
  return success();
}

ParseResult DefParser::parseLet() {
  std::string name;
  ParsedExpr value;
  if (parser.parseKeyword("let"))
    return failure();
  SMLoc loc = parser.getCurrentLocation();
  if (parseScalarName(name) || parser.parseEqual())
    return failure();
  SMLoc valueLoc = parser.getCurrentLocation();
  if (parseExpr(parser, options, value))
    return failure();
  if (value.type == ExprType::Boolean)
    return error(valueLoc) << "'" << name << "' is a truth value, expected a number";
  if (!tensorsOf(value.expr).empty())
    return error(valueLoc) << "a let of a pattern cannot read a tensor: use map";
  MLIRContext *context = parser.getContext();
  scope.scalars[name] = {value.type, loc};
  scope.scalarNames.push_back(name);
  scope.lets.push_back(LetAttr::get(context, StringAttr::get(context, name), value.expr));
  return success();
}

ParseResult DefParser::parseItem() {
  if (peekText(parser, 1) == "%")
    return parseTensor();
  return peekWord(parser) == "let" ? parseLet() : parseScalar();
}

ParseResult DefParser::parseConditions() {
  if (!takeWord(parser, "where"))
    return success();
  do {
    ParsedExpr condition;
    if (parseExprOf(parser, options, ExprType::Boolean, "a condition", condition))
      return failure();
    conditions.push_back(condition.expr);
  } while (succeeded(parser.parseOptionalComma()));
  return success();
}

// Dims that only expressions name cannot be told from the tensors' shapes.
ParseResult DefParser::checkDims() {
  for (const std::string &dim : scope.dims) {
    if (isReserved(dim))
      return error(listLoc) << "the dim '" << dim << "' has a reserved name: choose another";
    if (scope.scalars.contains(dim))
      return error(scope.scalars[dim].loc)
             << "the name '" << dim << "' is both a scalar and a dim: rename one of them";
  }
  for (const auto &entry : scope.inexactDims)
    if (!scope.isExtent(entry.first()))
      return error(entry.second) << "the dim '" << entry.first()
                                 << "' stands only inside expressions: a tensor must have it as a "
                                    "dim of its own";
  return success();
}

void DefParser::warnUnused() {
  for (const std::string &name : scope.scalarNames)
    if (!scope.used.contains(name))
      warn(scope.scalars[name].loc, "the scalar '" + name + "' is never used");
  for (StringRef name : argumentNames)
    if (!scope.used.contains(name))
      warn(scope.values[name].loc, "the tensor %" + name + " is never used");
}

ParseResult DefParser::parseBody() {
  auto *dialect = parser.getContext()->getOrLoadDialect<PatternDialect>();
  ParseScope *outer = dialect->scope;
  llvm::scope_exit restore([&] { dialect->scope = outer; });
  dialect->scope = &scope;
  Region *body = state.addRegion();
  SMLoc loc = parser.getCurrentLocation();
  if (outer)
    return error(loc) << "patterns do not nest";
  if (parser.parseRegion(*body, arguments))
    return failure();
  if (body->empty() || body->front().empty() || !isa<ReturnOp>(body->front().back()))
    return error(loc) << "the pattern does not end with return: write return %o";
  return success();
}

ParseResult DefParser::parse() {
  StringAttr name;
  MLIRContext *context = parser.getContext();
  SMLoc nameLoc = parser.getCurrentLocation();
  if (failed(parser.parseOptionalSymbolName(name)))
    return error(nameLoc) << "expected the pattern's name, as in @causal_softmax";
  state.addAttribute(SymbolTable::getSymbolAttrName(), name);
  listLoc = parser.getCurrentLocation();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, [&] { return parseItem(); }) ||
      checkDims() || parseConditions() || parseBody())
    return failure();
  warnUnused();
  state.addAttribute("argNames", Builder(context).getStrArrayAttr(argumentNames));
  state.addAttribute("params", ArrayAttr::get(context, params));
  state.addAttribute("lets", ArrayAttr::get(context, SmallVector<Attribute>(scope.lets.begin(),
                                                                            scope.lets.end())));
  state.addAttribute("conditions", ArrayAttr::get(context, conditions));
  return success();
}

} // namespace

ParseResult DefOp::parse(OpAsmParser &parser, OperationState &state) {
  return DefParser(parser, state).parse();
}

//===--- printing ---===//

static void printScalar(OpAsmPrinter &printer, ParamAttr param) {
  printer << (param.getConstant() ? "const " : "") << param.getName().getValue();
  if (param.required())
    printer << ": " << (param.getInteger() ? "int" : "float");
  else if (param.getInteger())
    printer << " = " << cast<IntegerAttr>(param.getInitial()).getInt();
  else
    printer << " = " << floatText(param.number());
}

void DefOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getSymName());
  printer << "(";
  const char *separator = "";
  for (BlockArgument argument : getBody().getArguments()) {
    printer << separator << argument << ": " << arrayType(argument).str();
    separator = ", ";
  }
  for (auto param : getParams().getAsRange<ParamAttr>()) {
    printer << separator;
    printScalar(printer, param);
    separator = ", ";
  }
  for (auto let : getLets().getAsRange<LetAttr>()) {
    printer << separator << "let " << let.getName().getValue() << " = " << let.getExpr().str();
    separator = ", ";
  }
  printer << ") ";
  separator = "where ";
  for (auto condition : getConditions().getAsRange<ExprAttr>()) {
    printer << separator << condition.str();
    separator = ", ";
  }
  printer << (getConditions().empty() ? "" : " ");
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false, /*printBlockTerminators=*/true);
}

//===--- verifying ---===//

static LogicalResult checkScalars(DefOp def) {
  llvm::StringMap<bool> seen;
  for (const std::string &dim : def.dimNames())
    seen[dim] = true;
  TypeScope scope = scopeOfOp(def, {}, ArrayAttr::get(def.getContext(), {}), {});
  for (auto param : def.getParams().getAsRange<ParamAttr>()) {
    StringRef name = param.getName().getValue();
    if (isReserved(name) || !seen.try_emplace(name, true).second)
      return def.emitError() << "the scalar '" << name << "' has a reserved or repeated name";
    if (Attribute value = param.getInitial()) {
      bool fits = param.getInteger() ? isa<IntegerAttr>(value) : isa<FloatAttr>(value);
      if (!fits)
        return def.emitError() << "the default of '" << name << "' is not of its type";
      if (!std::isfinite(param.number()))
        return def.emitError() << "the default of '" << name << "' is not finite";
    }
  }
  for (auto let : def.getLets().getAsRange<LetAttr>()) {
    StringRef name = let.getName().getValue();
    if (isReserved(name) || !seen.try_emplace(name, true).second)
      return def.emitError() << "the let '" << name << "' has a reserved or repeated name";
    TypeResult type = typeOf(let.getExpr(), scope);
    if (!type.type || *type.type == ExprType::Boolean)
      return def.emitError() << "let " << name << ": "
                             << (type.type ? "a truth value" : type.mistake);
  }
  for (auto condition : def.getConditions().getAsRange<ExprAttr>())
    if (failed(checkExpr(def, scope, condition, ExprType::Boolean, "a condition")))
      return failure();
  return success();
}

// Names of values are distinct; the body ends with return.
static LogicalResult checkBody(DefOp def) {
  llvm::StringMap<bool> seen;
  for (size_t n = 0; n < def.numArguments(); ++n)
    if (!seen.try_emplace(def.argumentName(n), true).second)
      return def.emitError() << "two tensors are named %" << def.argumentName(n);
  for (Operation &op : def.getBody().front()) {
    if (op.getName().getDialectNamespace() != "pattern" || isa<DefOp>(op))
      return op.emitError() << "'" << op.getName().getStringRef()
                            << "' is no op of a pattern: expected mix, select, merge, map, return";
    for (Value result : op.getResults())
      if (StringRef name = valueName(result); !seen.try_emplace(name, true).second)
        return op.emitError() << "two values are named %" << name;
  }
  if (!isa<ReturnOp>(def.getBody().front().back()))
    return def.emitError() << "the pattern does not end with return";
  return success();
}

LogicalResult DefOp::verify() {
  if (getBody().empty() || getBody().front().empty())
    return emitError() << "the pattern is empty: it must end with return";
  for (BlockArgument argument : getBody().getArguments())
    if (!isa<ArrayType>(argument.getType()))
      return emitError() << "arguments of a pattern are seq<..> or tensor<..>, found "
                         << argument.getType();
  if (getArgNames().size() != numArguments())
    return emitError() << getArgNames().size() << " names for " << numArguments() << " arguments";
  return failure(failed(checkScalars(*this)) || failed(checkBody(*this)));
}

//===--- return ---===//

ParseResult ReturnOp::parse(OpAsmParser &parser, OperationState &state) {
  OpReader reader(parser, state);
  if (reader.begin("return", 0, 0))
    return failure();
  SmallVector<Value> values;
  do {
    SMLoc loc = parser.getCurrentLocation();
    ArrayType type;
    if (reader.operand(values, type))
      return failure();
    if (isa<BlockArgument>(values.back()))
      return errorAt(parser, loc) << "%" << reader.last
                                  << " is an argument: a pattern returns what it computes";
    if (llvm::is_contained(ArrayRef(values).drop_back(), values.back()))
      return errorAt(parser, loc) << "%" << reader.last << " is returned twice";
  } while (succeeded(parser.parseOptionalComma()));
  state.addOperands(values);
  return success();
}

void ReturnOp::print(OpAsmPrinter &printer) { printer << " " << getResults(); }

LogicalResult ReturnOp::verify() {
  if (getResults().empty())
    return emitError() << "return names no value: a pattern has at least one result";
  llvm::SmallPtrSet<Value, 8> seen;
  for (Value value : getResults())
    if (isa<BlockArgument>(value) || !seen.insert(value).second)
      return emitError() << "return takes each computed value once, %" << valueName(value)
                         << " is an argument or repeated";
  return success();
}

} // namespace heddle::pattern
