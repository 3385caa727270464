// From a support to the keys a tile of rows touches, and the keys that are full for all its rows.
//
// The formulas stand here once, over an integer algebra, and are used twice: with numbers
// (Evaluate.h: counting, tests) and with arith values (Emit.h: bounds at kernel start and inside
// the register block). Rows are absolute positions p(i); i0..i1 is an inclusive, non-empty range.
// Keys are half-open ranges; all
// results lie inside the range `keys` that the caller gives (or are empty).
//
// An algebra A has:
//   Value, Bool                          copyable
//   Value constant(int64_t)
//   Value add(Value, Value), sub, mul, floorDiv, min, max
//   Value select(Bool, Value, Value)
//   Bool lessEqual(Value, Value), both(Bool, Bool)
//   Value evaluate(Expr)                 an expression of run-time scalars alone
//   Value evaluateAt(Expr, Value row)    an expression of run-time scalars and the position i
//   Bool holds(Expr)                     a condition on run-time scalars alone
#pragma once

#include "compiler/support/Zone.h"

#include <optional>

namespace heddle::compiler {

/// Keys [begin, end); empty if end <= begin.
template <typename A> struct KeyRange {
  typename A::Value begin, end;
};

/// A part of the iteration space of one row tile: touched keys [begin, end), of which
/// [fullBegin, fullEnd) are full. begin <= fullBegin <= fullEnd <= end, or end <= begin.
template <typename A> struct KeyPart {
  typename A::Value begin, fullBegin, fullEnd, end;
};

namespace detail {

template <typename A> class ZoneBounds {
public:
  using Value = typename A::Value;
  using Bool = typename A::Bool;

  ZoneBounds(A &algebra, const Zone &zone, KeyRange<A> keys) : a(algebra), zone(zone), keys(keys) {
    firstKey = keys.begin;
    lastKey = a.sub(keys.end, a.constant(1));
    for (Expr bound : zone.minKey)
      firstKey = a.max(firstKey, a.evaluate(bound));
    for (Expr bound : zone.maxKey)
      lastKey = a.min(lastKey, a.evaluate(bound));
    minDistance = fold(zone.minDistance, &A::max);
    maxDistance = fold(zone.maxDistance, &A::min);
  }

  /// A range that holds every key (i, j) of the zone with i0 <= i <= i1; the least one if the zone
  /// is exact.
  KeyRange<A> touched(Value i0, Value i1) {
    Value first = i0, last = i1;
    for (Expr bound : zone.minRow)
      first = a.max(first, a.evaluate(bound));
    for (Expr bound : zone.maxRow)
      last = a.min(last, a.evaluate(bound));
    if (minDistance)
      first = a.max(first, a.add(firstKey, *minDistance));
    if (maxDistance)
      last = a.min(last, a.add(lastKey, *maxDistance));
    // Rows first..last have keys by the bounds on distance; when there are none, what is read at
    // them must still be inside the tile.
    Bool some = a.both(a.lessEqual(first, last), a.lessEqual(firstKey, lastKey));
    if (minDistance && maxDistance)
      some = a.both(some, a.lessEqual(*minDistance, *maxDistance));
    KeyRange<A> range = between(a.min(first, i1), a.max(last, i0));
    return unlessUnknown(onlyIf(whenHolds(some), range));
  }

  /// Keys j with (i, j) in the zone for every i0 <= i <= i1; all of them if the zone is exact, none
  /// if it is not.
  KeyRange<A> full(Value i0, Value i1) {
    KeyRange<A> none = {a.constant(0), a.constant(0)};
    if (!zone.exact)
      return none;
    Bool inside = whenHolds(a.lessEqual(i0, i1));
    for (Expr bound : zone.minRow)
      inside = a.both(inside, a.lessEqual(a.evaluate(bound), i0));
    for (Expr bound : zone.maxRow)
      inside = a.both(inside, a.lessEqual(i1, a.evaluate(bound)));
    for (Expr divisor : zone.positive)
      inside = a.both(inside, a.lessEqual(a.constant(1), a.evaluate(divisor)));
    return onlyIf(inside, between(i1, i0));
  }

private:
  std::optional<Value> fold(llvm::ArrayRef<Expr> bounds, Value (A::*combine)(Value, Value)) {
    std::optional<Value> result;
    for (Expr bound : bounds)
      result = result ? (a.*combine)(*result, a.evaluate(bound)) : a.evaluate(bound);
    return result;
  }

  /// Keys from the lower bound of row `low` to the upper bound of row `high`.
  KeyRange<A> between(Value low, Value high) {
    Value begin = firstKey, end = lastKey;
    if (maxDistance)
      begin = a.max(begin, a.sub(low, *maxDistance));
    if (minDistance)
      end = a.min(end, a.sub(high, *minDistance));
    for (const RowBound &bound : zone.minKeyOfRow)
      begin = a.max(begin, a.evaluateAt(bound.value, bound.ascending ? low : high));
    for (const RowBound &bound : zone.maxKeyOfRow)
      end = a.min(end, a.evaluateAt(bound.value, bound.ascending ? high : low));
    return {begin, a.add(end, a.constant(1))};
  }

  Bool whenHolds(Bool condition) {
    for (Expr expr : zone.when)
      condition = a.both(condition, a.holds(expr));
    return condition;
  }

  /// The range, or [0, 0) where it is empty or the condition fails.
  KeyRange<A> onlyIf(Bool condition, KeyRange<A> range) {
    Bool keep = a.both(condition, a.lessEqual(range.begin, range.end));
    Value zero = a.constant(0);
    return {a.select(keep, range.begin, zero), a.select(keep, range.end, zero)};
  }

  /// All keys where a divisor the bounds rest on is not positive.
  KeyRange<A> unlessUnknown(KeyRange<A> range) {
    for (Expr divisor : zone.positive) {
      Bool known = a.lessEqual(a.constant(1), a.evaluate(divisor));
      range.begin = a.select(known, range.begin, keys.begin);
      range.end = a.select(known, range.end, keys.end);
    }
    return range;
  }

  A &a;
  const Zone &zone;
  KeyRange<A> keys;
  Value firstKey, lastKey; ///< inclusive, by the bounds on j
  std::optional<Value> minDistance, maxDistance;
};

/// Sorts parts by begin (a network of compare and exchange: the order is a run-time fact) and clips
/// each by the ends of those before.
template <typename A> void sortAndClip(A &a, llvm::SmallVectorImpl<KeyRange<A>> &ranges) {
  using Value = typename A::Value;
  for (size_t n = ranges.size(), pass = 0; pass + 1 < n; ++pass)
    for (size_t k = 0; k + 1 < n - pass; ++k) {
      KeyRange<A> x = ranges[k], y = ranges[k + 1];
      auto ordered = a.lessEqual(x.begin, y.begin);
      ranges[k] = {a.select(ordered, x.begin, y.begin), a.select(ordered, x.end, y.end)};
      ranges[k + 1] = {a.select(ordered, y.begin, x.begin), a.select(ordered, y.end, x.end)};
    }
  for (size_t k = 1; k < ranges.size(); ++k) {
    Value before = ranges[k - 1].end;
    ranges[k] = {a.max(ranges[k].begin, before), a.max(ranges[k].end, before)};
  }
}

} // namespace detail

/// One range per zone that together hold every key rows i0..i1 touch, sorted and disjoint.
template <typename A>
llvm::SmallVector<KeyRange<A>> touchedKeys(A &a, const Support &support, typename A::Value i0,
                                           typename A::Value i1, KeyRange<A> keys) {
  llvm::SmallVector<KeyRange<A>> ranges;
  for (const Zone &zone : support.zones)
    ranges.push_back(detail::ZoneBounds<A>(a, zone, keys).touched(i0, i1));
  detail::sortAndClip(a, ranges);
  return ranges;
}

/// One range that holds every key rows i0..i1 touch: what a register block clips itself to.
template <typename A>
KeyRange<A> touchedHull(A &a, const Support &support, typename A::Value i0, typename A::Value i1,
                        KeyRange<A> keys) {
  KeyRange<A> hull = {a.constant(0), a.constant(0)};
  bool first = true;
  for (const Zone &zone : support.zones) {
    KeyRange<A> range = detail::ZoneBounds<A>(a, zone, keys).touched(i0, i1);
    if (first) {
      hull = range;
    } else {
      // An empty range is [0, 0): it must not pull the hull down to 0.
      auto hullEmpty = a.lessEqual(hull.end, hull.begin);
      auto rangeEmpty = a.lessEqual(range.end, range.begin);
      typename A::Value begin = a.min(hull.begin, range.begin);
      begin = a.select(rangeEmpty, hull.begin, begin);
      begin = a.select(hullEmpty, range.begin, begin);
      hull = {begin, a.max(hull.end, range.end)};
    }
    first = false;
  }
  return hull;
}

/// Each part becomes two loops, so their number is bounded.
constexpr size_t kMaxParts = 4;

/// The iteration space of rows i0..i1, one part per zone, ascending and disjoint. Of a key that
/// several zones touch the first takes it; the full range inside a part is the longest any zone
/// claims there, shortened to a multiple of `step`. A support of more than kMaxParts zones gives
/// one part, the hull.
template <typename A>
llvm::SmallVector<KeyPart<A>> keyParts(A &a, const Support &support, typename A::Value i0,
                                       typename A::Value i1, KeyRange<A> keys, int64_t step) {
  using Value = typename A::Value;
  llvm::SmallVector<KeyRange<A>> fulls;
  for (const Zone &zone : support.zones)
    if (zone.exact)
      fulls.push_back(detail::ZoneBounds<A>(a, zone, keys).full(i0, i1));
  llvm::SmallVector<KeyRange<A>> ranges;
  if (support.zones.size() > kMaxParts)
    ranges.push_back(touchedHull(a, support, i0, i1, keys));
  else
    ranges = touchedKeys(a, support, i0, i1, keys);
  llvm::SmallVector<KeyPart<A>> parts;
  for (KeyRange<A> range : ranges) {
    KeyPart<A> part = {range.begin, range.begin, range.begin, range.end};
    Value longest = a.constant(0);
    for (KeyRange<A> full : fulls) {
      Value begin = a.max(full.begin, range.begin);
      Value length = a.sub(a.min(full.end, range.end), begin);
      length = a.floorDiv(a.max(length, a.constant(0)), a.constant(step));
      length = a.mul(length, a.constant(step));
      auto keep = a.lessEqual(length, longest);
      part.fullBegin = a.select(keep, part.fullBegin, begin);
      longest = a.max(longest, length);
    }
    part.fullEnd = a.add(part.fullBegin, longest);
    parts.push_back(part);
  }
  return parts;
}

} // namespace heddle::compiler
