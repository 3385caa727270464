// Shapes of a mix. With q: seq<Tq x Hq x D>, k: seq<Tk x Hk x D>, v: seq<Tk x Hk x Dv> the output
// is seq<Tq x Hq x Dv>. The head count of the output is the largest of q's, k's and v's; with names
// it is the one that the other two divide: Hq over Hk = Hv (grouped queries), Hv over Hq = Hk.
#include "ir/pattern/MixShape.h"

#include "ir/pattern/ExprUtils.h"
#include "ir/pattern/OpText.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::pattern {

MixFacts factsOf(MixOp op) {
  MixFacts facts;
  for (size_t n = 0; n < op.getInputs().size(); ++n)
    facts.inputs[stringAt(op.getRoles(), n)] = arrayType(op.getInputs()[n]);
  facts.writes = op.getWritesAttr();
  facts.readouts = op.getReadoutsAttr();
  facts.aliasSize = op.getAliasSizeAttr();
  facts.featuresQ = op.getFeaturesQ();
  facts.featuresK = op.getFeaturesK();
  facts.layout = op.getLayout();
  facts.pageOrder = op.getPageOrder();
  facts.decay = op.getDecay();
  facts.decayExpr = op.getDecayExprAttr();
  facts.segment = op.getSegment();
  facts.segmentArg = op.getSegmentArgAttr();
  facts.stateType = op.getStateType() ? *op.getStateType() : Type();
  return facts;
}

//===--- widths ---===//

// Number of monomials of degree p in w variables.
static ExprAttr monomials(ExprAttr width, ExprAttr degree) {
  MLIRContext *context = width.getContext();
  ExprAttr sum = makeBinary(ExprKind::Add, width, degree);
  ExprAttr top = makeBinary(ExprKind::Sub, sum, makeInteger(context, 1));
  return makeCall(context, "binom", {top, degree});
}

Width widthAfter(ArrayAttr features, ExprAttr width) {
  if (!features)
    return {width, ""};
  MLIRContext *context = width.getContext();
  for (auto feature : features.getAsRange<FeatureAttr>()) {
    StringRef name = feature.getName().getValue();
    if (name == "append")
      width = makeBinary(ExprKind::Add, width, makeInteger(context, 1));
    if (name == "taylor2")
      width = makeBinary(ExprKind::Add, makeBinary(ExprKind::Add, makeInteger(context, 1), width),
                         makeBinary(ExprKind::Mul, width, width));
    if (name == "spow") {
      ExprAttr degree = simplify(feature.expr("p"));
      if (degree.is(ExprKind::Integer) && (degree.integer() < 1 || degree.integer() > 8))
        return {{}, "spow has p = " + degree.str() + ", expected 1 .. 8"};
      width = monomials(width, degree);
    }
  }
  return {width, ""};
}

//===--- q, k, v ---===//

namespace {

class ShapeReader {
public:
  ShapeReader(const MixFacts &facts, Canon canon) : facts(facts), canon(canon) {}

  std::variant<MixShape, MixMistake> read() {
    if (!readQuery() || !readKey() || !readValue() || !readFeatures() || !readHeads())
      return mistake;
    return shape;
  }

private:
  bool wrong(StringRef role, std::string text) {
    mistake = {role.str(), std::move(text)};
    return false;
  }

  bool same(ExprAttr a, ExprAttr b) const { return canon(a) == canon(b); }

  // The dims of an operand as [length, (sub-token,) heads, width].
  bool readOperand(StringRef role, bool axis, ExprAttr subtokens, ExprAttr &length, ExprAttr &heads,
                   ExprAttr &width) {
    ArrayType type = facts.input(role);
    size_t rank = axis ? 4 : 3;
    if (type.rank() != rank)
      return wrong(
          role,
          fmt::format("{} is {}, expected {} dims: length, {}heads, width{}", role.str(),
                      type.str(), rank, axis ? "sub-tokens, " : "",
                      type.rank() == 2 && !axis ? " (one head is written as the extent 1)" : ""));
    if (axis && !same(type.dim(1), subtokens))
      return wrong(role, fmt::format("{} has {} sub-tokens, the clause subtokens says {}",
                                     role.str(), type.dim(1).str(), subtokens.str()));
    length = type.dim(0);
    heads = type.dim(rank - 2);
    width = type.dim(rank - 1);
    return true;
  }

