// Delta-rule retention: the naive formulas step S <- S' + beta k (v - S'' k)' on whole matrices.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::test;

namespace {

double rootK(const Problem &p) { return 1 / std::sqrt(double(p.dim("K"))); }

/// x / sqrt(sum of squares + 1e-6) over the last `width` features.
Element unit(Element x, int64_t width) {
  return [=](int64_t b, int64_t t, int64_t h, int64_t d) {
    double square = 1e-6;
    for (int64_t f = 0; f < width; ++f)
      square += x(b, t, h, f) * x(b, t, h, f);
    return x(b, t, h, d) / std::sqrt(square);
  };
}

Element mapped(Element x, double (*f)(double)) {
  return [=](int64_t b, int64_t t, int64_t h, int64_t d) { return f(x(b, t, h, d)); };
}

using Number = std::function<double(int64_t d)>;

/// S <- S + beta k (v - S' k)', S' the transpose: the answer is read from the state as it is.
void deltaWrite(Array &state, double beta, const Number &k, const Number &v) {
  for (int64_t e = 0; e < state.shape[1]; ++e) {
    double answer = 0;
    for (int64_t d = 0; d < state.shape[0]; ++d)
      answer += state({d, e}) * k(d);
    for (int64_t d = 0; d < state.shape[0]; ++d)
      state({d, e}) += beta * k(d) * (v(e) - answer);
  }
}

void decayRows(Array &state, const Number &factor) {
  for (int64_t d = 0; d < state.shape[0]; ++d)
    for (int64_t e = 0; e < state.shape[1]; ++e)
      state({d, e}) *= factor(d);
}

/// A recurrence over T, H, K, V with a state on entry and a unit query.
Recurrence scaffold(const Problem &p, int64_t heads) {
  Recurrence r;
  r.heads = heads;
  r.keyWidth = p.dim("K");
  r.valueWidth = p.dim("V");
  r.start = [&p](int64_t b, int64_t h, int64_t d, int64_t e) { return p.at("s0", {b, h, d, e}); };
  Element q = unit(element(p, "q"), p.dim("K"));
  r.q = [q, &p](int64_t b, int64_t t, int64_t h, int64_t d) { return q(b, t, h, d) * rootK(p); };
  return r;
}

void store(Expected &expected, const Run &run) {
  expected.insert_or_assign("o", run.o);
  expected.insert_or_assign("s", run.state);
}

/// y = gamma o / rms(o) f(gate), row by row.
void storeGated(const Problem &p, Expected &expected, const Run &run, double epsilon,
                const std::string &gate, double (*f)(double)) {
  Array y(run.o.shape);
  for (int64_t b = 0; b < y.shape[0]; ++b)
    for (int64_t t = 0; t < y.shape[1]; ++t)
      for (int64_t h = 0; h < y.shape[2]; ++h) {
        double square = 0;
        for (int64_t e = 0; e < y.shape[3]; ++e)
          square += run.o({b, t, h, e}) * run.o({b, t, h, e}) / double(y.shape[3]);
        for (int64_t e = 0; e < y.shape[3]; ++e)
          y({b, t, h, e}) = p.at("gamma", {e}) * run.o({b, t, h, e}) / std::sqrt(square + epsilon) *
                            f(p.at(gate, {b, t, h, e}));
      }
  expected.insert_or_assign("y", std::move(y));
  expected.insert_or_assign("s", run.state);
}

double fraction(const std::vector<int64_t> &n) {
  int64_t x = 5;
  for (int64_t i : n)
    x = (x * 13 + i * 3 + 1) % 97;
  return (double(x) + 0.5) / 97;
}

double negative(const std::vector<int64_t> &n) { return -fraction(n); }

void deltanetNaive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("H"));
  Element q = unit(mapped(element(p, "q"), silu), p.dim("K"));
  Element k = unit(mapped(element(p, "k"), silu), p.dim("K"));
  r.q = [q, &p](int64_t b, int64_t t, int64_t h, int64_t d) { return q(b, t, h, d) * rootK(p); };
  r.step = [=, &p](int64_t b, int64_t t, int64_t h, Array &state) {
    deltaWrite(
        state, p.at("beta", {b, t, h}), [&](int64_t d) { return k(b, t, h, d); },
        [&](int64_t e) { return p.at("v", {b, t, h, e}); });
  };
  store(expected, runRecurrence(p, r));
}

