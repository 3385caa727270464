// Content-selected sparsity: the naive formulas choose with plain sorting and attend with plain
// masks.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

#include <algorithm>
#include <set>

using namespace heddle;
using namespace heddle::test;

namespace {

double scaled(const Problem &p, double dot) { return dot / std::sqrt(double(p.dim("D"))); }

int64_t position(const Problem &p, int64_t row) { return row + p.dim("Tk") - p.dim("Tq"); }

/// The candidates with the largest scores (of equals the smaller index), forced ones first.
std::set<int64_t> best(int64_t candidates, int64_t count,
                       const std::function<double(int64_t)> &score,
                       const std::function<bool(int64_t)> &visible,
                       const std::function<bool(int64_t)> &forced) {
  std::vector<int64_t> order;
  for (int64_t n = 0; n < candidates; ++n)
    if (visible(n))
      order.push_back(n);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    if (forced(a) != forced(b))
      return forced(a);
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  });
  if (int64_t(order.size()) > count)
    order.resize(size_t(count));
  return {order.begin(), order.end()};
}

bool never(int64_t) { return false; }

/// Sets chosen once a (batch, query row, head), so that the naive masks stay readable.
using Chosen = std::map<std::vector<int64_t>, std::set<int64_t>>;

Case mobaCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.params = {{"c", 2.0}, {"K", 3.0}};
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t c = 2, blocks = (p.dim("Tk") + 1) / 2;
    Operands x = groupedOperands(p);
    Chosen chosen;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row)
        for (int64_t h = 0; h < p.dim("Hq"); ++h) {
          int64_t i = position(p, row), own = i >= 0 ? i / c : -1;
          auto gate = [&](int64_t n) {
            double sum = 0;
            for (int64_t j = n * c; j < (n + 1) * c && j < p.dim("Tk"); ++j)
              for (int64_t d = 0; d < p.dim("D"); ++d)
                sum += x.q(b, row, h, d) * x.k(b, j, h, d) / double(c);
            return sum;
          };
          auto visible = [&](int64_t n) { return (n + 1) * c <= i || n == own; };
          auto forced = [&](int64_t n) { return n == own; };
          chosen[{b, row, h}] = best(blocks, 3, gate, visible, forced);
        }
    naiveSoftmax(
        p, expected, x,
        [&](const Pair &at) {
          return at.j <= at.i && chosen.at({at.b, at.row, at.h}).count(at.j / c);
        },
        [&](const Pair &, double dot) { return scaled(p, dot); });
  };
  return {"moba", set, naive};
}

/// Keys and values of one NSA branch.
Operands branch(const Problem &p, const std::string &k, const std::string &v) {
  int64_t group = p.dim("Hq") / p.dim("Hk");
  Operands x = groupedOperands(p);
  x.k = [=, &p](int64_t b, int64_t j, int64_t h, int64_t d) {
    return p.at(k, {b, j, h / group, d});
  };
  x.v = [=, &p](int64_t b, int64_t j, int64_t h, int64_t e) {
    return p.at(v, {b, j, h / group, e});
  };
  return x;
}

/// Mean of l rows of a tensor from first on, with the position embedding added.
double pooled(const Problem &p, const std::string &name, const std::string &embedding, int64_t b,
              int64_t first, int64_t h, int64_t d) {
  double sum = 0;
  for (int64_t y = 0; y < p.dim("l"); ++y)
    sum += p.at(name, {b, first + y, h, d}) + p.at(embedding, {y, h, d});
  return sum / double(p.dim("l"));
}

constexpr int64_t kStride = 2, kSelected = 2, kKept = 4, kWindow = 3;

