// Nested tuples of numbers: their nesting, their leaves, and coordinates inside a shape.
//
//   shape ((4,8),2), index 41 --> coordinate ((1,2),1) --> index 41
#include "ir/layout/IntTuple.h"

#include "ir/layout/Checked.h"
#include "ir/layout/TextCursor.h"

#include <algorithm>

namespace heddle::layout {

IntTuple::IntTuple(std::initializer_list<IntTuple> modes) : IntTuple(tuple(modes)) {}

IntTuple IntTuple::tuple(std::vector<IntTuple> modes) {
  assert(!modes.empty() && "a tuple needs a mode");
  IntTuple result;
  result.children = std::move(modes);
  return result;
}

int64_t IntTuple::value() const {
  assert(isLeaf() && "a tuple has no value");
  return number;
}

int64_t IntTuple::depth() const {
  if (isLeaf())
    return 0;
  int64_t deepest = 0;
  for (const IntTuple &child : children)
    deepest = std::max(deepest, child.depth());
  return deepest + 1;
}

const IntTuple &IntTuple::mode(int64_t index) const {
  assert(index >= 0 && index < rank() && "no such mode");
  return isLeaf() ? *this : children[static_cast<size_t>(index)];
}

namespace {

void collectLeaves(const IntTuple &tuple, std::vector<int64_t> &into) {
  if (tuple.isLeaf()) {
    into.push_back(tuple.value());
    return;
  }
  for (int64_t m = 0; m < tuple.rank(); ++m)
    collectLeaves(tuple.mode(m), into);
}

IntTuple takeLeaves(const IntTuple &nesting, const int64_t *&next) {
  if (nesting.isLeaf())
    return IntTuple(*next++);
  std::vector<IntTuple> modes;
  for (int64_t m = 0; m < nesting.rank(); ++m)
    modes.push_back(takeLeaves(nesting.mode(m), next));
  return IntTuple::tuple(std::move(modes));
}

} // namespace

std::vector<int64_t> IntTuple::leaves() const {
  std::vector<int64_t> all;
  collectLeaves(*this, all);
  return all;
}

IntTuple withLeaves(const IntTuple &nesting, const std::vector<int64_t> &leaves) {
  assert(leaves.size() == nesting.leaves().size() && "one number for each leaf");
  const int64_t *next = leaves.data();
  return takeLeaves(nesting, next);
}

bool weaklyCongruent(const IntTuple &coordinate, const IntTuple &shape) {
  if (coordinate.isLeaf())
    return true;
  if (shape.isLeaf() || coordinate.rank() != shape.rank())
    return false;
  for (int64_t m = 0; m < shape.rank(); ++m)
    if (!weaklyCongruent(coordinate.mode(m), shape.mode(m)))
      return false;
  return true;
}

bool congruent(const IntTuple &a, const IntTuple &b) {
  return weaklyCongruent(a, b) && weaklyCongruent(b, a);
}

Expected<int64_t> product(const IntTuple &tuple) {
  int64_t all = 1;
  for (int64_t leaf : tuple.leaves())
    if (!multiply(all, leaf, all))
      return Failure{"the product of " + print(tuple) + " does not fit 64 bits"};
  return all;
}

namespace {

/// The size of a shape: extents are positive and their product fits.
Expected<int64_t> sizeOf(const IntTuple &shape) {
  for (int64_t extent : shape.leaves())
    if (extent < 1)
      return Failure{"extent " + std::to_string(extent) + " in shape " + print(shape) +
                     ", expected 1 at least"};
  return product(shape);
}

} // namespace

Expected<IntTuple> idx2crd(int64_t index, const IntTuple &shape) {
  Expected<int64_t> size = sizeOf(shape);
  if (!size.ok())
    return Failure{size.text()};
  if (index < 0 || index >= *size)
    return Failure{"index " + std::to_string(index) + " is outside shape " + print(shape) +
                   " of size " + std::to_string(*size)};
  std::vector<int64_t> numbers = shape.leaves();
  for (int64_t &number : numbers) {
    int64_t extent = number;
    number = index % extent;
    index /= extent;
  }
  return withLeaves(shape, numbers);
}

namespace {

/// Requires weaklyCongruent(coordinate, shape) and a size of `shape` that fits.
Expected<int64_t> indexInside(const IntTuple &coordinate, const IntTuple &shape) {
  if (coordinate.isLeaf()) {
    int64_t extent = *product(shape);
    if (coordinate.value() < 0 || coordinate.value() >= extent)
      return Failure{"coordinate " + print(coordinate) + " is outside extent " + print(shape)};
    return coordinate.value();
  }
  int64_t index = 0;
  int64_t below = 1;
  for (int64_t m = 0; m < shape.rank(); ++m) {
    Expected<int64_t> part = indexInside(coordinate.mode(m), shape.mode(m));
    if (!part.ok())
      return part;
    index += *part * below;
    below *= *product(shape.mode(m));
  }
  return index;
}

} // namespace

Expected<int64_t> crd2idx(const IntTuple &coordinate, const IntTuple &shape) {
  if (!weaklyCongruent(coordinate, shape))
    return Failure{"coordinate " + print(coordinate) + " does not fit the nesting of shape " +
                   print(shape)};
  Expected<int64_t> size = sizeOf(shape);
  return size.ok() ? indexInside(coordinate, shape) : size;
}

std::string print(const IntTuple &tuple) {
  if (tuple.isLeaf())
    return std::to_string(tuple.value());
  std::string text = "(";
  for (int64_t m = 0; m < tuple.rank(); ++m)
    text += (m ? "," : "") + print(tuple.mode(m));
  return text + ")";
}

Expected<IntTuple> parseIntTuple(std::string_view text) {
  TextCursor cursor(text);
  Expected<IntTuple> tuple = cursor.tuple();
  if (tuple.ok() && !cursor.atEnd())
    return cursor.expected("the end");
  return tuple;
}

} // namespace heddle::layout
