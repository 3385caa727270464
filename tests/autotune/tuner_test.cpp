// The tuner on a fake device with a planted optimum, noise, a drifting machine, refusals and kills.
#include "autotune/Record.h"
#include "autotune/Tuner.h"
#include "tests/support/Test.h"

#include <cmath>
#include <random>

using namespace heddle;
using namespace heddle::autotune;

namespace {

/// True time of a schedule: smallest at BM=96, BN=64.
double trueTime(const Schedule &schedule) {
  double bm = std::log2(schedule.at("BM") / 96.0), bn = std::log2(schedule.at("BN") / 64.0);
  return 1.0 + 0.4 * bm * bm + 0.3 * bn * bn;
}

std::vector<Schedule> grid() {
  std::vector<Schedule> space;
  for (int64_t bm : {64, 32, 48, 96, 128, 192})
    for (int64_t bn : {128, 32, 64, 256})
      space.push_back({{"BM", bm}, {"BN", bn}});
  return space;
}

class FakeLab : public Lab {
public:
  explicit FakeLab(unsigned seed) : random(seed) {}

  Result<Subject> prepare(const Schedule &schedule) override {
    ++prepared;
    if (schedule == wrong)
      return Error{ErrorCode::CheckFailed, "row 3 is off by 0.1"};
    return Subject([this, schedule](int64_t count) -> Result<double> {
      ++runs;
      drift *= 1.0005; // the machine gets slower and slower
      double noise = 1.0 + std::abs(normal(random));
      return trueTime(schedule) * drift * noise * static_cast<double>(count);
    });
  }

  Schedule wrong;
  int prepared = 0, runs = 0;

private:
  std::mt19937 random;
  std::normal_distribution<double> normal{0, 0.02};
  double drift = 1;
};

class MemoryRecords : public Records {
public:
  std::optional<std::string> get(const std::string &key) override {
    auto found = texts.find(key);
    return found == texts.end() ? std::nullopt : std::optional(found->second);
  }
  void put(const std::string &key, const std::string &value) override { texts[key] = value; }
  std::map<std::string, std::string> texts;
};

bool always(int64_t, int64_t, const std::string &) { return true; }

} // namespace

TEST_CASE("the planted optimum is found through noise and drift") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    FakeLab lab(seed);
    MemoryRecords records;
    auto sweep = tune(grid(), "p", lab, records, {}, always);
    REQUIRE(sweep.ok());
    CHECK(trueTime(sweep->candidates[sweep->winner].schedule) <= 1.03);
    CHECK(sweep->measured == 24);
  }
}

TEST_CASE("a candidate that fails its check cannot win and says why") {
  FakeLab lab(1);
  lab.wrong = {{"BM", 96}, {"BN", 64}};
  MemoryRecords records;
  auto sweep = tune(grid(), "p", lab, records, {}, always);
  REQUIRE(sweep.ok());
  CHECK(sweep->candidates[sweep->winner].schedule != lab.wrong);
  int refused = 0;
  for (const Candidate &candidate : sweep->candidates)
    if (!candidate.refusal.empty()) {
      ++refused;
      CHECK(candidate.schedule == lab.wrong);
      CHECK(candidate.refusal == "row 3 is off by 0.1");
    }
  CHECK(refused == 1);
}

TEST_CASE("a stopped sweep goes on where it was, and a second one measures nothing") {
  FakeLab lab(2);
  MemoryRecords records;
  int calls = 0;
  auto stopped = tune(grid(), "p", lab, records, {},
                      [&](int64_t, int64_t, const std::string &) { return ++calls < 3; });
  REQUIRE(!stopped.ok());
  size_t kept = records.texts.size();
  CHECK(kept == 12);

  auto resumed = tune(grid(), "p", lab, records, {}, always);
  REQUIRE(resumed.ok());
  CHECK(resumed->reused == 12);
  CHECK(resumed->measured == 12);

  int runs = lab.runs;
  auto again = tune(grid(), "p", lab, records, {}, always);
  REQUIRE(again.ok());
  CHECK(lab.runs == runs);
  CHECK(again->winner == resumed->winner);
  CHECK(again->measured == 0);
}

TEST_CASE("one more candidate costs one measurement; another problem or policy costs them all") {
  FakeLab lab(3);
  MemoryRecords records;
  REQUIRE(tune(grid(), "p", lab, records, {}, always).ok());
  std::vector<Schedule> longer = grid();
  longer.push_back({{"BM", 80}, {"BN", 64}});
  auto sweep = tune(longer, "p", lab, records, {}, always);
  REQUIRE(sweep.ok());
  CHECK(sweep->measured == 1);
  auto other = tune(grid(), "another", lab, records, {}, always);
  REQUIRE(other.ok());
  CHECK(other->measured == 24);
  TunerOptions options;
  options.policy.rounds = 5;
  auto policy = tune(grid(), "p", lab, records, options, always);
  REQUIRE(policy.ok());
  CHECK(policy->measured == 24);
}

TEST_CASE("ties go to the first of the space") {
  class EqualLab : public Lab {
  public:
    Result<Subject> prepare(const Schedule &) override {
      return Subject([this](int64_t count) -> Result<double> {
        turn = !turn;
        return (turn ? 1.0 : 1.004) * static_cast<double>(count);
      });
    }
    bool turn = false;
  } lab;
  MemoryRecords records;
  auto sweep = tune(grid(), "p", lab, records, {}, always);
  REQUIRE(sweep.ok());
  CHECK(sweep->winner == 0);
  CHECK(sweep->ties.size() == 24);
}

TEST_CASE("a damaged record is measured again") {
  FakeLab lab(4);
  MemoryRecords records;
  REQUIRE(tune(grid(), "p", lab, records, {}, always).ok());
  int n = 0;
  for (auto &[key, text] : records.texts)
    if (++n <= 3)
      text = n == 1 ? "timing 1 2" : n == 2 ? "" : "timing nan 1 1 1 1";
  auto sweep = tune(grid(), "p", lab, records, {}, always);
  REQUIRE(sweep.ok());
  CHECK(sweep->measured == 3);
}

TEST_CASE("records read back as they were written") {
  Candidate candidate;
  candidate.timing = Timing{1.0 / 3, 0.3, 0.01, 7, 2.0 / 3};
  Candidate read;
  REQUIRE(parseRecord(formatRecord(candidate), read));
  CHECK(read.timing->median == candidate.timing->median);
  CHECK(read.timing->ratio == candidate.timing->ratio);
  CHECK(read.timing->samples == 7);
}
