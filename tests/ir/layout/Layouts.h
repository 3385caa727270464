// Layouts to test with: all small ones, and random ones with fixed seeds.
#pragma once

#include "ir/layout/Algebra.h"
#include "tests/support/Test.h"

#include <functional>
#include <random>
#include <set>

namespace heddle::test {

using namespace heddle::layout;

/// The value, or a failed test with the reason.
template <typename T> T take(const Expected<T> &expected) {
  if (!expected.ok())
    FAIL(expected.text());
  return *expected;
}
inline Layout L(std::string_view text) { return take(parseLayout(text)); }

/// All flat layouts with `leaves` leaves of extents 1..maxExtent and strides 0..maxStride.
inline void forEachFlat(int leaves, int64_t maxExtent, int64_t maxStride,
                        const std::function<void(const Layout &)> &visit) {
  std::vector<Leaf> chosen(static_cast<size_t>(leaves), Leaf{1, 0});
  std::function<void(size_t)> choose = [&](size_t k) {
    if (k == chosen.size()) {
      visit(take(fromLeaves(chosen)));
      return;
    }
    for (chosen[k].extent = 1; chosen[k].extent <= maxExtent; ++chosen[k].extent)
      for (chosen[k].stride = 0; chosen[k].stride <= maxStride; ++chosen[k].stride)
        choose(k + 1);
  };
  choose(0);
}

/// Random nested layouts. Half of them have "good" strides (running products in random order, with
/// now and then a gap or a 0), half have any.
class RandomLayouts {
public:
  explicit RandomLayouts(uint32_t seed) : engine(seed) {}

  int64_t number(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine() % static_cast<uint64_t>(high - low + 1));
  }

  Layout next(int64_t maxSize = 400) {
    IntTuple shape = nested(3);
    while (*product(shape) > maxSize)
      shape = nested(3);
    std::vector<int64_t> extents = shape.leaves();
    std::vector<int64_t> strides(extents.size());
    number(0, 1) ? goodStrides(extents, strides) : anyStrides(strides);
    return take(Layout::make(shape, withLeaves(shape, strides)));
  }

private:
  IntTuple nested(int levels) {
    if (levels == 0 || number(0, 2) == 0) {
      static const int64_t kExtents[] = {1, 2, 2, 3, 4, 4, 5, 6, 8, 9, 12};
      return kExtents[number(0, 10)];
    }
    std::vector<IntTuple> modes;
    for (int64_t m = number(1, 3); m > 0; --m)
      modes.push_back(nested(levels - 1));
    return IntTuple::tuple(std::move(modes));
  }

  void anyStrides(std::vector<int64_t> &strides) {
    for (int64_t &stride : strides)
      stride = number(0, 20);
  }

  void goodStrides(const std::vector<int64_t> &extents, std::vector<int64_t> &strides) {
    std::vector<size_t> order(extents.size());
    for (size_t k = 0; k < order.size(); ++k)
      order[k] = k;
    std::shuffle(order.begin(), order.end(), engine);
    int64_t below = 1;
    for (size_t k : order) {
      strides[k] = number(0, 7) == 0 ? 0 : below;
      below *= strides[k] == 0 ? 1 : extents[k];
      below *= number(0, 5) == 0 ? number(2, 3) : 1;
    }
  }

  std::mt19937 engine;
};

/// How often each value is taken.
inline std::multiset<int64_t> values(const Layout &layout) {
  std::multiset<int64_t> all;
  for (int64_t i = 0; i < layout.size(); ++i)
    all.insert(layout(i));
  return all;
}

/// Sorted different values.
inline std::set<int64_t> distinct(const Layout &layout) {
  std::set<int64_t> all;
  for (int64_t i = 0; i < layout.size(); ++i)
    all.insert(layout(i));
  return all;
}

/// The values are 0..size-1, each taken once.
inline bool coversOnce(const Layout &layout, int64_t size) {
  std::set<int64_t> all = distinct(layout);
  return layout.size() == size && static_cast<int64_t>(all.size()) == size && *all.begin() == 0 &&
         *all.rbegin() == size - 1;
}

} // namespace heddle::test
