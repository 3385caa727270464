// The compiler's answers about GPU kernels that are not run: facts of an
// artifact, and a sweep by estimates.
#pragma once

#include "compiler/Plugin.h"
#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include <string>
#include <string_view>

namespace heddle::compiler {

/// A JSON array with one object a launch: entry, threads, registers, spills,
/// stack, shared memory, occupancy, loops; estimate, if `counts` (see Plugin.h) is not empty.
Result<std::string> inspectReport(const Request &request, const Artifact &artifact, bool sass,
                                  std::string_view counts);

/// A JSON object: winner, candidates (each with its estimate or refusal),
/// compiled, reused, machine.
Result<std::string> estimateReport(const Request &request, const heddle_compiler_call &call,
                                   const heddle_compiler_sweep &options);

} // namespace heddle::compiler
