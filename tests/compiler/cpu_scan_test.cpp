// Scans on the CPU target from tile IR text: running sums, sums through scratch and triangular
// systems in tests/ir/tile/scalar_decay.mlir and gated_delta.mlir against the recurrence in double.
#include "tests/compiler/CpuKernel.h"
#include "tests/support/Files.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include <cmath>
#include <random>

using namespace heddle;
using namespace heddle::compiler;
using namespace heddle::compiler::cpu;

namespace {

constexpr int64_t K = 9, V = 7, H = 2;

std::string programText(const std::string &name) {
  return test::readFile(std::string(test::kSourceDir) + "/tests/ir/tile/" + name);
}

std::vector<float> normals(int64_t count, int seed, float (*made)(float)) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count + 1);
  for (float &value : values)
    value = made(normal(random));
  return values;
}

/// Runs a file for T tokens; worst error of o against the recurrence, delta if it has beta.
double worstError(const std::string &file, const Isa &isa, int64_t T, bool delta) {
  auto same = [](float x) { return x; };
  std::vector<float> q = normals(T * H * K, 1, same), v = normals(T * H * V, 3, same);
  std::vector<float> k = normals(T * H * K, 2, [](float x) { return x / 3; });
  std::vector<float> g = normals(T * H, 4, [](float x) { return -std::fabs(x); });
  std::vector<float> beta = normals(T * H, 5, [](float x) { return 1 / (1 + std::exp(-x)); });
  std::vector<float> s0 = normals(H * K * V, 6, same), s1(s0), o(T * H * V + 1);
  CpuKernel kernel(programText(file), isa);
  auto rows = [](std::vector<float> &x, int64_t width) {
    return RunTensor{x.data(), {0, H * width, width, 1}};
  };
  std::map<std::string, RunTensor> tensors = {{"q", rows(q, K)},
                                              {"k", rows(k, K)},
                                              {"v", rows(v, V)},
                                              {"o", rows(o, V)},
                                              {"g", {g.data(), {0, H, 1}}},
                                              {"beta", {beta.data(), {0, H, 1}}},
                                              {"s0", {s0.data(), {0, K * V, V, 1}}},
                                              {"s1", {s1.data(), {0, K * V, V, 1}}}};
  kernel.run({{"B", 1}, {"T", double(T)}, {"H", H}}, tensors);
  double worst = 0;
  for (int64_t h = 0; h < H; ++h) {
    std::vector<double> S(K * V, 0.0);
    for (int64_t n = 0; n < K * V && !delta; ++n)
      S[n] = s0[h * K * V + n];
    for (int64_t t = 0; t < T; ++t) {
      const float *kt = &k[(t * H + h) * K], *qt = &q[(t * H + h) * K], *vt = &v[(t * H + h) * V];
      for (double &x : S)
        x *= std::exp2(double(g[t * H + h]));
      for (int64_t e = 0; e < V; ++e) {
        double u = vt[e], y = 0;
        for (int64_t d = 0; d < K && delta; ++d)
          u -= S[d * V + e] * kt[d];
        if (delta)
          u *= beta[t * H + h];
        for (int64_t d = 0; d < K; ++d)
          y += (S[d * V + e] += kt[d] * u) * qt[d];
        worst = std::max(worst, std::fabs(y - o[(t * H + h) * V + e]));
      }
    }
    for (int64_t n = 0; n < K * V && !delta; ++n)
      worst = std::max(worst, std::fabs(S[n] - s1[h * K * V + n]));
  }
  return worst;
}

} // namespace

TEST_CASE("a scalar decay in chunks of 16 on the CPU") {
  for (const Isa &isa : hostIsas())
    for (int64_t T : {0, 1, 16, 41}) {
      INFO(isa.name() << " T " << T);
      CHECK(worstError("scalar_decay.mlir", isa, T, false) < 1e-4);
    }
}

TEST_CASE("the gated delta rule in chunks of 16 on the CPU") {
  for (const Isa &isa : hostIsas())
    for (int64_t T : {1, 16, 41}) {
      INFO(isa.name() << " T " << T);
      CHECK(worstError("gated_delta.mlir", isa, T, true) < 1e-4);
    }
}