/// Overlap-weighted probability of block J for one key head: how many strides a compressed block
/// and J share, times its probability.
double blockScore(const Problem &p, const Operands &x, int64_t b, int64_t row, int64_t hk,
                  int64_t block) {
  int64_t group = p.dim("Hq") / p.dim("Hk"), l = p.dim("l"), i = position(p, row);
  int64_t compressed = std::max<int64_t>((p.dim("Tk") - l) / kStride + (p.dim("Tk") >= l), 0);
  double total = 0;
  for (int64_t h = hk * group; h < (hk + 1) * group; ++h) {
    auto score = [&](int64_t n) {
      double dot = 0;
      for (int64_t d = 0; d < p.dim("D"); ++d)
        dot += x.q(b, row, h, d) * pooled(p, "kc", "pe_k", b, n * kStride, hk, d);
      return scaled(p, dot);
    };
    double sum = 0;
    for (int64_t n = 0; n < compressed; ++n)
      if (n * kStride + l - 1 <= i)
        sum += std::exp(score(n));
    for (int64_t n = 0; n < compressed; ++n) {
      if (n * kStride + l - 1 > i)
        continue;
      int64_t lo = std::max(n * kStride, block * kSelected);
      int64_t hi = std::min(n * kStride + l, (block + 1) * kSelected);
      total += double(std::max<int64_t>(hi - lo, 0) / kStride) * std::exp(score(n)) / sum;
    }
  }
  return total;
}

void nsaNaive(const Problem &p, Expected &expected) {
  int64_t l = p.dim("l"), keys = p.dim("Tk"), group = p.dim("Hq") / p.dim("Hk");
  Operands selected = branch(p, "ks", "vs"), windowed = branch(p, "kw", "vw");
  auto score = [&](const Pair &, double dot) { return scaled(p, dot); };
  // Compressed block n stands at key n here; only whole blocks are visible.
  Operands compressed = selected;
  compressed.k = [&, group](int64_t b, int64_t n, int64_t h, int64_t d) {
    return pooled(p, "kc", "pe_k", b, n * kStride, h / group, d);
  };
  compressed.v = [&, group](int64_t b, int64_t n, int64_t h, int64_t e) {
    return pooled(p, "vc", "pe_v", b, n * kStride, h / group, e);
  };
  Expected parts[3];
  naiveSoftmax(
      p, parts[0], compressed,
      [&](const Pair &at) { return at.j * kStride + l - 1 <= std::min(at.i, keys - 1); }, score);
  Chosen chosen;
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t row = 0; row < p.dim("Tq"); ++row)
      for (int64_t hk = 0; hk < p.dim("Hk"); ++hk) {
        int64_t i = position(p, row), own = i >= 0 ? i / kSelected : -1;
        chosen[{b, row, hk}] =
            best((keys + kSelected - 1) / kSelected, kKept,
                 [&](int64_t n) { return blockScore(p, selected, b, row, hk, n); },
                 [&](int64_t n) { return n * kSelected <= i; },
                 [&](int64_t n) { return n == 0 || n == own || n == own - 1; });
      }
  naiveSoftmax(
      p, parts[1], selected,
      [&](const Pair &at) {
        return at.j <= at.i && chosen.at({at.b, at.row, at.h / group}).count(at.j / kSelected);
      },
      score);
  naiveSoftmax(
      p, parts[2], windowed, [](const Pair &at) { return at.j <= at.i && at.i - at.j < kWindow; },
      score);
  Array y({2, p.dim("Tq"), p.dim("Hq"), p.dim("Dv")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < p.dim("Tq"); ++t)
      for (int64_t h = 0; h < p.dim("Hq"); ++h)
        for (int64_t e = 0; e < p.dim("Dv"); ++e)
          for (int64_t part = 0; part < 3; ++part)
            y({b, t, h, e}) += parts[part].at("o")({b, t, h, e}) /
                               (1.0 + std::exp(-p.at("gate", {b, t, h, part})));
  expected.insert_or_assign("y", std::move(y));
}

Case nsaCase() {
  return {"nsa",
          [](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["l"] = 4;
            p.params = {{"stride", double(kStride)},
                        {"block", double(kSelected)},
                        {"N", double(kKept)},
                        {"W", double(kWindow)}};
          },
          nsaNaive};
}

