// Lookups and extents of a pattern's tensors.
#include "compiler/forms/PatternProblem.h"

namespace heddle::compiler {

using pattern::ExprKind;

const ProblemTensor *PatternProblem::find(llvm::StringRef name) const {
  for (const ProblemTensor &tensor : tensors)
    if (tensor.name == name)
      return &tensor;
  return nullptr;
}

Expr PatternProblem::specialise(Expr expr) const {
  return expr ? pattern::simplify(pattern::substitute(pattern::expandLets(expr), statics)) : expr;
}

Expr PatternProblem::lengthExpr(const Extent &extent) const {
  if (extent.formula)
    return extent.formula;
  return extent.fixed ? pattern::makeInteger(context, *extent.fixed)
                      : pattern::makeDim(context, extent.name);
}

Extent PatternProblem::extentOf(Expr length) const {
  Expr known = specialise(length);
  if (known.is(ExprKind::Integer))
    return {known.integer(), "", {}};
  if (known.is(ExprKind::Dim))
    return {std::nullopt, known.getName().str(), {}};
  return {std::nullopt, "", known};
}

void PatternProblem::add(ProblemTensor tensor) {
  scope.tensors[tensor.name] = {int64_t(tensor.rank()), tensor.batched, tensor.isInteger()};
  tensors.push_back(std::move(tensor));
}

} // namespace heddle::compiler
