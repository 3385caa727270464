// Concrete tile IR -> CUDA C++ text.
#include "compiler/targets/cuda/CudaTarget.h"

#include "compiler/targets/cuda/CudaText.h"

#include "mlir/IR/BuiltinOps.h"

namespace heddle::compiler::cuda {

using namespace mlir;

Status emit(ModuleOp module, const TargetJob &job, Artifact &artifact) {
  HEDDLE_TRY(text, emitText(*module.getOps<tile::ProgramOp>().begin(), artifact));
  artifact.sources["cu"] = text;
  artifact.requiredFeatures = {job.request.target};
  return {};
}

Result<std::string> show(ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station) {
  Artifact shown = artifact;
  return emitText(*module.getOps<tile::ProgramOp>().begin(), shown);
}

std::vector<std::string> stations() { return {"cuda"}; }

} // namespace heddle::compiler::cuda
