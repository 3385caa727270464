// Layouts: their invariant, calls, forms with the same function, injectivity, text.
#include "tests/ir/layout/Layouts.h"

using namespace heddle::test;

TEST_CASE("the invariant is checked when a layout is made") {
  CHECK_FALSE(Layout::make({4, 8}, {{1, 2}, 4}).ok());
  CHECK(Layout::make({4, 0}, {1, 4}).text() == "extent 0 in (4,0):(1,4), expected 1 at least");
  CHECK(Layout::make({4, 8}, {1, -4}).text() == "stride -4 in (4,8):(1,-4), expected 0 at least");
  CHECK_FALSE(Layout::make({int64_t{1} << 32, int64_t{1} << 32}, {0, 0}).ok());
  CHECK_FALSE(Layout::make({3, 3}, {int64_t{1} << 61, int64_t{1} << 61}).ok());
  CHECK_FALSE(Layout::make(2, INT64_MAX).ok());
  CHECK(Layout::make(2, INT64_MAX - 1).ok());
}

TEST_CASE("a call follows the definition at every coordinate") {
  auto check = [](const Layout &layout) {
    int64_t largest = 0;
    for (int64_t i = 0; i < layout.size(); ++i) {
      IntTuple coordinate = take(idx2crd(i, layout.shape()));
      int64_t value = 0;
      std::vector<int64_t> numbers = coordinate.leaves();
      for (size_t k = 0; k < numbers.size(); ++k)
        value += numbers[k] * layout.stride().leaves()[k];
      REQUIRE(layout(i) == value);
      REQUIRE(take(layout.at(coordinate)) == value);
      REQUIRE(take(layout.at(i)) == value);
      largest = std::max(largest, value);
    }
    REQUIRE(layout.cosize() == largest + 1);
    REQUIRE(layout.size() == *product(layout.shape()));
  };
  forEachFlat(2, 4, 5, check);
  RandomLayouts random(1);
  for (int round = 0; round < 200; ++round)
    check(random.next());
}

TEST_CASE("the accumulator of mma.m16n8k16 gives row + 16 * column for every thread and value") {
  Layout accumulator = L("((4,8),(2,2)):((32,1),(16,8))");
  CHECK(accumulator.size() == 128);
  CHECK(accumulator.rank() == 2);
  CHECK(accumulator.depth() == 2);
  CHECK(isBijective(accumulator));
  for (int64_t thread = 0; thread < 32; ++thread)
    for (int64_t value = 0; value < 4; ++value) {
      int64_t row = thread / 4 + 8 * (value / 2);
      int64_t column = 2 * (thread % 4) + value % 2;
      REQUIRE(take(accumulator.at({thread, value})) == row + 16 * column);
      REQUIRE(accumulator(thread + 32 * value) == row + 16 * column);
    }
}

TEST_CASE("modes are taken apart and put together") {
  RandomLayouts random(2);
  for (int round = 0; round < 300; ++round) {
    Layout layout = random.next();
    if (layout.depth() > 0)
      REQUIRE(take(concatenate(layout.modes())) == layout);
    else
      REQUIRE(layout.mode(0) == layout);
  }
  Layout pair = take(concatenate(std::vector<Layout>{L("(2,3):(1,2)"), L("5:100")}));
  CHECK(print(pair) == "((2,3),5):((1,2),100)");
  for (int64_t a = 0; a < 6; ++a)
    for (int64_t b = 0; b < 5; ++b)
      REQUIRE(take(pair.at({a, b})) == a + 100 * b);
}

TEST_CASE("column-major is the identity, row-major its mirror") {
  for (const char *text : {"7", "(3,5)", "((4,8),(2,2))", "(72,80)", "(2,(3,1),5)"}) {
    IntTuple shape = take(parseIntTuple(text));
    Layout columns = take(columnMajor(shape));
    Layout rows = take(rowMajor(shape));
    REQUIRE(isBijective(rows));
    for (int64_t i = 0; i < columns.size(); ++i) {
      REQUIRE(columns(i) == i);
      std::vector<int64_t> numbers = take(idx2crd(i, shape)).leaves();
      std::vector<int64_t> extents = shape.leaves();
      int64_t expected = 0;
      for (size_t k = 0; k < numbers.size(); ++k)
        expected = expected * extents[k] + numbers[k];
      REQUIRE(rows(i) == expected);
    }
  }
  CHECK(print(take(rowMajor({{4, 8}, 2}))) == "((4,8),2):((16,2),1)");
}

