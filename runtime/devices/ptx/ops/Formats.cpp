// Rounding to small floating-point formats by value: scale so that one unit in the last place is 1,
// round to an integer, scale back.
#include "runtime/devices/ptx/ops/Formats.h"

#include <algorithm>

namespace heddle::ptx {

double roundTo(double x, int mantissa, int least, Direction direction) {
  if (x == 0 || !std::isfinite(x))
    return x;
  const int exponent = std::max(std::ilogb(x), least);
  const double scaled = std::ldexp(x, mantissa - exponent); // |scaled| < 2^(mantissa + 1)
  double rounded = 0;
  switch (direction) {
  case Direction::Nearest: {
    rounded = std::floor(scaled);
    const double rest = scaled - rounded;
    if (rest > 0.5 || (rest == 0.5 && std::fmod(rounded, 2.0) != 0))
      rounded += 1;
    break;
  }
  case Direction::Zero:
    rounded = std::trunc(scaled);
    break;
  case Direction::Down:
    rounded = std::floor(scaled);
    break;
  case Direction::Up:
    rounded = std::ceil(scaled);
    break;
  case Direction::Away:
    rounded = std::copysign(std::floor(std::abs(scaled) + 0.5), scaled);
    break;
  }
  return std::copysign(std::ldexp(rounded, exponent - mantissa), x);
}

namespace {

struct Format {
  int exponentBits, mantissa, least;
  double largest;
};

/// The bits of x: rounded, or infinity, or the largest number.
uint32_t encode(double x, const Format &format, Direction direction, bool finite) {
  const uint32_t sign = std::signbit(x) ? 1u << (format.exponentBits + format.mantissa) : 0;
  const uint32_t infinity = ((1u << format.exponentBits) - 1) << format.mantissa;
  double value = std::abs(roundTo(x, format.mantissa, format.least, direction));
  if (value > format.largest) {
    const bool stays = finite || (!std::isinf(x) && (direction == Direction::Zero ||
                                                     (direction == Direction::Down && !sign) ||
                                                     (direction == Direction::Up && sign)));
    if (!stays)
      return sign | infinity;
    value = format.largest;
  }
  if (value == 0)
    return sign;
  const int exponent = std::max(std::ilogb(value), format.least);
  const auto significand =
      static_cast<uint32_t>(std::ldexp(value, format.mantissa - exponent)); // < 2^(mantissa + 1)
  const bool subnormal = significand < (1u << format.mantissa);
  const uint32_t biased = subnormal ? 0 : static_cast<uint32_t>(exponent - format.least + 1);
  return sign | biased << format.mantissa | (significand & ((1u << format.mantissa) - 1));
}

constexpr Format kF16 = {5, 10, -14, 65504.0};
constexpr Format kE4M3 = {4, 3, -6, 448.0};
constexpr Format kE5M2 = {5, 2, -14, 57344.0};
const Format kBF16 = {8, 7, -126, 0x1.fep127};
const Format kTF32 = {8, 10, -126, 0x1.ffcp127};

} // namespace

uint16_t encodeF16(double x, Direction direction, bool finite) {
  return std::isnan(x) ? 0x7fff : static_cast<uint16_t>(encode(x, kF16, direction, finite));
}
uint16_t encodeBF16(double x, Direction direction, bool finite) {
  return std::isnan(x) ? 0x7fff : static_cast<uint16_t>(encode(x, kBF16, direction, finite));
}
uint32_t encodeTF32(float x, Direction direction, bool finite) {
  return std::isnan(x) ? 0x7fffffff : encode(x, kTF32, direction, finite) << 13;
}
uint8_t encodeE4M3(double x) {
  return std::isnan(x) ? 0x7f : static_cast<uint8_t>(encode(x, kE4M3, Direction::Nearest, true));
}
uint8_t encodeE5M2(double x) {
  return std::isnan(x) ? 0x7f : static_cast<uint8_t>(encode(x, kE5M2, Direction::Nearest, true));
}

float decodeE5M2(uint8_t bits) { return widenF16(static_cast<uint16_t>(bits << 8)); }

float decodeE4M3(uint8_t bits) {
  if ((bits & 0x7f) == 0x7f)
    return kNaN32;
  const int exponent = bits >> 3 & 0xf, fraction = bits & 7;
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                    : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return bits & 0x80 ? -value : value;
}

} // namespace heddle::ptx
