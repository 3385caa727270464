// What the exponentials of a loop over keys are taken from: the running maximum of each row.
#pragma once

#include "ir/tile/TileDialect.h"

#include <optional>

namespace heddle::compiler {

/// m, which a loop carries, becomes M; what was summed before is corrected by r = exp2(m - b),
/// where b is made from M.
struct RunningBase {
  mlir::Value m, M;
  tile::MapOp correction;
};

std::optional<RunningBase> runningBase(tile::ForOp loop);

/// Puts B = M > m + 8 ? M : m in place of M for every reader, so that r is 1 but where a maximum
/// grew by much. Weights may reach 2^8 then, and all of a row (sums, accumulators, later weights)
/// share the base, so nothing is lost. Returns B.
mlir::Value keepBase(const RunningBase &base);

} // namespace heddle::compiler
