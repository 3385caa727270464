// Every pass from abstract tile IR to what a target emits, in order. Pipeline.cpp is the table of
// contents of the compiler.
#pragma once

#include "compiler/Target.h"

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace heddle::compiler {

/// Station form -> station tile: the same for every target.
void addTilePasses(mlir::OpPassManager &passes);

/// Station tile -> station layouts, for the CPU; see Target::addLayoutPasses.
Status addCpuLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job);
/// The same for GPUs by mma.sync: sm_80, 86, 89, 90, 100, 120. Unsupported for others, and for f32.
Status addCudaLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job);

} // namespace heddle::compiler
