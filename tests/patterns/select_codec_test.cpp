// Selection against lists made here, quantisers against their error bounds, and quantised caches
// against the plain pattern on decoded keys and values.
#include "compiler/interpreter/Codec.h"
#include "tests/support/PatternInputs.h"

#include <algorithm>
#include <numeric>

using namespace heddle;
using namespace heddle::compiler;
using namespace heddle::test;

namespace {

const std::string kTypes = "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>";

Inputs attentionInputs(int64_t Tq, int64_t Tk, uint64_t seed) {
  Random random(seed);
  return {{"q", random.tensor({2, Tq, 4, 6})},
          {"k", random.tensor({2, Tk, 2, 6})},
          {"v", random.tensor({2, Tk, 2, 3})}};
}

} // namespace

TEST_CASE("selecting all that is visible is dense", "[identity]") {
  PatternRun dense = PatternRun::library("causal_softmax");
  PatternRun listed = PatternRun::text(
      "pattern.def @all(" + kTypes +
      ") {\n"
      "  %idx = select top(9) (row, h, n) in (Tq, Hq, Tk)\n"
      "    score { sum[d < D] { q[row, h, d] * k[n, h div G, d] } } visible { n <= row + Tk - Tq "
      "}\n"
      "  %o, %lse = mix %q, %k, %v support (row, h, j) { j in idx[row, h] } weight exp norm sum\n"
      "  return %o, %lse, %idx\n}\n");
  Inputs in = attentionInputs(5, 9, 1);
  auto expected = dense(in), found = listed(in);
  requireSame(found.at("o"), expected.at("o"));
  requireSame(found.at("lse"), expected.at("lse"));
  // Row 0 sees keys 0..4: they are listed in order, then -1.
  for (int64_t n = 0; n < 9; ++n)
    CHECK(found.at("idx")({1, 0, 2, n}) == (n <= 4 ? double(n) : -1.0));
}

TEST_CASE("top k by score, ties to the smaller index, forced ones first", "[identity]") {
  PatternRun run =
      PatternRun::text("pattern.def @some(%s: seq<T x N>) {\n"
                       "  %idx = select top(3) (row, n) in (T, N) score { floor(s[row, n] * 4) }\n"
                       "    visible { n <> 2 } forced { n == 5 or n == 2 }\n  return %idx\n}\n");
  Random random(2);
  Inputs in = {{"s", random.tensor({3, 4, 11})}};
  auto idx = run(in).at("idx");
  for (int64_t b = 0; b < 3; ++b)
    for (int64_t row = 0; row < 4; ++row) {
      std::vector<int64_t> order(11);
      std::iota(order.begin(), order.end(), 0);
      std::erase(order, 2);
      auto key = [&](int64_t n) { return n == 5 ? 100 : std::floor(in["s"]({b, row, n}) * 4); };
      std::sort(order.begin(), order.end(),
                [&](int64_t x, int64_t y) { return key(x) != key(y) ? key(x) > key(y) : x < y; });
      order.resize(3);
      std::sort(order.begin(), order.end());
      for (int64_t n = 0; n < 3; ++n)
        CHECK(idx({b, row, n}) == double(order[n]));
    }
}

TEST_CASE("the selected set is what attention then sees", "[identity]") {
  PatternRun moba = PatternRun::library("moba");
  PatternRun given = PatternRun::text(
      "pattern.def @given(" + kTypes +
      ", %idx: seq<i32, Tq x Hq x N>, c = 1) {\n"
      "  %o, %lse = mix %q, %k, %v support (row, h, i, j) { j <= i and j div c in idx[row, h] }\n"
      "    weight exp norm sum\n  return %o, %lse\n}\n");
  Inputs in = attentionInputs(7, 12, 3);
  // The list made here: the own block, and the better of the earlier whole ones by q . mean k.
  Tensor idx({2, 7, 4, 2}, -1);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t row = 0; row < 7; ++row)
      for (int64_t h = 0; h < 4; ++h) {
        int64_t p = row + 5, own = p / 3, best = -1;
        double bestGate = -INFINITY;
        for (int64_t n = 0; (n + 1) * 3 <= p; ++n) {
          double gate = 0;
          for (int64_t j = 3 * n; j < 3 * n + 3; ++j)
            for (int64_t d = 0; d < 6; ++d)
              gate += in["q"]({b, row, h, d}) * in["k"]({b, j, h / 2, d}) / 3;
          if (n != own && gate > bestGate)
            best = n, bestGate = gate;
        }
        idx({b, row, h, 0}) = double(own);
        idx({b, row, h, 1}) = double(best);
      }
  Inputs listed = in;
  listed["idx"] = idx;
  requireSame(moba(in, {{"c", 3}, {"K", 2}}).at("o"), given(listed, {{"c", 3}}).at("o"));
}

