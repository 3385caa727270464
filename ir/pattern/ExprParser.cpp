// Text to expression, by precedence climbing over MLIR's tokens, with types checked on the way so
// that every mistake points at its own column.
//   j <= i and i - j < W   ->   And(Le(j, i), Lt(Sub(i, j), W))
// MLIR's lexer has no tokens for <= == <> and no optional float; the parser looks at the characters
// of the next token to tell them apart.
#include "ir/pattern/ExprParser.h"

#include "ir/pattern/ParseScope.h"

#include "llvm/ADT/StringExtras.h"

#include <fmt/format.h>

#include <cmath>

using namespace mlir;

namespace heddle::pattern {

//===--- characters ahead ---===//

StringRef peekText(AsmParser &parser, size_t count) {
  const char *text = parser.getCurrentLocation().getPointer();
  size_t length = 0;
  while (length < count && text[length])
    ++length;
  return StringRef(text, length);
}

InFlightDiagnostic errorAt(AsmParser &parser, SMLoc loc) {
  return emitError(parser.getEncodedSourceLoc(loc));
}

StringRef commentHint(SMLoc start, SMLoc loc) {
  if (!start.isValid() || loc.getPointer() < start.getPointer())
    return "";
  StringRef between(start.getPointer(), size_t(loc.getPointer() - start.getPointer()));
  return between.contains("//") ? " (// starts a comment: floor division is div)" : "";
}

static bool isWordStart(char c) { return llvm::isAlpha(c) || c == '_'; }
static bool isWordPart(char c) { return llvm::isAlnum(c) || c == '_' || c == '$' || c == '.'; }

StringRef peekWord(AsmParser &parser) {
  const char *text = parser.getCurrentLocation().getPointer();
  if (!isWordStart(*text))
    return {};
  size_t length = 1;
  while (isWordPart(text[length]))
    ++length;
  return StringRef(text, length);
}

bool takeWord(AsmParser &parser, StringRef word) {
  return peekWord(parser) == word && succeeded(parser.parseOptionalKeyword(word));
}

// The first character after the next word and blanks.
static char charAfterWord(AsmParser &parser) {
  const char *text = peekWord(parser).end();
  while (*text == ' ' || *text == '\t' || *text == '\n')
    ++text;
  return *text;
}

namespace {

struct Operator {
  ExprKind kind;
  int level;
  const char *text;
};

enum { kOrLevel = 1, kAndLevel, kNotLevel, kCompareLevel, kAddLevel, kMulLevel };

// Longer texts first.
constexpr Operator kSymbols[] = {
    {ExprKind::Le, kCompareLevel, "<="}, {ExprKind::Ne, kCompareLevel, "<>"},
    {ExprKind::Ge, kCompareLevel, ">="}, {ExprKind::Eq, kCompareLevel, "=="},
    {ExprKind::Lt, kCompareLevel, "<"},  {ExprKind::Gt, kCompareLevel, ">"},
    {ExprKind::Add, kAddLevel, "+"},     {ExprKind::Sub, kAddLevel, "-"},
    {ExprKind::Mul, kMulLevel, "*"},     {ExprKind::Div, kMulLevel, "/"},
};
constexpr Operator kWords[] = {
    {ExprKind::Or, kOrLevel, "or"},          {ExprKind::And, kAndLevel, "and"},
    {ExprKind::Member, kCompareLevel, "in"}, {ExprKind::FloorDiv, kMulLevel, "div"},
    {ExprKind::Mod, kMulLevel, "mod"},
};
// In the text of an attribute only.
constexpr Operator kMarkedWords[] = {
    {ExprKind::Lt, kCompareLevel, "lt"}, {ExprKind::Le, kCompareLevel, "le"},
    {ExprKind::Gt, kCompareLevel, "gt"}, {ExprKind::Ge, kCompareLevel, "ge"},
    {ExprKind::Eq, kCompareLevel, "eq"}, {ExprKind::Ne, kCompareLevel, "ne"},
};
constexpr const char *kReductions[] = {"sum", "prod", "max",    "min",
                                       "any", "all",  "argmax", "argmin"};

class ExprParser {
public:
  ExprParser(AsmParser &parser, const ExprOptions &options)
      : parser(parser), options(options), context(parser.getContext()) {
    fillScope();
  }

