// heddle tune: measures candidate schedules, checks each, and keeps the winner for later runs.
#include "tools/heddle/GpuFacts.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>

namespace heddle::tool {
namespace {

struct TuneCommandOptions {
  ProblemOptions problem;
  int64_t budget = 48;
  int64_t counts = 0;
  uint64_t seed = 0;
};

std::atomic<bool> interrupted = false;

void interrupt(int) { interrupted = true; }

std::string scheduleText(const nlohmann::json &schedule) {
  std::string text;
  for (const auto &[name, value] : schedule.items())
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value.dump());
  return text;
}

/// Fastest first, refused ones last.
void print(const Problem &problem, const nlohmann::json &sweep, double flops) {
  std::vector<nlohmann::json> candidates = sweep["candidates"];
  std::sort(candidates.begin(), candidates.end(), [](const auto &a, const auto &b) {
    return std::pair(a.value("ratio", 1e30), a["schedule"]) <
           std::pair(b.value("ratio", 1e30), b["schedule"]);
  });
  Table table({"", "schedule", "median", "spread", "GFLOP/s", "vs default", "note"});
  for (const nlohmann::json &candidate : candidates) {
    std::string schedule = scheduleText(candidate["schedule"]);
    if (candidate.contains("refusal")) {
      table.add(
          {" ", schedule, "", "", "", "", "refused: " + candidate["refusal"].get<std::string>()});
      continue;
    }
    double median = candidate["median_ms"].get<double>();
    bool winner = candidate["schedule"] == sweep["winner"];
    table.add({winner ? "*" : " ", schedule, timeText(median),
               fmt::format("{:.1f} %", candidate["spread"].get<double>() * 100),
               fmt::format("{:.1f}", flops / median * 1e-6),
               fmt::format("{:.2f}x", 1 / candidate["ratio"].get<double>()),
               candidate["from_store"] ? "measured before" : ""});
  }
  fmt::print("{} {}: {}\n{}", problem.pattern.name, problem.dtypeName(), problem.shapeText(),
             table.text());
  fmt::print("winner (*): {}; {} measured, {} from the store, {} tied with it\n",
             scheduleText(sweep["winner"]), sweep["measured"].get<int64_t>(),
             sweep["reused"].get<int64_t>(), sweep["ties"].get<int64_t>() - 1);
}

/// Best estimate first, refused ones last.
void printEstimates(const Problem &problem, const nlohmann::json &sweep) {
  std::vector<nlohmann::json> candidates = sweep["candidates"];
  std::sort(candidates.begin(), candidates.end(), [](const auto &a, const auto &b) {
    return std::pair(a.value("estimated_ms", 1e30), a["schedule"]) <
           std::pair(b.value("estimated_ms", 1e30), b["schedule"]);
  });
  const auto text = [](const nlohmann::json &candidate, const char *key) {
    return candidate.contains(key) ? candidate[key].dump() : "";
  };
  Table table({"", "schedule", "estimate", "bound by", "registers", "shared", "blocks", "warps",
               "other/mma", "note"});
  for (const nlohmann::json &candidate : candidates) {
    const bool refused = candidate.contains("refusal"), known = candidate.contains("registers");
    const double other = candidate.value("other_per_mma", 0.0);
    table.add(
        {candidate["schedule"] == sweep["winner"] ? "*" : " ", scheduleText(candidate["schedule"]),
         refused ? "" : timeText(candidate["estimated_ms"].get<double>()),
         candidate.value("bound", ""), text(candidate, "registers"),
         known ? bytesText(candidate["shared_bytes"].get<double>()) : "", text(candidate, "blocks"),
         known ? fmt::format("{:.0f} %", candidate["occupancy"].get<double>() * 100) : "",
         other > 0 ? fmt::format("{:.2f}", other) : "",
         refused ? "refused: " + candidate["refusal"].get<std::string>()
         : candidate.contains("static_ms")
             ? fmt::format("counted; static estimate {}",
                           timeText(candidate["static_ms"].get<double>()))
         : candidate["from_store"] ? "estimated before"
                                   : ""});
  }
  fmt::print("{} {}: {}\nestimates for {}, nothing was run\n{}", problem.pattern.name,
             problem.dtypeName(), problem.shapeText(), sweep.value("machine", ""), table.text());
  fmt::print("best estimate (*): {}; {} compiled, {} from the store\n",
             scheduleText(sweep["winner"]), sweep["compiled"].get<int64_t>(),
             sweep["reused"].get<int64_t>());
}

/// The settings of a sweep; `progress` must outlive them.
TuneSettings settingsOf(const TuneCommandOptions &options, const Problem &problem,
                        Progress &progress) {
  TuneSettings settings;
  settings.budget = options.budget;
  settings.check.seed = options.seed;
  settings.threads = problem.threads();
  settings.storeDirectory = problem.context->cache().directory();
  settings.progress = [&](int64_t done, int64_t total, std::string_view note) {
    progress.setTotal(total);
    progress.update(done, std::string(note));
    return !interrupted.load();
  };
  return settings;
}

/// Estimates from dynamic counts take the place of static ones: for the best options.counts
/// candidates, which are run on the PTX machine, and where a certificate has counts. One of these
/// wins: the two kinds of estimates do not compare.
Status useCounts(const TuneCommandOptions &options, const Problem &problem, nlohmann::json &sweep) {
  Result<Problem> onMachine = problemOnMachine(options.problem, problem.request);
  if (!onMachine.ok())
    return onMachine.error();
  HEDDLE_TRY(explained, problem.context->compiler().explain(problem.request, problem.extents,
                                                            problem.parameters));
  const double bytes = workOf(nlohmann::json::parse(explained)).bytes;
  std::vector<nlohmann::json *> ranked;
  for (nlohmann::json &candidate : sweep["candidates"])
    if (candidate.contains("estimated_ms"))
      ranked.push_back(&candidate);
  const auto better = [](const nlohmann::json *a, const nlohmann::json *b) {
    return std::pair((*a)["estimated_ms"].get<double>(), a) <
           std::pair((*b)["estimated_ms"].get<double>(), b); // ties to the first of the sweep
  };
  std::sort(ranked.begin(), ranked.end(), better);
  const size_t counted = std::min(ranked.size(), static_cast<size_t>(options.counts));
  for (size_t n = 0; n < ranked.size(); ++n) {
    Request request = problem.request;
    request.schedule = (*ranked[n])["schedule"].get<std::map<std::string, int64_t>>();
    onMachine->request.schedule = request.schedule;
    HEDDLE_TRY(counts, countsOf(*onMachine, bytes, n < counted));
    if (counts.is_null())
      continue;
    CompilerPlugin &compiler = problem.context->compiler();
    HEDDLE_TRY(artifact, compiler.compile(request));
    HEDDLE_TRY(estimate, countedEstimate(compiler, request, artifact, counts));
    ranked[n]->update({{"static_ms", (*ranked[n])["estimated_ms"]},
                       {"estimated_ms", estimate["ms"]},
                       {"bound", estimate["bound"]}});
  }
  std::erase_if(ranked, [](const nlohmann::json *c) { return !c->contains("static_ms"); });
  sweep["winner"] = (**std::min_element(ranked.begin(), ranked.end(), better))["schedule"];
  return {};
}

/// For a GPU that is not here: schedules ranked by an estimate. The best one is kept as the winner
/// of requests for this target, until a measurement replaces it.
Result<int> runEstimate(const TuneCommandOptions &options, Problem &problem) {
  Progress progress("estimate " + problem.pattern.name, 1, options.problem.quiet);
  const TuneSettings settings = settingsOf(options, problem, progress);
  auto previous = std::signal(SIGINT, interrupt);
  auto swept = problem.context->compiler().estimate(problem.request, problem.extents,
                                                    problem.parameters, settings);
  std::signal(SIGINT, previous);
  if (!swept.ok())
    return swept.error();
  nlohmann::json sweep = nlohmann::json::parse(*swept);
  if (options.counts > 0)
    HEDDLE_CHECK(useCounts(options, problem, sweep));
  if (problem.context->cache().enabled())
    HEDDLE_CHECK(problem.context->setWinner(problem.request, sweep["winner"]));
  if (options.problem.json)
    fmt::print("{}\n", sweep.dump(1));
  else
    printEstimates(problem, sweep);
  return 0;
}

Result<int> run(const TuneCommandOptions &options) {
  if (!options.problem.schedule.empty())
    return Error{ErrorCode::InvalidArgument,
                 "tune: found --schedule, but a sweep chooses the schedule"};
  HEDDLE_TRY(problem, resolveProblem(options.problem));
  problem.request.schedule.clear(); // an earlier winner must not fix what is to be swept
  if (!problem.context->device().runs(problem.request.target))
    return runEstimate(options, problem);
  if (!problem.context->device().usesHostMemory())
    return Error{ErrorCode::Unsupported,
                 fmt::format("sweeps are not measured on {} yet; `tune --target {}` without "
                             "--device ranks schedules by an estimate",
                             problem.context->device().name(), problem.request.target)};
  HEDDLE_TRY(tensors, makeTensors(problem, {}, options.seed));

  std::map<std::string, double> parameters; // constants are in the request
  for (const ParameterValue &parameter : problem.launchParameters())
    parameters[std::string(parameter.name)] = parameter.value;
  Progress progress("tune " + problem.pattern.name, 1, options.problem.quiet);
  const TuneSettings settings = settingsOf(options, problem, progress);
  auto previous = std::signal(SIGINT, interrupt);
  auto swept = problem.context->compiler().tune(
      problem.request, namedTensors(problem.signature, tensors), parameters, settings);
  std::signal(SIGINT, previous);
  if (!swept.ok())
    return swept.error();

  nlohmann::json sweep = nlohmann::json::parse(*swept);
  HEDDLE_TRY(explained, problem.context->compiler().explain(problem.request, problem.extents,
                                                            problem.parameters));
  double flops = workOf(nlohmann::json::parse(explained)).flops;
  if (problem.context->cache().enabled()) { // the next run finds the winner and its code
    HEDDLE_CHECK(problem.context->setWinner(problem.request, sweep["winner"]));
    problem.request.schedule = sweep["winner"].get<std::map<std::string, int64_t>>();
    HEDDLE_TRY(winner, problem.context->kernel(problem.request));
  }
  if (options.problem.json)
    fmt::print("{}\n", sweep.dump(1));
  else
    print(problem, sweep, flops);
  return 0;
}

} // namespace

void addTuneCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "tune", "measure candidate schedules, check each against the definition, keep the fastest; "
              "for a GPU target without that GPU: rank them by an estimate");
  auto options = std::make_shared<TuneCommandOptions>();
  addProblemOptions(*command, options->problem);
  command
      ->add_option("--budget", options->budget,
                   "most candidates to try, nearest to the default first; 0: all legal ones")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option(
          "--counts", options->counts,
          "for a GPU target: run the best N candidates on the PTX machine and rank them by "
          "what they execute")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", options->seed, "of the random inputs and sampled rows")
      ->capture_default_str();
  command->footer(
      "A sweep that is stopped (Ctrl-C, a kill) goes on where it was when started again.");
  command->callback([=, &action] { action = [=] { return run(*options); }; });
}

} // namespace heddle::tool
