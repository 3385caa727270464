// Tuner: checks and times candidate schedules and names the best one.
//
//   space --(not yet measured)--> batches --prepare, check--> measure side by side --> records -->
//   winner
//
// Each batch is measured together with the reference (the default schedule) and recorded as soon as
// it is done, so a killed sweep goes on where it was and a longer candidate list costs only what is
// new.
#pragma once

#include "autotune/Measure.h"
#include "runtime/Result.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace heddle::autotune {

using Schedule = std::map<std::string, int64_t>; ///< as compiler::Schedule

/// "BM=64 BN=128", knobs in alphabetical order: the canonical text of a schedule.
std::string toString(const Schedule &schedule);

/// Where candidates are compiled, checked and run: a device, or a fake one in tests.
class Lab {
public:
  virtual ~Lab() = default;

  /// Compiles and loads the candidate, runs it once and compares sampled rows with the oracle.
  /// Returns what to time it by, or why it may not win.
  virtual Result<Subject> prepare(const Schedule &schedule) = 0;
};

/// Where records live. Keys and values are texts; a record that cannot be written is not an error
/// of the sweep (it is only measured again next time).
class Records {
public:
  virtual ~Records() = default;
  virtual std::optional<std::string> get(const std::string &key) = 0;
  virtual void put(const std::string &key, const std::string &value) = 0;
};

/// What became of one candidate.
struct Candidate {
  Schedule schedule;
  std::optional<Timing> timing; ///< none if refused
  std::string refusal;          ///< why it may not win; empty if it may
  bool fromRecords = false;     ///< measured by an earlier run
};

struct Sweep {
  std::vector<Candidate> candidates; ///< in the order of the space
  size_t winner = 0;                 ///< index of the chosen candidate
  std::vector<size_t> ties;          ///< candidates that cannot be told from the fastest
  int64_t measured = 0, reused = 0;
};

struct TunerOptions {
  MeasurePolicy policy;
  int batch = 6;                   ///< candidates measured side by side, besides the reference
  double indistinguishable = 0.01; ///< ratios closer than this, or than their spreads, are a tie
};

/// Reports that `done` of `total` candidates are finished; returns false to stop after this batch.
using ProgressCallback = std::function<bool(int64_t done, int64_t total, const std::string &note)>;

/// Sweeps the space (the default schedule first). `problem` is the text that, with a schedule and
/// the policy, makes a measurement's key: request key, lengths, threads, machine. A tie goes to the
/// first of the tied in the order of the space, so that two sweeps choose alike. Fails if the
/// default cannot be prepared, or when stopped.
Result<Sweep> tune(const std::vector<Schedule> &space, const std::string &problem, Lab &lab,
                   Records &records, const TunerOptions &options, const ProgressCallback &progress);

} // namespace heddle::autotune
