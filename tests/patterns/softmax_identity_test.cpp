// The softmax family against formulas written out here (no code of the interpreter), and the
// identities between its patterns: merges, sinks, empty rows, windows, positions, heads, RoPE,
// paged and packed storage.
#include "tests/support/PatternInputs.h"

#include <limits>

using namespace heddle;
using namespace heddle::test;

namespace {

/// What one row sees and how its scores are made.
struct Naive {
  std::function<bool(int64_t i, int64_t j)> visible = [](int64_t i, int64_t j) { return j <= i; };
  std::function<double(double s, int64_t h, int64_t i, int64_t j)> chain =
      [](double s, int64_t, int64_t, int64_t) { return s; };
  double sink = -std::numeric_limits<double>::infinity();
  bool topLeft = false;
};

/// Attention as the textbook writes it: softmax over the visible keys of one row at a time.
void naiveSoftmax(const Inputs &in, const Naive &naive, Tensor &o, Tensor &lse) {
  const Tensor &q = in.at("q"), &k = in.at("k"), &v = in.at("v");
  int64_t B = q.shape[0], Tq = q.shape[1], Hq = q.shape[2], D = q.shape[3];
  int64_t Tk = k.shape[1], Hk = k.shape[2], E = v.shape[3];
  o = Tensor({B, Tq, Hq, E});
  lse = Tensor({B, Tq, Hq}, -std::numeric_limits<double>::infinity());
  for (int64_t b = 0; b < B; ++b)
    for (int64_t row = 0; row < Tq; ++row)
      for (int64_t h = 0; h < Hq; ++h) {
        int64_t i = naive.topLeft ? row : row + Tk - Tq;
        double sum = std::exp(naive.sink);
        std::vector<double> weights(Tk, 0.0);
        for (int64_t j = 0; j < Tk; ++j) {
          double s = 0;
          for (int64_t d = 0; d < D; ++d)
            s += q({b, row, h, d}) * k({b, j, h / (Hq / Hk), d});
          if (naive.visible(i, j))
            weights[j] = std::exp(naive.chain(s / std::sqrt(double(D)), h, i, j));
          sum += weights[j];
        }
        if (sum == 0)
          continue;
        lse({b, row, h}) = std::log(sum);
        for (int64_t j = 0; j < Tk; ++j)
          for (int64_t e = 0; e < E; ++e)
            o({b, row, h, e}) += weights[j] / sum * v({b, j, h / (Hq / Hk), e});
      }
}

const std::string kTypes = "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x E>";

/// Softmax with these clauses, giving r_o and r_lse.
PatternRun softmax(const std::string &clauses, const std::string &arguments = "") {
  return PatternRun::text(mixPattern(arguments, clauses + " weight exp norm sum", "o lse", kTypes));
}

Inputs inputsOf(PatternRun &run, int64_t Tq, int64_t Tk, int64_t Hq = 4, int64_t Hk = 2,
                Dims more = {}) {
  Dims dims = {{"B", 2}, {"Tq", Tq}, {"Tk", Tk}, {"Hq", Hq}, {"Hk", Hk}, {"D", 6}, {"E", 3}};
  dims.merge(more);
  return randomInputs(run, dims, uint64_t(Tq * 100 + Tk));
}

void compare(PatternRun &run, const Inputs &inputs, const Naive &naive, const Params &params = {}) {
  Tensor o, lse;
  naiveSoftmax(inputs, naive, o, lse);
  auto found = run(inputs, params);
  requireSame(found.at("r_o"), o, 1e-13);
  requireSame(found.at("r_lse"), lse, 1e-13);
}

} // namespace

