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

} // namespace heddle::test