  bool readQuery() {
    ArrayType type = facts.input("q");
    shape.batched = type.getBatched();
    shape.readAxis = bool(facts.readouts);
    bool packed = facts.layout == LayoutKind::varlen;
    if (packed == type.getBatched())
      return wrong("q", packed
                            ? "q is " + type.str() +
                                  ", but layout varlen packs sequences: expected tensor<N x H x D>"
                            : "q is " + type.str() +
                                  ", expected seq<..> (tensor<..> only with layout varlen)");
    ExprAttr width;
    if (!readOperand("q", shape.readAxis, facts.readouts, shape.queryLength, shape.queryHeads,
                     width))
      return false;
    queryWidth = width;
    return true;
  }

  // Pools of pages are tensor<P x page x H x D> or tensor<P x H x page x D>.
  bool readPool(StringRef role, ExprAttr &heads, ExprAttr &width) {
    ArrayType type = facts.input(role);
    bool headsFirst = facts.pageOrder == PageOrder::hnd;
    if (type.getBatched() || type.rank() != 4)
      return wrong(role,
                   fmt::format("{} is {}, but layout paged takes a pool tensor<{}>", role.str(),
                               type.str(), headsFirst ? "P x H x page x D" : "P x page x H x D"));
    heads = type.dim(headsFirst ? 1 : 2);
    width = type.dim(3);
    return true;
  }

  bool readKeyLike(StringRef role, ExprAttr &length, ExprAttr &heads, ExprAttr &width) {
    if (facts.layout == LayoutKind::paged) {
      length = makeVar(facts.input("q").getContext(), "len_k");
      return readPool(role, heads, width);
    }
    ArrayType type = facts.input(role);
    // Keys and values may be shared by the batch: tensor<..> beside q: seq<..>.
    if (type.getBatched() && !shape.batched)
      return wrong(role, fmt::format("{} is {}, but layout varlen packs sequences: expected "
                                     "tensor<N x H x D>",
                                     role.str(), type.str()));
    shape.writeAxis = bool(facts.writes);
    if (!readOperand(role, shape.writeAxis, facts.writes, length, heads, width))
      return false;
    if (facts.layout == LayoutKind::ring)
      length = makeVar(type.getContext(), "len_k");
    return true;
  }

  bool readKey() {
    if (!readKeyLike("k", shape.keyLength, shape.keyHeads, shape.keyWidth))
      return false;
    return same(queryWidth, shape.keyWidth) || hasFeatures() ||
           wrong("k", fmt::format("k has width {}, q has width {}: they are multiplied feature by "
                                  "feature",
                                  shape.keyWidth.str(), queryWidth.str()));
  }

  bool hasFeatures() const { return !facts.featuresQ.empty() || !facts.featuresK.empty(); }

  bool readValue() {
    if (facts.aliasSize) {
      shape.valueHeads = shape.keyHeads;
      shape.valueWidth = facts.aliasSize;
      return true;
    }
    ExprAttr length;
    if (!readKeyLike("v", length, shape.valueHeads, shape.valueWidth))
      return false;
    return same(length, shape.keyLength) ||
           wrong("v", fmt::format("v has length {}, k has length {}: one value a key", length.str(),
                                  shape.keyLength.str()));
  }

  bool readFeatures() {
    Width q = widthAfter(facts.featuresQ, queryWidth);
    Width k = widthAfter(facts.featuresK, shape.keyWidth);
    for (const Width &width : {q, k})
      if (!width.width)
        return wrong("", width.mistake);
    shape.featureWidth = k.width;
    return same(q.width, k.width) ||
           wrong("k", fmt::format("after the feature maps q has width {} and k has width {}",
                                  canon(q.width).str(), canon(k.width).str()));
  }

