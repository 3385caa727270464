// A sweep without the device: candidates are compiled and looked at, not run,
// and ranked by an estimate. What spills is dropped. Results are kept, so a
// killed sweep goes on where it was.
#pragma once

#include "autotune/Tuner.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace heddle::autotune {

/// What a compiled candidate gives without being run, of the launch that does
/// the work.
struct Outlook {
  double milliseconds = 0; ///< estimated
  std::string bound;       ///< what limits it: tensor cores, issue slots, memory, ...
  int64_t registers = 0, spillBytes = 0, stackBytes = 0, sharedBytes = 0;
  int64_t blocks = 0;         ///< at once on a multiprocessor
  double occupancy = 0;       ///< share of the warps it can hold
  std::string occupancyLimit; ///< registers, shared memory, warps, blocks
  double otherPerMma = 0;     ///< slots other than tensor-core ones per m16n8k16; 0: not known
  bool operator==(const Outlook &) const = default;
};

/// What became of one candidate.
struct Estimated {
  Schedule schedule;
  Outlook outlook;
  std::string refusal;      ///< why it may not win; empty if it may
  bool fromRecords = false; ///< looked at by an earlier run
};

struct EstimateSweep {
  std::vector<Estimated> candidates; ///< in the order of the space
  size_t winner = 0;                 ///< least estimate, ties to the first
  int64_t compiled = 0, reused = 0;
};

/// Compiles and looks at one candidate; called from several threads at once.
using Assess = std::function<Result<Outlook>(const Schedule &)>;

/// Why a candidate may not win for its outlook alone: spills, local memory, no
/// block that fits. Empty if it may.
std::string objection(const Outlook &outlook);

/// Threads for compiling: as asked (0: every core), at most one for each 512
/// MiB of free memory.
int compileThreads(int asked);

/// Looks at every schedule of the space by `assess` on `threads` threads.
/// `problem` is the text that, with a schedule, makes a record's key. Fails if
/// no candidate is left, with the first reason, or when stopped.
Result<EstimateSweep> estimateSweep(const std::vector<Schedule> &space, const std::string &problem,
                                    const Assess &assess, Records &records, int threads,
                                    const ProgressCallback &progress);

} // namespace heddle::autotune
