// From request to result through the public door, with a compiler that needs no LLVM: memory,
// store, compiler; winners; launches with workspace and repetitions; and what happens when parts
// lack.
#include "runtime/Jit.h"
#include "runtime/Key.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "tests/runtime/Samples.h"
#include "tests/runtime/Setting.h"
#include "tests/support/Test.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <thread>

using namespace heddle;
using namespace heddle::test;

TEST_CASE("a kernel is compiled once, then found in memory, then in the store") {
  Setting setting;
  {
    const std::shared_ptr<Context> context = setting.open();
    const Request request = scaleRequest(*context);
    const Result<std::shared_ptr<const Kernel>> first = context->kernel(request);
    REQUIRE(first.ok());
    CHECK((*first)->origin().source == KernelOrigin::Compiled);
    CHECK((*first)->origin().key == requestKey(*context->complete(request)));
    CHECK(*context->kernel(request) == *first);
    ScaleCall call(7, 10);
    REQUIRE(call.run(**first).ok());
    CHECK(call.isRight(2));
    ScaleCall other(123, 10);
    REQUIRE(other.run(**first, {{"factor", -0.5}}).ok());
    CHECK(other.isRight(-0.5));
  }
  const std::shared_ptr<Context> warm = setting.open();
  const Result<std::shared_ptr<const Kernel>> second = warm->kernel(scaleRequest(*warm));
  REQUIRE(second.ok());
  CHECK((*second)->origin().source == KernelOrigin::Store);
  CHECK(!warm->compiler().loaded());
  ScaleCall call(7, 10);
  REQUIRE(call.run(**second).ok());
  CHECK(call.isRight(2));
  CHECK(setting.calls("compile") == 1);
  CHECK(setting.calls("describe") == 1);
  REQUIRE(setting.log.size() == 1);
  CHECK(setting.log[0] == "compiling scale D=10 f32 for cpu with the default schedule; it has not "
                          "been tuned");
}

TEST_CASE("a winner is taken by requests without a schedule, in this process and the next") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  REQUIRE(context->kernel(request).ok());
  REQUIRE(context->setWinner(request, {{"BM", 32}}).ok());
  for (const std::shared_ptr<Context> &user : {context, setting.open()}) {
    const Result<std::shared_ptr<const Kernel>> kernel = user->kernel(request);
    REQUIRE(kernel.ok());
    CHECK((*kernel)->origin().tuned);
    CHECK((*kernel)->artifact().schedule == std::map<std::string, int64_t>{{"BM", 32}});
  }
  CHECK(setting.calls("compile") == 2); // without and with the winner, each once
  Request named = request;
  named.schedule = {{"BM", 64}};
  CHECK(!(*context->kernel(named))->origin().tuned);
  setting.options.useWinners = false;
  CHECK((*setting.open()->kernel(request))->artifact().schedule.empty());
}

TEST_CASE("each length bucket has a winner of its own; lengths never tuned take the latest") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request some = scaleRequest(*context, 10, 777), many = scaleRequest(*context, 10, 15377);
  REQUIRE(context->kernel(some).ok());
  REQUIRE(context->setWinner(some, {{"BM", 32}}).ok());
  REQUIRE(context->setWinner(many, {{"BM", 96}}).ok());
  const std::pair<int64_t, int64_t> expected[] = {
      {777, 32}, {1001, 32}, {15377, 96}, {9001, 96}, {4097, 96}};
  for (const std::shared_ptr<Context> &user : {context, setting.open()})
    for (const auto &[rows, tile] : expected) {
      INFO("rows " << rows);
      const Result<std::shared_ptr<const Kernel>> kernel =
          user->kernel(scaleRequest(*user, 10, rows));
      REQUIRE(kernel.ok());
      CHECK((*kernel)->artifact().schedule.at("BM") == tile);
    }
  CHECK(setting.calls("compile") == 3); // buckets share code: the default, BM = 32, BM = 96
}

