// Where tokens lie must not matter: ring caches, pages in both orders and by row pointers, strided
// and bf16 views, v as features of k, all against plain dense tensors.
#include "tests/support/PatternInputs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

const std::string kTypes = "%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x E>";

PatternRun softmax(const std::string &clauses, const std::string &arguments,
                   const std::string &types = kTypes) {
  return PatternRun::text(mixPattern(arguments, clauses + " weight exp norm sum", "o lse", types));
}

Inputs denseInputs(int64_t Tq, int64_t Tk) {
  Random random(uint64_t(17 + Tk));
  return {{"q", random.tensor({1, Tq, 4, 6})},
          {"k", random.tensor({1, Tk, 2, 6})},
          {"v", random.tensor({1, Tk, 2, 3})}};
}

void requireSameResults(PatternRun &run, const Inputs &in, PatternRun &other, const Inputs &same) {
  auto found = run(in), expected = other(same);
  requireSame(found.at("r_o"), expected.at("r_o"));
  requireSame(found.at("r_lse"), expected.at("r_lse"));
}

} // namespace

TEST_CASE("a ring holds the first keys and the newest", "[storage]") {
  const int64_t size = 8, keep = 2, length = 17; // slots 2..7 hold the newest six: 11..16
  PatternRun ring =
      softmax("layout ring len %n keep { 2 } support (i, j) { j <= i }", ", %n: seq<i32>");
  PatternRun dense = softmax("support (i, j) { j <= i and (j < 2 or j >= 11) }", "");
  Inputs plain = denseInputs(2, length), in = plain;
  in["n"] = Tensor({1}, double(length));
  for (const char *name : {"k", "v"}) {
    const Tensor &t = plain.at(name);
    Tensor slots({1, size, 2, t.shape[3]}, NAN);
    for (int64_t j = 0; j < length; ++j) // later keys overwrite earlier ones
      for (int64_t n = 0; n < 2 * t.shape[3]; ++n) {
        int64_t slot = j < keep ? j : keep + (j - keep) % (size - keep);
        slots.data[slot * 2 * t.shape[3] + n] = t.data[j * 2 * t.shape[3] + n];
      }
    in[name] = slots;
  }
  requireSameResults(ring, in, dense, plain);
}

TEST_CASE("pages with heads first, found by row pointers", "[storage]") {
  PatternRun paged = softmax(
      "layout paged %pages indptr %first len %n order hnd support (i, j) { j <= i }",
      ", %pages: tensor<i32, P>, %first: tensor<i32, B1>, %n: seq<i32>",
      "%q: seq<Tq x Hq x D>, %k: tensor<NP x Hk x page x D>, %v: tensor<NP x Hk x page x E>");
  PatternRun dense = softmax("support (i, j) { j <= i }", "");
  Inputs plain = denseInputs(3, 10), in = plain;
  in["pages"] = Tensor({4}, {4, 0, 5, 2});
  in["first"] = Tensor({2}, {0, 4});
  in["n"] = Tensor({1}, 10.0);
  for (const char *name : {"k", "v"}) {
    const Tensor &t = plain.at(name);
    Tensor pool({6, 2, 3, t.shape[3]}, NAN);
    for (int64_t j = 0; j < 10; ++j)
      for (int64_t h = 0; h < 2; ++h)
        for (int64_t d = 0; d < t.shape[3]; ++d)
          pool({int64_t(in["pages"].data[j / 3]), h, j % 3, d}) = t({0, j, h, d});
    in[name] = pool;
  }
  requireSameResults(paged, in, dense, plain);
}

TEST_CASE("v may be features of k", "[storage]") {
  PatternRun alias =
      PatternRun::text("pattern.def @alias(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>) {\n"
                       "  %r_o, %r_lse = mix %q, %k alias v { 2, 3 } weight exp norm sum\n"
                       "  return %r_o, %r_lse\n}\n");
  PatternRun dense = softmax("support (i, j) { j <= i }", "");
  Inputs plain = denseInputs(4, 7), in = {{"q", plain["q"]}, {"k", plain["k"]}};
  plain["v"] = slice(plain["k"], 3, 2, 5);
  requireSameResults(alias, in, dense, plain);
}

