// Sums as tensor cores make them. Every product of two small floats is exact in double, and so is
// the sum of the truncated terms, so double carries the whole step.
#include "runtime/devices/ptx/ops/TensorCore.h"

#include "runtime/devices/ptx/ops/Formats.h"

#include <algorithm>
#include <charconv>

namespace heddle::ptx {

namespace {

double powerOfTwo(int e) { return std::bit_cast<double>(static_cast<uint64_t>(1023 + e) << 52); }

/// The exponent of a float as the hardware aligns it: subnormals of f32 and bf16 count as -126.
/// Narrower inputs keep their own least exponent.
int exponentOf(float x, int least) { return std::max(std::ilogb(x), least); }

/// x rounded to `bits` fraction bits toward zero, as f32.
float truncated(double x, int bits) {
  float f = static_cast<float>(x);
  if (std::fabs(static_cast<double>(f)) > std::fabs(x))
    f = std::bit_cast<float>(bitsOfFloat(f) - 1);
  return floatOfBits(bitsOfFloat(f) & (~uint32_t{0} << (23 - bits)));
}

float oneStep(const float *a, const float *b, const int *ks, int stride, int terms, float c,
              const StepRule &rule, bool half) {
  double products[64];
  int largest = INT32_MIN;
  bool special = !std::isfinite(c);
  for (int t = 0; t < terms; ++t) {
    const float x = a[ks[t]], y = b[ks[t] * stride];
    products[t] = static_cast<double>(x) * y;
    special = special || !std::isfinite(products[t]);
    if (products[t] != 0)
      largest = std::max(largest, exponentOf(x, -126) + exponentOf(y, -126));
  }
  if (special) {
    double sum = c;
    for (int t = 0; t < terms; ++t)
      sum += products[t];
    return std::isnan(sum) ? kNaN32 : static_cast<float>(sum);
  }
  if (c != 0)
    largest = std::max(largest, exponentOf(c, half ? -14 : -126));
  if (largest == INT32_MIN)
    return c;
  const double up = powerOfTwo(rule.fraction - largest), down = powerOfTwo(largest - rule.fraction);
  double sum = std::trunc(c * up);
  for (int t = 0; t < terms; ++t)
    sum += std::trunc(products[t] * up);
  const double value = sum * down;
  return half ? widenF16(encodeF16(value, Direction::Nearest, false)) : truncated(value, rule.kept);
}

} // namespace

StepRule stepRule(int sm, Type input) {
  const bool bytes = input == Type::E4M3 || input == Type::E5M2;
  const bool tf32 = input == Type::TF32;
  if (sm < 75)
    return {4, 23, 23, false};
  if (sm < 89)
    return {tf32 ? 4 : 8, 24, 23, false};
  if (sm == 89)
    return bytes ? StepRule{16, 13, 13, false} : StepRule{tf32 ? 4 : 8, 24, 23, false};
  if (bytes)
    return sm >= 120 ? StepRule{32, 25, 23, false} : StepRule{16, 25, 23, true};
  return {tf32 ? 8 : 16, 25, 23, false};
}

float dotFaithful(const float *a, const float *b, int stride, int count, float c,
                  const StepRule &rule, bool half) {
  int order[64];
  for (int k = 0, at = 0; k < count; ++k)
    if (!rule.interleaved || k % 4 < 2)
      order[at++] = k;
  if (rule.interleaved)
    for (int k = 0, at = count / 2; k < count; ++k)
      if (k % 4 >= 2)
        order[at++] = k;
  for (int k = 0; k < count; k += rule.terms)
    c = oneStep(a, b, order + k, stride, std::min(rule.terms, count - k), c, rule, half);
  return c;
}

int smNumber(const std::string &target) {
  int number = 0;
  if (target.starts_with("sm_"))
    std::from_chars(target.data() + 3, target.data() + target.size(), number);
  return number;
}

} // namespace heddle::ptx