TEST_CASE("a damaged entry is made anew") {
  Setting setting;
  std::string key;
  {
    const std::shared_ptr<Context> context = setting.open();
    key = (*context->kernel(scaleRequest(*context)))->origin().key;
  }
  std::filesystem::resize_file(setting.folder / ("store/artifact/" + key), 1000);
  const std::shared_ptr<Context> context = setting.open();
  const Result<std::shared_ptr<const Kernel>> kernel = context->kernel(scaleRequest(*context));
  REQUIRE(kernel.ok());
  CHECK((*kernel)->origin().source == KernelOrigin::Compiled);
  CHECK((*setting.open()->kernel(scaleRequest(*context)))->origin().source == KernelOrigin::Store);
}

TEST_CASE("without a store every context compiles, and says nothing about it twice") {
  Setting setting;
  std::ofstream(setting.folder / "file") << "x";
  setting.options.cacheDir = setting.folder / "file/store";
  const std::shared_ptr<Context> context = setting.open();
  REQUIRE(context->kernel(scaleRequest(*context, 10)).ok());
  REQUIRE(context->kernel(scaleRequest(*context, 12)).ok());
  int warnings = 0;
  for (const std::string &line : setting.log)
    warnings += line.find("without a store") != std::string::npos;
  CHECK(warnings == 1);
  setting.options.useStore = false;
  CHECK(!setting.open()->cache().enabled());
}

TEST_CASE("the compiler's errors arrive whole") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Result<Signature> signature = context->signature("refuse this");
  REQUIRE(!signature.ok());
  CHECK(signature.error().toString() ==
        "p.heddle:1:1: invalid pattern: found refuse, expected scale");
  Request request = scaleRequest(*context);
  request.patternText = "refuse this";
  const Result<std::shared_ptr<const Kernel>> kernel = context->kernel(request);
  REQUIRE(!kernel.ok());
  CHECK(kernel.error().code == ErrorCode::InvalidPattern);
  CHECK(context->kernel(scaleRequest(*context)).ok()); // and the context lives on
}

TEST_CASE("every input of a kernel changed one by one misses memory and store") {
  Setting setting;
  const std::shared_ptr<Context> filled = setting.open();
  Request base = *filled->complete(scaleRequest(*filled));
  base.dims["G"] = 1;
  base.constants = {{"cap", 50.0}};
  base.extents["Tk"] = {ExtentClass::Any, true};
  base.flags = "fast";
  REQUIRE(filled->kernel(base).ok());
  for (const auto &change : kRequestChanges) {
    INFO("change " << &change - kRequestChanges);
    Request request = base;
    change(request);
    const int before = setting.calls("compile");
    const bool runsHere = request.target == base.target;
    CHECK(filled->kernel(request).ok() == runsHere);
    CHECK(setting.calls("compile") == before + runsHere);
    CHECK(filled->kernel(request).ok() == runsHere); // now it is there, and so is the first
    CHECK(setting.open()->kernel(base).ok());
    CHECK(setting.calls("compile") == before + runsHere);
  }
}

TEST_CASE("a missing compiler, another version's, or none allowed") {
  Setting setting;
  const std::shared_ptr<Context> filled = setting.open();
  const Request request = scaleRequest(*filled);
  REQUIRE(filled->kernel(request).ok());
  const std::string build = *filled->compiler().buildId();

  setting.options.compilerPath = "/nowhere/libheddle-compiler.so";
  Result<std::shared_ptr<const Kernel>> kernel = setting.open()->kernel(request);
  REQUIRE(!kernel.ok());
  CHECK(kernel.error().code == ErrorCode::NotFound);
  CHECK(kernel.error().message.find("set HEDDLE_COMPILER") != std::string::npos);

  setting.options.compilerBuild = build; // an engine that ships the store alone
  CHECK((*setting.open()->kernel(request))->origin().source == KernelOrigin::Store);

  setting.options.compilerBuild.clear();
  setting.options.compilerPath = library("heddle-test-kernels"); // a library, but no compiler
  kernel = setting.open()->kernel(request);
  REQUIRE(!kernel.ok());
  CHECK(kernel.error().code == ErrorCode::Unsupported);

  setting.options.compilerPath = library("heddle-fake-compiler");
  setting.options.allowCompile = false;
  CHECK(setting.open()->kernel(request).ok());
  Request other = request;
  other.dims["D"] = 11;
  kernel = setting.open()->kernel(other);
  REQUIRE(!kernel.ok());
  CHECK(kernel.error().message.find("compiling is not allowed") != std::string::npos);
}

