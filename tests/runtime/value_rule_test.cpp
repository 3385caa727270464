// What the numbers of inputs must hold: each rule lets legal numbers through and names the first
// that breaks it.
#include "runtime/ValueRule.h"
#include "tests/support/Test.h"

#include <cmath>
#include <initializer_list>
#include <vector>

using namespace heddle;

namespace {

/// A dense tensor of i32, or a shape alone.
struct Integers {
  std::vector<int32_t> values;
  TensorView view;

  Integers(std::initializer_list<int64_t> shape, std::vector<int32_t> given = {})
      : values(std::move(given)) {
    view.dtype = DType::I32;
    view.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), view.shape.begin());
    int64_t stride = 1;
    for (int d = view.rank; d-- > 0; stride *= view.shape[d])
      view.strides[d] = stride;
    view.data = values.data();
  }
  Integers(const Integers &) = delete;
};

/// The message of the check, or "" if it passes.
std::string check(const ValueRule &rule, const std::vector<TensorView> &tensors) {
  constexpr std::string_view kNames[] = {"x", "k", "len", "starts"};
  Status status = checkValues({&rule, 1}, tensors, [&](int32_t n) { return kNames[n]; });
  return status.ok() ? "" : status.error().message;
}

ValueRule ruleOf(ValueRule::Kind kind, int32_t limitOf = -1, int32_t limitDim = 0) {
  ValueRule rule;
  rule.kind = kind;
  rule.limitOf = limitOf;
  rule.limitDim = limitDim;
  return rule;
}

bool contains(const std::string &text, const char *part) { return text.find(part) != text.npos; }

} // namespace

TEST_CASE("offsets begin at 0, never fall and end inside") {
  Integers tokens({9, 1, 1});
  ValueRule rule = ruleOf(ValueRule::Offsets, 1);
  auto found = [&](std::vector<int32_t> values) {
    Integers x({int64_t(values.size())}, values);
    return check(rule, {x.view, tokens.view});
  };
  CHECK(found({0, 4, 4, 9}) == "");
  CHECK(found({0}) == "");
  CHECK(contains(found({1, 4}), "x[0] = 1, expected 0"));
  CHECK(contains(found({0, 5, 3}), "x[2] = 3 after 5"));
  CHECK(contains(found({0, 10}), "x[1] = 10, expected at most 9"));
  CHECK(contains(found({0, -1}), "x[1] = -1 after 0"));
}

TEST_CASE("pages lie in the pool as far as the lengths go") {
  Integers pool({4, 16, 1, 1}), lengths({2}, {33, 0});
  ValueRule rule = ruleOf(ValueRule::Pages, 1);
  rule.lengths = 2;
  rule.slotDim = 1;
  auto found = [&](std::vector<int32_t> table) {
    Integers x({2, 3}, table);
    return check(rule, {x.view, pool.view, lengths.view});
  };
  CHECK(found({3, 0, 2, 99, -7, 4}) == ""); // the second sequence has no keys
  CHECK(contains(found({3, 4, 2, 0, 0, 0}), "found page 4 at entry 1 of x (sequence 0)"));
  CHECK(contains(found({3, -1, 2, 0, 0, 0}), "found page -1"));
  lengths.values[1] = 49;
  CHECK(contains(found({0, 1, 2, 3, 0, 0}), "len[1] = 49, expected 0 to 48"));
  lengths.values[1] = -1;
  CHECK(contains(found({0, 1, 2, 3, 0, 0}), "len[1] = -1, expected 0 to 48"));

  Integers unknown({2, 3}); // no data: passed by
  TensorView nowhere = unknown.view;
  nowhere.data = nullptr;
  CHECK(check(rule, {nowhere, pool.view, lengths.view}) == "");

  Integers starts({2}, {0, 3});
  rule.starts = 3;
  lengths.values[1] = 17;
  auto listed = [&](std::vector<int32_t> pages) {
    Integers x({int64_t(pages.size())}, pages);
    return check(rule, {x.view, pool.view, lengths.view, starts.view});
  };
  CHECK(listed({0, 1, 2, 3, 0}) == "");
  CHECK(contains(listed({0, 1, 2, 3}), "len[1] = 17, expected 0 to 16"));
  starts.values[1] = 6;
  CHECK(contains(listed({0, 1, 2, 3, 0}), "starts[1] = 6, expected 0 to 5"));
}

