// Concrete tile IR -> CUDA C++ text -> NVRTC -> PTX and cubin.
#include "compiler/targets/cuda/CudaTarget.h"

#include "compiler/targets/cuda/Build.h"
#include "compiler/targets/cuda/CudaText.h"

#include "mlir/IR/BuiltinOps.h"

#include <fmt/format.h>

namespace heddle::compiler::cuda {

using namespace mlir;

namespace {

tile::ProgramOp programOf(ModuleOp module) { return *module.getOps<tile::ProgramOp>().begin(); }

/// What the kernels take for granted of scalars: lengths and integer parameters are 32-bit in
/// kernels, and y and z of a grid are at most 65535.
void addConstraints(Artifact &artifact) {
  constexpr int64_t kLargest = int64_t(1) << 30, kGrid = 65535;
  std::vector<std::string> names;
  for (const ScalarInfo &scalar : artifact.scalars)
    names.push_back(scalar.name);
  for (size_t n = 0; n < artifact.scalars.size(); ++n)
    if (artifact.scalars[n].kind != ScalarInfo::FloatParameter)
      artifact.constraints.push_back({Constraint::AtMost, Formula::scalar(n),
                                      Formula::constant(kLargest),
                                      fmt::format("{} <= {}", names[n], kLargest)});
  for (const Launch &launch : artifact.launches)
    for (int axis : {1, 2})
      if (launch.grid[axis] != Formula::constant(1))
        artifact.constraints.push_back(
            {Constraint::AtMost, launch.grid[axis], Formula::constant(kGrid),
             fmt::format("{} <= {}", launch.grid[axis].toString(names), kGrid)});
}

} // namespace

Status emit(ModuleOp module, const TargetJob &job, Artifact &artifact) {
  HEDDLE_TRY(text, emitText(programOf(module), artifact));
  HEDDLE_CHECK(build(text, job, artifact));
  addConstraints(artifact);
  return {};
}

Result<std::string> show(ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station) {
  Artifact shown = artifact;
  HEDDLE_TRY(text, emitText(programOf(module), shown));
  if (station == "cuda")
    return text;
  return showBuilt(text, job, artifact, station);
}

std::vector<std::string> stations() { return {"cuda", "ptx", "sass"}; }

} // namespace heddle::compiler::cuda
