// Schedules: text, defaults, and reasons why one does not fit a machine.
#include "compiler/schedule/Schedule.h"
#include "tests/support/Test.h"

#include <algorithm>
#include <set>

using namespace heddle;
using namespace heddle::compiler;

static Machine machine(const char *name) {
  Result<Machine> machine = loadMachine(name);
  REQUIRE(machine.ok());
  return *machine;
}

static Problem problem(int64_t d, DType dtype = DType::F32, ExtentClass rows = {}) {
  Problem problem;
  problem.d = problem.dv = d;
  problem.dtype = dtype;
  problem.rows = rows;
  return problem;
}

static std::string refusal(const Schedule &given, const Machine &m, const Problem &p) {
  const Result<Schedule> schedule = completeSchedule(given, m, p);
  return schedule.ok() ? "" : schedule.error().toString();
}

TEST_CASE("schedules survive their text, in the table's order") {
  const Result<Schedule> schedule = parseSchedule("BN=64,BM=128", "cpu");
  REQUIRE(schedule.ok());
  CHECK(schedule->at("BM") == 128);
  CHECK(toString(*schedule, "cpu") == "BM=128,BN=64");
  CHECK(parseSchedule("", "cpu")->empty());
  for (const char *wrong : {"BM", "BM=", "=4", "BM=x", "BM=4,", ",BM=4", "BM=4,BM=4", "BX=4",
                            "BM=4 BN=4", "BM=99999999999999999999"}) {
    INFO(wrong);
    const Result<Schedule> refused = parseSchedule(wrong, "cpu");
    REQUIRE(!refused.ok());
    CHECK(refused.error().code == ErrorCode::InvalidArgument);
  }
  CHECK(parseSchedule("BX=4", "cpu").error().message.find("ISA, MQ, MK, BM, BN, SPLIT") !=
        std::string::npos);
}

TEST_CASE("the default is legal for every machine, head size and row class") {
  for (const char *name : {"x86-avx2", "x86-avx512", "x86-avx512-bf16", "x86-zen5", "x86-amx"})
    for (int64_t d : {16, 64, 80, 96, 128, 192, 256, 576})
      for (DType dtype : {DType::F32, DType::BF16})
        for (int64_t rows : {1, 16, 64, 1000}) {
          INFO(name << " D=" << d << " rows " << rows);
          const Machine m = machine(name);
          const Problem p = problem(d, dtype, ExtentClass::of(rows));
          const std::vector<Schedule> all = legalSchedules(m, p);
          REQUIRE(!all.empty());
          CHECK(refusal({}, m, p) == "");
          CHECK(all[0] == *completeSchedule({}, m, p));
          CHECK((all[0].at("SPLIT") > 0) == (rows == 1));
        }
}

TEST_CASE("every enumerated schedule is legal and stands there once") {
  const Machine m = machine("x86-avx512-bf16");
  const Problem p = problem(128);
  const std::vector<Schedule> all = legalSchedules(m, p);
  CHECK(std::set<Schedule>(all.begin(), all.end()).size() == all.size());
  CHECK(all.size() >= 20);
  for (const Schedule &schedule : all)
    REQUIRE(checkSchedule(schedule, m, p).ok());
  CHECK(all == legalSchedules(m, p));
}

TEST_CASE("what does not fit is named, and by how much") {
  const Machine wide = machine("x86-avx512"), narrow = machine("x86-avx2");
  CHECK(refusal({{"MQ", 4}, {"MK", 8}}, wide, problem(64)).find("needs 37 vector registers") !=
        std::string::npos);
  CHECK(refusal({{"MQ", 4}, {"MK", 8}}, wide, problem(64)).find("5 more than the 32") !=
        std::string::npos);
  CHECK(refusal({{"BM", 4096}, {"BN", 4096}}, wide, problem(128)).find("KiB more than the L2") !=
        std::string::npos);
  CHECK(refusal({{"ISA", 5}}, narrow, problem(64)).find("needs avx512f") != std::string::npos);
  CHECK(refusal({{"ISA", 3}}, wide, problem(64)).find("none of 2 (AVX2) and 5") !=
        std::string::npos);
  CHECK(refusal({{"BM", 65}}, wide, problem(64)).find("no multiple of the 64 rows") !=
        std::string::npos);
  CHECK(refusal({{"BN", 40}}, wide, problem(64)).find("BN=40") != std::string::npos);
  CHECK(refusal({{"SPLIT", 512}}, wide, problem(64)).find("only for one query row") !=
        std::string::npos);
  const Problem decode = problem(64, DType::F32, ExtentClass::of(1));
  CHECK(refusal({{"SPLIT", 100}}, wide, decode).find("SPLIT=100") != std::string::npos);
  CHECK(refusal({{"XY", 1}}, wide, decode).find("found the knob 'XY'") != std::string::npos);
  for (const char *knob : {"BM", "BN", "MQ", "MK", "SPLIT", "ISA"})
    for (int64_t value : {INT64_MIN, int64_t(-1), INT64_MAX}) {
      INFO(knob << "=" << value);
      CHECK(refusal({{knob, value}}, wide, problem(64)) != "");
    }
}

TEST_CASE("the defaults suit an instruction set that was asked for") {
  const Result<Schedule> schedule =
      completeSchedule({{"ISA", 2}}, machine("x86-avx512-bf16"), problem(128));
  REQUIRE(schedule.ok());
  CHECK(schedule->at("MQ") == 2);
}

TEST_CASE("tiles of decode are short where lines that are asked for may be dropped") {
  const auto keys = [&](const char *name, DType dtype) {
    return completeSchedule({}, machine(name), problem(128, dtype, ExtentClass::of(1)))->at("BN");
  };
  CHECK(keys("x86-amx", DType::F32) == 64);
  CHECK(keys("x86-amx", DType::BF16) == 64);
  CHECK(keys("x86-zen5", DType::F32) == 16);
  CHECK(keys("x86-zen5", DType::BF16) == 32);
}

TEST_CASE("tiles are longer where a matrix unit or two multiply-adds a cycle take them") {
  const auto knob = [&](const char *name, const char *knob, DType dtype = DType::F32) {
    return completeSchedule({}, machine(name), problem(128, dtype))->at(knob);
  };
  CHECK(knob("x86-amx", "BN", DType::BF16) == 256);
  CHECK(knob("x86-amx", "BN") == 128);
  CHECK(knob("x86-zen5", "BN", DType::BF16) == 128);
  CHECK(knob("x86-avx512-bf16", "BM") == 64);
  CHECK(knob("x86-zen5", "BM") == 256);
  CHECK(knob("x86-amx", "BM") == 256);
}

TEST_CASE("a problem is read off a request") {
  Request request;
  request.dims = {{"D", 576}, {"Dv", 512}, {"G", 16}};
  request.dtypes = {{"*", DType::BF16}};
  request.extents = {{"Tq", ExtentClass::of(1)}, {"Tk", {}}};
  const Problem p = Problem::of(request);
  CHECK(p.d == 576);
  CHECK(p.dv == 512);
  CHECK(p.group == 16);
  CHECK(p.dtype == DType::BF16);
  CHECK(p.rows == ExtentClass::of(1));
}