/// Expanded latent attention over the keys that the indexer chose.
Case dsaCase() {
  auto set = [](Problem &p, int64_t length) {
    attentionDims(p, length);
    p.dims["Dc"] = 5;
    p.dims["Dr"] = 4;
    p.dims["D"] = 9;
    p.dims["Dn"] = 3;
    p.dims["Ha"] = 3;
    p.dims["Di"] = 5;
    p.params = {{"top", 4.0}, {"base", 100.0}, {"mscale", 1.25}};
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t nope = p.dim("Dn"), rope = p.dim("Dr"), latent = p.dim("Dc");
    Chosen chosen;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row) {
        auto index = [&](int64_t j) {
          double sum = 0;
          for (int64_t a = 0; a < p.dim("Ha"); ++a) {
            double dot = 0;
            for (int64_t x = 0; x < p.dim("Di"); ++x)
              dot += p.at("qi", {b, row, a, x}) * p.at("ki", {b, j, x});
            sum += p.at("w", {b, row, a}) * std::max(dot, 0.0);
          }
          return sum * p.at("ki_scale", {b, j});
        };
        chosen[{b, row}] =
            best(p.dim("Tk"), 4, index, [&](int64_t j) { return j <= position(p, row); }, never);
      }
    Operands x;
    x.width = nope + rope;
    x.valueWidth = p.dim("Dv");
    x.q = [=, &p](int64_t b, int64_t row, int64_t h, int64_t d) {
      if (d < nope)
        return p.at("q_nope", {b, row, h, d});
      auto part = [&](int64_t f) { return p.at("q_rope", {b, row, h, f}); };
      return rotatedNeighbours(part, d - nope, rope, 100.0, double(position(p, row)));
    };
    auto up = [=, &p](const char *w, int64_t b, int64_t j, int64_t h, int64_t d) {
      double sum = 0;
      for (int64_t c = 0; c < latent; ++c)
        sum += p.at(w, {h, d, c}) * p.at("cache", {b, j, 0, c});
      return sum;
    };
    x.k = [=, &p](int64_t b, int64_t j, int64_t h, int64_t d) {
      return d >= nope ? p.at("cache", {b, j, 0, latent + d - nope}) : up("w_uk", b, j, h, d);
    };
    x.v = [=](int64_t b, int64_t j, int64_t h, int64_t e) { return up("w_uv", b, j, h, e); };
    naiveSoftmax(
        p, expected, x, [&](const Pair &at) { return chosen.at({at.b, at.row}).count(at.j) > 0; },
        [&](const Pair &, double dot) { return dot * 1.5625 / std::sqrt(double(nope + rope)); });
  };
  return {"dsa", set, naive};
}

/// One pooled entry: softmax over slots (pairs of a gate and a value), channel by channel, then an
/// RMS norm.
using Slot = std::function<std::pair<double, double>(int64_t slot, int64_t channel)>;
std::vector<double> pooledEntry(int64_t slots, int64_t width, const Slot &slot,
                                const std::function<double(int64_t)> &gamma) {
  std::vector<double> entry;
  double square = 0;
  for (int64_t x = 0; x < width; ++x) {
    double sum = 0, value = 0;
    for (int64_t y = 0; y < slots; ++y) {
      double weight = std::exp(slot(y, x).first);
      sum += weight;
      value += weight * slot(y, x).second;
    }
    entry.push_back(value / sum);
    square += entry.back() * entry.back();
  }
  for (int64_t x = 0; x < width; ++x)
    entry[size_t(x)] *= gamma(x) / std::sqrt(square / double(width) + 1e-6);
  return entry;
}

