// Supports that name keys by a list: the list is walked, not all keys.
#pragma once

#include "compiler/forms/Graph.h"

#include <optional>

namespace heddle::compiler {

/// A mix in two parts that have no pair in common:
///   support = others or (inside and key in list[row, ..])
struct ListedMix {
  MixProblem inside;                ///< keys of the list
  std::optional<MixProblem> others; ///< keys by the rest of the support
};

/// Nothing where the support has no list, several, or one whose entries may repeat.
std::optional<ListedMix> planList(const Graph &graph, const MixProblem &mix);

} // namespace heddle::compiler
