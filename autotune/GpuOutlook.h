// The outlook of a schedule on a GPU that is not there: compile, look at
// registers and loops, and estimate the time.
#pragma once

#include "autotune/EstimateSweep.h"
#include "runtime/Request.h"

#include <map>
#include <string>

namespace heddle::autotune {

/// A problem whose schedules are compared.
struct GpuProblem {
  Request request;                        ///< complete but for its schedule
  std::map<std::string, int64_t> extents; ///< of every dim
  std::map<std::string, double> parameters;
  double bytes = 0; ///< compulsory traffic, Cost::bytes
};

/// Fails as the compiler does. See compiler/machine/GpuEstimate.h for the
/// formula; where nvdisasm lacks, a tile's slots are taken as 4 per m16n8k16
/// (what good kernels need on sm_80).
Result<Outlook> outlookOf(const GpuProblem &problem, const Schedule &schedule);

} // namespace heddle::autotune
