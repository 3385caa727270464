// Reads a mix as a scan, clause by clause:
//
//   weight id, score c * s, support j <= i     needed: else the past is no finite state
//   decay constant | scalar | diag | channel   ->  a number a step, a row or an element of S
//   features [.., append]                      ->  rows of S
#include "compiler/forms/ScanProblem.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/ScanFeatures.h"
#include "compiler/forms/Terms.h"
#include "compiler/forms/Unsupported.h"

#include <fmt/format.h>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

const ProblemTensor *ScanProblem::input(llvm::StringRef role) const {
  auto found = inputs.find(role);
  return found == inputs.end() ? nullptr : find(found->second);
}

const ProblemTensor *ScanProblem::result(llvm::StringRef role) const {
  auto found = results.find(role);
  return found == results.end() ? nullptr : find(found->second);
}

namespace {

class ProblemReader {
public:
  explicit ProblemReader(ScanProblem &scan) : scan(scan) {}

  Status run() {
    HEDDLE_CHECK(checkSupport());
    HEDDLE_CHECK(checkOthers());
    HEDDLE_CHECK(readScale());
    HEDDLE_CHECK(readDecay());
    HEDDLE_CHECK(checkSegments());
    HEDDLE_CHECK(readWidths());
    HEDDLE_CHECK(checkBanks());
    HEDDLE_CHECK(readSubtokens());
    return readHeads();
  }

private:
  pattern::MixOp mix() { return scan.mix; }

  /// All keys up to the query; or all keys, which is two scans or one state without an order.
  Status checkSupport() {
    MLIRContext *context = scan.context;
    Expr causal = pattern::makeBinary(ExprKind::Le, pattern::makeVar(context, "j"),
                                      pattern::makeVar(context, "i"));
    bool all = scan.support == pattern::makeBool(context, true);
    bool plain = mix().getDecay() == pattern::DecayKind::None &&
                 mix().getUpdate() == pattern::UpdateKind::add &&
                 mix().getRead() == pattern::ReadKind::post && !mix().input("tap_here");
    if (mix().input("parent"))
      return checkTree();
    if (mix().getDecaySymmetric()) {
      if (!all)
        return unsupported("decay symmetric beside support {{ {} }}: two scans see all keys",
                           scan.support.str());
      if (scan.result("state") || scan.result("z"))
        return unsupported("the state after decay symmetric: two scans have no one final state");
      scan.walk = ScanWalk::TwoWay;
    } else if (all && plain && mix().getSegment() == pattern::SegmentKind::None) {
      scan.walk = ScanWalk::Static;
      return {};
    } else if (scan.support != causal) {
      return unsupported("support {{ {} }}: a state keeps every key up to the query, which is "
                         "j <= i and nothing else",
                         scan.support.str());
    }
    if (scan.Tq != scan.T)
      return unsupported("q and k differ in their lengths: a scan reads where it writes");
    return {};
  }

  /// Each node goes on from its parent's state: its ancestors are what it sees.
  Status checkTree() {
    if (!seesAncestors(scan.support))
      return unsupported("support {{ {} }} on a tree: a state keeps a node's ancestors, which is "
                         "ancestor(row, j)",
                         scan.support.str());
    if (scan.Tq != scan.T)
      return unsupported("a tree behind a prefix of keys is not lowered yet: give its state as "
                         "initial state");
    if (mix().getSegment() != pattern::SegmentKind::None || mix().input("tap_here") ||
        mix().getDecaySymmetric())
      return unsupported("segments, taps and symmetric decays on a tree are not lowered");
    if (scan.result("state") || scan.result("z"))
      return unsupported("the state after a tree: it has no last token");
    scan.walk = ScanWalk::Tree;
    return {};
  }