  // The head count that the others divide.
  ExprAttr largest(std::vector<std::pair<const char *, ExprAttr>> counts) {
    std::vector<std::pair<const char *, ExprAttr>> distinct;
    for (auto &[role, heads] : counts) {
      ExprAttr value = canon(heads);
      bool repeated = llvm::any_of(distinct, [&](auto &d) { return canon(d.second) == value; });
      if (!repeated && !value.isInteger(1))
        distinct.push_back({role, heads});
    }
    if (distinct.empty())
      return counts[0].second;
    bool numbers =
        llvm::all_of(distinct, [&](auto &d) { return canon(d.second).is(ExprKind::Integer); });
    if (numbers)
      return largestNumber(distinct);
    if (distinct.size() == 1)
      return distinct[0].second;
    ExprAttr q = canon(counts[0].second);
    ExprAttr k = canon(counts[1].second);
    ExprAttr v = canon(counts.back().second);
    if (distinct.size() == 2 && counts.size() == 3 && (k == v || q == k))
      return k == v ? counts[0].second : counts[2].second;
    if (distinct.size() == 2 && counts.size() == 3 && v.isInteger(1))
      return counts[0].second;
    if (distinct.size() == 2 && counts.size() == 2)
      return counts[1].second; // state heads: v's over k's
    std::string list;
    for (auto &[role, heads] : distinct)
      list += fmt::format("{}{} has {}", list.empty() ? "" : ", ", role, heads.str());
    wrong("", "the number of heads of the result cannot be told: " + list +
                  "; name equal counts alike");
    return {};
  }

  ExprAttr largestNumber(const std::vector<std::pair<const char *, ExprAttr>> &counts) {
    auto most = counts[0];
    for (auto &[role, heads] : counts)
      if (canon(heads).integer() <= 0) {
        wrong(role, fmt::format("{} has {} heads, expected a positive number", role, heads.str()));
        return {};
      }
    for (auto &count : counts)
      if (canon(count.second).integer() > canon(most.second).integer())
        most = count;
    for (auto &[role, heads] : counts)
      if (canon(most.second).integer() % canon(heads).integer()) {
        wrong(role, fmt::format("{} has {} heads, {} has {}: expected a divisor", role, heads.str(),
                                most.first, most.second.str()));
        return {};
      }
    return most.second;
  }

  bool readHeads() {
    shape.outputHeads =
        largest({{"q", shape.queryHeads}, {"k", shape.keyHeads}, {"v", shape.valueHeads}});
    if (!shape.outputHeads)
      return false;
    shape.stateHeads = largest({{"k", shape.keyHeads}, {"v", shape.valueHeads}});
    if (shape.stateHeads && statesDiffer())
      shape.stateHeads = shape.outputHeads;
    return bool(shape.stateHeads);
  }

  // Whether what decays or writes a state is an output head's own: query heads that share a key
  // head then have a state each.
  bool statesDiffer() const {
    if (facts.decayExpr && llvm::is_contained(freeVars(facts.decayExpr), "h"))
      return true;
    const size_t axis = shape.writeAxis;
    auto differ = [&](StringRef role, size_t heads, size_t rank) {
      ArrayType type = facts.input(role);
      return type && type.rank() == rank && same(type.dim(heads), shape.outputHeads) &&
             !same(type.dim(heads), shape.stateHeads);
    };
    const size_t decayRank = facts.decay == DecayKind::channel ? 4
                             : facts.decay == DecayKind::diag  ? 3
                                                               : 2;
    return differ("decay", 1, decayRank) || differ("tap_prev", 1, 2) || differ("tap_here", 1, 2) ||
           differ("beta", axis + 1, axis + 2) || differ("a", axis + 1, axis + 3) ||
           differ("y", axis + 1, axis + 3);
  }

  const MixFacts &facts;
  Canon canon;
  MixShape shape;
  MixMistake mistake;
  ExprAttr queryWidth;
};

} // namespace

std::variant<MixShape, MixMistake> shapeOf(const MixFacts &facts, Canon canon) {
  return ShapeReader(facts, canon).read();
}

//===--- results ---===//

