// Gates of a router, in stages:
//
//   prefix sums of what is pooled     ->  pool of any run of tokens as a difference of two rows
//   pools that an earlier run left    ->  read as they are; that of its last segment goes on
//   logit[t, h, n] = u_t . pool_n     n up to the token's own segment
//   top-k: logits of the own segment and of the best k before it
//   gate = softmax over n
#include "compiler/forms/SegmentGates.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

static Expr whole(Expr like, int64_t n) { return makeInteger(like.getContext(), n); }
static Expr quotient(Expr x, Expr y) { return makeBinary(ExprKind::FloorDiv, x, y); }
static Expr plus(Expr x, Expr more) { return more ? sumOf(x, more) : x; }
static Expr equal(Expr x, Expr y) { return makeBinary(ExprKind::Eq, x, y); }

// ---- where segments lie ----

Expr SegmentCuts::bit(Expr n) const {
  Expr power = minus(minus(call("bitlen", {T}), whole(T, 1)), n);
  return call("int", {call("exp2", {call("float", {power})})});
}

Expr SegmentCuts::of(Expr t) const {
  if (length)
    return quotient(plus(t, position), length);
  return minus(call("bitlen", {T}), call("bitlen", {call("bitxor", {t, T})}));
}

Expr SegmentCuts::begin(Expr n) const {
  if (length && position)
    return call("max", {minus(times(n, length), position), whole(T, 0)});
  if (length)
    return times(n, length);
  Expr twice = times(bit(n), whole(T, 2)); // the higher bits of T
  return times(quotient(T, twice), twice);
}

Expr SegmentCuts::end(Expr n) const {
  if (length && position)
    return minus(times(sumOf(n, whole(T, 1)), length), position);
  if (length)
    return sumOf(times(n, length), length);
  return sumOf(begin(n), call("bitand", {T, bit(n)}));
}

Expr SegmentCuts::exists(Expr n) const {
  return length ? pattern::makeBool(T.getContext(), true)
                : makeBinary(ExprKind::Gt, call("bitand", {T, bit(n)}), whole(T, 0));
}

static Expr endedBefore(Expr tokens, Expr length) {
  return quotient(call("max", {minus(tokens, whole(tokens, 1)), whole(tokens, 0)}), length);
}

Expr SegmentCuts::first() const { return position ? endedBefore(position, length) : Expr(); }
Expr SegmentCuts::inFirst() const {
  return position ? minus(position, times(first(), length)) : Expr();
}
Expr SegmentCuts::ended() const { return endedBefore(plus(T, position), length); }

Expr SegmentCuts::count() const {
  if (!length)
    return call("min", {T, whole(T, 32)});
  return slots ? sumOf(slots, whole(T, 1)) : call("cdiv", {T, length});
}

// ---- pools ----

Expr SegmentPools::headOf(Value value, size_t dim, Expr h, Expr heads) {
  Expr own = reader.graph.specialise(pattern::arrayType(value).dim(dim));
  return terms::headOf(h, own, heads);
}

Status SegmentPools::addSums() {
  for (Value value : {router(), pooled()})
    if (!reader.graph.find(pattern::valueName(value)) || pattern::arrayType(value).rank() != 3)
      return unsupported("a router over operands that are made where they are read, or have "
                         "subtokens, is not lowered yet");
  const std::string tensor = pattern::valueName(pooled()).str();
  const ProblemTensor from = *reader.graph.find(tensor);
  sums = {tensor, reader.freshName(tensor + "_sum"), reader.freshName(tensor + "_rest")};
  for (const std::string &name : {sums.high, sums.low})
    HEDDLE_CHECK(reader.addBuffer(name, from.batched, {from.dim(0), from.dim(1), from.dim(2)},
                                  Float32Type::get(reader.context)));
  reader.graph.stages.push_back(sums);
  return {};
}

/// Sums of rows are subtracted part by part, which loses nothing; the row before the first is 0.
Expr SegmentPools::total(Expr n, Expr end, Expr h, Expr heads, Expr e) {
  Expr head = headOf(pooled(), 1, h, heads), first = cuts.begin(n);
  auto part = [&](const std::string &name) {
    auto at = [&](Expr token) { return read(name, {minus(token, whole(n, 1)), head, e}); };
    return minus(at(end), at(first));
  };
  Expr own = sumOf(part(sums.high), part(sums.low));
  Value running = mix.input("in_run_pool");
  if (!running || !cuts.position)
    return own;
  Expr before = read(pattern::valueName(running), {headOf(running, 0, h, heads), e});
  if (mix.getPool() != pattern::PoolKind::sum_k)
    before = times(call("float", {cuts.inFirst()}), before);
  Expr none = pattern::makeFloat(reader.context, 0);
  return sumOf(own, call("select", {equal(n, cuts.first()), before, none}));
}

Expr SegmentPools::divisor(Expr n, Expr end) {
  if (mix.getPool() == pattern::PoolKind::sum_k)
    return {};
  Expr tokens = minus(end, cuts.begin(n));
  if (cuts.position)
    tokens = sumOf(tokens, call("select", {equal(n, cuts.first()), cuts.inFirst(), whole(n, 0)}));
  return call("max", {tokens, whole(n, 1)});
}

Expr SegmentPools::given(Expr n, Expr h, Expr heads, Expr e) {
  Value pools = mix.input("in_pool");
  return pools && cuts.position
             ? read(pattern::valueName(pools), {n, headOf(pools, 1, h, heads), e})
             : Expr();
}