TEST_CASE("LSEL with room for all keys is dense; its lists keep to what was refreshed",
          "[identity]") {
  PatternRun buckets = PatternRun::library("lsel"), dense = PatternRun::library("causal_softmax");
  Inputs in = attentionInputs(6, 20, 4);
  Random random(5);
  in["route"] = random.tensor({2, 6, 3});
  in["key"] = random.tensor({2, 20, 3});
  in["centroids"] = random.tensor({4, 3});
  Params all = {{"top", 20}, {"visit", 4}, {"capacity", 20}, {"refresh", 4}, {"w", 3}, {"n", 0}};
  Inputs plain = {{"q", in["q"]}, {"k", in["k"]}, {"v", in["v"]}};
  requireSame(buckets(in, all).at("o"), dense(plain).at("o"));

  PatternRun lists = PatternRun::text(
      "pattern.def @lists(%a: seq<Tq x R>, %c: seq<Tk x R>, %mu: tensor<M x R>) {\n"
      "  %idx = select bucket(5) (row, j) in (Tq, Tk) route %a key %c centroids %mu\n"
      "    visit { 4 } capacity { 20 } refresh { 8 }\n"
      "  %blocks = select tree(2) (row, j) in (Tq, Tk) route %a key %c\n"
      "    block { 2 } fanout { 2 } beam { 8 } refresh { 8 }\n"
      "  return %idx, %blocks\n}\n");
  Inputs routes = {{"a", in["route"]}, {"c", in["key"]}, {"mu", in["centroids"]}};
  auto found = lists(routes);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t row = 0; row < 6; ++row) {
      int64_t known = (row + 14) / 8 * 8;
      std::vector<int64_t> keys(known), blocks(known / 2);
      std::iota(keys.begin(), keys.end(), 0);
      std::iota(blocks.begin(), blocks.end(), 0);
      auto score = [&](int64_t j) {
        double s = 0;
        for (int64_t r = 0; r < 3; ++r)
          s += in["route"]({b, row, r}) * in["key"]({b, j, r});
        return s;
      };
      std::sort(keys.begin(), keys.end(), [&](auto x, auto y) { return score(x) > score(y); });
      std::sort(blocks.begin(), blocks.end(), [&](auto x, auto y) {
        return score(2 * x) + score(2 * x + 1) > score(2 * y) + score(2 * y + 1);
      });
      keys.resize(5);
      blocks.resize(2);
      std::sort(keys.begin(), keys.end());
      std::sort(blocks.begin(), blocks.end());
      for (int64_t n = 0; n < 5; ++n)
        CHECK(found.at("idx")({b, row, n}) == double(keys[n]));
      for (int64_t n = 0; n < 2; ++n) // a beam as wide as the tree visits every leaf
        CHECK(found.at("blocks")({b, row, n}) == double(blocks[n]));
    }
}

TEST_CASE("a full bucket forgets its least salient key", "[identity]") {
  PatternRun run = PatternRun::text(
      "pattern.def @full(%a: seq<Tq x R>, %c: seq<Tk x R>, %mu: tensor<M x R>) {\n"
      "  %idx = select bucket(9) (row, j) in (Tq, Tk) route %a key %c centroids %mu\n"
      "    visit { 1 } capacity { 2 } refresh { 1 }\n  return %idx\n}\n");
  // One bucket; saliences 3 1 2 1 5: after five keys the two most salient are 0 and 4.
  Inputs in = {{"a", Tensor({1, 6, 1}, 1.0)},
               {"c", Tensor({1, 6, 1}, {3, 1, 2, 1, 5, 0})},
               {"mu", Tensor({1, 1}, 1.0)}};
  auto idx = run(in).at("idx");
  const std::vector<std::vector<double>> expected = {{}, {0}, {0, 1}, {0, 2}, {0, 2}, {0, 4}};
  for (int64_t row = 0; row < 6; ++row)
    for (int64_t n = 0; n < 9; ++n)
      CHECK(idx({0, row, n}) == (n < int64_t(expected[row].size()) ? expected[row][n] : -1.0));
}