TEST_CASE("softmax equals the formula, over irregular sizes", "[identity]") {
  PatternRun causal = softmax("support (i, j) { j <= i }");
  PatternRun topLeft = softmax("align top_left");
  PatternRun windowed = softmax("support (i, j) { j <= i and i - j < W }", ", W = 3");
  PatternRun prefix = softmax("support (i, j) { j <= i or j < 4 }");
  PatternRun capped = softmax("score (s) { 0.7 * tanh(s * rsqrt(D) / 0.7) }");
  PatternRun biased = softmax("score (s, h, i, j) { s * rsqrt(D) - 0.25 * (h + 1) * (i - j) }");
  PatternRun sunk = softmax("sink { 0.3 }");
  for (auto [Tq, Tk] : {std::pair{1, 1}, {7, 7}, {1, 13}, {5, 13}, {13, 5}, {17, 19}, {3, 300}}) {
    INFO("Tq " << Tq << ", Tk " << Tk);
    Inputs inputs = inputsOf(causal, Tq, Tk);
    Naive naive;
    compare(causal, inputs, naive);
    Naive capNaive = naive, biasNaive = naive, sinkNaive = naive, leftNaive = naive;
    leftNaive.topLeft = true;
    compare(topLeft, inputs, leftNaive);
    capNaive.chain = [](double s, int64_t, int64_t, int64_t) { return 0.7 * std::tanh(s / 0.7); };
    compare(capped, inputs, capNaive);
    biasNaive.chain = [](double s, int64_t h, int64_t i, int64_t j) {
      return s - 0.25 * double(h + 1) * double(i - j);
    };
    compare(biased, inputs, biasNaive);
    sinkNaive.sink = 0.3;
    compare(sunk, inputs, sinkNaive);
    naive.visible = [](int64_t i, int64_t j) { return j <= i && i - j < 3; };
    compare(windowed, inputs, naive);
    naive.visible = [](int64_t i, int64_t j) { return j <= i || j < 4; };
    compare(prefix, inputs, naive);
  }
}

/// Every known number of `some` is that of `all` at its place.
void expectPart(const compiler::Output &some, const compiler::Output &all) {
  REQUIRE(some.shape == all.shape);
  REQUIRE(some.places.size() == some.values.size());
  for (size_t n = 0; n < some.places.size(); ++n)
    CHECK(some.values[n] == all.values[some.places[n]]);
}

TEST_CASE("chosen rows are those of the whole", "[identity]") {
  PatternRun run = softmax("support (i, j) { j <= i and i - j < 9 }");
  Inputs inputs = inputsOf(run, 11, 23);
  auto all = run.tryRun(inputs);
  compiler::RowSelection rows{{{1, 3, 10}, {0, 0, 0}, {0, 2, 5}, {1, 3, 2}}};
  auto some = run.tryRun(inputs, {}, Evaluator::Auto, rows);
  REQUIRE(some.ok());
  const compiler::Output *o = some->find("r_o"), *lse = some->find("r_lse");
  expectPart(*o, *all->find("r_o"));
  expectPart(*lse, *all->find("r_lse"));
  CHECK(o->values.size() == 4 * 3);
  CHECK(lse->values.size() == 4);
  CHECK(lse->places.front() == 0); // (0, 0, 0) of [2, 11, 4]
  CHECK(lse->places.back() == (11 + 10) * 4 + 3);
}

TEST_CASE("work counts the unmasked pairs exactly", "[identity]") {
  PatternRun causal = softmax("support (i, j) { j <= i }");
  PatternRun byHead = softmax("support (h, i, j) { j <= i and i - j <= h }");
  Inputs inputs = inputsOf(causal, 5, 7); // rows see 3..7 keys: 25 pairs
  auto work = compiler::measureWork(causal.def, PatternRun::bind(inputs));
  REQUIRE(work.ok());
  CHECK(work->pairs == 2 * 4 * 25);
  CHECK(work->flops == 2.0 * 2 * 4 * 25 * (6 + 3));
  work = compiler::measureWork(byHead.def, PatternRun::bind(inputs));
  REQUIRE(work.ok());
  CHECK(work->pairs == 2 * 5 * (1 + 2 + 3) + 2 * (3 + 4 + 4 + 4 + 4));
}

TEST_CASE("merging parts by LSE, in any order and with empty ones, is the whole", "[identity]") {
  const std::string mixes = "(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x E>, "
                            "p1 = 0, p2 = 0, p3 = 0, p4 = 0) {\n";
  auto part = [](const std::string &n, const std::string &low, const std::string &high) {
    return "  %o" + n + ", %l" + n + " = mix %q, %k, %v support (i, j) { j <= i and " + low +
           " <= j and j < " + high + " } weight exp norm sum\n";
  };
  std::string parts = part("1", "p1", "p2") + part("2", "p2", "p3") + part("3", "p3", "p4");
  PatternRun whole = softmax("support (i, j) { j <= i }");
  PatternRun forward = PatternRun::text(
      "pattern.def @m" + mixes + parts +
      "  %o, %lse = merge lse (%o1, %l1), (%o2, %l2), (%o3, %l3)\n  return %o, %lse\n}\n");
  PatternRun folded =
      PatternRun::text("pattern.def @m" + mixes + parts +
                       "  %oa, %la = merge lse (%o3, %l3), (%o1, %l1)\n"
                       "  %o, %lse = merge lse (%o2, %l2), (%oa, %la)\n  return %o, %lse\n}\n");
  Inputs inputs = inputsOf(whole, 6, 9);
  auto expected = whole(inputs);
  for (auto [y, z] : {std::pair{3, 5}, {0, 9}, {4, 4}, {9, 9}, {0, 0}})
    for (PatternRun *run : {&forward, &folded}) {
      auto found = (*run)(inputs, {{"p1", 0}, {"p2", y}, {"p3", z}, {"p4", 9}});
      requireSame(found.at("o"), expected.at("r_o"));
      requireSame(found.at("lse"), expected.at("r_lse"));
    }
}

