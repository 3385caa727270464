// Sweeps by estimates: ranking, refusals, threads, records; and the formula's
// plain consequences.
#include "autotune/EstimateSweep.h"
#include "compiler/machine/GpuEstimate.h"
#include "tests/support/Test.h"

#include <atomic>
#include <mutex>

using namespace heddle;
using namespace heddle::autotune;
using Catch::Matchers::Contains;
using heddle::compiler::estimateTime;
using heddle::compiler::GpuWork;
using heddle::compiler::loadMachine;
using heddle::compiler::Machine;

namespace {

class MapRecords : public Records {
public:
  std::optional<std::string> get(const std::string &key) override {
    const auto found = texts.find(key);
    return found == texts.end() ? std::nullopt : std::optional(found->second);
  }
  void put(const std::string &key, const std::string &value) override { texts[key] = value; }
  std::map<std::string, std::string> texts;
};

std::vector<Schedule> spaceOf(int64_t count) {
  std::vector<Schedule> space;
  for (int64_t n = 0; n < count; ++n)
    space.push_back({{"BM", n}});
  return space;
}

/// BM 5 is best; 3 spills, 7 has a stack, 9 does not fit, 11 does not compile.
Result<Outlook> planted(const Schedule &schedule) {
  const int64_t n = schedule.at("BM");
  if (n == 11)
    return Error{ErrorCode::Unsupported, "the tile has no layout"};
  Outlook outlook;
  outlook.milliseconds = 1.0 + static_cast<double>((n - 5) * (n - 5));
  outlook.bound = "issue slots";
  outlook.registers = 100 + n;
  outlook.blocks = n == 9 ? 0 : 2;
  outlook.occupancyLimit = "shared memory";
  outlook.spillBytes = n == 3 ? 16 : 0;
  outlook.stackBytes = n == 7 ? 256 : 0;
  return outlook;
}

bool goOn(int64_t, int64_t, const std::string &) { return true; }

} // namespace

TEST_CASE("the least estimate wins, and what spills or does not fit is refused "
          "with the reason") {
  for (int threads : {1, 4}) {
    MapRecords records;
    Result<EstimateSweep> sweep =
        estimateSweep(spaceOf(12), "problem", planted, records, threads, goOn);
    REQUIRE(sweep.ok());
    CHECK(sweep->winner == 5);
    CHECK(sweep->compiled == 12);
    CHECK_THAT(sweep->candidates[3].refusal, Contains("spills 16 bytes"));
    CHECK_THAT(sweep->candidates[7].refusal, Contains("256 bytes a thread in local memory"));
    CHECK_THAT(sweep->candidates[9].refusal, Contains("shared memory"));
    CHECK(sweep->candidates[11].refusal == "the tile has no layout");
    CHECK(sweep->candidates[6].outlook.registers == 106);
  }
}

TEST_CASE("equal estimates go to the first, whatever thread was done first") {
  MapRecords records;
  const auto equal = [](const Schedule &) -> Result<Outlook> {
    Outlook outlook;
    outlook.milliseconds = 1;
    outlook.blocks = 1;
    return outlook;
  };
  CHECK(estimateSweep(spaceOf(9), "p", equal, records, 3, goOn)->winner == 0);
}

TEST_CASE("a stopped sweep goes on where it was, and gives what one run would "
          "have given") {
  MapRecords records;
  const auto stopAt = [](int64_t done, int64_t, const std::string &) { return done < 4; };
  Result<EstimateSweep> stopped = estimateSweep(spaceOf(12), "p", planted, records, 2, stopAt);
  REQUIRE(!stopped.ok());
  CHECK_THAT(stopped.error().message, Contains("stopped"));
  const int64_t kept = static_cast<int64_t>(records.texts.size());
  CHECK(kept >= 4);
  CHECK(kept < 12);
  std::atomic<int64_t> calls = 0;
  const auto counted = [&](const Schedule &schedule) {
    ++calls;
    return planted(schedule);
  };
  Result<EstimateSweep> sweep = estimateSweep(spaceOf(12), "p", counted, records, 2, goOn);
  REQUIRE(sweep.ok());
  CHECK(calls == 12 - kept);
  CHECK(sweep->reused == kept);
  MapRecords fresh;
  const EstimateSweep whole = *estimateSweep(spaceOf(12), "p", planted, fresh, 1, goOn);
  for (size_t n = 0; n < 12; ++n) {
    CHECK(sweep->candidates[n].refusal == whole.candidates[n].refusal);
    if (whole.candidates[n].refusal.empty())
      CHECK(sweep->candidates[n].outlook == whole.candidates[n].outlook);
  }
  CHECK(estimateSweep(spaceOf(12), "another", counted, records, 1, goOn)->reused == 0);
}

