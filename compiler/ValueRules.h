// What a pattern takes for granted of the numbers in its inputs: offsets of packed sequences, page
// numbers, parents, lists that supports look up, log-decays, rates of delta updates.
#pragma once

#include "ir/pattern/PatternDialect.h"
#include "runtime/Artifact.h"

#include <map>
#include <string>
#include <vector>

namespace heddle::compiler {

/// The rules of `def`; tensors count its arguments in order. What an op of the pattern makes needs
/// none. `constants`: those that do not take their default.
std::vector<ValueRule> valueRulesOf(pattern::DefOp def,
                                    const std::map<std::string, double> &constants = {});

} // namespace heddle::compiler
