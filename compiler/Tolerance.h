// The one table of what counts as equal: default tolerances by arithmetic and by what is compared.
// rms(x, y) = |x - y| / |y| over all elements; a comparison passes if the largest difference is at
// most 1e-6 or the rms is at most the row's limit.
#pragma once

#include "runtime/DType.h"

#include <cstdint>

namespace heddle::compiler {

/// How the compared result was computed.
enum class Arithmetic {
  TwoFormsF64,   ///< two forms, both in double
  F32,           ///< fp32 math
  F32LongChunks, ///< fp32 math, chunked retention, T <= 8192
  TF32,          ///< tf32 products
  F16,           ///< fp16 inputs, fp32 accumulators
  BF16,          ///< bf16 inputs, fp32 accumulators
  KvF8,          ///< fp8 e4m3 keys and values against an oracle that was not quantised
  KvI8,          ///< int8 keys and values, one scale a token, likewise
  KvI4,          ///< int4 keys and values, groups of 64, likewise
};

enum class Quantity {
  Output,       ///< o and states
  OperandGrad,  ///< dq, dk, dv
  ParameterGrad ///< dgate, dbeta, dsink, dbias
};

/// Limits of the two rules.
inline constexpr double kAbsoluteLimit = 1e-6;
double rmsLimit(Arithmetic arithmetic, Quantity quantity = Quantity::Output);
/// |found - expected| of a natural-log LSE may be this times max(1, |expected|).
double lseLimit(Arithmetic arithmetic);
/// The row of a kernel whose inputs have that dtype.
Arithmetic arithmeticOf(DType inputs);

/// What a comparison found. Infinities must agree exactly; a NaN on either side fails.
struct Comparison {
  bool pass = true;
  double maxAbs = 0;  ///< largest finite |found - expected|, infinity where one is not finite
  double rms = 0;     ///< 0 if both are zero, infinity if only the expected is
  int64_t worst = -1; ///< index of the largest difference
};

Comparison compareValues(const double *found, const double *expected, int64_t count, double limit);
Comparison compareLse(const double *found, const double *expected, int64_t count, double limit);

} // namespace heddle::compiler
