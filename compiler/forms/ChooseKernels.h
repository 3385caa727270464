// Kernels that choose the best candidates of each row.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// Why the stage has no kernel; empty if it has one.
std::string refuseChoose(const PatternProblem &problem, const ChooseStage &stage);

/// One kernel `choose_NAME`: grid (tiles of the rows' first dim, the dims between, batch).
/// `byProducts`: scores may be products of tiles, in f32.
void writeChoose(ProgramWriter &program, const PatternProblem &problem, const ChooseStage &stage,
                 bool byProducts);

/// One kernel `keep_NAME` that walks the keys: grid (four buckets, batch).
void writeBuckets(ProgramWriter &program, const PatternProblem &problem, const BucketStage &stage);

} // namespace heddle::compiler
