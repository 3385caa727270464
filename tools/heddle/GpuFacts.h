// What is known of a GPU kernel that is not run, for explain and compile.
#pragma once

#include "tools/heddle/Problem.h"

namespace heddle::tool {

/// Compiles the problem's kernel for its GPU target and adds "kernels" to `json`: registers,
/// spills, shared memory, occupancy; with `sass` the loops of the machine code too. Where it cannot
/// be compiled (no NVRTC, no schedule that fits) the reason is added to "notes".
Status addGpuFacts(nlohmann::json &json, const Problem &problem, bool sass);

/// Prints json["kernels"].
void printGpuFacts(const nlohmann::json &json);

} // namespace heddle::tool
