// Gates of a router, in stages:
//
//   prefix sums of what is pooled     ->  pool of any run of tokens as a difference of two rows
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

Expr SegmentCuts::bit(Expr n) const {
  Expr power = minus(minus(call("bitlen", {T}), whole(T, 1)), n);
  return call("int", {call("exp2", {call("float", {power})})});
}

Expr SegmentCuts::of(Expr t) const {
  if (length)
    return quotient(t, length);
  return minus(call("bitlen", {T}), call("bitlen", {call("bitxor", {t, T})}));
}

Expr SegmentCuts::begin(Expr n) const {
  if (length)
    return times(n, length);
  Expr twice = times(bit(n), whole(T, 2)); // the higher bits of T
  return times(quotient(T, twice), twice);
}

Expr SegmentCuts::size(Expr n) const { return length ? length : call("bitand", {T, bit(n)}); }

Expr SegmentCuts::count() const {
  return length ? call("cdiv", {T, length}) : call("min", {T, whole(T, 32)});
}

namespace {

class Router {
public:
  Router(GraphReader &reader, pattern::MixOp mix, const SegmentCuts &cuts, const Extent &T,
         const Extent &H, llvm::StringRef o)
      : reader(reader), mix(mix), cuts(cuts), T(T), H(H), o(o), context(reader.context) {}

  Status run(std::string &gates) {
    Value u = mix.input("router") ? mix.input("router") : mix.getQ();
    Value pooled = mix.input("pooled") ? mix.input("pooled") : mix.getK();
    for (Value value : {u, pooled})
      if (!reader.graph.find(pattern::valueName(value)) || pattern::arrayType(value).rank() != 3)
        return unsupported("a router over operands that are made where they are read, or have "
                           "subtokens, is not lowered yet");
    HEDDLE_CHECK(addSums(pattern::valueName(pooled).str()));
    Expr e = var("e'"), count = cuts.count(), own = cuts.of(t);
    Extent width = reader.graph.extentOf(pattern::arrayType(u).dim(2));
    Expr end = call("min", {sumOf(cuts.begin(n), cuts.size(n)), sumOf(t, whole(t, 1))});
    Expr pool = between(cuts.begin(n), end, headOf(pooled), e);
    Expr dot =
        pattern::makeReduction(ExprKind::Sum, "e'", whole(t, 0), reader.graph.lengthExpr(width),
                               times(read(pattern::valueName(u), {t, headOf(u), e}), pool));
    if (mix.getPool() != pattern::PoolKind::sum_k) {
      Expr tokens = call("max", {minus(end, cuts.begin(n)), whole(t, 1)});
      dot = makeBinary(ExprKind::Div, dot, tokens);
    }
    Expr visible = makeBinary(ExprKind::And, makeBinary(ExprKind::Le, n, own),
                              makeBinary(ExprKind::Gt, cuts.size(n), whole(t, 0)));
    std::string logits;
    HEDDLE_CHECK(stage("logit", call("select", {visible, dot, none()}), logits));
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
  Expr var(const char *name) { return makeVar(context, name); }
  Expr none() { return pattern::makeFloat(context, -3.0e38); }
  Expr headOf(Value value) {
    Extent heads = reader.graph.extentOf(pattern::arrayType(value).dim(1));
    if (heads == H)
      return h;
    return quotient(times(h, reader.graph.lengthExpr(heads)), reader.graph.lengthExpr(H));
  }

  Status stage(const char *what, Expr expr, std::string &name) {
    name = reader.freshName(fmt::format("{}_of_{}", what, o.str()));
    HEDDLE_CHECK(reader.addBuffer(name, true, {T, H, reader.graph.extentOf(cuts.count())},
                                  Float32Type::get(context)));
    reader.graph.stages.push_back(
        MapStage{name, {"t", "h", "n"}, reader.graph.specialise(expr), "the router"});
    return {};
  }

  Status addSums(const std::string &tensor) {
    const ProblemTensor from = *reader.graph.find(tensor);
    sums = {tensor, reader.freshName(tensor + "_sum"), reader.freshName(tensor + "_rest")};
    for (const std::string &name : {sums.high, sums.low})
      HEDDLE_CHECK(reader.addBuffer(name, from.batched, {from.dim(0), from.dim(1), from.dim(2)},
                                    Float32Type::get(context)));
    reader.graph.stages.push_back(sums);
    return {};
  }

  /// Sum of the pooled rows first .. end - 1: subtracted part by part, which loses nothing.
  Expr between(Expr first, Expr end, Expr head, Expr e) {
    auto part = [&](const std::string &name) {
      auto at = [&](Expr token) { // 0 before the first
        return read(name, {minus(token, whole(token, 1)), head, e});
      };
      return minus(at(end), at(first));
    };
    return sumOf(part(sums.high), part(sums.low));
  }

  /// The own segment, and the best k of those before it.
  Status keepBest(Expr own, std::string &logits) {
    Expr mine = read(logits, {t, h, n}), theirs = read(logits, {t, h, m});
    Expr before = makeBinary(ExprKind::Or, makeBinary(ExprKind::Gt, theirs, mine),
                             makeBinary(ExprKind::And, makeBinary(ExprKind::Eq, theirs, mine),
                                        makeBinary(ExprKind::Lt, m, n)));
    Expr one = pattern::makeFloat(context, 1), zero = pattern::makeFloat(context, 0);
    Expr rank = pattern::makeReduction(ExprKind::Sum, "m'", whole(t, 0), own,
                                       call("select", {before, one, zero}));
    Expr top = reader.graph.specialise(mix.getGateTopAttr());
    Expr chosen = makeBinary(ExprKind::Or, makeBinary(ExprKind::Eq, n, own),
                             makeBinary(ExprKind::Lt, rank, top));
    return stage("chosen", call("select", {chosen, mine, none()}), logits);
  }

  GraphReader &reader;
  pattern::MixOp mix;
  const SegmentCuts &cuts;
  const Extent &T, &H;
  llvm::StringRef o;
  MLIRContext *context;
  PrefixStage sums;
  Expr t = makeVar(context, "t"), h = makeVar(context, "h"), n = makeVar(context, "n"),
       m = makeVar(context, "m'");
};

} // namespace

Status addRouterGates(GraphReader &reader, pattern::MixOp mix, const SegmentCuts &cuts,
                      const Extent &T, const Extent &H, llvm::StringRef o, std::string &gates) {
  return Router(reader, mix, cuts, T, H, o).run(gates);
}

} // namespace heddle::compiler
