// Retention whose state is only decayed and added to: the naive formulas step the recurrence.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::test;

namespace {

double one(int64_t, int64_t, int64_t, int64_t) { return 1.0; }

std::function<double(int64_t, int64_t, int64_t, int64_t)> entryState(const Problem &p) {
  return [&p](int64_t b, int64_t h, int64_t d, int64_t e) { return p.at("s0", {b, h, d, e}); };
}

Element mapped(Element x, double (*f)(double)) {
  return [=](int64_t b, int64_t t, int64_t h, int64_t d) { return f(x(b, t, h, d)); };
}

Element times(Element x, double factor) {
  return [=](int64_t b, int64_t t, int64_t h, int64_t d) { return factor * x(b, t, h, d); };
}

double elu1(double x) { return x > 0 ? x + 1 : std::exp(x); }

/// A recurrence with a state on entry over T, H, K, V.
Recurrence plain(const Problem &p, Element q, Element factor, Element k, Element v) {
  Recurrence r;
  r.heads = p.dim("H");
  r.keyWidth = p.dim("K");
  r.valueWidth = p.dim("V");
  r.start = entryState(p);
  r.step = gatedStep(factor, k, v);
  r.q = q;
  return r;
}

double rootK(const Problem &p) { return 1 / std::sqrt(double(p.dim("K"))); }

/// y = f(o row by row): `row` sees all values of o[b, t, h, :].
void finish(Expected &expected, const Run &run, const std::string &name,
            const std::function<double(int64_t b, int64_t t, int64_t h, int64_t e)> &y) {
  Array out(run.o.shape);
  for (int64_t b = 0; b < out.shape[0]; ++b)
    for (int64_t t = 0; t < out.shape[1]; ++t)
      for (int64_t h = 0; h < out.shape[2]; ++h)
        for (int64_t e = 0; e < out.shape[3]; ++e)
          out({b, t, h, e}) = y(b, t, h, e);
  expected.insert_or_assign(name, std::move(out));
  expected.insert_or_assign("s", run.state);
}

/// Mean of squares of o over heads [first, last).
double meanSquare(const Array &o, int64_t b, int64_t t, int64_t first, int64_t last) {
  double sum = 0;
  for (int64_t h = first; h < last; ++h)
    for (int64_t e = 0; e < o.shape[3]; ++e)
      sum += o({b, t, h, e}) * o({b, t, h, e});
  return sum / double((last - first) * o.shape[3]);
}

/// A normalised recurrence: column V of the values is one. Fills o, s and z.
void normalised(const Problem &p, Expected &expected, Recurrence r, Element v, Element factor,
                Element k, double epsilon, bool states) {
  int64_t width = r.valueWidth++;
  auto start = r.start;
  if (start)
    r.start = [=, &p](int64_t b, int64_t h, int64_t d, int64_t e) {
      return e < width ? start(b, h, d, e) : p.at("z0", {b, h, d});
    };
  r.step = gatedStep(factor, k, [=](int64_t b, int64_t t, int64_t h, int64_t e) {
    return e < width ? v(b, t, h, e) : 1.0;
  });
  Run run = runRecurrence(p, r);
  Array o({2, p.dim("T"), r.heads, width}), s({2, r.heads, r.keyWidth, width});
  Array z({2, r.heads, r.keyWidth});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < r.heads; ++h) {
      for (int64_t t = 0; t < p.dim("T"); ++t)
        for (int64_t e = 0; e < width; ++e)
          o({b, t, h, e}) = run.o({b, t, h, e}) / (run.o({b, t, h, width}) + epsilon);
      for (int64_t d = 0; d < r.keyWidth; ++d) {
        z({b, h, d}) = run.state({b, h, d, width});
        for (int64_t e = 0; e < width; ++e)
          s({b, h, d, e}) = run.state({b, h, d, e});
      }
    }
  expected.insert_or_assign("o", std::move(o));
  if (states) {
    expected.insert_or_assign("s", std::move(s));
    expected.insert_or_assign("z", std::move(z));
  }
}

void linearNaive(const Problem &p, Expected &expected) {
  Element q = times(mapped(element(p, "q"), elu1), rootK(p)), k = mapped(element(p, "k"), elu1);
  normalised(p, expected, plain(p, q, one, k, element(p, "v")), element(p, "v"), one, k, 0, true);
}

/// z0 must be such that z . phi(q) stays away from zero.
void linearSet(Problem &p, int64_t length) {
  retentionDims(p, length);
  p.fillers["z0"] = [](const std::vector<int64_t> &n) { return 0.25 * double(1 + n[2]); };
}

double retnetGamma(int64_t h) { return 1 - std::pow(2.0, double(-5 - h)); }

