// The weight of a pair as an expression:
//
//   weight sigmoid, score s + 1               ->  sigmoid(s + 1)
//   weight exp, decay constant g, score s     ->  s + g * (i - j), whose exponential is the weight
#include "compiler/forms/Weights.h"

namespace heddle::compiler {

using pattern::ExprKind;

static Expr call(const char *name, Expr x) { return pattern::makeCall(x.getContext(), name, {x}); }

Weights weightsOf(const MixProblem &problem) {
  pattern::MixOp mix = problem.mix;
  Weights weights;
  weights.exponential = mix.getWeight() == pattern::WeightKind::exp;
  weights.sums = weights.exponential || mix.getNorm() != pattern::NormKind::None;
  Expr score = problem.score;
  if (problem.product) {
    llvm::StringMap<Expr> names;
    names["s"] = problem.product;
    score = pattern::substitute(score, names);
  }
  if (weights.exponential) {
    weights.expr = problem.decay ? pattern::makeBinary(ExprKind::Add, score, problem.decay) : score;
    return weights;
  }
  if (mix.getWeight() == pattern::WeightKind::sigmoid)
    score = call("sigmoid", score);
  if (mix.getWeight() == pattern::WeightKind::relu) {
    score = call("relu", score);
    int64_t power = mix.getWeightPower();
    if (power != 1)
      score = pattern::makeCall(problem.context, "pow",
                                {score, pattern::makeInteger(problem.context, power)});
  }
  weights.expr =
      problem.decay ? pattern::makeBinary(ExprKind::Mul, score, call("exp", problem.decay)) : score;
  if (problem.gate)
    weights.expr = pattern::makeBinary(ExprKind::Mul, weights.expr, problem.gate);
  return weights;
}

} // namespace heddle::compiler
