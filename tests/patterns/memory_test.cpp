// Retention with a bank of states: log-linear attention and memory caching. The naive formulas keep
// the states as the definitions do.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

#include <algorithm>
#include <utility>

using namespace heddle;
using namespace heddle::test;

namespace {

double rootK(const Problem &p) { return 1 / std::sqrt(double(p.dim("K"))); }

void decays(Problem &p) {
  p.fillers["g"] = [](const std::vector<int64_t> &n) {
    return -0.05 * double(1 + (n[1] * 5 + n[2] * 3 + n[0]) % 7);
  };
}

int64_t level(int64_t t, int64_t s) {
  int64_t bits = 0;
  for (int64_t x = t ^ s; x > 0; x >>= 1)
    ++bits;
  return bits;
}

/// Levels are counted on pairs, not on states.
void logLinearNaive(const Problem &p, Expected &expected) {
  Array o({2, p.dim("T"), 3, p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < 3; ++h) {
        double decay = 0;
        for (int64_t s = t; s >= 0; --s) {
          double dot = 0;
          for (int64_t d = 0; d < p.dim("K"); ++d)
            dot += p.at("q", {b, t, h, d}) * p.at("k", {b, s, h, d});
          double weight = softplus(p.at("raw", {b, t, h, level(t, s)})) * std::exp(decay) * dot;
          for (int64_t e = 0; e < p.dim("V"); ++e)
            o({b, t, h, e}) += weight * p.at("v", {b, s, h, e});
          decay += p.at("g", {b, s, h});
        }
      }
  expected.insert_or_assign("o", std::move(o));
}

/// One matrix for every past token: it takes all later delta steps and is read with its level.
void logLinearDeltaNaive(const Problem &p, Expected &expected) {
  Array o({2, p.dim("T"), 3, p.dim("V")});
  int64_t width = p.dim("K");
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 3; ++h)
      for (int64_t s = 0; s < p.dim("T"); ++s) {
        std::vector<double> x; // the key side of token s, as later steps change it
        for (int64_t t = s; t < p.dim("T"); ++t) {
          std::vector<double> k;
          double square = 1e-6, along = 0;
          for (int64_t d = 0; d < width; ++d) {
            k.push_back(p.at("k", {b, t, h, d}));
            square += k.back() * k.back();
          }
          for (double &value : k)
            value /= std::sqrt(square);
          double beta = p.at("beta", {b, t, h}), factor = std::exp(p.at("g", {b, t, h}));
          if (t == s)
            for (double value : k)
              x.push_back(beta * value);
          else {
            for (size_t d = 0; d < x.size(); ++d)
              along += k[d] * x[d];
            for (size_t d = 0; d < x.size(); ++d)
              x[d] = factor * (x[d] - beta * k[d] * along);
          }
          double dot = 0;
          for (int64_t d = 0; d < width; ++d)
            dot += p.at("q", {b, t, h, d}) * x[size_t(d)];
          for (int64_t e = 0; e < p.dim("V"); ++e)
            o({b, t, h, e}) +=
                softplus(p.at("raw", {b, t, h, level(t, s)})) * dot * p.at("v", {b, s, h, e});
        }
      }
  expected.insert_or_assign("o", std::move(o));
}

/// Start of the segment of each step, for segments of these lengths.
std::vector<int64_t> segmentStarts(int64_t steps, const std::vector<int64_t> &lengths) {
  std::vector<int64_t> starts;
  int64_t begin = 0;
  for (int64_t length : lengths)
    for (int64_t t = std::exchange(begin, begin + length); t < begin && t < steps; ++t)
      starts.push_back(begin - length);
  return starts;
}

/// Kept states and pools of one (batch, head), and what runs.
struct Memory {
  std::vector<Array> bank;
  std::vector<std::vector<double>> pools;
  Array state;
  std::vector<double> pool;
  int64_t count = 0;
};

/// Weights of the kept states and, last, of the running one.
using Router = std::function<std::vector<double>(const Memory &, int64_t b, int64_t t, int64_t h)>;

void cachingNaive(const Problem &p, Expected &expected, const std::vector<int64_t> &lengths,
                  bool reset, const Router &router) {
  int64_t width = p.dim("K"), values = p.dim("V");
  std::vector<int64_t> starts = segmentStarts(p.dim("T"), lengths);
  Array o({2, p.dim("T"), 3, values});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 3; ++h) {
      Memory m{{}, {}, Array({width, values}), std::vector<double>(size_t(width)), 0};
      for (int64_t t = 0; t < p.dim("T"); ++t) {
        if (t > 0 && starts[size_t(t)] == t) {
          m.bank.push_back(m.state);
          m.pools.push_back(m.pool);
          m.pool.assign(size_t(width), 0);
          m.count = 0;
          if (reset)
            m.state = Array({width, values});
        }
        ++m.count;
        for (int64_t d = 0; d < width; ++d) {
          double k = p.at("k", {b, t, h, d});
          m.pool[size_t(d)] += (k - m.pool[size_t(d)]) / double(m.count);
          for (int64_t e = 0; e < values; ++e)
            m.state({d, e}) =
                std::exp(p.at("g", {b, t, h})) * m.state({d, e}) + k * p.at("v", {b, t, h, e});
        }
        std::vector<double> weights = router(m, b, t, h);
        Array mixed({width, values}); // the states are averaged, then read
        for (size_t n = 0; n < weights.size(); ++n) {
          const Array &part = n < m.bank.size() ? m.bank[n] : m.state;
          for (size_t x = 0; x < mixed.values.size(); ++x)
            mixed.values[x] += weights[n] * part.values[x];
        }
        for (int64_t e = 0; e < values; ++e)
          for (int64_t d = 0; d < width; ++d)
            o({b, t, h, e}) += p.at("q", {b, t, h, d}) * rootK(p) * mixed({d, e});
      }
    }
  expected.insert_or_assign("o", std::move(o));
}