TEST_CASE("of many callers that miss one key, one compiles", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  std::atomic<int> right = 0;
  std::vector<std::thread> callers;
  for (int n = 0; n < 8; ++n)
    callers.emplace_back([&] {
      const Result<std::shared_ptr<const Kernel>> kernel = context->kernel(request);
      ScaleCall call(100, 10);
      right += kernel.ok() && call.run(**kernel).ok() && call.isRight(2);
    });
  for (std::thread &caller : callers)
    caller.join();
  CHECK(right == 8);
  CHECK(setting.calls("compile") == 1);
}

TEST_CASE("results do not depend on the number of threads", "[threads]") {
  Setting setting;
  for (int threads : {1, 2, 5}) {
    setting.options.threads = threads;
    const std::shared_ptr<Context> context = setting.open();
    CHECK(context->device().workers() == threads);
    const Result<std::shared_ptr<const Kernel>> kernel = context->kernel(scaleRequest(*context));
    REQUIRE(kernel.ok());
    for (int64_t rows : {0, 1, 4, 5, 1000}) {
      ScaleCall call(rows, 10);
      REQUIRE(call.run(**kernel).ok());
      CHECK(call.isRight(2));
    }
  }
}

TEST_CASE("several images are loaded side by side, each its own") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  Artifact negated = scaleArtifact(10);
  negated.image = kernelImage("negated");
  const std::string images[] = {scaleArtifact(10).serialize(), negated.serialize()};
  std::vector<std::shared_ptr<const Kernel>> kernels;
  for (int n = 0; n < 6; ++n)
    kernels.push_back(*context->kernelFromBytes(images[n % 2]));
  for (int n = 0; n < 6; ++n) {
    ScaleCall call(9, 10);
    REQUIRE(call.run(*kernels[n]).ok());
    CHECK(call.isRight(n % 2 ? -2 : 2));
  }
}

TEST_CASE("artifact bytes that the caller kept can be loaded") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const std::string bytes = scaleArtifact(10).serialize();
  const Result<std::shared_ptr<const Kernel>> kernel = context->kernelFromBytes(bytes);
  REQUIRE(kernel.ok());
  ScaleCall call(7, 10);
  REQUIRE(call.run(**kernel).ok());
  CHECK(call.isRight(2));
  CHECK(!context->kernelFromBytes(bytes.substr(0, 1000)).ok());

  const auto refusal = [&](const std::function<void(Artifact &)> &change) {
    Artifact artifact = scaleArtifact(10);
    change(artifact);
    return context->kernelFromBytes(artifact.serialize()).error();
  };
  CHECK(refusal([](Artifact &a) {
          a.requiredFeatures = {"avx2", "avx9000"};
        }).message.find("scale needs avx9000, which this processor") == 0);
  CHECK(refusal([](Artifact &a) { a.target = "sm_80"; }).message.find("code for sm_80") !=
        std::string::npos);
  CHECK(refusal([](Artifact &a) { a.launches[0].entry = "absent"; }).message.find("absent") !=
        std::string::npos);
  CHECK(refusal([](Artifact &a) { a.image = "MZ"; }).code == ErrorCode::CorruptData);
  CHECK(refusal([](Artifact &a) { a.image.resize(600); }).code == ErrorCode::CorruptData);
}