/// What is made of a state in registers and stored later is made of the state before the step.
TEST_CASE("a carried tile is not written over before its last reader") {
  const std::string text = R"(
!S = !tile.tile<16x16xf32>
tile.program @steps {
  tile.extent "T"
  tile.extent "H"
  tile.tensor "a" : f32[T, H, 16, 16]
  tile.tensor "o" result : f32[T, H, 16, 16]
  tile.kernel @walk grid(%h = H) stage(abstract) {
    %T = tile.scalar "T" : index
    %c0 = arith.constant 0 : index
    %two = arith.constant 2.0 : f32
    %S0 = tile.fill 1.0 : !S
    %last = tile.for %t = [%c0, %T) step 1 iter(%S = %S0) -> (!S) {
      %a = tile.view "a" [%t, %h, :, :] : !tile.view<16x16xf32>
      %o = tile.view "o" [%t, %h, :, :] : !tile.view<16x16xf32>
      %A = tile.load %a[0, 0] : !tile.view<16x16xf32> -> !S
      %twice = tile.map (%x = %S[r, c]) -> [r, c] : (!S) -> !S {
        %y = arith.mulf %x, %two : f32
        tile.yield %y : f32
      }
      %N = tile.mma %A[r, k], %A[k, c] init %S[r, c] contract(k) : !S, !S, !S
      tile.store %twice, %o[0, 0] : !S -> !tile.view<16x16xf32>
      tile.yield %N : !S
    }
  }
}
)";
  constexpr int64_t T = 3, N = 16;
  std::vector<float> a = normals(T * N * N, 7, [](float x) { return x / 4; }), o(T * N * N + 1);
  const std::vector<int64_t> strides = {N * N, N * N, N, 1};
  for (const Isa &isa : hostIsas()) {
    CpuKernel(text, isa).run({{"T", double(T)}, {"H", 1}},
                             {{"a", {a.data(), strides}}, {"o", {o.data(), strides}}});
    double worst = 0;
    std::vector<double> S(N * N, 1.0);
    for (int64_t t = 0; t < T; ++t) {
      const float *at = &a[t * N * N];
      for (int64_t n = 0; n < N * N; ++n)
        worst = std::max(worst, std::fabs(2 * S[n] - o[t * N * N + n]));
      for (int64_t r = 0; r < N; ++r)
        for (int64_t c = 0; c < N; ++c)
          for (int64_t k = 0; k < N; ++k)
            S[r * N + c] += double(at[r * N + k]) * at[k * N + c];
    }
    INFO(isa.name());
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("all results of a map of rows in scratch are written") {
  const std::string text = R"(
!R = !tile.tile<20xf32>
tile.program @sums {
  tile.extent "T"
  tile.tensor "g" : f32[T, 20]
  tile.tensor "sum" result : f32[T, 20]
  tile.tensor "sums" result : f32[T, 20]
  tile.kernel @walk grid(%x = 1) stage(abstract) {
    %T = tile.scalar "T" : index
    %c0 = arith.constant 0 : index
    %zero = tile.fill 0.0 : !R
    %last:2 = tile.for %t = [%c0, %T) step 1 iter(%a = %zero, %b = %zero) -> (!R, !R) {
      %g = tile.view "g" [%t, :] : !tile.view<20xf32>
      %sum = tile.view "sum" [%t, :] : !tile.view<20xf32>
      %sums = tile.view "sums" [%t, :] : !tile.view<20xf32>
      %G = tile.load %g[0] : !tile.view<20xf32> -> !R
      %n:2 = tile.map (%u = %a[j], %v = %b[j], %w = %G[j]) -> [j] : (!R, !R, !R) -> (!R, !R) {
        %y = arith.addf %u, %w : f32
        %z = arith.addf %v, %y : f32
        tile.yield %y, %z : f32, f32
      }
      tile.store %n#0, %sum[0] : !R -> !tile.view<20xf32>
      tile.store %n#1, %sums[0] : !R -> !tile.view<20xf32>
      tile.yield %n#0, %n#1 : !R, !R
    }
  }
}
)";
  constexpr int64_t T = 5, N = 20;
  std::vector<float> g(T * N), sum(T * N), sums(T * N);
  for (int64_t n = 0; n < T * N; ++n)
    g[n] = static_cast<float>(n % 7);
  for (const Isa &isa : hostIsas()) {
    INFO(isa.name());
    CpuKernel(text, isa).run({{"T", double(T)}}, {{"g", {g.data(), {N, 1}}},
                                                  {"sum", {sum.data(), {N, 1}}},
                                                  {"sums", {sums.data(), {N, 1}}}});
    for (int64_t n = 0; n < N; ++n) {
      float once = 0, twice = 0;
      for (int64_t t = 0; t < T; ++t) {
        twice += once += g[t * N + n];
        CHECK(sum[t * N + n] == once);
        CHECK(sums[t * N + n] == twice);
      }
    }
  }
}
