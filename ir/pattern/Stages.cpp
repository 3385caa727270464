// map, select and merge: text and checks.
//   %y = map (t, h) in (T, H) { log(sigmoid(x[t, h])) }        ->   seq<f32, T x H>
//   %n = select top(k) (i, n) in (T, N) score { .. }           ->   seq<i32, T x k>
#include "ir/pattern/Check.h"
#include "ir/pattern/OpText.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace heddle::pattern {

static std::vector<ContextName> indexNames(ArrayRef<std::string> vars, bool batch) {
  std::vector<ContextName> names;
  for (const std::string &var : vars)
    names.push_back({var, ExprType::Integer});
  if (batch)
    names.push_back({"b", ExprType::Integer});
  return names;
}

static std::vector<std::string> strings(ArrayAttr array) {
  std::vector<std::string> out;
  for (size_t n = 0; n < array.size(); ++n)
    out.push_back(stringAt(array, n).str());
  return out;
}

static SmallVector<Attribute> asAttributes(ArrayRef<ExprAttr> exprs) {
  return SmallVector<Attribute>(exprs.begin(), exprs.end());
}

// Checks shared by map and select: index names and extents.
static LogicalResult checkRanges(Operation *op, ArrayAttr vars, ArrayAttr extents,
                                 const TypeScope &outer) {
  if (vars.size() != extents.size())
    return op->emitError() << vars.size() << " index names for " << extents.size() << " extents";
  for (size_t n = 0; n < vars.size(); ++n) {
    StringRef name = stringAt(vars, n);
    if (name == "b" || outer.names.contains(name))
      return op->emitError() << "the index name '" << name << "' already means something here";
    if (failed(checkExpr(op, outer, cast<ExprAttr>(extents[n]), ExprType::Integer, "an extent")))
      return failure();
  }
  return success();
}

static LogicalResult checkReads(Operation *op, ValueRange reads, ArrayAttr readNames) {
  if (reads.size() != readNames.size())
    return op->emitError() << readNames.size() << " names for " << reads.size() << " values read";
  return success();
}

//===--- map ---===//

Value MapOp::read(StringRef name) { return valueNamed(getReads(), getReadNames(), name); }

void MapOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getOutput(), valueName(getOutput()));
}

// Element type that a map has without `as`.
static Type defaultElement(MLIRContext *context, ExprType type) {
  return type == ExprType::Integer ? Type(IntegerType::get(context, 32))
                                   : Type(Float32Type::get(context));
}

ParseResult MapOp::parse(OpAsmParser &parser, OperationState &state) {
  OpReader reader(parser, state);
  SmallVector<std::string> vars;
  SmallVector<ExprAttr> extents;
  ExprAttr expr;
  if (reader.begin("map", 1, 1) || reader.ranges(vars, extents))
    return failure();
  // Whatever the block holds: a number. Its exact type decides the element type.
  if (reader.block(indexNames(vars, true), ExprType::Real, "the element of a map", expr))
    return failure();
  SmallVector<Value> reads;
  SmallVector<std::string> readNames;
  if (reader.finishReads(reads, readNames))
    return failure();

  Type element = defaultElement(reader.context, reader.lastType);
  SMLoc asLoc = parser.getCurrentLocation();
  if (takeWord(parser, "as")) {
    SMLoc loc = parser.getCurrentLocation();
    StringRef word = peekWord(parser);
    element = parseElement(reader.context, word);
    if (!element)
      return errorAt(parser, loc) << "unknown element type '" << word
                                  << "', expected f64, f32, bf16, f16, f8e4m3, f8e5m2, i64, i32, "
                                     "i8 or u8";
    if (parser.parseKeyword(&word))
      return failure();
    if (isa<IntegerType>(element) && reader.lastType == ExprType::Real)
      return errorAt(parser, asLoc) << "the element is a real number, " << word
                                    << " holds integers: write int(..) or round(..)";
  }
  bool batched = usesBatch(expr, [&](StringRef name) { return reader.scope->values[name].type; });
  state.addOperands(reads);
  reader.setStrings("readNames", readNames);
  reader.setStrings("vars", vars);
  reader.setExprs("extents", extents);
  reader.setExpr("expr", expr);
  reader.define(ArrayType::get(reader.context, batched, element, asAttributes(extents)));
  return success();
}