  Status checkSegments() {
    pattern::SegmentKind kind = mix().getSegment();
    if (kind == pattern::SegmentKind::None)
      return {};
    bool delta = mix().getUpdate() == pattern::UpdateKind::delta;
    if (scan.walk != ScanWalk::Forward || mix().input("tap_here") || scan.polynomial.degree ||
        mix().getRead() != pattern::ReadKind::post ||
        mix().getUpdate() == pattern::UpdateKind::dplr)
      return unsupported("segments beside taps, power features, read bonus, update dplr or "
                         "symmetric decays are not lowered");
    if (kind == pattern::SegmentKind::by)
      return unsupported("segments by an expression: where they end is known token by token; the "
                         "bank of states is lowered for constant, logarithmic and fenwick ones");
    if (kind == pattern::SegmentKind::fenwick) {
      scan.walk = ScanWalk::Levels;
      if (scan.input("in_state") || scan.result("state") || scan.sums)
        return unsupported("a state or a norm beside fenwick segments: a state has no level");
      if (scan.decay == StateDecay::Channel)
        return unsupported("decay channel beside segments is not lowered");
      if (mix().getGate() != pattern::GateKind::given)
        return unsupported("fenwick segments without given gates are not lowered");
      return {};
    }
    scan.walk = ScanWalk::Segments;
    scan.segments.running = mix().getBank() == pattern::BankKind::running;
    scan.segments.reset = mix().getReset();
    if (scan.decay == StateDecay::Channel || (scan.segments.running && delta))
      return unsupported("decay channel, or update delta with a running bank, beside segments of "
                         "tokens is not lowered");
    if (kind == pattern::SegmentKind::logarithmic && (scan.result("state") || scan.result("z")))
      return unsupported("the state after logarithmic segments: they end with the sequence");
    return {};
  }

  /// Banks that are carried from run to run.
  Status checkBanks() {
    const ProblemTensor *given = scan.input("in_bank"), *left = scan.result("bank");
    bool router =
        mix().getGate() == pattern::GateKind::softmax || mix().getGate() == pattern::GateKind::top;
    bool carried = given || left;
    for (const char *role : {"position", "pool", "run_pool"})
      carried |= scan.result(role) || scan.input(("in_" + llvm::Twine(role)).str());
    if (!carried)
      return {};
    const int64_t bytes = scan.features * scan.Dv * 4;
    if (left && !left->element.isF32())
      return unsupported("a bank in another type than f32 is not lowered: each of its states is "
                         "read again and merged, {} x {} numbers of f32, {} bytes",
                         scan.features, scan.Dv, bytes);
    scan.segments.carried = given || left;
    if (bool(given) != bool(scan.input("in_position")))
      return unsupported("initial bank and position: one says nothing without the other");
    if (scan.walk == ScanWalk::Levels)
      return {};
    if (mix().getSegment() == pattern::SegmentKind::logarithmic)
      return unsupported("a bank that goes on beside segments logarithmic: they are the powers of "
                         "two of the whole length, which no run but the last knows; use segments "
                         "constant or fenwick");
    if (!given)
      return unsupported("results that a run goes on with, without initial bank and position: how "
                         "many segments of {} x {} numbers it is to hold is the caller's choice, "
                         "{} bytes each a head",
                         scan.features, scan.Dv, bytes);
    if (scan.sums)
      return unsupported("a bank that goes on beside a norm: it has the states, {} x {}, but not "
                         "the sums of keys that the norm divides by",
                         scan.features, scan.Dv);
    if (router && (!scan.input("in_pool") || !scan.input("in_run_pool")))
      return unsupported("initial bank without pool and run_pool: the router weighs kept states by "
                         "their pools");
    bool pools = scan.input("in_pool") || scan.input("in_run_pool") || scan.result("pool") ||
                 scan.result("run_pool");
    if (pools && (!router || mix().input("pooled")))
      return unsupported("pools of keys that are carried beside gate ones, gate given or pool "
                         "mean_x: no router reads them");
    return {};
  }

