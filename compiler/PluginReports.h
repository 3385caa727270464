// The longer answers of the plugin, each a JSON object: what a kernel costs and why it is as it is,
// whether its results are right, and which schedule is fastest.
#pragma once

#include "compiler/Plugin.h"
#include "runtime/Request.h"
#include "runtime/Result.h"
#include "runtime/Signature.h"

#include <string>

namespace heddle::compiler {

/// form, refused, schedule, launches, support, tiles, cost; see tools/heddle/Explain.cpp.
Result<std::string> explainReport(const Request &request, const heddle_compiler_call &call);

/// passed, sampled, rows, total_rows, results: [name, max, rms, limit, passed].
Result<std::string> checkReport(const Request &request, const heddle_compiler_call &call,
                                const heddle_compiler_check &options);

/// winner, candidates, ties, measured, reused.
Result<std::string> tuneReport(const Request &request, const heddle_compiler_call &call,
                               const heddle_compiler_sweep &options);

/// Fills Signature::notes: for every form "yes" or why it cannot lower the pattern, judged on small
/// sizes. Says nothing where the pattern's conditions do not admit those sizes.
void addVerdicts(Signature &signature, const std::string &text, const std::string &name);

} // namespace heddle::compiler