TEST_CASE("a record that is damaged is only looked at again") {
  MapRecords records;
  REQUIRE(estimateSweep(spaceOf(6), "p", planted, records, 1, goOn).ok());
  for (auto &[key, text] : records.texts)
    text = text.substr(0, text.size() / 2);
  CHECK(estimateSweep(spaceOf(6), "p", planted, records, 1, goOn)->compiled == 6);
}

TEST_CASE("a space in which nothing is left, or nothing is, is an error") {
  MapRecords records;
  const auto refuse = [](const Schedule &) -> Result<Outlook> {
    return Error{ErrorCode::Unsupported, "no layouts"};
  };
  Result<EstimateSweep> none = estimateSweep(spaceOf(3), "p", refuse, records, 1, goOn);
  REQUIRE(!none.ok());
  CHECK_THAT(none.error().message, Contains("no layouts"));
  CHECK(!estimateSweep({}, "p", refuse, records, 1, goOn).ok());
  CHECK(compileThreads(3) >= 1);
  CHECK(compileThreads(3) <= 3);
}

// --- the formula
// ---------------------------------------------------------------------------------

namespace {

/// 128 x 128 tiles of D = 128, 8 warps, one block a multiprocessor, much of it.
GpuWork sampleWork() {
  GpuWork work;
  work.warpsOfBlock = 8;
  work.blocksAtOnce = 1;
  work.blocks = 132 * 4;
  work.iteration.mmaFlops = 4.0 * 128 * 128 * 128 / 8;
  work.iteration.slots = 3.6 * work.iteration.mmaFlops / 4096;
  work.iteration.special = 128.0 * 128 / 32 / 8;
  work.iterations = work.blocks * 8 * 32;
  work.bytes = 1e6;
  work.stagedBytes = 100000;
  return work;
}

} // namespace

TEST_CASE("the estimate is bound by what is scarce, and says so") {
  const Machine a100 = loadMachine("a100").value();
  GpuWork work = sampleWork();
  CHECK(estimateTime(a100, work).bound == "tensor cores"); // 8 cycles of 3.6 slots each
  work.iteration.slots *= 4;
  CHECK(estimateTime(a100, work).bound == "issue slots");
  work = sampleWork();
  work.iteration.special *= 16;
  CHECK(estimateTime(a100, work).bound == "exponentials");
  work = sampleWork();
  work.iteration.wavefronts = work.iteration.slots; // one a cycle for four partitions
  CHECK(estimateTime(a100, work).bound == "shared memory");
  work = sampleWork();
  work.warpsOfBlock = 4; // one warp a partition overlaps nothing with itself
  CHECK(estimateTime(a100, work).bound == "latency");
  work = sampleWork();
  work.bytes = 1e12;
  CHECK(estimateTime(a100, work).bound == "memory");
  work = sampleWork();
  work.iterations = 1;
  work.bytes = 1;
  CHECK(estimateTime(a100, work).bound == "launch");
}

TEST_CASE("tensor-core bound work takes its FLOP by the machine's rate") {
  const Machine h100 = loadMachine("h100").value();
  GpuWork work = sampleWork();
  work.iteration.slots = work.iteration.special = 1;
  work.warpsOfBlock = 32;
  work.iterations *= 4;
  const double flops = work.iterations * work.iteration.mmaFlops;
  const double seconds = flops / (4096.0 * 132 * 1.83e9);
  CHECK(estimateTime(h100, work).milliseconds == Approx(seconds * 1e3 + 3e-3).epsilon(0.01));
}

TEST_CASE("memory-bound work takes its bytes by the bandwidth, less with "
          "little on the way") {
  const Machine h100 = loadMachine("h100").value();
  GpuWork work = sampleWork();
  work.iterations = 1;
  work.bytes = 3.35e9;
  CHECK(estimateTime(h100, work).milliseconds == Approx(1 / 0.92 + 3e-3).epsilon(0.01));
  work.blocks = 8; // 8 blocks with 100 KB each on the way
  CHECK(estimateTime(h100, work).milliseconds ==
        Approx(3.35e9 / (8e5 / 700e-9) * 1e3).epsilon(0.01));
}

TEST_CASE("a last wave counts in full") {
  const Machine h100 = loadMachine("h100").value();
  GpuWork one = sampleWork(), more = sampleWork();
  one.blocks = 132;
  one.iterations = 132 * 8 * 32;
  more.blocks = 133;
  more.iterations = 133 * 8 * 32;
  const double first = estimateTime(h100, one).milliseconds - 3e-3;
  // two blocks on one multiprocessor do not run at once here: occupancy is 1
  CHECK(estimateTime(h100, more).milliseconds - 3e-3 == Approx(2 * first).epsilon(0.02));
}