void MapOp::print(OpAsmPrinter &printer) {
  OpWriter writer(printer, getReads(), getReadNames());
  printer << " ";
  writer.ranges(getVars(), getExtents());
  printer << " ";
  writer.block(getExpr());
  Type element = arrayType(getOutput()).getElement();
  auto def = getOperation()->getParentOfType<DefOp>();
  if (!def) { // detached, in a debugger or a diagnostic
    printer << " as " << elementWord(element);
    return;
  }
  TypeScope scope =
      scopeOfOp(def, getReads(), getReadNames(), indexNames(strings(getVars()), true));
  TypeResult type = typeOf(getExpr(), scope);
  if (type.type && element != defaultElement(getContext(), *type.type))
    printer << " as " << elementWord(element);
}

LogicalResult MapOp::verify() {
  auto def = getOperation()->getParentOfType<DefOp>();
  if (failed(checkNames(*this, getNames(), 1)) ||
      failed(checkReads(*this, getReads(), getReadNames())) ||
      failed(checkRanges(*this, getVars(), getExtents(),
                         scopeOfOp(def, {}, ArrayAttr::get(getContext(), {}), {}))))
    return failure();
  TypeScope scope =
      scopeOfOp(def, getReads(), getReadNames(), indexNames(strings(getVars()), true));
  if (failed(checkExpr(*this, scope, getExpr(), ExprType::Real, "the element of a map")))
    return failure();
  ArrayType type = arrayType(getOutput());
  bool batched = usesBatch(getExpr(), [&](StringRef name) {
    Value value = read(name);
    return value ? arrayType(value) : ArrayType();
  });
  if (type.getBatched() != batched || type.getDims() != getExtents().getValue())
    return emitError() << "the result " << type.str() << " does not fit the extents of the map, or "
                       << "whether it depends on the batch";
  if (!type.getElement())
    return emitError() << "the result of a map has a fixed element type";
  return success();
}

//===--- select ---===//

Value SelectOp::input(StringRef role) { return valueNamed(getInputs(), getRoles(), role); }
Value SelectOp::read(StringRef name) { return valueNamed(getReads(), getReadNames(), name); }

void SelectOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getList(), valueName(getList()));
}

namespace {

// Clauses of select; which of them a strategy has is in `strategies`, as bits of SelectStrategy.
struct SelectClause {
  const char *word;
  enum Kind { Score, Truth, Count, Tensor } kind;
  unsigned strategies;
  unsigned required;
};
constexpr unsigned kTop = 1, kBucket = 2, kTree = 4;
constexpr SelectClause kSelectClauses[] = {
    {"score", SelectClause::Score, kTop, kTop},
    {"visible", SelectClause::Truth, kTop, 0},
    {"forced", SelectClause::Truth, kTop, 0},
    {"route", SelectClause::Tensor, kBucket | kTree, kBucket | kTree},
    {"key", SelectClause::Tensor, kBucket | kTree, kBucket | kTree},
    {"centroids", SelectClause::Tensor, kBucket, kBucket},
    {"visit", SelectClause::Count, kBucket, kBucket},
    {"capacity", SelectClause::Count, kBucket, kBucket},
    {"block", SelectClause::Count, kTree, kTree},
    {"fanout", SelectClause::Count, kTree, kTree},
    {"beam", SelectClause::Count, kTree, kTree},
    {"refresh", SelectClause::Count, kBucket | kTree, kBucket | kTree},
};

unsigned strategyBit(SelectStrategy strategy) { return 1u << unsigned(strategy); }

const SelectClause *findClause(StringRef word) {
  for (const SelectClause &clause : kSelectClauses)
    if (word == clause.word)
      return &clause;
  return nullptr;
}

// The mistake in a count that is known, or empty.
std::string countMistake(StringRef what, ExprAttr count) {
  ExprAttr folded = simplify(count);
  if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
    return (what + " is " + std::to_string(folded.integer()) + ", expected a positive integer")
        .str();
  return "";
}

// The query's extents and then the list.
ArrayType listType(MLIRContext *context, ArrayRef<ExprAttr> extents, ExprAttr count) {
  SmallVector<Attribute> dims(extents.begin(), extents.end() - 1);
  dims.push_back(count);
  return ArrayType::get(context, true, IntegerType::get(context, 32), dims);
}

// Shapes of the tensors of bucket and tree: route [Tq, (Hs,) r], key [Tk, (Hs,) r], centroids [M,
// r].
std::string routeMistake(ArrayRef<ExprAttr> extents, llvm::function_ref<ArrayType(StringRef)> input,
                         llvm::function_ref<bool(ExprAttr, ExprAttr)> same) {
  ArrayType route = input("route"), key = input("key"), centroids = input("centroids");
  for (ArrayType type : {route, key})
    if (type.rank() != extents.size() || !type.getBatched() || type.holdsIntegers())
      return "route and key are seq<..> of numbers with " + std::to_string(extents.size()) +
             " dims (length, selection heads if any, width), found " + type.str();
  ExprAttr width = route.dim(route.rank() - 1);
  if (!same(key.dim(key.rank() - 1), width))
    return "route " + route.str() + " and key " + key.str() + " differ in width";
  if (!same(route.dim(0), extents.front()))
    return "route has length " + route.dim(0).str() + ", the queries " + extents.front().str();
  if (!same(key.dim(0), extents.back()))
    return "key has length " + key.dim(0).str() + ", the candidates " + extents.back().str();
  if (extents.size() == 3 && (!same(route.dim(1), extents[1]) || !same(key.dim(1), extents[1])))
    return "route and key must have " + extents[1].str() + " selection heads";
  if (centroids && (centroids.rank() != 2 || !same(centroids.dim(1), width)))
    return "centroids must be tensor<M x " + width.str() + ">, found " + centroids.str();
  return "";
}

class SelectParser {
public:
  SelectParser(OpAsmParser &parser, OperationState &state)
      : parser(parser), state(state), reader(parser, state) {}

