// Layout: a function from coordinates to int64, written shape:stride, e.g. the accumulator of
// mma.m16n8k16 ((4,8),(2,2)):((32,1),(16,8)), which maps (thread, value) to row + 16 * column.
//
//   coordinate ((t0,t1),(v0,v1)) --> t0*32 + t1*1 + v0*16 + v1*8
//
// A flat index runs through the coordinates leftmost number fastest. Stride 0 means replication:
// all coordinates of that mode hold the same element (a row maximum kept by four threads).
#pragma once

#include "ir/layout/IntTuple.h"

#include <span>

namespace heddle::layout {

/// One number of the shape with its stride.
struct Leaf {
  int64_t extent = 1;
  int64_t stride = 0;
  bool operator==(const Leaf &) const = default;
};

/// A layout. Invariant: shape and stride are congruent, extents >= 1, strides >= 0, size and cosize
/// fit int64. Extents may be any positive number (72, 80, 96 and 112 are usual). A value.
class Layout {
public:
  Layout() : Layout(Leaf{1, 0}) {}
  explicit Layout(Leaf leaf);
  /// Fails if the invariant would not hold, naming the numbers.
  static Expected<Layout> make(const IntTuple &shape, const IntTuple &stride);

  const IntTuple &shape() const & { return shapeTuple; }
  const IntTuple &stride() const & { return strideTuple; }
  const std::vector<Leaf> &leaves() const & { return flat; }
  // Of a temporary: by value, so that `for (Leaf leaf : coalesce(a).leaves())` is safe.
  IntTuple shape() && { return std::move(shapeTuple); }
  IntTuple stride() && { return std::move(strideTuple); }
  std::vector<Leaf> leaves() && { return std::move(flat); }

  /// Number of coordinates.
  int64_t size() const { return coordinates; }
  /// Largest value + 1.
  int64_t cosize() const { return largest + 1; }
  int64_t rank() const { return shapeTuple.rank(); }
  int64_t depth() const { return shapeTuple.depth(); }
  /// Top-level mode; mode 0 of a layout without nesting is itself. Asserts 0 <= index < rank().
  Layout mode(int64_t index) const;
  /// All top-level modes, in order.
  std::vector<Layout> modes() const;

  /// Value at a flat index, 0 <= index < size() (asserted).
  int64_t operator()(int64_t index) const;
  /// Value at a coordinate that is weakly congruent to the shape; fails with the reason if it is
  /// not, or outside. at(idx2crd(i, shape)) == (*this)(i).
  Expected<int64_t> at(const IntTuple &coordinate) const;

  bool operator==(const Layout &other) const {
    return shapeTuple == other.shapeTuple && strideTuple == other.strideTuple;
  }

private:
  Layout(IntTuple shape, IntTuple stride, std::vector<Leaf> flat, int64_t size, int64_t largest);

  IntTuple shapeTuple;
  IntTuple strideTuple;
  std::vector<Leaf> flat;
  int64_t coordinates = 1;
  int64_t largest = 0;
};

/// The layout with these modes: (a0,a1,...) where a0, a1 are the given layouts; asserts that there
/// is one. Post: at((c0,c1,..)) == sum of modes[k].at(ck).
/// Fails if size or cosize leave int64.
Expected<Layout> concatenate(std::span<const Layout> modes);

/// The flat layout with these leaves: one leaf stands without parentheses, none at all is 1:0.
/// Fails if an extent is < 1, a stride < 0, or size or cosize leave int64.
Expected<Layout> fromLeaves(std::span<const Leaf> leaves);

/// The identity on [0, size): strides by a running product, first mode fastest (columns) or last
/// mode fastest (rows; nesting is followed from the right). Fails on extents < 1 or overflow.
Expected<Layout> columnMajor(const IntTuple &shape);
Expected<Layout> rowMajor(const IntTuple &shape);

/// The same function of the flat index with the fewest leaves and depth <= 1.
/// Post: size equal; result(i) == layout(i) for all i; no two neighbours a:s, b:(a*s); no extent 1
/// unless the result is 1:0.
Layout coalesce(const Layout &layout);
/// The same with each top-level mode on its own: rank and each mode's function stay.
Layout coalesceModes(const Layout &layout);

/// Without its stride-0 modes and extents of 1, flat; 1:0 if nothing is left. What remains of a
/// distribution when replicas are counted once.
/// Post: the set of values is the same; no leaf has stride 0 unless the result is 1:0.
Layout dropReplication(const Layout &layout);

/// Different coordinates give different values. Exact, without enumerating the coordinates. A
/// replicated layout is not injective.
bool isInjective(const Layout &layout);
/// Injective, and the values are exactly 0 .. size-1.
bool isBijective(const Layout &layout);

/// "(4,8):(8,1)"; parse is its inverse and allows spaces. "(4,8)" alone means column-major.
std::string print(const Layout &layout);
Expected<Layout> parseLayout(std::string_view text);

} // namespace heddle::layout
