// A whole program as one CUDA C++ file: header comment, prelude, parameter block, kernels.
#pragma once

#include "ir/tile/TileDialect.h"
#include "runtime/Artifact.h"
#include "runtime/Result.h"

namespace heddle::compiler::cuda {

/// The text, and what the launches need: fills block and sharedBytes of artifact.launches. Entries
/// and the block's fields are those of `artifact`.
Result<std::string> emitText(tile::ProgramOp program, Artifact &artifact);

} // namespace heddle::compiler::cuda
