// The verifier of mix: shapes, types of its expressions, and combinations of attributes that no
// algorithm could give a meaning (patterns are refused here, not silently bent).
#include "ir/pattern/Check.h"
#include "ir/pattern/Features.h"
#include "ir/pattern/Mix.h"
#include "ir/pattern/OpText.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::pattern {

namespace {

class MixVerifier {
public:
  explicit MixVerifier(MixOp op)
      : op(op), def(op->getParentOfType<DefOp>()),
        scope(scopeOfOp(def, op.getReads(), op.getReadNames(), {})) {}

  LogicalResult verify() {
    if (failed(verifyLists()) || failed(verifyRoles()) || failed(verifyShapes()) ||
        failed(verifyExprs()) || failed(verifyNorm()) || failed(verifyUpdate()) ||
        failed(verifySegments()) || failed(verifyStorage()))
      return failure();
    return success();
  }

private:
  InFlightDiagnostic error() { return op.emitError() << "mix: "; }
  bool has(StringRef role) { return bool(op.input(role)); }

  LogicalResult verifyLists() {
    if (op.getInputs().size() != op.getRoles().size() ||
        op.getReads().size() != op.getReadNames().size() ||
        op.getOutputs().size() != op.getResultRoles().size())
      return error() << "roles and names do not match the operands and results";
    return checkNames(op, op.getNames(), op.getOutputs().size());
  }

  // Exactly the operands that the attributes call for.
  LogicalResult need(StringRef role, bool needed, StringRef why) {
    if (has(role) == needed)
      return success();
    return needed ? error() << why << " needs the operand '" << role << "'"
                  : error() << "the operand '" << role << "' has no use without " << why;
  }

  LogicalResult verifyRoles() {
    llvm::StringSet<> seen;
    for (size_t n = 0; n < op.getRoles().size(); ++n)
      if (!seen.insert(stringAt(op.getRoles(), n)).second)
        return error() << "two operands have the role " << stringAt(op.getRoles(), n);
    bool delta = op.getUpdate() == UpdateKind::delta, dplr = op.getUpdate() == UpdateKind::dplr;
    bool tensorDecay = op.getDecay() != DecayKind::None && op.getDecay() != DecayKind::constant;
    bool varlen = op.getLayout() == LayoutKind::varlen, paged = op.getLayout() == LayoutKind::paged;
    bool length = paged || op.getLayout() == LayoutKind::ring;
    if (!has("q") || !has("k"))
      return error() << "the operands q and k are missing";
    if (failed(need("v", !op.getAliasSizeAttr(), "operands without alias v")) ||
        failed(need("decay", tensorDecay, "decay scalar, diag or channel")) ||
        failed(need("beta", delta, "update delta")) || failed(need("a", dplr, "update dplr")) ||
        failed(need("y", dplr, "update dplr")) ||
        failed(need("bonus", op.getRead() == ReadKind::bonus, "read bonus")) ||
        failed(need("gate", op.getGate() == GateKind::given, "gate given")) ||
        failed(need("pooled", op.getPool() == PoolKind::mean_x, "pool mean_x")) ||
        failed(need("cu_q", varlen, "layout varlen")) ||
        failed(need("cu_k", varlen, "layout varlen")) ||
        failed(need("table", paged, "layout paged")) ||
        failed(need("len", length, "layout paged or ring")))
      return failure();
    if (has("tap_prev") != has("tap_here"))
      return error() << "taps come in twos";
    if (has("indptr") && !paged)
      return error() << "indptr belongs to layout paged";
    return success();
  }

  LogicalResult verifyShapes() {
    auto canon = [&](ExprAttr extent) { return canonicalExtent(def, extent); };
    MixFacts facts = factsOf(op);
    auto shape = shapeOf(facts, canon);
    if (auto *mistake = std::get_if<MixMistake>(&shape))
      return error() << mistake->text;
    const MixShape &known = std::get<MixShape>(shape);
    if (MixMistake mistake = checkInputs(facts, known, canon); !mistake.text.empty())
      return error() << mistake.text;
    for (size_t n = 0; n < op.getOutputs().size(); ++n) {
      StringRef role = stringAt(op.getResultRoles(), n);
      if (!llvm::is_contained(resultRoles(), role))
        return error() << "unknown result '" << role << "'";
      ArrayType wanted = resultType(facts, known, role);
      if (arrayType(op.getOutputs()[n]) != wanted)
        return error() << "the result " << role << " is " << arrayType(op.getOutputs()[n]).str()
                       << ", expected " << wanted.str();
    }
    return success();
  }