TEST_CASE("round trips stay within half a step", "[codec]") {
  Random random(21);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> x(64);
    for (double &e : x)
      e = random.uniform(-3, 3);
    GroupCode int8 = encodeInt8(x), int4 = encodeInt4(x);
    for (size_t n = 0; n < x.size(); ++n) {
      CHECK(std::fabs(int8.decode(n) - x[n]) <= int8.scale / 2 * (1 + 1e-12));
      // The zero point is rounded too: at the ends of the range a code is clamped by up to half.
      CHECK(std::fabs(int4.decode(n) - x[n]) <= int4.scale * (1 + 1e-12));
      double scale = scaleOfFp8(DType::F8E4M3, x), y = roundTo(DType::F8E4M3, x[n] / scale) * scale;
      if (std::fabs(x[n] / scale) >= 0x1p-6)
        CHECK(std::fabs(y - x[n]) <= std::fabs(x[n]) * 0x1p-4 * (1 + 1e-12));
    }
    std::vector<uint8_t> packed = packNibbles(int4.codes);
    for (size_t n = 0; n < x.size(); ++n)
      CHECK(unpackNibble(packed, int64_t(n)) == int4.codes[n]);
  }
  CHECK(encodeInt8(std::vector<double>{1, -2.54, 0}).codes == std::vector<int>{50, -127, 0});
  CHECK(encodeInt8(std::vector<double>(4, 0.0)).codes == std::vector<int>(4, 0));
}

TEST_CASE("TurboQuant: codebook, distortion, and the slope of inner products", "[codec]") {
  const double expected[] = {0.363, 0.117, 0.0345, 0.0095};
  const int64_t d = 128;
  CHECK(turboCodebook(1, 1)[1] == Approx(0.798).margin(1e-3));
  CHECK(turboCodebook(2, 1)[3] == Approx(1.510).margin(1e-3));
  CHECK(turboCodebook(3, 1)[4] == Approx(0.245).margin(1e-3));
  CHECK(turboCodebook(3, 1)[7] == Approx(2.152).margin(1e-3));
  Random random(31);
  // A random rotation: Gram-Schmidt on random rows.
  std::vector<double> rotation(d * d), sketch(d * d);
  for (double &x : sketch)
    x = random.normal();
  for (int64_t r = 0; r < d; ++r) {
    double *row = rotation.data() + r * d;
    for (int64_t c = 0; c < d; ++c)
      row[c] = random.normal();
    for (int64_t p = 0; p <= r; ++p) {
      double *other = rotation.data() + p * d;
      double product = std::inner_product(row, row + d, other, 0.0);
      for (int64_t c = 0; c < d; ++c)
        row[c] = p < r ? row[c] - product * other[c] : row[c] / std::sqrt(product);
    }
  }
  for (int bits = 1; bits <= 4; ++bits) {
    std::vector<double> book = turboCodebook(bits, d);
    double distortion = 0, slope = 0, norm = 0;
    const int count = 200;
    for (int n = 0; n < count; ++n) {
      std::vector<double> x(d), y(d);
      for (int64_t e = 0; e < d; ++e) {
        x[e] = random.normal();
        y[e] = x[e] + random.normal();
      }
      std::vector<double> found = decodeTurbo(encodeTurbo(x, rotation, book), rotation, book);
      double error = 0, size = 0;
      for (int64_t e = 0; e < d; ++e) {
        error += (found[e] - x[e]) * (found[e] - x[e]);
        size += x[e] * x[e];
      }
      distortion += error / size / count;
      found =
          decodeTurboProduct(encodeTurboProduct(x, rotation, book, sketch), rotation, book, sketch);
      double exact = std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
      slope += exact * std::inner_product(found.begin(), found.end(), y.begin(), 0.0);
      norm += exact * exact;
    }
    INFO("bits " << bits);
    CHECK(distortion == Approx(expected[bits - 1]).epsilon(0.05));
    CHECK(slope / norm == Approx(1).margin(0.02));
  }
}