/// Entry w of series a and b (prefix "i" for the indexer's): b's window w, a's window w - 1.
std::vector<double> overlapped(const Problem &p, const std::string &prefix, int64_t b, int64_t w) {
  int64_t m = p.dim("m"), width = p.dim(prefix.empty() ? "D" : "Di");
  auto slot = [&](int64_t y, int64_t x) {
    bool second = y < m; // first the slots of b, then those of a
    std::string series = second ? "b" : "a";
    int64_t t = second ? w * m + y : (w - 1) * m + y - m;
    return std::pair(p.at(prefix + "gate_" + series, {b, t, x}) +
                         p.at(prefix + "bias_" + series, {y % m, x}),
                     p.at(prefix + series, {b, t, x}));
  };
  return pooledEntry(w > 0 ? 2 * m : m, width, slot,
                     [&](int64_t x) { return p.at(prefix + "gamma", {x}); });
}

/// One softmax over entries (keys 0 .. n - 1), window keys and the sink.
void compressedAttention(const Problem &p, Expected &expected,
                         const std::vector<std::vector<std::vector<double>>> &entries,
                         const std::function<bool(const Pair &)> &visible) {
  int64_t width = p.dim("D"), count = int64_t(entries[0].size()), keys = p.dim("Tk"),
          m = p.dim("m");
  Array o({2, p.dim("Tq"), p.dim("Hq"), width}), lse({2, p.dim("Tq"), p.dim("Hq")});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t row = 0; row < p.dim("Tq"); ++row)
      for (int64_t h = 0; h < p.dim("Hq"); ++h) {
        int64_t i = position(p, row);
        auto value = [&](int64_t n, int64_t d) {
          return n < count ? entries[size_t(b)][size_t(n)][size_t(d)]
                           : p.at("kv", {b, n - count, 0, d});
        };
        auto score = [&](int64_t n) {
          double dot = 0, at = double(n < count ? n * m + 1 : n - count);
          for (int64_t d = 0; d < width; ++d)
            dot += rotatedHalf([&](int64_t f) { return p.at("q", {b, row, h, f}); }, d, width,
                               100.0, double(i)) *
                   rotatedHalf([&](int64_t f) { return value(n, f); }, d, width, 100.0, at);
          return scaled(p, dot);
        };
        auto shown = [&](int64_t n) {
          return n < count ? visible({b, h, row, i, n}) : n - count <= i && i - (n - count) < 3;
        };
        SoftmaxRow found = softmaxRow(count + keys, width, shown, score, value, p.at("sink", {h}));
        lse({b, row, h}) = found.lse;
        for (int64_t e = 0; e < width; ++e)
          o({b, row, h, e}) = found.o[size_t(e)];
      }
  expected.insert_or_assign("o", std::move(o));
  expected.insert_or_assign("lse", std::move(lse));
}

void compressedDims(Problem &p, int64_t length) {
  attentionDims(p, length);
  p.dims["D"] = 6;
  p.dims["m"] = 3;
  p.params = {{"W", 3.0}, {"shift", 1.0}, {"base", 100.0}};
}

Case csaCase() {
  auto set = [](Problem &p, int64_t length) {
    compressedDims(p, length);
    p.dims["Di"] = 5;
    p.dims["Ha"] = 2;
    p.params["top"] = 2.0;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t count = p.dim("Tk") / p.dim("m");
    std::vector<std::vector<std::vector<double>>> entries(2), index(2);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t w = 0; w < count; ++w) {
        entries[size_t(b)].push_back(overlapped(p, "", b, w));
        index[size_t(b)].push_back(overlapped(p, "i", b, w));
      }
    Chosen chosen;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row) {
        auto score = [&](int64_t w) {
          double sum = 0;
          for (int64_t a = 0; a < p.dim("Ha"); ++a) {
            double dot = 0;
            for (int64_t x = 0; x < p.dim("Di"); ++x)
              dot += p.at("qi", {b, row, a, x}) * index[size_t(b)][size_t(w)][size_t(x)];
            sum += p.at("wi", {b, row, a}) * std::max(dot, 0.0);
          }
          return sum;
        };
        chosen[{b, row}] = best(
            count, 2, score,
            [&](int64_t w) { return (w + 1) * p.dim("m") - 1 <= position(p, row); }, never);
      }
    compressedAttention(p, expected, entries,
                        [&](const Pair &at) { return chosen.at({at.b, at.row}).count(at.j) > 0; });
  };
  return {"csa_hca", set, naive};
}