TEST_CASE("lists, parents, lengths, promises and log-decays") {
  Integers keys({1, 100, 1, 1});
  ValueRule list = ruleOf(ValueRule::List, 1, 1);
  list.limitDivisor = 64;
  Integers blocks({2, 2}, {0, 1, 1, -1});
  CHECK(check(list, {blocks.view, keys.view}) == "");
  blocks.values[2] = 2;
  CHECK(contains(check(list, {blocks.view, keys.view}), "x[1, 0] = 2, expected -1, or 0 to 1"));

  Integers parents({2, 3}, {-1, 0, 0, -1, -1, 1});
  CHECK(check(ruleOf(ValueRule::Parents), {parents.view}) == "");
  parents.values[4] = 1;
  CHECK(contains(check(ruleOf(ValueRule::Parents), {parents.view}), "x[1, 1] = 1"));

  Integers lengths({2}, {0, -3});
  CHECK(contains(check(ruleOf(ValueRule::NotNegative), {lengths.view}), "x[1] = -3"));

  Integers bank({2, 4, 1, 1, 1}), tokens({2, 3, 1, 1}), so_far({2}, {0, 5});
  ValueRule position = ruleOf(ValueRule::NotNegative, 1, 1);
  position.lengths = 2, position.slotDim = 1;
  CHECK(check(position, {so_far.view, bank.view, tokens.view}) == "");
  so_far.values[1] = 6; // levels 0 to 3 hold 8 tokens
  CHECK(contains(check(position, {so_far.view, bank.view, tokens.view}),
                 "x[1] = 6, expected 0 to 5"));

  ValueRule segments = position; // 4 of 2 tokens, and those of the one that has not ended
  segments.kind = ValueRule::Segments, segments.limitDivisor = 2;
  so_far.values[1] = 7;
  CHECK(check(segments, {so_far.view, bank.view, tokens.view}) == "");
  so_far.values[1] = 8;
  CHECK(contains(check(segments, {so_far.view, bank.view, tokens.view}),
                 "x[1] = 8, expected 0 to 7: a bank of 4 segments of 2 is for 10 tokens"));

  Integers first({2, 3}, {0, 0, 2, 0, 1, 1});
  CHECK(check(ruleOf(ValueRule::Ascending), {first.view}) == "");
  first.values[1] = 3;
  CHECK(contains(check(ruleOf(ValueRule::Ascending), {first.view}), "x[0, 2] = 2 after 3"));

  float decays[] = {-0.5f, 0.0f, 0.25f};
  TensorView g;
  g.data = decays;
  g.rank = 3;
  g.shape = {1, 3, 1};
  g.strides = {3, 1, 1};
  CHECK(contains(check(ruleOf(ValueRule::LogDecay), {g}), "x[0, 2, 0] = 0.25, expected 0 or less"));
  g.shape[1] = 2;
  CHECK(check(ruleOf(ValueRule::LogDecay), {g}) == "");
}

TEST_CASE("log-decays of every 16-bit pattern, and of strided and 32-bit tensors") {
  for (DType dtype : {DType::BF16, DType::F16})
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      uint16_t decay[] = {0x8000, static_cast<uint16_t>(bits)}; // -0, and the pattern
      TensorView g;
      g.data = decay;
      g.dtype = dtype;
      g.rank = 4; // a number for each channel
      g.shape = {1, 1, 1, 2};
      g.strides = {2, 2, 2, 1};
      const bool right = loadElement(dtype, decay, 1) <= 0;
      REQUIRE((check(ruleOf(ValueRule::LogDecay), {g}) == "") == right);
    }
  std::vector<float> decays(2 * 7 * 3 * 80, -0.25f);
  TensorView g;
  g.data = decays.data();
  g.rank = 4;
  g.shape = {2, 7, 3, 40};
  g.strides = {7 * 3 * 80, 3 * 80, 80, 1};
  CHECK(check(ruleOf(ValueRule::LogDecay), {g}) == "");
  decays[50] = 1; // between two rows
  CHECK(check(ruleOf(ValueRule::LogDecay), {g}) == "");
  for (float wrong : {1e-30f, std::nanf(""), -std::nanf(""), HUGE_VALF}) {
    decays[((1 * 7 + 5) * 3 + 2) * 80 + 39] = wrong;
    CHECK(contains(check(ruleOf(ValueRule::LogDecay), {g}), "x[1, 5, 2, 39]"));
    g.shape[3] = 80, g.strides[3] = 1; // dense
    decays[50] = -1;
    CHECK(contains(check(ruleOf(ValueRule::LogDecay), {g}), "x[1, 5, 2, 39]"));
    g.shape[3] = 40;
  }
}
