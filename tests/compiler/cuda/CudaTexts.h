// Small CUDA kernels written by hand, for tests of what surrounds the emitter.
#pragma once

namespace heddle::test {

/// One kernel with 128 bytes of static shared memory.
inline constexpr const char *kScaleText = R"(
extern "C" __global__ void scale(float *x, float s, int n) {
  __shared__ float t[32];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  t[threadIdx.x & 31] = s;
  __syncthreads();
  if (i < n)
    x[i] *= t[(i + 1) & 31];
}
)";

/// `spill` keeps 96 values in the 64 registers that 1024 threads leave each; `local` indexes an
/// array by a run-time value and so puts it on the stack.
inline constexpr const char *kSpillText = R"(
extern "C" __global__ void __launch_bounds__(1024) spill(float *x, int n) {
  float a[96];
#pragma unroll
  for (int i = 0; i < 96; ++i)
    a[i] = x[i * 1024 + threadIdx.x];
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int i = 0; i < 96; ++i)
      a[i] = a[i] * a[(i + 7) % 96] + a[(i + 31) % 96];
  }
#pragma unroll
  for (int i = 0; i < 96; ++i)
    x[i * 1024 + threadIdx.x] = a[i];
}
extern "C" __global__ void local(float *x, int n) {
  float a[64];
  for (int i = 0; i < 64; ++i)
    a[i] = x[i * n];
  for (int i = 0; i < n; ++i)
    a[(i * 7) & 63] += a[(i * 3) & 63];
  for (int i = 0; i < 64; ++i)
    x[i] = a[i];
}
)";

/// Two loops of tensor-core products with an exponential: the first masks, the second does not.
inline constexpr const char *kTwoLoopsText = R"(
__device__ __forceinline__ void mma(float *c, const unsigned *a, const unsigned *b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
template <bool masked>
__device__ __forceinline__ void tiles(float *sum, const unsigned *a, const unsigned *k, int begin,
                                      int end, int limit) {
#pragma unroll 1
  for (int tile = begin; tile < end; ++tile) {
    unsigned b[4];
    for (int n = 0; n < 4; ++n)
      b[n] = k[(tile * 4 + n) * 32 + threadIdx.x];
    float c[4] = {0, 0, 0, 0};
    mma(c, a, b);
    mma(c, a + 4, b + 2);
    for (int n = 0; n < 4; ++n)
      sum[n] += masked && tile * 8 + n > limit ? 0.0f : exp2(c[n]);
  }
}
extern "C" __global__ void two_loops(const unsigned *q, const unsigned *k, float *o, int edge,
                                     int full, int limit) {
  unsigned a[8];
  for (int n = 0; n < 8; ++n)
    a[n] = q[n * 32 + threadIdx.x];
  float sum[4] = {0, 0, 0, 0};
  tiles<true>(sum, a, k, 0, edge, limit);
  tiles<false>(sum, a, k, edge, full, limit);
  for (int n = 0; n < 4; ++n)
    o[n * 32 + threadIdx.x] = sum[n];
}
)";

} // namespace heddle::test