Case hcaCase() {
  auto naive = [](const Problem &p, Expected &expected) {
    int64_t m = p.dim("m");
    std::vector<std::vector<std::vector<double>>> entries(2);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t w = 0; w < p.dim("Tk") / m; ++w) {
        auto slot = [&](int64_t y, int64_t x) {
          return std::pair(p.at("gate", {b, w * m + y, x}) + p.at("bias", {y, x}),
                           p.at("a", {b, w * m + y, x}));
        };
        entries[size_t(b)].push_back(
            pooledEntry(m, p.dim("D"), slot, [&](int64_t x) { return p.at("gamma", {x}); }));
      }
    compressedAttention(p, expected, entries,
                        [&](const Pair &at) { return (at.j + 1) * m - 1 <= at.i; });
  };
  return {"hca", compressedDims, naive};
}

/// Row r of a tensor of route vectors on the unit sphere.
std::vector<double> unit(const Problem &p, const std::string &name, std::vector<int64_t> before) {
  std::vector<double> x;
  double square = 1e-6;
  for (int64_t d = 0; d < p.dim("R"); ++d) {
    x.push_back(before.size() == 1 ? p.at(name, {before[0], d})
                                   : p.at(name, {before[0], before[1], d}));
    square += x.back() * x.back();
  }
  for (double &value : x)
    value /= std::sqrt(square);
  return x;
}

double product(const std::vector<double> &x, const std::vector<double> &y) {
  double sum = 0;
  for (size_t d = 0; d < x.size(); ++d)
    sum += x[d] * y[d];
  return sum;
}

constexpr int64_t kRefresh = 4;

/// The buckets after the first `count` keys: a full one drops its least salient, then oldest, key.
std::vector<std::vector<int64_t>> buckets(const Problem &p, int64_t b, int64_t count,
                                          size_t capacity) {
  std::vector<std::vector<int64_t>> held(size_t(p.dim("M")));
  auto salience = [&](int64_t j, int64_t m) {
    return product(unit(p, "key", {b, j}), unit(p, "centroids", {m}));
  };
  for (int64_t j = 0; j < count; ++j) {
    int64_t m = 0;
    for (int64_t other = 1; other < p.dim("M"); ++other)
      if (salience(j, other) > salience(j, m))
        m = other;
    std::vector<int64_t> &bucket = held[size_t(m)];
    bucket.push_back(j);
    if (bucket.size() > capacity)
      bucket.erase(std::min_element(bucket.begin(), bucket.end(), [&](int64_t x, int64_t y) {
        return salience(x, m) < salience(y, m);
      }));
  }
  return held;
}

void lselDims(Problem &p, int64_t length) {
  attentionDims(p, length);
  p.dims["R"] = 3;
  p.params = {{"top", 2.0}, {"refresh", double(kRefresh)}, {"w", 3.0}, {"n", 1.0}};
}

void listedAttention(const Problem &p, Expected &expected, const Chosen &chosen, int64_t block) {
  naiveSoftmax(
      p, expected, groupedOperands(p),
      [&](const Pair &at) {
        return at.j <= at.i &&
               (chosen.at({at.b, at.row}).count(at.j / block) || at.i - at.j <= 3 || at.j < 1);
      },
      [&](const Pair &, double dot) { return scaled(p, dot); });
}

/// Keys before the last refresh at or below position i.
int64_t snapshot(int64_t i) { return i < 0 ? 0 : i / kRefresh * kRefresh; }