  ParseResult parseTop(ParsedExpr &out);

private:
  void fillScope();
  std::vector<std::string> knownNames() const;
  InFlightDiagnostic error(SMLoc loc) { return errorAt(parser, loc); }
  InFlightDiagnostic expectedAfter(const char *closing) {
    SMLoc loc = parser.getCurrentLocation();
    return error(loc) << "expected " << closing << " or an operator"
                      << commentHint(options.start, loc);
  }
  ParseResult enter(SMLoc loc);

  ParseResult parseLet(ParsedExpr &out);
  ParseResult parseLevel(int level, ParsedExpr &out);
  const Operator *peekOperator();
  ParseResult takeOperator(const Operator &op);
  ParseResult parseUnary(ParsedExpr &out);
  ParseResult parsePrimary(ParsedExpr &out);
  ParseResult parseNumber(ParsedExpr &out);
  ParseResult parseName(ParsedExpr &out);
  ParseResult parseMarked(StringRef word, ParsedExpr &out);
  ParseResult parseCall(StringRef name, SMLoc loc, ParsedExpr &out);
  ParseResult parseIndices(StringRef name, SMLoc loc, SmallVectorImpl<ParsedExpr> &indices);
  ParseResult parseRow(ParsedExpr &value, ParsedExpr &out);
  ParseResult parseReduction(ExprKind kind, SMLoc loc, ParsedExpr &out);
  ParseResult parseRange(StringRef word, std::string &name, ParsedExpr &lo, ParsedExpr &hi);
  ParseResult parseNewName(StringRef what, std::string &name);
  ParseResult finish(ExprAttr expr, ArrayRef<ParsedExpr> children, SMLoc loc, ParsedExpr &out);
  bool isKnown(StringRef name) const { return scope.names.contains(name); }

  AsmParser &parser;
  const ExprOptions &options;
  MLIRContext *context;
  TypeScope scope;
  std::vector<std::string> bound; ///< names of reductions and lets around
  int64_t nesting = 0;
};

void ExprParser::fillScope() {
  for (const ContextName &name : options.names)
    scope.names[name.name] = name.type;
  ParseScope *pattern = options.scope;
  if (!pattern)
    return;
  for (const std::string &name : pattern->scalarNames)
    scope.names[name] = pattern->scalars[name].type;
  for (const std::string &name : pattern->dims)
    scope.names[name] = ExprType::Integer;
  for (const char *name : {"B", "G"})
    if (pattern->isExtent(name))
      scope.names[name] = ExprType::Integer;
  for (const std::string &name : pattern->valueNames) {
    ArrayType type = pattern->values[name].type;
    scope.tensors[name] = {int64_t(type.rank()), type.getBatched(), type.holdsIntegers()};
  }
}

std::vector<std::string> ExprParser::knownNames() const {
  std::vector<std::string> names;
  for (const ContextName &name : options.names)
    names.push_back(name.name);
  names.insert(names.end(), bound.begin(), bound.end());
  if (options.scope) {
    llvm::append_range(names, options.scope->scalarNames);
    llvm::append_range(names, options.scope->dims);
  }
  return names;
}

ParseResult ExprParser::enter(SMLoc loc) {
  if (nesting > kMaxDepth)
    return error(loc) << "expression is nested deeper than " << kMaxDepth
                      << " levels: name its parts with let or map";
  return success();
}

// Checks the node's type against its children's and hands it out.
ParseResult ExprParser::finish(ExprAttr expr, ArrayRef<ParsedExpr> children, SMLoc loc,
                               ParsedExpr &out) {
  SmallVector<ExprType> types;
  int64_t depth = 0;
  for (const ParsedExpr &child : children) {
    types.push_back(child.type);
    depth = std::max(depth, child.depth);
  }
  TypeResult result{ExprType::Integer, ""};
  if (options.scope)
    result = typeOfNode(expr, types, scope);
  if (!result.type)
    return error(loc) << result.mistake;
  out = {expr, *result.type, loc, depth + 1};
  if (out.depth > kMaxDepth)
    return error(loc) << "expression is nested deeper than " << kMaxDepth
                      << " levels: name its parts with let or map";
  return success();
}

ParseResult ExprParser::parseTop(ParsedExpr &out) {
  ++nesting;
  ParseResult result = failure();
  if (succeeded(enter(parser.getCurrentLocation())))
    result = peekWord(parser) == "let" ? parseLet(out) : parseLevel(kOrLevel, out);
  --nesting;
  return result;
}

ParseResult ExprParser::parseNewName(StringRef what, std::string &name) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (failed(parser.parseOptionalKeyword(&word)))
    return error(loc) << "expected a name for " << what;
  if (isKnown(word))
    return error(loc) << "the name '" << word << "' of " << what
                      << " already means something here: choose another";
  name = word.str();
  return success();
}

// let x = e1, y = e2 : body
ParseResult ExprParser::parseLet(ParsedExpr &out) {
  struct Binding {
    std::string name;
    ParsedExpr value;
  };
  SmallVector<Binding> bindings;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword("let"))
    return failure();
  ParseResult result = success();
  do {
    Binding &binding = bindings.emplace_back();
    result = failure(parseNewName("let", binding.name) || parser.parseEqual() ||
                     parseLevel(kOrLevel, binding.value));
    if (succeeded(result)) {
      scope.names[binding.name] = binding.value.type;
      bound.push_back(binding.name);
    }
    if (bindings.size() > size_t(kMaxDepth))
      result = error(loc) << "more than " << kMaxDepth << " names in one let";
  } while (succeeded(result) && succeeded(parser.parseOptionalComma()));
  ParsedExpr body;
  if (succeeded(result))
    result = failure(parser.parseColon() || parseTop(body));
  for (Binding &binding : llvm::reverse(bindings)) {
    if (succeeded(result))
      result = finish(makeLet(binding.name, binding.value.expr, body.expr), {binding.value, body},
                      loc, body);
    scope.names.erase(binding.name);
    if (!bound.empty() && bound.back() == binding.name)
      bound.pop_back();
  }
  out = body;
  return result;
}

