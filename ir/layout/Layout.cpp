// Layouts as values: making them, calling them, and the forms of a layout that keep its function.
//
//   ((4,8),(2,2)):((32,1),(16,8)) at flat index 37 = coordinate ((1,1),(1,0)) --> 32 + 1 + 16 = 49
#include "ir/layout/Layout.h"

#include "ir/layout/Checked.h"
#include "ir/layout/TextCursor.h"

#include <algorithm>

namespace heddle::layout {

Layout::Layout(IntTuple shape, IntTuple stride, std::vector<Leaf> flat, int64_t size,
               int64_t largest)
    : shapeTuple(std::move(shape)), strideTuple(std::move(stride)), flat(std::move(flat)),
      coordinates(size), largest(largest) {}

Layout::Layout(Leaf leaf)
    : shapeTuple(leaf.extent), strideTuple(leaf.stride), flat{leaf}, coordinates(leaf.extent),
      largest((leaf.extent - 1) * leaf.stride) {
  assert(leaf.extent >= 1 && leaf.stride >= 0 && "extents are positive, strides not negative");
}

Expected<Layout> Layout::make(const IntTuple &shape, const IntTuple &stride) {
  std::string text = print(shape) + ":" + print(stride);
  if (!congruent(shape, stride))
    return Failure{"shape and stride of " + text + " differ in nesting"};
  std::vector<int64_t> extents = shape.leaves();
  std::vector<int64_t> strides = stride.leaves();
  std::vector<Leaf> flat;
  int64_t size = 1;
  int64_t largest = 0;
  for (size_t k = 0; k < extents.size(); ++k) {
    if (extents[k] < 1)
      return Failure{"extent " + std::to_string(extents[k]) + " in " + text +
                     ", expected 1 at least"};
    if (strides[k] < 0)
      return Failure{"stride " + std::to_string(strides[k]) + " in " + text +
                     ", expected 0 at least"};
    int64_t reach = 0;
    if (!multiply(size, extents[k], size) || !multiply(extents[k] - 1, strides[k], reach) ||
        !add(largest, reach, largest) || largest == INT64_MAX)
      return Failure{"size or cosize of " + text + " does not fit 64 bits"};
    flat.push_back({extents[k], strides[k]});
  }
  return Layout(shape, stride, std::move(flat), size, largest);
}

Layout Layout::mode(int64_t index) const {
  return *make(shapeTuple.mode(index), strideTuple.mode(index));
}

std::vector<Layout> Layout::modes() const {
  std::vector<Layout> all;
  for (int64_t m = 0; m < rank(); ++m)
    all.push_back(mode(m));
  return all;
}

int64_t Layout::operator()(int64_t index) const {
  assert(index >= 0 && index < coordinates && "the index is outside the layout");
  int64_t value = 0;
  for (const Leaf &leaf : flat) {
    value += index % leaf.extent * leaf.stride;
    index /= leaf.extent;
  }
  return value;
}

Expected<int64_t> Layout::at(const IntTuple &coordinate) const {
  Expected<int64_t> index = crd2idx(coordinate, shapeTuple);
  return index.ok() ? Expected<int64_t>((*this)(*index)) : index;
}

Expected<Layout> concatenate(std::span<const Layout> modes) {
  assert(!modes.empty() && "a layout needs a mode");
  std::vector<IntTuple> shapes;
  std::vector<IntTuple> strides;
  for (const Layout &mode : modes) {
    shapes.push_back(mode.shape());
    strides.push_back(mode.stride());
  }
  return Layout::make(IntTuple::tuple(std::move(shapes)), IntTuple::tuple(std::move(strides)));
}

Expected<Layout> fromLeaves(std::span<const Leaf> leaves) {
  std::vector<IntTuple> extents;
  std::vector<IntTuple> strides;
  for (const Leaf &leaf : leaves) {
    extents.emplace_back(leaf.extent);
    strides.emplace_back(leaf.stride);
  }
  if (leaves.empty())
    return Layout();
  if (leaves.size() == 1)
    return Layout::make(extents.front(), strides.front());
  return Layout::make(IntTuple::tuple(std::move(extents)), IntTuple::tuple(std::move(strides)));
}

namespace {

/// Strides by a running product over the leaves in the order of `begin` .. `end`.
template <typename Iterator> bool runningProduct(Iterator begin, Iterator end) {
  int64_t below = 1;
  for (Iterator leaf = begin; leaf != end; ++leaf) {
    int64_t extent = *leaf;
    *leaf = below;
    if (!multiply(below, extent, below))
      return false;
  }
  return true;
}

Expected<Layout> compact(const IntTuple &shape, bool leftmostFastest) {
  std::vector<int64_t> strides = shape.leaves();
  bool fits = leftmostFastest ? runningProduct(strides.begin(), strides.end())
                              : runningProduct(strides.rbegin(), strides.rend());
  if (!fits)
    return Failure{"the size of shape " + print(shape) + " does not fit 64 bits"};
  return Layout::make(shape, withLeaves(shape, strides));
}

} // namespace

Expected<Layout> columnMajor(const IntTuple &shape) { return compact(shape, true); }
Expected<Layout> rowMajor(const IntTuple &shape) { return compact(shape, false); }

Layout coalesce(const Layout &layout) {
  std::vector<Leaf> joined;
  for (const Leaf &leaf : layout.leaves()) {
    if (leaf.extent == 1)
      continue;
    int64_t next = 0;
    if (!joined.empty() && multiply(joined.back().extent, joined.back().stride, next) &&
        leaf.stride == next)
      joined.back().extent *= leaf.extent;
    else
      joined.push_back(leaf);
  }
  return *fromLeaves(joined);
}

Layout coalesceModes(const Layout &layout) {
  if (layout.depth() == 0)
    return coalesce(layout);
  std::vector<Layout> modes = layout.modes();
  for (Layout &mode : modes)
    mode = coalesce(mode);
  return *concatenate(modes);
}

Layout dropReplication(const Layout &layout) {
  std::vector<Leaf> kept;
  for (const Leaf &leaf : layout.leaves())
    if (leaf.extent > 1 && leaf.stride > 0)
      kept.push_back(leaf);
  return *fromLeaves(kept);
}

namespace {

__extension__ typedef __int128 Wide;

Wide floorDivide(Wide a, Wide b) { return a / b - (a % b < 0); }

/// Two coordinates of `leaves` (strides descending, all positive) differ by a vector whose value is
/// -`rest`; `differ` says that leaves before have made it non-zero. reach[k] is the largest value
/// of leaves k and after: most branches die on it at once.
bool meets(std::span<const Leaf> leaves, std::span<const int64_t> reach, Wide rest, bool differ) {
  if (leaves.empty())
    return differ && rest == 0;
  Wide stride = leaves[0].stride;
  Wide most = leaves[0].extent - 1;
  Wide below = reach[1];
  Wide first = std::max(-most, -floorDivide(below + rest, stride));
  Wide last = std::min(most, floorDivide(below - rest, stride));
  for (Wide step = first; step <= last; ++step)
    if (meets(leaves.subspan(1), reach.subspan(1), rest + step * stride, differ || step != 0))
      return true;
  return false;
}

} // namespace

bool isInjective(const Layout &layout) {
  std::vector<Leaf> leaves = dropReplication(layout).leaves();
  if (layout.size() == 1)
    return true;
  if (dropReplication(layout).size() != layout.size() || layout.size() > layout.cosize())
    return false;
  std::sort(leaves.begin(), leaves.end(),
            [](const Leaf &a, const Leaf &b) { return a.stride > b.stride; });
  std::vector<int64_t> reach(leaves.size() + 1, 0);
  for (size_t k = leaves.size(); k-- > 0;)
    reach[k] = reach[k + 1] + (leaves[k].extent - 1) * leaves[k].stride;
  return !meets(leaves, reach, 0, false);
}

bool isBijective(const Layout &layout) {
  return layout.size() == layout.cosize() && isInjective(layout);
}

std::string print(const Layout &layout) {
  return print(layout.shape()) + ":" + print(layout.stride());
}

Expected<Layout> parseLayoutAt(TextCursor &cursor) {
  Expected<IntTuple> shape = cursor.tuple();
  if (!shape.ok())
    return Failure{shape.text()};
  if (cursor.atEnd())
    return columnMajor(*shape);
  if (!cursor.take(':'))
    return cursor.expected("':' or the end");
  Expected<IntTuple> stride = cursor.tuple();
  if (!stride.ok())
    return Failure{stride.text()};
  if (!cursor.atEnd())
    return cursor.expected("the end");
  return Layout::make(*shape, *stride);
}

Expected<Layout> parseLayout(std::string_view text) {
  TextCursor cursor(text);
  return parseLayoutAt(cursor);
}

} // namespace heddle::layout