ArrayType resultType(const MixFacts &facts, const MixShape &shape, StringRef role) {
  MLIRContext *context = shape.outputHeads.getContext();
  bool packed = facts.layout == LayoutKind::varlen;
  SmallVector<Attribute> dims;
  auto make = [&](Type element, std::initializer_list<ExprAttr> tail) {
    dims.append(tail.begin(), tail.end());
    return ArrayType::get(context, !packed, element, dims);
  };
  Type single = Float32Type::get(context);
  if (role == "o" || role == "lse") {
    dims.push_back(shape.queryLength);
    if (shape.readAxis)
      dims.push_back(facts.readouts);
    return role == "o" ? make({}, {shape.outputHeads, shape.valueWidth})
                       : make(single, {shape.outputHeads});
  }
  // Packed sequences have a state each: cu has one entry more.
  if (packed)
    dims.push_back(makeBinary(ExprKind::Sub, facts.input("cu_k").dim(0), makeInteger(context, 1)));
  Type element = facts.stateType ? facts.stateType : single;
  ExprAttr heads = shape.stateHeads;
  if (role == "position")
    return make(IntegerType::get(context, 32), {});
  if (shape.writeAxis && (role == "k_last" || role == "v_last"))
    dims.push_back(facts.writes);
  if (role == "z" || role == "k_last")
    return make(element, {heads, shape.featureWidth});
  if (role == "v_last")
    return make(element, {heads, shape.valueWidth});
  if (role == "run_pool")
    return make(element, {heads, shape.keyWidth});
  if (role == "state")
    return make(element, {heads, shape.featureWidth, shape.valueWidth});
  ExprAttr states = shape.keyLength;
  if (facts.segment == SegmentKind::constant)
    states = makeCall(context, "cdiv", {shape.keyLength, facts.segmentArg});
  if (facts.input("in_bank"))
    states = facts.input("in_bank").dim(0); // enough for all runs: the caller's
  else if (facts.segment == SegmentKind::fenwick)
    states = makeBinary(ExprKind::Add, makeCall(context, "bitlen", {shape.keyLength}),
                        makeInteger(context, 1));
  return role == "pool" ? make(element, {states, heads, shape.keyWidth})
                        : make(element, {states, heads, shape.featureWidth, shape.valueWidth});
}

//===--- other operands ---===//

namespace {

class InputChecker {
public:
  InputChecker(const MixFacts &facts, const MixShape &shape, Canon canon)
      : facts(facts), shape(shape), canon(canon) {}

  MixMistake check() {
    checkDecay();
    checkUpdate();
    checkGate();
    checkLayout();
    checkInitial();
    return mistake;
  }

private:
  enum Extent { Length, Query, Writes, Heads, Key, RawKey, Value, Anything };

  bool fits(ExprAttr dim, Extent extent) const {
    ExprAttr value = canon(dim);
    bool free = facts.layout == LayoutKind::paged || facts.layout == LayoutKind::ring;
    switch (extent) {
    case Length:
      return free || value == canon(shape.keyLength);
    case Query:
      return value == canon(shape.queryLength);
    case Writes:
      return value == canon(facts.writes);
    case Heads:
      return value == canon(shape.outputHeads) || value == canon(shape.stateHeads) ||
             value == canon(shape.keyHeads) || value.isInteger(1);
    case Key:
      return value == canon(shape.featureWidth);
    case RawKey:
      return value == canon(shape.keyWidth);
    case Value:
      return value == canon(shape.valueWidth);
    case Anything:
      return true;
    }
    return false;
  }

  std::string wanted(ArrayRef<Extent> extents) const {
    std::string text;
    for (Extent extent : extents) {
      std::string dim = extent == Length   ? shape.keyLength.str()
                        : extent == Query  ? shape.queryLength.str()
                        : extent == Writes ? facts.writes.str()
                        : extent == Heads  ? shape.stateHeads.str()
                        : extent == Key    ? shape.featureWidth.str()
                        : extent == RawKey ? shape.keyWidth.str()
                        : extent == Value  ? shape.valueWidth.str()
                                           : "..";
      text += (text.empty() ? "" : " x ") + dim;
    }
    return text;
  }

  // An operand of numbers with these dims; `perBatch` false lets it be a tensor as well.
  void expect(StringRef role, StringRef what, ArrayRef<Extent> extents, bool perBatch = true) {
    ArrayType type = facts.input(role);
    if (!type || !mistake.text.empty())
      return;
    bool good = type.rank() == extents.size() && !type.holdsIntegers() &&
                (!perBatch || type.getBatched() == shape.batched);
    for (size_t n = 0; good && n < extents.size(); ++n)
      good = fits(type.dim(n), extents[n]);
    if (!good)
      mistake = {role.str(),
                 fmt::format("{} is {}, expected {}<{}> of real numbers", what.str(), type.str(),
                             shape.batched ? "seq" : "tensor", wanted(extents))};
  }

