// Parsing and printing that all ops of a pattern share: operands with types from the scope,
// expressions and the tensors they read, names of results.
//   %y = map (t) in (T) { q[t, 0, 0] }    reads gets %q, readNames gets "q", names gets "y"
#include "ir/pattern/OpText.h"

#include "ir/pattern/ArrayText.h"

#include "llvm/ADT/StringExtras.h"
#include "mlir/IR/Builders.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace mlir;

namespace heddle::pattern {

bool isReductionWord(StringRef name) {
  static constexpr StringRef kWords[] = {"sum", "prod", "max",    "min",
                                         "any", "all",  "argmax", "argmin"};
  return llvm::is_contained(kWords, name);
}

bool isReserved(StringRef name) {
  static constexpr StringRef kWords[] = {
      "i",   "j",     "row",   "b",     "h",     "hk",   "s",     "pi",    "inf",
      "nan", "B",     "G",     "and",   "or",    "not",  "in",    "div",   "mod",
      "let", "const", "where", "len_q", "len_k", "true", "false", "param", "dim"};
  return llvm::is_contained(kWords, name) || isReductionWord(name) || findFunction(name);
}

StringRef stringAt(ArrayAttr array, size_t index) {
  return cast<StringAttr>(array[index]).getValue();
}

Value valueNamed(ValueRange values, ArrayAttr names, StringRef name) {
  for (size_t n = 0; n < names.size() && n < values.size(); ++n)
    if (stringAt(names, n) == name)
      return values[n];
  return {};
}

//===--- reading ---===//

ParseResult OpReader::begin(StringRef op, size_t least, size_t most) {
  start = parser.getNameLoc();
  if (!scope)
    return error(start) << op << " stands outside pattern.def";
  size_t count = parser.getNumResults();
  std::string wanted = least == most ? std::to_string(least) : fmt::format("{} to {}", least, most);
  if (count < least || count > most)
    return error(start) << op << " gives " << wanted << " result" << (most == 1 ? "" : "s") << ", "
                        << count << (count == 1 ? " is" : " are") << " named before '='";
  for (size_t n = 0; n < count; ++n) {
    auto [name, number] = parser.getResultName(n);
    if (number != 0)
      return error(start) << "results are named one by one: write %a, %b = " << op;
    if (name.empty() || !(llvm::isAlpha(name[0]) || name[0] == '_') ||
        name.find_first_of("$.-") != StringRef::npos)
      return error(start) << "the result '%" << name
                          << "' needs a name of letters, digits and _, as in %o";
    if (isReductionWord(name))
      return error(start) << "'" << name << "' is a reduction and cannot name a value";
    if (scope->values.contains(name) || llvm::is_contained(names, name))
      return error(start) << "the value %" << name << " is already defined";
    names.push_back(name.str());
  }
  return success();
}

ParseResult OpReader::operand(SmallVectorImpl<Value> &values, ArrayType &type) {
  SMLoc loc = parser.getCurrentLocation();
  OpAsmParser::UnresolvedOperand operand;
  if (peekText(parser, 1) != "%")
    return error(loc) << "expected a value such as %q";
  if (parser.parseOperand(operand, /*allowResultNumber=*/false))
    return failure();
  StringRef name = operand.name.drop_front();
  auto found = scope->values.find(name);
  if (found == scope->values.end())
    return error(loc) << "unknown value %" << name << suggest(name, scope->valueNames);
  scope->used.insert(name);
  last = name.str();
  type = found->second.type;
  return parser.resolveOperand(operand, type, values);
}

ParseResult OpReader::expr(const std::vector<ContextName> &contextNames, ExprType type,
                           const Twine &what, ExprAttr &out) {
  ExprOptions options;
  options.scope = scope;
  options.names = contextNames;
  options.start = start;
  for (const ContextName &name : contextNames)
    if (scope->scalars.contains(name.name) || scope->hasDim(name.name))
      return error(parser.getCurrentLocation())
             << "'" << name.name << "' has a meaning of its own in " << what
             << ": rename the scalar or dim of that name";
  options.inTree = inTree;
  ParsedExpr parsed;
  SMLoc loc = parser.getCurrentLocation();
  if (parseExprOf(parser, options, type, what, parsed))
    return failure();
  out = parsed.expr;
  lastType = parsed.type;
  for (const std::string &name : tensorsOf(out))
    readNames.try_emplace(name, loc);
  return success();
}

ParseResult OpReader::block(const std::vector<ContextName> &contextNames, ExprType type,
                            const Twine &what, ExprAttr &out) {
  SMLoc loc = parser.getCurrentLocation();
  if (peekText(parser, 1) != "{")
    return error(loc) << "expected '{' and " << what;
  if (parser.parseLBrace() || expr(contextNames, type, what, out))
    return failure();
  loc = parser.getCurrentLocation();
  if (peekText(parser, 1) != "}")
    return error(loc) << "expected '}' or an operator after " << what << commentHint(start, loc);
  return parser.parseRBrace();
}

ParseResult OpReader::bracketed(const Twine &what, ExprAttr &out) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef open = peekText(parser, 1);
  if (open == "{") {
    if (block({}, ExprType::Integer, what, out))
      return failure();
  } else if (open != "(") {
    return error(loc) << "expected '(' and " << what;
  } else if (parser.parseLParen() || expr({}, ExprType::Integer, what, out) ||
             parser.parseRParen()) {
    return failure();
  }
  ExprAttr folded = simplify(out);
  if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
    return error(loc) << what << " is " << folded.integer() << ", expected a positive integer";
  return success();
}

