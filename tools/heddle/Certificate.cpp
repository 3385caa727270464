// Runs a kernel through the driver's functions of the PTX machine with the checker on, lets the
// compiler compare the results, and keeps what came out.
#include "tools/heddle/Certificate.h"

#include "runtime/Key.h"
#include "runtime/Version.h"
#include "runtime/devices/ptx/DriverControl.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/PtxReport.h"

#include <fmt/format.h>

namespace heddle::tool {
namespace {

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

} // namespace

Result<ProblemOptions> onPtxMachine(ProblemOptions options) {
  if (options.target.empty())
    options.target = "sm_80";
  // "sm_90a" -> "ptx:90"
  const std::string number = options.target.substr(0, 3) == "sm_" ? options.target.substr(3) : "";
  const size_t end = number.find_first_not_of("0123456789");
  if (number.empty() || end == 0)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found --target '{}', expected a GPU's architecture such as sm_80: "
                             "the PTX machine runs CUDA kernels",
                             options.target)};
  options.device = "ptx:" + number.substr(0, end);
  return options;
}

Result<nlohmann::json> verifyKernel(const Problem &problem, const VerifySettings &settings) {
  HEDDLE_TRY(runnable, prepare(problem, {}, settings.seed));
  ptx::LaunchOptions launch;
  launch.check = launch.counts = true;
  launch.numbers = settings.faithful ? ptx::Numbers::Faithful : ptx::Numbers::Fast;
  launch.copies = copyTimeOf(settings.copies);
  launch.seed = settings.seed + 1;
  launch.threads = problem.threads();
  ptx::setDriverOptions(launch);
  HEDDLE_TRY(milliseconds, runnable.launch());
  HEDDLE_CHECK(runnable.fetchResults());
  CheckSettings check;
  check.seed = settings.seed;
  HEDDLE_TRY(checked, problem.context->compiler().check(
                          problem.request, namedTensors(problem.signature, runnable.tensors),
                          problem.parameters, check));
  nlohmann::json json = describe(problem, *runnable.kernel);
  json["ms"] = milliseconds;
  json["copies"] = settings.copies;
  json["seed"] = settings.seed;
  json["numbers"] = settings.faithful ? "faithful" : "fast";
  json["check"] = nlohmann::json::parse(checked);
  json["launches"] = nlohmann::json::array();
  for (const ptx::LaunchRecord &record : ptx::takeLaunches())
    json["launches"].push_back(toJson(record.kernel, record.report, true));
  json["verdict"] = verdictOf(json["launches"]);
  return json;
}

Result<nlohmann::json> countLaunches(const Problem &problem) {
  HEDDLE_TRY(runnable, prepare(problem, {}, 0));
  ptx::LaunchOptions launch;
  launch.counts = launch.firstSlice = true;
  launch.threads = problem.threads();
  ptx::setDriverOptions(launch);
  HEDDLE_TRY(milliseconds, runnable.launch());
  nlohmann::json launches = nlohmann::json::array();
  for (const ptx::LaunchRecord &record : ptx::takeLaunches())
    launches.push_back(toJson(record.kernel, record.report, false));
  return nlohmann::json{{"from", "the PTX machine"}, {"ms", milliseconds}, {"launches", launches}};
}

nlohmann::json certifiedCounts(const Problem &problem) {
  const std::string key = std::string(kCertificateKey) + requestKey(problem.request);
  const auto text = problem.context->cache().get(EntryKind::Measurement, key);
  const nlohmann::json certificate =
      text ? nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false) : nullptr;
  if (!certificate.is_object() || certificate.value("shape", "") != problem.shapeText() ||
      certificate["launches"].empty() || !certificate["launches"][0].contains("loops"))
    return nullptr; // none, of another shape, or made before certificates had counts by loop
  return {{"from", "the certificate of this shape"}, {"launches", certificate["launches"]}};
}

bool isProved(const nlohmann::json &report) {
  return report["check"]["passed"] && report["verdict"] == "clean";
}

Result<nlohmann::json> storeCertificate(const Problem &problem, const nlohmann::json &report) {
  nlohmann::json certificate = {{"pattern", problem.pattern.name},
                                {"shape", problem.shapeText()},
                                {"dtype", problem.dtypeName()},
                                {"target", problem.request.target},
                                {"verdict", report["verdict"]},
                                {"numbers", report["numbers"]},
                                {"copies", report["copies"]},
                                {"seed", report["seed"]},
                                {"results", report["check"]["results"]},
                                {"heddle", kVersion},
                                {"nvrtc", problem.request.nvrtc},
                                {"launches", nlohmann::json::array()}};
  for (const nlohmann::json &launch : report["launches"])
    certificate["launches"].push_back({{"kernel", launch["kernel"]},
                                       {"blocks", launch["blocks"]},
                                       {"instructions", launch["instructions"]},
                                       {"classes", launch["classes"]},
                                       {"loops", launch["loops"]},
                                       {"traffic", launch["traffic"]}});
  const Cache &cache = problem.context->cache();
  const std::string key = std::string(kCertificateKey) + requestKey(problem.request);
  if (!isProved(report)) {
    if (cache.enabled())
      (void)cache.remove(EntryKind::Measurement, key).ok(); // what was proved before holds no more
  } else if (cache.enabled()) {
    HEDDLE_CHECK(cache.put(EntryKind::Measurement, key, certificate.dump()));
  }
  return certificate;
}

std::string certificateText(const nlohmann::json &c) {
  if (!c.is_object() || !c.contains("shape") || !c.contains("launches"))
    return "a certificate that cannot be read";
  std::string errors;
  for (const nlohmann::json &result : c["results"])
    errors += fmt::format("{}{} {:.2g}", errors.empty() ? "" : ", ",
                          result.value("name", std::string()), result.value("max", 0.0));
  uint64_t instructions = 0, conflicts = 0;
  for (const nlohmann::json &launch : c["launches"]) {
    instructions += launch.value("instructions", uint64_t{0});
    conflicts += launch["traffic"].value("bank_conflicts", uint64_t{0});
  }
  return fmt::format("{} {} {}, {}: {}, copies {}, largest errors {}; {} instructions, {} bank "
                     "conflicts",
                     c.value("pattern", std::string()), c.value("target", std::string()),
                     c.value("dtype", std::string()), c.value("shape", std::string()),
                     c.value("verdict", std::string()), c.value("copies", std::string()), errors,
                     instructions, conflicts);
}

} // namespace heddle::tool
