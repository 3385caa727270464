// IntTuple: nesting, coordinates, text.
#include "ir/layout/IntTuple.h"
#include "tests/support/Test.h"

#include <random>

using namespace heddle::layout;

TEST_CASE("a leaf and a tuple of one mode differ") {
  IntTuple leaf(4);
  IntTuple one{4};
  CHECK(leaf != one);
  CHECK(print(leaf) == "4");
  CHECK(print(one) == "(4)");
  CHECK(leaf.depth() == 0);
  CHECK(one.depth() == 1);
  CHECK(leaf.rank() == 1);
  CHECK(one.rank() == 1);
}

TEST_CASE("nesting is counted and compared") {
  IntTuple nested{{4, 8}, {2, 2}};
  CHECK(nested.rank() == 2);
  CHECK(nested.depth() == 2);
  CHECK(nested.mode(1) == IntTuple{2, 2});
  CHECK(nested.leaves() == std::vector<int64_t>{4, 8, 2, 2});
  CHECK(*product(nested) == 128);
  CHECK(congruent(nested, IntTuple{{0, 1}, {9, 9}}));
  CHECK_FALSE(congruent(nested, IntTuple{{0, 1}, 9}));
  CHECK(weaklyCongruent(IntTuple{3, {1, 1}}, nested));
  CHECK(weaklyCongruent(IntTuple(7), nested));
  CHECK_FALSE(weaklyCongruent(nested, IntTuple{32, 4}));
  CHECK_FALSE(weaklyCongruent(IntTuple{1, 2, 3}, nested));
  CHECK(withLeaves(nested, {1, 2, 3, 4}) == IntTuple{{1, 2}, {3, 4}});
}

TEST_CASE("every index has its coordinate and back, leftmost number fastest") {
  for (IntTuple shape : {IntTuple(7), IntTuple{7}, IntTuple{3, 5}, IntTuple{{4, 8}, {2, 2}},
                         IntTuple{2, {3, {4, 1}}, 5}, IntTuple{72, 3}}) {
    IntTuple before(0);
    for (int64_t i = 0; i < *product(shape); ++i) {
      Expected<IntTuple> coordinate = idx2crd(i, shape);
      REQUIRE(coordinate.ok());
      REQUIRE(congruent(*coordinate, shape));
      std::vector<int64_t> numbers = coordinate->leaves();
      std::vector<int64_t> extents = shape.leaves();
      int64_t expected = 0;
      for (size_t k = numbers.size(); k-- > 0;) {
        REQUIRE(numbers[k] >= 0);
        REQUIRE(numbers[k] < extents[k]);
        expected = expected * extents[k] + numbers[k];
      }
      REQUIRE(expected == i);
      REQUIRE(*crd2idx(*coordinate, shape) == i);
      before = *coordinate;
    }
  }
}

TEST_CASE("a nested mode may be indexed by one number") {
  IntTuple shape{{4, 8}, {2, 3}};
  for (int64_t a = 0; a < 32; ++a)
    for (int64_t b = 0; b < 6; ++b) {
      REQUIRE(*crd2idx(IntTuple{a, b}, shape) == a + 32 * b);
      REQUIRE(*crd2idx(IntTuple{{a % 4, a / 4}, b}, shape) == a + 32 * b);
    }
}

TEST_CASE("coordinates outside or of another nesting are refused") {
  CHECK(idx2crd(12, {3, 4}).text() == "index 12 is outside shape (3,4) of size 12");
  CHECK_FALSE(idx2crd(-1, {3, 4}).ok());
  CHECK(crd2idx({3, 0}, {3, 4}).text() == "coordinate 3 is outside extent 3");
  CHECK_FALSE(crd2idx(IntTuple{-1, 0}, {3, 4}).ok());
  CHECK_FALSE(crd2idx(IntTuple{13, 0}, {{3, 4}, 2}).ok());
  CHECK_FALSE(crd2idx(IntTuple{0, 0, 0}, {3, 4}).ok());
  CHECK_FALSE(idx2crd(0, IntTuple{-2, -3}).ok());
  CHECK_FALSE(crd2idx(IntTuple{0, 0}, {0, 4}).ok());
  CHECK_FALSE(product({int64_t{1} << 40, int64_t{1} << 40}).ok());
}

TEST_CASE("text is parsed and printed back") {
  for (const char *text : {"4", "(4)", "(4,8)", "((4,8),(2,2))", "(1,(2,(3)),4)", "(-3,0)"})
    CHECK(print(*parseIntTuple(text)) == text);
  CHECK(print(*parseIntTuple("  ( 4 , ( 8,2 ) ) ")) == "(4,(8,2))");
}

TEST_CASE("mistakes in text are told with their column") {
  CHECK(parseIntTuple("(4,,8)").text() == "column 4: found ',', expected a number or '('");
  CHECK(parseIntTuple("(4,8").text() == "column 5: found the end, expected ',' or ')'");
  CHECK(parseIntTuple("4)").text() == "column 2: found ')', expected the end");
  CHECK(parseIntTuple("").text() == "column 1: found the end, expected a number or '('");
  CHECK(parseIntTuple("()").text() == "column 2: found ')', expected a number or '('");
  CHECK_FALSE(parseIntTuple("99999999999999999999").ok());
  CHECK_FALSE(parseIntTuple(std::string(100000, '(')).ok());
}

TEST_CASE("random bytes never crash the parser, and what parses prints back") {
  std::mt19937 engine(7);
  const std::string letters = "()(),,:0123456789 -S<>o";
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t n = engine() % 12; n > 0; --n)
      text += letters[engine() % letters.size()];
    Expected<IntTuple> tuple = parseIntTuple(text);
    if (tuple.ok())
      REQUIRE(*parseIntTuple(print(*tuple)) == *tuple);
  }
}
