// heddle explain: why this form and schedule, what it costs, and what was refused.
#include "runtime/devices/cpu/Peak.h"
#include "tools/heddle/GpuFacts.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

std::string big(double value, const char *unit) {
  const char *prefixes[] = {"", "k", "M", "G", "T", "P"};
  int prefix = 0;
  for (; value >= 1000 && prefix < 5; ++prefix)
    value /= 1000;
  return fmt::format("{:.3g} {}{}", value, prefixes[prefix], unit);
}

void print(const Problem &problem, const nlohmann::json &json) {
  auto number = [&](const char *key) { return json.value(key, 0.0); };
  fmt::print("{}: {}\n  {} {}\n\n", problem.pattern.name, problem.pattern.title,
             problem.dtypeName(), problem.shapeText());
  fmt::print("form       {}\n", json.value("form", "none"));
  for (const nlohmann::json &refused : json.value("refused", nlohmann::json::array()))
    fmt::print("  not {}: {}\n", refused.value("form", ""), refused.value("reason", ""));
  if (json.contains("schedule"))
    fmt::print("schedule   {}{}\n", json["schedule"].dump(),
               problem.tuned ? " (winner of a sweep)" : " (default; `heddle tune` measures)");
  nlohmann::json launches = json.value("launches", nlohmann::json::array());
  if (!launches.empty())
    fmt::print("launches   {}\n", launches.size());
  for (const nlohmann::json &launch : launches)
    fmt::print("  {:<24} {}\n", launch.value("kernel", ""), launch.value("why", ""));
  fmt::print("pairs      {} unmasked\n", big(number("pairs"), ""));
  fmt::print("work       {} useful, {} in this form (multiply-add = 2), {}\n",
             big(number("flops"), "FLOP"), big(number("form_flops"), "FLOP"),
             big(number("sfu"), "exponentials"));
  fmt::print("traffic    {} compulsory, intensity {:.1f} FLOP/B\n", bytesText(number("bytes")),
             number("intensity"));
  fmt::print("state      {} a sequence\n", bytesText(number("state_bytes")));
  if (json.contains("weight_state_ratio"))
    fmt::print("weight:state FLOPs {:.2f} ({})\n", number("weight_state_ratio"),
               json.value("weight_state_convention", ""));
  if (json.contains("roofline")) {
    const nlohmann::json &roof = json["roofline"];
    fmt::print("roofline   {} bound on {}: at best {}\n", roof.value("bound", ""),
               roof.value("machine", ""), timeText(roof.value("ms", 0.0)));
  }
  printGpuFacts(json);
  for (const nlohmann::json &note : json.value("notes", nlohmann::json::array()))
    fmt::print("note       {}\n", note.get<std::string>());
}

/// Where the problem stands between this machine's measured peak and bandwidth.
Status addRoofline(nlohmann::json &json, const Problem &problem) {
  HEDDLE_TRY(peak, kernelPeak(problem));
  PeakOptions options;
  options.threads = problem.threads();
  HEDDLE_TRY(read, measurePeak(PeakKind::Read, options));
  double compute = json.value("flops", 0.0) / peak.best * 1e3;
  double memory = json.value("bytes", 0.0) / read.best * 1e3;
  json["roofline"] = {{"machine", "this computer (measured)"},
                      {"peak_gflops", peak.best * 1e-9},
                      {"peak_instruction", peak.instruction},
                      {"read_gbs", read.best * 1e-9},
                      {"bound", compute >= memory ? "compute" : "memory"},
                      {"ms", std::max(compute, memory)}};
  return {};
}

Result<int> run(const ProblemOptions &options, bool sass) {
  HEDDLE_TRY(problem, resolveProblem(options));
  HEDDLE_TRY(text, problem.context->compiler().explain(problem.request, problem.extents,
                                                       problem.parameters));
  nlohmann::json json = nlohmann::json::parse(text);
  if (problem.request.target == "cpu")
    HEDDLE_CHECK(addRoofline(json, problem));
  else if (json.value("form", "interpreter") != "interpreter")
    HEDDLE_CHECK(addGpuFacts(json, problem, sass));
  if (options.json)
    fmt::print("{}\n", json.dump(1));
  else
    print(problem, json);
  return 0;
}

} // namespace

void addExplainCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "explain", "why this form and schedule; work, traffic, state, roofline; what was refused");
  auto options = std::make_shared<ProblemOptions>();
  auto sass = std::make_shared<bool>(false);
  addProblemOptions(*command, *options);
  command->add_flag("--sass", *sass,
                    "for a GPU target: what the loops of its machine code are made of; needs "
                    "nvdisasm (PyPI: nvidia-cuda-nvdisasm), no GPU");
  command->callback([=, &action] { action = [=] { return run(*options, *sass); }; });
}

} // namespace heddle::tool
