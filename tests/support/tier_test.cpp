// Covering arrays hold every pair and stay small.
#include "tests/support/Test.h"
#include "tests/support/Tier.h"

#include <algorithm>
#include <set>

using namespace heddle::test;

TEST_CASE("a covering array holds every pair of values, in few points") {
  const std::vector<size_t> cases[] = {{3},       {2, 5},          {2, 2, 2},    {8, 3, 7, 4, 3, 3},
                                       {1, 4, 1}, {4, 4, 4, 4, 4}, {20, 3, 6, 2}};
  for (std::vector<size_t> sizes : cases) {
    const std::vector<Point> points = coveringArray(sizes);
    for (size_t f = 0; f < sizes.size(); ++f)
      for (size_t g = 0; g < sizes.size(); ++g) {
        std::set<std::pair<size_t, size_t>> pairs;
        for (const Point &point : points) {
          REQUIRE(point.size() == sizes.size());
          REQUIRE(point[f] < sizes[f]);
          pairs.insert({point[f], point[g]});
        }
        CHECK(pairs.size() == (f == g ? sizes[f] : sizes[f] * sizes[g]));
      }
    std::sort(sizes.rbegin(), sizes.rend());
    const size_t least = sizes[0] * (sizes.size() > 1 ? sizes[1] : 1);
    CHECK(points.size() <= least + least / 2 + 2);
    CHECK(wholeProduct(sizes).size() >= points.size());
  }
}

TEST_CASE("the whole product has each point once") {
  const std::vector<Point> points = wholeProduct({2, 3, 2});
  CHECK(points.size() == 12);
  CHECK(std::set<Point>(points.begin(), points.end()).size() == 12);
  CHECK(wholeProduct({}).size() == 1);
  CHECK(wholeProduct({2, 0}).empty());
}