  LogicalResult check(ExprAttr expr, const std::vector<ContextName> &names, ExprType type,
                      StringRef what) {
    if (!expr)
      return success();
    TypeScope local = scope;
    for (const ContextName &name : names)
      local.names[name.name] = name.type;
    bool tree = true;
    walk(expr, [&](ExprAttr node) {
      bool treeCall =
          node.is(ExprKind::Call) && (node.getName() == "ancestor" || node.getName() == "depth");
      tree &= !treeCall || has("parent");
      return true;
    });
    if (!tree)
      return error() << what << " asks for ancestors or depths, but there is no tree clause";
    return checkExpr(op, local, expr, type, what);
  }

  LogicalResult positive(ExprAttr expr, StringRef what) {
    if (!expr)
      return success();
    ExprAttr folded = simplify(expr);
    if (folded.is(ExprKind::Integer) && folded.integer() <= 0)
      return error() << what << " is " << folded.integer() << ", expected a positive integer";
    return check(expr, {}, ExprType::Integer, what);
  }

  LogicalResult verifyExprs() {
    auto real = ExprType::Real, truth = ExprType::Boolean, whole = ExprType::Integer;
    bool by = op.getSegment() == SegmentKind::by;
    if (failed(check(op.getSupport(), supportNames(), truth, "support")) ||
        failed(check(op.getScore(), scoreNames(), real, "score")) ||
        failed(check(op.getDecayExprAttr(), headNames(), real, "the constant decay")) ||
        failed(check(op.getNormArgAttr(), rowNames(), real, "the argument of norm")) ||
        failed(check(op.getSinkAttr(), rowNames(), real, "sink")) ||
        failed(check(op.getCodecQAttr(), codecNames('q'), real, "codec q")) ||
        failed(check(op.getCodecKAttr(), codecNames('k'), real, "codec k")) ||
        failed(check(op.getCodecVAttr(), codecNames('v'), real, "codec v")) ||
        failed(check(op.getRingKeepAttr(), {}, whole, "keep")) ||
        failed(check(op.getAliasFirstAttr(), {}, whole, "the first feature of the alias")) ||
        failed(by ? check(op.getSegmentArgAttr(), segmentNames(), whole, "segments by")
                  : positive(op.getSegmentArgAttr(), "the length of a segment")) ||
        failed(positive(op.getWritesAttr(), "the number of write sub-tokens")) ||
        failed(positive(op.getReadoutsAttr(), "the number of read sub-tokens")) ||
        failed(positive(op.getGateTopAttr(), "the number of segments chosen")) ||
        failed(positive(op.getAliasSizeAttr(), "the size of the alias")) ||
        failed(checkFeatures(op, scope, op.getFeaturesQ(), true)) ||
        failed(checkFeatures(op, scope, op.getFeaturesK(), false)))
      return failure();
    return success();
  }

  LogicalResult verifyNorm() {
    bool exp = op.getWeight() == WeightKind::exp;
    if (op.getWeightPower() < 1 || op.getWeightPower() > 8 ||
        (op.getWeightPower() != 1 && op.getWeight() != WeightKind::relu))
      return error() << "only weight relu has a power, from 1 to 8";
    if (op.getNorm() == NormKind::max_abs && (exp || !op.getNormArgAttr()))
      return error()
             << "norm max_abs divides signed sums by max(abs(sum), floor): it needs a floor "
                "and a weight other than exp";
    if (op.getSinkAttr() && (!exp || op.getNorm() != NormKind::sum))
      return error() << "sink is a logit in the denominator: it needs weight exp and norm sum";
    if (op.getDecayExprAttr() && op.getDecay() != DecayKind::constant)
      return error() << "only decay constant has an expression";
    if (op.getDecay() == DecayKind::constant && !op.getDecayExprAttr())
      return error() << "decay constant needs its expression";
    if (op.getDecaySymmetric() && op.getDecay() == DecayKind::None)
      return error() << "symmetric needs a decay";
    if (op.getDecaySymmetric() && op.getUpdate() != UpdateKind::add)
      return error() << "symmetric decay needs update add: a delta rule runs in one direction";
    bool wide = op.getDecay() == DecayKind::diag || op.getDecay() == DecayKind::channel;
    if (wide && op.getWeight() != WeightKind::id)
      return error() << "decay " << stringifyDecayKind(op.getDecay())
                     << " acts inside the product of features and needs weight id, found weight "
                     << stringifyWeightKind(op.getWeight());
    return success();
  }

