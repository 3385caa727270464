// Names, sizes and exact conversions of element types. Every float format below f32 is described by
// one row of a table (mantissa bits, exponent bias, largest finite code); encode() rounds a double
// once, to nearest with ties to even, straight to the format.
//   encode(bf16, 1.00390625)  ->  0x3f80   (a tie: 1.0 is even)
#include "runtime/DType.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace heddle {
namespace {

struct TypeInfo {
  DType type;
  const char *name;
  int64_t size;
};

constexpr std::array kTypes = {
    TypeInfo{DType::F64, "f64", 8},       TypeInfo{DType::F32, "f32", 4},
    TypeInfo{DType::BF16, "bf16", 2},     TypeInfo{DType::F16, "f16", 2},
    TypeInfo{DType::F8E4M3, "f8e4m3", 1}, TypeInfo{DType::F8E5M2, "f8e5m2", 1},
    TypeInfo{DType::I64, "i64", 8},       TypeInfo{DType::I32, "i32", 4},
    TypeInfo{DType::I8, "i8", 1},         TypeInfo{DType::U8, "u8", 1},
};

/// A binary float format narrower than f32. Codes exclude the sign bit.
struct SmallFloat {
  int mantissaBits;
  int bias;
  uint32_t maxFinite;
  uint32_t overflow; ///< code for what rounds beyond maxFinite: infinity, or maxFinite (saturating)
  uint32_t nan;
  uint32_t sign;
};

// fp8 saturates, as the conversion instructions of GPUs do (cvt.rn.satfinite).
constexpr SmallFloat kBF16 = {7, 127, 0x7f7f, 0x7f80, 0x7fc0, 0x8000};
constexpr SmallFloat kF16 = {10, 15, 0x7bff, 0x7c00, 0x7e00, 0x8000};
constexpr SmallFloat kE4M3 = {3, 7, 0x7e, 0x7e, 0x7f, 0x80};
constexpr SmallFloat kE5M2 = {2, 15, 0x7b, 0x7b, 0x7e, 0x80};

uint32_t encode(const SmallFloat &format, double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint32_t sign = (bits >> 63) ? format.sign : 0;
  if (std::isnan(value))
    return sign | format.nan;
  const int exponent = static_cast<int>((bits >> 52) & 0x7ff) - 1023;
  if (exponent == 1024)
    return sign | format.overflow;
  const int minExponent = 1 - format.bias;
  const uint64_t significand = (bits & ((1ull << 52) - 1)) | (1ull << 52);
  // Below minExponent the result is subnormal: fewer bits are kept.
  const int shift = 52 - format.mantissaBits + std::max(0, minExponent - exponent);
  if (shift > 53)
    return sign;
  uint64_t kept = significand >> shift;
  const uint64_t rest = significand & ((1ull << shift) - 1);
  const uint64_t half = 1ull << (shift - 1);
  if (rest > half || (rest == half && (kept & 1)))
    ++kept; // a carry runs on into the exponent field, which is what the next binade needs
  uint64_t code = kept;
  if (exponent >= minExponent)
    code += static_cast<uint64_t>(exponent + format.bias - 1) << format.mantissaBits;
  return sign | (code > format.maxFinite ? format.overflow : static_cast<uint32_t>(code));
}

double decode(const SmallFloat &format, uint32_t code) {
  const bool negative = code & format.sign;
  code &= format.sign - 1;
  const uint32_t fraction = code & ((1u << format.mantissaBits) - 1);
  const int exponent = static_cast<int>(code >> format.mantissaBits);
  double value;
  if (code > format.maxFinite)
    value = format.overflow > format.maxFinite && code == format.overflow
                ? std::numeric_limits<double>::infinity()
                : std::numeric_limits<double>::quiet_NaN();
  else if (exponent == 0)
    value = std::ldexp(fraction, 1 - format.bias - format.mantissaBits);
  else
    value = std::ldexp(fraction + (1u << format.mantissaBits),
                       exponent - format.bias - format.mantissaBits);
  return negative ? -value : value;
}

double decodeBF16(uint16_t code) {
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(code) << 16));
}