const Operator *ExprParser::peekOperator() {
  StringRef word = peekWord(parser);
  for (const Operator &op : kWords)
    if (word == op.text)
      return &op;
  if (!options.scope)
    for (const Operator &op : kMarkedWords)
      if (word == op.text)
        return &op;
  StringRef text = peekText(parser, 2);
  for (const Operator &op : kSymbols)
    if (text.starts_with(op.text))
      return text == "->" ? nullptr : &op;
  return nullptr;
}

ParseResult ExprParser::takeOperator(const Operator &op) {
  StringRef text = op.text;
  if (isWordStart(text[0]))
    return parser.parseKeyword(text);
  for (char c : text) {
    ParseResult taken = c == '<'   ? parser.parseOptionalLess()
                        : c == '>' ? parser.parseOptionalGreater()
                        : c == '=' ? parser.parseOptionalEqual()
                        : c == '+' ? parser.parseOptionalPlus()
                        : c == '-' ? parser.parseOptionalMinus()
                        : c == '*' ? parser.parseOptionalStar()
                                   : parser.parseOptionalSlash();
    if (failed(taken))
      return error(parser.getCurrentLocation()) << "expected '" << text << "'";
  }
  return success();
}

ParseResult ExprParser::parseLevel(int level, ParsedExpr &out) {
  if (parseUnary(out))
    return failure();
  while (const Operator *op = peekOperator()) {
    if (op->level < level)
      break;
    SMLoc loc = parser.getCurrentLocation();
    if (takeOperator(*op))
      return failure();
    ParsedExpr left = out, right;
    if (op->kind == ExprKind::Member) {
      if (parseRow(left, out))
        return failure();
      continue;
    }
    if (parseLevel(op->level + 1, right) ||
        finish(makeBinary(op->kind, left.expr, right.expr), {left, right}, loc, out))
      return failure();
    out.loc = left.loc;
  }
  return success();
}

ParseResult ExprParser::parseUnary(ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  bool negates = peekText(parser, 1) == "-" && peekText(parser, 2) != "->";
  if (!negates && peekWord(parser) != "not")
    return parsePrimary(out);
  ParsedExpr operand;
  ++nesting;
  ParseResult result = enter(loc);
  if (succeeded(result) && negates)
    result = failure(parser.parseOptionalMinus() || parseUnary(operand));
  else if (succeeded(result))
    result = failure(parser.parseKeyword("not") || parseLevel(kCompareLevel, operand));
  --nesting;
  if (failed(result))
    return failure();
  // A folded negative constant has no child.
  ExprAttr expr = makeUnary(negates ? ExprKind::Neg : ExprKind::Not, operand.expr);
  return expr.size() ? finish(expr, {operand}, loc, out) : finish(expr, {}, loc, out);
}

