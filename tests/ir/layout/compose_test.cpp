// Composition: R(i) == A(B(i)) wherever an answer is given, and an answer wherever there is one.
#include "tests/ir/layout/Layouts.h"

#include <map>

using namespace heddle::test;

namespace {

bool refines(const IntTuple &fine, const IntTuple &coarse) {
  if (coarse.isLeaf())
    return *product(fine) == coarse.value() && fine.depth() <= 1;
  if (fine.isLeaf() || fine.rank() != coarse.rank())
    return false;
  for (int64_t m = 0; m < coarse.rank(); ++m)
    if (!refines(fine.mode(m), coarse.mode(m)))
      return false;
  return true;
}

/// Checks the post-condition; says whether there was an answer.
bool checkCompose(const Layout &a, const Layout &b) {
  Expected<Layout> r = compose(a, b);
  if (!r.ok()) {
    REQUIRE_FALSE(r.text().empty());
    return false;
  }
  REQUIRE(r->size() == b.size());
  REQUIRE(refines(r->shape(), b.shape()));
  for (int64_t i = 0; i < b.size(); ++i) {
    INFO(print(a) << " o " << print(b) << " = " << print(*r) << " at " << i);
    REQUIRE((*r)(i) == a(b(i)));
  }
  return true;
}

/// A o B of a leaf B is a layout at all: some flat layout of that size has these values. The least
/// deviation from a line must divide what is left, so the search is a chain and not a tree.
bool isSomeLayout(std::vector<int64_t> values) {
  if (values[0] != 0)
    return false;
  while (values.size() > 1) {
    size_t run = 1;
    while (run < values.size() && values[run] == static_cast<int64_t>(run) * values[1])
      ++run;
    if (run < 2 || values[1] < 0 || values.size() % run != 0)
      return false;
    std::vector<int64_t> starts;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] != values[i - i % run] + static_cast<int64_t>(i % run) * values[1])
        return false;
      if (i % run == 0)
        starts.push_back(values[i]);
    }
    values = starts;
  }
  return true;
}

} // namespace

TEST_CASE("compose holds its post-condition on all small pairs") {
  std::vector<Layout> second;
  forEachFlat(1, 8, 6, [&](const Layout &b) { second.push_back(b); });
  forEachFlat(2, 3, 4, [&](const Layout &b) { second.push_back(b); });
  int64_t answered = 0;
  int64_t refused = 0;
  forEachFlat(2, 4, 5, [&](const Layout &a) {
    for (const Layout &b : second)
      ++(checkCompose(a, b) ? answered : refused);
  });
  CHECK(answered > 10000);
  CHECK(refused > 10000);
}

TEST_CASE("compose refuses a leaf only when there is no layout, or two carries cancel") {
  int64_t found = 0;
  int64_t missed = 0;
  auto check = [&](const Layout &a) {
    for (int64_t extent = 2; extent <= a.size(); ++extent)
      for (int64_t stride = 0; stride * (extent - 1) < a.size(); ++stride) {
        Layout b(Leaf{extent, stride});
        std::vector<int64_t> values;
        for (int64_t i = 0; i < extent; ++i)
          values.push_back(a(b(i)));
        bool possible = isSomeLayout(values);
        bool answered = compose(a, b).ok();
        INFO(print(a) << " o " << print(b));
        REQUIRE((possible || !answered));
        ++(answered ? found : missed);
        missed -= !possible;
      }
  };
  forEachFlat(2, 5, 6, check);
  CHECK(found > 4000);
  CHECK(missed == 0); // two leaves cannot cancel
  forEachFlat(3, 3, 4, check);
  CHECK(missed * 50 < found);
}

TEST_CASE("compose on random nested layouts") {
  RandomLayouts random(5);
  int answered = 0;
  for (int round = 0; round < 4000; ++round)
    answered += checkCompose(random.next(2000), random.next(60));
  CHECK(answered > 200);
}

TEST_CASE("compose with the identity changes nothing, and it is associative") {
  RandomLayouts random(6);
  int chains = 0;
  for (int round = 0; round < 1500; ++round) {
    Layout a = random.next();
    Layout whole = take(columnMajor(a.shape()));
    Layout same = take(compose(a, whole));
    for (int64_t i = 0; i < a.size(); ++i)
      REQUIRE(same(i) == a(i));
    Layout b = random.next(60);
    Layout c = random.next(20);
    Expected<Layout> ab = compose(a, b);
    Expected<Layout> bc = compose(b, c);
    if (!ab.ok() || !bc.ok() || !compose(*ab, c).ok() || !compose(a, *bc).ok())
      continue;
    ++chains;
    for (int64_t i = 0; i < c.size(); ++i)
      REQUIRE((*compose(*ab, c))(i) == (*compose(a, *bc))(i));
  }
  CHECK(chains > 20);
}

TEST_CASE("compositions by example") {
  std::map<std::pair<const char *, const char *>, const char *> examples = {
      {{"20:2", "(5,4):(4,1)"}, "(5,4):(8,2)"},
      {{"(10,2):(16,4)", "(5,4):(1,5)"}, "(5,(2,2)):(16,(80,4))"},
      {{"(6,2):(8,2)", "(4,3):(3,1)"}, "((2,2),3):((24,2),8)"},
      {{"(6,4):(1,100)", "8:3"}, "(2,4):(3,100)"},
      {{"(72,80):(80,1)", "((8,9),80):((9,1),72)"}, "((8,9),80):((720,80),1)"},
      {{"(4,8):(0,1)", "32:1"}, "(4,8):(0,1)"},
      {{"16:1", "(4,4):(4,0)"}, "(4,4):(4,0)"},
  };
  for (const auto &[pair, expected] : examples)
    CHECK(print(take(compose(L(pair.first), L(pair.second)))) == expected);
}

TEST_CASE("what is no layout is refused with the reason") {
  CHECK(compose(L("(4,2):(1,8)"), L("6:1")).text() ==
        "cannot compose (4,2):(1,8) with 6:1: extent 6 with stride 1 would be split at 4, which "
        "does not divide it");
  CHECK(compose(L("8:1"), L("3:4")).text() ==
        "cannot compose 8:1 with 3:4: the second reaches index 8, the first has 8");
  // Leaf by leaf this would give (4,4):(1,1) with value 6 at (3,3); the truth is A(6) = 12.
  CHECK(compose(L("(4,2):(1,10)"), L("(4,4):(1,1)")).text() ==
        "cannot compose (4,2):(1,10) with (4,4):(1,1): its modes together step over the end of a "
        "mode of the first layout");
}

TEST_CASE("composeModes composes each mode and keeps the rest") {
  Layout a = L("(72,(4,2),3):(1,(72,500),2000)");
  std::vector<Layout> tiles{L("9:8"), L("4:2")};
  Layout r = take(composeModes(a, tiles));
  CHECK(r.rank() == 3);
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t j = 0; j < 4; ++j)
      for (int64_t k = 0; k < 3; ++k)
        REQUIRE(take(r.at({i, j, k})) == take(a.at({8 * i, 2 * j, k})));
  CHECK_FALSE(composeModes(L("4:1"), tiles).ok());
  CHECK_FALSE(composeModes(a, std::vector<Layout>{L("73:1")}).ok());
}
