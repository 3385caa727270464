// The worked kernels of tests/ir/tile against naive formulas, at short, odd and long lengths, with
// the grid visited in three orders.
#include "tests/compiler/tile/ProgramFile.h"

#include <cmath>

using namespace heddle;
using namespace heddle::test;
using heddle::compiler::GridOrder;
using heddle::compiler::TileBindings;
using heddle::compiler::walkProgram;

namespace {

constexpr double kTolerance = 1e-6; // the kernels hold f32 constants such as log2 e

/// Runs the program in the three orders and demands the same bits of each.
template <typename... Results>
void runInAllOrders(ParsedProgram &parsed, const TileBindings &bindings, Results &...results) {
  // Compared as bytes, so that NaN would not hide a difference.
  std::string before, after;
  auto append = [&](const auto &elements) {
    after.append(reinterpret_cast<const char *>(elements.data()),
                 elements.size() * sizeof(elements[0]));
  };
  for (GridOrder order : {GridOrder::Launch, GridOrder::Backward, GridOrder::Shuffled}) {
    (std::fill(results.elements.begin(), results.elements.end(), -77), ...);
    Status done = walkProgram(parsed.program(), bindings, order);
    INFO((done ? std::string() : done.error().toString()));
    REQUIRE(done.ok());
    after.clear();
    (append(results.elements), ...);
    REQUIRE((before.empty() || before == after));
    before = after;
  }
}

struct Lengths {
  int64_t tq, tk;
};

} // namespace

TEST_CASE("causal GQA attention with softcap is the naive formula", "[tile]") {
  Lengths lengths = GENERATE(Lengths{1, 1}, Lengths{7, 7}, Lengths{77, 77}, Lengths{1, 77},
                             Lengths{7, 40}, Lengths{77, 7}, Lengths{3, 0}, Lengths{0, 3});
  int64_t B = 2, Hq = 8, Hk = 2, D = 80, Dv = 72, Tq = lengths.tq, Tk = lengths.tk;
  CAPTURE(Tq, Tk);
  double cap = GENERATE(50.0, 0.5);
  Dense<double> q = randomTensor({B, Tq, Hq, D}, 1, -2, 2);
  Dense<double> k = randomTensor({B, Tk, Hk, D}, 2, -2, 2);
  Dense<double> v = randomTensor({B, Tk, Hk, Dv}, 3);
  Dense<double> o({B, Tq, Hq, Dv}), lse({B, Tq, Hq});
  TileBindings bindings;
  bindings.tensors = {
      {"q", q.view()}, {"k", k.view()}, {"v", v.view()}, {"o", o.view()}, {"lse", lse.view()}};
  bindings.scalars = {{"cap", cap}};
  ParsedProgram parsed("causal_softcap.mlir");
  runInAllOrders(parsed, bindings, o, lse);

  double worst = 0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < Hq; ++h)
      for (int64_t i = 0; i < Tq; ++i) {
        std::vector<double> weights;
        double sum = 0;
        for (int64_t j = 0; j < Tk && j <= i + Tk - Tq; ++j) {
          double s = 0;
          for (int64_t d = 0; d < D; ++d)
            s += q(b, i, h, d) * k(b, j, h / 4, d);
          weights.push_back(std::exp(cap * std::tanh(s / std::sqrt(80.0) / cap)));
          sum += weights.back();
        }
        for (int64_t e = 0; e < Dv; ++e) {
          double expected = 0;
          for (size_t j = 0; j < weights.size(); ++j)
            expected += weights[j] / sum * v(b, static_cast<int64_t>(j), h / 4, e);
          worst = std::max(worst, std::abs(expected - o(b, i, h, e)));
          REQUIRE(!std::isnan(o(b, i, h, e)));
        }
        if (weights.empty())
          REQUIRE(lse(b, i, h) == -std::numeric_limits<double>::infinity());
        else
          worst = std::max(worst, std::abs(std::log(sum) - lse(b, i, h)));
      }
  REQUIRE(worst < kTolerance);
}