TEST_CASE("workspaces that do not fit are refused") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const std::shared_ptr<const Kernel> kernel = *context->kernel(scaleRequest(*context));
  ScaleCall call(100, 10);
  const int64_t bytes = *kernel->workspaceBytes(call.tensors, {});
  CHECK(bytes == 256 + 2 * 64); // 25 partial sums of 8 bytes, rounded up; 64 bytes a worker
  CHECK(*kernel->workspaceBytes(Extents{{"T", 100}}, {}) == bytes);
  const AlignedBuffer memory = std::move(*AlignedBuffer::allocate(bytes + 64));
  CHECK(!kernel->launch(call.tensors, {}, {memory.data(), bytes - 1}).ok());
  CHECK(!kernel->launch(call.tensors, {}, {nullptr, bytes}).ok());
  CHECK(!kernel->launch(call.tensors, {}, {static_cast<char *>(memory.data()) + 8, bytes}).ok());
  CHECK(call.s == -1); // nothing ran
  CHECK(kernel->launch(call.tensors, {}, {memory.data(), bytes}).ok());
  CHECK(!AlignedBuffer::allocate(-1).ok());
}

TEST_CASE("threads that the system refuses are an error, and none is left behind") {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0)
      ::_exit(2);
    const rlimit limit = {3, 3};
    ::setrlimit(RLIMIT_NPROC, &limit);
    const Result<std::unique_ptr<Device>> device = openDevice("cpu", 64);
    ::_exit(!device.ok() && device.error().code == ErrorCode::ResourceExhausted ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("the CPU device says what it is") {
  const cpu::HostInfo host = cpu::detectHost();
  CHECK(host.cores >= 1);
  CHECK(host.facts().find("features ") != std::string::npos);
  std::ifstream file("/proc/cpuinfo");
  const std::string info{std::istreambuf_iterator<char>(file), {}};
  for (const std::string &feature : host.features) {
    INFO(feature);
    CHECK(info.find(" " + feature) != std::string::npos);
  }
  for (const char *feature : {"avx2", "fma", "avx512f", "avx512_bf16", "f16c", "bmi2", "amx_tile"})
    CHECK(host.has(feature) == (info.find(" " + std::string(feature) + " ") != std::string::npos));
  CHECK(!openDevice("abacus", 1).ok());
  CHECK(!openDevice("cpu", -1).ok());
  CHECK(deviceNames() == std::vector<std::string>{"cpu", "cuda[:N]", "ptx[:N]"});
  cpu::HostInfo old = host;
  old.features.clear();
  Artifact artifact = scaleArtifact(10);
  artifact.requiredFeatures = {"avx2"};
  const Result<std::unique_ptr<LoadedKernel>> kernel =
      (*cpu::openCpuDevice(1, old))->load(artifact);
  REQUIRE(!kernel.ok());
  CHECK(kernel.error().code == ErrorCode::Unsupported);
}

TEST_CASE("the compiler's other services pass the boundary") {
  CompilerPlugin plugin(library("heddle-fake-compiler"));
  CHECK(*plugin.stations() == std::vector<std::string>{"pattern", "asm"});
  CHECK(*plugin.show(Request(), "asm") == "station asm");
  CHECK(plugin.enumerate(Request())->at(1).at("BM") == 8);
  CHECK(*plugin.knobs() == "[]");
  float in[2] = {1, 2};
  double out[2] = {};
  TensorView x;
  x.data = in;
  x.rank = 2;
  x.shape = {1, 2};
  TensorView y = x;
  y.data = out;
  y.dtype = DType::F64;
  REQUIRE(plugin.interpret(Request(), {{"x", x}}, {{"c", 0.5}}, {{0, 1, 2}}, {{"y", y}}).ok());
  CHECK(out[1] == 4.5);
}

TEST_CASE("build ids tell builds apart without loading them") {
  test::ScratchFolder folder;
  const auto idOf = [](const std::string &path) { return CompilerPlugin(path).buildId(); };
  CHECK(!idOf("/nowhere").ok());
  std::ofstream(folder / "a") << "one";
  std::ofstream(folder / "b") << "other";
  REQUIRE(idOf(folder / "a").ok());
  CHECK(*idOf(folder / "a") == *idOf(folder / "a"));
  CHECK(*idOf(folder / "a") != *idOf(folder / "b"));
  const std::string before = *idOf(folder / "a");
  std::ofstream(folder / "a") << "two!";
  CHECK(*idOf(folder / "a") != before);
}
