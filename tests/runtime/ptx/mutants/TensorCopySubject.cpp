// C = A B^T, 64 x 64 tiles of bf16 with 128-byte rows, so that the swizzle of 128 bytes is a whole
// row:
//
//   warp 4   waits for empty[s], expects 16 KiB on full[s], copies a box of A and one of B
//   warps 0-3  wait for full[s], ldmatrix of swizzled rows, mma.sync, arrive at empty[s]
//   then C goes to shared memory, over the proxy fence, and out by a tensor copy
#include "compiler/targets/cuda/Nvrtc.h"
#include "runtime/DType.h"
#include "tests/runtime/ptx/mutants/Subject.h"

#include <cmath>
#include <random>

namespace heddle::test {
namespace {

constexpr int64_t kRows = 72, kColumns = 80, kDepth = 328; // tails; more tiles than stages

const char *const kText = R"(
typedef unsigned u32;
struct __align__(64) Map { unsigned char bytes[128]; };
__device__ __forceinline__ u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void init(u32 bar, u32 count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" : : "r"(bar), "r"(count) : "memory");
}
__device__ __forceinline__ void expect(u32 bar) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], 16384;" : : "r"(bar) : "memory");
}
__device__ __forceinline__ void arrive(u32 bar) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" : : "r"(bar) : "memory");
}
__device__ __forceinline__ void wait(u32 bar, u32 phase) {
  asm volatile("{\n.reg .pred %p;\nAGAIN:\n"
               "mbarrier.try_wait.parity.shared.b64 %p, [%0], %1;\n@%p bra DONE;\nbra AGAIN;\nDONE:\n}"
               : : "r"(bar), "r"(phase) : "memory");
}
__device__ __forceinline__ void load(u32 to, const Map *map, int x, int y, u32 bar) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3}], [%4];"
               : : "r"(to), "l"(map), "r"(x), "r"(y), "r"(bar) : "memory");
}
__device__ __forceinline__ void matrices(u32 (&x)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
extern "C" __global__ void __launch_bounds__(160) product(const __grid_constant__ Map a,
    const __grid_constant__ Map b, const __grid_constant__ Map c, int depth) {
  __shared__ __align__(1024) unsigned char tiles[2 * 16384];
  __shared__ __align__(8) unsigned long long bars[4]; // full 0, 1, empty 0, 1
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const u32 smem = shared(tiles), full = shared(bars), empty = full + 16;
  const int row = blockIdx.x * 64, column = blockIdx.y * 64, trips = (depth + 63) / 64;
  if (threadIdx.x == 0) {
    init(full, 1); init(full + 8, 1); init(empty, 4); init(empty + 8, 4);
    asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
  }
  __syncthreads();
  float acc[8][4] = {};
  if (warp == 4) {
    for (int t = 0; lane == 0 && t < trips; ++t) {
      const u32 s = t & 1, tile = smem + s * 16384;
      if (t > 1)
        wait(empty + 8 * s, (t / 2 - 1) & 1);
      expect(full + 8 * s);
      load(tile, &a, t * 64, row, full + 8 * s);
      load(tile + 8192, &b, t * 64, column, full + 8 * s);
    }
  } else {
    const int arow = warp * 16 + lane % 16, brow = lane % 8 + lane / 16 * 8;
#pragma unroll 1
    for (int t = 0; t < trips; ++t) {
      const u32 s = t & 1, tile = smem + s * 16384;
      wait(full + 8 * s, (t / 2) & 1);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        u32 x[4];
        matrices(x, tile + arow * 128 + ((2 * k + lane / 16) ^ (arow % 8)) * 16);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          u32 y[4];
          const int r = n * 16 + brow;
          matrices(y, tile + 8192 + r * 128 + ((2 * k + lane / 8 % 2) ^ (r % 8)) * 16);
          mma(acc[2 * n], x, y[0], y[1]);
          mma(acc[2 * n + 1], x, y[2], y[3]);
        }
      }
      __syncwarp();
      if (lane == 0)
        arrive(empty + 8 * s);
    }
  }
  __syncthreads();
  if (warp < 4) {
    float *out = (float *)tiles;
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        out[(warp * 16 + lane / 4 + e / 2 * 8) * 64 + n * 8 + lane % 4 * 2 + e % 2] = acc[n][e];
    asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];"
                 : : "l"(&c), "r"(column), "r"(row), "r"(smem) : "memory");
    asm volatile("cp.async.bulk.commit_group;" : : : "memory");
    asm volatile("cp.async.bulk.wait_group.read 0;" : : : "memory");
  }
}
)";

