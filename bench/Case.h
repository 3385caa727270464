// What the attention benchmark measures: problems, and how much useful work each of them is.
#pragma once

#include "runtime/DType.h"
#include "runtime/Signature.h"

#include <map>
#include <span>
#include <string>

namespace heddle::bench {

/// Which pairs (query, key) of a head are not masked. Queries are aligned bottom-right: row r of Tq
/// stands at position r + Tk - Tq.
enum class Visible { All, Causal, Window };

struct Case {
  const char *name;    ///< unique but for the dtype
  const char *pattern; ///< in patterns/
  Visible visible;
  int64_t B, Hq, Hk, Tq, Tk, D;
  int64_t window;   ///< keys a query sees at most, its own included; the parameter W; 0: none
  int64_t copies;   ///< sets of tensors taken in turn, so that no cache holds them
  const char *full; ///< the unmasked case of the same size, or null

  Extents extents() const;
  std::map<std::string, double> parameters() const;
};

/// The cases, each unmasked one before those that name it.
std::span<const Case> cases();

/// Unmasked pairs of one head, counted exactly.
int64_t countPairs(const Case &problem);
/// Useful operations: 2 D for the score and 2 D for the value of each unmasked pair of each head.
double usefulFlops(const Case &problem);
/// Bytes that must cross memory once: q, k, v, o and the f32 LSE.
double leastBytes(const Case &problem, DType dtype);

} // namespace heddle::bench
