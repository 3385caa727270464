// Pattern text in, artifact out. No device, no clock, no cache: a deterministic function of the
// Request. Nothing else of compiler/ is called from outside, but schedule/ and machine/ by the
// tuner.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include <map>
#include <string>
#include <vector>

namespace heddle::compiler {

/// Values of all knobs by name, see compiler/schedule/Knobs.def.
using Schedule = std::map<std::string, int64_t>;

/// Compiles the request to code for its target. InvalidPattern errors say file:line:column.
Result<Artifact> compile(const Request &request);

/// The schedules that are legal for the request on its machine, the default first.
Result<std::vector<Schedule>> enumerate(const Request &request);

/// The text of one station of the pipeline; `stations()` lists their names in order: pattern, form,
/// tile, layouts, vector, llvm, asm.
Result<std::string> show(const Request &request, const std::string &station);
std::vector<std::string> stations();

} // namespace heddle::compiler