ParseResult ExprParser::parsePrimary(ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef text = peekText(parser, 1);
  if (text == "(") {
    if (parser.parseLParen() || parseTop(out))
      return failure();
    if (failed(parser.parseOptionalRParen()))
      return expectedAfter("')'");
    return success();
  }
  if (!text.empty() && llvm::isDigit(text[0]))
    return parseNumber(out);
  if (!peekWord(parser).empty())
    return parseName(out);
  if (text == "%")
    return error(loc) << "expected an expression: tensors are read without %, as in k[j, h, d]";
  return error(loc) << "expected an expression: a number, a name, a call, a read such as "
                       "k[j, h, d], or '('"
                    << commentHint(options.start, loc);
}

ParseResult ExprParser::parseNumber(ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  const char *text = loc.getPointer();
  size_t digits = 0;
  while (llvm::isDigit(text[digits]))
    ++digits;
  if (text[digits] == '.') {
    double value = 0;
    if (parser.parseFloat(value))
      return failure();
    if (!std::isfinite(value))
      return error(loc) << "number is out of range: the largest is 1.7e+308";
    return finish(makeFloat(context, value), {}, loc, out);
  }
  if (text[digits] == 'e' || text[digits] == 'E')
    return error(loc) << "a real number needs a dot: write " << StringRef(text, digits) << ".0"
                      << StringRef(text + digits, 1) << "..";
  if (isWordStart(text[digits]))
    return error(loc) << "expected an operator between '" << StringRef(text, digits) << "' and '"
                      << StringRef(text + digits, 1) << "'";
  if (digits > 18)
    return error(loc) << "integer has " << digits << " digits, at most 18 are possible";
  int64_t value = 0;
  if (parser.parseInteger(value))
    return failure();
  return finish(makeInteger(context, value), {}, loc, out);
}

// param(W), dim(D): names in the text of an attribute, where no scope tells what they are.
ParseResult ExprParser::parseMarked(StringRef word, ParsedExpr &out) {
  StringRef name;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLParen() || parser.parseKeyword(&name) || parser.parseRParen())
    return failure();
  return finish(word == "param" ? makeParam(context, name) : makeDim(context, name), {}, loc, out);
}

ParseResult ExprParser::parseName(ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  char next = charAfterWord(parser);
  StringRef word;
  if (parser.parseKeyword(&word))
    return failure();
  std::string name = word.str(); // the token's text lives in the buffer, but be plain about it
  if (name == "true" || name == "false")
    return finish(makeBool(context, name == "true"), {}, loc, out);
  for (size_t n = 0; next == '[' && n < std::size(kReductions); ++n)
    if (name == kReductions[n])
      return parseReduction(ExprKind(int(ExprKind::Sum) + int(n)), loc, out);
  if (next == '(')
    return !options.scope && (name == "param" || name == "dim") ? parseMarked(name, out)
                                                                : parseCall(name, loc, out);
  if (next == '[') {
    SmallVector<ParsedExpr> indices;
    SmallVector<ExprAttr> trees;
    if (parseIndices(name, loc, indices))
      return failure();
    for (ParsedExpr &index : indices)
      trees.push_back(index.expr);
    return finish(makeRead(context, name, trees), indices, loc, out);
  }
  if (!options.scope)
    return finish(makeVar(context, name), {}, loc, out);
  if (name == "pi" && !isKnown(name))
    return finish(makeFloat(context, M_PI), {}, loc, out);
  bool scalar = options.scope->scalars.contains(name);
  bool variable = llvm::is_contained(bound, name) ||
                  llvm::any_of(options.names, [&](const ContextName &n) { return n.name == name; });
  if (variable)
    return finish(makeVar(context, name), {}, loc, out);
  options.scope->used.insert(name);
  if (scalar)
    return finish(makeParam(context, name), {}, loc, out);
  if (options.unknownIsDim && !isKnown(name)) {
    options.scope->inexactDims.try_emplace(name, loc);
    scope.names[name] = ExprType::Integer;
  }
  if (isKnown(name))
    return finish(makeDim(context, name), {}, loc, out);
  if (name == "inf" || name == "nan")
    return error(loc) << "'" << name << "' is no constant of the language: leave pairs out with "
                      << "support, or clamp";
  if (options.scope->values.contains(name))
    return error(loc) << "'" << name << "' is a tensor: read an element, as in " << name << "[..]";
  if (name == "G")
    return error(loc) << "G is Hq / Hk, and this pattern names no dims Hq and Hk";
  if (findFunction(name))
    return error(loc) << "'" << name << "' is a function: give its arguments in parentheses";
  return error(loc) << "unknown name '" << name << "'" << suggest(name, knownNames());
}

