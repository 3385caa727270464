// Feature maps of q and k as expressions.
#pragma once

#include "compiler/forms/PatternProblem.h"

#include <functional>

namespace heddle::compiler {

/// A row of features: the element at feature `d`, and how many there are.
struct FeatureRow {
  std::function<Expr(Expr d)> at;
  Expr width;
};

/// The row after `features` in order; `position` is what rope turns by unless it says. Null `at`
/// with the feature's name in `refused` where there is no expression for one.
FeatureRow applyFeatures(const PatternProblem &problem, mlir::ArrayAttr features, FeatureRow row,
                         Expr position, std::string &refused);

/// Feature maps of q and k whose product is a function of the product of what they map: the last
/// ones of both lists are dropped and `score` is rewritten in terms of the plain product.
///
///   spow(p) of both: s becomes pow(s, p)       taylor2: s becomes 1 + u + u u / 2, u = c c' s
void foldProductFeatures(const PatternProblem &problem, mlir::ArrayAttr &q, mlir::ArrayAttr &k,
                         Expr &score);

} // namespace heddle::compiler
