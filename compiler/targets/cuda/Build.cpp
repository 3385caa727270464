// text -> NVRTC -> artifact.image (cubin), sources "cu" and "ptx", resources of each entry.
#include "compiler/targets/cuda/Build.h"

#include "compiler/targets/cuda/Nvrtc.h"
#include "compiler/targets/cuda/Sass.h"
#include "runtime/CudaFiles.h"

#include "llvm/Support/SHA256.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::compiler::cuda {
namespace {

/// Attention's products and softmax are unrolled and straight: on sm_80 to sm_90 the quick
/// optimiser makes the same loops of them. Scans, whose index arithmetic it leaves in place, spill;
/// on sm_100 and newer loops grow by up to a tenth, and with TMA by that much more (the waits cut
/// them into blocks, between which it moves accumulators). PTX alone is for the PTX machine, which
/// executes the moves that ptxas would drop.
Nvrtc::Effort effortFor(const Artifact &artifact, const TargetJob &job, Nvrtc::Output output) {
  constexpr int64_t kNewestQuick = 90;
  const bool quick = output == Nvrtc::PtxAndCubin && artifact.form == "attention" &&
                     artifact.tensorMaps.empty() &&
                     architectureNumber(job.request.target) <= kNewestQuick;
  return quick ? Nvrtc::Quick : Nvrtc::Full;
}

/// Whether registers were not enough, or an array lies in local memory.
bool usesLocalMemory(const CudaCode &code) {
  return std::any_of(code.entries.begin(), code.entries.end(),
                     [](const auto &entry) { return entry.second.stackBytes > 0; });
}

Result<CudaCode> compileText(const std::string &text, const TargetJob &job,
                             const Artifact &artifact, Nvrtc::Output output,
                             std::string *version = nullptr) {
  HEDDLE_TRY(nvrtc, Nvrtc::load(identityPath(job.request.nvrtc)));
  if (version)
    *version = nvrtc.version();
  const std::string name = artifact.name + ".cu";
  const Nvrtc::Effort effort = effortFor(artifact, job, output);
  HEDDLE_TRY(code, nvrtc.compile(text, name, job.request.target, output, effort));
  if (effort == Nvrtc::Quick && usesLocalMemory(code))
    return nvrtc.compile(text, name, job.request.target, output, Nvrtc::Full);
  return code;
}

/// Shared memory of a launch whose formula is a constant: that of a tile program always is.
Status checkShared(const Launch &launch, const Resources &resources, const TargetJob &job) {
  const Result<int64_t> dynamic = launch.sharedBytes.evaluate({});
  const int64_t most = job.machine.gpu.sharedBytesPerBlock;
  const int64_t bytes = resources.sharedBytes + (dynamic.ok() ? *dynamic : 0);
  if (most == 0 || bytes <= most)
    return {};
  return Error{ErrorCode::ResourceExhausted,
               fmt::format("{} needs {} bytes of shared memory, {} more than a block may have on "
                           "{}; take smaller tiles or fewer stages",
                           launch.entry, bytes, bytes - most, job.machine.title)};
}

} // namespace

Status build(const std::string &text, const TargetJob &job, Artifact &artifact) {
  const bool ptxOnly = job.request.flags == kPtxOnly;
  std::string version;
  HEDDLE_TRY(code,
             compileText(text, job, artifact, ptxOnly ? Nvrtc::Ptx : Nvrtc::PtxAndCubin, &version));
  for (const Launch &launch : artifact.launches) {
    const auto entry = code.entries.find(launch.entry);
    if (ptxOnly)
      continue;
    if (entry == code.entries.end())
      return Error{ErrorCode::Internal,
                   fmt::format("found no entry {} in the compiled text", launch.entry)};
    HEDDLE_CHECK(checkShared(launch, entry->second, job));
  }
  for (const auto &[entry, facts] : code.entries)
    if (facts.spillStoreBytes + facts.spillLoadBytes > 0)
      artifact.notes.push_back(fmt::format(
          "{}: {} registers are not enough: {} bytes of spill stores and {} of spill loads", entry,
          facts.registers, facts.spillStoreBytes, facts.spillLoadBytes));
  artifact.requiredFeatures = {artifact.target};
  artifact.image = std::move(code.cubin);
  artifact.resources = std::move(code.entries);
  artifact.provenance["nvrtc"] = version;
  artifact.provenance["cu"] =
      llvm::toHex(llvm::SHA256::hash(
                      llvm::ArrayRef(reinterpret_cast<const uint8_t *>(text.data()), text.size())),
                  /*LowerCase=*/true);
  artifact.sources["cu"] = text;
  artifact.sources["ptx"] = std::move(code.ptx);
  return {};
}

Result<std::string> showBuilt(const std::string &text, const TargetJob &job,
                              const Artifact &artifact, std::string_view station) {
  const bool sass = station == "sass";
  HEDDLE_TRY(code, compileText(text, job, artifact, sass ? Nvrtc::PtxAndCubin : Nvrtc::Ptx));
  if (!sass)
    return code.ptx;
  return disassemble(code.cubin);
}

} // namespace heddle::compiler::cuda