void retnetNaive(const Problem &p, Expected &expected) {
  int64_t width = p.dim("K"), start = 4;
  auto turned = [&p, width, start](const char *name) {
    return [&p, width, start, name](int64_t b, int64_t t, int64_t h, int64_t d) {
      auto x = [&](int64_t f) { return p.at(name, {b, t, h, f}); };
      return rotatedNeighbours(x, d, width, 100.0, double(t + start));
    };
  };
  auto factor = [](int64_t, int64_t, int64_t h, int64_t) { return retnetGamma(h); };
  Run run = runRecurrence(
      p, plain(p, times(turned("q"), rootK(p)), factor, turned("k"), element(p, "v")));
  finish(expected, run, "y", [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    double mean = 0, var = 0, n = double(p.dim("V"));
    for (int64_t x = 0; x < p.dim("V"); ++x)
      mean += run.o({b, t, h, x}) / n;
    for (int64_t x = 0; x < p.dim("V"); ++x)
      var += std::pow(run.o({b, t, h, x}) - mean, 2) / n;
    return (run.o({b, t, h, e}) - mean) / std::sqrt(var + 1e-6) * silu(p.at("gate", {b, t, h, e}));
  });
}

/// Scores divided by sqrt of their decays' sum, then by max(|row sum|, 1).
void retnetNormNaive(const Problem &p, Expected &expected) {
  Array o({2, p.dim("T"), p.dim("H"), p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < p.dim("H"); ++h) {
        double decays = 0, sum = 0;
        for (int64_t s = 0; s <= t; ++s)
          decays += std::pow(retnetGamma(h), double(t - s));
        std::vector<double> score;
        for (int64_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (int64_t d = 0; d < p.dim("K"); ++d)
            dot += p.at("q", {b, t, h, d}) * p.at("k", {b, s, h, d});
          score.push_back(dot * rootK(p) * std::pow(retnetGamma(h), double(t - s)) /
                          std::sqrt(decays));
          sum += score.back();
        }
        for (int64_t s = 0; s <= t; ++s)
          for (int64_t e = 0; e < p.dim("V"); ++e)
            o({b, t, h, e}) +=
                score[size_t(s)] * p.at("v", {b, s, h, e}) / std::max(std::abs(sum), 1.0);
      }
  expected.insert_or_assign("o", std::move(o));
}

void rateSet(Problem &p, int64_t length) {
  retentionDims(p, length);
  p.fillers["rate"] = [](const std::vector<int64_t> &n) { return -0.2 * double(n[0] + 1); };
}

void lightningNaive(const Problem &p, Expected &expected) {
  auto factor = [&p](int64_t, int64_t, int64_t h, int64_t) { return std::exp(p.at("rate", {h})); };
  Element q = times(mapped(element(p, "q"), silu), rootK(p));
  Run run = runRecurrence(p, plain(p, q, factor, mapped(element(p, "k"), silu), element(p, "v")));
  finish(expected, run, "y", [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return run.o({b, t, h, e}) / std::sqrt(meanSquare(run.o, b, t, 0, p.dim("H")) + 1e-6) *
           p.at("gate", {b, t, h, e});
  });
}

void minimaxNaive(const Problem &p, Expected &expected) {
  auto factor = [&p](int64_t, int64_t, int64_t h, int64_t) { return std::exp(p.at("rate", {h})); };
  Run run = runRecurrence(p, plain(p, mapped(element(p, "q"), silu), factor,
                                   mapped(element(p, "k"), silu), mapped(element(p, "v"), silu)));
  finish(expected, run, "y", [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return run.o({b, t, h, e}) / std::sqrt(meanSquare(run.o, b, t, 0, p.dim("H")) + 1e-6) *
           p.at("gamma", {h, e}) * sigmoid(p.at("gate", {b, t, h, e}));
  });
}

void mamba2Set(Problem &p, int64_t length) {
  p.dims["T"] = length;
  p.dims["Hk"] = 2;
  p.dims["Hv"] = 4;
  p.dims["K"] = 5;
  p.dims["V"] = 3;
  p.params = {{"dt_low", 0.5}, {"dt_high", 0.9}};
}

void mamba2Naive(const Problem &p, Expected &expected) {
  auto delta = [&p](int64_t b, int64_t t, int64_t h) {
    double raw = softplus(p.at("dt", {b, t, h}) + p.at("dt_bias", {h}));
    return std::min(std::max(raw, 0.5), 0.9);
  };
  Recurrence r;
  r.heads = 4;
  r.keyWidth = p.dim("K");
  r.valueWidth = p.dim("V");
  r.start = entryState(p);
  r.q = [&p](int64_t b, int64_t t, int64_t h, int64_t d) { return p.at("c", {b, t, h / 2, d}); };
  r.step = gatedStep(
      [=, &p](int64_t b, int64_t t, int64_t h, int64_t) {
        return std::exp(-std::exp(p.at("a_log", {h})) * delta(b, t, h));
      },
      [&p](int64_t b, int64_t t, int64_t h, int64_t d) { return p.at("b", {b, t, h / 2, d}); },
      [=, &p](int64_t b, int64_t t, int64_t h, int64_t e) {
        return delta(b, t, h) * p.at("x", {b, t, h, e});
      });
  Run run = runRecurrence(p, r);
  Array u(run.o.shape);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t e = 0; e < p.dim("V"); ++e)
          u({b, t, h, e}) = (run.o({b, t, h, e}) + p.at("skip", {h}) * p.at("x", {b, t, h, e})) *
                            silu(p.at("z", {b, t, h, e}));
  finish(expected, run, "y", [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    int64_t first = h / 2 * 2;
    return p.at("gamma", {h, e}) * u({b, t, h, e}) /
           std::sqrt(meanSquare(u, b, t, first, first + 2) + 1e-5);
  });
}

