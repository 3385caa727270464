// Conversions against a naive definition: the value of every code is written out by hand, and
// storing must give the nearest of them, the even one in a tie.
#include "runtime/DType.h"
#include "tests/support/Test.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using namespace heddle;

namespace {

struct Format {
  DType type;
  int exponentBits, mantissaBits;
  bool hasInfinity; ///< the topmost exponent holds infinity and NaN; else only the last code is NaN
  bool saturates;
};

const Format kFormats[] = {
    {DType::BF16, 8, 7, true, false},
    {DType::F16, 5, 10, true, false},
    {DType::F8E5M2, 5, 2, true, true},
    {DType::F8E4M3, 4, 3, false, true},
};

int bits(const Format &f) { return 1 + f.exponentBits + f.mantissaBits; }

double naiveValue(const Format &f, uint32_t code) {
  const double sign = (code >> (bits(f) - 1)) ? -1 : 1;
  const int exponent = (code >> f.mantissaBits) & ((1 << f.exponentBits) - 1);
  const int fraction = code & ((1 << f.mantissaBits) - 1);
  const int last = (1 << f.exponentBits) - 1, bias = (1 << (f.exponentBits - 1)) - 1;
  if (f.hasInfinity && exponent == last)
    return fraction ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (!f.hasInfinity && exponent == last && fraction == (1 << f.mantissaBits) - 1)
    return std::nan("");
  const double scale = std::pow(2.0, f.mantissaBits);
  if (exponent == 0)
    return sign * (fraction / scale) * std::pow(2.0, 1 - bias);
  return sign * (1 + fraction / scale) * std::pow(2.0, exponent - bias);
}

double load(const Format &f, uint32_t code) {
  const uint16_t wide = static_cast<uint16_t>(code);
  const uint8_t narrow = static_cast<uint8_t>(code);
  return sizeOf(f.type) == 2 ? loadElement(f.type, &wide, 0) : loadElement(f.type, &narrow, 0);
}

uint32_t store(const Format &f, double value) {
  uint16_t wide = 0;
  uint8_t narrow = 0;
  if (sizeOf(f.type) == 2)
    storeElement(f.type, &wide, 0, value);
  else
    storeElement(f.type, &narrow, 0, value);
  return sizeOf(f.type) == 2 ? wide : narrow;
}

/// The positive finite codes in ascending order of their values: 0, 1, 2, ...
uint32_t finiteCodes(const Format &f) {
  uint32_t code = 0;
  while (std::isfinite(naiveValue(f, code)))
    ++code;
  return code;
}

} // namespace

TEST_CASE("every code of the small floats has the value of its definition") {
  for (const Format &f : kFormats)
    for (uint32_t code = 0; code < (1u << bits(f)); ++code) {
      const double expected = naiveValue(f, code), found = load(f, code);
      if (std::isnan(expected)
              ? !std::isnan(found)
              : (expected != found || std::signbit(expected) != std::signbit(found)))
        FAIL(toString(f.type) << " code " << code << ": " << found << ", expected " << expected);
    }
}

TEST_CASE("storing rounds to the nearest code, ties to even") {
  for (const Format &f : kFormats) {
    const uint32_t codes = finiteCodes(f), sign = 1u << (bits(f) - 1);
    for (uint32_t low = 0; low + 1 < codes; ++low) {
      const double a = naiveValue(f, low), b = naiveValue(f, low + 1), middle = (a + b) / 2;
      const uint32_t even = low % 2 ? low + 1 : low;
      const bool right = store(f, a) == low && store(f, middle) == even &&
                         store(f, std::nextafter(middle, a)) == low &&
                         store(f, std::nextafter(middle, b)) == low + 1 &&
                         store(f, -middle) == (even | sign);
      if (!right)
        FAIL(toString(f.type) << " between codes " << low << " and " << low + 1);
    }
  }
}

TEST_CASE("storing beyond the range overflows or saturates") {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Format &f : kFormats) {
    INFO(toString(f.type));
    const uint32_t last = finiteCodes(f) - 1;
    const double max = naiveValue(f, last), step = max - naiveValue(f, last - 1);
    CHECK(store(f, max + step / 4) == last);
    for (double huge : {max + step / 2, max * 4, infinity}) {
      CHECK(store(f, huge) == (f.saturates ? last : last + 1));
      CHECK(load(f, store(f, -huge)) == -load(f, store(f, huge)));
    }
    CHECK(std::isnan(load(f, store(f, std::nan("")))));
    CHECK(store(f, std::numeric_limits<double>::denorm_min()) == 0);
    CHECK(store(f, -0.0) == (1u << (bits(f) - 1)));
  }
}

TEST_CASE("bf16 is rounded once, not by way of f32") {
  // Just above a tie of bf16; f32 would round it onto the tie, and the tie down to even.
  const double value = 1.0 + 0x1p-8 + 0x1p-40;
  CHECK(store(kFormats[0], value) == 0x3f81);
}

TEST_CASE("integers round to nearest even and saturate") {
  int8_t narrow[2] = {};
  storeElement(DType::I8, narrow, 0, 2.5);
  storeElement(DType::I8, narrow, 1, -1000);
  CHECK(narrow[0] == 2);
  CHECK(narrow[1] == -128);
  uint8_t byte = 7;
  storeElement(DType::U8, &byte, 0, -3);
  CHECK(byte == 0);
  int64_t wide = 0;
  storeElement(DType::I64, &wide, 0, 1e300);
  CHECK(wide == std::numeric_limits<int64_t>::max());
  int32_t number = 5;
  storeElement(DType::I32, &number, 0, std::nan(""));
  CHECK(number == 0);
}

TEST_CASE("names of element types") {
  for (int value = 0; value < 256; ++value) {
    const DType type = static_cast<DType>(value);
    CHECK(isValid(type) == (value >= 1 && value <= 10));
    if (isValid(type))
      CHECK(*parseDType(toString(type)) == type);
  }
  const Result<DType> wrong = parseDType("half");
  REQUIRE(!wrong.ok());
  CHECK(wrong.error().message.find("expected one of f64, f32, bf16") != std::string::npos);
  CHECK(sizeOf(DType::BF16) == 2);
  CHECK(isFloat(DType::F8E4M3));
  CHECK(!isFloat(DType::I32));
}