ParseResult OpReader::headedBlock(const std::vector<ContextName> &contextNames, ExprType type,
                                  const Twine &what, ExprAttr &out) {
  auto parseHeaderName = [&]() -> ParseResult {
    SMLoc loc = parser.getCurrentLocation();
    StringRef name;
    if (failed(parser.parseOptionalKeyword(&name)))
      return error(loc) << "expected a name";
    std::vector<std::string> known;
    for (const ContextName &context : contextNames)
      known.push_back(context.name);
    if (llvm::is_contained(known, name))
      return success();
    return error(loc) << "'" << name << "' is no name of " << what
                      << ": the names are fixed, expected any of "
                      << fmt::format("{}", fmt::join(known, ", "));
  };
  if (peekText(parser, 1) == "(" &&
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseHeaderName))
    return failure();
  return block(contextNames, type, what, out);
}

ParseResult OpReader::ranges(SmallVectorImpl<std::string> &vars,
                             SmallVectorImpl<ExprAttr> &extents) {
  auto parseVar = [&]() -> ParseResult {
    SMLoc loc = parser.getCurrentLocation();
    StringRef name;
    if (failed(parser.parseOptionalKeyword(&name)))
      return error(loc) << "expected the name of an index";
    if (name == "b")
      return error(loc) << "b is the batch index and implicit: leave it out";
    if (scope->scalars.contains(name) || scope->isExtent(name) || llvm::is_contained(vars, name))
      return error(loc) << "the index name '" << name << "' already means something here";
    vars.push_back(name.str());
    return success();
  };
  auto parseExtent = [&]() -> ParseResult {
    SMLoc loc = parser.getCurrentLocation();
    if (expr({}, ExprType::Integer, "an extent", extents.emplace_back()))
      return failure();
    ExprAttr folded = simplify(extents.back());
    if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
      return error(loc) << "an extent is " << folded.integer() << ", expected a positive integer";
    return success();
  };
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseVar))
    return failure();
  if (failed(parser.parseOptionalKeyword("in")))
    return error(parser.getCurrentLocation()) << "expected 'in' and the extents, as in (t, h) in "
                                                 "(T, H)";
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseExtent))
    return failure();
  if (vars.size() != extents.size())
    return error(loc) << vars.size() << " index names for " << extents.size() << " extents";
  if (vars.size() > 8)
    return error(loc) << "a tensor has at most 8 dims, found " << vars.size();
  for (ExprAttr extent : extents)
    if (!tensorsOf(extent).empty())
      return error(loc) << "an extent cannot read a tensor";
  return success();
}

