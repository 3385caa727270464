// Support analysis: a boolean expression over positions i and keys j as a union of zones.
//
// A zone is a conjunction of bounds on i, j and i - j, and of bounds on j by monotone functions of
// i (`j // c <= i // c`, an ascending start of document). Bounds are integer expressions of
// run-time scalars (of values loaded per row too, where the pattern promises that they ascend).
// Bounds.h turns zones into loop bounds; what a zone cannot say stays in the mask
// of the edge body, which always evaluates the whole expression, so zones only ever have to be
// safe.
//
//   j <= i and (i - j < W or j < S)   ->   {i-j in [0, W-1]}  or  {i-j >= 0, j <= S-1}
#pragma once

#include "ir/pattern/Expr.h"

#include "llvm/ADT/SmallVector.h"

#include <string>
#include <vector>

namespace heddle::compiler {

using Expr = pattern::ExprAttr;

/// How well the zones describe the support (printed by `show --tiles`).
enum class SupportClass {
  A, ///< unions of zones: exactly the keys with a pair are visited
  B, ///< zones and conditions on a remainder: visited keys are exact up to the remainder's period
  C, ///< something else: visited keys are safe, maybe too many
};

/// A bound on j that is a monotone function of the position i.
struct RowBound {
  Expr value;
  bool ascending = true; ///< non-decreasing in i, else non-increasing
  bool operator==(const RowBound &) const = default;
};

/// A conjunction. Bounds are inclusive and integer; an empty list is no bound.
struct Zone {
  llvm::SmallVector<Expr, 2> minRow, maxRow;           ///< of i
  llvm::SmallVector<Expr, 2> minKey, maxKey;           ///< of j
  llvm::SmallVector<Expr, 2> minDistance, maxDistance; ///< of i - j
  llvm::SmallVector<RowBound, 2> minKeyOfRow, maxKeyOfRow;
  llvm::SmallVector<Expr, 1> when;     ///< conditions on scalars: the zone is empty unless all hold
  llvm::SmallVector<Expr, 1> positive; ///< divisors: the bounds are true only while these are > 0
  bool exact = true; ///< the bounds are the whole condition; if not, no key of the zone is full
};

struct Support {
  SupportClass kind = SupportClass::A;
  llvm::SmallVector<Zone, 2> zones; ///< none: no pair is visible
  std::vector<std::string> notes;   ///< why it is not class A: one line per expression not bounded
};

/// What the analysis must know about names.
struct SupportNames {
  std::string row = "i"; ///< the variable of the absolute position p(i)
  std::string key = "j"; ///< the variable of the key
  /// Variables that are fixed for a whole row tile besides run-time scalars: b, and h where a tile
  /// has one head.
  llvm::SmallVector<std::string, 4> invariant = {"b", "h"};
  llvm::SmallVector<std::string, 4> reals;    ///< parameters that are not integers
  llvm::SmallVector<std::string, 4> integers; ///< tensors of integers, which bounds may read
};

/// At most this many zones; a support with more is bounded by a superset and becomes class C.
inline constexpr int64_t kMaxZones = 8;

/// Analyses `expr`. Never fails: what is not understood makes the class worse.
Support analyseSupport(Expr expr, const SupportNames &names = {});

/// "class A, 2 zones: ..." for `show --tiles` and notes.
std::string toString(const Support &support);

} // namespace heddle::compiler