ParseResult ExprParser::parseCall(StringRef name, SMLoc loc, ParsedExpr &out) {
  SmallVector<ParsedExpr> arguments;
  SmallVector<ExprAttr> trees;
  const Function *function = findFunction(name);
  if (!function) {
    std::vector<std::string> names;
    for (const Function &known : functions())
      names.push_back(known.name);
    return error(loc) << "unknown function '" << name << "'" << suggest(name, names);
  }
  bool needsTree = name == "ancestor" || name == "depth";
  if (options.scope && needsTree && !options.inTree)
    return error(loc) << name << " needs the clause `tree %parent`, written before this one";
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, [&]() -> ParseResult {
        return parseTop(arguments.emplace_back());
      }))
    return failure();
  for (ParsedExpr &argument : arguments)
    trees.push_back(argument.expr);
  return finish(makeCall(context, name, trees), arguments, loc, out);
}

ParseResult ExprParser::parseIndices(StringRef name, SMLoc loc,
                                     SmallVectorImpl<ParsedExpr> &indices) {
  if (options.scope) {
    if (!scope.tensors.contains(name))
      return error(loc) << "unknown tensor '" << name << "'"
                        << suggest(name, options.scope->valueNames);
    options.scope->used.insert(name);
  }
  return parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&]() -> ParseResult {
    return parseTop(indices.emplace_back());
  });
}

// value in tensor[leading indices]
ParseResult ExprParser::parseRow(ParsedExpr &value, ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word = peekWord(parser);
  if (word.empty())
    return error(loc) << "expected a tensor after 'in', as in j in idx[row, hk]";
  std::string name = word.str();
  bool hasIndices = charAfterWord(parser) == '[';
  SmallVector<ParsedExpr> indices;
  SmallVector<ExprAttr> trees;
  SmallVector<ExprType> types;
  if (parser.parseKeyword(&word))
    return failure();
  if (!hasIndices)
    return error(loc) << "expected the indices of '" << name << "' but the last, as in " << name
                      << "[row, hk]";
  if (parseIndices(name, loc, indices))
    return failure();
  for (ParsedExpr &index : indices) {
    trees.push_back(index.expr);
    types.push_back(index.type);
  }
  ParsedExpr row{makeRead(context, name, trees), ExprType::Integer, loc, 1};
  for (ParsedExpr &index : indices)
    row.depth = std::max(row.depth, index.depth + 1);
  if (options.scope) {
    TypeResult type = typeOfRow(row.expr, types, scope);
    if (!type.type)
      return error(loc) << type.mistake;
    row.type = *type.type;
  }
  SMLoc start = value.loc;
  if (finish(makeMember(value.expr, row.expr), {value, row}, loc, out))
    return failure();
  out.loc = start;
  return success();
}

