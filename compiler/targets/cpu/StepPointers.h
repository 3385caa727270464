// A pass over LLVM IR: addresses that a loop multiplies out become pointers that step.
#pragma once

#include "llvm/IR/PassManager.h"

namespace heddle::compiler::cpu {

/// In innermost loops alone. LLVM's strength reduction finds more of them and takes a quarter of
/// all the time of a compile; addresses of blocked code have this one shape.
struct StepPointers : llvm::PassInfoMixin<StepPointers> {
  llvm::PreservedAnalyses run(llvm::Function &function, llvm::FunctionAnalysisManager &analyses);
};

} // namespace heddle::compiler::cpu