TEST_CASE("chunked retention with a scalar decay is the recurrence", "[tile]") {
  int64_t T = GENERATE(0, 1, 7, 16, 77), B = 2, H = 3, K = 9, V = 7;
  CAPTURE(T);
  Dense<double> q = randomTensor({B, T, H, K}, 1), k = randomTensor({B, T, H, K}, 2);
  Dense<double> v = randomTensor({B, T, H, V}, 3), g = randomTensor({B, T, H}, 4, -3, 0);
  Dense<double> s0 = randomTensor({B, H, K, V}, 5);
  Dense<double> o({B, T, H, V}), s1({B, H, K, V});
  TileBindings bindings;
  bindings.tensors = {{"q", q.view()},   {"k", k.view()}, {"v", v.view()},  {"g", g.view()},
                      {"s0", s0.view()}, {"o", o.view()}, {"s1", s1.view()}};
  ParsedProgram parsed("scalar_decay.mlir");
  runInAllOrders(parsed, bindings, o, s1);

  double worst = 0;
  Dense<double> state = s0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t t = 0; t < T; ++t)
        for (int64_t e = 0; e < V; ++e) {
          double expected = 0;
          for (int64_t d = 0; d < K; ++d) {
            double &s = state(b, h, d, e);
            s = std::exp2(g(b, t, h)) * s + k(b, t, h, d) * v(b, t, h, e);
            expected += q(b, t, h, d) * s;
          }
          worst = std::max(worst, std::abs(expected - o(b, t, h, e)));
        }
      for (int64_t d = 0; d < K; ++d)
        for (int64_t e = 0; e < V; ++e)
          worst = std::max(worst, std::abs(state(b, h, d, e) - s1(b, h, d, e)));
    }
  REQUIRE(worst < kTolerance);
}

TEST_CASE("gated DeltaNet in WY form is the recurrence", "[tile]") {
  int64_t T = GENERATE(0, 1, 7, 16, 77), B = 2, H = 2, K = 9, V = 7;
  CAPTURE(T);
  Dense<double> q = randomTensor({B, T, H, K}, 1), k = randomTensor({B, T, H, K}, 2, -0.5, 0.5);
  Dense<double> v = randomTensor({B, T, H, V}, 3), g = randomTensor({B, T, H}, 4, -1, 0);
  Dense<double> beta = randomTensor({B, T, H}, 5, 0, 1), o({B, T, H, V});
  TileBindings bindings;
  bindings.tensors = {{"q", q.view()}, {"k", k.view()},       {"v", v.view()},
                      {"g", g.view()}, {"beta", beta.view()}, {"o", o.view()}};
  ParsedProgram parsed("gated_delta.mlir");
  runInAllOrders(parsed, bindings, o);

  double worst = 0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      Dense<double> state({K, V});
      for (int64_t t = 0; t < T; ++t)
        for (int64_t e = 0; e < V; ++e) {
          double decay = std::exp2(g(b, t, h)), seen = 0, expected = 0;
          for (int64_t d = 0; d < K; ++d)
            seen += k(b, t, h, d) * decay * state(d, e);
          for (int64_t d = 0; d < K; ++d) {
            state(d, e) =
                decay * state(d, e) + beta(b, t, h) * k(b, t, h, d) * (v(b, t, h, e) - seen);
            expected += q(b, t, h, d) * state(d, e);
          }
          worst = std::max(worst, std::abs(expected - o(b, t, h, e)));
        }
    }
  REQUIRE(worst < kTolerance);
}

TEST_CASE("top-k keeps the best blocks, a list view reads them", "[tile]") {
  int64_t T = GENERATE(1, 7, 77), M = (T + 3) / 4, D = 5;
  CAPTURE(T);
  Dense<double> q = randomTensor({T, D}, 1), k = randomTensor({T, D}, 2),
                r = randomTensor({M, D}, 3);
  Dense<double> o({T});
  Dense<int32_t> idx({T, 2});
  TileBindings bindings;
  bindings.tensors = {
      {"q", q.view()}, {"k", k.view()}, {"r", r.view()}, {"o", o.view()}, {"idx", idx.view()}};
  ParsedProgram parsed("selected_blocks.mlir");
  runInAllOrders(parsed, bindings, o, idx);

  for (int64_t i = 0; i < T; ++i) {
    std::vector<std::pair<double, int64_t>> scores;
    for (int64_t m = 0; m < M; ++m) {
      double s = 0;
      for (int64_t d = 0; d < D; ++d)
        s += q(i, d) * r(m, d);
      scores.push_back({-s, m});
    }
    std::sort(scores.begin(), scores.end());
    scores.resize(2, {0, -1});
    std::vector<int64_t> expected = {scores[0].second, scores[1].second};
    std::sort(expected.begin(), expected.end(), [](int64_t a, int64_t b) {
      return static_cast<uint64_t>(a) < static_cast<uint64_t>(b);
    });
    REQUIRE(idx(i, 0) == expected[0]);
    REQUIRE(idx(i, 1) == expected[1]);
    double sum = 0;
    for (int64_t m : expected)
      for (int64_t j = 4 * m; m >= 0 && j < std::min(4 * m + 4, T); ++j)
        for (int64_t d = 0; d < D; ++d)
          sum += q(i, d) * k(j, d);
    REQUIRE(std::abs(sum - o(i)) < kTolerance);
  }
}
