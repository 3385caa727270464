// Trees of drafts, shared prefixes, cross and bidirectional retention.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

#include <set>

using namespace heddle;
using namespace heddle::test;

namespace {

/// Parents of a tree with two roots.
int64_t parentOf(int64_t b, int64_t n) { return n == 0 || n == 4 ? -1 : (n * 2 + b) % n; }

double parentFiller(const std::vector<int64_t> &n) { return double(parentOf(n[0], n[1])); }

/// n and its ancestors, from n up.
std::vector<int64_t> path(int64_t b, int64_t n) {
  std::vector<int64_t> nodes;
  for (; n >= 0; n = parentOf(b, n))
    nodes.push_back(n);
  return nodes;
}

Case treeDecodingCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.dims["Tq"] = (length + 1) / 2;
    p.dims["D"] = 6;
    p.params = {{"base", 100.0}};
    p.fillers["parent"] = parentFiller;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t prefix = p.dim("Tk") - p.dim("Tq"), group = p.dim("Hq") / p.dim("Hk");
    auto position = [=](int64_t b, int64_t j) {
      return j < prefix ? double(j) : double(prefix + int64_t(path(b, j - prefix).size()) - 1);
    };
    Operands x = groupedOperands(p);
    x.q = [=, &p](int64_t b, int64_t row, int64_t h, int64_t d) {
      auto part = [&](int64_t f) { return p.at("q", {b, row, h, f}); };
      return rotatedHalf(part, d, 6, 100.0, position(b, prefix + row));
    };
    x.k = [=, &p](int64_t b, int64_t j, int64_t h, int64_t d) {
      auto part = [&](int64_t f) { return p.at("k", {b, j, h / group, f}); };
      return rotatedHalf(part, d, 6, 100.0, position(b, j));
    };
    naiveSoftmax(
        p, expected, x,
        [&](const Pair &at) {
          std::vector<int64_t> seen = path(at.b, at.row);
          return at.j < prefix ||
                 std::set<int64_t>(seen.begin(), seen.end()).count(at.j - prefix) > 0;
        },
        [](const Pair &, double dot) { return dot / std::sqrt(6.0); });
  };
  return {"tree_decoding", set, naive};
}

/// Every node's output is the recurrence along its own path.
Case treeRetentionCase() {
  auto set = [](Problem &p, int64_t length) {
    retentionDims(p, length);
    p.fillers["parent"] = parentFiller;
    p.fillers["g"] = [](const std::vector<int64_t> &n) { return -0.1 * double(1 + n[1] % 4); };
  };
  auto naive = [](const Problem &p, Expected &expected) {
    Array o({2, p.dim("T"), 3, p.dim("V")});
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t n = 0; n < p.dim("T"); ++n)
        for (int64_t h = 0; h < 3; ++h)
          for (int64_t d = 0; d < p.dim("K"); ++d)
            for (int64_t e = 0; e < p.dim("V"); ++e) {
              double state = p.at("s0", {b, h, d, e});
              std::vector<int64_t> nodes = path(b, n);
              for (auto m = nodes.rbegin(); m != nodes.rend(); ++m)
                state = std::exp(p.at("g", {b, *m, h})) * state +
                        p.at("k", {b, *m, h, d}) * p.at("v", {b, *m, h, e});
              o({b, n, h, e}) += p.at("q", {b, n, h, d}) * state / std::sqrt(double(p.dim("K")));
            }
    expected.insert_or_assign("o", std::move(o));
  };
  return {"tree_retention", set, naive};
}

