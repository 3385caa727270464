// From the CUDA text of a program to what an artifact holds: PTX, cubin, facts of ptxas. The last
// step of the target, apart from the emitter so that text written by hand can be built as well.
#pragma once

#include "compiler/Target.h"

namespace heddle::compiler::cuda {

/// A flag of Request::flags: PTX alone, at half the time. The artifact then has no image.
inline constexpr std::string_view kPtxOnly = "ptx-only";

/// Compiles `text` for the request's target by the NVRTC that the request names (else the one that
/// is found) and fills image, sources, resources, requiredFeatures and provenance of `artifact`.
/// Fails as Nvrtc::compile does; ResourceExhausted where static and dynamic shared memory of a
/// launch exceed what a block may have on the machine; Internal where a launch's entry is missing.
Status build(const std::string &text, const TargetJob &job, Artifact &artifact);

/// The station ptx or sass of a text. sass needs nvdisasm: NotFound, saying so, without.
Result<std::string> showBuilt(const std::string &text, const TargetJob &job,
                              const Artifact &artifact, std::string_view station);

} // namespace heddle::compiler::cuda
