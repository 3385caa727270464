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
