// Products: a tile A repeated as B says, the copies placed by A's complement.
//
//   logicalProduct((2,2):(1,2), 3:1)        = ((2,2),3):((1,2),4)
//   blockedProduct((2,2):(1,2), (3,5):(1,3)) = ((2,3),(2,5)):((1,4),(2,12))
#include "ir/layout/Algebra.h"
#include "ir/layout/Checked.h"

#include <algorithm>

namespace heddle::layout {

namespace {

/// The complement of A with a place for each value of B.
Expected<Layout> places(const Layout &a, const Layout &b) {
  Expected<int64_t> period = tilingPeriod(a);
  if (!period.ok())
    return Failure{period.text()};
  int64_t size = 0;
  int64_t copies = dropReplication(a).size();
  if (!multiply(copies, b.cosize(), size) || !add(size, *period - 1, size))
    return Failure{print(a) + " repeated by " + print(b) + " does not fit 64 bits"};
  return complement(a, size / *period * *period);
}

/// Its modes as a tuple of `rank` modes at least; missing ones are 1:0.
Layout asTuple(const Layout &layout, int64_t rank) {
  std::vector<Layout> modes = layout.modes();
  while (static_cast<int64_t>(modes.size()) < rank)
    modes.emplace_back();
  return *concatenate(modes);
}

} // namespace

Expected<Layout> logicalProduct(const Layout &a, const Layout &b) {
  Expected<Layout> place = places(a, b);
  if (!place.ok())
    return place;
  Expected<Layout> copies = compose(*place, b);
  return copies.ok() ? concatenate(std::vector<Layout>{a, *copies}) : copies;
}

namespace {

Expected<Layout> pairedProduct(const Layout &a, const Layout &b, bool elementFirst) {
  int64_t rank = std::max(a.rank(), b.rank());
  Expected<Layout> product = logicalProduct(asTuple(a, rank), asTuple(b, rank));
  if (!product.ok())
    return product;
  Layout elements = product->mode(0);
  Layout copies = product->mode(1);
  std::vector<Layout> modes;
  for (int64_t m = 0; m < rank; ++m) {
    std::vector<Layout> pair{elements.mode(m), copies.mode(m)};
    if (!elementFirst)
      std::swap(pair[0], pair[1]);
    modes.push_back(*concatenate(pair));
  }
  return concatenate(modes);
}

} // namespace

Expected<Layout> blockedProduct(const Layout &a, const Layout &b) {
  return pairedProduct(a, b, true);
}

Expected<Layout> rakedProduct(const Layout &a, const Layout &b) {
  return pairedProduct(a, b, false);
}

} // namespace heddle::layout
