// Sparse supports that are known before the scores: strides, dilation, blocks, global tokens.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

#include <cstdlib>

using namespace heddle;
using namespace heddle::test;

namespace {

double scaled(const Problem &p, double dot) { return dot / std::sqrt(double(p.dim("D"))); }

Case maskCase(const std::string &name, std::function<void(Problem &)> more,
              std::function<bool(const Problem &, const Pair &)> visible) {
  return {name,
          [more](Problem &p, int64_t length) {
            attentionDims(p, length);
            more(p);
          },
          [visible](const Problem &p, Expected &expected) {
            naiveSoftmax(
                p, expected, groupedOperands(p), [&](const Pair &at) { return visible(p, at); },
                [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

std::function<void(Problem &)> params(std::map<std::string, double> values) {
  return [values](Problem &p) { p.params = values; };
}

/// Remainder of a division that rounds down.
int64_t floorMod(int64_t a, int64_t b) { return ((a % b) + b) % b; }

int64_t floorDiv(int64_t a, int64_t b) { return (a - floorMod(a, b)) / b; }

Case bigbirdCase() {
  return maskCase(
      "bigbird",
      [](Problem &p) {
        p.params = {{"c", 2.0}, {"w", 3.0}, {"g", 1.0}};
        p.dims["Tq"] = p.dim("Tk");
        p.dims["NB"] = (p.dim("Tk") + 1) / 2;
        p.dims["R"] = 2;
        p.fillers["random"] = [blocks = p.dims["NB"]](const std::vector<int64_t> &n) {
          int64_t drawn = (n[0] * 5 + 3) % 7;
          return n[1] == 0 && drawn < blocks ? double(drawn) : -1.0;
        };
      },
      [](const Problem &p, const Pair &at) {
        int64_t row = at.i / 2, column = at.j / 2, blocks = p.dim("NB");
        bool near = std::abs(row - column) <= 1;
        bool global = row == 0 || column == 0 || row == blocks - 1 || column == blocks - 1;
        return near || global || column == (row * 5 + 3) % 7;
      });
}

Case blockSparseCase() {
  return maskCase(
      "block_sparse",
      [](Problem &p) {
        p.params = {{"bq", 2.0}, {"bk", 3.0}};
        p.dims["NQ"] = (p.dim("Tq") + 1) / 2;
        p.dims["NK"] = (p.dim("Tk") + 2) / 3;
        p.fillers["blocks"] = [](const std::vector<int64_t> &n) {
          return double((n[0] * 3 + n[1] * 5 + n[2] * 7) % 3 == 0);
        };
      },
      [](const Problem &, const Pair &at) {
        return (at.h * 3 + (at.row / 2) * 5 + (at.j / 3) * 7) % 3 == 0;
      });
}

/// Ordinary rows on q, k, v; global rows on their own projections.
Case longformerCase() {
  auto global = [](int64_t b, int64_t t) { return (t + b) % 5 == 0; };
  auto set = [global](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.params = {{"w", 3.0}};
    p.fillers["global"] = [global](const std::vector<int64_t> &n) {
      return double(global(n[0], n[1]));
    };
  };
  auto naive = [global](const Problem &p, Expected &expected) {
    int64_t off = p.dim("Tk") - p.dim("Tq"), group = p.dim("Hq") / p.dim("Hk");
    auto isGlobal = [=, &p](int64_t b, int64_t t) {
      return t >= 0 && t < p.dim("Tk") && global(b, t);
    };
    Operands both = groupedOperands(p);
    both.q = [=, &p](int64_t b, int64_t row, int64_t h, int64_t d) {
      return p.at(isGlobal(b, row + off) ? "qg" : "q", {b, row, h, d});
    };
    // Keys and values depend on the row's kind, so rows are taken in two passes and joined.
    Expected ordinary, wide;
    Operands wideOperands = both;
    wideOperands.k = [=, &p](int64_t b, int64_t j, int64_t h, int64_t d) {
      return p.at("kg", {b, j, h / group, d});
    };
    wideOperands.v = [=, &p](int64_t b, int64_t j, int64_t h, int64_t e) {
      return p.at("vg", {b, j, h / group, e});
    };
    auto score = [&](const Pair &, double dot) { return scaled(p, dot); };
    naiveSoftmax(
        p, ordinary, both,
        [&](const Pair &at) { return 2 * std::abs(at.i - at.j) <= 3 || isGlobal(at.b, at.j); },
        score);
    naiveSoftmax(p, wide, wideOperands, [](const Pair &) { return true; }, score);
    for (const char *name : {"o", "lse"}) {
      Array joined = ordinary.at(name);
      int64_t inner = int64_t(joined.values.size()) / (joined.shape[0] * joined.shape[1]);
      for (int64_t n = 0; n < int64_t(joined.values.size()); ++n) {
        int64_t row = n / inner;
        if (isGlobal(row / joined.shape[1], row % joined.shape[1] + off))
          joined.values[size_t(n)] = wide.at(name).values[size_t(n)];
      }
      expected.insert_or_assign(name, std::move(joined));
    }
  };
  return {"longformer", set, naive};
}

} // namespace

std::vector<Case> heddle::test::sparseCases() {
  auto causal = [](const Pair &at) { return at.j <= at.i; };
  auto first = [](int64_t b, int64_t i) {
    return i < 0 ? 0 : (i + b) / 4 * 4 - (i + b < 4 ? 0 : b);
  };
  return {
      maskCase(
          "documents",
          [=](Problem &p) {
            p.fillers["first"] = [=](const std::vector<int64_t> &n) {
              return double(first(n[0], n[1]));
            };
          },
          [=](const Problem &, const Pair &at) { return causal(at) && at.j >= first(at.b, at.i); }),
      maskCase("strided", params({{"l", 3.0}}),
               [=](const Problem &, const Pair &at) {
                 return causal(at) && (at.i - at.j < 3 || (at.i - at.j) % 3 == 0);
               }),
      maskCase("strided_fixed", params({{"l", 4.0}, {"c", 1.0}}),
               [=](const Problem &, const Pair &at) {
                 return causal(at) && (at.j / 4 == at.i / 4 || at.j % 4 >= 3);
               }),
      maskCase("local_chunk", params({{"c", 4.0}}),
               [=](const Problem &, const Pair &at) {
                 return causal(at) && floorDiv(at.i, 4) == at.j / 4;
               }),
      maskCase("dilated", params({{"w", 2.0}, {"dilation", 3.0}}),
               [](const Problem &, const Pair &at) {
                 return std::abs(at.i - at.j) <= 6 && floorMod(at.i - at.j, 3) == 0;
               }),
      bigbirdCase(),
      blockSparseCase(),
      longformerCase(),
  };
}

TEST_CASE("static sparsity: every file computes its naive formula") {
  for (const Case &check : sparseCases())
    checkCase(check);
}
