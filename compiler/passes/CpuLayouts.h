// The CPU's layout passes, in order (Target::addLayoutPasses).
#pragma once

#include "compiler/Target.h"

namespace heddle::compiler {

/// AssignLayouts, PlaceMemory and VerifyBudget for the instruction set that the request's device
/// facts and the knob ISA give.
void addCpuLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job);

} // namespace heddle::compiler
