// Patterns that nobody wrote: drawn at random, each in every form that it has, on the CPU and as
// CUDA under the PTX machine's checker, equal the interpreter. A pattern that no form takes must be
// refused with a reason. HEDDLE_TEST_SEED=N runs the pattern of one seed alone and prints it.
#include "tests/patterns/CompiledFile.h"
#include "tests/patterns/RandomPattern.h"
#include "tests/support/Tier.h"

#include <cstdlib>
#include <iostream>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Seeds [first, last) of this run.
std::pair<uint64_t, uint64_t> seedRange(uint64_t quick, uint64_t whole) {
  if (const char *only = std::getenv("HEDDLE_TEST_SEED"))
    return {std::strtoull(only, nullptr, 10), std::strtoull(only, nullptr, 10) + 1};
  return {0, wholeTier() ? whole : quick};
}

void runForms(const RandomPattern &random, uint64_t seed, const std::shared_ptr<Device> &device,
              FormErrors &errors) {
  INFO("seed " << seed << "\n" << random.text);
  if (std::getenv("HEDDLE_TEST_SEED"))
    std::cout << random.text << std::flush;
  File file(random.text, "random");
  const int64_t lengths[] = {1, 7, 33, 77, 130};
  const int64_t length = lengths[seed % 5];
  // One row may be a small difference, which 16 bits round away.
  const DType dtype = seed % 4 == 3 && length > 1 ? DType::BF16 : DType::F32;
  for (const char *form : {"attention", "recurrent", "chunked"})
    runVariant(file, random.check, {"random", length, dtype, false, form}, device, "cpu", &errors);
}

} // namespace

TEST_CASE("random patterns equal the interpreter in every form") {
  Result<std::unique_ptr<Device>> opened = openDevice("cpu", 1);
  REQUIRE(opened.ok());
  std::shared_ptr<Device> device = std::move(*opened);
  static FormErrors errors;
  auto [first, last] = seedRange(40, 1000);
  for (uint64_t seed = first; seed < last; ++seed) {
    DYNAMIC_SECTION("attention " << seed) { runForms(randomAttention(seed), seed, device, errors); }
    DYNAMIC_SECTION("retention " << seed) { runForms(randomRetention(seed), seed, device, errors); }
  }
}
