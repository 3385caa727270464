// Holds the tolerance table and the rule that reads it.
// A row of the table: what fp32 math may be off by, in o, in dq dk dv and in the gradients of
// gates, as a share of the reference's norm. Example: rms 3e-6 against limit 1e-5 passes.
#include "compiler/Tolerance.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

namespace heddle::compiler {

namespace {

struct Limits {
  Arithmetic arithmetic;
  std::array<double, 3> rms; ///< by Quantity
  double lse;
};

// Keys and values of low precision are compared in the output alone; their gradients do not exist.
constexpr double kNone = 0;
constexpr std::array<Limits, 9> kLimits = {{
    {Arithmetic::TwoFormsF64, {1e-10, 1e-9, 1e-9}, 1e-10},
    {Arithmetic::F32, {1e-5, 1e-4, 1e-3}, 1e-4},
    {Arithmetic::F32LongChunks, {1e-4, 1e-4, 1e-3}, 1e-4},
    {Arithmetic::TF32, {1e-3, 2e-3, 5e-3}, 1e-2},
    {Arithmetic::F16, {1e-3, 2e-3, 1e-2}, 1e-2},
    {Arithmetic::BF16, {5e-3, 8e-3, 2e-2}, 1e-2},
    {Arithmetic::KvF8, {4e-2, kNone, kNone}, 4e-2},
    {Arithmetic::KvI8, {1e-2, kNone, kNone}, 1e-2},
    {Arithmetic::KvI4, {1.2e-1, kNone, kNone}, 1.2e-1},
}};

const Limits &limitsOf(Arithmetic arithmetic) {
  const Limits &limits = kLimits[static_cast<size_t>(arithmetic)];
  assert(limits.arithmetic == arithmetic && "the table's rows are in the enum's order");
  return limits;
}

/// |found - expected|: 0 for equal infinities, infinity for a NaN or for one infinity.
double difference(double found, double expected) {
  if (found == expected)
    return 0;
  double delta = std::fabs(found - expected);
  return std::isfinite(delta) ? delta : std::numeric_limits<double>::infinity();
}

} // namespace

double rmsLimit(Arithmetic arithmetic, Quantity quantity) {
  return limitsOf(arithmetic).rms[static_cast<size_t>(quantity)];
}

double lseLimit(Arithmetic arithmetic) { return limitsOf(arithmetic).lse; }

Arithmetic arithmeticOf(DType inputs) {
  switch (inputs) {
  case DType::F64:
    return Arithmetic::TwoFormsF64;
  case DType::BF16:
    return Arithmetic::BF16;
  case DType::F16:
    return Arithmetic::F16;
  case DType::F8E4M3:
  case DType::F8E5M2:
    return Arithmetic::KvF8;
  case DType::I8:
    return Arithmetic::KvI8;
  case DType::U8:
    return Arithmetic::KvI4;
  default:
    return Arithmetic::F32;
  }
}

Comparison compareValues(const double *found, const double *expected, int64_t count, double limit) {
  Comparison result;
  double errors = 0, norm = 0;
  for (int64_t n = 0; n < count; ++n) {
    double delta = difference(found[n], expected[n]);
    errors += delta * delta;
    norm += std::isfinite(expected[n]) ? expected[n] * expected[n] : 0;
    if (result.worst < 0 || delta > result.maxAbs) {
      result.maxAbs = delta;
      result.worst = n;
    }
  }
  if (errors > 0)
    result.rms = norm > 0 ? std::sqrt(errors / norm) : std::numeric_limits<double>::infinity();
  result.pass = result.maxAbs <= kAbsoluteLimit || result.rms <= limit;
  return result;
}

Comparison compareLse(const double *found, const double *expected, int64_t count, double limit) {
  Comparison result = compareValues(found, expected, count, limit);
  result.pass = true;
  for (int64_t n = 0; n < count; ++n) {
    double scale = std::max(1.0, std::isfinite(expected[n]) ? std::fabs(expected[n]) : 1.0);
    result.pass = result.pass && difference(found[n], expected[n]) <= limit * scale;
  }
  return result;
}

} // namespace heddle::compiler
