// tile.topk on the CPU target: candidates that come a tile at a time, against a sort.
#include "tests/compiler/CpuKernel.h"
#include "tests/support/Test.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace heddle;
using namespace heddle::compiler;
using namespace heddle::compiler::cpu;

namespace {

/// The k best of N scores a row, `step` at a time; two rows a tile.
std::string programText(int64_t k, int64_t step) {
  return fmt::format(R"(
!S = !tile.tile<2x{1}xf32>
!L = !tile.tile<2x{0}xf32>
!I = !tile.tile<2x{0}xi32>
tile.program @best {{
  tile.extent "R"
  tile.extent "N"
  tile.tensor "score" : f32[R, N]
  tile.tensor "id" result : i32[R, {0}]
  tile.tensor "best" result : f32[R, {0}]
  tile.kernel @choose grid(%rt = ceildiv(R, 2)) stage(abstract) {{
    %R = tile.scalar "R" : index
    %N = tile.scalar "N" : index
    %c0 = arith.constant 0 : index
    %c2 = arith.constant 2 : index
    %minusInf = arith.constant 0xFF800000 : f32
    %row = arith.muli %rt, %c2 : index
    %rows = arith.subi %R, %row : index
    %score = tile.view "score" [:, :] : !tile.view<?x?xf32>
    %id = tile.view "id" [:, :] : !tile.view<?x{0}xi32>
    %best = tile.view "best" [:, :] : !tile.view<?x{0}xf32>
    %s0 = tile.fill -inf : !L
    %i0 = tile.fill -1.0 : !I
    %limit = arith.index_cast %N : index to i32
    %all:2 = tile.for %n = [%c0, %N) step {1} iter(%bs = %s0, %bi = %i0) -> (!L, !I) {{
      %left = arith.subi %N, %n : index
      %x = tile.load %score[%row, %n] valid(%rows, %left) fill 0.0 : !tile.view<?x?xf32> -> !S
      %ids = tile.index %n : !tile.tile<{1}xi32>
      %s = tile.map (%y = %x[i, j], %j = %ids[j]) -> [i, j] : (!S, !tile.tile<{1}xi32>) -> !S {{
        %there = arith.cmpi slt, %j, %limit : i32
        %z = arith.select %there, %y, %minusInf : f32
        tile.yield %z : f32
      }}
      %ns, %ni = tile.topk %s, %ids into %bs, %bi : !S, !tile.tile<{1}xi32>, !L, !I
      tile.yield %ns, %ni : !L, !I
    }}
    tile.store %all#1, %id[%row, 0] valid(%rows) : !I -> !tile.view<?x{0}xi32>
    tile.store %all#0, %best[%row, 0] valid(%rows) : !L -> !tile.view<?x{0}xf32>
  }}
}}
)",
                     k, step);
}

struct Scores {
  const char *name;
  float (*made)(std::mt19937 &random, int64_t n);
};

const Scores kScores[] = {
    {"normal numbers",
     [](std::mt19937 &random, int64_t) { return std::normal_distribution<float>()(random); }},
    {"few values, so that ids decide",
     [](std::mt19937 &random, int64_t) {
       const float values[] = {-1, -0.0f, 0.0f, 1};
       return values[random() % 4];
     }},
    {"all equal", [](std::mt19937 &, int64_t) { return -2.0f; }},
    {"most are no candidates",
     [](std::mt19937 &random, int64_t n) {
       return n % 7 == 3 ? float(random() % 100) : n % 7 == 5 ? std::nanf("") : -INFINITY;
     }},
    {"ascending", [](std::mt19937 &, int64_t n) { return float(n) - 40; }},
    {"extremes", [](std::mt19937 &random, int64_t n) {
       const float values[] = {3e38f, -3e38f, 0.0f, 1.2e-38f, -1.2e-38f, INFINITY}; // normal
       return values[(random() + n) % 6];
     }}};

} // namespace

TEST_CASE("topk on the CPU takes what a sort takes, ids ascending") {
  struct Sizes {
    int64_t k, step, N;
  };
  for (const Isa &isa : hostIsas())
    for (Sizes sizes : {Sizes{1, 16, 5}, Sizes{3, 16, 77}, Sizes{16, 48, 777}, Sizes{37, 32, 200},
                        Sizes{64, 100, 50}, Sizes{8, 8, 0}}) {
      auto [k, step, N] = sizes;
      CpuKernel kernel(programText(k, step), isa);
      for (const Scores &scores : kScores) {
        INFO(isa.name() << " k " << k << " step " << step << " N " << N << ": " << scores.name);
        constexpr int64_t R = 5;
        std::mt19937 random(3);
        std::vector<float> score(R * N + 1), best(R * k + 1);
        std::vector<int32_t> id(R * k + 1, -7);
        for (int64_t r = 0; r < R; ++r)
          for (int64_t n = 0; n < N; ++n)
            score[r * N + n] = scores.made(random, n);
        kernel.run({{"R", R}, {"N", double(N)}}, {{"score", {score.data(), {N, 1}}},
                                                  {"id", {id.data(), {k, 1}}},
                                                  {"best", {best.data(), {k, 1}}}});
        for (int64_t r = 0; r < R; ++r) {
          const float *row = &score[r * N];
          std::vector<int32_t> wanted;
          for (int64_t n = 0; n < N; ++n)
            if (row[n] > -INFINITY)
              wanted.push_back(n);
          std::sort(wanted.begin(), wanted.end(), [&](int32_t a, int32_t b) {
            return row[a] != row[b] ? row[a] > row[b] : a < b;
          });
          wanted.resize(std::min<size_t>(wanted.size(), k));
          std::sort(wanted.begin(), wanted.end());
          for (int64_t n = 0; n < k; ++n) {
            bool there = n < int64_t(wanted.size());
            REQUIRE(id[r * k + n] == (there ? wanted[n] : -1));
            REQUIRE(best[r * k + n] == (there ? row[wanted[n]] : -INFINITY));
          }
        }
      }
    }
}