  ParseResult parse() {
    if (reader.begin("select", 1, 1) || parseHead() || parseClauses() || checkClauses())
      return failure();
    SmallVector<Value> reads;
    SmallVector<std::string> readNames;
    if (reader.finishReads(reads, readNames))
      return failure();
    state.addOperands(inputs);
    state.addOperands(reads);
    reader.setSegments({int32_t(inputs.size()), int32_t(reads.size())});
    reader.setStrings("roles", roles);
    reader.setStrings("readNames", readNames);
    reader.setStrings("vars", vars);
    reader.setExprs("extents", extents);
    reader.setExpr("count", count);
    state.addAttribute("strategy", SelectStrategyAttr::get(reader.context, strategy));
    reader.define(listType(reader.context, extents, count));
    return success();
  }

private:
  ParseResult parseHead() {
    size_t index = 0;
    if (reader.word("strategy of select", {"top", "bucket", "tree"}, index))
      return failure();
    strategy = SelectStrategy(index);
    if (reader.bracketed("the length of the list", count))
      return failure();
    SMLoc loc = parser.getCurrentLocation();
    if (reader.ranges(vars, extents))
      return failure();
    bool two =
        strategy == SelectStrategy::top ? vars.size() >= 2 : vars.size() == 2 || vars.size() == 3;
    if (!two)
      return errorAt(parser, loc) << "select needs the query's indices and then the candidate's, "
                                     "as in (row, h, n) in (Tq, Hk, N)";
    return success();
  }

  ParseResult parseClauses() {
    while (true) {
      SMLoc loc = parser.getCurrentLocation();
      std::string word = peekWord(parser).str();
      if (word.empty() || word == "return" || word == "loc")
        return success();
      const SelectClause *clause = findClause(word);
      if (!clause) {
        std::vector<std::string> known;
        for (const SelectClause &entry : kSelectClauses)
          if (entry.strategies & strategyBit(strategy))
            known.push_back(entry.word);
        return errorAt(parser, loc)
               << "unknown clause '" << word << "' of select" << suggest(word, known);
      }
      if (!(clause->strategies & strategyBit(strategy)))
        return errorAt(parser, loc) << "select " << stringifySelectStrategy(strategy)
                                    << " has no clause '" << word << "'";
      if (!seen.insert(word).second)
        return errorAt(parser, loc) << "the clause '" << word << "' is repeated";
      StringRef taken;
      if (parser.parseKeyword(&taken) || parseClause(*clause))
        return failure();
    }
  }

  ParseResult parseClause(const SelectClause &clause) {
    std::vector<ContextName> names = indexNames(vars, true);
    std::string what = "the " + std::string(clause.word) + " of select";
    ExprAttr expr;
    if (clause.kind == SelectClause::Tensor) {
      roles.push_back(clause.word);
      return reader.operand(inputs, types[clause.word]);
    }
    ExprType type = clause.kind == SelectClause::Truth   ? ExprType::Boolean
                    : clause.kind == SelectClause::Score ? ExprType::Real
                                                         : ExprType::Integer;
    if (clause.kind == SelectClause::Count)
      names.clear();
    SMLoc loc = parser.getCurrentLocation();
    if (reader.block(names, type, what, expr))
      return failure();
    if (clause.kind == SelectClause::Count)
      if (std::string mistake = countMistake(what, expr); !mistake.empty())
        return errorAt(parser, loc) << mistake;
    reader.setExpr(clause.word, expr);
    return success();
  }

