// Orders schedules by how many knobs differ from the default's.
#include "autotune/Space.h"

#include <algorithm>
#include <utility>

namespace heddle::autotune {
namespace {

int64_t distance(const Schedule &a, const Schedule &b) {
  int64_t different = 0;
  for (const auto &[name, value] : a) {
    auto other = b.find(name);
    different += other == b.end() || other->second != value;
  }
  return different;
}

} // namespace

std::vector<Schedule> orderByDistance(const std::vector<Schedule> &legal, int64_t budget) {
  std::vector<std::pair<int64_t, size_t>> ranked;
  for (size_t n = 0; n < legal.size(); ++n)
    ranked.emplace_back(distance(legal[n], legal[0]), n);
  std::sort(ranked.begin(), ranked.end());
  std::vector<Schedule> ordered;
  for (const auto &[knobs, index] : ranked)
    ordered.push_back(legal[index]);
  if (budget > 0 && static_cast<int64_t>(ordered.size()) > budget)
    ordered.resize(budget);
  return ordered;
}

} // namespace heddle::autotune
