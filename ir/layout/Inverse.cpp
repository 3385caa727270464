// Inverses: leaves in order of strides, read backwards as (extent : stride in the domain).
//
//   leaf of A   extent 8, stride 1,  stride in the domain 4          (4,8):(8,1)
//               extent 4, stride 8,  stride in the domain 1
//   --> rightInverse (8,4):(4,1)
#include "ir/layout/Algebra.h"

#include <algorithm>
#include <tuple>

namespace heddle::layout {

namespace {

/// A leaf of a layout and how far apart in the flat index its steps lie.
struct PlacedLeaf {
  int64_t extent;
  int64_t stride;
  int64_t domainStride;
};

/// Leaves of the coalesced layout with extent > 1, by stride, of equal ones the longest first.
std::vector<PlacedLeaf> sortedLeaves(const Layout &a) {
  std::vector<PlacedLeaf> sorted;
  int64_t below = 1;
  for (const Leaf &leaf : coalesce(a).leaves()) {
    if (leaf.extent > 1)
      sorted.push_back({leaf.extent, leaf.stride, below});
    below *= leaf.extent;
  }
  std::sort(sorted.begin(), sorted.end(), [](const PlacedLeaf &x, const PlacedLeaf &y) {
    return std::tuple(x.stride, -x.extent, x.domainStride) <
           std::tuple(y.stride, -y.extent, y.domainStride);
  });
  return sorted;
}

} // namespace

Layout rightInverse(const Layout &a) {
  std::vector<Leaf> chain;
  int64_t reached = 1;
  for (const PlacedLeaf &leaf : sortedLeaves(a)) {
    if (leaf.stride != reached) // smaller: replicated or overlapping; larger: the run ends
      continue;
    chain.push_back({leaf.extent, leaf.domainStride});
    reached *= leaf.extent;
  }
  return *fromLeaves(chain);
}

Expected<Layout> leftInverse(const Layout &a) {
  std::string what = "no left inverse of " + print(a) + ": ";
  std::vector<PlacedLeaf> leaves = sortedLeaves(a);
  std::vector<Leaf> result;
  if (!leaves.empty() && leaves.front().stride == 0)
    return Failure{what + "it is replicated (stride 0)"};
  if (!leaves.empty() && leaves.front().stride > 1)
    result.push_back({leaves.front().stride, 0});
  for (size_t k = 0; k < leaves.size(); ++k) {
    const PlacedLeaf &leaf = leaves[k];
    bool last = k + 1 == leaves.size();
    int64_t next = last ? 0 : leaves[k + 1].stride;
    if (next % leaf.stride != 0)
      return Failure{what + "stride " + std::to_string(leaf.stride) + " does not divide stride " +
                     std::to_string(next)};
    int64_t width = last ? leaf.extent : next / leaf.stride;
    if (width < leaf.extent)
      return Failure{what + "extent " + std::to_string(leaf.extent) + " at stride " +
                     std::to_string(leaf.stride) + " overlaps stride " + std::to_string(next)};
    result.push_back({width, leaf.domainStride});
  }
  return fromLeaves(result);
}

} // namespace heddle::layout