Status SegmentPools::addResults(Expr heads, const ProblemTensor *pools,
                                const ProblemTensor *running) {
  Expr n = makeVar(reader.context, "n"), h = makeVar(reader.context, "h"),
       e = makeVar(reader.context, "e");
  auto pool = [&](Expr segment, Expr end) {
    Expr sum = total(segment, end, h, heads, e), count = divisor(segment, end);
    return count ? makeBinary(ExprKind::Div, sum, count) : sum;
  };
  if (pools) {
    Expr ended = makeBinary(ExprKind::Lt, n, cuts.ended());
    Expr value =
        call("select", {ended, pool(n, cuts.end(n)), pattern::makeFloat(reader.context, 0)});
    if (Expr before = given(n, h, heads, e))
      value = call("select", {makeBinary(ExprKind::Lt, n, cuts.first()), before, value});
    reader.graph.stages.push_back(MapStage{pools->name,
                                           {"n", "h", "e"},
                                           reader.graph.specialise(value),
                                           "pools of the segments that have ended"});
  }
  if (running)
    reader.graph.stages.push_back(MapStage{running->name,
                                           {"h", "e"},
                                           reader.graph.specialise(pool(cuts.ended(), cuts.T)),
                                           "the pool of the segment that goes on"});
  return {};
}

// ---- gates ----

namespace {

class Router {
public:
  Router(GraphReader &reader, pattern::MixOp mix, const SegmentCuts &cuts, SegmentPools &pools,
         const Extent &T, const Extent &H, llvm::StringRef o)
      : reader(reader), mix(mix), cuts(cuts), pools(pools), T(T), H(H), o(o),
        context(reader.context), heads(reader.graph.lengthExpr(H)) {}

  Status run(std::string &gates) {
    Expr own = cuts.of(t), count = cuts.count();
    Expr visible = makeBinary(ExprKind::And, makeBinary(ExprKind::Le, n, own), cuts.exists(n));
    std::string logits;
    HEDDLE_CHECK(stage("logit", call("select", {visible, logit(), none()}), logits));
    std::string all = logits;
    if (mix.getGate() == pattern::GateKind::top)
      HEDDLE_CHECK(keepBest(own, logits));
    if (mix.getRenorm() == pattern::RenormKind::selected || mix.getGate() != pattern::GateKind::top)
      all = logits;
    auto overAll = [&](ExprKind kind, llvm::function_ref<Expr(Expr)> of) {
      return pattern::makeReduction(kind, "m'", whole(t, 0), count, of(read(all, {t, h, m})));
    };
    Expr largest = overAll(ExprKind::Max, [](Expr x) { return x; });
    Expr total = overAll(ExprKind::Sum, [&](Expr x) { return call("exp", {minus(x, largest)}); });
    Expr gate =
        makeBinary(ExprKind::Div, call("exp", {minus(read(logits, {t, h, n}), largest)}), total);
    return stage("gate", gate, gates);
  }

private:
  Expr none() { return pattern::makeFloat(context, -3.0e38); }

  /// u_t . pool_n.
  Expr logit() {
    Value u = pools.router();
    Expr e = makeVar(context, "e'"), width = reader.graph.specialise(pattern::arrayType(u).dim(2));
    auto dot = [&](Expr pool) {
      Expr mine = read(pattern::valueName(u), {t, pools.headOf(u, 1, h, heads), e});
      return pattern::makeReduction(ExprKind::Sum, "e'", whole(t, 0), width, times(mine, pool));
    };
    Expr end = call("min", {cuts.end(n), sumOf(t, whole(t, 1))});
    Expr own = dot(pools.total(n, end, h, heads, e));
    if (Expr tokens = pools.divisor(n, end))
      own = makeBinary(ExprKind::Div, own, tokens);
    Expr before = pools.given(n, h, heads, e);
    return before ? call("select", {makeBinary(ExprKind::Lt, n, cuts.first()), dot(before), own})
                  : own;
  }

  Status stage(const char *what, Expr expr, std::string &name) {
    name = reader.freshName(fmt::format("{}_of_{}", what, o.str()));
    HEDDLE_CHECK(reader.addBuffer(name, true, {T, H, reader.graph.extentOf(cuts.count())},
                                  Float32Type::get(context)));
    reader.graph.stages.push_back(
        MapStage{name, {"t", "h", "n"}, reader.graph.specialise(expr), "the router"});
    return {};
  }

  /// The own segment, and the best k of those before it.
  Status keepBest(Expr own, std::string &logits) {
    Expr mine = read(logits, {t, h, n}), theirs = read(logits, {t, h, m});
    Expr before =
        makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                   makeBinary(ExprKind::And, equal(theirs, mine), makeBinary(ExprKind::Lt, m, n)));
    Expr one = pattern::makeFloat(context, 1), zero = pattern::makeFloat(context, 0);
    Expr rank = pattern::makeReduction(ExprKind::Sum, "m'", whole(t, 0), own,
                                       call("select", {before, one, zero}));
    Expr top = reader.graph.specialise(mix.getGateTopAttr());
    Expr chosen = makeBinary(ExprKind::Or, equal(n, own), makeBinary(ExprKind::Lt, rank, top));
    return stage("chosen", call("select", {chosen, mine, none()}), logits);
  }

  GraphReader &reader;
  pattern::MixOp mix;
  const SegmentCuts &cuts;
  SegmentPools &pools;
  const Extent &T, &H;
  llvm::StringRef o;
  MLIRContext *context;
  Expr heads;
  Expr t = makeVar(context, "t"), h = makeVar(context, "h"), n = makeVar(context, "n"),
       m = makeVar(context, "m'");
};

} // namespace

Status SegmentPools::addGates(const Extent &T, const Extent &H, llvm::StringRef o,
                              std::string &gates) {
  return Router(reader, mix, cuts, *this, T, H, o).run(gates);
}

} // namespace heddle::compiler