void gdnNaive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("Hv"));
  int64_t group = p.dim("Hv") / p.dim("Hk");
  Element q = unit(element(p, "q"), p.dim("K")), k = unit(element(p, "k"), p.dim("K"));
  r.q = [=, &p](int64_t b, int64_t t, int64_t h, int64_t d) {
    return q(b, t, h / group, d) * rootK(p);
  };
  r.step = [=, &p](int64_t b, int64_t t, int64_t h, Array &state) {
    double g = -std::exp(p.at("a_log", {h})) * softplus(p.at("a", {b, t, h}) + p.at("bias", {h}));
    decayRows(state, [&](int64_t) { return std::exp(g); });
    deltaWrite(
        state, sigmoid(p.at("b", {b, t, h})), [&](int64_t d) { return k(b, t, h / group, d); },
        [&](int64_t e) { return p.at("v", {b, t, h, e}); });
  };
  storeGated(p, expected, runRecurrence(p, r), 1e-6, "z", silu);
}

void kdaNaive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("H"));
  Element k = unit(element(p, "k"), p.dim("K"));
  r.step = [=, &p](int64_t b, int64_t t, int64_t h, Array &state) {
    decayRows(state, [&](int64_t d) {
      return std::exp(-std::exp(p.at("a_log", {h})) *
                      softplus(p.at("f", {b, t, h, d}) + p.at("bias", {h, d})));
    });
    deltaWrite(
        state, sigmoid(p.at("b", {b, t, h})), [&](int64_t d) { return k(b, t, h, d); },
        [&](int64_t e) { return p.at("v", {b, t, h, e}); });
  };
  storeGated(p, expected, runRecurrence(p, r), 1e-5, "gate", sigmoid);
}

/// Erasing with the key erase * k from the decayed state, writing write * v with the key k.
void gdn2Naive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("H"));
  Element k = unit(element(p, "k"), p.dim("K"));
  r.step = [=, &p](int64_t b, int64_t t, int64_t h, Array &state) {
    decayRows(state, [&](int64_t d) { return std::exp(p.at("g", {b, t, h, d})); });
    for (int64_t e = 0; e < p.dim("V"); ++e) {
      double answer = 0;
      for (int64_t d = 0; d < p.dim("K"); ++d)
        answer += state({d, e}) * p.at("erase", {b, t, h, d}) * k(b, t, h, d);
      double value = p.at("write", {b, t, h, e}) * p.at("v", {b, t, h, e});
      for (int64_t d = 0; d < p.dim("K"); ++d)
        state({d, e}) += k(b, t, h, d) * (value - answer);
    }
  };
  store(expected, runRecurrence(p, r));
}

void deltaproductNaive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("H"));
  r.step = [&p](int64_t b, int64_t t, int64_t h, Array &state) {
    decayRows(state, [&](int64_t) { return std::exp(p.at("g", {b, t, h})); });
    for (int64_t n = 0; n < p.dim("n"); ++n) {
      double square = 1e-6;
      for (int64_t d = 0; d < p.dim("K"); ++d)
        square += std::pow(p.at("k", {b, t, n, h, d}), 2);
      deltaWrite(
          state, p.at("beta", {b, t, n, h}),
          [&](int64_t d) { return p.at("k", {b, t, n, h, d}) / std::sqrt(square); },
          [&](int64_t e) { return p.at("v", {b, t, n, h, e}); });
    }
  };
  store(expected, runRecurrence(p, r));
}

/// The removal reads the state before its decay.
void rwkv7Naive(const Problem &p, Expected &expected) {
  Recurrence r = scaffold(p, p.dim("H"));
  Element kappa = unit(element(p, "kappa"), p.dim("K"));
  auto key = [&p](int64_t b, int64_t t, int64_t h, int64_t d) {
    return p.at("k", {b, t, h, d}) * (1 + (p.at("alpha", {b, t, h, d}) - 1) * p.at("xi", {h, d}));
  };
  r.q = element(p, "r");
  r.step = [=, &p](int64_t b, int64_t t, int64_t h, Array &state) {
    for (int64_t e = 0; e < p.dim("V"); ++e) {
      double answer = 0;
      for (int64_t d = 0; d < p.dim("K"); ++d)
        answer += kappa(b, t, h, d) * state({d, e});
      for (int64_t d = 0; d < p.dim("K"); ++d) {
        double decay = std::exp(-std::exp(-0.5) * sigmoid(p.at("w", {b, t, h, d})));
        state({d, e}) = decay * state({d, e}) -
                        kappa(b, t, h, d) * p.at("alpha", {b, t, h, d}) * answer +
                        key(b, t, h, d) * p.at("v", {b, t, h, e});
      }
    }
  };
  Run run = runRecurrence(p, r);
  Array y(run.o.shape);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < p.dim("H"); ++h) {
        double mean = 0, var = 0, bonus = 0, n = double(p.dim("V"));
        for (int64_t e = 0; e < p.dim("V"); ++e)
          mean += run.o({b, t, h, e}) / n;
        for (int64_t e = 0; e < p.dim("V"); ++e)
          var += std::pow(run.o({b, t, h, e}) - mean, 2) / n;
        for (int64_t d = 0; d < p.dim("K"); ++d)
          bonus += p.at("r", {b, t, h, d}) * key(b, t, h, d) * p.at("rho", {h, d});
        for (int64_t e = 0; e < p.dim("V"); ++e)
          y({b, t, h, e}) =
              ((run.o({b, t, h, e}) - mean) / std::sqrt(var + 0.00064) * p.at("norm_w", {h, e}) +
               p.at("norm_b", {h, e}) + bonus * p.at("v", {b, t, h, e})) *
              p.at("gate", {b, t, h, e});
      }
  expected.insert_or_assign("y", std::move(y));
  expected.insert_or_assign("s", run.state);
}