ptx::TensorMap mapOf(DType dtype, int64_t rows, int64_t columns, ptx::Swizzle swizzle) {
  const int64_t bytes = sizeOf(dtype);
  ptx::TensorMap map;
  map.type = dtype == DType::F32 ? 7 : 9; // CU_TENSOR_MAP_DATA_TYPE_FLOAT32, BFLOAT16
  map.rank = 2;
  map.swizzle = swizzle;
  map.dims = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  map.strides = {static_cast<uint64_t>(bytes), static_cast<uint64_t>(columns * bytes)};
  map.box = {64, 64};
  return map;
}

Subject::Tensor inputOf(const char *name, int64_t elements, unsigned seed) {
  Subject::Tensor tensor{name, DType::BF16, false, 2 * elements, {}};
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  for (int inputs = 0; inputs < kInputSets; ++inputs) {
    tensor.bytes[inputs].resize(static_cast<size_t>(tensor.size));
    for (int64_t e = 0; e < elements; ++e)
      storeElement(tensor.dtype, tensor.bytes[inputs].data(), e, normal(random));
  }
  return tensor;
}

/// Whether the first results are the product, but for rounding.
bool isProduct(const Subject &subject) {
  const auto at = [&](size_t tensor, int64_t e) {
    return loadElement(DType::BF16, subject.tensors[tensor].bytes[0].data(), e);
  };
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kColumns; ++c) {
      double sum = 0;
      for (int64_t k = 0; k < kDepth; ++k)
        sum += at(0, r * kDepth + k) * at(1, c * kDepth + k);
      if (std::fabs(subject.expected[0][2][static_cast<size_t>(r * kColumns + c)] - sum) > 1e-3)
        return false;
    }
  return true;
}

} // namespace

Result<Subject> tensorCopySubject() {
  HEDDLE_TRY(nvrtc, compiler::cuda::Nvrtc::load());
  HEDDLE_TRY(code, nvrtc.compile(kText, "product.cu", "sm_90", compiler::cuda::Nvrtc::Ptx));
  Subject subject;
  subject.name = "product by tensor copies sm_90";
  subject.ptx = code.ptx;
  subject.tensors = {inputOf("a", kRows * kDepth, 1),
                     inputOf("b", kColumns * kDepth, 2),
                     {"c", DType::F32, true, 4 * kRows * kColumns, {}}};
  Subject::Step step;
  step.entry = "product";
  step.config.grid[0] = (kRows + 63) / 64;
  step.config.grid[1] = (kColumns + 63) / 64;
  step.config.block[0] = 160;
  step.params.resize(3 * 128 + 4);
  step.params[3 * 128] = static_cast<std::byte>(kDepth & 255);
  step.params[3 * 128 + 1] = static_cast<std::byte>(kDepth >> 8);
  step.pointers = {{0, 0, mapOf(DType::BF16, kRows, kDepth, ptx::Swizzle::B128)},
                   {128, 1, mapOf(DType::BF16, kColumns, kDepth, ptx::Swizzle::B128)},
                   {256, 2, mapOf(DType::F32, kRows, kColumns, ptx::Swizzle::None)}};
  subject.steps = {step};
  if (const std::string why = subject.prove(); !why.empty())
    return Error{ErrorCode::Internal, "accused as it is: " + why};
  if (!isProduct(subject))
    return Error{ErrorCode::Internal, "its numbers are wrong"};
  return subject;
}

} // namespace heddle::test
