// The text of mix: operands, then clauses in any order, each at most once. kClauses is the table of
// clauses; one small function reads each.
//   %o, %lse = mix %q, %k, %v support { j <= i } weight exp norm sum
#include "ir/pattern/Features.h"
#include "ir/pattern/Mix.h"
#include "ir/pattern/OpText.h"

#include "mlir/IR/Builders.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace mlir;

namespace heddle::pattern {

namespace {

class MixParser {
public:
  MixParser(OpAsmParser &parser, OperationState &state)
      : parser(parser), state(state), reader(parser, state), context(parser.getContext()) {}

  ParseResult parse();

private:
  struct Clause {
    const char *words;
    ParseResult (MixParser::*read)();
  };
  static const Clause kClauses[];

  ParseResult parseOperands();
  ParseResult parseClauses();
  ParseResult parseOneClause(SMLoc loc, StringRef word);
  ParseResult unknownClause(SMLoc loc, StringRef word);
  ParseResult finishResults();
  void addInputs();

  // One function a clause, in the order of the table.
  ParseResult tree() {
    reader.inTree = true;
    return input("parent");
  }
  ParseResult align();
  ParseResult support();
  ParseResult featuresQ() { return features("featuresQ", true, facts.featuresQ); }
  ParseResult featuresK() { return features("featuresK", false, facts.featuresK); }
  ParseResult score();
  ParseResult weight();
  ParseResult decay();
  ParseResult norm();
  ParseResult sink();
  ParseResult update();
  ParseResult subtokens();
  ParseResult taps();
  ParseResult read();
  ParseResult segments();
  ParseResult gate();
  ParseResult bank();
  ParseResult reset();
  ParseResult layout();
  ParseResult codecQ() { return codec("codecQ", 'q'); }
  ParseResult codecK() { return codec("codecK", 'k'); }
  ParseResult codecV() { return codec("codecV", 'v'); }
  ParseResult alias();
  ParseResult stateType();
  ParseResult initial();
  ParseResult gives();

  ParseResult features(StringRef name, bool query, ArrayAttr &out);
  ParseResult codec(StringRef name, char operand);
  ParseResult poolAndRenorm(bool top);
  ParseResult input(StringRef role);
  ParseResult expect(StringRef word);
  ParseResult positive(StringRef what, ExprAttr expr, SMLoc loc);
  ParseResult count(StringRef what, ExprAttr &out);
  ParseResult counted(StringRef what, StringRef attribute, ExprAttr &out);
  template <typename Attr> void set(StringRef name, size_t index) {
    state.addAttribute(name, Attr::get(context, typename Attr::ValueType(index)));
  }
  bool atValue() { return peekText(parser, 1) == "%"; }

