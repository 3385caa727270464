// Complement and the divides, which are compositions with (tile, complement of the tile).
//
//   complement(4:2, 24):  sizes 2:1 in the gap below stride 2, then 3:8 above --> (2,3):(1,8)
//   logicalDivide(24:1, 4:2) = 24:1 o (4:2, (2,3):(1,8)) = (4,(2,3)):(2,(1,8))
#include "ir/layout/Algebra.h"
#include "ir/layout/Checked.h"

#include <algorithm>

namespace heddle::layout {

namespace {

/// What lies between the leaves of A in order of strides, and the end of the last: the period.
struct Gaps {
  std::vector<Leaf> between;
  int64_t period = 1;
};

Expected<Gaps> gapsOf(const Layout &a) {
  std::vector<Leaf> leaves = dropReplication(a).leaves();
  std::sort(leaves.begin(), leaves.end(),
            [](const Leaf &x, const Leaf &y) { return x.stride < y.stride; });
  Gaps gaps;
  for (const Leaf &leaf : leaves) {
    if (leaf.extent == 1) // only in 1:0
      continue;
    if (leaf.stride % gaps.period != 0)
      return Failure{print(a) + " has no complement: stride " + std::to_string(leaf.stride) +
                     " is not a multiple of " + std::to_string(gaps.period) +
                     ", where its smaller strides end"};
    if (leaf.stride > gaps.period)
      gaps.between.push_back({leaf.stride / gaps.period, gaps.period});
    if (!multiply(leaf.stride, leaf.extent, gaps.period))
      return Failure{print(a) + " has no complement: its end does not fit 64 bits"};
  }
  return gaps;
}

} // namespace

Expected<int64_t> tilingPeriod(const Layout &a) {
  Expected<Gaps> gaps = gapsOf(a);
  return gaps.ok() ? Expected<int64_t>(gaps->period) : Failure{gaps.text()};
}

Expected<Layout> complement(const Layout &a, int64_t size) {
  Expected<Gaps> gaps = gapsOf(a);
  if (!gaps.ok())
    return Failure{gaps.text()};
  if (size < 1 || size % gaps->period != 0)
    return Failure{print(a) + " has no complement in " + std::to_string(size) +
                   ": expected a multiple of " + std::to_string(gaps->period)};
  std::vector<Leaf> leaves = gaps->between;
  if (size > gaps->period)
    leaves.push_back({size / gaps->period, gaps->period});
  return fromLeaves(leaves);
}

Expected<Layout> logicalDivide(const Layout &a, const Layout &tile) {
  std::string what = "cannot divide " + print(a) + " by " + print(tile) + ": ";
  if (dropReplication(tile).size() != tile.size())
    return Failure{what + "the tile is replicated, expected different elements"};
  Expected<Layout> rest = complement(tile, a.size());
  if (!rest.ok())
    return Failure{what + rest.text()};
  Expected<Layout> both = concatenate(std::vector<Layout>{tile, *rest});
  if (!both.ok())
    return both;
  Expected<Layout> result = compose(a, *both);
  return result.ok() ? result : Failure{what + result.text()};
}

Expected<Layout> logicalDivideModes(const Layout &a, std::span<const Layout> tiles) {
  if (tiles.empty() || static_cast<int64_t>(tiles.size()) > a.rank())
    return Failure{std::to_string(tiles.size()) + " tiles for " + print(a) + " of rank " +
                   std::to_string(a.rank()) + ", expected 1 tile to " + std::to_string(a.rank())};
  std::vector<Layout> modes = a.modes();
  for (size_t m = 0; m < tiles.size(); ++m) {
    Expected<Layout> mode = logicalDivide(modes[m], tiles[m]);
    if (!mode.ok())
      return mode;
    modes[m] = *mode;
  }
  return concatenate(modes);
}

namespace {

/// The modes of logicalDivideModes, sorted into tiles, rests, and modes without a tile.
struct Divided {
  std::vector<Layout> inside;
  std::vector<Layout> outside;
};

Expected<Divided> divide(const Layout &a, std::span<const Layout> tiles) {
  Expected<Layout> paired = logicalDivideModes(a, tiles);
  if (!paired.ok())
    return Failure{paired.text()};
  Divided divided;
  std::vector<Layout> modes = paired->modes();
  for (size_t m = 0; m < modes.size(); ++m) {
    if (m < tiles.size())
      divided.inside.push_back(modes[m].mode(0));
    divided.outside.push_back(m < tiles.size() ? modes[m].mode(1) : modes[m]);
  }
  return divided;
}

} // namespace

Expected<Layout> zippedDivide(const Layout &a, std::span<const Layout> tiles) {
  Expected<Divided> divided = divide(a, tiles);
  if (!divided.ok())
    return Failure{divided.text()};
  return concatenate(
      std::vector<Layout>{*concatenate(divided->inside), *concatenate(divided->outside)});
}

Expected<Layout> tiledDivide(const Layout &a, std::span<const Layout> tiles) {
  Expected<Divided> divided = divide(a, tiles);
  if (!divided.ok())
    return Failure{divided.text()};
  std::vector<Layout> modes{*concatenate(divided->inside)};
  modes.insert(modes.end(), divided->outside.begin(), divided->outside.end());
  return concatenate(modes);
}

} // namespace heddle::layout
