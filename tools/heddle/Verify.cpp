// heddle verify: a CUDA kernel proved without a GPU. Its PTX runs on the PTX machine under the
// checker, and the result is compared with the pattern's definition.
//   verify causal_softmax --shape T=200,D=64 --dtype bf16 --target sm_80
//   -> verdict clean, largest error, instructions by loop and class, bank conflicts, sectors
#include "tools/heddle/Certificate.h"
#include "tools/heddle/PtxReport.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

void print(const Problem &problem, const nlohmann::json &json) {
  fmt::print("{} {} on {}: {}\n", problem.pattern.name, problem.dtypeName(),
             problem.context->device().name(), problem.shapeText());
  for (const nlohmann::json &launch : json["launches"]) {
    fmt::print("  {}: {} warp instructions\n", launch["kernel"].get<std::string>(),
               launch["instructions"].get<uint64_t>());
    printReport(launch);
  }
  for (const nlohmann::json &result : json["check"]["results"]) {
    const nlohmann::json &max = result["max"]; // JSON has no NaN
    fmt::print("  {}: max error {}, limit {:.0e}{}\n", result["name"].get<std::string>(),
               max.is_number() ? fmt::format("{:.2g}", max.get<double>()) : "not a number",
               result["limit"].get<double>(), result["passed"] ? "" : "  FAILED");
  }
  fmt::print("  verdict: {}, numbers {}\n", json["verdict"].get<std::string>(),
             json["check"]["passed"] ? "right" : "WRONG");
}

Result<int> verify(const ProblemOptions &given, const VerifySettings &settings) {
  HEDDLE_TRY(options, onPtxMachine(given));
  HEDDLE_TRY(problem, resolveProblem(options));
  HEDDLE_TRY(json, verifyKernel(problem, settings));
  HEDDLE_TRY(certificate, storeCertificate(problem, json));
  (void)certificate;
  if (options.json)
    fmt::print("{}\n", json.dump(1));
  else
    print(problem, json);
  return isProved(json) ? 0 : kExitCheckFailed;
}

} // namespace

void addVerifyCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand(
      "verify",
      "prove a CUDA kernel without a GPU: run its PTX under a checker, compare the result");
  auto options = std::make_shared<ProblemOptions>();
  auto settings = std::make_shared<VerifySettings>();
  addProblemOptions(*command, *options);
  command
      ->add_option("--copies", settings->copies,
                   "when asynchronous copies take effect: early, late or random (by --seed)")
      ->check(CLI::IsMember({"early", "late", "random"}))
      ->capture_default_str();
  command->add_flag("--faithful", settings->faithful,
                    "sum in tensor cores as the hardware does, with its truncation (slower)");
  command->add_option("--seed", settings->seed, "of random inputs, sampled rows and copies")
      ->capture_default_str();
  command->callback([=, &action] { action = [=] { return verify(*options, *settings); }; });
}

} // namespace heddle::tool
