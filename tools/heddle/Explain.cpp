// heddle explain: why this form and schedule, what it costs, and what was refused.
#include "runtime/devices/cpu/Peak.h"
#include "tools/heddle/GpuFacts.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace heddle::tool {
namespace {

std::string big(double value, const char *unit) {
  const char *prefixes[] = {"", "k", "M", "G", "T", "P"};
  int prefix = 0;
  for (; value >= 1000 && prefix < 5; ++prefix)
    value /= 1000;
  return fmt::format("{:.3g} {}{}", value, prefixes[prefix], unit);
}

/// Estimates of the forms at every fourth length, and who is best from where on.
void printCrossovers(const nlohmann::json &crossovers) {
  const nlohmann::json &lengths = crossovers["lengths"];
  fmt::print("crossovers by estimate, million multiply-adds of a head\n  {:<12}", "tokens");
  for (size_t n = 0; n < lengths.size(); n += 2)
    fmt::print("{:>9}", lengths[n].get<int64_t>());
  for (const auto &[form, units] : crossovers["multiply_adds"].items()) {
    fmt::print("\n  {:<12}", form);
    for (size_t n = 0; n < lengths.size(); n += 2)
      fmt::print("{:>9.3g}", units[n].get<double>() * 1e-6);
  }
  fmt::print("\n");
  for (const nlohmann::json &best : crossovers["best"])
    fmt::print("  from {} tokens on: {}\n", best["from"].get<int64_t>(),
               best["form"].get<std::string>());
}

/// The same as a plot: length and work on logarithmic axes, one line a form.
std::string crossoverPlot(const std::string &title, const nlohmann::json &crossovers) {
  const nlohmann::json &lengths = crossovers["lengths"];
  constexpr double left = 60, top = 40, width = 520, height = 300;
  double least = 1e300, most = 0;
  for (const auto &[form, units] : crossovers["multiply_adds"].items())
    for (const nlohmann::json &value : units) {
      least = std::min(least, value.get<double>());
      most = std::max(most, value.get<double>());
    }
  auto x = [&](double n) {
    return left + width * n / static_cast<double>(std::max<size_t>(lengths.size() - 1, 1));
  };
  auto y = [&](double units) {
    return top + height * std::log(most / units) / std::log(most / least);
  };
  std::string svg = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" "
                                "height=\"400\" font-family=\"sans-serif\" font-size=\"12\">\n"
                                "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
                                "<text x=\"10\" y=\"20\">{}: estimated multiply-adds of a head by "
                                "length</text>\n",
                                title);
  for (size_t n = 0; n < lengths.size(); n += 2)
    svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n",
                       x(static_cast<double>(n)), top + height + 18, lengths[n].get<int64_t>());
  constexpr const char *colours[] = {"#27a", "#c44", "#2a7", "#a72"};
  size_t line = 0;
  for (const auto &[form, units] : crossovers["multiply_adds"].items()) {
    const char *colour = colours[line++ % std::size(colours)];
    std::string points;
    for (size_t n = 0; n < units.size(); ++n)
      points += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(n)), y(units[n].get<double>()));
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>"
                       "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"{}\">{}</text>\n",
                       points, colour, left + width + 8, y(units.back().get<double>()) + 4, colour,
                       form);
  }
  return svg + "</svg>\n";
}

/// Writes the plot; InvalidArgument where there is nothing to plot or the file cannot be written.
Status writePlot(const std::string &file, const Problem &problem, const nlohmann::json &json) {
  if (!json.contains("crossovers"))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found one form for {}, expected several to compare; leave out --svg",
                             problem.pattern.name)};
  std::ofstream out(file);
  out << crossoverPlot(problem.pattern.name, json["crossovers"]);
  if (!out.flush())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("cannot write {}; name a file in a folder that exists", file)};
  return {};
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
  if (json.contains("crossovers"))
    printCrossovers(json["crossovers"]);
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

Result<int> run(const ProblemOptions &options, bool sass, bool count, const std::string &plot) {
  HEDDLE_TRY(problem, resolveProblem(options));
  HEDDLE_TRY(text, problem.context->compiler().explain(problem.request, problem.extents,
                                                       problem.parameters));
  nlohmann::json json = nlohmann::json::parse(text);
  if (problem.request.target == "cpu")
    HEDDLE_CHECK(addRoofline(json, problem));
  else if (json.value("form", "interpreter") != "interpreter")
    HEDDLE_CHECK(addGpuFacts(json, options, problem, sass, count));
  if (!plot.empty())
    HEDDLE_CHECK(writePlot(plot, problem, json));
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
  auto count = std::make_shared<bool>(false);
  command->add_flag(
      "--counts", *count,
      "for a GPU target: count what it executes, on the PTX machine (one slice of the "
      "grid), if no certificate of `heddle verify` has it; estimate its time from that");
  auto plot = std::make_shared<std::string>();
  command->add_option("--svg", *plot,
                      "write a plot of where one form takes over from another to this file");
  command->callback([=, &action] { action = [=] { return run(*options, *sass, *count, *plot); }; });
}

} // namespace heddle::tool
