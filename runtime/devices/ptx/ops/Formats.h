// The small floating-point formats as values: f16, bf16, tf32, e4m3, e5m2.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace heddle::ptx {

inline constexpr float kNaN32 = std::bit_cast<float>(0x7fffffffu); // the NaN that PTX gives

inline uint32_t bitsOfFloat(float x) { return std::bit_cast<uint32_t>(x); }
inline float floatOfBits(uint32_t x) { return std::bit_cast<float>(x); }
inline bool isNaN32(uint32_t bits) { return (bits & 0x7fffffff) > 0x7f800000; }

/// Subnormal values become zeros of their sign (.ftz).
inline float flush(float x) {
  const uint32_t bits = bitsOfFloat(x);
  return floatOfBits(bits & 0x7f800000 ? bits : bits & 0x80000000);
}
/// To [0, 1], NaN to 0 (.sat).
inline float saturate(float x) {
  x = x > 0.0f ? x : 0.0f;
  return x < 1.0f ? x : 1.0f;
}
inline double saturate(double x) {
  x = x > 0.0 ? x : 0.0;
  return x < 1.0 ? x : 1.0;
}

inline float widenF16(uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
/// To nearest even.
inline uint16_t narrowF16(float x) {
  const uint16_t bits = std::bit_cast<uint16_t>(static_cast<_Float16>(x));
  return (bits & 0x7fff) > 0x7c00 ? 0x7fff : bits;
}
inline float widenBF16(uint16_t bits) { return floatOfBits(static_cast<uint32_t>(bits) << 16); }
inline uint16_t narrowBF16(float x) {
  const uint32_t bits = bitsOfFloat(x);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return isNaN32(bits) ? 0x7fff : static_cast<uint16_t>(rounded);
}

/// A value rounded to a format with `mantissa` fraction bits and exponents from `least` (of the
/// smallest normal number) on, toward zero, nearest even, down, up or nearest away. No overflow.
enum class Direction : uint8_t { Nearest, Zero, Down, Up, Away };
double roundTo(double x, int mantissa, int least, Direction direction);

/// f32 -> a format of 16 or fewer bits with any rounding; overflow gives infinity, or the largest
/// number when rounding toward it is what the direction says, or with `finite`.
uint16_t encodeF16(double x, Direction direction, bool finite);
uint16_t encodeBF16(double x, Direction direction, bool finite);
uint32_t encodeTF32(float x, Direction direction, bool finite);
/// The 8-bit formats saturate always (.satfinite); NaN stays NaN.
uint8_t encodeE4M3(double x);
uint8_t encodeE5M2(double x);
float decodeE4M3(uint8_t bits);
float decodeE5M2(uint8_t bits);

/// a * b + c in double, its last bit set if it is not exact: rounding it once more to a format of
/// at most 50 bits gives what rounding the exact value gives.
inline double fusedOdd(double a, double b, double c) {
  const double product = a * b; // exact for operands of at most 26 bits
  const double sum = product + c;
  const double back = sum - product;
  const double error = (product - (sum - back)) + (c - back);
  if (error == 0.0 || !std::isfinite(sum))
    return sum;
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (bits & 1)
    return sum;
  const bool away = (error > 0) == (sum > 0);
  return std::bit_cast<double>(away ? bits + 1 : bits - 1);
}

} // namespace heddle::ptx