namespace {

void checkCoalesced(const Layout &layout) {
  Layout less = coalesce(layout);
  REQUIRE(less.size() == layout.size());
  REQUIRE(less.depth() <= 1);
  for (int64_t i = 0; i < layout.size(); ++i)
    REQUIRE(less(i) == layout(i));
  const std::vector<Leaf> &leaves = less.leaves();
  for (size_t k = 0; k < leaves.size(); ++k) {
    REQUIRE((leaves[k].extent > 1 || less == Layout()));
    if (k > 0)
      REQUIRE(leaves[k].stride != leaves[k - 1].extent * leaves[k - 1].stride);
  }
}

void checkReplication(const Layout &layout) {
  Layout kept = dropReplication(layout);
  REQUIRE(distinct(kept) == distinct(layout));
  for (const Leaf &leaf : kept.leaves())
    REQUIRE(((leaf.extent > 1 && leaf.stride > 0) || kept == Layout()));
}

void checkInjective(const Layout &layout) {
  bool once = static_cast<int64_t>(distinct(layout).size()) == layout.size();
  REQUIRE(isInjective(layout) == once);
  REQUIRE(isBijective(layout) == coversOnce(layout, layout.size()));
}

} // namespace

TEST_CASE("coalesce, dropReplication and isInjective on all small layouts") {
  auto check = [](const Layout &layout) {
    checkCoalesced(layout);
    checkReplication(layout);
    checkInjective(layout);
  };
  forEachFlat(1, 6, 8, check);
  forEachFlat(2, 5, 7, check);
  forEachFlat(3, 3, 5, check);
}

TEST_CASE("coalesce, dropReplication and isInjective on random layouts") {
  RandomLayouts random(3);
  for (int round = 0; round < 500; ++round) {
    Layout layout = random.next();
    checkCoalesced(layout);
    checkReplication(layout);
    checkInjective(layout);
    Layout modes = coalesceModes(layout);
    REQUIRE(modes.rank() == (layout.depth() == 0 ? 1 : layout.rank()));
    for (int64_t i = 0; i < layout.size(); ++i)
      REQUIRE(modes(i) == layout(i));
    for (int64_t m = 0; layout.depth() > 0 && m < layout.rank(); ++m)
      REQUIRE(modes.mode(m) == coalesce(layout.mode(m)));
  }
}

TEST_CASE("coalesce does not overflow at the end of int64") {
  Layout far = L("(2,2):(4611686018427387904,0)");
  CHECK(coalesce(far) == far);
}

TEST_CASE("injectivity of large layouts is decided without enumeration") {
  CHECK(isInjective(L("(1000003,1000033):(1,1000003)")));
  CHECK(isInjective(L("(1000,1000):(1001,1000)")));
  CHECK(isInjective(L("(1001,1001):(1000,1001)"))); // 1001 * 1000 needs 1002 coordinates
  CHECK_FALSE(isInjective(L("(1002,1001):(1000,1001)")));
  CHECK_FALSE(isInjective(L("(1000000,1000000):(1,999999)")));
}

TEST_CASE("layout text") {
  for (const char *text : {"4:1", "(4):(1)", "((4,8),(2,2)):((32,1),(16,8))", "(72,4):(1,72)"})
    CHECK(print(L(text)) == text);
  CHECK(L("(4,8)") == L("(4,8):(1,4)"));
  CHECK(L(" ( 4 , 8 ) : ( 8 , 1 ) ") == L("(4,8):(8,1)"));
  CHECK(parseLayout("(4,8):").text() == "column 7: found the end, expected a number or '('");
  CHECK(parseLayout("4;1").text() == "column 2: found ';', expected ':' or the end");
  CHECK(parseLayout("4:1:2").text() == "column 4: found ':', expected the end");
  CHECK_FALSE(parseLayout("(4,8):(1)").ok());
  RandomLayouts random(4);
  for (int round = 0; round < 300; ++round) {
    Layout layout = random.next();
    REQUIRE(L(print(layout)) == layout);
  }
}