  ParseResult checkClauses() {
    for (const SelectClause &clause : kSelectClauses)
      if ((clause.required & strategyBit(strategy)) && !seen.contains(clause.word))
        return errorAt(parser, reader.start) << "select " << stringifySelectStrategy(strategy)
                                             << " needs the clause '" << clause.word << "'";
    if (strategy == SelectStrategy::top)
      return success();
    std::string mistake = routeMistake(
        extents, [&](StringRef role) { return types.lookup(role); },
        [&](ExprAttr a, ExprAttr b) {
          return reader.scope->canonical(a) == reader.scope->canonical(b);
        });
    return mistake.empty() ? ParseResult(success())
                           : ParseResult(errorAt(parser, reader.start) << mistake);
  }

  OpAsmParser &parser;
  OperationState &state;
  OpReader reader;
  SelectStrategy strategy = SelectStrategy::top;
  ExprAttr count;
  SmallVector<std::string> vars;
  SmallVector<ExprAttr> extents;
  SmallVector<Value> inputs;
  SmallVector<std::string> roles;
  llvm::StringMap<ArrayType> types;
  llvm::StringSet<> seen;
};

} // namespace

ParseResult SelectOp::parse(OpAsmParser &parser, OperationState &state) {
  return SelectParser(parser, state).parse();
}

void SelectOp::print(OpAsmPrinter &printer) {
  OpWriter writer(printer, getReads(), getReadNames());
  printer << " " << stringifySelectStrategy(getStrategy()) << "(";
  writer.expr(getCount());
  printer << ") ";
  writer.ranges(getVars(), getExtents());
  printer.increaseIndent();
  for (const SelectClause &clause : kSelectClauses) {
    if (Value value = input(clause.word)) {
      printer.printNewline();
      printer << clause.word << " " << value;
    } else if (auto expr = (*this)->getAttrOfType<ExprAttr>(clause.word)) {
      printer.printNewline();
      printer << clause.word << " ";
      writer.block(expr);
    }
  }
  printer.decreaseIndent();
}

LogicalResult SelectOp::verify() {
  auto def = getOperation()->getParentOfType<DefOp>();
  TypeScope outer = scopeOfOp(def, {}, ArrayAttr::get(getContext(), {}), {});
  if (failed(checkNames(*this, getNames(), 1)) ||
      failed(checkReads(*this, getReads(), getReadNames())) ||
      failed(checkRanges(*this, getVars(), getExtents(), outer)) ||
      failed(checkExpr(*this, outer, getCount(), ExprType::Integer, "the length of the list")))
    return failure();
  if (getVars().size() < 2 || getInputs().size() != getRoles().size())
    return emitError() << "select needs the query's indices and then the candidate's";
  TypeScope scope =
      scopeOfOp(def, getReads(), getReadNames(), indexNames(strings(getVars()), true));
  for (const SelectClause &clause : kSelectClauses) {
    auto expr = (*this)->getAttrOfType<ExprAttr>(clause.word);
    bool present = expr || input(clause.word);
    if ((clause.required & strategyBit(getStrategy())) && !present)
      return emitError() << "select needs the clause '" << clause.word << "'";
    if (present && !(clause.strategies & strategyBit(getStrategy())))
      return emitError() << "select has no clause '" << clause.word << "'";
    if (!expr)
      continue;
    ExprType type = clause.kind == SelectClause::Truth   ? ExprType::Boolean
                    : clause.kind == SelectClause::Score ? ExprType::Real
                                                         : ExprType::Integer;
    bool count = clause.kind == SelectClause::Count;
    if (failed(checkExpr(*this, count ? outer : scope, expr, type, clause.word)))
      return failure();
    if (std::string mistake = countMistake(clause.word, expr); count && !mistake.empty())
      return emitError() << mistake;
  }
  if (std::string mistake = countMistake("the length of the list", getCount()); !mistake.empty())
    return emitError() << mistake;
  SmallVector<ExprAttr> extents(getExtents().getAsRange<ExprAttr>());
  if (getList().getType() != listType(getContext(), extents, getCount()))
    return emitError() << "the result " << arrayType(getList()).str()
                       << " is not the query's extents and the length of the list";
  if (getStrategy() == SelectStrategy::top)
    return success();
  std::string mistake = routeMistake(
      extents, [&](StringRef role) { return input(role) ? arrayType(input(role)) : ArrayType(); },
      [&](ExprAttr a, ExprAttr b) { return canonicalExtent(def, a) == canonicalExtent(def, b); });
  return mistake.empty() ? success() : LogicalResult(emitError() << mistake);
}

