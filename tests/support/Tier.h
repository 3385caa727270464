// Which points of a product of test values to run. The quick tier (`make test`) takes a covering
// array: every pair of values of any two factors at least once. `make test-all` takes them all.
//   for (const Point &p : testPoints({patterns.size(), dtypes.size(), lengths.size()}))
#pragma once

#include <cstddef>
#include <vector>

namespace heddle::test {

/// One value a factor, as its index.
using Point = std::vector<size_t>;

/// Whether this run is the whole product: HEDDLE_TEST_TIER=all, which `make test-all` sets.
bool wholeTier();

/// Every point of the product of `sizes`, the last factor fastest.
std::vector<Point> wholeProduct(const std::vector<size_t> &sizes);

/// Few points that hold every pair of values of two different factors. Greedy, the same each time;
/// near the product of the two largest sizes.
std::vector<Point> coveringArray(const std::vector<size_t> &sizes);

/// The points of this run's tier.
inline std::vector<Point> testPoints(const std::vector<size_t> &sizes) {
  return wholeTier() ? wholeProduct(sizes) : coveringArray(sizes);
}

} // namespace heddle::test
