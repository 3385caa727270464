// Wrappers of the prelude that are more than one instruction: every code of 8 bits is widened as it
// should be, in emitted CUDA on the PTX machine.
#include "compiler/targets/cuda/Nvrtc.h"
#include "compiler/targets/cuda/Prelude.h"
#include "runtime/CudaFiles.h"
#include "tests/runtime/ptx/PtxKernel.h"

#include <cmath>

using namespace heddle;
using namespace heddle::test;
using namespace heddle::compiler::cuda;

namespace {

/// What `f(code)` gives for each code of 8 bits.
std::vector<float> widened(const std::string &f) {
  const std::string body = R"(extern "C" __global__ void kernel(const unsigned char *x, float *y) {
  u32 codes[2];
  load_codes_8(codes, &x[threadIdx.x * 8], threadIdx.x != 31);
  for (int n = 0; n < 8; ++n)
    y[threadIdx.x * 8 + n] = )" +
                           f + "((unsigned char)(codes[n / 4] >> (n % 4 * 8)));\n}\n";
  Result<Nvrtc> nvrtc = Nvrtc::load();
  REQUIRE(nvrtc.ok());
  const Result<CudaCode> code =
      nvrtc->compile(preludeFor(body) + body, "widen.cu", "sm_80", Nvrtc::Ptx);
  REQUIRE(code.ok());
  Bytes all(256);
  for (int n = 0; n < 256; ++n)
    all[n] = std::byte(n);
  std::vector<Bytes> buffers = {all, Bytes(256 * sizeof(float))};
  const auto report = runPtx(code->ptx, buffers);
  REQUIRE(report.ok());
  return valuesOf<float>(buffers[1]);
}

double e4m3(int code) { return (code & 0x7f) == 0x7f ? NAN : byteValue(code, 4, 3, 7); }

double e5m2(int code) {
  const double infinite = code & 3 ? NAN : code & 0x80 ? -INFINITY : INFINITY;
  return (code & 0x7c) == 0x7c ? infinite : byteValue(code, 5, 2, 15);
}

} // namespace

TEST_CASE("codes of 8 bits are widened exactly") {
  if (!findNvrtc())
    HEDDLE_SKIP("NVRTC is not installed");
  const std::pair<const char *, double (*)(int)> kinds[] = {
      {"from_i8", [](int code) { return double(int8_t(code)); }},
      {"from_e4m3", e4m3},
      {"from_e5m2", e5m2}};
  for (const auto &[name, value] : kinds) {
    const std::vector<float> got = widened(name);
    for (int code = 0; code < 256; ++code) {
      INFO(name << " " << code);
      const double expected = value(code < 248 ? code : 0); // the last 8 are not there
      CHECK((std::isnan(expected) ? std::isnan(got[code]) : got[code] == expected));
    }
  }
}
