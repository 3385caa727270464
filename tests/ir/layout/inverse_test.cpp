// Inverses: A(R(i)) == i from the right, R(A(i)) == i from the left.
#include "tests/ir/layout/Layouts.h"

using namespace heddle::test;

namespace {

void checkRight(const Layout &a) {
  Layout r = rightInverse(a);
  INFO("rightInverse(" << print(a) << ") = " << print(r));
  REQUIRE(r.cosize() <= a.size());
  for (int64_t i = 0; i < r.size(); ++i)
    REQUIRE(a(r(i)) == i);
  if (isBijective(dropReplication(a)))
    REQUIRE(r.size() == dropReplication(a).size());
}

/// Checks the post-condition; says whether there was an answer.
bool checkLeft(const Layout &a) {
  Expected<Layout> r = leftInverse(a);
  if (!r.ok()) {
    REQUIRE_FALSE(r.text().empty());
    return false;
  }
  INFO("leftInverse(" << print(a) << ") = " << print(*r));
  REQUIRE(r->size() >= a.cosize());
  for (int64_t i = 0; i < a.size(); ++i)
    REQUIRE((*r)(a(i)) == i);
  return true;
}

/// Distinct strides of the coalesced layout, in order, divide each other.
bool stridesDivide(const Layout &a) {
  std::vector<int64_t> strides;
  for (const Leaf &leaf : coalesce(a).leaves())
    if (leaf.extent > 1)
      strides.push_back(leaf.stride);
  std::sort(strides.begin(), strides.end());
  for (size_t k = 1; k < strides.size(); ++k)
    if (strides[k - 1] == 0 || strides[k] % strides[k - 1] != 0)
      return false;
  return true;
}

} // namespace

TEST_CASE(
    "inverses of all small layouts: a left one exactly when injective with dividing strides") {
  int64_t answered = 0;
  auto check = [&](const Layout &a) {
    checkRight(a);
    bool answer = checkLeft(a);
    REQUIRE(answer == (isInjective(a) && stridesDivide(a)));
    answered += answer;
  };
  forEachFlat(1, 8, 8, check);
  forEachFlat(2, 5, 8, check);
  forEachFlat(3, 3, 6, check);
  CHECK(answered > 500);
}

TEST_CASE("inverses of random layouts; of bijective ones both are the inverse") {
  RandomLayouts random(11);
  int bijective = 0;
  for (int round = 0; round < 2000; ++round) {
    Layout a = random.next();
    checkRight(a);
    checkLeft(a);
    if (!isBijective(a))
      continue;
    ++bijective;
    Layout left = take(leftInverse(a));
    Layout right = rightInverse(a);
    for (int64_t i = 0; i < a.size(); ++i)
      REQUIRE(left(i) == right(i));
  }
  CHECK(bijective > 100);
}

TEST_CASE("inverses by example") {
  CHECK(print(rightInverse(L("(4,8):(8,1)"))) == "(8,4):(4,1)");
  CHECK(print(rightInverse(L("(4,8):(0,1)"))) == "8:4");
  CHECK(print(rightInverse(L("(4,8):(2,8)"))) == "1:0");
  CHECK(print(take(leftInverse(L("(64,4):(1,72)")))) == "(72,4):(1,64)");
  CHECK(print(take(leftInverse(L("(72,3):(2,176)")))) == "(2,88,3):(0,1,72)");
  CHECK(leftInverse(L("(4,2):(1,0)")).text() ==
        "no left inverse of (4,2):(1,0): it is replicated (stride 0)");
  CHECK(leftInverse(L("(2,2):(2,3)")).text() ==
        "no left inverse of (2,2):(2,3): stride 2 does not divide stride 3");
  CHECK_FALSE(leftInverse(L("(4,2):(1,2)")).ok());
}

TEST_CASE("who holds an element: the inverse of a distribution") {
  Layout accumulator = L("((4,8),(2,2)):((32,1),(16,8))"); // (thread, value) -> row + 16 * column
  Layout holder = take(leftInverse(accumulator));          // element -> thread + 32 * value
  for (int64_t row = 0; row < 16; ++row)
    for (int64_t column = 0; column < 8; ++column) {
      int64_t thread = 4 * (row % 8) + column / 2;
      int64_t value = 2 * (row / 8) + column % 2;
      REQUIRE(holder(row + 16 * column) == thread + 32 * value);
    }
}