void mamba1Naive(const Problem &p, Expected &expected) {
  int64_t channels = p.dim("C"), states = p.dim("N");
  Array y({2, p.dim("T"), channels}), s({2, channels, states, 1});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t n = 0; n < states; ++n) {
        double state = p.at("s0", {b, c, n, 0});
        for (int64_t t = 0; t < p.dim("T"); ++t) {
          double delta = softplus(p.at("dt", {b, t, c}) + p.at("dt_bias", {c}));
          state = std::exp(-std::exp(p.at("a_log", {c, n})) * delta) * state +
                  p.at("b", {b, t, 0, n}) * delta * p.at("x", {b, t, c});
          y({b, t, c}) += p.at("c", {b, t, 0, n}) * state;
        }
        s({b, c, n, 0}) = state;
      }
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t c = 0; c < channels; ++c)
        y({b, t, c}) =
            (y({b, t, c}) + p.at("skip", {c}) * p.at("x", {b, t, c})) * silu(p.at("z", {b, t, c}));
  expected.insert_or_assign("y", std::move(y));
  expected.insert_or_assign("s", std::move(s));
}

void glaNaive(const Problem &p, Expected &expected) {
  auto factor = [&p](int64_t b, int64_t t, int64_t h, int64_t d) {
    return std::pow(sigmoid(p.at("raw", {b, t, h, d})), 1.0 / 16);
  };
  Run run = runRecurrence(
      p, plain(p, times(element(p, "q"), rootK(p)), factor, element(p, "k"), element(p, "v")));
  finish(expected, run, "y", [&](int64_t b, int64_t t, int64_t h, int64_t e) {
    return p.at("gamma", {e}) * run.o({b, t, h, e}) /
           std::sqrt(meanSquare(run.o, b, t, h, h + 1) + 1e-5) * silu(p.at("gate", {b, t, h, e}));
  });
}

void hgrn2Set(Problem &p, int64_t length) {
  retentionDims(p, length);
  p.fillers["lb"] = [](const std::vector<int64_t> &n) { return 0.1 * double(n[0] + n[1]); };
}

void hgrn2Naive(const Problem &p, Expected &expected) {
  auto forget = [&p](int64_t b, int64_t t, int64_t h, int64_t d) {
    double lb = p.at("lb", {h, d});
    return lb + (1 - lb) * sigmoid(p.at("raw", {b, t, h, d}));
  };
  auto k = [forget](int64_t b, int64_t t, int64_t h, int64_t d) { return 1 - forget(b, t, h, d); };
  Run run =
      runRecurrence(p, plain(p, times(element(p, "q"), rootK(p)), forget, k, element(p, "v")));
  expected.insert_or_assign("o", run.o);
  expected.insert_or_assign("s", run.state);
}

