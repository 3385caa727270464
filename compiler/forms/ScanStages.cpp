// Reads a mix as a scan: tensors by role, expressions with what is static put in. What kernels of
// scans do not do stands before the mix as a map:
//
//   features [.., rope]     a tensor of mapped rows
//   codec k, codec v        a tensor of decoded rows: a scan reads each once
//   taps %prev, %here       keys here_t k_t with v_t, and prev_t k_{t-1} with v_{t-1}
//   subtokens, in chunks    rows t * n + r instead of [t, r]
//   gates of a router       pools, logits, softmax
//   power features          a state in memory, filled with the one on entry
#include "compiler/forms/Features.h"
#include "compiler/forms/FormCost.h"
#include "compiler/forms/ScanFeatures.h"
#include "compiler/forms/SegmentGates.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

namespace {

class ScanReader {
public:
  ScanReader(GraphReader &reader, pattern::MixOp mix)
      : reader(reader), graph(reader.graph), context(reader.context), mix(mix) {
    scan.mix = mix;
    scan.context = context;
  }

  Status run() {
    HEDDLE_CHECK(checkStateWeights(mix));
    HEDDLE_CHECK(readTensors());
    HEDDLE_CHECK(readLengths());
    readPolynomial();
    bool taps = bool(mix.input("tap_here"));
    ArrayAttr none = ArrayAttr::get(context, {});
    HEDDLE_CHECK(mapRows("q", scan.featuresQ, mix.getCodecQAttr(), false));
    HEDDLE_CHECK(mapRows("k", scan.featuresK, mix.getCodecKAttr(), taps));
    HEDDLE_CHECK(mapRows("v", none, mix.getCodecVAttr(), false));
    HEDDLE_CHECK(readExpressions());
    static_cast<PatternProblem &>(scan) = graph;
    HEDDLE_CHECK(compiler::readScan(scan));
    if (taps)
      HEDDLE_CHECK(mapTaps());
    if (mix.hasWriteAxis() && (reader.mixes == MixAs::Chunks || scan.walk != ScanWalk::Forward))
      HEDDLE_CHECK(mapSubtokens());
    HEDDLE_CHECK(addWorkspace());
    static_cast<PatternProblem &>(scan) = graph;
    graph.stages.push_back(scan);
    return scan.polynomial.degree ? leavePolynomialState() : Status();
  }

private:
  Status readTensors();
  Status readLengths();
  void readPolynomial();
  bool paysBeforeWalk(ArrayAttr features);
  Status mapRows(const char *role, ArrayAttr &features, Expr codec, bool always);
  Expr positionOf(Expr row);
  Status readExpressions();
  Status mapTaps();
  Status mapSubtokens();
  Status addWorkspace();
  Status addSegments();
  Status addLevels();
  Status enterBank(Expr ended);
  void addPosition(Expr tokens);
  Status addPolynomialState();
  Status leavePolynomialState();

  Expr var(const char *name) { return makeVar(context, name); }
  Expr number(int64_t n) { return makeInteger(context, n); }
  Type f32() { return Float32Type::get(context); }
  std::string o() {
    Value value = mix.output("o");
    return value ? pattern::valueName(value).str() : "state";
  }
  /// Workspace [B, shape..] that a map fills.
  Status addMap(std::string &name, std::vector<Extent> shape, std::vector<std::string> vars,
                Expr expr, const char *why, Type element) {
    name = reader.freshName(name);
    HEDDLE_CHECK(reader.addBuffer(name, true, std::move(shape), element));
    graph.stages.push_back(MapStage{name, std::move(vars), graph.specialise(expr), why});
    return {};
  }

