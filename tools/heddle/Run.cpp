// heddle run: one launch on real tensors, with the results written and checked; or the definition
// of the pattern in double precision, which every pattern has.
#include "tools/heddle/Assignments.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/TensorFile.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <chrono>
#include <limits>

namespace heddle::tool {
namespace {

struct RunOptions {
  ProblemOptions problem;
  std::string inputs, outputs;
  uint64_t seed = 0;
  bool check = false, definition = false;
};

Result<std::map<std::string, HostTensor>> readInputs(const std::string &list) {
  HEDDLE_TRY(paths, parseTexts("--input", list));
  std::map<std::string, HostTensor> tensors;
  for (const auto &[name, path] : paths) {
    HEDDLE_TRY(tensor, readTensor(path));
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

Status writeOutputs(const std::string &list, const Problem &problem,
                    std::vector<HostTensor> &tensors) {
  HEDDLE_TRY(paths, parseTexts("--output", list));
  for (const auto &[name, path] : paths)
    for (size_t n = 0; n < problem.signature.tensors.size(); ++n)
      if (problem.signature.tensors[n].isResult && problem.signature.tensors[n].name == name) {
        tensors[n].madeBy = problem.signature.name + " " + name;
        HEDDLE_CHECK(writeTensor(path, tensors[n], name));
      }
  return {};
}

/// --output may only name results: found out before anything runs.
Status checkOutputs(const std::string &list, const Problem &problem) {
  HEDDLE_TRY(paths, parseTexts("--output", list));
  for (const auto &[name, path] : paths) {
    bool known = false;
    for (const Signature::Tensor &tensor : problem.signature.tensors)
      known |= tensor.isResult && tensor.name == name;
    if (!known)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("--output: the pattern has no result '{}'", name)};
  }
  return {};
}

/// JSON has no infinity: a number that is none is null.
double numberOf(const nlohmann::json &value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity();
}

void printResult(const nlohmann::json &result) {
  const int64_t compared = result["compared"], total = result["total"];
  const std::string name = result["name"];
  if (compared == 0) {
    fmt::print("    {}: {}\n", name, total == 0 ? "empty" : "not compared: not in the sample");
    return;
  }
  fmt::print("    {}: max error {:.2g}, rms {:.2g}, limit {:.0e}{}{}\n", name,
             numberOf(result["max"]), numberOf(result["rms"]), result["limit"].get<double>(),
             compared < total ? fmt::format(", {} of {} numbers", compared, total) : "",
             result["passed"] ? "" : "  FAILED");
}

void print(const Problem &problem, const nlohmann::json &json) {
  std::string origin = json["cached"].get<bool>()
                           ? "from the store"
                           : fmt::format("compiled in {}", timeText(json["jit_ms"].get<double>()));
  fmt::print("{} {} on {}: {}\n", problem.pattern.name, problem.dtypeName(),
             problem.context->device().name(), problem.shapeText());
  fmt::print("  form {}, schedule {}{}, {}\n", json["form"].get<std::string>(),
             json["schedule"].dump(), problem.tuned ? " (tuned)" : "", origin);
  fmt::print("  ran in {}\n", timeText(json["ms"].get<double>()));
  if (!json.contains("check"))
    return;
  const nlohmann::json &check = json["check"];
  fmt::print("  check against the definition on {} {} of {}: {}\n",
             check["sampled"] ? "sampled rows," : "all rows,", check["rows"].get<int64_t>(),
             check["total_rows"].get<int64_t>(), check["passed"] ? "passed" : "FAILED");
  for (const nlohmann::json &result : check["results"])
    printResult(result);
}

/// Evaluates the definition on the inputs that a kernel would get; results are f64.
Result<int> runDefinition(const RunOptions &options, const Problem &problem,
                          std::map<std::string, HostTensor> inputs) {
  HEDDLE_TRY(tensors, makeTensors(problem, std::move(inputs), options.seed));
  std::vector<NamedTensor> given, results;
  for (size_t n = 0; n < tensors.size(); ++n) {
    const Signature::Tensor &tensor = problem.signature.tensors[n];
    if (tensor.isResult) {
      HEDDLE_TRY(exact, HostTensor::allocate(DType::F64, tensors[n].shape()));
      tensors[n] = std::move(exact);
    }
    (tensor.isResult ? results : given).push_back({tensor.name, tensors[n].view()});
  }
  auto start = std::chrono::steady_clock::now();
  HEDDLE_CHECK(problem.context->compiler().interpret(problem.request, given, problem.parameters, {},
                                                     results));
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  HEDDLE_CHECK(writeOutputs(options.outputs, problem, tensors));
  if (options.problem.json)
    fmt::print("{}\n", nlohmann::json{{"pattern", problem.pattern.name},
                                      {"shape", problem.extents},
                                      {"dtype", problem.dtypeName()},
                                      {"definition", true},
                                      {"ms", ms}}
                           .dump(1));
  else
    fmt::print("{} {}: {}\n  definition in double precision, took {}\n", problem.pattern.name,
               problem.dtypeName(), problem.shapeText(), timeText(ms));
  return 0;
}

Result<int> run(const RunOptions &options) {
  HEDDLE_TRY(inputs, readInputs(options.inputs));
  HEDDLE_TRY(problem, resolveProblem(options.problem, inputs));
  HEDDLE_CHECK(checkOutputs(options.outputs, problem));
  if (options.definition && options.check)
    return Error{ErrorCode::InvalidArgument,
                 "found --definition with --check, expected one of them: the check compares a "
                 "kernel with the definition"};
  if (options.definition)
    return runDefinition(options, problem, std::move(inputs));
  HEDDLE_TRY(runnable, prepare(problem, std::move(inputs), options.seed));
  HEDDLE_TRY(milliseconds, runnable.launch());
  HEDDLE_CHECK(runnable.fetchResults());

  nlohmann::json json = describe(problem, *runnable.kernel);
  json["ms"] = milliseconds;
  int code = 0;
  if (options.check) {
    CheckSettings check;
    check.seed = options.seed;
    HEDDLE_TRY(report, problem.context->compiler().check(
                           problem.request, namedTensors(problem.signature, runnable.tensors),
                           problem.parameters, check));
    json["check"] = nlohmann::json::parse(report);
    code = json["check"]["passed"] ? 0 : kExitCheckFailed;
  }
  HEDDLE_CHECK(writeOutputs(options.outputs, problem, runnable.tensors));
  if (options.problem.json)
    fmt::print("{}\n", json.dump(1));
  else
    print(problem, json);
  return code;
}

} // namespace

void addRunCommand(CLI::App &app, Action &action) {
  auto *command = app.add_subcommand("run", "run a pattern on tensors, and check the result");
  auto options = std::make_shared<RunOptions>();
  addProblemOptions(*command, options->problem);
  command->add_option(
      "--input", options->inputs,
      "tensors by name, q=q.npy,k=model.safetensors:layers.0.k; those not given are random");
  command->add_option("--output", options->outputs,
                      "where to write results, o=o.npy,lse=lse.safetensors");
  command->add_option("--seed", options->seed, "of random inputs and sampled rows")
      ->capture_default_str();
  command->add_flag(
      "--check", options->check,
      "compare with the double-precision definition: all rows under 2 GFLOP of its work, else "
      "sampled ones; exit code 2 beyond the tolerance");
  command->add_flag("--definition", options->definition,
                    "evaluate the pattern's definition in double precision instead of a kernel: "
                    "any pattern, slow; results are written as f64");
  command->callback([=, &action] { action = [=] { return run(*options); }; });
}

} // namespace heddle::tool
