// Products: copies of a tile that do not overlap, in the order asked for.
#include "tests/ir/layout/Layouts.h"

using namespace heddle::test;

namespace {

/// Checks the post-condition; says whether there was an answer.
bool checkProduct(const Layout &a, const Layout &b) {
  Expected<Layout> r = logicalProduct(a, b);
  if (!r.ok())
    return false;
  INFO(print(a) << " x " << print(b) << " = " << print(*r));
  REQUIRE(r->mode(0) == a);
  REQUIRE(r->mode(1).size() == b.size());
  std::set<int64_t> tile = distinct(a);
  std::set<int64_t> all = distinct(*r);
  REQUIRE(all.size() == tile.size() * distinct(b).size()); // copies do not overlap
  for (int64_t j = 0; j < b.size(); ++j) {
    int64_t start = r->mode(1)(j);
    REQUIRE((b(j) == 0 ? start == 0 : start > 0));
    for (int64_t i = 0; i < a.size(); ++i)
      REQUIRE(take(r->at({i, j})) == a(i) + start);
  }
  if (isInjective(a) && isInjective(b))
    REQUIRE(isInjective(*r));
  if (isBijective(a) && isBijective(b))
    REQUIRE(isBijective(*r));
  return true;
}

} // namespace

TEST_CASE("logicalProduct on all small pairs") {
  std::vector<Layout> second;
  forEachFlat(1, 5, 4, [&](const Layout &b) { second.push_back(b); });
  forEachFlat(2, 3, 3, [&](const Layout &b) { second.push_back(b); });
  int64_t answered = 0;
  forEachFlat(2, 3, 6, [&](const Layout &a) {
    for (const Layout &b : second)
      answered += checkProduct(a, b);
  });
  CHECK(answered > 5000);
}

TEST_CASE("logicalProduct on random layouts") {
  RandomLayouts random(9);
  int answered = 0;
  for (int round = 0; round < 2000; ++round)
    answered += checkProduct(random.next(48), random.next(24));
  CHECK(answered > 200);
}

TEST_CASE("a compact tile can be repeated by any layout") {
  RandomLayouts random(10);
  for (int round = 0; round < 300; ++round) {
    Layout b = random.next(60);
    for (const char *tile : {"(4,3):(1,4)", "(4,3):(3,1)", "7:1"})
      REQUIRE(checkProduct(L(tile), b));
  }
}

TEST_CASE("blocked puts copies side by side, raked deals elements out in turn") {
  Layout a = L("(2,3):(1,2)");
  Layout b = L("(4,5):(5,1)");
  Layout plain = take(logicalProduct(a, b));
  Layout blocked = take(blockedProduct(a, b));
  Layout raked = take(rakedProduct(a, b));
  for (int64_t a0 = 0; a0 < 2; ++a0)
    for (int64_t a1 = 0; a1 < 3; ++a1)
      for (int64_t b0 = 0; b0 < 4; ++b0)
        for (int64_t b1 = 0; b1 < 5; ++b1) {
          int64_t expected = take(plain.at({{a0, a1}, {b0, b1}}));
          REQUIRE(take(blocked.at({{a0, b0}, {a1, b1}})) == expected);
          REQUIRE(take(blocked.at({a0 + 2 * b0, a1 + 3 * b1})) == expected);
          REQUIRE(take(raked.at({{b0, a0}, {b1, a1}})) == expected);
          REQUIRE(take(raked.at({b0 + 4 * a0, b1 + 5 * a1})) == expected);
        }
}

TEST_CASE("products of different rank are filled up") {
  CHECK(print(take(blockedProduct(L("2:1"), L("(3,4):(1,3)")))) == "((2,3),(1,4)):((1,2),(0,6))");
  CHECK(print(take(rakedProduct(L("(2,2):(1,2)"), L("3:1")))) == "((3,2),(1,2)):((4,1),(0,2))");
  // A copy stride that its complement must split keeps its place as mode 0.
  Layout split = take(blockedProduct(L("(2,2):(1,4)"), L("4:1")));
  CHECK(split.rank() == 2);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j)
      for (int64_t k = 0; k < 2; ++k)
        REQUIRE(take(split.at({{i, j}, {k, 0}})) == i + 4 * k + (j % 2) * 2 + (j / 2) * 8);
}

TEST_CASE("products that have no answer are refused") {
  CHECK_FALSE(logicalProduct(L("(2,2):(1,3)"), L("4:1")).ok()); // no complement
  CHECK_FALSE(logicalProduct(L("4:2"), L("3:1")).ok());         // 3 does not fit into gaps of 2
  CHECK_FALSE(logicalProduct(L("4:1"), L("2:4611686018427387000")).ok());
}
