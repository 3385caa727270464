// What a pattern asks of extents and constants: its `where`, and what clauses of its mixes take for
// granted. As formulas, so that it is checked before anything is compiled or launched.
#pragma once

#include "ir/pattern/PatternDialect.h"
#include "runtime/Artifact.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace heddle::compiler {

/// The formula of a dim or a parameter, or an error if it has none.
using FormulaOfName = std::function<Result<Formula>(const std::string &name)>;

/// An integer expression over dims, parameters and lets. Unsupported beyond + - * div mod cdiv min
/// max and binom(n, k) of a small k.
Result<Formula> formulaOf(pattern::DefOp def, pattern::ExprAttr expr, const FormulaOfName &named);

/// The conditions that can be written as formulas of names that have one; their `text` is how the
/// pattern puts them. The interpreter checks the others (real numbers, `or`).
std::vector<Constraint> conditionsOf(pattern::DefOp def, const FormulaOfName &named);

/// Adds the conditions to an artifact, over its scalars. InvalidArgument for one that the static
/// dims and constants break.
Status addConditions(Artifact &artifact, pattern::DefOp def,
                     const std::map<std::string, double> &constants);

} // namespace heddle::compiler
