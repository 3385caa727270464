// Every file of the library that has the attention form as CUDA: PTX of NVRTC, run on the PTX
// machine under its checker, equals the interpreter. What is refused stands in kRefused with the
// reason. HEDDLE_TEST_PATTERN=moba runs one file alone; HEDDLE_TEST_LIST=1 prints what becomes of
// each.
#include "runtime/devices/ptx/DriverControl.h"
#include "tests/patterns/CompiledFile.h"
#include "tests/support/Tier.h"

#include <fmt/format.h>

using namespace heddle;
using namespace heddle::test;
using heddle::test::Problem;

namespace {

/// Files whose attention form is not emitted, with a part of the reason.
const std::map<std::string, std::string> kRefused = {};

constexpr const char *kArchitectures[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"};

std::shared_ptr<Device> machine(const std::string &target) {
  Result<std::unique_ptr<Device>> device = openDevice("ptx:" + target.substr(3), 1);
  INFO((device ? "" : device.error().toString()));
  REQUIRE(device.ok());
  return std::move(*device);
}

/// Launches since the last call; a clean run has no findings, and nothing is left out.
void checkVerdict() {
  const std::vector<ptx::LaunchRecord> launches = ptx::takeLaunches();
  CHECK(!launches.empty());
  for (const ptx::LaunchRecord &launch : launches) {
    INFO(launch.kernel);
    for (const ptx::Finding &finding : launch.report.findings)
      UNSCOPED_INFO(finding.toString());
    for (const std::string &what : launch.report.unmodelled)
      UNSCOPED_INFO("not modelled: " << what);
    CHECK(std::string(launch.report.verdict()) == "clean");
  }
}

/// PTX for the other architectures; in the quick tier for one of them, in turn.
void checkArchitectures(const File &file, const Case &check, const std::shared_ptr<Device> &device,
                        size_t turn) {
  Bound bound;
  bindCase(bound, check, file.def, 7, DType::F16);
  for (size_t n = 0; n < std::size(kArchitectures); ++n) {
    if (!wholeTier() && n != turn % std::size(kArchitectures))
      continue;
    Request request = requestOf(file, bound, DType::F16, *device, kArchitectures[n]);
    request.form = "attention";
    Result<std::string> ptx = compiler::show(request, "ptx");
    INFO(kArchitectures[n] << (ptx ? "" : ptx.error().toString()));
    CHECK(ptx.ok());
  }
}

/// Whether the file has the form at all, and why CUDA refuses it (empty: it does not).
bool hasForm(const File &file, const Case &check, const std::shared_ptr<Device> &device,
             const std::string &target, std::string &refused) {
  Bound bound;
  bindCase(bound, check, file.def, 7, DType::BF16);
  Request request = requestOf(file, bound, DType::BF16, *device, target);
  request.form = "attention";
  Result<compiler::Choice> choice = compiler::choose(request);
  if (!choice || choice->form.empty())
    return false;
  if (Result<std::string> text = compiler::show(request, "cuda"); !text.ok())
    refused = text.error().message;
  return true;
}

} // namespace

TEST_CASE("attention forms of the library as CUDA equal the interpreter on the PTX machine") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  const char *only = std::getenv("HEDDLE_TEST_PATTERN"), *list = std::getenv("HEDDLE_TEST_LIST");
  const std::string target = "sm_80";
  std::shared_ptr<Device> device = machine(target);
  ptx::LaunchOptions options;
  options.check = true;
  options.copies = ptx::CopyTime::Late;
  ptx::setDriverOptions(options);
  size_t turn = 0;
  for (const Case &check : allCases()) {
    ++turn;
    if (only && check.pattern != only)
      continue;
    DYNAMIC_SECTION(check.pattern) {
      File file(check.pattern);
      std::string refused;
      const bool has = hasForm(file, check, device, target, refused);
      if (list)
        fmt::print("{}: {}\n", check.pattern,
                   !has              ? "no attention form"
                   : refused.empty() ? "yes"
                                     : refused);
      if (!has || list)
        continue;
      INFO(refused);
      if (auto known = kRefused.find(check.pattern); known != kRefused.end()) {
        CHECK(refused.find(known->second) != refused.npos);
        continue;
      }
      REQUIRE(refused.empty());
      // The quick tier takes one length and, now and then, one other architecture a file.
      std::vector<Variant> variants = {{"few tokens", 7, DType::BF16, false, "attention"},
                                       {"many tokens", 77, DType::BF16, false, "attention"}};
      if (!wholeTier() && !only)
        variants.erase(variants.begin() + turn % 2);
      if (wholeTier())
        variants.insert(variants.end(), {{"one token", 1, DType::F16, false, "attention"},
                                         {"several tiles", 300, DType::F16, false, "attention"}});
      for (const Variant &variant : variants) {
        runVariant(file, check, variant, device, target);
        checkVerdict();
      }
      if (wholeTier() || turn % 4 == 0)
        checkArchitectures(file, check, device, turn / 4);
    }
  }
}
