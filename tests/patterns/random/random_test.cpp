// Patterns that nobody wrote: drawn at random, each in every form that it has, on the CPU and as
// CUDA under the PTX machine's checker, equal the interpreter. A pattern that no form takes must be
// refused with a reason. HEDDLE_TEST_SEED=58 runs the
// patterns of one seed alone and prints them, 58-70 those of several.
#include "tests/patterns/CompiledFile.h"
#include "tests/patterns/PtxRuns.h"
#include "tests/patterns/random/RandomPattern.h"
#include "tests/support/Tensors.h"
#include "tests/support/Tier.h"

#include <cstdlib>
#include <cstring>
#include <iostream>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Seeds [first, last) of this run.
std::pair<uint64_t, uint64_t> seedRange(uint64_t quick, uint64_t whole) {
  const char *given = std::getenv("HEDDLE_TEST_SEED");
  if (!given)
    return {0, wholeTier() ? whole : quick};
  char *end = nullptr;
  const uint64_t first = std::strtoull(given, &end, 10);
  return {first, *end == '-' ? std::strtoull(end + 1, nullptr, 10) : first + 1};
}

constexpr const char *kForms[] = {"attention", "recurrent", "chunked"};
constexpr int64_t kLengths[] = {1, 7, 33, 77, 130};

File parse(const RandomPattern &random) {
  const char *given = std::getenv("HEDDLE_TEST_SEED");
  if (given && !std::strchr(given, '-'))
    std::cout << random.text << std::flush;
  return File("random", random.text);
}

/// Some knobs of one in two seeds.
std::map<std::string, int64_t> drawSchedule(uint64_t seed, bool gpu) {
  Random random(seed + 77);
  std::map<std::string, int64_t> schedule;
  auto knob = [&](const char *name, std::initializer_list<int64_t> values) {
    if (seed % 2 && random.below(2))
      schedule[name] = values.begin()[random.below(int64_t(values.size()))];
  };
  knob("CHUNK", {16, 32, 64});
  knob("BM", {16, 32, 64});
  knob("BN", {32, 64, 96});
  if (gpu) {
    knob("WARPS", {1, 2, 4});
    knob("STAGES", {1, 2, 3});
    knob("QREG", {0, 1});
    knob("RESCALE", {0, 1});
  } else {
    knob("ISA", {2, 5});
    knob("MK", {4, 6});
    knob("MQ", {1, 2, 3});
  }
  return schedule;
}

void runForms(const RandomPattern &random, uint64_t seed, const std::shared_ptr<Device> &device) {
  INFO("seed " << seed << "\n" << random.text);
  File file = parse(random);
  const int64_t length = kLengths[seed % 5];
  // One row may be a small difference, and so is a sum of both signs, which 16 bits round away.
  const bool steady = length > 1 && random.text.find("max_abs") == std::string::npos;
  const DType dtype = seed % 4 == 3 && steady ? DType::BF16 : DType::F32;
  Variant variant{"random", length, dtype};
  // Scores about zero are small differences too, of which relu leaves some.
  if (dtype == DType::BF16 && random.text.find("weight relu") != std::string::npos)
    variant.slack = 2;
  variant.schedule = drawSchedule(seed, false);
  variant.matrixUnit = seed % 8 != 3;
  for (const char *form : kForms) {
    variant.form = form;
    runVariant(file, random.check, variant, device);
  }
}

/// The same as CUDA, one form a seed; what CUDA refuses it refuses as unsupported.
void runOnCuda(const RandomPattern &random, uint64_t seed, const std::shared_ptr<Device> &device) {
  INFO("seed " << seed << "\n" << random.text);
  File file = parse(random);
  Variant variant{"random", kLengths[1 + seed % 3], seed % 4 < 2 ? DType::BF16 : DType::F16};
  variant.slack = 2; // nobody has chosen the numbers: the rounding of operands may add up
  variant.schedule = drawSchedule(seed, true);
  for (const char *form : kForms) {
    variant.form = form;
    Bound bound;
    bindCase(bound, random.check, file.def, variant.length, variant.dtype);
    Request request = requestOf(file, bound, variant.dtype, *device, "sm_80");
    request.form = form;
    request.schedule = variant.schedule;
    Result<compiler::Choice> choice = compiler::choose(request);
    if (!choice || choice->form.empty())
      continue;
    Result<std::string> text = compiler::show(request, "cuda");
    if (!text) {
      INFO(text.error().toString());
      CHECK(text.error().code == ErrorCode::Unsupported);
      continue;
    }
    runVariant(file, random.check, variant, device, "sm_80");
    checkVerdict();
  }
}

} // namespace

TEST_CASE("random patterns equal the interpreter in every form") {
  Result<std::unique_ptr<Device>> opened = openDevice("cpu", 1);
  REQUIRE(opened.ok());
  std::shared_ptr<Device> device = std::move(*opened);
  auto [first, last] = seedRange(40, 500);
  for (uint64_t seed = first; seed < last; ++seed) {
    DYNAMIC_SECTION("attention " << seed) { runForms(randomAttention(seed), seed, device); }
    DYNAMIC_SECTION("retention " << seed) { runForms(randomRetention(seed), seed, device); }
  }
}

TEST_CASE("random patterns as CUDA equal the interpreter on the PTX machine") {
  if (!findNvrtc())
    HEDDLE_SKIP("no NVRTC on this computer");
  std::shared_ptr<Device> device = ptxMachine("sm_80");
  checkLaunches();
  auto [first, last] = seedRange(12, 100);
  for (uint64_t seed = first; seed < last; ++seed) {
    DYNAMIC_SECTION("attention " << seed) { runOnCuda(randomAttention(seed), seed, device); }
    DYNAMIC_SECTION("retention " << seed) { runOnCuda(randomRetention(seed), seed, device); }
  }
}