TEST_CASE("a quantised cache is the plain pattern on decoded keys and values", "[codec]") {
  PatternRun plain = PatternRun::library("causal_softmax");
  Inputs in = attentionInputs(4, 9, 41), coded = in, decoded = in;
  PatternRun int8 = PatternRun::text(
      "pattern.def @int8(" + kTypes +
      ", %ks: seq<Tk x Hk>, %vs: seq<Tk x Hk>) {\n"
      "  %o, %lse = mix %q, %k, %v codec k { x * ks[j, hk] } codec v { x * vs[j, hk] }\n"
      "    weight exp norm sum\n  return %o, %lse\n}\n");
  for (const char *name : {"k", "v"}) {
    const Tensor &t = in.at(name);
    int64_t width = t.shape[3];
    Tensor scales({2, 9, 2});
    for (int64_t row = 0; row < t.elements() / width; ++row) {
      GroupCode code = encodeInt8({t.data.data() + row * width, size_t(width)});
      scales.data[row] = code.scale;
      for (int64_t d = 0; d < width; ++d) {
        coded[name].data[row * width + d] = code.codes[d];
        decoded[name].data[row * width + d] = code.decode(d);
      }
    }
    coded[std::string(name) + "s"] = scales;
  }
  requireSame(int8(coded).at("o"), plain(decoded).at("o"));
  CHECK(int8(coded).at("o").data != plain(in).at("o").data);
}

TEST_CASE("what does not fit is named", "[errors]") {
  PatternRun run = PatternRun::library("causal_softmax");
  auto messageOf = [&](const Inputs &in, const Params &params = {}) {
    auto result = run.tryRun(in, params);
    REQUIRE(!result.ok());
    CHECK(result.error().code == ErrorCode::InvalidArgument);
    return result.error().message;
  };
  Inputs in = attentionInputs(3, 3, 51), bad = in;
  bad["k"] = Tensor({2, 3, 2, 5});
  CHECK(messageOf(bad) == "k: dim D is 5, but q has D = 6");
  bad = in;
  bad["v"] = Tensor({2, 3, 2});
  CHECK(messageOf(bad) ==
        "v: found rank 3, shape [2, 3, 2]; expected rank 4 for seq<Tk x Hk x Dv> with the batch "
        "first");
  bad = in;
  bad.erase("v");
  CHECK(messageOf(bad) == "v: the tensor is missing, expected seq<Tk x Hk x Dv>");
  bad = in;
  bad["w"] = Tensor({1});
  CHECK(messageOf(bad) == "w: pattern causal_softmax has no such tensor");
  bad = in;
  bad["q"] = Tensor({2, 3, 3, 6});
  CHECK(messageOf(bad) == "Hq = 3 is not a multiple of Hk = 2");
  CHECK(messageOf(in, {{"W", 1}}) == "W: pattern causal_softmax has no such parameter");
  PatternRun capped = PatternRun::library("softcap");
  auto nan = capped.tryRun(in, {{"cap", NAN}});
  REQUIRE(!nan.ok());
  CHECK(nan.error().message == "parameter cap is nan, expected a finite number");
  auto scan = run.tryRun(in, {}, Evaluator::Scan);
  REQUIRE(!scan.ok());
  CHECK(scan.error().code == ErrorCode::Unsupported);
  auto windowed = PatternRun::text(mixPattern(
      "", "support (i, j) { j <= i and i - j < 2 } score (s) { s } weight id norm none"));
  auto refused =
      windowed.tryRun(randomInputs(windowed, {{"B", 1}, {"T", 5}, {"H", 1}, {"K", 2}, {"V", 2}}, 1),
                      {}, Evaluator::Scan);
  REQUIRE(!refused.ok());
  CHECK(refused.error().code == ErrorCode::Unsupported);
}
