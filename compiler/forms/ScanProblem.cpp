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
  auto found = problem.inputs.find(role);
  return found == problem.inputs.end() ? nullptr : problem.find(found->second);
}

const ProblemTensor *ScanProblem::result(llvm::StringRef role) const {
  auto found = problem.results.find(role);
  return found == problem.results.end() ? nullptr : problem.find(found->second);
}

namespace {

template <typename... Args> Error unsupported(fmt::format_string<Args...> text, Args &&...args) {
  return {ErrorCode::Unsupported, fmt::format(text, std::forward<Args>(args)...)};
}

class Reader {
public:
  explicit Reader(MixProblem problem) { scan.problem = std::move(problem); }

  Result<ScanProblem> run() {
    HEDDLE_CHECK(checkWeights());
    HEDDLE_CHECK(checkSupport());
    HEDDLE_CHECK(checkOthers());
    HEDDLE_CHECK(readScale());
    HEDDLE_CHECK(readDecay());
    HEDDLE_CHECK(readFeatures());
    HEDDLE_CHECK(readSubtokens());
    HEDDLE_CHECK(readHeads());
    HEDDLE_CHECK(checkTensors());
    return std::move(scan);
  }

private:
  pattern::MixOp mix() { return scan.problem.mix; }
  MixProblem &problem() { return scan.problem; }

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
    MLIRContext *context = problem().context;
    Expr causal = pattern::makeBinary(ExprKind::Le, pattern::makeVar(context, "j"),
                                      pattern::makeVar(context, "i"));
    if (problem().support != causal)
      return unsupported("support {{ {} }}: a state keeps every key up to the query, which is "
                         "j <= i and nothing else",
                         problem().support.str());
    if (problem().Tq != problem().Tk)
      return unsupported("lengths {} and {} of q and k: a scan reads where it writes",
                         problem().Tq.name, problem().Tk.name);
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
    if (Expr argument = problem().specialise(mix().getNormArgAttr())) {
      if (std::string reason = refuseExpr(argument); !reason.empty())
        return unsupported("norm: {} is not lowered yet", reason);
      if (std::string reason = PairScope::refuseReads(argument, problem()); !reason.empty())
        return unsupported("norm: {}", reason);
    }
    return {};
  }

  static bool mentions(Expr expr, llvm::StringRef name) {
    return llvm::is_contained(pattern::freeVars(expr), name.str());
  }

  /// score { c * s }: c is the score of s = 1, if the score is linear in s.
  Status readScale() {
    Expr score = problem().score;
    auto at = [&](double s) {
      llvm::StringMap<Expr> names;
      names["s"] = pattern::makeFloat(problem().context, s);
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
    if (std::string reason = refuseExpr(scan.scale); !reason.empty())
      return unsupported("score: {} is not lowered yet", reason);
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
      if (std::string reason = refuseExpr(problem().decay); !reason.empty())
        return unsupported("decay: {} is not lowered yet", reason);
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

  Status readFeatures() {
    int64_t width = 0;
    for (bool query : {true, false}) {
      if (std::string reason = refuseFeatures(problem(), query); !reason.empty())
        return unsupported("{}", reason);
      width = featureWidth(problem(), query);
    }
    scan.features = width;
    return {};
  }

  Result<int64_t> number(const char *what, Expr expr) {
    if (!expr)
      return 1;
    Expr known = problem().specialise(expr);
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
    const MixProblem &p = problem();
    if (p.Hq != p.Hk && p.Hq != p.Hv) {
      if (p.Hk != p.Hv && p.G > 1)
        return unsupported("q, k and v have three different numbers of heads");
      scan.group = p.G;
    }
    bool perQueryHead = p.decay && mentions(p.decay, "h");
    if (scan.group > 1 && (perQueryHead || mentions(scan.scale, "h")))
      return unsupported("decay or score of {} query heads that share a state depends on the head",
                         scan.group);
    return {};
  }

  Status checkTensors() {
    for (const auto &[role, name] : problem().inputs)
      if (!problem().find(name))
        return unsupported("operand {} of the mix is not an argument", role.str());
    for (const auto &[role, name] : problem().results)
      if (role != "o" && role != "state" && role != "z")
        return unsupported("result {} is not lowered yet", role.str());
    return {};
  }

  ScanProblem scan;
};

} // namespace

Result<ScanProblem> readScanProblem(const FormRequest &request) {
  HEDDLE_TRY(problem, readMixProblem(request));
  return Reader(std::move(problem)).run();
}

} // namespace heddle::compiler