TEST_CASE("a sink after the softmax is a factor sigmoid(L - sink)", "[identity]") {
  PatternRun without = softmax("support (i, j) { j <= i }"), with = softmax("sink { -0.4 }");
  Inputs inputs = inputsOf(without, 9, 7); // the first two rows are empty
  auto plain = without(inputs), sunk = with(inputs);
  for (int64_t n = 0; n < plain.at("r_lse").elements(); ++n) {
    double l = plain.at("r_lse").data[n], all = std::log(std::exp(l) + std::exp(-0.4));
    CHECK(sunk.at("r_lse").data[n] == Approx(all).epsilon(1e-13));
    for (int64_t e = 0; e < 3; ++e)
      CHECK(sunk.at("r_o").data[n * 3 + e] ==
            Approx(plain.at("r_o").data[n * 3 + e] / (1 + std::exp(-0.4 - l))).margin(1e-14));
  }
}

TEST_CASE("empty rows, equal scores, huge scores", "[identity]") {
  PatternRun empty = softmax("support { false }");
  Inputs inputs = inputsOf(empty, 3, 5);
  auto nothing = empty(inputs);
  for (double x : nothing.at("r_o").data)
    CHECK(x == 0);
  for (double x : nothing.at("r_lse").data)
    CHECK(x == -std::numeric_limits<double>::infinity());
  PatternRun noKeys = softmax("support { true }");
  nothing = noKeys(inputsOf(noKeys, 3, 0));
  for (double x : nothing.at("r_lse").data)
    CHECK(x == -std::numeric_limits<double>::infinity());

  PatternRun equal = softmax("support { true } score (s) { 3.0 }");
  auto mean = equal(inputs);
  const Tensor &v = inputs.at("v");
  for (int64_t e = 0; e < 3; ++e) {
    double sum = 0;
    for (int64_t j = 0; j < 5; ++j)
      sum += v({1, j, 1, e});
    CHECK(mean.at("r_o")({1, 2, 3, e}) == Approx(sum / 5).epsilon(1e-13));
  }
  for (const char *score : {"score (s, j) { 10000.0 - j }", "score (s, j) { j - 10000.0 }",
                            "score (s, j) { 10000.0 * (1 - 2 * (j mod 2)) }"}) {
    auto huge = softmax(std::string("support { true } ") + score)(inputs);
    for (const char *name : {"r_o", "r_lse"})
      for (double x : huge.at(name).data) {
        INFO(score << ", " << name << " = " << x);
        REQUIRE(std::isfinite(x));
      }
  }
}

TEST_CASE("patterns that must coincide", "[identity]") {
  PatternRun causal = softmax("support (i, j) { j <= i }"), dense = softmax("support { true }");
  Inputs inputs = inputsOf(causal, 9, 9), more = inputsOf(causal, 4, 9);
  auto sameAs = [&](PatternRun &a, PatternRun b, const Inputs &in) {
    auto x = a(in), y = b(in);
    requireSame(x.at("r_o"), y.at("r_o"));
    requireSame(x.at("r_lse"), y.at("r_lse"));
  };
  sameAs(causal, softmax("support (i, j) { j <= i and i - j < 9 }"), inputs);
  sameAs(causal, softmax("support (i, j) { j <= i or j < 0 }"), more);
  sameAs(dense, softmax("support (i, j) { j <= i or j < Tk }"), more);
  PatternRun alibi = softmax("score (s, i, j) { s * rsqrt(D) - 0.5 * (i - j) }");
  sameAs(alibi, softmax("decay constant { -0.5 }"), more);

  // The last rows of the square problem.
  Inputs last = inputs;
  last["q"] = slice(inputs.at("q"), 1, 5, 9);
  requireSame(causal(last).at("r_o"), slice(causal(inputs).at("r_o"), 1, 5, 9));
  requireSame(causal(last).at("r_lse"), slice(causal(inputs).at("r_lse"), 1, 5, 9));
}

