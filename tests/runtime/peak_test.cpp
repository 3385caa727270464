// Peaks: only what does not depend on how busy the machine is.
#include "runtime/devices/cpu/Peak.h"
#include "tests/support/Test.h"

using namespace heddle;

namespace {

void checkRate(PeakKind kind, const PeakOptions &options) {
  Result<PeakRate> rate = measurePeak(kind, options);
  if (!rate.ok()) {
    CHECK(rate.error().code == ErrorCode::Unsupported);
    HEDDLE_SKIP(rate.error().message);
  }
  CHECK(rate->best > 0);
  CHECK(rate->best >= rate->median);
  CHECK(rate->median > 0);
  CHECK(rate->rounds >= 5);
  CHECK_FALSE(rate->instruction.empty());
}

} // namespace

TEST_CASE("the peak of f32 multiply-adds is measured") {
  checkRate(PeakKind::Fma32, {.seconds = 0.005});
}

TEST_CASE("the peak of bf16 dot products is measured where the processor has them") {
  checkRate(PeakKind::Bf16Dot, {.seconds = 0.005});
}

TEST_CASE("the rate of reading memory is measured") {
  checkRate(PeakKind::Read, {.seconds = 0.005, .cacheBytes = 1 << 20});
}

TEST_CASE("several threads measure together, each with memory of its own") {
  checkRate(PeakKind::Fma32, {.threads = 3, .seconds = 0.002});
  checkRate(PeakKind::Read, {.threads = 20, .seconds = 0, .cacheBytes = 1 << 20});
}

TEST_CASE("options that make no sense are refused") {
  CHECK(measurePeak(PeakKind::Fma32, {.threads = 0}).error().code == ErrorCode::InvalidArgument);
  CHECK(measurePeak(PeakKind::Fma32, {.seconds = -1}).error().code == ErrorCode::InvalidArgument);
  CHECK(measurePeak(PeakKind::Read, {.cacheBytes = -1}).error().code == ErrorCode::InvalidArgument);
}
