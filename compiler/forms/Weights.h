// What a mix weighs its pairs by, as one expression per pair.
#pragma once

#include "compiler/forms/MixProblem.h"

namespace heddle::compiler {

struct Weights {
  bool exponential = false; ///< exp(expr) with a running maximum, else expr itself
  bool sums = false;        ///< the row sum of weights is kept
  Expr expr;                ///< log of the weight (exponential) or the weight
};

/// Score, weight function and decay joined: under exp a decay is a bias of the score, else a
/// factor.
Weights weightsOf(const MixProblem &problem);

} // namespace heddle::compiler
