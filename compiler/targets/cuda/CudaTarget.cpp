// Concrete tile IR -> CUDA C++ text -> NVRTC -> PTX and cubin.
#include "compiler/targets/cuda/CudaTarget.h"

#include "compiler/targets/cuda/CudaText.h"
#include "compiler/targets/cuda/Nvrtc.h"
#include "runtime/CudaFiles.h"

#include "mlir/IR/BuiltinOps.h"

#include <fmt/format.h>

namespace heddle::compiler::cuda {

using namespace mlir;

namespace {

tile::ProgramOp programOf(ModuleOp module) { return *module.getOps<tile::ProgramOp>().begin(); }

Result<CudaCode> translate(const std::string &text, const TargetJob &job, const Artifact &artifact,
                           Nvrtc::Output output) {
  HEDDLE_TRY(nvrtc, Nvrtc::load(identityPath(job.request.nvrtc)));
  return nvrtc.compile(text, artifact.name + ".cu", job.request.target, output);
}

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
  HEDDLE_TRY(code, translate(text, job, artifact, Nvrtc::PtxAndCubin));
  artifact.sources["cu"] = text;
  artifact.sources["ptx"] = code.ptx;
  artifact.image = code.cubin;
  artifact.requiredFeatures = {job.request.target};
  addConstraints(artifact);
  for (const auto &[entry, facts] : code.entries)
    if (facts.spillStoreBytes + facts.spillLoadBytes > 0)
      artifact.notes.push_back(fmt::format(
          "{}: {} registers are not enough: {} bytes of spill stores and {} of spill loads", entry,
          facts.registers, facts.spillStoreBytes, facts.spillLoadBytes));
  return {};
}

Result<std::string> show(ModuleOp module, const TargetJob &job, const Artifact &artifact,
                         std::string_view station) {
  Artifact shown = artifact;
  HEDDLE_TRY(text, emitText(programOf(module), shown));
  if (station == "cuda")
    return text;
  HEDDLE_TRY(code, translate(text, job, artifact, Nvrtc::Ptx));
  return code.ptx;
}

std::vector<std::string> stations() { return {"cuda", "ptx"}; }

} // namespace heddle::compiler::cuda
