// The benchmark's work: pairs counted by asking every pair, and a table that hangs together.
#include "bench/Case.h"
#include "tests/support/Test.h"

#include <set>

using namespace heddle;
using namespace heddle::bench;

namespace {

bool isVisible(const Case &problem, int64_t row, int64_t key) {
  int64_t position = row + problem.Tk - problem.Tq;
  if (problem.visible == Visible::All)
    return true;
  bool causal = key <= position;
  return problem.visible == Visible::Causal ? causal : causal && position - key < problem.window;
}

int64_t askEveryPair(const Case &problem) {
  int64_t pairs = 0;
  for (int64_t row = 0; row < problem.Tq; ++row)
    for (int64_t key = 0; key < problem.Tk; ++key)
      pairs += isVisible(problem, row, key);
  return pairs;
}

} // namespace

TEST_CASE("pairs are counted exactly, for more queries than keys too") {
  for (Visible visible : {Visible::All, Visible::Causal, Visible::Window})
    for (int64_t queries : {0, 1, 2, 5, 9})
      for (int64_t keys : {0, 1, 3, 5, 12})
        for (int64_t window : {1, 3, 20}) {
          Case problem{"x", "x", visible, 1, 1, 1, queries, keys, 8, window, 1, nullptr};
          REQUIRE(countPairs(problem) == askEveryPair(problem));
        }
}

TEST_CASE("useful work of known problems") {
  CHECK(usefulFlops(cases()[0]) == 4.0 * 1024 * 1024 * 128 * 8);
  CHECK(countPairs(cases()[2]) == 1024 * 1025 / 2);
  Case decode{"x", "x", Visible::Causal, 1, 32, 8, 1, 4096, 128, 0, 1, nullptr};
  CHECK(countPairs(decode) == 4096);
  CHECK(leastBytes(decode, DType::BF16) == (2.0 * 32 + 2.0 * 8 * 4096) * 128 * 2 + 32 * 4);
}

TEST_CASE("the table: names once, and an unmasked case stands before those that name it") {
  std::set<std::string> names;
  for (const Case &problem : cases()) {
    CHECK(names.insert(problem.name).second);
    CHECK(problem.Hq % problem.Hk == 0);
    CHECK(problem.copies >= 1);
    CHECK((problem.visible == Visible::Window) == (problem.window > 0));
    if (problem.full)
      CHECK(names.count(problem.full) == 1);
  }
}
