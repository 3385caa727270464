// The part of an Artifact that follows from a tile.program alone, the same for every target:
// scalars, tensors, the argument table, launches and workspace formulas.
#pragma once

#include "ir/tile/TileDialect.h"
#include "runtime/Artifact.h"

namespace heddle::compiler {

/// Arguments are 8 bytes each, in this order: every scalar; of every tensor its pointer and the
/// strides of all dimensions but the last, whose stride is 1; every workspace buffer.
Artifact frameOf(tile::ProgramOp program);

} // namespace heddle::compiler