  Status checkOthers() {
    if (mix().getLayout() != pattern::LayoutKind::dense &&
        mix().getLayout() != pattern::LayoutKind::varlen)
      return unsupported("layout {} is not lowered for scans: a state has no keys to look up",
                         pattern::stringifyLayoutKind(mix().getLayout()).str());
    if (scan.start && (scan.walk != ScanWalk::Forward || scan.polynomial.degree ||
                       mix().getSegment() != pattern::SegmentKind::None ||
                       mix().input("tap_here") || mix().hasWriteAxis()))
      return unsupported("packed sequences beside segments, taps, subtokens, power features or a "
                         "support other than j <= i are not lowered yet");
    const bool router =
        mix().getGate() == pattern::GateKind::softmax || mix().getGate() == pattern::GateKind::top;
    if (router && (mix().getCodecQ() || mix().getCodecK()))
      return unsupported("a router beside codecs of q or k: it pools keys as they lie");
    if (mix().getAliasSize())
      return unsupported("alias: v inside k is not lowered for scans");
    bool add = mix().getUpdate() == pattern::UpdateKind::add;
    if (mix().input("tap_here") && (!add || mix().getRead() != pattern::ReadKind::post))
      return unsupported("taps beside update delta or dplr, or read bonus, are not lowered");
    if (scan.walk == ScanWalk::TwoWay &&
        (!add || mix().getRead() != pattern::ReadKind::post || mix().hasWriteAxis() ||
         mix().hasReadAxis() || scan.polynomial.degree || mix().input("tap_here") ||
         mix().getDecay() == pattern::DecayKind::channel ||
         mix().getDecay() == pattern::DecayKind::diag))
      return unsupported("decay symmetric beside updates other than add, read bonus, subtokens, "
                         "taps, power features or a decay for each feature is not lowered");
    if (scan.polynomial.degree &&
        (!add || mix().getRead() != pattern::ReadKind::post || mix().hasWriteAxis() ||
         mix().hasReadAxis() || mix().input("tap_here") || scan.walk != ScanWalk::Forward ||
         mix().getDecay() == pattern::DecayKind::channel ||
         mix().getDecay() == pattern::DecayKind::diag))
      return unsupported("power features beside updates other than add, read bonus, subtokens, "
                         "taps, a decay for each feature or a support other than j <= i are not "
                         "lowered");
    bool sums = mix().getNorm() != pattern::NormKind::None || mix().output("z");
    if (sums && !add)
      return unsupported("norm with update {} is not lowered yet",
                         pattern::stringifyUpdateKind(mix().getUpdate()).str());
    scan.sums = sums;
    if (scan.normArg)
      if (std::string reason = TileScope::refuse(scan.normArg, scan); !reason.empty())
        return unsupported("norm: {}", reason);
    for (const auto &[role, name] : scan.results)
      if (role != "o" && role != "state" && role != "z" && role != "k_last" && role != "v_last" &&
          mix().getSegment() == pattern::SegmentKind::None)
        return unsupported("result {} is not lowered yet", role.str());
    return {};
  }

  /// score { c * s }: c is the score of s = 1, if the score is linear in s.
  Status readScale() {
    Expr score = scan.score;
    auto at = [&](double s) {
      llvm::StringMap<Expr> names;
      names["s"] = pattern::makeFloat(scan.context, s);
      return pattern::simplify(pattern::substitute(score, names));
    };
    if (!isProduct(score) || terms::mentions(score, "j"))
      return unsupported("score {{ {} }}: a state needs a score that is s times a factor",
                         score.str());
    scan.scale = at(1.0);
    if (std::string reason = TileScope::refuse(scan.scale, scan); !reason.empty())
      return unsupported("score: {}", reason);
    return {};
  }

  /// Whether the expression is s, or s times or divided by something without s.
  static bool isProduct(Expr expr) {
    if (expr.is(ExprKind::Var))
      return expr.getName() == "s";
    if (expr.is(ExprKind::Neg))
      return isProduct(expr[0]);
    if (expr.is(ExprKind::Mul))
      return (isProduct(expr[0]) && !terms::mentions(expr[1], "s")) ||
             (isProduct(expr[1]) && !terms::mentions(expr[0], "s"));
    return expr.is(ExprKind::Div) && isProduct(expr[0]) && !terms::mentions(expr[1], "s");
  }

  Status readDecay() {
    switch (mix().getDecay()) {
    case pattern::DecayKind::None:
      scan.decay = StateDecay::None;
      break;
    case pattern::DecayKind::constant:
      scan.decay = StateDecay::Token;
      if (std::string reason = TileScope::refuse(scan.constantDecay, scan); !reason.empty())
        return unsupported("decay: {}", reason);
      break;
    case pattern::DecayKind::scalar:
      scan.decay = StateDecay::Token;
      break;
    case pattern::DecayKind::diag:
      scan.decay = StateDecay::Feature;
      break;
    case pattern::DecayKind::channel:
      scan.decay = StateDecay::Channel;
      break;
    }
    return {};
  }

