// artifact.resources + machine -> occupancy;  artifact.image -> nvdisasm ->
// loops of each entry.
#include "compiler/KernelFacts.h"

#include "compiler/machine/Machine.h"
#include "compiler/targets/cuda/Sass.h"

#include <fmt/format.h>

namespace heddle::compiler {
namespace {

LoopFacts toFacts(const cuda::SassLoop &loop) {
  return {loop.begin,       loop.end,          loop.mix.instructions,
          loop.mix.classes, loop.mix.mmaFlops, loop.mix.otherPerMma()};
}

void addLoops(std::vector<KernelFacts> &kernels, const std::string &image) {
  const Result<std::string> text = cuda::disassemble(image);
  if (!text.ok()) {
    for (KernelFacts &kernel : kernels)
      kernel.noLoops = text.error().message;
    return;
  }
  const std::vector<cuda::SassKernel> codes = cuda::parseSass(*text);
  for (KernelFacts &kernel : kernels)
    for (const cuda::SassKernel &code : codes) {
      if (code.name != kernel.entry)
        continue;
      const cuda::SassFacts facts = cuda::factsOf(code);
      for (const cuda::SassLoop &loop : facts.loops)
        kernel.loops.push_back(toFacts(loop));
      kernel.main = facts.main;
      kernel.noLoops = facts.loops.empty() ? "the code has no loop" : "";
    }
}

} // namespace

Result<std::vector<KernelFacts>> inspect(const Request &request, const Artifact &artifact,
                                         bool sass) {
  if (!artifact.target.starts_with("sm_"))
    return Error{ErrorCode::Unsupported,
                 fmt::format("found code for {}, expected code for a GPU", artifact.target)};
  if (artifact.image.empty())
    return Error{ErrorCode::Unsupported, "found PTX without machine code; registers and occupancy "
                                         "follow from the latter"};
  HEDDLE_TRY(machine, machineOf(request));
  std::vector<KernelFacts> kernels;
  for (const Launch &launch : artifact.launches) {
    KernelFacts facts;
    facts.entry = launch.entry;
    facts.threads = launch.block[0] * launch.block[1] * launch.block[2];
    if (const auto known = artifact.resources.find(launch.entry); known != artifact.resources.end())
      facts.resources = known->second;
    const Result<int64_t> dynamic = launch.sharedBytes.evaluate({});
    facts.sharedBytes = facts.resources.sharedBytes + (dynamic.ok() ? *dynamic : 0);
    facts.occupancy =
        occupancyOf(machine, {facts.threads, facts.resources.registers, facts.sharedBytes});
    facts.noLoops = "not asked for";
    kernels.push_back(std::move(facts));
  }
  if (sass)
    addLoops(kernels, artifact.image);
  return kernels;
}

} // namespace heddle::compiler
