// A formula as launches evaluate it. Most are a number or one scalar once they are looked at, and
// need no stack; none makes a Result unless it fails.
//   ceildiv(Tq, 64) stays;  1, 2 * 512 and Hk are read off
#pragma once

#include "runtime/Artifact.h"

#include <cstdint>
#include <span>

namespace heddle {

class FoldedFormula {
public:
  FoldedFormula() = default;
  /// Of a formula that Artifact::validate() passed, which outlives this.
  explicit FoldedFormula(const Formula &formula);

  /// As Formula::evaluate; false where that fails.
  bool evaluate(std::span<const int64_t> scalars, int64_t &value) const {
    if (kind == Walk)
      return walk(scalars, value);
    value = kind == Number ? operand : scalars[operand];
    return true;
  }
  /// Why evaluate() gave false.
  Error reason(std::span<const int64_t> scalars) const;

private:
  bool walk(std::span<const int64_t> scalars, int64_t &value) const;

  enum : uint8_t { Number, OneScalar, Walk } kind = Number;
  int64_t operand = 0; ///< the number, or the scalar's index
  const Formula *formula = nullptr;
};

} // namespace heddle
