// Covering arrays by the greedy method: each new point starts from a pair that no point holds yet
// and takes, factor by factor, the value that brings the most new pairs.
//   {2, 2, 2} -> 000 011 101 110
#include "tests/support/Tier.h"

#include <cstdlib>
#include <set>
#include <string_view>
#include <tuple>

namespace heddle::test {
namespace {

/// Two factors and their values, the lower factor first.
using Pair = std::tuple<size_t, size_t, size_t, size_t>;

Pair pairOf(size_t f, size_t value, size_t g, size_t other) {
  return f < g ? Pair{f, g, value, other} : Pair{g, f, other, value};
}

} // namespace

bool wholeTier() {
  const char *tier = std::getenv("HEDDLE_TEST_TIER");
  return tier && std::string_view(tier) == "all";
}

std::vector<Point> wholeProduct(const std::vector<size_t> &sizes) {
  std::vector<Point> points = {{}};
  for (size_t size : sizes) {
    std::vector<Point> longer;
    for (const Point &point : points)
      for (size_t value = 0; value < size; ++value) {
        longer.push_back(point);
        longer.back().push_back(value);
      }
    points = std::move(longer);
  }
  return points;
}

std::vector<Point> coveringArray(const std::vector<size_t> &sizes) {
  if (sizes.size() < 2)
    return wholeProduct(sizes);
  std::set<Pair> open;
  for (size_t f = 0; f < sizes.size(); ++f)
    for (size_t g = f + 1; g < sizes.size(); ++g)
      for (size_t value = 0; value < sizes[f]; ++value)
        for (size_t other = 0; other < sizes[g]; ++other)
          open.insert({f, g, value, other});

  std::vector<Point> points;
  while (!open.empty()) {
    const auto [f, g, first, second] = *open.begin();
    Point point(sizes.size());
    point[f] = first, point[g] = second;
    std::vector<size_t> chosen = {f, g};
    for (size_t factor = 0; factor < sizes.size(); ++factor) {
      if (factor == f || factor == g)
        continue;
      size_t most = 0;
      // Starts elsewhere for each point, so that ties do not all go to the first value.
      for (size_t turn = 0; turn < sizes[factor]; ++turn) {
        const size_t value = (turn + points.size()) % sizes[factor];
        size_t brings = 1; // so that the first value looked at is taken if none brings any
        for (size_t known : chosen)
          brings += open.contains(pairOf(factor, value, known, point[known]));
        if (brings > most)
          most = brings, point[factor] = value;
      }
      chosen.push_back(factor);
    }
    for (size_t a = 0; a < sizes.size(); ++a)
      for (size_t b = a + 1; b < sizes.size(); ++b)
        open.erase({a, b, point[a], point[b]});
    points.push_back(std::move(point));
  }
  return points;
}

} // namespace heddle::test
