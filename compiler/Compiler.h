// Pattern text in, artifact out. No device, no clock, no cache: a deterministic function of the
// Request. Nothing else of compiler/ is called from outside, but schedule/ and machine/ by the
// tuner.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"
#include "runtime/Tensor.h"

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
/// tile, layouts, then vector, llvm, asm (cpu) or cuda, ptx (sm_*).
Result<std::string> show(const Request &request, const std::string &station);
std::vector<std::string> stations(const std::string &target = "cpu");

/// Which form the request gets, and why not another.
struct Choice {
  std::string form;                 ///< empty: none can lower the pattern
  std::vector<std::string> refused; ///< "chunked: reason"
  std::string support;              ///< class and zones of each loop over keys, one a line
  /// Kernels in launch order, each with what it does and why it is a launch of its own.
  std::vector<std::pair<std::string, std::string>> launches;
};
/// Fails where the pattern or the request is wrong, not where nothing lowers it.
Result<Choice> choose(const Request &request);

/// What the loop bounds make of a support, for one batch and head, against the exact number.
struct TileCounts {
  std::string support; ///< class and zones
  int64_t rowTiles = 0;
  int64_t visitedTiles = 0, fullTiles = 0; ///< key tiles over all row tiles
  int64_t visitedPairs = 0;                ///< pairs in visited keys of existing rows
  int64_t fullPairs = 0;                   ///< of these, in tiles without a mask
  int64_t exactPairs = 0;                  ///< pairs inside the support
};
/// Counts tiles for given extents (Tq, Tk, ..) and parameters (others take their default), for
/// batch 0 and head 0. `tensors`: arguments of integers that the support may read; Unsupported
/// where it reads anything else.
Result<TileCounts> countTiles(const Request &request, const std::map<std::string, int64_t> &extents,
                              const std::map<std::string, double> &params,
                              const std::map<std::string, TensorView> &tensors = {});

} // namespace heddle::compiler