/// One softmax over the prefix and the suffix together.
Case cascadeCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.dims["P"] = 4;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t prefix = p.dim("P"), keys = p.dim("Tk"), group = p.dim("Hq") / p.dim("Hk");
    Array o({2, p.dim("Tq"), p.dim("Hq"), p.dim("Dv")}), lse({2, p.dim("Tq"), p.dim("Hq")});
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row)
        for (int64_t h = 0; h < p.dim("Hq"); ++h) {
          auto read = [&](const std::string &name, int64_t n, int64_t f) {
            return n < prefix ? p.at(name + "_prefix", {n, h / group, f})
                              : p.at(name, {b, n - prefix, h / group, f});
          };
          auto score = [&](int64_t n) {
            double dot = 0;
            for (int64_t d = 0; d < p.dim("D"); ++d)
              dot += p.at("q", {b, row, h, d}) * read("k", n, d);
            return dot / std::sqrt(double(p.dim("D")));
          };
          SoftmaxRow found = softmaxRow(
              prefix + keys, p.dim("Dv"),
              [&](int64_t n) { return n < prefix || n - prefix <= row + keys - p.dim("Tq"); },
              score, [&](int64_t n, int64_t e) { return read("v", n, e); });
          lse({b, row, h}) = found.lse;
          for (int64_t e = 0; e < p.dim("Dv"); ++e)
            o({b, row, h, e}) = found.o[size_t(e)];
        }
    expected.insert_or_assign("o", std::move(o));
    expected.insert_or_assign("lse", std::move(lse));
  };
  return {"cascade", set, naive};
}

double elu1(double x) { return x > 0 ? x + 1 : std::exp(x); }

Case crossCase() {
  auto set = [](Problem &p, int64_t length) {
    retentionDims(p, length);
    p.dims["Tk"] = length;
    p.dims["Tq"] = 4;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    Array o({2, p.dim("Tq"), 3, p.dim("V")});
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t t = 0; t < p.dim("Tq"); ++t)
        for (int64_t h = 0; h < 3; ++h) {
          double sum = 0;
          for (int64_t j = 0; j < p.dim("Tk"); ++j) {
            double dot = 0;
            for (int64_t d = 0; d < p.dim("K"); ++d)
              dot += elu1(p.at("q", {b, t, h, d})) * elu1(p.at("k", {b, j, h, d}));
            sum += dot;
            for (int64_t e = 0; e < p.dim("V"); ++e)
              o({b, t, h, e}) += dot * p.at("v", {b, j, h, e});
          }
          for (int64_t e = 0; e < p.dim("V"); ++e)
            o({b, t, h, e}) /= sum;
        }
    expected.insert_or_assign("o", std::move(o));
  };
  return {"retention_cross", set, naive};
}

/// A forward recurrence with the diagonal and a backward one without it.
Case encoderCase() {
  auto set = [](Problem &p, int64_t length) {
    retentionDims(p, length);
    p.fillers["g"] = [](const std::vector<int64_t> &n) { return -0.1 * double(1 + n[1] % 4); };
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t steps = p.dim("T");
    Array o({2, steps, 3, p.dim("V")});
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t h = 0; h < 3; ++h)
        for (int64_t d = 0; d < p.dim("K"); ++d)
          for (int64_t e = 0; e < p.dim("V"); ++e) {
            auto write = [&](int64_t t) {
              return p.at("k", {b, t, h, d}) * p.at("v", {b, t, h, e});
            };
            auto factor = [&](int64_t t) { return std::exp(p.at("g", {b, t, h})); };
            double forward = 0, backward = 0, scale = 1 / std::sqrt(double(p.dim("K")));
            for (int64_t t = 0; t < steps; ++t) {
              forward = factor(t) * forward + write(t);
              o({b, t, h, e}) += scale * p.at("q", {b, t, h, d}) * forward;
            }
            for (int64_t t = steps - 2; t >= 0; --t) {
              backward = factor(t + 1) * (backward + write(t + 1));
              o({b, t, h, e}) += scale * p.at("q", {b, t, h, d}) * backward;
            }
          }
    expected.insert_or_assign("o", std::move(o));
  };
  return {"encoder_retention", set, naive};
}

} // namespace

std::vector<Case> heddle::test::treeCases() {
  return {treeDecodingCase(), treeRetentionCase(), cascadeCase(), crossCase(), encoderCase()};
}

TEST_CASE("trees, prefixes and two directions: every file computes its naive formula") {
  for (const Case &check : treeCases())
    checkCase(check);
}
