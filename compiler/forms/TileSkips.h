// Supports by lists and masks: which blocks of keys anybody in a tile of rows looks at. Bounds of
// zones say nothing about `j div c in list[row]`; a map before the mix joins what the rows of a
// tile see, and the loop over keys passes over blocks that nobody sees:
//
//   seen[t, h, n] = any[r < BM] { n in list[t BM + r, h] }
#pragma once

#include "compiler/forms/Graph.h"

#include <optional>

namespace heddle::compiler {

/// The map for a mix whose support reads masks or lists of blocks of at least `least` keys; says so
/// in the mix and adds the workspace to the graph. `rows`: of a tile; `packed`: a tile's rows are
/// the query heads of one key head at one query. Nothing where the support gives no cause.
std::optional<MapStage> planSkips(Graph &graph, MixProblem &mix, int64_t rows, int64_t least,
                                  bool packed);

} // namespace heddle::compiler