TEST_CASE("grouped heads are repeated heads", "[identity]") {
  PatternRun run = softmax("support (i, j) { j <= i }");
  Inputs grouped = inputsOf(run, 5, 8, 6, 2), repeated = grouped;
  for (const char *name : {"k", "v"}) {
    const Tensor &t = grouped.at(name);
    Tensor wide({t.shape[0], t.shape[1], 6, t.shape[3]});
    for (int64_t n = 0; n < t.shape[0] * t.shape[1]; ++n)
      for (int64_t h = 0; h < 6; ++h)
        for (int64_t d = 0; d < t.shape[3]; ++d)
          wide.data[(n * 6 + h) * t.shape[3] + d] = t.data[(n * 2 + h / 3) * t.shape[3] + d];
    repeated[name] = wide;
  }
  requireSame(run(grouped).at("r_o"), run(repeated).at("r_o"));
}

TEST_CASE("RoPE: only differences of positions count; interleaved is a permuted half",
          "[identity]") {
  auto rope = [](const std::string &options) {
    return softmax("features q [rope(base = 100.0, pos = i + shift" + options +
                       ")] features k [rope(base = 100.0, pos = j + shift" + options + ")]",
                   ", shift = 0");
  };
  PatternRun half = rope(", pairing = half"), interleaved = rope(", pairing = interleaved");
  Inputs inputs = inputsOf(half, 5, 8);
  requireSame(half(inputs, {{"shift", 1000}}).at("r_o"), half(inputs).at("r_o"), 1e-12);
  Inputs permuted = inputs;
  for (const char *name : {"q", "k"})
    for (int64_t row = 0; row < inputs.at(name).elements() / 6; ++row)
      for (int64_t f = 0; f < 3; ++f) {
        permuted[name].data[row * 6 + 2 * f] = inputs.at(name).data[row * 6 + f];
        permuted[name].data[row * 6 + 2 * f + 1] = inputs.at(name).data[row * 6 + 3 + f];
      }
  requireSame(interleaved(permuted).at("r_o"), half(inputs).at("r_o"));
  // Rotating changes something at all.
  CHECK(half(inputs).at("r_lse").data != softmax("align bottom_right")(inputs).at("r_lse").data);
}

TEST_CASE("absorbed latent attention is the expanded one", "[identity]") {
  Random random(5);
  const int64_t B = 2, T = 7, H = 3, Dn = 4, Dr = 2, Dc = 5, Dv = 3;
  Inputs in = {{"q_nope", random.tensor({B, T, H, Dn})},
               {"q_rope", random.tensor({B, T, H, Dr})},
               {"cache", random.tensor({B, T, 1, Dc + Dr})},
               {"w_uk", random.tensor({H, Dn, Dc})},
               {"w_uv", random.tensor({H, Dv, Dc})}};
  auto absorbed = PatternRun::library("mla")(in);
  // Expanded here: keys [W_uk c; rope part], values W_uv c, the query's rope part rotated by hand.
  Inputs expanded = {{"q", Tensor({B, T, H, Dn + Dr})},
                     {"k", Tensor({B, T, H, Dn + Dr})},
                     {"v", Tensor({B, T, H, Dv})}};
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      for (int64_t h = 0; h < H; ++h) {
        const Tensor &cache = in.at("cache");
        for (int64_t n = 0; n < Dn; ++n) {
          expanded["q"]({b, t, h, n}) = in.at("q_nope")({b, t, h, n});
          for (int64_t c = 0; c < Dc; ++c)
            expanded["k"]({b, t, h, n}) += in.at("w_uk")({h, n, c}) * cache({b, t, 0, c});
        }
        double x = in.at("q_rope")({b, t, h, 0}), y = in.at("q_rope")({b, t, h, 1});
        expanded["q"]({b, t, h, Dn}) = x * std::cos(double(t)) - y * std::sin(double(t));
        expanded["q"]({b, t, h, Dn + 1}) = x * std::sin(double(t)) + y * std::cos(double(t));
        for (int64_t r = 0; r < Dr; ++r)
          expanded["k"]({b, t, h, Dn + r}) = cache({b, t, 0, Dc + r});
        for (int64_t e = 0; e < Dv; ++e)
          for (int64_t c = 0; c < Dc; ++c)
            expanded["v"]({b, t, h, e}) += in.at("w_uv")({h, e, c}) * cache({b, t, 0, c});
      }
  Tensor o, lse;
  naiveSoftmax(expanded, Naive(), o, lse);
  requireSame(absorbed.at("o"), o, 1e-12);
  requireSame(absorbed.at("lse"), lse, 1e-12);
}