/// e5m2 has an infinity, though storing saturates below it.
double decodeE5M2(uint8_t code) {
  if ((code & 0x7f) == 0x7c)
    return (code & 0x80) ? -std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::infinity();
  return decode(kE5M2, code);
}

template <typename T> T loadAs(const void *data, int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const char *>(data) + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T> void storeAs(void *data, int64_t index, T value) {
  std::memcpy(static_cast<char *>(data) + index * sizeof(T), &value, sizeof(T));
}

/// Nearest integer, ties to even, saturating; NaN gives 0.
template <typename T> T toInteger(double value) {
  if (std::isnan(value))
    return 0;
  const double rounded = std::nearbyint(value);
  if (rounded <= static_cast<double>(std::numeric_limits<T>::min()))
    return std::numeric_limits<T>::min();
  if (rounded >= static_cast<double>(std::numeric_limits<T>::max()))
    return std::numeric_limits<T>::max();
  return static_cast<T>(rounded);
}

const TypeInfo *find(DType type) {
  for (const TypeInfo &info : kTypes)
    if (info.type == type)
      return &info;
  return nullptr;
}

} // namespace

bool isValid(DType type) { return find(type) != nullptr; }

int64_t sizeOf(DType type) {
  const TypeInfo *info = find(type);
  return info ? info->size : 0;
}

const char *toString(DType type) {
  const TypeInfo *info = find(type);
  return info ? info->name : "unknown";
}

bool isFloat(DType type) { return type >= DType::F64 && type <= DType::F8E5M2; }

Result<DType> parseDType(std::string_view name) {
  std::string names;
  for (const TypeInfo &info : kTypes) {
    if (name == info.name)
      return info.type;
    names += names.empty() ? info.name : std::string(", ") + info.name;
  }
  return Error{ErrorCode::InvalidArgument,
               fmt::format("found the element type '{}', expected one of {}", name, names)};
}

double loadElement(DType type, const void *data, int64_t index) {
  switch (type) {
  case DType::F64:
    return loadAs<double>(data, index);
  case DType::F32:
    return static_cast<double>(loadAs<float>(data, index));
  case DType::BF16:
    return decodeBF16(loadAs<uint16_t>(data, index));
  case DType::F16:
    return decode(kF16, loadAs<uint16_t>(data, index));
  case DType::F8E4M3:
    return decode(kE4M3, loadAs<uint8_t>(data, index));
  case DType::F8E5M2:
    return decodeE5M2(loadAs<uint8_t>(data, index));
  case DType::I64:
    return static_cast<double>(loadAs<int64_t>(data, index));
  case DType::I32:
    return loadAs<int32_t>(data, index);
  case DType::I8:
    return loadAs<int8_t>(data, index);
  case DType::U8:
    return loadAs<uint8_t>(data, index);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

void storeElement(DType type, void *data, int64_t index, double value) {
  switch (type) {
  case DType::F64:
    return storeAs<double>(data, index, value);
  case DType::F32:
    return storeAs<float>(data, index, static_cast<float>(value));
  case DType::BF16:
    return storeAs(data, index, static_cast<uint16_t>(encode(kBF16, value)));
  case DType::F16:
    return storeAs(data, index, static_cast<uint16_t>(encode(kF16, value)));
  case DType::F8E4M3:
    return storeAs(data, index, static_cast<uint8_t>(encode(kE4M3, value)));
  case DType::F8E5M2:
    return storeAs(data, index, static_cast<uint8_t>(encode(kE5M2, value)));
  case DType::I64:
    return storeAs(data, index, toInteger<int64_t>(value));
  case DType::I32:
    return storeAs(data, index, toInteger<int32_t>(value));
  case DType::I8:
    return storeAs(data, index, toInteger<int8_t>(value));
  case DType::U8:
    return storeAs(data, index, toInteger<uint8_t>(value));
  }
}

} // namespace heddle