/// The state is read before the write, the token with the bonus in its place.
void rwkv6Naive(const Problem &p, Expected &expected) {
  Array o({2, p.dim("T"), 3, p.dim("V")}), s({2, 3, p.dim("K"), p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 3; ++h)
      for (int64_t d = 0; d < p.dim("K"); ++d)
        for (int64_t e = 0; e < p.dim("V"); ++e) {
          double state = p.at("s0", {b, h, d, e});
          for (int64_t t = 0; t < p.dim("T"); ++t) {
            double write = p.at("k", {b, t, h, d}) * p.at("v", {b, t, h, e});
            o({b, t, h, e}) += p.at("r", {b, t, h, d}) * (state + p.at("u", {h, d}) * write);
            state = std::exp(-std::exp(p.at("w", {b, t, h, d}))) * state + write;
          }
          s({b, h, d, e}) = state;
        }
  expected.insert_or_assign("o", std::move(o));
  expected.insert_or_assign("s", std::move(s));
}

/// Normalised pairs with weights weight(dot) and log-gates, head h of the queries.
void pairNaive(const Problem &p, Expected &expected, int64_t heads, int64_t group, Element q,
               Element k, const std::function<double(int64_t, int64_t, int64_t)> &gate,
               const std::function<double(double)> &weight, double epsilon) {
  Array o({2, p.dim("T"), heads, p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < heads; ++h) {
        double sum = 0, decay = 0;
        for (int64_t s = t; s >= 0; --s) {
          double dot = 0;
          for (int64_t d = 0; d < p.dim("K"); ++d)
            dot += q(b, t, h, d) * k(b, s, h / group, d);
          double w = weight(dot * rootK(p)) * std::exp(decay);
          sum += w;
          for (int64_t e = 0; e < p.dim("V"); ++e)
            o({b, t, h, e}) += w * p.at("v", {b, s, h / group, e});
          decay += gate(b, s, h / group);
        }
        for (int64_t e = 0; e < p.dim("V"); ++e)
          o({b, t, h, e}) /= sum + epsilon;
      }
  expected.insert_or_assign("o", std::move(o));
}

double noGate(int64_t, int64_t, int64_t) { return 0; }

void powerSet(Problem &p, int64_t length) {
  retentionDims(p, length);
  p.dims["Hq"] = 4;
  p.dims["Hk"] = 2;
  p.dims["K"] = 3;
  p.fillers["g"] = [](const std::vector<int64_t> &n) { return -0.1 * double(1 + n[1] % 3 + n[2]); };
}

void powerNaive(const Problem &p, Expected &expected) {
  pairNaive(
      p, expected, 4, 2, element(p, "q"), element(p, "k"),
      [&](int64_t b, int64_t s, int64_t h) { return p.at("g", {b, s, h}); },
      [](double s) { return s * s; }, 0);
}

void basedNaive(const Problem &p, Expected &expected) {
  pairNaive(
      p, expected, p.dim("H"), 1, element(p, "q"), element(p, "k"), noGate,
      [](double s) { return 1 + s + s * s / 2; }, 1e-6);
}

/// Layer norm over features, then gamma and beta.
Element layerNorm(const Problem &p, const std::string &name) {
  return [&p, name](int64_t b, int64_t t, int64_t h, int64_t d) {
    double mean = 0, var = 0, n = double(p.dim("K"));
    for (int64_t x = 0; x < p.dim("K"); ++x)
      mean += p.at(name, {b, t, h, x}) / n;
    for (int64_t x = 0; x < p.dim("K"); ++x)
      var += std::pow(p.at(name, {b, t, h, x}) - mean, 2) / n;
    return (p.at(name, {b, t, h, d}) - mean) / std::sqrt(var + 1e-5) *
               p.at("gamma_" + name, {h, d}) +
           p.at("beta_" + name, {h, d});
  };
}

void rebasedNaive(const Problem &p, Expected &expected) {
  pairNaive(
      p, expected, p.dim("H"), 1, layerNorm(p, "q"), layerNorm(p, "k"), noGate,
      [](double s) { return s * s; }, 1e-6);
}

} // namespace

std::vector<Case> heddle::test::gatedCases() {
  auto even = [](Problem &p, int64_t length) {
    retentionDims(p, length);
    p.dims["K"] = 6;
    p.params = {{"start", 4.0}, {"base", 100.0}};
  };
  auto channels = [](Problem &p, int64_t length) {
    p.dims["T"] = length;
    p.dims["C"] = 5;
    p.dims["N"] = 3;
  };
  return {
      {"linear_attention", linearSet, linearNaive},
      {"retnet", even, retnetNaive},
      {"retnet_norm", retentionDims, retnetNormNaive},
      {"lightning", rateSet, lightningNaive},
      {"minimax", rateSet, minimaxNaive},
      {"mamba2", mamba2Set, mamba2Naive},
      {"mamba1", channels, mamba1Naive},
      {"gla", retentionDims, glaNaive},
      {"hgrn2", hgrn2Set, hgrn2Naive},
      {"rwkv6", retentionDims, rwkv6Naive},
      {"power_retention", powerSet, powerNaive},
      {"based", retentionDims, basedNaive},
      {"rebased", retentionDims, rebasedNaive},
  };
}

TEST_CASE("gated retention: every file computes its naive formula") {
  for (const Case &check : gatedCases())
    checkCase(check);
}
