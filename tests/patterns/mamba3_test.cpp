// Mamba-3: two write taps and rotation by running angles, one or several inputs a token.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::test;

namespace {

const double kPi = std::acos(-1.0);

struct Gates {
  double delta, alpha, previous, here;
};

Gates gatesOf(const Problem &p, int64_t b, int64_t t, int64_t h) {
  Gates g;
  g.delta = softplus(p.at("dt", {b, t, h}) + p.at("dt_bias", {h}));
  g.alpha = std::exp(-std::max(softplus(p.at("a", {b, t, h})), 1e-4) * g.delta);
  double lambda = sigmoid(p.at("trap", {b, t, h}));
  g.previous = (1 - lambda) * g.delta * g.alpha;
  g.here = lambda * g.delta;
  return g;
}

/// x / rms(x) * gamma + bias of one row.
std::vector<double> normed(const Problem &p, const std::function<double(int64_t)> &x,
                           const std::string &gamma, const std::function<double(int64_t)> &bias) {
  int64_t width = p.dim("N");
  double square = 0;
  for (int64_t n = 0; n < width; ++n)
    square += x(n) * x(n) / double(width);
  std::vector<double> out;
  for (int64_t n = 0; n < width; ++n)
    out.push_back(x(n) / std::sqrt(square + 1e-5) * p.at(gamma, {n}) + bias(n));
  return out;
}

/// Rotates the pairs (first(f), second(f)) by theta[f].
std::vector<double> turned(std::vector<double> x, const std::vector<double> &theta,
                           int64_t firstStep, int64_t secondOffset) {
  for (size_t f = 0; f < theta.size(); ++f) {
    size_t one = f * size_t(firstStep), two = one + size_t(secondOffset);
    double a = x[one], b = x[two];
    x[one] = a * std::cos(theta[f]) - b * std::sin(theta[f]);
    x[two] = a * std::sin(theta[f]) + b * std::cos(theta[f]);
  }
  return x;
}

/// Everything that runs along one (batch, head): angles, state, last key and value of each of R
/// inputs.
struct Track {
  std::vector<double> theta;
  Array state;
  std::vector<std::vector<double>> key, value;
};

void step(const Problem &p, Track &track, const Gates &g, const std::vector<std::vector<double>> &k,
          const std::vector<std::vector<double>> &v) {
  for (int64_t n = 0; n < p.dim("N"); ++n)
    for (int64_t e = 0; e < p.dim("V"); ++e) {
      double &s = track.state({n, e});
      s *= g.alpha;
      for (size_t r = 0; r < k.size(); ++r)
        s += g.previous * track.key[r][size_t(n)] * track.value[r][size_t(e)] +
             g.here * k[r][size_t(n)] * v[r][size_t(e)];
    }
  track.key = k;
  track.value = v;
}

/// The angles modulo one turn, in [0, 2 pi).
void storeAngles(const Track &track, Array &out, int64_t b, int64_t h) {
  for (size_t f = 0; f < track.theta.size(); ++f)
    out({b, h, int64_t(f)}) = track.theta[f] - 2 * kPi * std::floor(track.theta[f] / (2 * kPi));
}

void advance(const Problem &p, Track &track, const Gates &g, int64_t b, int64_t t) {
  for (size_t f = 0; f < track.theta.size(); ++f)
    track.theta[f] += kPi * std::tanh(p.at("angle", {b, t, int64_t(f)})) * g.delta;
}

Track entry(const Problem &p, int64_t b, int64_t h) {
  Track track{{}, Array({p.dim("N"), p.dim("V")}), {}, {}};
  for (int64_t f = 0; f < p.dim("F"); ++f)
    track.theta.push_back(p.at("theta0", {b, h, f}));
  for (int64_t n = 0; n < p.dim("N"); ++n)
    for (int64_t e = 0; e < p.dim("V"); ++e)
      track.state({n, e}) = p.at("s0", {b, h, n, e});
  return track;
}

double readState(const Track &track, const std::vector<double> &q, int64_t e) {
  double sum = 0;
  for (size_t n = 0; n < q.size(); ++n)
    sum += q[n] * track.state({int64_t(n), e});
  return sum;
}

void storeState(const Track &track, Array &s, int64_t b, int64_t h) {
  for (int64_t n = 0; n < track.state.shape[0]; ++n)
    for (int64_t e = 0; e < track.state.shape[1]; ++e)
      s({b, h, n, e}) = track.state({n, e});
}

void sisoNaive(const Problem &p, Expected &expected) {
  int64_t heads = p.dim("H"), group = heads / p.dim("Hk");
  Array y({2, p.dim("T"), heads, p.dim("V")}), s({2, heads, p.dim("N"), p.dim("V")});
  Array theta({2, heads, p.dim("F")}), k1({2, heads, p.dim("N")}), x1({2, heads, p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      Track track = entry(p, b, h);
      track.key.resize(1);
      track.value.resize(1);
      for (int64_t n = 0; n < p.dim("N"); ++n)
        track.key[0].push_back(p.at("k0", {b, h, n}));
      for (int64_t e = 0; e < p.dim("V"); ++e)
        track.value[0].push_back(p.at("x0", {b, h, e}));
      auto row = [&](const std::string &name, int64_t t) {
        return turned(normed(
                          p, [&](int64_t n) { return p.at(name, {b, t, h / group, n}); },
                          "gamma_" + name, [&](int64_t n) { return p.at("bias_" + name, {h, n}); }),
                      track.theta, 2, 1);
      };
      for (int64_t t = 0; t < p.dim("T"); ++t) {
        Gates g = gatesOf(p, b, t, h);
        advance(p, track, g, b, t);
        std::vector<double> value, q = row("c", t);
        for (int64_t e = 0; e < p.dim("V"); ++e)
          value.push_back(p.at("x", {b, t, h, e}));
        step(p, track, g, {row("b", t)}, {value});
        for (int64_t e = 0; e < p.dim("V"); ++e)
          y({b, t, h, e}) = (readState(track, q, e) + p.at("skip", {h}) * value[size_t(e)]) *
                            silu(p.at("z", {b, t, h, e}));
      }
      storeState(track, s, b, h);
      storeAngles(track, theta, b, h);
      for (int64_t n = 0; n < p.dim("N"); ++n)
        k1({b, h, n}) = track.key[0][size_t(n)];
      for (int64_t e = 0; e < p.dim("V"); ++e)
        x1({b, h, e}) = track.value[0][size_t(e)];
    }
  expected.insert_or_assign("y", std::move(y));
  expected.insert_or_assign("s", std::move(s));
  expected.insert_or_assign("theta1", std::move(theta));
  expected.insert_or_assign("k1", std::move(k1));
  expected.insert_or_assign("x1", std::move(x1));
}

void mimoNaive(const Problem &p, Expected &expected) {
  int64_t heads = p.dim("H"), group = heads / p.dim("Hk"), count = p.dim("R");
  Array y({2, p.dim("T"), heads, p.dim("V")}), s({2, heads, p.dim("N"), p.dim("V")});
  Array theta({2, heads, p.dim("F")}), k1({2, count, heads, p.dim("N")});
  Array x1({2, count, heads, p.dim("V")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      Track track = entry(p, b, h);
      for (int64_t r = 0; r < count; ++r) {
        track.key.emplace_back();
        track.value.emplace_back();
        for (int64_t n = 0; n < p.dim("N"); ++n)
          track.key.back().push_back(p.at("k0", {b, r, h, n}));
        for (int64_t e = 0; e < p.dim("V"); ++e)
          track.value.back().push_back(p.at("x0", {b, r, h, e}));
      }
      auto row = [&](const std::string &name, int64_t t, int64_t r) {
        return turned(normed(
                          p, [&](int64_t n) { return p.at(name, {b, t, r, h / group, n}); },
                          "gamma_" + name,
                          [&](int64_t n) { return p.at("bias_" + name, {r, h, n}); }),
                      track.theta, 1, p.dim("N") / 2);
      };
      for (int64_t t = 0; t < p.dim("T"); ++t) {
        Gates g = gatesOf(p, b, t, h);
        advance(p, track, g, b, t);
        std::vector<std::vector<double>> k, v;
        for (int64_t r = 0; r < count; ++r) {
          k.push_back(row("b", t, r));
          v.emplace_back();
          for (int64_t e = 0; e < p.dim("V"); ++e)
            v.back().push_back(p.at("x", {b, t, h, e}) * p.at("mx", {r, h, e}));
        }
        step(p, track, g, k, v);
        for (int64_t r = 0; r < count; ++r)
          for (int64_t e = 0; e < p.dim("V"); ++e)
            y({b, t, h, e}) += p.at("mo", {r, h, e}) *
                               (readState(track, row("c", t, r), e) +
                                p.at("skip", {h}) * v[size_t(r)][size_t(e)]) *
                               silu(p.at("z", {b, t, h, e}) * p.at("mz", {r, h, e}));
      }
      storeState(track, s, b, h);
      storeAngles(track, theta, b, h);
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t n = 0; n < p.dim("N"); ++n)
          k1({b, r, h, n}) = track.key[size_t(r)][size_t(n)];
        for (int64_t e = 0; e < p.dim("V"); ++e)
          x1({b, r, h, e}) = track.value[size_t(r)][size_t(e)];
      }
    }
  expected.insert_or_assign("y", std::move(y));
  expected.insert_or_assign("s", std::move(s));
  expected.insert_or_assign("theta1", std::move(theta));
  expected.insert_or_assign("k1", std::move(k1));
  expected.insert_or_assign("x1", std::move(x1));
}

void dims(Problem &p, int64_t length) {
  p.dims["T"] = length;
  p.dims["H"] = 4;
  p.dims["Hk"] = 2;
  p.dims["N"] = 6;
  p.dims["V"] = 3;
  p.dims["F"] = 2;
  p.dims["R"] = 2;
}

} // namespace

std::vector<Case> heddle::test::mamba3Cases() {
  return {{"mamba3", dims, sisoNaive}, {"mamba3_mimo", dims, mimoNaive}};
}

TEST_CASE("mamba3: both files compute their naive formula") {
  for (const Case &check : mamba3Cases())
    checkCase(check);
}
