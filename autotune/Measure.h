// Timing of several subjects side by side. Rounds are interleaved (every subject once a round, in a
// rotating order), so that a slow moment of the machine falls on all of them.
#pragma once

#include "runtime/Result.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace heddle::autotune {

/// How to measure. Part of a measurement's key: other numbers, other measurement.
struct MeasurePolicy {
  int warmUps = 1;               ///< untimed runs of each subject first
  int rounds = 7;                ///< timed rounds
  double sampleMilliseconds = 4; ///< a sample repeats the run until it has lasted this long
  double hopeless = 1.6; ///< after two rounds, a subject slower than this times the best stops

  std::string toString() const;
};

/// What is known of one subject's time. Milliseconds a run.
struct Timing {
  double median = 0, min = 0;
  double spread = 0; ///< (third quartile - first quartile) / median
  int64_t samples = 0;
  /// Median of this subject's time over the reference's in the same round: free of what slows the
  /// whole machine. 1 for the reference itself.
  double ratio = 0;
};

/// Runs the subject `count` times and returns the milliseconds that took.
using Subject = std::function<Result<double>(int64_t count)>;

/// Times all subjects; the first is the reference of `Timing::ratio`. Fails as soon as a run fails.
Result<std::vector<Timing>> measure(const std::vector<Subject> &subjects,
                                    const MeasurePolicy &policy);

} // namespace heddle::autotune
