// Reads a mix as a scan, clause by clause:
//
//   weight id, score c * s, support j <= i     needed: else the past is no finite state
//   decay constant | scalar | diag | channel   ->  a number a step, a row or an element of S
//   features [.., append]                      ->  rows of S
#include "compiler/forms/ScanProblem.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/ScanFeatures.h"

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

template <typename... Args> Error unsupported(fmt::format_string<Args...> text, Args &&...args) {
  return {ErrorCode::Unsupported, fmt::format(text, std::forward<Args>(args)...)};
}

class Reader {
public:
  explicit Reader(ScanProblem &scan) : scan(scan) {}

  Status run() {
    HEDDLE_CHECK(checkWeights());
    HEDDLE_CHECK(checkSupport());
    HEDDLE_CHECK(checkOthers());
    HEDDLE_CHECK(readScale());
    HEDDLE_CHECK(readDecay());
    HEDDLE_CHECK(readWidths());
    HEDDLE_CHECK(readSubtokens());
    return readHeads();
  }

private:
  pattern::MixOp mix() { return scan.mix; }

  Status checkWeights() {
    if (mix().getWeight() != pattern::WeightKind::id)
      return unsupported(
          "weight {}: a sum of such weights over the past is no finite state; it has "
          "the attention form only",
          pattern::stringifyWeightKind(mix().getWeight()).str());
    if (mix().getSink())
      return unsupported("sink: it belongs to weight exp");
    return {};
  }

  Status checkSupport() {
    MLIRContext *context = scan.context;
    Expr causal = pattern::makeBinary(ExprKind::Le, pattern::makeVar(context, "j"),
                                      pattern::makeVar(context, "i"));
    if (scan.support != causal)
      return unsupported("support {{ {} }}: a state keeps every key up to the query, which is "
                         "j <= i and nothing else",
                         scan.support.str());
    if (scan.input("q")->dim(0) != scan.T)
      return unsupported("q and k differ in their lengths: a scan reads where it writes");
    return {};
  }

  Status checkOthers() {
    if (mix().getSegment() != pattern::SegmentKind::None)
      return unsupported("segments: banks of states are not lowered yet");
    if (mix().getLayout() != pattern::LayoutKind::dense)
      return unsupported("layout {} is not lowered yet for scans",
                         pattern::stringifyLayoutKind(mix().getLayout()).str());
    if (mix().getCodecQ() || mix().getCodecK() || mix().getCodecV())
      return unsupported("codecs of q, k and v are not lowered yet for scans");
    if (mix().getAliasSize())
      return unsupported("alias: v inside k is not lowered for scans");
    if (mix().input("parent"))
      return unsupported("tree: states along a tree are not lowered yet");
    if (mix().input("tap_here"))
      return unsupported("taps are not lowered yet");
    if (mix().getDecaySymmetric())
      return unsupported("decay symmetric: the scan backwards is not lowered yet");
    bool sums = mix().getNorm() != pattern::NormKind::None || mix().output("z");
    if (sums && mix().getUpdate() != pattern::UpdateKind::add)
      return unsupported("norm with update {} is not lowered yet",
                         pattern::stringifyUpdateKind(mix().getUpdate()).str());
    scan.sums = sums;
    if (scan.normArg)
      if (std::string reason = TileScope::refuse(scan.normArg, scan); !reason.empty())
        return unsupported("norm: {}", reason);
    for (const auto &[role, name] : scan.results)
      if (role != "o" && role != "state" && role != "z")
        return unsupported("result {} is not lowered yet", role.str());
    return {};
  }

  static bool mentions(Expr expr, llvm::StringRef name) {
    return llvm::is_contained(pattern::freeVars(expr), name.str());
  }

  /// score { c * s }: c is the score of s = 1, if the score is linear in s.
  Status readScale() {
    Expr score = scan.score;
    auto at = [&](double s) {
      llvm::StringMap<Expr> names;
      names["s"] = pattern::makeFloat(scan.context, s);
      return pattern::simplify(pattern::substitute(score, names));
    };
    if (!isProduct(score) || mentions(score, "j"))
      return unsupported("score {{ {} }}: a state needs a score that is s times a factor",
                         score.str());
    scan.scale = at(1.0);
    for (const char *name : {"i", "row"})
      if (mentions(scan.scale, name))
        return unsupported("score {{ {} }}: a factor that depends on {} is not lowered yet",
                           score.str(), name);
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
      return (isProduct(expr[0]) && !mentions(expr[1], "s")) ||
             (isProduct(expr[1]) && !mentions(expr[0], "s"));
    return expr.is(ExprKind::Div) && isProduct(expr[0]) && !mentions(expr[1], "s");
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
    HEDDLE_CHECK(width("v", scan.Dv));
    for (ArrayAttr features : {scan.featuresQ, scan.featuresK})
      if (std::string reason = refuseFeatures(scan, features); !reason.empty())
        return unsupported("features: {}", reason);
    scan.features = featureWidth(scan.D, scan.featuresK);
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

  /// States are per head of k or v, whichever are more; several query heads may read one.
  Status readHeads() {
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
    bool perQueryHead = scan.constantDecay && mentions(scan.constantDecay, "h");
    if (scan.group > 1 && (perQueryHead || mentions(scan.scale, "h")))
      return unsupported("decay or score of {} query heads that share a state depends on the head",
                         scan.group);
    return {};
  }

  ScanProblem &scan;
};

} // namespace

Status readScan(ScanProblem &scan) { return Reader(scan).run(); }

} // namespace heddle::compiler
