// What each form that can lower a request is expected to take, by length of the sequence.
#pragma once

#include "runtime/Request.h"
#include "runtime/Result.h"

#include <string>
#include <utility>
#include <vector>

namespace heddle::compiler {

/// In multiply-adds of one head (forms/FormCost.h). No forms where one alone can.
struct FormEstimates {
  int64_t chunk = 0;            ///< tokens of a chunk unless the schedule says so; 0: no chunks
  std::vector<int64_t> lengths; ///< 1, 2, 4, .. 65536
  std::vector<std::pair<std::string, std::vector<double>>> forms;
  /// Who is expected to be fastest, from which length on.
  std::vector<std::pair<int64_t, std::string>> best;
};

/// Fails where the pattern or the request is wrong, or nothing lowers it.
Result<FormEstimates> estimateForms(const Request &request);

} // namespace heddle::compiler
