// Attention kernels beside the measured peak of the same processor in the same run.
//
//   attention_bench [--threads=N] [--store] [--no-check] [--schedule=BM=64,BN=128]
//   [--benchmark_...]
//
// Exit code 1 if a case has no number: no form can do it, or its results are wrong.
// Counters of a kernel: gflops (median, useful work only: unmasked pairs), best_gflops,
// peak_gflops, of_peak = gflops / peak, best_of_peak, of_full = gflops / gflops of the unmasked
// case, gbps and of_read where memory is what limits (decode), jit_ms, spread = (p90 - p10) /
// median of the times.
#include "bench/Problem.h"
#include "runtime/devices/cpu/Peak.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string_view>

namespace heddle::bench {

namespace {

struct Options {
  int threads = 1;
  bool useStore = false;
  bool check = true;
  std::map<std::string, int64_t> schedule;
};

/// What the run has learned so far.
struct Session {
  Options options;
  std::shared_ptr<Context> context;
  std::map<PeakKind, PeakRate> peaks;     ///< best seen of each kind
  std::map<std::string, double> achieved; ///< median flop/s by benchmark name
  int failures = 0;                       ///< cases without a number
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Measures a peak again and keeps the best; empty if the processor has no such instruction.
std::optional<PeakRate> refreshPeak(Session &session, PeakKind kind) {
  Result<PeakRate> rate = measurePeak(kind, {.threads = session.options.threads});
  if (!rate.ok())
    return std::nullopt;
  PeakRate &kept = session.peaks[kind];
  if (rate->best > kept.best)
    kept = *rate;
  return kept;
}

/// The peak that a dtype's kernels are held against: bf16 dot products only where there are any.
PeakKind peakKindOf(Session &session, DType dtype) {
  return dtype == DType::BF16 && refreshPeak(session, PeakKind::Bf16Dot) ? PeakKind::Bf16Dot
                                                                         : PeakKind::Fma32;
}

double quantile(const std::vector<double> &sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

/// Launches that take about 0.6 s at 60 % of the peak.
int64_t launchCount(const Case &problem) {
  double seconds = usefulFlops(problem) / 70e9;
  return std::clamp<int64_t>(static_cast<int64_t>(0.6 / seconds), 5, 200);
}

void reportRates(benchmark::State &state, Session &session, const Case &problem, DType dtype,
                 const std::string &name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  double median = quantile(times, 0.5);
  double flops = usefulFlops(problem);
  const PeakRate peak = *refreshPeak(session, peakKindOf(session, dtype));
  session.achieved[name] = flops / median;
  state.SetLabel(peak.instruction);
  state.counters["gflops"] = flops / median * 1e-9;
  state.counters["best_gflops"] = flops / times.front() * 1e-9;
  state.counters["peak_gflops"] = peak.best * 1e-9;
  state.counters["of_peak"] = flops / median / peak.best;
  state.counters["best_of_peak"] = flops / times.front() / peak.best;
  state.counters["spread"] = (quantile(times, 0.9) - quantile(times, 0.1)) / median;
  if (problem.full) {
    auto full = session.achieved.find(std::string(problem.full) + "/" + toString(dtype));
    if (full != session.achieved.end())
      state.counters["of_full"] = flops / median / full->second;
  }
  if (problem.Tq == 1) {
    double bytes = leastBytes(problem, dtype);
    state.counters["gbps"] = bytes / median * 1e-9;
    if (std::optional<PeakRate> read = refreshPeak(session, PeakKind::Read))
      state.counters["of_read"] = bytes / median / read->best;
  }
}

/// One launch for the results and the caches, the check, then the timed launches.
Status runCase(benchmark::State &state, Session &session, const Case &problem, DType dtype,
               const std::string &name) {
  HEDDLE_TRY(ready, Problem::make(*session.context, problem, dtype, session.options.schedule));
  HEDDLE_CHECK(ready.launch());
  if (session.options.check)
    HEDDLE_CHECK(ready.check(*session.context));
  refreshPeak(session, peakKindOf(session, dtype));
  std::vector<double> times;
  for (auto _ : state) {
    double start = now();
    HEDDLE_CHECK(ready.launch());
    times.push_back(now() - start);
    state.SetIterationTime(times.back());
  }
  reportRates(state, session, problem, dtype, name, std::move(times));
  state.counters["jit_ms"] = ready.kernel().origin().compileMs;
  return {};
}

void registerCase(Session &session, const Case &problem, DType dtype) {
  std::string name = std::string(problem.name) + "/" + toString(dtype);
  auto body = [&session, &problem, dtype, name](benchmark::State &state) {
    Status status = runCase(state, session, problem, dtype, name);
    if (status.ok())
      return;
    ++session.failures;
    state.SkipWithError(status.error().toString().c_str());
  };
  benchmark::RegisterBenchmark(name.c_str(), body)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(launchCount(problem));
}

/// The peaks by themselves, first.
void registerPeak(Session &session, PeakKind kind, const char *name) {
  auto body = [&session, kind](benchmark::State &state) {
    PeakOptions options{.threads = session.options.threads, .seconds = 0.1};
    for (auto _ : state) {
      double start = now();
      Result<PeakRate> rate = measurePeak(kind, options);
      state.SetIterationTime(now() - start);
      if (!rate.ok()) {
        state.SkipWithError(rate.error().message.c_str());
        return;
      }
      session.peaks[kind] = *rate;
      state.SetLabel(rate->instruction);
      state.counters[kind == PeakKind::Read ? "gbps" : "gflops"] = rate->best * 1e-9;
      state.counters["median"] = rate->median * 1e-9;
    }
  };
  benchmark::RegisterBenchmark(name, body)->UseManualTime()->Iterations(1);
}

bool parseSchedule(std::string_view text, std::map<std::string, int64_t> &schedule) {
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    size_t equals = item.find('=');
    if (equals == std::string_view::npos)
      return false;
    std::string_view number = item.substr(equals + 1);
    int64_t &value = schedule[std::string(item.substr(0, equals))];
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || end != number.data() + number.size())
      return false;
  }
  return true;
}

/// Takes one option of ours; false if it is not one or its value is wrong.
bool parseOption(std::string_view option, Options &options) {
  constexpr std::string_view kThreads = "--threads=";
  constexpr std::string_view kSchedule = "--schedule=";
  if (option == "--store" || option == "--no-check") {
    (option == "--store" ? options.useStore : options.check) = option == "--store";
    return true;
  }
  if (option.starts_with(kSchedule))
    return parseSchedule(option.substr(kSchedule.size()), options.schedule);
  if (!option.starts_with(kThreads))
    return false;
  option.remove_prefix(kThreads.size());
  auto [end, error] =
      std::from_chars(option.data(), option.data() + option.size(), options.threads);
  return error == std::errc() && end == option.data() + option.size() && options.threads > 0;
}

int run(int count, char **arguments) {
  benchmark::Initialize(&count, arguments);
  Session session;
  for (int k = 1; k < count; ++k)
    if (!parseOption(arguments[k], session.options)) {
      std::fprintf(stderr,
                   "attention_bench: found '%s', expected --threads=N, --store, --no-check, "
                   "--schedule=KNOB=N,.. or a flag of Google Benchmark\n",
                   arguments[k]);
      return 2;
    }
  ContextOptions options;
  options.threads = session.options.threads;
  options.useStore = session.options.useStore;
  Result<std::shared_ptr<Context>> context = Context::create(std::move(options));
  if (!context.ok()) {
    std::fprintf(stderr, "attention_bench: %s\n", context.error().toString().c_str());
    return 1;
  }
  session.context = *context;
  benchmark::AddCustomContext("heddle_threads", std::to_string(session.options.threads));
  benchmark::AddCustomContext("heddle_device", session.context->device().facts());
  registerPeak(session, PeakKind::Fma32, "peak/fma32");
  registerPeak(session, PeakKind::Bf16Dot, "peak/bf16_dot");
  registerPeak(session, PeakKind::Read, "peak/read");
  for (DType dtype : {DType::F32, DType::BF16})
    for (const Case &problem : cases())
      registerCase(session, problem, dtype);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return session.failures > 0 ? 1 : 0;
}

} // namespace

} // namespace heddle::bench

int main(int count, char **arguments) { return heddle::bench::run(count, arguments); }