// d < D    t <= i    lo <= t < hi
ParseResult ExprParser::parseRange(StringRef word, std::string &name, ParsedExpr &lo,
                                   ParsedExpr &hi) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef first = peekWord(parser);
  if (!options.scope) // sum[n, lo, hi]
    return failure(parseNewName(word, name) || parser.parseComma() || parseLevel(kAddLevel, lo) ||
                   parser.parseComma() || parseLevel(kAddLevel, hi));
  bool named = !first.empty() && !isKnown(first) && charAfterWord(parser) == '<';
  ExprAttr one = makeInteger(context, 1);
  lo = {makeInteger(context, 0), ExprType::Integer, loc, 1};
  if (!named) {
    if (parseLevel(kAddLevel, lo))
      return failure();
    const Operator *op = peekOperator();
    if (!op || (op->kind != ExprKind::Lt && op->kind != ExprKind::Le))
      return error(parser.getCurrentLocation())
             << "expected a range of " << word << ": name < hi, or lo <= name < hi";
    if (takeOperator(*op))
      return failure();
    if (op->kind == ExprKind::Lt)
      lo.expr = makeBinary(ExprKind::Add, lo.expr, one);
  }
  if (!named && peekWord(parser).empty())
    return error(loc) << "'" << first << "' already means something here: choose another name for "
                      << "the index of " << word;
  if (parseNewName(("the index of " + word).str(), name))
    return failure();
  const Operator *op = peekOperator();
  if (!op || (op->kind != ExprKind::Lt && op->kind != ExprKind::Le))
    return error(parser.getCurrentLocation())
           << "expected '<' or '<=' and the end of the range of " << word;
  if (takeOperator(*op) || parseLevel(kAddLevel, hi))
    return failure();
  if (op->kind == ExprKind::Le)
    hi.expr = makeBinary(ExprKind::Add, hi.expr, one);
  return success();
}

// sum[n < N, d < D] { body }: the first index is outermost.
ParseResult ExprParser::parseReduction(ExprKind kind, SMLoc loc, ParsedExpr &out) {
  struct Range {
    std::string name;
    ParsedExpr lo, hi;
  };
  StringRef word = kReductions[int(kind) - int(ExprKind::Sum)];
  SmallVector<Range> ranges;
  ParseResult result =
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&]() -> ParseResult {
        Range range;
        if (parseRange(word, range.name, range.lo, range.hi))
          return failure();
        scope.names[range.name] = ExprType::Integer;
        bound.push_back(range.name);
        ranges.push_back(range);
        if (ranges.size() > 8)
          return error(loc) << word << " has more than 8 indices";
        return success();
      });
  bool index = kind == ExprKind::ArgMax || kind == ExprKind::ArgMin;
  if (succeeded(result) && (ranges.empty() || (index && ranges.size() > 1)))
    result = error(loc) << word << " needs " << (index ? "exactly one" : "at least one")
                        << " index, as in " << word << "[d < D] { .. }";
  ParsedExpr body;
  if (succeeded(result))
    result = failure(parser.parseLBrace() || parseTop(body));
  if (succeeded(result) && failed(parser.parseOptionalRBrace()))
    result = expectedAfter("'}'");
  for (Range &range : llvm::reverse(ranges)) {
    if (succeeded(result))
      result = finish(makeReduction(kind, range.name, range.lo.expr, range.hi.expr, body.expr),
                      {range.lo, range.hi, body}, loc, body);
    scope.names.erase(range.name);
    bound.pop_back();
  }
  out = body;
  return result;
}

} // namespace

ParseResult parseExpr(AsmParser &parser, const ExprOptions &options, ParsedExpr &out) {
  return ExprParser(parser, options).parseTop(out);
}

ParseResult parseExprOf(AsmParser &parser, const ExprOptions &options, ExprType type,
                        const Twine &what, ParsedExpr &out) {
  SMLoc loc = parser.getCurrentLocation();
  if (parseExpr(parser, options, out))
    return failure();
  bool fits = out.type == type || (type == ExprType::Real && out.type == ExprType::Integer);
  if (fits || !options.scope)
    return success();
  const char *hint = type == ExprType::Boolean   ? ": write a comparison such as j <= i"
                     : type == ExprType::Integer ? ": write int(x)"
                                                 : ": write select(c, 1, 0)";
  if (type == ExprType::Integer && out.type == ExprType::Boolean)
    hint = ": write select(c, 1, 0)";
  return errorAt(parser, loc) << what << " is " << toString(out.type) << ", expected "
                              << toString(type) << hint
                              << commentHint(options.start, parser.getCurrentLocation());
}

Attribute ExprAttr::parse(AsmParser &parser, Type) {
  ParsedExpr out;
  if (parser.parseLess() || parser.parseLBrace() || parseExpr(parser, {}, out) ||
      parser.parseRBrace() || parser.parseGreater())
    return {};
  return out.expr;
}

} // namespace heddle::pattern