TEST_CASE("any strides and dtypes are read as what they hold", "[storage]") {
  PatternRun run = softmax("support (i, j) { j <= i }", "");
  Inputs in = denseInputs(5, 5);
  for (double &x : in["q"].data) // exact in bf16
    x = std::nearbyint(x * 64) / 64;
  std::vector<uint16_t> bits(in["q"].data.size());
  std::vector<double> transposed(in["k"].data.size());
  for (size_t n = 0; n < bits.size(); ++n)
    storeElement(DType::BF16, bits.data(), int64_t(n), in["q"].data[n]);
  for (int64_t t = 0; t < 5; ++t) // k with the heads outermost
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t d = 0; d < 6; ++d)
        transposed[(h * 5 + t) * 6 + d] = in["k"]({0, t, h, d});
  compiler::Bindings bindings = PatternRun::bind(in);
  bindings.tensors["q"].data = bits.data();
  bindings.tensors["q"].dtype = DType::BF16;
  bindings.tensors["k"].data = transposed.data();
  bindings.tensors["k"].strides = {60, 6, 30, 1};
  auto found = compiler::interpret(run.def, bindings);
  REQUIRE(found.ok());
  REQUIRE(found->results[0].values == run(in).at("r_o").data);
}

TEST_CASE("relu to a power weighs by the formula", "[storage]") {
  for (int64_t power : {1, 2, 3}) {
    PatternRun run = PatternRun::text(
        mixPattern("", "weight relu(" + std::to_string(power) + ") norm none", "o", kTypes));
    Inputs in = denseInputs(3, 6);
    Tensor expected({1, 3, 4, 3});
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t j = 0; j <= row + 3; ++j) {
          double s = 0;
          for (int64_t d = 0; d < 6; ++d)
            s += in["q"]({0, row, h, d}) * in["k"]({0, j, h / 2, d}) / std::sqrt(6.0);
          for (int64_t e = 0; e < 3; ++e)
            expected({0, row, h, e}) +=
                std::pow(std::max(s, 0.0), double(power)) * in["v"]({0, j, h / 2, e});
        }
    requireSame(run(in).at("r_o"), expected);
  }
}

TEST_CASE("the tolerance rule: absolute or relative, never a NaN", "[tolerance]") {
  using namespace heddle::compiler;
  std::vector<double> expected = {3, -4, 0}, found = expected;
  double limit = rmsLimit(Arithmetic::F32);
  CHECK(limit == 1e-5);
  CHECK(rmsLimit(Arithmetic::BF16, Quantity::OperandGrad) == 8e-3);
  CHECK(rmsLimit(arithmeticOf(DType::F16)) == 1e-3);
  CHECK(compareValues(found.data(), expected.data(), 3, limit).pass);
  found[1] += 4.9e-5; // rms is 4.9e-5 / 5
  CHECK(compareValues(found.data(), expected.data(), 3, limit).pass);
  found[1] = -4 + 5.1e-5;
  Comparison off = compareValues(found.data(), expected.data(), 3, limit);
  CHECK(!off.pass);
  CHECK(off.worst == 1);
  std::vector<double> tiny = {9e-7, 0, 0}, zero(3, 0.0);
  CHECK(compareValues(tiny.data(), zero.data(), 3, limit).pass);
  tiny[0] = 1.1e-6;
  CHECK(!compareValues(tiny.data(), zero.data(), 3, limit).pass);
  found = expected;
  found[0] = NAN;
  CHECK(!compareValues(found.data(), expected.data(), 3, 1.0).pass);
  std::vector<double> lse = {-INFINITY, 100}, same = lse;
  same[1] += 0.009;
  CHECK(compareLse(same.data(), lse.data(), 2, lseLimit(Arithmetic::F32)).pass);
  same[1] += 0.002;
  CHECK(!compareLse(same.data(), lse.data(), 2, lseLimit(Arithmetic::F32)).pass);
  same = {-1e30, 100};
  CHECK(!compareLse(same.data(), lse.data(), 2, 1.0).pass);
}
