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

/// The estimate of a kernel's time from dynamic counts: ms of all launches, bound of the longest,
/// counts. Null where no certificate has counts and `count` is false. `bytes`: compulsory traffic.
Result<nlohmann::json> countedEstimate(const Problem &onMachine, const Request &request,
                                       double bytes, bool count);

/// Prints json["kernels"], json["counts"] and json["estimate"].
void printGpuFacts(const nlohmann::json &json);

} // namespace heddle::tool
