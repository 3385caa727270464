// The target "sm_": concrete tile IR to CUDA C++ text, and through NVRTC to a cubin. Stations:
// cuda, ptx. Only what asks for code needs NVRTC.
#pragma once

#include "compiler/Target.h"

namespace heddle::compiler::cuda {

/// See compiler/Target.h.
Status emit(mlir::ModuleOp module, const TargetJob &job, Artifact &artifact);
Result<std::string> show(mlir::ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station);
std::vector<std::string> stations();

} // namespace heddle::compiler::cuda
