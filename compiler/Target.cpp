// The table of targets.
#include "compiler/Target.h"

#include "compiler/Pipeline.h"
#include "compiler/targets/cpu/CpuTarget.h"
#include "compiler/targets/cuda/CudaTarget.h"

#include <fmt/format.h>

namespace heddle::compiler {

static constexpr Target kTargets[] = {
    {"cpu", addCpuLayoutPasses, cpu::emit, cpu::show, cpu::stations},
    {"sm_", addCudaLayoutPasses, cuda::emit, cuda::show, cuda::stations},
};

Result<const Target *> findTarget(std::string_view name) {
  std::string known;
  for (const Target &target : kTargets) {
    if (name.starts_with(target.name))
      return &target;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", target.name);
  }
  return Error{ErrorCode::NotFound,
               fmt::format("unknown target '{}', expected one of: {}", name, known)};
}

} // namespace heddle::compiler
