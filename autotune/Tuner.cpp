// One sweep: what is recorded is taken as it is, the rest is measured batch by batch.
#include "autotune/Tuner.h"

#include "autotune/Record.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::autotune {
namespace {

struct State {
  const std::string &problem;
  Lab &lab;
  Records &records;
  const TunerOptions &options;
  Sweep sweep;

  std::string key(const Schedule &schedule) const {
    return fmt::format("measurement v1\n{}\n{}\n{}", problem, options.policy.toString(),
                       toString(schedule));
  }

  void takeRecorded() {
    for (Candidate &candidate : sweep.candidates) {
      std::optional<std::string> text = records.get(key(candidate.schedule));
      if (!text || !parseRecord(*text, candidate))
        continue;
      candidate.fromRecords = true;
      ++sweep.reused;
    }
  }

  void record(const Candidate &candidate) {
    records.put(key(candidate.schedule), formatRecord(candidate));
  }

  bool done(const Candidate &candidate) const {
    return candidate.timing.has_value() || !candidate.refusal.empty();
  }

  int64_t doneCount() const {
    return std::count_if(sweep.candidates.begin(), sweep.candidates.end(),
                         [&](const Candidate &c) { return done(c); });
  }
};

/// Prepares and times the candidates of one batch beside the reference, and records them.
Status runBatch(State &state, const Subject &reference, const std::vector<size_t> &batch) {
  std::vector<Subject> subjects{reference};
  std::vector<size_t> timed;
  for (size_t index : batch) {
    Candidate &candidate = state.sweep.candidates[index];
    ++state.sweep.measured;
    if (index == 0) { // the reference itself
      timed.push_back(index);
      subjects.push_back(reference);
      continue;
    }
    Result<Subject> subject = state.lab.prepare(candidate.schedule);
    if (!subject.ok()) {
      candidate.refusal = subject.error().message;
      state.record(candidate);
      continue;
    }
    timed.push_back(index);
    subjects.push_back(std::move(*subject));
  }
  HEDDLE_TRY(timings, measure(subjects, state.options.policy));
  for (size_t n = 0; n < timed.size(); ++n) {
    Candidate &candidate = state.sweep.candidates[timed[n]];
    candidate.timing = timings[n + 1];
    state.record(candidate);
  }
  return {};
}

/// The fastest by ratio to the reference, then the first that cannot be told from it.
void chooseWinner(Sweep &sweep, double indistinguishable) {
  const Timing *best = nullptr;
  for (const Candidate &candidate : sweep.candidates)
    if (candidate.timing && (!best || candidate.timing->ratio < best->ratio))
      best = &*candidate.timing;
  if (!best)
    return;
  for (size_t index = 0; index < sweep.candidates.size(); ++index) {
    const std::optional<Timing> &timing = sweep.candidates[index].timing;
    if (!timing)
      continue;
    double margin = std::max(indistinguishable, std::min(best->spread, 0.05) / 2);
    if (timing->ratio <= best->ratio * (1 + margin))
      sweep.ties.push_back(index);
  }
  sweep.winner = sweep.ties.front();
}

std::string bestNote(const Sweep &sweep) {
  const Candidate *best = nullptr;
  for (const Candidate &candidate : sweep.candidates)
    if (candidate.timing && (!best || candidate.timing->ratio < best->timing->ratio))
      best = &candidate;
  return best ? fmt::format("best so far {} ({:.3f} ms)", toString(best->schedule),
                            best->timing->median)
              : "";
}

} // namespace

std::string toString(const Schedule &schedule) {
  std::string text;
  for (const auto &[name, value] : schedule)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

Result<Sweep> tune(const std::vector<Schedule> &space, const std::string &problem, Lab &lab,
                   Records &records, const TunerOptions &options,
                   const ProgressCallback &progress) {
  if (space.empty())
    return Error{ErrorCode::InvalidArgument,
                 "found no legal schedule to sweep, expected at least one"};
  State state{problem, lab, records, options, {}};
  for (const Schedule &schedule : space)
    state.sweep.candidates.push_back({schedule, {}, {}, false});
  state.takeRecorded();

  int64_t total = static_cast<int64_t>(space.size());
  std::optional<Subject> reference;
  while (state.doneCount() < total) {
    if (!progress(state.doneCount(), total, bestNote(state.sweep)))
      return Error{ErrorCode::InvalidArgument,
                   "the sweep was stopped",
                   "",
                   {"what was measured is kept: the same command goes on from there"}};
    if (!reference) {
      HEDDLE_TRY(subject, lab.prepare(space[0]));
      reference = std::move(subject);
    }
    std::vector<size_t> batch;
    for (size_t index = 0; index < space.size() && batch.size() < size_t(options.batch); ++index)
      if (!state.done(state.sweep.candidates[index]))
        batch.push_back(index);
    HEDDLE_CHECK(runBatch(state, *reference, batch));
  }
  chooseWinner(state.sweep, options.indistinguishable);
  progress(total, total, bestNote(state.sweep));
  return std::move(state.sweep);
}

} // namespace heddle::autotune
