// Composition A o B, leaf of B by leaf, over A without superfluous leaves (coalesced).
//
// A flat index n of A has one digit for each leaf of A; A(n) = sum of digit * stride. As long as
// adding indices carries no digit over, A of the sum is the sum of A. So a leaf s:d of B becomes
// s:A(d) if (s-1)*d carries nothing; else it is cut where the first carry happens:
//
//   A (6,4):(1,100), leaf 8:3 --> digits of 3 are (3,0): 2 steps fit 6, then 6 has digits (0,1)
//                             --> (2,4):(3,100)
//
// At the end the digits of all leaves together must carry nothing either.
#include "ir/layout/Algebra.h"
#include "ir/layout/Checked.h"

#include <algorithm>

namespace heddle::layout {

namespace {

Failure cannotCompose(const Layout &a, const Layout &b, const std::string &why) {
  return {"cannot compose " + print(a) + " with " + print(b) + ": " + why};
}

/// The domain of A as a number system.
class Domain {
public:
  explicit Domain(const Layout &a)
      : size(a.size()), places(coalesce(a).leaves()), used(places.size(), 0) {}

  /// How many multiples 0, d, 2d, .. of d carry nothing; at most `most`.
  int64_t runLength(int64_t d, int64_t most) const {
    for (const Leaf &place : places) {
      int64_t digit = d % place.extent;
      d /= place.extent;
      if (digit > 0)
        most = std::min(most, (place.extent - 1) / digit + 1);
    }
    return most;
  }

  /// Books the digits of 0, d, .., (count-1)*d, which must carry nothing among themselves, and
  /// returns A(d). False if they and those booked before may carry.
  bool book(int64_t d, int64_t count, int64_t &stride) {
    stride = 0;
    for (size_t k = 0; k < places.size(); ++k) {
      int64_t digit = d % places[k].extent;
      d /= places[k].extent;
      stride += digit * places[k].stride;
      used[k] += (count - 1) * digit;
      if (used[k] >= places[k].extent)
        return false;
    }
    return true;
  }

  int64_t size;

private:
  std::vector<Leaf> places;
  std::vector<int64_t> used; ///< largest digit reached so far
};

/// A o leaf as one layout: a leaf, or a flat tuple.
Expected<Layout> composeLeaf(Domain &domain, Leaf leaf) {
  std::vector<Leaf> pieces;
  while (leaf.extent > 1) {
    int64_t count = domain.runLength(leaf.stride, leaf.extent);
    if (leaf.extent % count != 0)
      return Failure{"extent " + std::to_string(leaf.extent) + " with stride " +
                     std::to_string(leaf.stride) + " would be split at " + std::to_string(count) +
                     ", which does not divide it"};
    int64_t stride = 0;
    if (!domain.book(leaf.stride, count, stride))
      return Failure{"its modes together step over the end of a mode of the first layout"};
    pieces.push_back({count, stride});
    leaf = {leaf.extent / count, leaf.stride * count};
  }
  return fromLeaves(pieces);
}

/// The part of B with this shape and stride.
Expected<Layout> composePart(Domain &domain, const IntTuple &shape, const IntTuple &stride) {
  if (shape.isLeaf())
    return composeLeaf(domain, {shape.value(), stride.value()});
  std::vector<Layout> modes;
  for (int64_t m = 0; m < shape.rank(); ++m) {
    Expected<Layout> mode = composePart(domain, shape.mode(m), stride.mode(m));
    if (!mode.ok())
      return mode;
    modes.push_back(*mode);
  }
  return concatenate(modes);
}

} // namespace

Expected<Layout> compose(const Layout &a, const Layout &b) {
  if (b.cosize() > a.size())
    return cannotCompose(a, b,
                         "the second reaches index " + std::to_string(b.cosize() - 1) +
                             ", the first has " + std::to_string(a.size()));
  Domain domain(a);
  Expected<Layout> result = composePart(domain, b.shape(), b.stride());
  return result.ok() ? result : cannotCompose(a, b, result.text());
}

Expected<Layout> composeModes(const Layout &a, std::span<const Layout> tiles) {
  if (static_cast<int64_t>(tiles.size()) > a.rank())
    return Failure{std::to_string(tiles.size()) + " tiles for " + print(a) + " of rank " +
                   std::to_string(a.rank())};
  std::vector<Layout> modes = a.modes();
  for (size_t m = 0; m < tiles.size(); ++m) {
    Expected<Layout> mode = compose(modes[m], tiles[m]);
    if (!mode.ok())
      return mode;
    modes[m] = *mode;
  }
  return concatenate(modes);
}

} // namespace heddle::layout
