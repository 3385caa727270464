// The order in which a sweep tries schedules.
#include "autotune/Space.h"
#include "tests/support/Test.h"

using namespace heddle::autotune;

TEST_CASE("a sweep begins with the default and its neighbours") {
  std::vector<Schedule> legal = {{{"BM", 64}, {"BN", 128}}};
  for (int64_t bm : {32, 64, 128})
    for (int64_t bn : {64, 128})
      if (bm != 64 || bn != 128)
        legal.push_back({{"BM", bm}, {"BN", bn}});
  auto all = orderByDistance(legal, 0);
  REQUIRE(all.size() == 6);
  CHECK(all[0] == legal[0]);
  for (size_t n = 1; n <= 3; ++n) // one knob differs
    CHECK((all[n].at("BM") == 64) != (all[n].at("BN") == 128));
  for (size_t n = 4; n < 6; ++n)
    CHECK((all[n].at("BM") != 64 && all[n].at("BN") != 128));
  CHECK(orderByDistance(legal, 2).size() == 2);
  CHECK(orderByDistance({}, 2).empty());
}