TEST_CASE("packed sequences are runs of their own, empty ones too", "[identity]") {
  PatternRun packed = PatternRun::library("varlen"), single = softmax("support (i, j) { j <= i }");
  Random random(11);
  const std::vector<int64_t> lengthsQ = {3, 0, 5, 1, 0}, lengthsK = {4, 0, 5, 7, 2};
  Inputs in = {{"q", random.tensor({9, 4, 6})},
               {"k", random.tensor({18, 2, 6})},
               {"v", random.tensor({18, 2, 3})},
               {"cu_q", Tensor({6})},
               {"cu_k", Tensor({6})}};
  for (size_t n = 0; n < 5; ++n) {
    in["cu_q"].data[n + 1] = in["cu_q"].data[n] + double(lengthsQ[n]);
    in["cu_k"].data[n + 1] = in["cu_k"].data[n] + double(lengthsK[n]);
  }
  auto all = packed(in);
  for (size_t n = 0; n < 5; ++n) {
    Inputs one;
    for (const char *name : {"q", "k", "v"}) {
      const Tensor &cu = in.at(*name == 'q' ? "cu_q" : "cu_k");
      one[name] = slice(in.at(name), 0, int64_t(cu.data[n]), int64_t(cu.data[n + 1]));
      one[name].shape.insert(one[name].shape.begin(), 1);
    }
    auto expected = single(one);
    Tensor rows =
        slice(all.at("o"), 0, int64_t(in["cu_q"].data[n]), int64_t(in["cu_q"].data[n + 1]));
    rows.shape.insert(rows.shape.begin(), 1);
    requireSame(rows, expected.at("r_o"));
  }
  in["cu_k"].data[2] = 3; // descends
  REQUIRE(!packed.tryRun(in).ok());
}

TEST_CASE("paged keys are dense keys; unused slots may hold NaN", "[identity]") {
  PatternRun paged = PatternRun::library("paged_kv"), dense = softmax("support (i, j) { j <= i }");
  Random random(13);
  const int64_t page = 4, pages = 7;
  const std::vector<int64_t> lengths = {9, 6};
  const std::vector<std::vector<double>> tables = {{5, 0, 3}, {2, 6, 0}};
  Inputs in = {{"q", random.tensor({2, 3, 4, 6})},
               {"k", Tensor({pages, page, 2, 6}, NAN)},
               {"v", Tensor({pages, page, 2, 3}, NAN)},
               {"table", Tensor({2, 3})},
               {"length", Tensor({2})}};
  for (int64_t b = 0; b < 2; ++b) {
    in["length"].data[b] = double(lengths[b]);
    Inputs one = {{"q", slice(in.at("q"), 0, b, b + 1)},
                  {"k", random.tensor({1, lengths[b], 2, 6})},
                  {"v", random.tensor({1, lengths[b], 2, 3})}};
    for (int64_t p = 0; p < 3; ++p)
      in["table"]({b, p}) = tables[b][p];
    for (int64_t j = 0; j < lengths[b]; ++j)
      for (int64_t h = 0; h < 2; ++h) {
        int64_t slot = int64_t(tables[b][j / page]);
        for (int64_t d = 0; d < 6; ++d)
          in["k"]({slot, j % page, h, d}) = one["k"]({0, j, h, d});
        for (int64_t e = 0; e < 3; ++e)
          in["v"]({slot, j % page, h, e}) = one["v"]({0, j, h, e});
      }
    requireSame(slice(paged(in).at("o"), 0, b, b + 1), dense(one).at("r_o"));
  }
  in["table"]({0, 1}) = 9; // outside the pool
  auto refused = paged.tryRun(in);
  REQUIRE(!refused.ok());
  CHECK(refused.error().message.find("page 1 of sequence 0 is 9") != std::string::npos);
}