//===--- merge ---===//

void MergeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  for (Value output : getOutputs())
    setName(output, valueName(output));
}

static bool sameDims(ArrayType a, ArrayType b) {
  return a.getBatched() == b.getBatched() && a.getDims() == b.getDims();
}

// The mistake in the parts of a merge, or empty: o parts agree, each l is its o without the last
// dim.
static std::string mergeMistake(MergeKind kind, ArrayRef<ArrayType> types) {
  size_t step = kind == MergeKind::lse ? 2 : 1;
  if (types.size() < 2 * step || types.size() % step)
    return kind == MergeKind::lse ? "merge lse needs two or more parts (%o, %l)"
                                  : "merge sum needs two or more values";
  for (size_t n = 0; n < types.size(); n += step) {
    if (types[n].rank() == 0 || !sameDims(types[n], types[0]))
      return "part " + std::to_string(n / step + 1) + " is " + types[n].str() +
             ", the first part is " + types[0].str() + ": parts have the same shape";
    if (types[n].holdsIntegers())
      return "part " + std::to_string(n / step + 1) + " holds integers: " + types[n].str();
    if (kind != MergeKind::lse)
      continue;
    ArrayType lse = types[n + 1];
    if (lse.getBatched() != types[n].getBatched() ||
        lse.getDims() != types[n].getDims().drop_back())
      return "the log-sum-exp " + lse.str() + " does not fit its part " + types[n].str() +
             ": expected its dims without the last";
  }
  return "";
}

ParseResult MergeOp::parse(OpAsmParser &parser, OperationState &state) {
  OpReader reader(parser, state);
  size_t index = 0;
  if (reader.begin("merge", 1, 2) || reader.word("kind of merge", {"lse", "sum"}, index))
    return failure();
  MergeKind kind = MergeKind(index);
  if (kind == MergeKind::sum && reader.names.size() != 1)
    return errorAt(parser, reader.start) << "merge sum gives one result";
  SmallVector<Value> values;
  SmallVector<ArrayType> types;
  do {
    bool pair = kind == MergeKind::lse;
    if ((pair && parser.parseLParen()) || reader.operand(values, types.emplace_back()))
      return failure();
    if (pair && (parser.parseComma() || reader.operand(values, types.emplace_back()) ||
                 parser.parseRParen()))
      return failure();
  } while (succeeded(parser.parseOptionalComma()));
  if (std::string mistake = mergeMistake(kind, types); !mistake.empty())
    return errorAt(parser, reader.start) << mistake;
  state.addOperands(values);
  state.addAttribute("kind", MergeKindAttr::get(reader.context, kind));
  SmallVector<ArrayType> results(types.begin(), types.begin() + reader.names.size());
  reader.define(results);
  return success();
}

void MergeOp::print(OpAsmPrinter &printer) {
  printer << " " << stringifyMergeKind(getKind()) << " ";
  bool pair = getKind() == MergeKind::lse;
  for (size_t n = 0; n < getInputs().size(); n += pair ? 2 : 1) {
    printer << (n ? ", " : "") << (pair ? "(" : "") << getInputs()[n];
    if (pair)
      printer << ", " << getInputs()[n + 1] << ")";
  }
}

LogicalResult MergeOp::verify() {
  size_t most = getKind() == MergeKind::lse ? 2 : 1;
  if (getOutputs().empty() || getOutputs().size() > most)
    return emitError() << "merge gives " << most << " result(s), found " << getOutputs().size();
  if (failed(checkNames(*this, getNames(), getOutputs().size())))
    return failure();
  SmallVector<ArrayType> types;
  for (Value value : getInputs())
    types.push_back(arrayType(value));
  if (std::string mistake = mergeMistake(getKind(), types); !mistake.empty())
    return emitError() << mistake;
  for (size_t n = 0; n < getOutputs().size(); ++n)
    if (!sameDims(arrayType(getOutputs()[n]), types[n]))
      return emitError() << "result " << n + 1 << " is " << arrayType(getOutputs()[n]).str()
                         << ", expected " << types[n].str();
  return success();
}

} // namespace heddle::pattern