Case lselCase() {
  auto set = [](Problem &p, int64_t length) {
    lselDims(p, length);
    p.dims["M"] = 3;
    p.params["visit"] = 2.0;
    p.params["capacity"] = 2.0;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    Chosen chosen;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row) {
        std::vector<double> a = unit(p, "route", {b, row});
        auto held = buckets(p, b, snapshot(position(p, row)), 2);
        std::set<int64_t> visited = best(
            p.dim("M"), 2, [&](int64_t m) { return product(a, unit(p, "centroids", {m})); },
            [](int64_t) { return true; }, never);
        std::set<int64_t> candidates;
        for (int64_t m : visited)
          candidates.insert(held[size_t(m)].begin(), held[size_t(m)].end());
        chosen[{b, row}] = best(
            p.dim("Tk"), 2, [&](int64_t j) { return product(a, unit(p, "key", {b, j})); },
            [&](int64_t j) { return candidates.count(j) > 0; }, never);
      }
    listedAttention(p, expected, chosen, 1);
  };
  return {"lsel", set, naive};
}

/// Beam search on a tree of means. Node n of level l covers leaves [n F^l, (n + 1) F^l) and exists
/// when all their keys do. Rounds start from every node whose parent does not exist; each keeps the
/// best and opens those that are not leaves.
std::set<int64_t> beamSearch(const Problem &p, int64_t b, int64_t row, int64_t block,
                             int64_t fanout, size_t beam, size_t top) {
  using Node = std::pair<int64_t, int64_t>; // first leaf, level
  int64_t keys = snapshot(position(p, row));
  std::vector<double> a = unit(p, "route", {b, row});
  auto span = [&](int64_t level) { return block * int64_t(std::pow(fanout, level)); };
  auto complete = [&](int64_t level, int64_t n) { return (n + 1) * span(level) <= keys; };
  auto score = [&](const Node &node) {
    double sum = 0;
    for (int64_t j = node.first * block; j < node.first * block + span(node.second); ++j)
      sum += product(a, unit(p, "key", {b, j}));
    return sum / double(span(node.second));
  };
  std::vector<Node> frontier;
  auto keep = [&](size_t count) {
    std::sort(frontier.begin(), frontier.end(), [&](const Node &x, const Node &y) {
      return score(x) != score(y) ? score(x) > score(y) : x.first < y.first;
    });
    frontier.resize(std::min(frontier.size(), count));
  };
  for (int64_t level = 0; complete(level, 0); ++level)
    for (int64_t n = 0; complete(level, n); ++n)
      if (!complete(level + 1, n / fanout))
        frontier.push_back({n * span(level) / block, level});
  for (bool opened = true; opened;) {
    keep(beam);
    opened = false;
    std::vector<Node> next;
    for (const Node &node : frontier) {
      opened |= node.second > 0;
      for (int64_t child = 0; child < (node.second > 0 ? fanout : 1); ++child)
        next.push_back(node.second > 0 ? Node(node.first + child * span(node.second - 1) / block,
                                              node.second - 1)
                                       : node);
    }
    frontier = next;
  }
  keep(top);
  std::set<int64_t> blocks;
  for (const Node &node : frontier)
    blocks.insert(node.first);
  return blocks;
}

Case lselTreeCase() {
  auto set = [](Problem &p, int64_t length) {
    lselDims(p, length);
    // Native code bounds the levels of a tree, however long the sequence.
    p.params["block"] = length > 64 ? 8.0 : 2.0;
    p.params["fanout"] = length > 64 ? 8.0 : 2.0;
    p.params["beam"] = 2.0;
  };
  auto naive = [](const Problem &p, Expected &expected) {
    Chosen chosen;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t row = 0; row < p.dim("Tq"); ++row)
        chosen[{b, row}] = beamSearch(p, b, row, 2, 2, 2, 2);
    listedAttention(p, expected, chosen, 2);
  };
  return {"lsel_tree", set, naive};
}

} // namespace

std::vector<Case> heddle::test::selectionCases() {
  return {mobaCase(), nsaCase(), dsaCase(), csaCase(), hcaCase(), lselCase(), lselTreeCase()};
}

TEST_CASE("selection: every file computes its naive formula") {
  for (const Case &check : selectionCases())
    checkCase(check);
}
