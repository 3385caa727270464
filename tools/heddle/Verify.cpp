// heddle verify: a CUDA kernel proved without a GPU. Its PTX runs on the PTX machine under the
// checker, and the result is compared with the pattern's definition.
//   verify causal_softmax --shape T=200,D=64 --dtype bf16 --target sm_80
//   -> verdict clean, largest error, instructions, bank conflicts, sectors
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Terminal.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace heddle::tool {
namespace {

struct VerifyOptions {
  ProblemOptions problem;
  std::string copies = "late";
  uint64_t seed = 0;
  bool faithful = false;
};

/// The functions of libheddle-ptx besides the driver's (runtime/devices/ptx/DriverControl.h); the
/// device has loaded it already.
struct Control {
  int (*setOptions)(const char *) = nullptr;
  const char *(*takeReport)() = nullptr;
};

Result<Control> findControl() {
  void *library = ::dlopen("libheddle-ptx.so", RTLD_NOW | RTLD_NOLOAD);
  Control control;
  if (library) {
    control.setOptions =
        reinterpret_cast<int (*)(const char *)>(::dlsym(library, "heddlePtxSetOptions"));
    control.takeReport =
        reinterpret_cast<const char *(*)()>(::dlsym(library, "heddlePtxTakeReport"));
  }
  if (!control.setOptions || !control.takeReport)
    return Error{ErrorCode::NotFound, "the PTX machine (libheddle-ptx.so) is not loaded"};
  return control;
}

/// "sm_90a" -> "ptx:90"
Result<std::string> deviceFor(const std::string &target) {
  const std::string number = target.substr(0, 3) == "sm_" ? target.substr(3) : "";
  const size_t end = number.find_first_not_of("0123456789");
  if (number.empty() || end == 0)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found --target '{}', expected a GPU's architecture such as sm_80: "
                             "verify runs CUDA kernels",
                             target)};
  return "ptx:" + number.substr(0, end);
}

/// The worst of the launches' verdicts.
std::string verdictOf(const nlohmann::json &launches) {
  std::string verdict = "clean";
  for (const nlohmann::json &launch : launches) {
    const std::string own = launch["verdict"];
    if (own == "findings" || verdict == "clean")
      verdict = own;
  }
  return launches.empty() ? "incomplete" : verdict;
}

void print(const Problem &problem, const nlohmann::json &json) {
  fmt::print("{} {} on {}: {}\n", problem.pattern.name, problem.dtypeName(),
             problem.context->device().name(), problem.shapeText());
  for (const nlohmann::json &launch : json["launches"]) {
    const nlohmann::json &traffic = launch["traffic"];
    fmt::print("  {}: {}; {} warp instructions, {} tensor FLOP, shared memory {} wavefronts ({} "
               "without conflicts), {} sectors for {} bytes\n",
               launch["kernel"].get<std::string>(), launch["verdict"].get<std::string>(),
               launch["instructions"].get<uint64_t>(), traffic["tensor_flops"].get<uint64_t>(),
               traffic["shared_wavefronts"].get<uint64_t>(),
               traffic["shared_ideal"].get<uint64_t>(), traffic["global_sectors"].get<uint64_t>(),
               traffic["global_bytes"].get<uint64_t>());
    for (const nlohmann::json &f : launch["findings"])
      fmt::print(
          "    {}: line {}{}: {} ({} times)\n", f["kind"].get<std::string>(), f["line"].get<int>(),
          f["cuda"].get<std::string>().empty() ? "" : " (" + f["cuda"].get<std::string>() + ")",
          f["message"].get<std::string>(), f["times"].get<uint64_t>());
    for (const nlohmann::json &u : launch["unmodelled"])
      fmt::print("    not modelled: {}\n", u.get<std::string>());
  }
  for (const nlohmann::json &result : json["check"]["results"])
    fmt::print("  {}: max error {:.2g}, limit {:.0e}{}\n", result["name"].get<std::string>(),
               result["max"].get<double>(), result["limit"].get<double>(),
               result["passed"] ? "" : "  FAILED");
  fmt::print("  verdict: {}, numbers {}\n", json["verdict"].get<std::string>(),
             json["check"]["passed"] ? "right" : "WRONG");
}

Result<int> verify(VerifyOptions options) {
  if (options.problem.target.empty())
    options.problem.target = "sm_80";
  HEDDLE_TRY(device, deviceFor(options.problem.target));
  options.problem.device = device;
  HEDDLE_TRY(problem, resolveProblem(options.problem));
  HEDDLE_TRY(control, findControl());
  HEDDLE_TRY(runnable, prepare(problem, {}, options.seed));
  const std::string settings = fmt::format(
      "check counts {}{} seed={} threads={}", options.copies == "early" ? "" : options.copies,
      options.faithful ? " faithful" : "", options.seed + 1, problem.threads());
  if (control.setOptions(settings.c_str()) != 0)
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found --copies '{}', expected early, late or random", options.copies)};
  HEDDLE_TRY(milliseconds, runnable.launch());
  HEDDLE_CHECK(runnable.fetchResults());
  CheckSettings check;
  check.seed = options.seed;
  HEDDLE_TRY(report, problem.context->compiler().check(
                         problem.request, namedTensors(problem.signature, runnable.tensors),
                         problem.parameters, check));
  nlohmann::json json = describe(problem, *runnable.kernel);
  json["ms"] = milliseconds;
  json["check"] = nlohmann::json::parse(report);
  json["launches"] = nlohmann::json::parse(control.takeReport());
  json["verdict"] = verdictOf(json["launches"]);
  if (options.problem.json)
    fmt::print("{}\n", json.dump(1));
  else
    print(problem, json);
  return json["check"]["passed"] && json["verdict"] == "clean" ? 0 : kExitCheckFailed;
}

} // namespace

void addVerifyCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "verify",
      "prove a CUDA kernel without a GPU: run its PTX under a checker, compare the result");
  auto options = std::make_shared<VerifyOptions>();
  addProblemOptions(*command, options->problem);
  command
      ->add_option("--copies", options->copies,
                   "when asynchronous copies take effect: early, late or random (by --seed)")
      ->check(CLI::IsMember({"early", "late", "random"}))
      ->capture_default_str();
  command->add_flag("--faithful", options->faithful,
                    "sum in tensor cores as the hardware does, with its truncation (slower)");
  command->add_option("--seed", options->seed, "of random inputs, sampled rows and copies")
      ->capture_default_str();
  command->callback([=, &action] { action = [=] { return verify(*options); }; });
}

} // namespace heddle::tool