  void expectIntegers(StringRef role, StringRef what, bool batched, size_t rank,
                      const char *example) {
    ArrayType type = facts.input(role);
    if (!type || !mistake.text.empty())
      return;
    if (!type.holdsIntegers() || type.getBatched() != batched || type.rank() != rank)
      mistake = {role.str(), fmt::format("{} is {}, expected {}", what.str(), type.str(), example)};
  }

  void checkDecay() {
    if (facts.decay == DecayKind::scalar)
      expect("decay", "the scalar decay", {Length, Heads});
    if (facts.decay == DecayKind::diag)
      expect("decay", "the diag decay", {Length, Heads, Key});
    if (facts.decay == DecayKind::channel)
      expect("decay", "the channel decay", {Length, Heads, Key, Value});
  }

  void checkUpdate() {
    SmallVector<Extent> token = {Length};
    if (shape.writeAxis)
      token.push_back(Writes);
    SmallVector<Extent> scalar = token, vector = token;
    scalar.push_back(Heads);
    vector.append({Heads, Key});
    expect("beta", "beta", scalar);
    expect("a", "the operand a of dplr", vector);
    expect("y", "the operand y of dplr", vector);
    expect("bonus", "the bonus", {Heads, Key}, false);
    expect("tap_prev", "the first tap", {Length, Heads});
    expect("tap_here", "the second tap", {Length, Heads});
  }

  void checkGate() {
    expect("gate", "the gate", {Query, Heads, Anything});
    ArrayType pooled = facts.input("pooled");
    expect("router", "the router's operand", {Query, Heads, pooled ? Anything : RawKey});
    expect("pooled", "the pooled operand", {Length, Heads, Anything});
    ArrayType router = facts.input("router");
    if (!mistake.text.empty() || !pooled || !router)
      return;
    if (canon(pooled.dim(2)) != canon(router.dim(2)))
      mistake = {"pooled", fmt::format("the pooled operand has width {}, the router's has {}",
                                       pooled.dim(2).str(), router.dim(2).str())};
  }

  void checkLayout() {
    bool csr = bool(facts.input("indptr"));
    expectIntegers("cu_q", "the queries' offsets", false, 1, "tensor<i32, N1>");
    expectIntegers("cu_k", "the keys' offsets", false, 1, "tensor<i32, N1>");
    expectIntegers("table", "the page table", !csr, 1,
                   csr ? "tensor<i32, P> (with indptr)" : "seq<i32, M>");
    expectIntegers("indptr", "indptr", false, 1, "tensor<i32, B1>");
    expectIntegers("len", "the number of keys", true, 0, "seq<i32>");
    expectIntegers("parent", "the parents of a tree", true, 1, "seq<i32, Tq>");
    ArrayType parent = facts.input("parent");
    if (mistake.text.empty() && parent && canon(parent.dim(0)) != canon(shape.queryLength))
      mistake = {"parent", fmt::format("the tree has {} nodes, expected one a query: {}",
                                       parent.dim(0).str(), shape.queryLength.str())};
  }

  void checkInitial() {
    for (const auto &entry : facts.inputs) {
      StringRef role = entry.first();
      if (!role.consume_front("in_") || !mistake.text.empty())
        continue;
      ArrayType wanted = resultType(facts, shape, role);
      ArrayType found = entry.second;
      bool good = found.rank() == wanted.rank() && found.getBatched() == wanted.getBatched() &&
                  found.holdsIntegers() == wanted.holdsIntegers();
      // The number of states on entry is the caller's.
      size_t first = role == "bank" || role == "pool" ? 1 : 0;
      for (size_t n = first; good && n < found.rank(); ++n)
        good = canon(found.dim(n)) == canon(wanted.dim(n));
      if (!good)
        mistake = {entry.first().str(), fmt::format("the initial {} is {}, expected {}", role.str(),
                                                    found.str(), wanted.str())};
    }
  }

  const MixFacts &facts;
  const MixShape &shape;
  Canon canon;
  MixMistake mistake;
};

} // namespace

MixMistake checkInputs(const MixFacts &facts, const MixShape &shape, Canon canon) {
  return InputChecker(facts, shape, canon).check();
}

} // namespace heddle::pattern
