// Interleaved rounds: round r runs subjects r, r+1, ... (mod n) once each; a sample is as many runs
// as fill policy.sampleMilliseconds, found from the warm-up.
#include "autotune/Measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace heddle::autotune {
namespace {

/// The q-quantile of sorted numbers, linear between neighbours.
double quantile(const std::vector<double> &sorted, double q) {
  double position = q * static_cast<double>(sorted.size() - 1);
  size_t below = static_cast<size_t>(position);
  size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double medianOf(std::vector<double> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return quantile(numbers, 0.5);
}

Timing summarize(std::vector<double> times, const std::vector<double> &reference) {
  std::vector<double> ratios;
  for (size_t round = 0; round < times.size(); ++round)
    ratios.push_back(times[round] / reference[round]);
  std::sort(times.begin(), times.end());
  Timing timing;
  timing.median = quantile(times, 0.5);
  timing.min = times.front();
  timing.spread = (quantile(times, 0.75) - quantile(times, 0.25)) / timing.median;
  timing.samples = static_cast<int64_t>(times.size());
  timing.ratio = medianOf(std::move(ratios));
  return timing;
}

/// How often one sample repeats its run, from the time of a single run.
int64_t repeats(double milliseconds, const MeasurePolicy &policy) {
  if (milliseconds <= 0)
    return 1000;
  return std::clamp<int64_t>(std::llround(std::ceil(policy.sampleMilliseconds / milliseconds)), 1,
                             1000);
}

} // namespace

std::string MeasurePolicy::toString() const {
  return fmt::format("warm-ups {} rounds {} sample {} ms hopeless {}", warmUps, rounds,
                     sampleMilliseconds, hopeless);
}

Result<std::vector<Timing>> measure(const std::vector<Subject> &subjects,
                                    const MeasurePolicy &policy) {
  size_t count = subjects.size();
  std::vector<int64_t> repeat(count, 1);
  for (size_t s = 0; s < count; ++s)
    for (int warm = 0; warm < std::max(1, policy.warmUps); ++warm) {
      HEDDLE_TRY(milliseconds, subjects[s](1));
      repeat[s] = repeats(milliseconds, policy);
    }

  std::vector<std::vector<double>> times(count);
  std::vector<bool> stopped(count, false);
  for (int round = 0; round < policy.rounds; ++round) {
    for (size_t step = 0; step < count; ++step) {
      size_t s = (step + round) % count;
      if (stopped[s])
        continue;
      HEDDLE_TRY(milliseconds, subjects[s](repeat[s]));
      times[s].push_back(milliseconds / static_cast<double>(repeat[s]));
    }
    if (round != 1)
      continue;
    double best = medianOf(times[0]);
    for (const std::vector<double> &some : times)
      best = std::min(best, medianOf(some));
    for (size_t s = 1; s < count; ++s) // the reference goes on
      stopped[s] = *std::min_element(times[s].begin(), times[s].end()) > policy.hopeless * best;
  }

  std::vector<Timing> timings;
  for (size_t s = 0; s < count; ++s)
    timings.push_back(summarize(times[s], times[0]));
  return timings;
}

} // namespace heddle::autotune