  OpAsmParser &parser;
  OperationState &state;
  OpReader reader;
  MLIRContext *context;
  MixFacts facts;
  llvm::StringMap<SMLoc> locs; ///< of the operands, by role
  SmallVector<Value> inputs;
  SmallVector<std::string> roles;
  SmallVector<std::string> outputs;
  llvm::StringSet<> seen;
  WeightKind weightKind = WeightKind::id;
  ExprAttr supportExpr, scoreExpr;
  bool bankGiven = false;
};

const MixParser::Clause MixParser::kClauses[] = {
    {"tree", &MixParser::tree},
    {"align", &MixParser::align},
    {"support", &MixParser::support},
    {"features q", &MixParser::featuresQ},
    {"features k", &MixParser::featuresK},
    {"score", &MixParser::score},
    {"weight", &MixParser::weight},
    {"decay", &MixParser::decay},
    {"norm", &MixParser::norm},
    {"sink", &MixParser::sink},
    {"update", &MixParser::update},
    {"subtokens", &MixParser::subtokens},
    {"taps", &MixParser::taps},
    {"read", &MixParser::read},
    {"segments", &MixParser::segments},
    {"gate", &MixParser::gate},
    {"bank", &MixParser::bank},
    {"reset", &MixParser::reset},
    {"layout", &MixParser::layout},
    {"codec q", &MixParser::codecQ},
    {"codec k", &MixParser::codecK},
    {"codec v", &MixParser::codecV},
    {"alias v", &MixParser::alias},
    {"state", &MixParser::stateType},
    {"initial", &MixParser::initial},
    {"gives", &MixParser::gives},
};

//===--- small readers ---===//

ParseResult MixParser::input(StringRef role) {
  locs[role] = parser.getCurrentLocation();
  ArrayType type;
  if (reader.operand(inputs, type))
    return failure();
  roles.push_back(role.str());
  facts.inputs[role] = type;
  return success();
}

ParseResult MixParser::expect(StringRef word) {
  if (takeWord(parser, word))
    return success();
  return errorAt(parser, parser.getCurrentLocation()) << "expected '" << word << "'";
}

ParseResult MixParser::positive(StringRef what, ExprAttr expr, SMLoc loc) {
  ExprAttr folded = simplify(expr);
  if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
    return errorAt(parser, loc) << what << " is " << folded.integer()
                                << ", expected a positive integer";
  return success();
}

// A positive integer: a number, a name, or an expression in parentheses.
ParseResult MixParser::count(StringRef what, ExprAttr &out) {
  if (peekText(parser, 1) == "(" || peekText(parser, 1) == "{")
    return reader.bracketed(what, out);
  SMLoc loc = parser.getCurrentLocation();
  return failure(reader.expr({}, ExprType::Integer, what, out) || positive(what, out, loc));
}

// { expr } that is a positive integer.
ParseResult MixParser::counted(StringRef what, StringRef attribute, ExprAttr &out) {
  SMLoc loc = parser.getCurrentLocation();
  if (reader.block({}, ExprType::Integer, what, out) || positive(what, out, loc))
    return failure();
  reader.setExpr(attribute, out);
  return success();
}

//===--- clauses ---===//

ParseResult MixParser::align() {
  size_t index = 0;
  if (reader.word("alignment", {"bottom_right", "top_left"}, index))
    return failure();
  set<AlignAttr>("align", index);
  return success();
}

ParseResult MixParser::support() {
  return reader.headedBlock(supportNames(), ExprType::Boolean, "support", supportExpr);
}

ParseResult MixParser::score() {
  return reader.headedBlock(scoreNames(), ExprType::Real, "score", scoreExpr);
}

ParseResult MixParser::features(StringRef name, bool query, ArrayAttr &out) {
  if (parseFeatures(reader, query, out))
    return failure();
  state.addAttribute(name, out);
  return success();
}

ParseResult MixParser::weight() {
  size_t index = 0;
  if (reader.word("weight", {"exp", "sigmoid", "relu", "id"}, index))
    return failure();
  weightKind = WeightKind(index);
  set<WeightKindAttr>("weight", index);
  if (weightKind != WeightKind::relu || failed(parser.parseOptionalLParen()))
    return success();
  SMLoc loc = parser.getCurrentLocation();
  int64_t power = 0;
  if (parser.parseInteger(power) || parser.parseRParen())
    return failure();
  if (power < 1 || power > 8)
    return errorAt(parser, loc) << "the power of relu is " << power << ", expected 1 .. 8";
  state.addAttribute("weightPower", Builder(context).getI64IntegerAttr(power));
  return success();
}

ParseResult MixParser::decay() {
  size_t index = 0;
  if (reader.word("decay", {"none", "constant", "scalar", "diag", "channel"}, index))
    return failure();
  set<DecayKindAttr>("decay", index);
  facts.decay = DecayKind(index);
  if (facts.decay == DecayKind::None)
    return success();
  if (takeWord(parser, "symmetric"))
    state.addAttribute("decaySymmetric", UnitAttr::get(context));
  if (facts.decay != DecayKind::constant)
    return input("decay");
  ExprAttr expr;
  if (reader.headedBlock(headNames(), ExprType::Real, "the constant decay", expr))
    return failure();
  reader.setExpr("decayExpr", expr);
  facts.decayExpr = expr;
  return success();
}

ParseResult MixParser::norm() {
  size_t index = 0;
  if (reader.word("norm", {"none", "sum", "max_abs"}, index))
    return failure();
  set<NormKindAttr>("norm", index);
  bool given = peekText(parser, 1) == "{";
  if (NormKind(index) == NormKind::max_abs && !given)
    return errorAt(parser, parser.getCurrentLocation())
           << "norm max_abs needs its floor: write norm max_abs { 1.0 }";
  if (!given || NormKind(index) == NormKind::None)
    return success();
  ExprAttr expr;
  if (reader.block(rowNames(), ExprType::Real, "the argument of norm", expr))
    return failure();
  reader.setExpr("normArg", expr);
  return success();
}

ParseResult MixParser::sink() {
  ExprAttr expr;
  if (reader.headedBlock(rowNames(), ExprType::Real, "sink", expr))
    return failure();
  reader.setExpr("sink", expr);
  return success();
}

ParseResult MixParser::update() {
  size_t index = 0;
  if (reader.word("update", {"add", "delta", "dplr"}, index))
    return failure();
  set<UpdateKindAttr>("update", index);
  if (UpdateKind(index) == UpdateKind::delta)
    return input("beta");
  if (UpdateKind(index) == UpdateKind::dplr)
    return failure(input("a") || parser.parseComma() || input("y"));
  return success();
}

ParseResult MixParser::subtokens() {
  SMLoc loc = parser.getCurrentLocation();
  if (takeWord(parser, "write")) {
    if (count("the number of write sub-tokens", facts.writes))
      return failure();
    reader.setExpr("writes", facts.writes);
  }
  // `read post` and `read bonus` are the next clause.
  StringRef ahead = peekText(parser, 64);
  ahead.consume_front("read");
  bool nextClause = ahead.ltrim().starts_with("post") || ahead.ltrim().starts_with("bonus");
  if (!nextClause && takeWord(parser, "read")) {
    if (count("the number of read sub-tokens", facts.readouts))
      return failure();
    reader.setExpr("readouts", facts.readouts);
  }
  if (!facts.writes && !facts.readouts)
    return errorAt(parser, loc) << "expected write, read or both, as in subtokens write 4 read 4";
  return success();
}

ParseResult MixParser::taps() {
  return failure(input("tap_prev") || parser.parseComma() || input("tap_here"));
}

ParseResult MixParser::read() {
  size_t index = 0;
  if (reader.word("read", {"post", "bonus"}, index))
    return failure();
  set<ReadKindAttr>("read", index);
  return index ? input("bonus") : success();
}

ParseResult MixParser::segments() {
  size_t index = 0;
  if (reader.word("segments", {"none", "constant", "fenwick", "logarithmic", "by"}, index))
    return failure();
  set<SegmentKindAttr>("segment", index);
  facts.segment = SegmentKind(index);
  if (facts.segment == SegmentKind::constant)
    return counted("the length of a segment", "segmentArg", facts.segmentArg);
  if (facts.segment != SegmentKind::by)
    return success();
  if (reader.headedBlock(segmentNames(), ExprType::Integer, "segments by", facts.segmentArg))
    return failure();
  reader.setExpr("segmentArg", facts.segmentArg);
  return success();
}

// [%u] [pool mean_k | pool sum_k | pool mean_x %x] [renorm selected | all]
ParseResult MixParser::poolAndRenorm(bool top) {
  if (atValue() && input("router"))
    return failure();
  size_t index = 0;
  if (takeWord(parser, "pool")) {
    if (reader.word("pool", {"mean_k", "sum_k", "mean_x"}, index))
      return failure();
    set<PoolKindAttr>("pool", index);
    if (PoolKind(index) == PoolKind::mean_x && input("pooled"))
      return failure();
  }
  if (top && takeWord(parser, "renorm")) {
    if (reader.word("renorm", {"selected", "all"}, index))
      return failure();
    set<RenormKindAttr>("renorm", index);
  }
  return success();
}

ParseResult MixParser::gate() {
  size_t index = 0;
  if (reader.word("gate", {"ones", "given", "softmax", "top"}, index))
    return failure();
  set<GateKindAttr>("gate", index);
  switch (GateKind(index)) {
  case GateKind::ones:
    return success();
  case GateKind::given:
    return input("gate");
  case GateKind::softmax:
    return poolAndRenorm(false);
  case GateKind::top:
    break;
  }
  ExprAttr top;
  if (reader.bracketed("the number of segments chosen", top))
    return failure();
  reader.setExpr("gateTop", top);
  return poolAndRenorm(true);
}

ParseResult MixParser::bank() {
  size_t index = 0;
  if (reader.word("bank", {"frozen", "running"}, index))
    return failure();
  set<BankKindAttr>("bank", index);
  bankGiven = true;
  return success();
}

ParseResult MixParser::reset() {
  size_t index = 0;
  if (reader.word("reset", {"no", "yes"}, index))
    return failure();
  state.addAttribute("reset", BoolAttr::get(context, index == 1));
  return success();
}

ParseResult MixParser::layout() {
  size_t index = 0;
  if (reader.word("layout", {"dense", "varlen", "paged", "ring"}, index))
    return failure();
  set<LayoutKindAttr>("layout", index);
  facts.layout = LayoutKind(index);
  switch (facts.layout) {
  case LayoutKind::dense:
    return success();
  case LayoutKind::varlen:
    return failure(input("cu_q") || parser.parseComma() || input("cu_k"));
  case LayoutKind::ring: {
    if (expect("len") || input("len"))
      return failure();
    if (!takeWord(parser, "keep"))
      return success();
    ExprAttr keep;
    if (reader.block({}, ExprType::Integer, "the number of slots kept", keep))
      return failure();
    reader.setExpr("ringKeep", keep);
    return success();
  }
  case LayoutKind::paged:
    break;
  }
  if (input("table") || (takeWord(parser, "indptr") && input("indptr")) || expect("len") ||
      input("len"))
    return failure();
  if (!takeWord(parser, "order"))
    return success();
  if (reader.word("order of a page", {"nhd", "hnd"}, index))
    return failure();
  set<PageOrderAttr>("pageOrder", index);
  facts.pageOrder = PageOrder(index);
  return success();
}

ParseResult MixParser::codec(StringRef name, char operand) {
  ExprAttr expr;
  if (reader.headedBlock(codecNames(operand), ExprType::Real, "codec", expr))
    return failure();
  reader.setExpr(name, expr);
  return success();
}

// { first, size }
ParseResult MixParser::alias() {
  ExprAttr first;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLBrace() ||
      reader.expr({}, ExprType::Integer, "the first feature of the alias", first) ||
      parser.parseComma() ||
      reader.expr({}, ExprType::Integer, "the size of the alias", facts.aliasSize) ||
      parser.parseRBrace() || positive("the size of the alias", facts.aliasSize, loc))
    return failure();
  reader.setExpr("aliasFirst", first);
  reader.setExpr("aliasSize", facts.aliasSize);
  return success();
}

ParseResult MixParser::stateType() {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word = peekWord(parser);
  Type type = parseElement(context, word);
  if (!type || !isa<FloatType>(type))
    return errorAt(parser, loc) << "the precision of a state is a float type, found '" << word
                                << "': write f32, bf16 or f16";
  facts.stateType = type;
  state.addAttribute("stateType", TypeAttr::get(type));
  return parser.parseKeyword(&word);
}

ParseResult MixParser::initial() {
  do {
    size_t index = 0;
    SMLoc loc = parser.getCurrentLocation();
    if (reader.word("part of the initial state", resultRoles().drop_front(2), index))
      return failure();
    std::string role = "in_" + resultRoles()[index + 2].str();
    if (facts.inputs.contains(role))
      return errorAt(parser, loc) << "the initial " << resultRoles()[index + 2] << " is repeated";
    if (input(role))
      return failure();
  } while (succeeded(parser.parseOptionalComma()));
  return success();
}

ParseResult MixParser::gives() {
  do {
    size_t index = 0;
    SMLoc loc = parser.getCurrentLocation();
    if (reader.word("result", resultRoles(), index))
      return failure();
    if (llvm::is_contained(outputs, resultRoles()[index]))
      return errorAt(parser, loc) << "the result " << resultRoles()[index] << " is repeated";
    outputs.push_back(resultRoles()[index].str());
  } while (succeeded(parser.parseOptionalComma()));
  return success();
}

//===--- the whole op ---===//

ParseResult MixParser::parseOperands() {
  SMLoc loc = parser.getCurrentLocation();
  if (!atValue())
    return errorAt(parser, loc) << "expected the operands of mix: %q, %k, %v";
  if (input("q"))
    return failure();
  if (parser.parseComma() || input("k"))
    return failure();
  return succeeded(parser.parseOptionalComma()) ? input("v") : success();
}

ParseResult MixParser::unknownClause(SMLoc loc, StringRef word) {
  std::vector<std::string> known;
  for (const Clause &clause : kClauses)
    known.push_back(StringRef(clause.words).split(' ').first.str());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  return errorAt(parser, loc) << "unknown clause '" << word << "' of mix" << suggest(word, known);
}

// A clause of two words (features q) is found by both.
ParseResult MixParser::parseOneClause(SMLoc loc, StringRef word) {
  std::string first = word.str();
  StringRef taken;
  std::vector<std::string> seconds;
  const Clause *found = nullptr;
  for (const Clause &clause : kClauses)
    if (StringRef(clause.words) == first)
      found = &clause;
    else if (StringRef(clause.words).starts_with(first + " "))
      seconds.push_back(StringRef(clause.words).split(' ').second.str());
  if (!found && seconds.empty())
    return unknownClause(loc, first);
  if (parser.parseKeyword(&taken))
    return failure();
  if (!found) {
    SMLoc secondLoc = parser.getCurrentLocation();
    std::string second = peekWord(parser).str();
    for (const Clause &clause : kClauses)
      if (StringRef(clause.words) == first + " " + second)
        found = &clause;
    if (!found)
      return errorAt(parser, secondLoc)
             << "expected " << fmt::format("{}", fmt::join(seconds, " or ")) << " after '" << first
             << "'";
    if (parser.parseKeyword(&taken))
      return failure();
  }
  if (!seen.insert(found->words).second)
    return errorAt(parser, loc) << "the clause '" << found->words << "' is repeated";
  return (this->*found->read)();
}

ParseResult MixParser::parseClauses() {
  while (true) {
    SMLoc loc = parser.getCurrentLocation();
    StringRef word = peekWord(parser);
    if (word.empty() || word == "return" || word == "loc")
      return success();
    if (parseOneClause(loc, word))
      return failure();
  }
}

void MixParser::addInputs() {
  state.addOperands(inputs);
  reader.setStrings("roles", roles);
}

ParseResult MixParser::finishResults() {
  if (!seen.contains("weight"))
    return errorAt(parser, reader.start)
           << "mix has no weight clause: write weight exp, sigmoid, relu or id";
  if (weightKind == WeightKind::exp && !seen.contains("norm"))
    return errorAt(parser, reader.start)
           << "weight exp has no norm clause: write norm sum, or norm none if the sum of "
              "exponentials is meant";
  if (!facts.inputs.contains("v") && !facts.aliasSize)
    return errorAt(parser, reader.start)
           << "mix has no third operand: give the values, or alias v { first, size }";
  if (facts.inputs.contains("v") && facts.aliasSize)
    return errorAt(parser, locs["v"]) << "the values are given twice: as operand and as alias of k";
  auto canon = [&](ExprAttr extent) { return reader.scope->canonical(extent); };
  auto shape = shapeOf(facts, canon);
  MixMistake mistake;
  if (auto *wrong = std::get_if<MixMistake>(&shape))
    mistake = *wrong;
  else
    mistake = checkInputs(facts, std::get<MixShape>(shape), canon);
  if (!mistake.text.empty())
    return errorAt(parser, locs.contains(mistake.role) ? locs[mistake.role] : reader.start)
           << mistake.text;
  const MixShape &known = std::get<MixShape>(shape);
  if (outputs.empty())
    outputs = defaultResultRoles(weightKind, reader.names.size());
  if (outputs.size() != reader.names.size())
    return errorAt(parser, reader.start)
           << reader.names.size() << " results are named, mix gives " << outputs.size()
           << (seen.contains("gives") ? "" : ": list them with gives");
  SmallVector<ArrayType> types;
  for (const std::string &role : outputs)
    types.push_back(resultType(facts, known, role));
  reader.setExpr("support", supportExpr ? supportExpr : defaultSupport(context));
  ExprAttr width = facts.input("q").dim(facts.input("q").rank() - 1);
  reader.setExpr("score", scoreExpr ? scoreExpr : defaultScore(width));
  if (facts.segment == SegmentKind::fenwick && !bankGiven)
    set<BankKindAttr>("bank", size_t(BankKind::running));
  reader.setStrings("resultRoles", outputs);
  reader.define(types);
  return success();
}

ParseResult MixParser::parse() {
  facts.featuresQ = facts.featuresK = ArrayAttr::get(context, {});
  if (reader.begin("mix", 1, 10) || parseOperands() || parseClauses())
    return failure();
  for (StringRef side : {"q", "k"})
    if (!seen.contains("features " + side.str()))
      state.addAttribute(side == "q" ? "featuresQ" : "featuresK", ArrayAttr::get(context, {}));
  SmallVector<Value> reads;
  SmallVector<std::string> readNames;
  addInputs();
  if (reader.finishReads(reads, readNames))
    return failure();
  state.addOperands(reads);
  reader.setStrings("readNames", readNames);
  reader.setSegments({int32_t(inputs.size()), int32_t(reads.size())});
  return finishResults();
}

} // namespace

ParseResult MixOp::parse(OpAsmParser &parser, OperationState &state) {
  return MixParser(parser, state).parse();
}

} // namespace heddle::pattern
