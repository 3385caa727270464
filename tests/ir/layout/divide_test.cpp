// Complement and divides: the parts tile the whole, every element exactly once.
#include "tests/ir/layout/Layouts.h"

using namespace heddle::test;

namespace {

/// Checks the post-condition; says whether there was an answer.
bool checkComplement(const Layout &a, int64_t size) {
  Expected<Layout> r = complement(a, size);
  if (!r.ok()) {
    REQUIRE_FALSE(r.text().empty());
    return false;
  }
  Layout once = dropReplication(a);
  INFO("complement(" << print(a) << ", " << size << ") = " << print(*r));
  REQUIRE(once.size() * r->size() == size);
  REQUIRE(coversOnce(take(concatenate(std::vector<Layout>{once, *r})), size));
  for (int64_t i = 1; i < r->size(); ++i)
    REQUIRE((*r)(i) > (*r)(i - 1));
  return true;
}

/// Some set of offsets tiles [0, size) with the values of `a`: the least uncovered value must start
/// a copy, so the search has no choices.
bool tiles(const Layout &a, int64_t size) {
  std::set<int64_t> tile = distinct(a);
  std::vector<bool> covered(static_cast<size_t>(size), false);
  for (int64_t start = 0; start < size; ++start) {
    if (covered[static_cast<size_t>(start)])
      continue;
    for (int64_t value : tile) {
      if (start + value >= size || covered[static_cast<size_t>(start + value)])
        return false;
      covered[static_cast<size_t>(start + value)] = true;
    }
  }
  return true;
}

} // namespace

TEST_CASE("complement on all small layouts: an answer exactly when copies tile the range") {
  int64_t answered = 0;
  auto check = [&](const Layout &a) {
    bool once = isInjective(dropReplication(a));
    for (int64_t size = 1; size <= 36; ++size) {
      bool answer = checkComplement(a, size);
      INFO(print(a) << " in " << size);
      REQUIRE(answer == (once && tiles(a, size)));
      answered += answer;
    }
  };
  forEachFlat(1, 6, 8, check);
  forEachFlat(2, 4, 6, check);
  forEachFlat(3, 3, 4, check);
  CHECK(answered > 1000);
}

TEST_CASE("complement on random layouts, and its period") {
  RandomLayouts random(7);
  int answered = 0;
  for (int round = 0; round < 1500; ++round) {
    Layout a = random.next(200);
    Expected<int64_t> period = tilingPeriod(a);
    if (!period.ok()) {
      REQUIRE_FALSE(complement(a, 720720).ok());
      continue;
    }
    if (*period > 5000)
      continue;
    for (int64_t copies = 1; copies <= 3; ++copies)
      REQUIRE(checkComplement(a, *period * copies));
    if (*period > 1)
      REQUIRE_FALSE(complement(a, *period * 3 - 1).ok());
    ++answered;
  }
  CHECK(answered > 300);
}

TEST_CASE("complements by example") {
  CHECK(print(take(complement(L("4:1"), 24))) == "6:4");
  CHECK(print(take(complement(L("6:4"), 24))) == "4:1");
  CHECK(print(take(complement(L("(4,6):(1,4)"), 24))) == "1:0");
  CHECK(print(take(complement(L("4:2"), 24))) == "(2,3):(1,8)");
  CHECK(print(take(complement(L("(2,2):(1,6)"), 24))) == "(3,2):(2,12)");
  CHECK(print(take(complement(L("(8,4):(9,0)"), 144))) == "(9,2):(1,72)");
  CHECK(complement(L("128:1"), 1000).text() ==
        "128:1 has no complement in 1000: expected a multiple of 128");
  CHECK(complement(L("(4,2):(1,6)"), 24).text() ==
        "(4,2):(1,6) has no complement: stride 6 is not a multiple of 4, where its smaller strides "
        "end");
}

TEST_CASE("logicalDivide keeps all elements and walks the tile first") {
  RandomLayouts random(8);
  int answered = 0;
  for (int round = 0; round < 4000; ++round) {
    Layout a = random.next();
    Layout tile = random.next(24);
    Expected<Layout> r = logicalDivide(a, tile);
    if (!r.ok())
      continue;
    ++answered;
    INFO(print(a) << " / " << print(tile) << " = " << print(*r));
    REQUIRE(r->rank() == 2);
    REQUIRE(r->size() == a.size());
    REQUIRE(values(*r) == values(a));
    REQUIRE(r->mode(0) == take(compose(a, tile)));
    Layout rest = take(complement(tile, a.size()));
    for (int64_t i = 0; i < tile.size(); ++i)
      for (int64_t j = 0; j < rest.size(); ++j)
        REQUIRE(take(r->at({i, j})) == a(tile(i) + rest(j)));
  }
  CHECK(answered > 400);
}

TEST_CASE("divides by mode agree with each other at every coordinate") {
  Layout a = L("(72,(4,28),3):(1,(72,288),8064)");
  std::vector<Layout> by{L("9:8"), L("(4,2):(1,4)")};
  Layout paired = take(logicalDivideModes(a, by));
  Layout zipped = take(zippedDivide(a, by));
  Layout tiled = take(tiledDivide(a, by));
  CHECK(paired.rank() == 3);
  CHECK(zipped.rank() == 2);
  CHECK(tiled.rank() == 4);
  Layout rest = take(complement(by[1], 112));
  for (int64_t t0 = 0; t0 < 9; ++t0)
    for (int64_t t1 = 0; t1 < 8; ++t1)
      for (int64_t r0 = 0; r0 < 8; ++r0)
        for (int64_t r1 = 0; r1 < 14; ++r1)
          for (int64_t m = 0; m < 3; ++m) {
            int64_t expected = take(a.at({8 * t0 + r0, by[1](t1) + rest(r1), m}));
            REQUIRE(take(paired.at({{t0, r0}, {t1, r1}, m})) == expected);
            REQUIRE(take(zipped.at({{t0, t1}, {r0, r1, m}})) == expected);
            REQUIRE(take(tiled.at({{t0, t1}, r0, r1, m})) == expected);
          }
}

TEST_CASE("divides that have no answer are refused") {
  CHECK(logicalDivide(L("1000:1"), L("128:1")).text() ==
        "cannot divide 1000:1 by 128:1: 128:1 has no complement in 1000: expected a multiple of "
        "128");
  CHECK_FALSE(logicalDivide(L("16:1"), L("(4,2):(1,0)")).ok()); // replicated tile
  CHECK_FALSE(zippedDivide(L("16:1"), {}).ok());
  CHECK_FALSE(tiledDivide(L("16:1"), std::vector<Layout>{L("4:1"), L("4:1")}).ok());
}
