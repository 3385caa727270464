// IntTuple: a number or a tuple of IntTuples, e.g. 4, (4,8), ((4,8),(2,2)). Shapes, strides and
// coordinates are IntTuples. Vocabulary as in CuTe (NVIDIA CUTLASS, "CuTe layout algebra").
#pragma once

#include "ir/layout/Expected.h"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::layout {

/// A number (leaf), or a tuple of at least one mode. A value; copying it is deep.
class IntTuple {
public:
  IntTuple(int64_t number = 1) : number(number) {}
  /// A tuple, also for one mode: IntTuple({4}) is (4), not 4. Asserts that there is a mode.
  IntTuple(std::initializer_list<IntTuple> modes);
  static IntTuple tuple(std::vector<IntTuple> modes);

  bool isLeaf() const { return children.empty(); }
  /// The number of a leaf.
  int64_t value() const;
  /// Modes at the top: 1 for a leaf, which is its own only mode.
  int64_t rank() const { return isLeaf() ? 1 : static_cast<int64_t>(children.size()); }
  /// Levels of nesting: 0 for a leaf, 1 for (4,8), 2 for ((4,8),2).
  int64_t depth() const;
  const IntTuple &mode(int64_t index) const;
  /// All numbers from left to right.
  std::vector<int64_t> leaves() const;

  bool operator==(const IntTuple &other) const = default;

private:
  int64_t number = 1;
  std::vector<IntTuple> children;
};

/// The same nesting: congruent(((4,8),2), ((0,1),7)).
bool congruent(const IntTuple &a, const IntTuple &b);

/// `coordinate` has the nesting of `shape` but may give one number for a nested mode.
/// weaklyCongruent((3,5), ((4,8),7)), weaklyCongruent(9, (4,8)); not the other way round.
bool weaklyCongruent(const IntTuple &coordinate, const IntTuple &shape);

/// Product of all numbers; fails if it leaves int64.
Expected<int64_t> product(const IntTuple &tuple);

/// The tuple of that nesting with these leaves; the counts must agree (asserted).
IntTuple withLeaves(const IntTuple &nesting, const std::vector<int64_t> &leaves);

/// Coordinate of `index` in `shape`, leftmost number fastest (colexicographic).
/// Post: congruent(result, shape); 0 <= each number < its extent; crd2idx(result, shape) == index.
/// Fails if index is outside [0, product(shape)) or an extent is < 1.
Expected<IntTuple> idx2crd(int64_t index, const IntTuple &shape);

/// The index of a coordinate, leftmost number fastest. Inverse of idx2crd; a nested mode may be
/// given as one number. Fails if not weaklyCongruent, a number is outside its extent, or an extent
/// is < 1.
Expected<int64_t> crd2idx(const IntTuple &coordinate, const IntTuple &shape);

/// "((4,8),(2,2))"; parse is its inverse and allows spaces. Fails with the column of the mistake.
std::string print(const IntTuple &tuple);
Expected<IntTuple> parseIntTuple(std::string_view text);

} // namespace heddle::layout