std::vector<double> ones(const Memory &m, int64_t, int64_t, int64_t) {
  return std::vector<double>(m.bank.size() + 1, 1.0);
}

/// Softmax of <u, pool> over the `top` best kept segments and the running one.
Router softmaxRouter(const Problem &p, const std::string &u, size_t top) {
  return [&p, u, top](const Memory &m, int64_t b, int64_t t, int64_t h) {
    std::vector<double> logits;
    for (size_t n = 0; n <= m.pools.size(); ++n) {
      const std::vector<double> &pool = n < m.pools.size() ? m.pools[n] : m.pool;
      double dot = 0;
      for (size_t d = 0; d < pool.size(); ++d)
        dot += p.at(u, {b, t, h, int64_t(d)}) * pool[d];
      logits.push_back(dot);
    }
    std::vector<size_t> order;
    for (size_t n = 0; n < m.pools.size(); ++n)
      order.push_back(n);
    std::sort(order.begin(), order.end(), [&](size_t x, size_t y) {
      return logits[x] != logits[y] ? logits[x] > logits[y] : x < y;
    });
    order.resize(std::min(order.size(), top));
    order.push_back(m.pools.size());
    std::vector<double> weights(logits.size(), 0.0);
    double sum = 0;
    for (size_t n : order)
      sum += weights[n] = std::exp(logits[n]);
    for (double &weight : weights)
      weight /= sum;
    return weights;
  };
}

std::vector<int64_t> equalLengths(int64_t steps, int64_t length) {
  return std::vector<int64_t>(size_t((steps + length - 1) / length), length);
}

std::vector<int64_t> binaryLengths(int64_t steps) {
  std::vector<int64_t> lengths;
  for (int64_t bit = 1 << 20; bit > 0; bit >>= 1)
    if (steps & bit)
      lengths.push_back(bit);
  return lengths;
}

std::function<void(Problem &, int64_t)> dims(std::map<std::string, double> params) {
  return [params](Problem &p, int64_t length) {
    retentionDims(p, length);
    decays(p);
    p.dims["L"] = 5;
    p.params = params;
    p.fillers["beta"] = [](const std::vector<int64_t> &n) {
      return 0.1 * double(1 + (n[1] + 2 * n[2]) % 8);
    };
  };
}

} // namespace

std::vector<Case> heddle::test::memoryCases() {
  return {
      {"log_linear", dims({}), logLinearNaive},
      {"log_linear_delta", dims({}), logLinearDeltaNaive},
      {"mc_residual", dims({{"W", 3}}),
       [](const Problem &p, Expected &expected) {
         cachingNaive(p, expected, equalLengths(p.dim("T"), 3), false, ones);
       }},
      {"mc_grm", dims({{"W", 3}}),
       [](const Problem &p, Expected &expected) {
         cachingNaive(p, expected, equalLengths(p.dim("T"), 3), true, softmaxRouter(p, "u", 99));
       }},
      {"mc_soup", dims({}),
       [](const Problem &p, Expected &expected) {
         cachingNaive(p, expected, binaryLengths(p.dim("T")), true, softmaxRouter(p, "q", 99));
       }},
      {"mc_ssc", dims({{"W", 3}, {"top", 2}}),
       [](const Problem &p, Expected &expected) {
         cachingNaive(p, expected, equalLengths(p.dim("T"), 3), true, softmaxRouter(p, "u", 2));
       }},
  };
}

TEST_CASE("banks of states: every file computes its naive formula") {
  for (const Case &check : memoryCases())
    checkCase(check);
}