  Status width(const char *role, int64_t &out) {
    const Extent &extent = scan.input(role)->shape.back();
    if (!extent.fixed)
      return Error{
          ErrorCode::InvalidArgument,
          fmt::format("width {} of {} is not fixed by the request, give it as a static dim",
                      extent.name, role)};
    out = *extent.fixed;
    return {};
  }

  Status readWidths() {
    HEDDLE_CHECK(width("k", scan.D));
    HEDDLE_CHECK(width("q", scan.Dq));
    HEDDLE_CHECK(width("v", scan.Dv));
    for (ArrayAttr features : {scan.featuresQ, scan.featuresK})
      if (std::string reason = refuseFeatures(scan, features); !reason.empty())
        return unsupported("features: {}", reason);
    scan.features = featureWidth(scan.D, scan.featuresK);
    return scan.polynomial.degree ? readPolynomial() : Status();
  }

  /// Width of the products of features, and what a state of them takes.
  Status readPolynomial() {
    PolynomialFeatures &power = scan.polynomial;
    int64_t products = 1;
    for (int64_t n = 1; n <= power.degree; ++n) // binom(D + n - 1, n)
      products = products * (scan.D + n - 1) / n;
    if (power.taylor)
      products = 1 + scan.D + (power.whole ? scan.D * scan.D : products);
    scan.features = products;
    constexpr int64_t kWidest = 32; // of keys to the fourth power
    if (power.degree > 2 && scan.D > kWidest)
      return unsupported("features spow(p = {}) of keys of {}: a state has {} rows, {} MiB a head "
                         "and sequence; lowered up to keys of {}, the attention form takes any",
                         power.degree, scan.D, products, products * (scan.Dv + 1) * 4 >> 20,
                         kWidest);
    return {};
  }

  Result<int64_t> number(const char *what, Expr expr) {
    if (!expr)
      return 1;
    Expr known = scan.specialise(expr);
    if (!known.is(ExprKind::Integer))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} {} is not fixed by the request, give it as a static dim", what,
                               known.str())};
    return known.integer();
  }

  Status readSubtokens() {
    HEDDLE_TRY(writes, number("number of sub-tokens written", mix().getWritesAttr()));
    HEDDLE_TRY(readouts, number("number of sub-tokens read", mix().getReadoutsAttr()));
    scan.writes = writes;
    scan.readouts = readouts;
    return {};
  }

  /// Several query heads may read one state.
  Status readHeads() {
    if (mix().stateHeads() == mix().outputHeads())
      return {};
    if (scan.Hq != scan.Hk && scan.Hq != scan.Hv) {
      if (scan.Hq.fixed && scan.Hk.fixed && *scan.Hk.fixed > 0)
        scan.group = *scan.Hq.fixed / *scan.Hk.fixed;
      else if (scan.givenG > 0)
        scan.group = scan.givenG;
      else
        return Error{ErrorCode::InvalidArgument,
                     "the head group G = Hq / Hk is not fixed by the request, give it as a static "
                     "dim"};
      if (scan.Hk != scan.Hv && scan.group > 1)
        return unsupported("q, k and v have three different numbers of heads");
    }
    return {};
  }

  ScanProblem &scan;
};

} // namespace

Status checkStateWeights(pattern::MixOp mix) {
  if (mix.getWeight() != pattern::WeightKind::id)
    return unsupported("weight {}: a sum of such weights over the past is no finite state; it has "
                       "the attention form only",
                       pattern::stringifyWeightKind(mix.getWeight()).str());
  if (mix.getSink())
    return unsupported("sink: it belongs to weight exp");
  return {};
}

bool seesAncestors(Expr support) {
  const std::string text = support ? support.str() : "";
  return text == "ancestor(row, j)" || text == "ancestor(i, j)";
}

Status readScan(ScanProblem &scan) { return ProblemReader(scan).run(); }

} // namespace heddle::compiler