  LogicalResult verifyUpdate() {
    bool id = op.getWeight() == WeightKind::id;
    bool add = op.getUpdate() == UpdateKind::add;
    StringRef weight = stringifyWeightKind(op.getWeight());
    if (!add && !id)
      return error() << "update " << stringifyUpdateKind(op.getUpdate())
                     << " corrects a state and needs weight id, found weight " << weight;
    if (!add && op.getSupport().is(ExprKind::Bool))
      return error() << "update " << stringifyUpdateKind(op.getUpdate())
                     << " runs along the sequence: its support must be causal, found "
                     << op.getSupport().str();
    if (!add && op.getDecay() == DecayKind::channel)
      return error() << "decay channel needs update add";
    if (op.getDecay() == DecayKind::channel && op.getNorm() != NormKind::None)
      return error()
             << "decay channel has no sum of weights: each channel of a key decays by itself; "
                "it needs norm none, found norm "
             << stringifyNormKind(op.getNorm());
    if (op.getRead() == ReadKind::bonus && (!id || !add))
      return error() << "read bonus reads a state before its update: it needs weight id and update "
                        "add";
    if (has("tap_prev") && (!id || !add))
      return error() << "taps write to a state: they need weight id and update add";
    if ((op.getWritesAttr() || op.getReadoutsAttr()) && !id)
      return error() << "subtokens write to a state: they need weight id, found weight " << weight;
    for (size_t n = 0; n < op.getResultRoles().size(); ++n) {
      StringRef role = stringAt(op.getResultRoles(), n);
      bool softmax = role == "lse";
      if (softmax != (op.getWeight() == WeightKind::exp) && role != "o")
        return error() << (softmax ? "lse is the log of a sum of exponentials: it needs weight exp"
                                   : "the result " + role.str() + " is a state: it needs weight id")
                       << ", found weight " << weight;
      if (role != "o" && !softmax && !id)
        return error() << "the result " << role << " is a state: it needs weight id, found weight "
                       << weight;
    }
    return success();
  }

  LogicalResult verifySegments() {
    bool segmented = op.getSegment() != SegmentKind::None;
    bool router = op.getGate() == GateKind::softmax || op.getGate() == GateKind::top;
    StringRef gate = stringifyGateKind(op.getGate());
    if (op.getGate() != GateKind::ones && !segmented)
      return error() << "gate " << gate << " weighs segments: add a segments clause";
    if ((op.getSegment() == SegmentKind::constant || op.getSegment() == SegmentKind::by) !=
        bool(op.getSegmentArgAttr()))
      return error() << "segments constant and segments by have an expression, others none";
    if (router && op.getSegment() == SegmentKind::fenwick)
      return error() << "gate " << gate << " needs segments with pools: fenwick levels have none, "
                     << "use gate given";
    if (op.getSegment() == SegmentKind::fenwick && op.getBank() != BankKind::running)
      return error() << "fenwick levels keep decaying: bank frozen has no meaning there";
    if (segmented && op.getWeight() != WeightKind::id && op.getGate() != GateKind::given)
      return error() << "segments of a pattern with weight " << stringifyWeightKind(op.getWeight())
                     << " need gate given";
    if ((op.getGate() == GateKind::top) != bool(op.getGateTopAttr()))
      return error() << "gate top has the number of segments chosen, others do not";
    if (has("router") && !router)
      return error() << "the operand 'router' has no use without gate softmax or top";
    if (has("pooled") && !router)
      return error() << "pool needs gate softmax or top";
    return success();
  }

  LogicalResult verifyStorage() {
    bool id = op.getWeight() == WeightKind::id;
    for (size_t n = 0; n < op.getRoles().size(); ++n)
      if (StringRef role = stringAt(op.getRoles(), n); role.starts_with("in_") && !id)
        return error() << "initial states need weight id: partial softmax results are merged with "
                          "merge lse";
    if (op.getStateType() && !id)
      return error() << "state gives the precision of a state: it needs weight id";
    if (op.getCodecVAttr() && op.getAliasSizeAttr())
      return error() << "v is an alias of k: its codec is that of k";
    if (has("parent") &&
        (op.getAlign() != Align::bottom_right || op.getLayout() == LayoutKind::varlen))
      return error() << "a tree needs align bottom_right and one tree a batch element";
    if (op.getRingKeepAttr() && op.getLayout() != LayoutKind::ring)
      return error() << "keep belongs to layout ring";
    if (op.getPageOrder() != PageOrder::nhd && op.getLayout() != LayoutKind::paged)
      return error() << "order belongs to layout paged";
    return success();
  }

  MixOp op;
  DefOp def;
  TypeScope scope;
};

} // namespace

LogicalResult MixOp::verify() { return MixVerifier(*this).verify(); }

} // namespace heddle::pattern
