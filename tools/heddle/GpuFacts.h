// What is known of a GPU kernel that is not run, for explain and compile.
#pragma once

#include "tools/heddle/Problem.h"

namespace heddle::tool {

/// Compiles the problem's kernel for its GPU target and adds "kernels" to `json`: registers,
/// spills, shared memory, occupancy; with `sass` the loops of the machine code too. Where it cannot
/// be compiled (no NVRTC, no schedule that fits) the reason is added to "notes". Where its
/// instructions were counted on the PTX machine, "counts" and "estimate" (ms, bound) are added too;
/// with `count` they are counted now if no certificate has them.
Status addGpuFacts(nlohmann::json &json, const ProblemOptions &options, const Problem &problem,
                   bool sass, bool count);

/// The same problem and schedule with the PTX machine of its target as the device.
Result<Problem> problemOnMachine(ProblemOptions options, const Request &request);

/// Dynamic counts that a certificate of this shape has; else what the machine counts now, if
/// `count`, or null. `bytes`: compulsory traffic, kept with them.
Result<nlohmann::json> countsOf(const Problem &onMachine, double bytes, bool count);

/// The estimate of a kernel's time from its counts: ms of all launches, bound of the longest.
Result<nlohmann::json> countedEstimate(CompilerPlugin &compiler, const Request &request,
                                       const Artifact &artifact, const nlohmann::json &counts);

/// Prints json["kernels"], json["counts"] and json["estimate"].
void printGpuFacts(const nlohmann::json &json);

} // namespace heddle::tool
