// From CUDA text written by hand to an artifact: image, sources, facts, and what is refused.
#include "compiler/KernelFacts.h"
#include "compiler/targets/cuda/Build.h"
#include "compiler/targets/cuda/Nvrtc.h"
#include "runtime/CudaFiles.h"
#include "tests/compiler/cuda/CudaTexts.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::compiler;
using Catch::Matchers::Contains;

namespace {

struct Job {
  explicit Job(const std::string &target) {
    request.target = target;
    machine = *machineOf(request);
    artifact.name = "two_loops";
    artifact.target = target;
    const Formula one = Formula::constant(1);
    artifact.launches = {
        {"two_loops", {one, one, one}, {32, 1, 1}, Formula::constant(0), one, false}};
  }
  Status build(const std::string &text) {
    return cuda::build(text, {request, schedule, machine}, artifact);
  }
  Request request;
  Schedule schedule;
  Machine machine;
  Artifact artifact;
};

} // namespace

TEST_CASE("a text becomes image, sources, resources and provenance; twice the same") {
  if (!findNvrtc().ok())
    HEDDLE_SKIP("no NVRTC on this computer");
  Job job("sm_80"), again("sm_80");
  Status built = job.build(test::kTwoLoopsText);
  INFO((built.ok() ? "" : built.error().toString()));
  REQUIRE(built.ok());
  CHECK(job.artifact.image.size() > 1000);
  CHECK(job.artifact.sources["cu"] == test::kTwoLoopsText);
  CHECK_THAT(job.artifact.sources["ptx"], Contains(".target sm_80"));
  CHECK(job.artifact.resources.at("two_loops").registers > 16);
  CHECK(job.artifact.requiredFeatures == std::vector<std::string>{"sm_80"});
  CHECK(!job.artifact.provenance["nvrtc"].empty());
  REQUIRE(again.build(test::kTwoLoopsText).ok());
  CHECK(again.artifact.serialize() == job.artifact.serialize());

  Result<std::vector<KernelFacts>> facts = inspect(job.request, job.artifact, true);
  REQUIRE(facts.ok());
  REQUIRE(facts->size() == 1);
  const KernelFacts &kernel = facts->front();
  CHECK(kernel.threads == 32);
  CHECK(kernel.occupancy.blocks == 32);
  CHECK(kernel.occupancy.limit == "blocks");
  if (findNvdisasm().ok()) {
    REQUIRE(kernel.mainLoop());
    CHECK(kernel.mainLoop()->count("mma") == 2);
    CHECK(kernel.mainLoop()->localMemory() == 0);
  } else {
    CHECK_THAT(kernel.noLoops, Contains("nvdisasm"));
  }
}

TEST_CASE("PTX alone has no image, and facts of it are refused") {
  if (!findNvrtc().ok())
    HEDDLE_SKIP("no NVRTC on this computer");
  Job job("sm_90");
  job.request.flags = cuda::kPtxOnly;
  REQUIRE(job.build(test::kTwoLoopsText).ok());
  CHECK(job.artifact.image.empty());
  CHECK(job.artifact.resources.empty());
  CHECK_THAT(job.artifact.sources["ptx"], Contains(".entry two_loops"));
  CHECK(inspect(job.request, job.artifact, false).error().code == ErrorCode::Unsupported);
}

TEST_CASE("spills are noted; too much shared memory and a missing entry are errors") {
  if (!findNvrtc().ok())
    HEDDLE_SKIP("no NVRTC on this computer");
  Job spilling("sm_80");
  spilling.artifact.launches[0].entry = "spill";
  REQUIRE(spilling.build(test::kSpillText).ok());
  REQUIRE(spilling.artifact.notes.size() == 1);
  CHECK_THAT(spilling.artifact.notes[0], Contains("spill: 64 registers are not enough"));

  Job large("sm_80");
  large.artifact.launches[0].sharedBytes = Formula::constant(170000);
  Status status = large.build(test::kTwoLoopsText);
  REQUIRE(!status.ok());
  CHECK(status.error().code == ErrorCode::ResourceExhausted);
  CHECK_THAT(status.error().message, Contains("3088 more than a block may have"));

  Job missing("sm_80");
  missing.artifact.launches[0].entry = "nowhere";
  CHECK(missing.build(test::kTwoLoopsText).error().code == ErrorCode::Internal);
}

TEST_CASE("attention takes the quick optimiser to sm_90, and the full one where that one spills") {
  Result<cuda::Nvrtc> nvrtc = cuda::Nvrtc::load();
  if (!nvrtc.ok() || nvrtc->majorVersion() < 13)
    HEDDLE_SKIP("no NVRTC of CUDA 13 on this computer");
  const auto image = [](const char *text, const char *entry, const char *target, const char *form) {
    Job job(target);
    job.artifact.form = form;
    job.artifact.launches[0].entry = entry;
    REQUIRE(job.build(text).ok());
    return job.artifact.image;
  };
  const auto differ = [&](const char *text, const char *entry, const char *target) {
    return image(text, entry, target, "attention") != image(text, entry, target, "chunked");
  };
  CHECK(differ(test::kTwoLoopsText, "two_loops", "sm_80"));
  CHECK(differ(test::kTwoLoopsText, "two_loops", "sm_90"));
  CHECK(!differ(test::kTwoLoopsText, "two_loops", "sm_120"));
  CHECK(!differ(test::kSpillText, "spill", "sm_80"));
}

TEST_CASE("the NVRTC that a request names is the one that is used") {
  Job job("sm_80");
  job.request.nvrtc = "/nowhere/libnvrtc.so.13 1 2.0";
  Status status = job.build(test::kTwoLoopsText);
  REQUIRE(!status.ok());
  CHECK_THAT(status.error().message, Contains("/nowhere/libnvrtc.so.13"));
}
