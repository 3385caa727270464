// heddle bench: a kernel's speed, with what it is a share of.
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::tool {
namespace {

struct BenchOptions {
  ProblemOptions problem;
  int rounds = 15;
  double sampleMilliseconds = 10;
  uint64_t seed = 0;
  bool peak = false;
};

/// Milliseconds a launch, one number a round, sorted.
Result<std::vector<double>> measure(const Runnable &runnable, const BenchOptions &options) {
  HEDDLE_TRY(first, runnable.launch());
  HEDDLE_TRY(second, runnable.launch());
  double once = std::max(1e-4, std::min(first, second));
  int repeat = std::clamp(static_cast<int>(options.sampleMilliseconds / once), 1, 10000);
  std::vector<double> times;
  for (int round = 0; round < options.rounds; ++round) {
    double total = 0;
    for (int n = 0; n < repeat; ++n) {
      HEDDLE_TRY(milliseconds, runnable.launch());
      total += milliseconds;
    }
    times.push_back(total / repeat);
  }
  std::sort(times.begin(), times.end());
  return times;
}

Result<int> run(const BenchOptions &options) {
  HEDDLE_TRY(problem, resolveProblem(options.problem));
  HEDDLE_TRY(runnable, prepare(problem, {}, options.seed));
  HEDDLE_TRY(explained, problem.context->compiler().explain(problem.request, problem.extents,
                                                            problem.parameters));
  HEDDLE_TRY(times, measure(runnable, options));
  nlohmann::json facts = nlohmann::json::parse(explained);
  WorkFigures work = workOf(facts);
  const double formFlops = facts.value("form_flops", work.flops);

  double median = times[times.size() / 2];
  nlohmann::json json = describe(problem, *runnable.kernel);
  json["median_ms"] = median;
  json["min_ms"] = times.front();
  json["spread"] = (times[times.size() * 3 / 4] - times[times.size() / 4]) / median;
  json["gflops"] = work.flops / median * 1e-6;
  json["form_gflops"] = formFlops / median * 1e-6;
  json["gbps"] = work.bytes / median * 1e-6;
  if (options.peak) {
    HEDDLE_TRY(peak, kernelPeak(problem));
    json["peak_gflops"] = peak.best * 1e-9;
    json["peak_instruction"] = peak.instruction;
    json["share_of_peak"] = work.flops / times.front() * 1e3 / peak.best;
    json["form_share_of_peak"] = formFlops / times.front() * 1e3 / peak.best;
  }
  if (options.problem.json) {
    fmt::print("{}\n", json.dump(1));
    return 0;
  }
  fmt::print("{} {} on {}, {} threads: {}\n", problem.pattern.name, problem.dtypeName(),
             problem.context->device().name(), problem.threads(), problem.shapeText());
  fmt::print("  form {}, schedule {}{}\n", json["form"].get<std::string>(), json["schedule"].dump(),
             problem.tuned ? " (tuned)" : "");
  fmt::print("  median {}, fastest {}, spread {:.1f} %\n", timeText(median),
             timeText(times.front()), json["spread"].get<double>() * 100);
  fmt::print(
      "  {:.1f} GFLOP/s of useful work (unmasked pairs; reads and writes of a state), {:.1f} "
      "of what the form does, {:.1f} GB/s of compulsory traffic\n",
      json["gflops"].get<double>(), json["form_gflops"].get<double>(), json["gbps"].get<double>());
  if (options.peak)
    fmt::print(
        "  fastest run: {:.1f} % of the measured peak ({:.1f} % counting what the form does), "
        "{:.1f} GFLOP/s of {}\n",
        json["share_of_peak"].get<double>() * 100, json["form_share_of_peak"].get<double>() * 100,
        json["peak_gflops"].get<double>(), json["peak_instruction"].get<std::string>());
  return 0;
}

} // namespace

void addBenchCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand("bench", "time a kernel");
  auto options = std::make_shared<BenchOptions>();
  addProblemOptions(*command, options->problem);
  command->add_option("--rounds", options->rounds, "timed rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--sample-ms", options->sampleMilliseconds, "least length of a round")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "of the random inputs")->capture_default_str();
  command->add_flag("--peak", options->peak,
                    "measure the processor's peak too, and print the share of it");
  command->callback([=, &action] { action = [=] { return run(*options); }; });
}

} // namespace heddle::tool
