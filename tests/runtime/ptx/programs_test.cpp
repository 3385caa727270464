// Ordinary CUDA C++, compiled by NVRTC where there is one: a reduction, a histogram, recursion,
// switches, local arrays, mathematics, a lock, wide integers, functions by address. Each runs
// checked, and is compared with the same C++ on the host.
#include "compiler/targets/cuda/Nvrtc.h"
#include "tests/runtime/ptx/PtxKernel.h"

#include <cmath>
#include <numeric>

using namespace heddle;
using namespace heddle::test;

namespace {

const char *const kPrograms = R"(
extern "C" __global__ void reduce(const float *in, float *out, int n) {
  __shared__ float s[32];
  float v = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += in[i];
  for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
  if ((threadIdx.x & 31) == 0) s[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < (blockDim.x >> 5) ? s[threadIdx.x] : 0;
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(~0u, v, o);
    if (!threadIdx.x) atomicAdd(out, v);
  }
}
extern "C" __global__ void histogram(const unsigned char *in, unsigned *h, int n) {
  __shared__ unsigned s[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) s[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&s[in[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&h[i], s[i]);
}
__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
extern "C" __global__ void recursion(int *o, int) { o[threadIdx.x] = fib(threadIdx.x % 12); }
extern "C" __global__ void mathematics(const double *a, double *o, int) {
  int i = threadIdx.x;
  o[i] = sin(a[i]) + exp(a[i] / 9) / sqrt(a[i] + 2) + pow(a[i], 1.7) + log(a[i] + 1);
}
extern "C" __global__ void choices(const int *in, int *o, int) {
  int i = threadIdx.x, r;
  switch (in[i]) {
    case 0: r = 5 + i; break; case 1: r = i * i; break; case 2: r = i ^ 77; break;
    case 3: r = i << 3; break; case 4: r = -i; break; case 5: r = __clz(i); break;
    case 6: r = __popc(i); break; default: r = 0;
  }
  int a[16];
  for (int k = 0; k < 16; k++) a[(k * 3) & 15] = k * i;
  o[i] = r + a[in[i] & 15];
}
typedef int (*F)(int);
__device__ int plus(int x) { return x + 1; }
__device__ int times(int x) { return x * 3; }
__device__ F table[2] = {plus, times};
extern "C" __global__ void pointers(int *o, int) { o[threadIdx.x] = table[threadIdx.x & 1](threadIdx.x); }
extern "C" __global__ void lock(int *state, int) {
  bool done = false;
  while (!done)
    if (atomicCAS(state, 0, 1) == 0) {
      volatile int *c = state + 1;
      *c = *c + 1;
      __threadfence();
      atomicExch(state, 0);
      done = true;
    }
}
extern "C" __global__ void wide(const unsigned long long *a, unsigned long long *o, int) {
  o[0] = __umul64hi(a[0], a[1]); o[1] = a[0] / (a[2] | 1); o[2] = a[3] % a[4];
  o[3] = (unsigned long long)((long long)a[5] / (long long)a[6]);
}
)";

class Programs {
public:
  explicit Programs(const std::string &ptx) {
    auto loaded = machine.load(ptx, "programs.ptx");
    if (!loaded.ok())
      FAIL(loaded.error().toString());
    module = std::move(*loaded);
  }

  /// Runs a kernel of pointers and one count; the buffers come back.
  void run(const std::string &name, int64_t grid, int64_t block, std::vector<Bytes> &buffers,
           int count) {
    const auto kernel = module->kernel(name);
    if (!kernel.ok())
      FAIL(kernel.error().toString());
    ptx::ParamBlock params(**kernel);
    std::vector<uint64_t> addresses;
    for (size_t i = 0; i < buffers.size(); ++i) {
      addresses.push_back((*machine.memory.allocate(buffers[i].size(), ""))->address);
      REQUIRE(machine.memory.write(addresses[i], buffers[i]).ok());
      REQUIRE(params.set(i, addresses[i]).ok());
    }
    REQUIRE(params.set(buffers.size(), count).ok());
    ptx::LaunchConfig config;
    config.grid[0] = grid;
    config.block[0] = block;
    config.params = params.bytes();
    ptx::LaunchOptions options;
    options.check = true;
    const auto report = machine.launch(**kernel, config, options);
    if (!report.ok())
      FAIL(report.error().toString());
    for (const ptx::Finding &f : report->findings)
      FAIL_CHECK(name << ": " << f.toString());
    for (size_t i = 0; i < buffers.size(); ++i)
      REQUIRE(machine.memory.read(addresses[i], buffers[i]).ok());
  }

private:
  ptx::Machine machine;
  std::unique_ptr<ptx::Module> module;
};

void runAll(const std::string &ptx) {
  Programs programs(ptx);
  std::vector<Bytes> b = {bytesOf(std::vector<float>(1537, 0.5f)), bytesOf(std::vector<float>(1))};
  programs.run("reduce", 3, 256, b, 1537);
  CHECK(valuesOf<float>(b[1])[0] == 768.5f);

  std::vector<unsigned char> text(7777);
  std::vector<uint32_t> expected(256);
  for (size_t i = 0; i < text.size(); ++i)
    ++expected[text[i] = static_cast<unsigned char>(i * i % 251)];
  b = {bytesOf(text), bytesOf(std::vector<uint32_t>(256))};
  programs.run("histogram", 3, 128, b, 7777);
  CHECK(valuesOf<uint32_t>(b[1]) == expected);

  b = {Bytes(128)};
  programs.run("recursion", 1, 32, b, 0);
  CHECK(valuesOf<int>(b[0])[11] == 89);
  CHECK(valuesOf<int>(b[0])[29] == 5);

  std::vector<double> x(64);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = 1.37 * static_cast<double>(i);
  b = {bytesOf(x), Bytes(512)};
  programs.run("mathematics", 1, 64, b, 0);
  for (size_t i = 0; i < x.size(); ++i)
    CHECK(valuesOf<double>(b[1])[i] ==
          Approx(std::sin(x[i]) + std::exp(x[i] / 9) / std::sqrt(x[i] + 2) + std::pow(x[i], 1.7) +
                 std::log(x[i] + 1))
              .epsilon(1e-13));

  std::vector<int> which(64);
  for (size_t i = 0; i < which.size(); ++i)
    which[i] = static_cast<int>(i % 9);
  b = {bytesOf(which), Bytes(256)};
  programs.run("choices", 1, 64, b, 0);
  for (int i = 0; i < 64; ++i) {
    const int results[] = {
        5 + i, i * i, i ^ 77, i << 3, -i, i ? __builtin_clz(i) : 32, __builtin_popcount(i), 0, 0};
    int a[16];
    for (int k = 0; k < 16; ++k)
      a[(k * 3) & 15] = k * i;
    CHECK(valuesOf<int>(b[1])[static_cast<size_t>(i)] == results[i % 9] + a[i % 9]);
  }

  b = {Bytes(128)};
  programs.run("pointers", 1, 32, b, 0);
  CHECK(valuesOf<int>(b[0])[4] == 5);
  CHECK(valuesOf<int>(b[0])[5] == 15);

  b = {Bytes(8)};
  programs.run("lock", 2, 64, b, 0);
  CHECK(valuesOf<int>(b[0])[1] == 128);

  const std::vector<uint64_t> a = {0x123456789abcdef1,
                                   0xfedcba9876543211,
                                   12345,
                                   999999999999,
                                   777,
                                   static_cast<uint64_t>(-1000000007),
                                   13};
  b = {bytesOf(a), Bytes(32)};
  programs.run("wide", 1, 1, b, 0);
  const unsigned __int128 product = static_cast<unsigned __int128>(a[0]) * a[1];
  const auto wide = valuesOf<uint64_t>(b[1]);
  CHECK(wide[0] == static_cast<uint64_t>(product >> 64));
  CHECK(wide[1] == a[0] / (a[2] | 1));
  CHECK(wide[2] == a[3] % a[4]);
  CHECK(static_cast<int64_t>(wide[3]) == static_cast<int64_t>(a[5]) / static_cast<int64_t>(a[6]));
}

} // namespace

TEST_CASE("ordinary CUDA C++ runs checked and right", "[ptx]") {
  const auto nvrtc = compiler::cuda::Nvrtc::load();
  if (!nvrtc.ok())
    HEDDLE_SKIP(nvrtc.error().message);
  for (const char *arch : {"sm_80", "sm_90", "sm_120"}) {
    INFO(arch);
    const auto code = nvrtc->compile(kPrograms, "programs.cu", arch, compiler::cuda::Nvrtc::Ptx);
    if (!code.ok())
      FAIL(code.error().toString());
    runAll(code->ptx);
  }
}