  GraphReader &reader;
  Graph &graph;
  MLIRContext *context;
  pattern::MixOp mix;
  ScanProblem scan;
};

Status ScanReader::readTensors() {
  for (auto [value, role] : llvm::zip(mix.getInputs(), mix.getRoles()))
    scan.inputs[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
  for (auto [value, role] : llvm::zip(mix.getOutputs(), mix.getResultRoles())) {
    if (value.use_empty())
      continue;
    HEDDLE_CHECK(reader.ensureTensor(value, f32()));
    scan.results[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
  }
  static_cast<PatternProblem &>(scan) = graph;
  bool packed = mix.getLayout() == pattern::LayoutKind::varlen;
  for (const char *role : {"q", "k", "v"}) {
    const ProblemTensor *tensor = scan.input(role);
    bool subtokens = role[0] == 'q' ? mix.hasReadAxis() : mix.hasWriteAxis();
    if (!tensor || (role[0] == 'q' && tensor->batched == packed) ||
        tensor->rank() != (subtokens ? 4u : 3u))
      return unsupported("operand {} of the mix is not [B, T, H, D]", role);
    Expr codec = role[0] == 'q'   ? mix.getCodecQAttr()
                 : role[0] == 'k' ? mix.getCodecKAttr()
                                  : mix.getCodecVAttr();
    if (!codec && !isProductElement(tensor->element))
      return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", role);
    if (codec && packed)
      return unsupported("codec of packed {} is not lowered yet for scans", role);
  }
  scan.featuresQ = mix.getFeaturesQ(), scan.featuresK = mix.getFeaturesK();
  return {};
}

Status ScanReader::readLengths() {
  const ProblemTensor &q = *scan.input("q"), &k = *scan.input("k"), &v = *scan.input("v");
  scan.B = q.shape[0], scan.T = k.dim(0), scan.Tq = q.dim(0);
  scan.Hq = q.dim(q.rank() - 2), scan.Hk = k.dim(k.rank() - 2), scan.Hv = v.dim(v.rank() - 2);
  scan.H = graph.extentOf(graph.specialise(mix.stateHeads()));
  if (auto group = reader.request.request.dims.find("G");
      group != reader.request.request.dims.end())
    scan.givenG = group->second;
  if (mix.getLayout() == pattern::LayoutKind::varlen) {
    // Sequence b owns rows cu[b] .. cu[b + 1].
    std::string cu = pattern::valueName(mix.input("cu_k")).str();
    if (mix.input("cu_k") != mix.input("cu_q"))
      return unsupported("packed queries and keys with different offsets: a scan reads where it "
                         "writes");
    Expr b = var("b");
    scan.B = graph.extentOf(minus(graph.lengthExpr(graph.find(cu)->dim(0)), number(1)));
    scan.start = read(cu, {b});
    scan.tokens = minus(read(cu, {sumOf(b, number(1))}), scan.start);
  }
  return {};
}

/// The last feature map of both sides, if it is one of products of features.
void ScanReader::readPolynomial() {
  auto last = [](ArrayAttr list) {
    return list.empty() ? pattern::FeatureAttr()
                        : cast<pattern::FeatureAttr>(list.getValue().back());
  };
  pattern::FeatureAttr q = last(scan.featuresQ), k = last(scan.featuresK);
  if (!q || !k || q.getName() != k.getName())
    return;
  PolynomialFeatures &power = scan.polynomial;
  llvm::StringRef name = q.getName().getValue();
  if (name == "spow") {
    Expr p = graph.specialise(q.expr("p"));
    if (p != graph.specialise(k.expr("p")) || !p.is(ExprKind::Integer) || p.integer() < 2 ||
        p.integer() > 4)
      return;
    power.degree = p.integer();
  } else if (name == "taylor2") {
    power.degree = 2, power.taylor = true;
    power.scaleQ = graph.specialise(q.expr("scale")),
    power.scaleK = graph.specialise(k.expr("scale"));
    for (const char *role : {"in_state", "in_z"})
      power.whole |= scan.inputs.count(role) > 0;
    for (const char *role : {"state", "z"})
      power.whole |= scan.results.count(role) > 0;
  } else {
    return;
  }
  for (ArrayAttr *list : {&scan.featuresQ, &scan.featuresK})
    *list = ArrayAttr::get(context, list->getValue().drop_back());
}

/// Whether features are worth a launch of their own where a kernel could apply them: on a GPU a
/// head's chunks follow one another, while a map runs for all tokens at once. Exponentials and
/// norms of rows would take as many instructions as the products of a chunk. The keys of a delta
/// rule are rounded once more on this way, which shows where a column beside a normalised row makes
/// them longer than 1: the system that a chunk solves is then no contraction.
bool ScanReader::paysBeforeWalk(ArrayAttr features) {
  const Request &request = reader.request.request;
  const bool longKeys = mix.getUpdate() != pattern::UpdateKind::add && appendsColumn(features);
  return !longKeys && reader.mixes == MixAs::Chunks && request.target.starts_with("sm_") &&
         nominalLength(request) > 64 && mix.getLayout() != pattern::LayoutKind::varlen &&
         hasCostlyFeature(features);
}

/// Codes as values; feature maps that kernels do not apply, and all of them before power features,
/// taps and sub-tokens.
Status ScanReader::mapRows(const char *role, ArrayAttr &features, Expr codec, bool always) {
  always |= codec || (scan.polynomial.degree > 0 && !features.empty());
  const bool inKernel = refuseFeatures(graph, features).empty();
  if (!always && inKernel && !paysBeforeWalk(features))
    return {};
  bool query = role[0] == 'q';
  const ProblemTensor given = *scan.input(role);
  Expr t = var("t"), r = var("r"), h = var("h"), d = var("d");
  bool sub = given.rank() == 4;
  FeatureRow row;
  row.width = graph.lengthExpr(given.dim(given.rank() - 1));
  row.at = [&](Expr feature) {
    Expr x = sub ? read(given.name, {t, r, h, feature}) : read(given.name, {t, h, feature});
    return codec ? rename(codec, {{"x", x}, {"d", feature}, {"hk", h}, {"h", h}}) : x;
  };
  std::string refused;
  row = applyFeatures(graph, features, std::move(row), var(query ? "i" : "j"), refused);
  if (!refused.empty())
    return unsupported("feature map {} of {} is not lowered yet for scans", refused, role);
  if (mix.getLayout() == pattern::LayoutKind::varlen)
    return unsupported("feature maps of packed {} that move between columns are not lowered yet",
                       role);
  Expr expr = reader.readExpr(row.at(d), mix.getReads(), mix.getReadNames());
  Expr lengthQ = graph.lengthExpr(scan.Tq), lengthK = graph.lengthExpr(scan.T);
  if (query && mix.input("parent") && mentions(expr, "i"))
    return unsupported("features of queries on a tree that ask for their position: it is a depth, "
                       "which nodes with a state do not have; give them pos = row, or use the "
                       "attention form");
  expr = rename(expr, {{query ? "i" : "j", query ? positionOf(t) : t},
                       {"row", t},
                       {"hk", h},
                       {"len_q", lengthQ},
                       {"len_k", lengthK}});
  std::vector<Extent> shape{given.dim(0)};
  std::vector<std::string> vars{"t"};
  if (sub)
    shape.push_back(given.dim(1)), vars.push_back("r");
  shape.insert(shape.end(), {given.dim(given.rank() - 2), graph.extentOf(row.width)});
  vars.insert(vars.end(), {"h", "d"});
  std::string name = fmt::format("{}_of_{}", role, o());
  // Codes become what products take beside the queries, or f32 where there are no products.
  const Type q = graph.find(scan.inputs["q"])->element;
  const bool exact = reader.mixes == MixAs::Steps || !isProductElement(q);
  HEDDLE_CHECK(addMap(name, std::move(shape), std::move(vars), expr,
                      codec ? "codes of all tokens as values, each read once"
                      : inKernel
                          ? "features of all tokens at once, before chunks follow one another"
                          : "features that no kernel of a scan applies",
                      !codec  ? given.element
                      : exact ? f32()
                              : q));
  scan.inputs[role] = name;
  features = ArrayAttr::get(context, {});
  return {};
}

/// Where the query of a row stands.
Expr ScanReader::positionOf(Expr row) {
  if (scan.Tq == scan.T || mix.getAlign() == pattern::Align::top_left)
    return row;
  return sumOf(row, minus(graph.lengthExpr(scan.T), graph.lengthExpr(scan.Tq)));
}

Status ScanReader::readExpressions() {
  Expr lengthQ = graph.lengthExpr(scan.Tq), lengthK = graph.lengthExpr(scan.T), h = var("h");
  if (scan.tokens)
    lengthQ = lengthK = scan.tokens;
  Expr hk = scan.Hk == scan.Hv && scan.Hq == scan.Hk
                ? h
                : headOf(h, graph.lengthExpr(scan.Hk),
                         graph.lengthExpr(graph.extentOf(mix.outputHeads())));
  auto ready = [&](Expr expr) {
    expr = reader.readExpr(expr, mix.getReads(), mix.getReadNames());
    return expr ? graph.specialise(
                      rename(expr, {{"len_q", lengthQ}, {"len_k", lengthK}, {"hk", hk}}))
                : expr;
  };
  scan.score = ready(mix.getScoreAttr());
  scan.normArg = ready(mix.getNormArgAttr());
  scan.constantDecay = ready(mix.getDecayExprAttr());
  scan.support = ready(mix.getSupportAttr());
  if (!mix.input("parent"))
    scan.support = rename(scan.support, {{"row", var("i")}});
  scan.support = pattern::simplify(scan.support);
  for (Expr *expr : {&scan.score, &scan.normArg}) {
    if (mix.input("parent") && *expr && mentions(*expr, "i"))
      return unsupported("{} on a tree beside a state: the position of a node is its depth, which "
                         "it does not have here; use the attention form",
                         expr == &scan.score ? "score" : "norm");
    *expr = rename(*expr, {{"i", positionOf(var("row"))}});
  }
  return {};
}

/// S += prev_t k_{t-1} v_{t-1}' + here_t k_t v_t' as two pairs of keys and values. The token before
/// the first is the one on entry.
Status ScanReader::mapTaps() {
  const ProblemTensor k = *scan.input("k"), v = *scan.input("v");
  bool sub = k.rank() == 4;
  Expr t = var("t"), r = var("r"), h = var("h"), d = var("d"), T = graph.lengthExpr(scan.T);
  auto headOf = [&](const Extent &mine) {
    return terms::headOf(h, graph.lengthExpr(mine), graph.lengthExpr(scan.H));
  };
  auto at = [&](const ProblemTensor &x, Expr token) {
    Expr head = headOf(x.dim(x.rank() - 2));
    return sub ? read(x.name, {token, r, head, d}) : read(x.name, {token, head, d});
  };
  auto entry = [&](const char *role) {
    const ProblemTensor *x = scan.input(role);
    if (!x)
      return pattern::makeFloat(context, 0);
    return sub ? read(x->name, {r, h, d}) : read(x->name, {h, d});
  };
  auto before = [&](const ProblemTensor &x, const char *role) {
    return call("select",
                {makeBinary(ExprKind::Gt, t, number(0)), at(x, minus(t, number(1))), entry(role)});
  };
  auto last = [&](const char *role, const ProblemTensor &x, const char *start) {
    const ProblemTensor *result = scan.result(role);
    if (!result)
      return;
    std::vector<std::string> vars{"h", "d"};
    if (sub)
      vars.insert(vars.begin(), "r");
    Expr expr = call("select", {makeBinary(ExprKind::Gt, T, number(0)), at(x, minus(T, number(1))),
                                entry(start)});
    graph.stages.push_back(
        MapStage{result->name, vars, graph.specialise(expr), "what the next run begins with"});
  };
  last("k_last", k, "in_k_last");
  last("v_last", v, "in_v_last");
  std::vector<std::string> vars{"t", "h", "d"};
  if (sub)
    vars.insert(vars.begin() + 1, "r");
  auto shape = [&](const ProblemTensor &x) {
    std::vector<Extent> extents{scan.T};
    if (sub)
      extents.push_back(x.dim(1));
    extents.insert(extents.end(), {scan.H, x.dim(x.rank() - 1)});
    return extents;
  };
  auto tap = [&](const char *role) {
    return read(scan.inputs[role], {t, headOf(scan.input(role)->dim(1))});
  };
  struct Part {
    const char *role;
    const ProblemTensor *tensor;
    Expr expr;
  };
  const Part parts[] = {{"k", &k, times(tap("tap_here"), at(k, t))},
                        {"k_before", &k, times(tap("tap_prev"), before(k, "in_k_last"))},
                        {"v_before", &v, before(v, "in_v_last")}};
  for (const Part &part : parts) {
    std::string name = fmt::format("{}_of_{}_tap", part.role, o());
    HEDDLE_CHECK(addMap(name, shape(*part.tensor), vars, part.expr,
                        "a tap of the write: keys scaled, the token before", f32()));
    scan.inputs[part.role] = name;
  }
  scan.results.erase("k_last");
  scan.results.erase("v_last");
  return {};
}

/// Chunks have the sub-tokens that are written as rows: t * n + r. A token's first row decays.
Status ScanReader::mapSubtokens() {
  scan.rowsPerToken = scan.writes;
  Expr t = var("t"), h = var("h"), d = var("d"), n = number(scan.writes);
  Expr token = makeBinary(ExprKind::FloorDiv, t, n), r = makeBinary(ExprKind::Mod, t, n);
  Extent rows = graph.extentOf(times(graph.lengthExpr(scan.T), n));
  for (const char *role : {"k", "v", "k_before", "v_before", "beta", "a", "y"}) {
    if (!scan.inputs.count(role))
      continue;
    const ProblemTensor x = *graph.find(scan.inputs[role]);
    std::vector<Extent> shape{rows};
    for (size_t dim = 2; dim < x.rank(); ++dim)
      shape.push_back(x.dim(dim));
    bool vector = x.rank() == 4;
    Expr expr = vector ? read(x.name, {token, r, h, d}) : read(x.name, {token, r, h});
    std::string name = fmt::format("{}_of_{}_rows", role, o());
    HEDDLE_CHECK(addMap(name, std::move(shape),
                        vector ? std::vector<std::string>{"t", "h", "d"}
                               : std::vector<std::string>{"t", "h"},
                        expr, "sub-tokens side by side", x.element));
    scan.inputs[role] = name;
  }
  if (!scan.inputs.count("decay"))
    return {};
  const ProblemTensor g = *graph.find(scan.inputs["decay"]);
  std::vector<Extent> shape{rows, g.dim(1)};
  std::vector<std::string> vars{"t", "h"};
  llvm::SmallVector<Expr> at{token, h};
  if (g.rank() == 3)
    shape.push_back(g.dim(2)), vars.push_back("d"), at.push_back(d);
  Expr first = makeBinary(ExprKind::Eq, r, number(0));
  std::string name = fmt::format("decay_of_{}_rows", o());
  HEDDLE_CHECK(addMap(name, std::move(shape), std::move(vars),
                      call("select", {first, read(g.name, at), pattern::makeFloat(context, 0)}),
                      "the first sub-token decays", f32()));
  scan.inputs["decay_rows"] = name;
  return {};
}

Status ScanReader::addWorkspace() {
  Extent V = graph.extentOf(number(scan.Dv)), F = graph.extentOf(number(scan.features));
  if (scan.walk == ScanWalk::TwoWay) {
    Extent H = graph.extentOf(graph.specialise(mix.outputHeads()));
    scan.ahead = reader.freshName(o() + "_ahead");
    HEDDLE_CHECK(reader.addBuffer(scan.ahead, true, {scan.T, H, V}, f32()));
    if (mix.getNorm() != pattern::NormKind::None) {
      scan.aheadSums = reader.freshName(o() + "_ahead_sums");
      HEDDLE_CHECK(reader.addBuffer(scan.aheadSums, true, {scan.T, H}, f32()));
    }
  }
  if (scan.walk == ScanWalk::Tree) {
    Extent slots = graph.extentOf(sumOf(graph.lengthExpr(scan.T), number(1)));
    scan.nodes = reader.freshName(o() + "_nodes");
    HEDDLE_CHECK(reader.addBuffer(scan.nodes, true, {slots, scan.H, F, V}, f32()));
    if (scan.sums) {
      scan.nodeSums = reader.freshName(o() + "_node_sums");
      HEDDLE_CHECK(reader.addBuffer(scan.nodeSums, true, {slots, scan.H, F}, f32()));
    }
  }
  if (mix.getSegment() != pattern::SegmentKind::None)
    HEDDLE_CHECK(addSegments());
  return scan.polynomial.degree ? addPolynomialState() : Status();
}

Status ScanReader::addSegments() {
  SegmentStates &segments = scan.segments;
  Expr T = graph.lengthExpr(scan.T);
  Extent V = graph.extentOf(number(scan.Dv)), F = graph.extentOf(number(scan.features));
  bool levels = scan.walk == ScanWalk::Levels;
  if (!levels)
    segments.length = graph.specialise(mix.getSegmentArgAttr());
  if (segments.length && (!segments.length.is(ExprKind::Integer) || segments.length.integer() < 1))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("segments of {} tokens: expected a number from 1 on that the request "
                             "fixes",
                             segments.length.str())};
  SegmentCuts cuts{segments.length, T};
  if (segments.carried && !levels) {
    cuts.position = call("max", {read(scan.input("in_position")->name, {var("b")}), number(0)});
    cuts.slots = graph.lengthExpr(scan.input("in_bank")->dim(0));
  }
  if (mix.getGate() == pattern::GateKind::given) {
    segments.gates = pattern::valueName(mix.input("gate")).str();
  } else if (mix.getGate() != pattern::GateKind::ones) {
    SegmentPools pools(reader, mix, cuts);
    HEDDLE_CHECK(pools.addSums());
    HEDDLE_CHECK(pools.addGates(scan.T, graph.extentOf(mix.outputHeads()), o(), segments.gates));
    HEDDLE_CHECK(pools.addResults(graph.specialise(mix.stateHeads()), scan.result("pool"),
                                  scan.result("run_pool")));
  }
  if (levels)
    return addLevels();
  if (scan.result("position"))
    addPosition(sumOf(cuts.position, T));
  if (segments.carried)
    return enterBank(cuts.first());
  segments.bank = reader.freshName(o() + "_bank");
  HEDDLE_CHECK(
      reader.addBuffer(segments.bank, true, {graph.extentOf(cuts.count()), scan.H, F, V}, f32()));
  if (!scan.sums)
    return {};
  segments.sums = reader.freshName(o() + "_bank_sums");
  return reader.addBuffer(segments.sums, true, {graph.extentOf(cuts.count()), scan.H, F}, f32());
}

/// The levels on entry as slots of bits of the tokens so far, the lower ones merged as the next
/// token would; and what a run leaves: nothing in levels without a state, all of it if it has no
/// token.
Status ScanReader::addLevels() {
  Expr n = var("n"), h = var("h"), d = var("d"), e = var("e"), b = var("b");
  Expr none = pattern::makeFloat(context, 0), T = graph.lengthExpr(scan.T);
  const ProblemTensor *given = scan.input("in_bank");
  Extent slots = graph.extentOf(call("min", {T, number(32)}));
  if (const ProblemTensor *bank = given ? given : scan.result("bank"))
    slots = bank->dim(0);
  Extent V = graph.extentOf(number(scan.Dv)), F = graph.extentOf(number(scan.features));
  scan.segments.bank = reader.freshName(o() + "_bank");
  HEDDLE_CHECK(reader.addBuffer(scan.segments.bank, true, {slots, scan.H, F, V}, f32()));
  auto level = [&](Expr at) { return read(given->name, {at, h, d, e}); };
  if (given) {
    Expr position = read(scan.input("in_position")->name, {b});
    Expr power = call("int", {call("exp2", {call("float", {n})})});
    Expr twice = times(power, number(2));
    Expr below = makeBinary(ExprKind::Mod, position, twice);
    Expr merged = pattern::makeReduction(ExprKind::Sum, "n'", number(0), sumOf(n, number(1)),
                                         level(var("n'")));
    Expr kept =
        call("select", {makeBinary(ExprKind::Gt, below, power), level(sumOf(n, number(1))), none});
    Expr slot = call("select", {makeBinary(ExprKind::Eq, below, power), merged, kept});
    graph.stages.push_back(MapStage{
        scan.segments.bank, {"n", "h", "d", "e"}, graph.specialise(slot), "the levels on entry"});
  }
  if (const ProblemTensor *bank = scan.result("bank")) {
    Expr left =
        given ? call("select", {makeBinary(ExprKind::Gt, T, number(0)), none, level(n)}) : none;
    graph.stages.push_back(MapStage{bank->name,
                                    {"n", "h", "d", "e"},
                                    graph.specialise(left),
                                    "levels that are left without a state"});
  }
  if (scan.result("position"))
    addPosition(given ? sumOf(read(scan.input("in_position")->name, {b}), T) : T);
  return {};
}

/// The bank lies in its result, or in workspace; the segments that had ended are those on entry.
Status ScanReader::enterBank(Expr ended) {
  const ProblemTensor given = *scan.input("in_bank");
  Expr n = var("n"), h = var("h"), d = var("d"), e = var("e");
  if (const ProblemTensor *bank = scan.result("bank")) {
    scan.segments.bank = bank->name;
  } else {
    scan.segments.bank = reader.freshName(o() + "_bank");
    llvm::ArrayRef<Extent> shape = given.shape;
    HEDDLE_CHECK(reader.addBuffer(scan.segments.bank, true, shape.drop_front().vec(), f32()));
  }
  Expr kept = call("select", {makeBinary(ExprKind::Lt, n, ended), read(given.name, {n, h, d, e}),
                              pattern::makeFloat(context, 0)});
  graph.stages.push_back(MapStage{
      scan.segments.bank, {"n", "h", "d", "e"}, graph.specialise(kept), "the bank on entry"});
  return {};
}

void ScanReader::addPosition(Expr tokens) {
  graph.stages.push_back(MapStage{scan.result("position")->name,
                                  {"b"},
                                  graph.specialise(tokens),
                                  "the tokens behind which the next run begins"});
}

/// The state of power features is too large to be carried: it lies in its result or in workspace,
/// and begins as the one on entry.
Status ScanReader::addPolynomialState() {
  Extent V = graph.extentOf(number(scan.Dv)), F = graph.extentOf(number(scan.features));
  auto place = [&](const char *role, const char *entry, std::vector<Extent> shape,
                   std::string &name) -> Status {
    const ProblemTensor *result = scan.result(role), *start = scan.input(entry);
    bool direct = result && result->element.isF32();
    name = direct ? result->name : reader.freshName(fmt::format("{}_of_{}", role, o()));
    std::vector<std::string> vars{"h", "d"};
    llvm::SmallVector<Expr> at{var("h"), var("d")};
    if (shape.size() == 3)
      vars.push_back("e"), at.push_back(var("e"));
    if (!direct)
      HEDDLE_CHECK(reader.addBuffer(name, true, std::move(shape), f32()));
    Expr expr = start ? read(start->name, at) : pattern::makeFloat(context, 0);
    graph.stages.push_back(MapStage{name, vars, graph.specialise(expr), "the state on entry"});
    return {};
  };
  HEDDLE_CHECK(place("state", "in_state", {scan.H, F, V}, scan.polynomial.state));
  return scan.sums ? place("z", "in_z", {scan.H, F}, scan.polynomial.sums) : Status();
}

/// A result that is not f32 is a copy of the state.
Status ScanReader::leavePolynomialState() {
  for (auto [role, from] :
       {std::pair("state", scan.polynomial.state), std::pair("z", scan.polynomial.sums)})
    if (const ProblemTensor *result = scan.result(role); result && result->name != from) {
      std::vector<std::string> vars{"h", "d"};
      llvm::SmallVector<Expr> at{var("h"), var("d")};
      if (result->rank() == 3)
        vars.push_back("e"), at.push_back(var("e"));
      graph.stages.push_back(MapStage{result->name, vars, read(from, at), "the state, narrowed"});
    }
  return {};
}

} // namespace

Status GraphReader::readScan(pattern::MixOp mix) { return ScanReader(*this, mix).run(); }

} // namespace heddle::compiler
