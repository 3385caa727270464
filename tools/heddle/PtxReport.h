// What a launch on the PTX machine did, as JSON and for people.
#pragma once

#include "runtime/devices/ptx/Machine.h"

#include <nlohmann/json.hpp>

namespace heddle::tool {

/// kernel, blocks, instructions, printed; if counted: classes, loops, traffic; if checked: verdict,
/// findings, unmodelled.
nlohmann::json toJson(const std::string &kernel, const ptx::Report &report, bool checked);

/// "early", "late" or "random", as options spell it.
ptx::CopyTime copyTimeOf(const std::string &name);

/// The counts and findings of that, indented.
void printReport(const nlohmann::json &json);

} // namespace heddle::tool
