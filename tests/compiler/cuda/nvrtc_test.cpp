// NVRTC on small kernels written by hand: code, facts of ptxas, and every refusal.
#include "compiler/targets/cuda/Nvrtc.h"
#include "runtime/CudaFiles.h"
#include "tests/compiler/cuda/CudaTexts.h"
#include "tests/runtime/Scratch.h"
#include "tests/support/Files.h"
#include "tests/support/Test.h"

#include <cstdlib>
#include <filesystem>

using namespace heddle;
using namespace heddle::compiler::cuda;
using Catch::Matchers::Contains;

namespace {

/// Sets an environment variable, and puts it back.
class Variable {
public:
  Variable(const char *name, const std::string &value) : name(name) {
    const char *before = std::getenv(name);
    had = before != nullptr;
    old = before ? before : "";
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { had ? ::setenv(name, old.c_str(), 1) : ::unsetenv(name); }

private:
  const char *name;
  std::string old;
  bool had;
};

} // namespace

#define REQUIRE_NVRTC(name)                                                                        \
  if (!findNvrtc().ok())                                                                           \
    HEDDLE_SKIP(findNvrtc().error().message);                                                      \
  Result<Nvrtc> name##Loaded = Nvrtc::load();                                                      \
  INFO((name##Loaded.ok() ? "" : name##Loaded.error().toString()));                                \
  REQUIRE(name##Loaded.ok());                                                                      \
  const Nvrtc &name = *name##Loaded

TEST_CASE("a kernel becomes PTX, a cubin and facts for every architecture NVRTC knows") {
  REQUIRE_NVRTC(nvrtc);
  REQUIRE(nvrtc.majorVersion() >= 12);
  for (int64_t number : nvrtc.architectures()) {
    const std::string arch = "sm_" + std::to_string(number);
    INFO(arch);
    Result<CudaCode> code = nvrtc.compile(test::kScaleText, "scale.cu", arch);
    REQUIRE(code.ok());
    CHECK_THAT(code->ptx, Contains(".target " + arch) && Contains(".entry scale("));
    CHECK(code->cubin.substr(0, 4) == "\x7f"
                                      "ELF");
    REQUIRE(code->entries.count("scale") == 1);
    const Resources &facts = code->entries.at("scale");
    CHECK((facts.registers >= 6 && facts.registers <= 32));
    CHECK(facts.sharedBytes == 128);
    CHECK(facts.spillStoreBytes == 0);
    CHECK(facts.stackBytes == 0);
  }
}

TEST_CASE("PTX alone has no cubin and takes a suffixed architecture") {
  REQUIRE_NVRTC(nvrtc);
  Result<CudaCode> code = nvrtc.compile(test::kScaleText, "scale.cu", "sm_90a", Nvrtc::Ptx);
  REQUIRE(code.ok());
  CHECK_THAT(code->ptx, Contains(".target sm_90a"));
  CHECK(code->cubin.empty());
  CHECK(code->entries.empty());
}

TEST_CASE("the same text gives the same code") {
  REQUIRE_NVRTC(nvrtc);
  Result<CudaCode> one = nvrtc.compile(test::kScaleText, "scale.cu", "sm_80");
  Result<CudaCode> two = nvrtc.compile(test::kScaleText, "scale.cu", "sm_80");
  REQUIRE((one.ok() && two.ok()));
  CHECK(one->ptx == two->ptx);
  CHECK(one->cubin == two->cubin);
}

TEST_CASE("spills and stack are told apart, entry by entry") {
  REQUIRE_NVRTC(nvrtc);
  Result<CudaCode> code = nvrtc.compile(test::kSpillText, "spill.cu", "sm_80");
  REQUIRE(code.ok());
  REQUIRE(code->entries.size() == 2);
  const Resources &spill = code->entries.at("spill"), &local = code->entries.at("local");
  CHECK(spill.registers == 64);
  CHECK(spill.spillStoreBytes > 0);
  CHECK(spill.spillLoadBytes > 0);
  CHECK(local.spillStoreBytes == 0);
  CHECK(local.stackBytes == 256);
}

TEST_CASE("an architecture NVRTC does not know is an error that lists the known ones") {
  REQUIRE_NVRTC(nvrtc);
  for (const char *arch : {"sm_77", "sm_200", "sm_", "sm_90x", "sm_90aa", "h100", "", "sm_-80"}) {
    INFO(arch);
    Result<CudaCode> code = nvrtc.compile(test::kScaleText, "scale.cu", arch);
    REQUIRE(!code.ok());
    CHECK(code.error().code == ErrorCode::NotFound);
    CHECK_THAT(code.error().message, Contains("sm_80") && Contains("sm_90"));
  }
  Result<CudaCode> suffix = nvrtc.compile(test::kScaleText, "scale.cu", "sm_80a");
  REQUIRE(!suffix.ok());
  CHECK(suffix.error().code == ErrorCode::NotFound);
}

TEST_CASE("text that does not compile is told as a bug, with text and log saved") {
  REQUIRE_NVRTC(nvrtc);
  const std::string text = "extern \"C\" __global__ void k(float *x) { x[0] = nonsense; }\n";
  test::ScratchFolder scratch;
  Variable temporary("TMPDIR", scratch.path());
  Result<CudaCode> code = nvrtc.compile(text, "some/softcap.cu", "sm_80");
  REQUIRE(!code.ok());
  const Error &error = code.error();
  CHECK(error.code == ErrorCode::CompilerFailure);
  CHECK_THAT(error.message, Contains("\"nonsense\" is undefined") && Contains("bug of heddle"));
  CHECK_THAT(error.where, Catch::Matchers::StartsWith(scratch.path()) &&
                              Catch::Matchers::EndsWith("/softcap.cu"));
  CHECK(test::readFile(error.where) == text);
  const std::string log = std::filesystem::path(error.where).parent_path() / "log.txt";
  CHECK_THAT(test::readFile(log), Contains("nonsense"));
}

TEST_CASE("a place that holds no NVRTC is told, not passed over") {
  test::ScratchFolder scratch;
  Variable nvrtc("HEDDLE_NVRTC", scratch.path());
  Result<Nvrtc> loaded = Nvrtc::load();
  REQUIRE(!loaded.ok());
  CHECK(loaded.error().code == ErrorCode::NotFound);
  CHECK_THAT(loaded.error().message, Contains(scratch.path()) && Contains("HEDDLE_NVRTC"));
}

TEST_CASE("a library that is no NVRTC is refused by name") {
  Result<Nvrtc> loaded = Nvrtc::load("libm.so.6");
  REQUIRE(!loaded.ok());
  CHECK(loaded.error().code == ErrorCode::Unsupported);
  CHECK_THAT(loaded.error().message, Contains("nvrtc"));
  loaded = Nvrtc::load("/nowhere/libnvrtc.so");
  REQUIRE(!loaded.ok());
  CHECK(loaded.error().code == ErrorCode::NotFound);
}

TEST_CASE("a log of ptxas gives facts by entry") {
  const std::string log =
      "kernel.cu(3): warning #177-D: variable \"u\" was declared but never referenced\n"
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'a' for 'sm_80'\n"
      "ptxas info    : Function properties for a\n"
      "ptxas         .     384 bytes stack frame, 668 bytes spill stores, 788 bytes spill loads\n"
      "ptxas info    : Used 64 registers, used 0 barriers, 384 bytes cumulative stack size, 364 "
      "bytes cmem[0]\n"
      "ptxas info    : Compiling entry function 'b' for 'sm_80'\n"
      "ptxas info    : Used 8 registers, used 1 barriers, 128 bytes smem, 368 bytes cmem[0]\n";
  const auto entries = readPtxasLog(log);
  REQUIRE(entries.size() == 2);
  CHECK(entries.at("a") == Resources{64, 384, 668, 788, 0, 364});
  CHECK(entries.at("b") == Resources{8, 0, 0, 0, 128, 368});
  CHECK(readPtxasLog("").empty());
}