ParseResult OpReader::word(StringRef what, ArrayRef<StringRef> words, size_t &index) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef found = peekWord(parser);
  for (index = 0; index < words.size(); ++index)
    if (found == words[index])
      return parser.parseKeyword(words[index]);
  std::vector<std::string> list(words.begin(), words.end());
  auto diagnostic = error(loc);
  if (found.empty())
    return diagnostic << "expected " << what << ": " << fmt::format("{}", fmt::join(list, ", "));
  return diagnostic << "unknown " << what << " '" << found
                    << "', expected one of: " << fmt::format("{}", fmt::join(list, ", "));
}

ParseResult OpReader::finishReads(SmallVectorImpl<Value> &values,
                                  SmallVectorImpl<std::string> &out) {
  for (const auto &[name, loc] : readNames) {
    // The operand's name must outlive the call that parses the op: take it from the scope's table.
    StringRef stored = scope->spelling(name);
    OpAsmParser::UnresolvedOperand operand{loc, stored, 0};
    if (parser.resolveOperand(operand, scope->values[name].type, values))
      return failure();
    out.push_back(name);
  }
  return success();
}

void OpReader::define(ArrayRef<ArrayType> types) {
  setStrings("names", names);
  for (auto [name, type] : llvm::zip(names, types)) {
    state.addTypes(type);
    scope->defineValue(name, type, start);
  }
}

void OpReader::setStrings(StringRef attribute, ArrayRef<std::string> strings) {
  SmallVector<StringRef> list(strings.begin(), strings.end());
  state.addAttribute(attribute, Builder(context).getStrArrayAttr(list));
}

void OpReader::setExprs(StringRef attribute, ArrayRef<ExprAttr> exprs) {
  SmallVector<Attribute> list(exprs.begin(), exprs.end());
  state.addAttribute(attribute, ArrayAttr::get(context, list));
}

void OpReader::setSegments(ArrayRef<int32_t> sizes) {
  state.addAttribute("operandSegmentSizes", DenseI32ArrayAttr::get(context, sizes));
}

bool usesBatch(ExprAttr expr, llvm::function_ref<ArrayType(StringRef)> typeOfTensor) {
  std::vector<std::string> vars = freeVars(expr);
  if (llvm::is_contained(vars, "b"))
    return true;
  bool found = false;
  walk(expr, [&](ExprAttr node) {
    // The row of a Member lacks one index.
    ExprAttr read = node.is(ExprKind::Member) ? node[1] : node;
    if (read.is(ExprKind::Read)) {
      ArrayType type = typeOfTensor(read.getName());
      size_t given = read.size() + (node.is(ExprKind::Member) ? 1 : 0);
      found |= type && type.getBatched() && given == type.rank();
    }
    if (!node.is(ExprKind::Member))
      return true;
    found |= usesBatch(node[0], typeOfTensor);
    for (ExprAttr index : read.children())
      found |= usesBatch(index, typeOfTensor);
    return false;
  });
  return found;
}

//===--- writing ---===//

OpWriter::OpWriter(OpAsmPrinter &printer, ValueRange reads, ArrayAttr readNames)
    : printer(printer) {
  for (size_t n = 0; n < reads.size(); ++n)
    if (StringRef now = valueName(reads[n]); !now.empty() && now != stringAt(readNames, n))
      renamed[stringAt(readNames, n)] = now.str();
}

void OpWriter::expr(ExprAttr expr) {
  print(renamed.empty() ? expr : renameTensors(expr, renamed), printer.getStream());
}

void OpWriter::block(ExprAttr body) {
  printer << "{ ";
  expr(body);
  printer << " }";
}

void OpWriter::ranges(ArrayAttr vars, ArrayAttr extents) {
  printer << "(";
  for (size_t n = 0; n < vars.size(); ++n)
    printer << (n ? ", " : "") << stringAt(vars, n);
  printer << ") in (";
  for (size_t n = 0; n < extents.size(); ++n) {
    printer << (n ? ", " : "");
    expr(cast<ExprAttr>(extents[n]));
  }
  printer << ")";
}

void OpWriter::values(ValueRange list) { printer << list; }

} // namespace heddle::pattern
