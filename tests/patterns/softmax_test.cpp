// The softmax family: supports that are formulas of i and j, score maps, sinks, decay, rotation.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::test;

namespace {

double scaled(const Problem &p, double dot) { return dot / std::sqrt(double(p.dim("D"))); }

bool causal(const Pair &pair) { return pair.j <= pair.i; }

/// A case whose score is the scaled product.
Case supportCase(const std::string &name, std::map<std::string, double> params,
                 std::function<bool(const Problem &, const Pair &)> visible) {
  return {name,
          [params](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.params = params;
          },
          [visible](const Problem &p, Expected &expected) {
            naiveSoftmax(
                p, expected, groupedOperands(p), [&](const Pair &pair) { return visible(p, pair); },
                [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

/// A causal case, perhaps with a window, with a score map.
Case scoreCase(const std::string &name, std::map<std::string, double> params,
               std::function<double(const Problem &, const Pair &, double)> score) {
  return {name,
          [params](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.params = params;
          },
          [score](const Problem &p, Expected &expected) {
            naiveSoftmax(
                p, expected, groupedOperands(p),
                [&](const Pair &pair) {
                  return causal(pair) &&
                         (!p.params.count("W") || pair.i - pair.j < int64_t(p.param("W")));
                },
                [&](const Pair &pair, double dot) { return score(p, pair, dot); });
          }};
}

double capped(const Problem &p, const Pair &, double dot) {
  return p.param("cap") * std::tanh(scaled(p, dot) / p.param("cap"));
}

double alibiSlope(int64_t h, int64_t heads) {
  int64_t n = 1;
  while (2 * n <= heads)
    n *= 2;
  return h < n ? std::pow(2.0, -8.0 * double(h + 1) / double(n))
               : std::pow(2.0, -4.0 * double(2 * (h - n) + 1) / double(n));
}

Case sinkCase(const std::string &name, std::map<std::string, double> params) {
  return {name,
          [params](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.params = params;
          },
          [](const Problem &p, Expected &expected) {
            naiveSoftmax(
                p, expected, groupedOperands(p),
                [&](const Pair &pair) {
                  return causal(pair) &&
                         (!p.params.count("W") || pair.i - pair.j < int64_t(p.param("W")));
                },
                [&](const Pair &, double dot) { return scaled(p, dot); },
                [&](int64_t h) { return p.at("sink", {h}); });
          }};
}

/// Sum of the log-gates of positions (j, i].
double gateSum(const Problem &p, const Pair &pair) {
  double sum = 0;
  for (int64_t t = pair.j + 1; t <= pair.i; ++t)
    sum += p.at("g", {pair.b, t, pair.h});
  return sum;
}

/// The fourth power of the scaled product, decayed.
Case powerCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.dims["K"] = p.dims["D"];
    p.dims["V"] = p.dims["Dv"];
    p.params = {{"p", 4.0}};
    p.fillers["g"] = [](const std::vector<int64_t> &n) { return -0.1 * double(1 + n[1] % 3); };
  };
  auto naive = [](const Problem &p, Expected &expected) {
    naiveSoftmax(p, expected, groupedOperands(p), causal, [&](const Pair &at, double dot) {
      double sum = 4 * std::log(std::abs(scaled(p, dot)));
      for (int64_t t = at.j + 1; t <= at.i; ++t)
        sum += p.at("g", {at.b, t, at.h / 3});
      return sum;
    });
  };
  return {"power_attention", set, naive};
}

Case forgettingCase() {
  Case check = scoreCase("forgetting", {}, [](const Problem &p, const Pair &pair, double dot) {
    return scaled(p, dot) + gateSum(p, pair);
  });
  auto set = check.set;
  check.set = [set](Problem &p, int64_t length) {
    set(p, length);
    p.fillers["g"] = [](const std::vector<int64_t> &n) {
      return -0.1 * double(1 + (n[1] * 3 + n[2]) % 5);
    };
  };
  return check;
}

/// Operands rotated at given positions.
Operands rotatedOperands(const Problem &p, std::function<double(int64_t row)> queryPosition) {
  Operands plain = groupedOperands(p), turned = plain;
  int64_t width = p.dim("D");
  double base = p.param("base");
  turned.q = [=](int64_t b, int64_t row, int64_t h, int64_t d) {
    auto x = [&](int64_t f) { return plain.q(b, row, h, f); };
    return rotatedHalf(x, d, width, base, queryPosition(row));
  };
  turned.k = [=](int64_t b, int64_t j, int64_t h, int64_t d) {
    auto x = [&](int64_t f) { return plain.k(b, j, h, f); };
    return rotatedHalf(x, d, width, base, double(j));
  };
  return turned;
}

Case ropeCase() {
  return {"rope",
          [](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["D"] = 6;
            p.params = {{"base", 100.0}};
          },
          [](const Problem &p, Expected &expected) {
            int64_t off = p.dim("Tk") - p.dim("Tq");
            naiveSoftmax(p, expected,
                         rotatedOperands(p, [off](int64_t row) { return double(row + off); }),
                         causal, [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

/// Width 8: the frequencies 100^(-f / 4) are mixed with a quarter of themselves by ramps 0, 0,
/// 1/2, 1.
Case yarnCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.dims["D"] = 8;
    p.params = {{"base", 100.0}, {"factor", 4.0}, {"L0", 64.0}, {"fast", 2.0}, {"slow", 0.5}};
  };
  auto naive = [](const Problem &p, Expected &expected) {
    Operands plain = groupedOperands(p), turned = plain;
    double attention = 0.1 * std::log(4.0) + 1;
    auto part = [attention](const std::function<double(int64_t)> &x, int64_t d, int64_t at) {
      int64_t f = d % 4;
      double ramp = f < 2 ? 0 : double(f - 1) / 2;
      double frequency = std::pow(100.0, -double(f) / 4) * (1 - ramp + ramp / 4);
      double angle = double(at) * frequency;
      return attention * (d < 4 ? x(d) * std::cos(angle) - x(d + 4) * std::sin(angle)
                                : x(d) * std::cos(angle) + x(d - 4) * std::sin(angle));
    };
    int64_t off = p.dim("Tk") - p.dim("Tq");
    turned.q = [=](int64_t b, int64_t row, int64_t h, int64_t d) {
      return part([&](int64_t f) { return plain.q(b, row, h, f); }, d, row + off);
    };
    turned.k = [=](int64_t b, int64_t j, int64_t h, int64_t d) {
      return part([&](int64_t f) { return plain.k(b, j, h, f); }, d, j);
    };
    naiveSoftmax(p, expected, turned, causal,
                 [&](const Pair &, double dot) { return scaled(p, dot); });
  };
  return {"rope_yarn", set, naive};
}

/// Window keys are seen at their distance, sink keys outside the window as if the query stood n + L
/// behind the first of them.
Case streamingCase() {
  return {"streaming_llm",
          [](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["D"] = 6;
            p.params = {{"base", 100.0}, {"n", 2.0}, {"L", 3.0}};
          },
          [](const Problem &p, Expected &expected) {
            int64_t off = p.dim("Tk") - p.dim("Tq"), n = 2, window = 3;
            Operands absolute =
                rotatedOperands(p, [off](int64_t row) { return double(row + off); });
            Operands slots = rotatedOperands(
                p, [=](int64_t row) { return double(std::min(row + off, n + window)); });
            naiveSoftmax(
                p, expected, absolute,
                [&](const Pair &at) { return causal(at) && (at.i - at.j <= window || at.j < n); },
                [&](const Pair &at, double dot) {
                  if (at.i - at.j <= window)
                    return scaled(p, dot);
                  double sum = 0;
                  for (int64_t d = 0; d < 6; ++d)
                    sum += slots.q(at.b, at.row, at.h, d) * slots.k(at.b, at.j, at.h, d);
                  return scaled(p, sum);
                });
          }};
}

Case sigmoidCase() {
  return {"sigmoid_attention", attentionDims, [](const Problem &p, Expected &expected) {
            Operands x = groupedOperands(p);
            int64_t queries = p.dim("Tq"), keys = p.dim("Tk");
            Array o({2, queries, p.dim("Hq"), p.dim("Dv")});
            for (int64_t b = 0; b < 2; ++b)
              for (int64_t row = 0; row < queries; ++row)
                for (int64_t h = 0; h < p.dim("Hq"); ++h)
                  for (int64_t j = 0; j < keys && j <= row + keys - queries; ++j) {
                    double dot = 0;
                    for (int64_t d = 0; d < p.dim("D"); ++d)
                      dot += x.q(b, row, h, d) * x.k(b, j, h, d);
                    double weight =
                        1.0 / (1.0 + std::exp(-scaled(p, dot) + std::log(double(keys))));
                    for (int64_t e = 0; e < p.dim("Dv"); ++e)
                      o({b, row, h, e}) += weight * x.v(b, j, h, e);
                  }
            expected.insert_or_assign("o", std::move(o));
          }};
}

/// Causal attention whose output is multiplied by a sigmoid of `gate`.
Case gatedCase() {
  Case check = scoreCase("gated_attention", {},
                         [](const Problem &p, const Pair &, double dot) { return scaled(p, dot); });
  auto naive = check.naive;
  check.naive = [naive](const Problem &p, Expected &expected) {
    naive(p, expected);
    Array y = expected.at("o");
    for (size_t n = 0; n < y.values.size(); ++n)
      y.values[n] /= 1.0 + std::exp(-p.arguments.at("gate").values[n]);
    expected.insert_or_assign("y", std::move(y));
  };
  return check;
}

} // namespace

std::vector<Case> heddle::test::softmaxCases() {
  auto plain = [](const Problem &p, const Pair &, double dot) { return scaled(p, dot); };
  return {
      supportCase("dense_softmax", {}, [](const Problem &, const Pair &) { return true; }),
      scoreCase("causal_softmax", {}, plain),
      scoreCase("gqa", {}, plain),
      scoreCase("sliding_window", {{"W", 4.0}}, plain),
      supportCase("prefix_lm", {{"P", 3.0}},
                  [](const Problem &, const Pair &at) { return causal(at) || at.j < 3; }),
      scoreCase("softcap", {{"cap", 0.5}}, capped),
      scoreCase("softcap_window", {{"cap", 0.5}, {"W", 4.0}}, capped),
      scoreCase("alibi", {},
                [](const Problem &p, const Pair &at, double dot) {
                  return scaled(p, dot) - alibiSlope(at.h, p.dim("Hq")) * double(at.i - at.j);
                }),
      sinkCase("learned_sink", {}),
      sinkCase("learned_sink_window", {{"W", 3.0}}),
      forgettingCase(),
      powerCase(),
      ropeCase(),
      yarnCase(),
      streamingCase(),
      sigmoidCase(),
      gatedCase(),
  };
}

TEST_CASE("softmax family: every file computes its naive formula") {
  for (const Case &check : softmaxCases())
    checkCase(check);
}