/// Gradient descent on a linear model with a bias, written as such.
void tttNaive(const Problem &p, Expected &expected) {
  int64_t width = p.dim("K"), heads = p.dim("H");
  Array o({2, p.dim("T"), heads, width}), s({2, heads, width + 1, width});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      Array w({width, width}), c({width});
      for (int64_t e = 0; e < width; ++e) {
        for (int64_t d = 0; d < width; ++d)
          w({d, e}) = p.at("s0", {b, h, d, e});
        c({e}) = p.at("s0", {b, h, width, e});
      }
      for (int64_t t = 0; t < p.dim("T"); ++t)
        for (int64_t e = 0; e < width; ++e) {
          double error = c({e}) - (p.at("v", {b, t, h, e}) - p.at("k", {b, t, h, e}));
          for (int64_t d = 0; d < width; ++d)
            error += p.at("k", {b, t, h, d}) * w({d, e});
          double rate = p.at("eta", {b, t, h});
          for (int64_t d = 0; d < width; ++d)
            w({d, e}) -= rate * p.at("k", {b, t, h, d}) * error;
          c({e}) -= rate * error;
          for (int64_t d = 0; d < width; ++d)
            o({b, t, h, e}) += p.at("q", {b, t, h, d}) * rootK(p) * w({d, e});
          o({b, t, h, e}) += c({e});
        }
      for (int64_t e = 0; e < width; ++e) {
        for (int64_t d = 0; d < width; ++d)
          s({b, h, d, e}) = w({d, e});
        s({b, h, width, e}) = c({e});
      }
    }
  expected.insert_or_assign("o", std::move(o));
  expected.insert_or_assign("s", std::move(s));
}

/// Dims of retention with gates in (0, 1) and log-decays in (-1, 0).
std::function<void(Problem &, int64_t)> gates(std::vector<std::string> positive,
                                              std::vector<std::string> decays,
                                              std::map<std::string, int64_t> more = {}) {
  return [=](Problem &p, int64_t length) {
    retentionDims(p, length);
    for (const auto &[name, extent] : more)
      p.dims[name] = extent;
    for (const std::string &name : positive)
      p.fillers[name] = fraction;
    for (const std::string &name : decays)
      p.fillers[name] = negative;
  };
}

/// Small rates: where tokens are more than features of keys that are not normalised, large ones
/// make their system so ill-conditioned that the rounding of operands to 16 bits shows.
void tttDims(Problem &p, int64_t length) {
  retentionDims(p, length);
  p.fillers["eta"] = [](const std::vector<int64_t> &n) { return 0.4 * fraction(n); };
}

} // namespace

std::vector<Case> heddle::test::deltaCases() {
  return {
      {"deltanet", gates({"beta"}, {}), deltanetNaive},
      {"gated_deltanet", gates({}, {}, {{"Hk", 2}, {"Hv", 4}}), gdnNaive},
      {"gated_deltanet2", gates({"erase", "write"}, {"g"}), gdn2Naive},
      {"kda", gates({}, {}), kdaNaive},
      {"deltaproduct", gates({"beta"}, {"g"}, {{"n", 3}}), deltaproductNaive},
      {"rwkv7", gates({"alpha"}, {}), rwkv7Naive},
      {"ttt_linear", tttDims, tttNaive},
  };
}

TEST_CASE("delta rule: every file computes its naive formula") {
  for (const Case &check : deltaCases())
    checkCase(check);
}
