// The CPU's line in the table of targets (compiler/Target.h).
#pragma once

#include "compiler/Target.h"

namespace heddle::compiler::cpu {

/// Code for the one tile.program of `module`; see Target::emit.
Status emit(mlir::ModuleOp module, const TargetJob &job, Artifact &artifact);

/// Text of station vector, llvm or asm.
Result<std::string> show(mlir::ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station);

std::vector<std::string> stations();

} // namespace heddle::compiler::cpu
