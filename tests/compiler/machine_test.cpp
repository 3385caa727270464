// Machine files: all read, mistakes named, and the host made from the facts of a device.
#include "compiler/machine/Machine.h"
#include "tests/support/Test.h"

#include <algorithm>

using namespace heddle;
using namespace heddle::compiler;

TEST_CASE("every machine file is whole") {
  const std::vector<std::string> names = machineNames();
  for (const char *expected : {"a100", "b200", "h100", "rtx4090", "rtx5090", "x86-avx2"})
    CHECK(std::count(names.begin(), names.end(), expected) == 1);
  for (const std::string &name : names) {
    INFO(name);
    const Result<Machine> machine = loadMachine(name);
    REQUIRE(machine.ok());
    CHECK(!machine->sources.empty());
    CHECK(machine->clockGHz > 0);
    CHECK(machine->l2Bytes > 0);
    if (machine->target == "cpu")
      CHECK((machine->lanes(4) >= 8 && machine->has("fma")));
    else
      CHECK((machine->gpu.multiprocessors > 0 && machine->gpu.tensorF16PerCycle > 0));
  }
  const Result<Machine> missing = loadMachine("pdp11");
  REQUIRE(!missing.ok());
  CHECK(missing.error().code == ErrorCode::NotFound);
  CHECK(missing.error().message.find("a100") != std::string::npos);
}

TEST_CASE("GPU rates give the data sheets' figures") {
  // f16 tensor TFLOP/s, dense, as published.
  const std::pair<const char *, double> sheets[] = {
      {"a100", 312}, {"h100", 989}, {"b200", 2250}, {"rtx4090", 165.2}, {"rtx5090", 209.5}};
  for (const auto &[name, teraflops] : sheets) {
    const Result<Machine> m = loadMachine(name);
    REQUIRE(m.ok());
    const double rate =
        static_cast<double>(m->gpu.tensorF16PerCycle * m->gpu.multiprocessors) * m->clockGHz / 1000;
    INFO(name);
    CHECK(rate == Approx(teraflops).epsilon(0.015));
  }
}

TEST_CASE("mistakes in a machine file are named") {
  const std::string good = "title = 'x'\ntarget = 'cpu'\nfeatures = []\nsources = []\n"
                           "clock_ghz = 1\nmemory_gbs = 1\n[cache]\nl1 = 1\nl2 = 1\nl3 = 1\n"
                           "[prefetch]\ndropped = true\n"
                           "[vector]\nbits = 256\nregisters = 16\nfma_per_cycle = 2\n"
                           "bf16_dot_per_cycle = 0\nexp_cycles_per_lane = 1\n";
  REQUIRE(parseMachine("good", good).ok());
  const auto mistake = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const Result<Machine> machine = parseMachine("bad", text);
    REQUIRE(!machine.ok());
    CHECK(machine.error().code == ErrorCode::CorruptData);
    return machine.error().message;
  };
  CHECK(mistake("bits = 256", "bits = 'wide'").find("vector.bits") != std::string::npos);
  CHECK(mistake("bits = 256", "bits = -1").find("vector.bits") != std::string::npos);
  CHECK(mistake("bits = 256\n", "").find("vector.bits") != std::string::npos);
  CHECK(mistake("l1 = 1", "l1 = 1\nl9 = 4").find("unknown key cache.l9") != std::string::npos);
  CHECK(mistake("dropped = true", "dropped = 1").find("prefetch.dropped") != std::string::npos);
  CHECK(mistake("title", "titel").find("title") != std::string::npos);
  CHECK(mistake("clock_ghz = 1", "clock_ghz = ").find("line 5") != std::string::npos);
}

TEST_CASE("the host is the best fitting file with the facts put in") {
  Request request;
  request.machine = "host";
  request.deviceFacts = "vendor GenuineIntel; model Some Xeon; features avx avx2 avx512bw avx512dq "
                        "avx512f avx512vl bmi1 bmi2 f16c fma; l1 49152; l2 2097152; l3 0";
  Result<Machine> machine = machineOf(request);
  REQUIRE(machine.ok());
  CHECK(machine->name == "host");
  CHECK(machine->title == "Some Xeon (as x86-avx512)");
  CHECK(machine->l1Bytes == 49152);
  CHECK(machine->l2Bytes == 2097152);
  CHECK(machine->l3Bytes == 16777216); // 0 means unknown: the file's
  CHECK(machine->lanes(4) == 16);
  CHECK(!machine->has("avx512_bf16"));

  // Two multiply-adds a cycle, with and without a matrix unit.
  const std::string avx512 = "vendor V; model New; features avx avx2 avx512_bf16 avx512bw avx512dq "
                             "avx512f avx512vl avx_vnni bmi1 bmi2 f16c fma";
  request.deviceFacts = avx512 + "; l1 49152; l2 1048576; l3 0";
  CHECK(machineOf(request)->title == "New (as x86-zen5)");
  request.deviceFacts = avx512 + " amx_tile amx_bf16; l1 49152; l2 2097152; l3 0";
  CHECK(machineOf(request)->title == "New (as x86-amx)");

  request.deviceFacts = "vendor V; model Old; features avx sse4_2; l1 1; l2 2; l3 3";
  machine = machineOf(request);
  REQUIRE(!machine.ok());
  CHECK(machine.error().code == ErrorCode::Unsupported);
  request.machine = "x86-avx2";
  CHECK(machineOf(request)->vector.registers == 16);
  request.target = "sm_80";
  CHECK(!machineOf(request).ok());
  request.machine = "a100";
  CHECK(machineOf(request).ok());
}

TEST_CASE("a GPU that is there brings its own numbers, one that is not those of its file") {
  Request request;
  request.target = "sm_90";
  CHECK(machineOf(request)->name == "h100");
  request.deviceFacts =
      "model NVIDIA H200; sm 90; multiprocessors 131; clock 1980000; shared 232000; "
      "shared_all 233000; l2 62914560; driver 12.4";
  const Machine machine = machineOf(request).value();
  CHECK(machine.name == "host");
  CHECK(machine.title == "NVIDIA H200 (as h100)");
  CHECK(machine.gpu.multiprocessors == 131);
  CHECK(machine.gpu.sharedBytesPerBlock == 232000);
  CHECK(machine.gpu.sharedBytesPerMultiprocessor == 233000);
  CHECK(machine.l2Bytes == 62914560);
  CHECK(machine.clockGHz == Approx(1.98));
  CHECK(machine.gpu.warps == 64);
  request.target = "sm_42";
  CHECK(machineOf(request).error().code == ErrorCode::NotFound);
}
