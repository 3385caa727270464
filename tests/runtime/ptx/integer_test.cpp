// Integer arithmetic against 128-bit reference arithmetic.
#include "tests/runtime/ptx/PtxKernel.h"

#include <algorithm>
#include <functional>

using namespace heddle::test;

namespace {

using Int = __int128;
constexpr size_t kIntegers = 777;

template <class T> Int wide(T x) { return x; }

/// Checks `code` on T's against a reference in wide integers, whose result wraps to D.
template <class D, class T>
void check(const std::string &code, const std::function<Int(Int, Int, Int)> &reference) {
  const auto a = samples<T>(kIntegers, 1), b = samples<T>(kIntegers, 2),
             c = samples<T>(kIntegers, 3);
  using U = std::make_unsigned_t<T>;
  const auto bits = [](const std::vector<T> &v) { return std::vector<U>(v.begin(), v.end()); };
  const auto got = mapPtx<std::make_unsigned_t<D>, U>(code, bits(a), bits(b), bits(c));
  for (size_t i = 0; i < kIntegers; ++i) {
    INFO(code << " element " << i << ": " << static_cast<int64_t>(a[i]) << " "
              << static_cast<int64_t>(b[i]) << " " << static_cast<int64_t>(c[i]));
    REQUIRE(static_cast<D>(got[i]) ==
            static_cast<D>(reference(wide(a[i]), wide(b[i]), wide(c[i]))));
  }
}

template <class T> void checkFamily(const std::string &type) {
  const int bits = 8 * static_cast<int>(sizeof(T));
  check<T, T>("add." + type + " %d, %a, %b;", [](Int a, Int b, Int) { return a + b; });
  check<T, T>("sub." + type + " %d, %a, %b;", [](Int a, Int b, Int) { return a - b; });
  check<T, T>("mul.lo." + type + " %d, %a, %b;", [](Int a, Int b, Int) {
    return static_cast<Int>(static_cast<unsigned __int128>(a) * static_cast<unsigned __int128>(b));
  });
  if (bits < 64)
    check<T, T>("mul.hi." + type + " %d, %a, %b;",
                [=](Int a, Int b, Int) { return (a * b) >> bits; });
  check<T, T>("mad.lo." + type + " %d, %a, %b, %c;", [](Int a, Int b, Int c) {
    return static_cast<Int>(static_cast<unsigned __int128>(a) * static_cast<unsigned __int128>(b) +
                            static_cast<unsigned __int128>(c));
  });
  check<T, T>("min." + type + " %d, %a, %b;", [](Int a, Int b, Int) { return std::min(a, b); });
  check<T, T>("max." + type + " %d, %a, %b;", [](Int a, Int b, Int) { return std::max(a, b); });
  check<T, T>("div." + type + " %d, %a, %b;",
              [](Int a, Int b, Int) { return b ? a / b : Int{-1}; });
  check<T, T>("rem." + type + " %d, %a, %b;", [](Int a, Int b, Int) { return b ? a % b : a; });
  check<T, T>("sad." + type + " %d, %a, %b, %c;",
              [](Int a, Int b, Int c) { return c + (a < b ? b - a : a - b); });
}

} // namespace

TEST_CASE("integer arithmetic wraps as two's complement", "[ptx]") {
  checkFamily<uint16_t>("u16");
  checkFamily<int16_t>("s16");
  checkFamily<uint32_t>("u32");
  checkFamily<int32_t>("s32");
  checkFamily<uint64_t>("u64");
  checkFamily<int64_t>("s64");
}

TEST_CASE("wide products and their sums", "[ptx]") {
  check<uint64_t, uint32_t>("mul.wide.u32 %d, %a, %b;", [](Int a, Int b, Int) { return a * b; });
  check<int64_t, int32_t>("mul.wide.s32 %d, %a, %b;", [](Int a, Int b, Int) { return a * b; });
  check<uint32_t, uint16_t>("mul.wide.u16 %d, %a, %b;", [](Int a, Int b, Int) { return a * b; });
  check<int64_t, int32_t>(".reg .s64 %w; cvt.s64.s32 %w, %c; mad.wide.s32 %d, %a, %b, %w;",
                          [](Int a, Int b, Int c) { return a * b + c; });
  check<int32_t, int32_t>("mad.hi.s32 %d, %a, %b, %c;",
                          [](Int a, Int b, Int c) { return ((a * b) >> 32) + c; });
  check<uint64_t, uint64_t>("mul.hi.u64 %d, %a, %b;", [](Int a, Int b, Int) {
    return static_cast<Int>((static_cast<unsigned __int128>(a) * static_cast<uint64_t>(b)) >> 64);
  });
  check<int64_t, int64_t>("mul.hi.s64 %d, %a, %b;",
                          [](Int a, Int b, Int) { return (a * b) >> 64; });
}

TEST_CASE("saturation, absolute value, 24-bit products", "[ptx]") {
  const auto clamp = [](Int x) { return std::clamp<Int>(x, INT32_MIN, INT32_MAX); };
  check<int32_t, int32_t>("add.sat.s32 %d, %a, %b;",
                          [=](Int a, Int b, Int) { return clamp(a + b); });
  check<int32_t, int32_t>("sub.sat.s32 %d, %a, %b;",
                          [=](Int a, Int b, Int) { return clamp(a - b); });
  check<int32_t, int32_t>("abs.s32 %d, %a;", [](Int a, Int, Int) { return a < 0 ? -a : a; });
  check<int64_t, int64_t>("neg.s64 %d, %a;", [](Int a, Int, Int) { return -a; });
  check<uint32_t, uint32_t>("mul24.lo.u32 %d, %a, %b;",
                            [](Int a, Int b, Int) { return (a & 0xffffff) * (b & 0xffffff); });
  check<uint32_t, uint32_t>("mul24.hi.u32 %d, %a, %b;", [](Int a, Int b, Int) {
    return ((a & 0xffffff) * (b & 0xffffff)) >> 16;
  });
}

TEST_CASE("carry chains make 128-bit sums and products", "[ptx]") {
  // Four words of a 128-bit value each: {a, b} and {c, a}.
  check<uint64_t, uint64_t>(".reg .b64 %l; add.cc.u64 %l, %a, %c; addc.u64 %d, %b, %a;",
                            [](Int a, Int b, Int c) {
                              using U = unsigned __int128;
                              const U sum = (static_cast<U>(b) << 64 | static_cast<U>(a)) +
                                            (static_cast<U>(a) << 64 | static_cast<U>(c));
                              return static_cast<Int>(sum >> 64);
                            });
  check<uint32_t, uint32_t>(
      ".reg .b32 %l; sub.cc.u32 %l, %a, %c; subc.u32 %d, %b, %a;",
      [](Int a, Int b, Int c) { return ((((b << 32) | a) - ((a << 32) | c)) >> 32) & 0xffffffff; });
  // The flag of a subtraction says that nothing was borrowed.
  check<uint32_t, uint32_t>(".reg .b32 %l; sub.cc.u32 %l, %a, %b; addc.u32 %d, %c, 0;",
                            [](Int a, Int b, Int c) { return c + (a >= b ? 1 : 0); });
  check<uint32_t, uint32_t>(
      ".reg .b32 %l; mad.lo.cc.u32 %l, %a, %b, %c; madc.hi.u32 %d, %a, %b, %c;",
      [](Int a, Int b, Int c) { return ((a * b + ((c << 32) | c)) >> 32) & 0xffffffff; });
}

TEST_CASE("dot products of bytes and halves", "[ptx]") {
  const auto byteOf = [](Int x, int k, bool withSign) -> Int {
    const auto byte = static_cast<uint8_t>(static_cast<uint32_t>(x) >> (8 * k));
    return withSign ? Int{static_cast<int8_t>(byte)} : Int{byte};
  };
  for (const bool s : {false, true}) {
    check<int32_t, int32_t>(s ? "dp4a.s32.u32 %d, %a, %b, %c;" : "dp4a.u32.s32 %d, %a, %b, %c;",
                            [=](Int a, Int b, Int c) {
                              for (int k = 0; k < 4; ++k)
                                c += byteOf(a, k, s) * byteOf(b, k, !s);
                              return c;
                            });
  }
  check<int32_t, int32_t>("dp2a.hi.s32.s32 %d, %a, %b, %c;", [=](Int a, Int b, Int c) {
    return c + static_cast<int16_t>(a) * byteOf(b, 2, true) +
           static_cast<int16_t>(a >> 16) * byteOf(b, 3, true);
  });
}

TEST_CASE("parts of a register are added, compared and summed by themselves", "[ptx]") {
  const auto a = samples<uint32_t>(200, 31), b = samples<uint32_t>(200, 32),
             c = samples<uint32_t>(200, 33);
  const auto check = [&](const std::string &code, auto part) {
    const auto got = mapPtx<uint32_t, uint32_t>(code, a, b, c);
    for (size_t i = 0; i < a.size(); ++i) {
      INFO(code << " " << a[i] << " " << b[i] << " " << c[i]);
      REQUIRE(got[i] == part(a[i], b[i], c[i]));
    }
  };
  const auto bytes = [](auto op) {
    return [op](uint32_t x, uint32_t y, uint32_t) {
      uint32_t all = 0;
      for (int k = 0; k < 32; k += 8)
        all |= (static_cast<uint32_t>(
                    op(static_cast<int>(x >> k & 255), static_cast<int>(y >> k & 255))) &
                255)
               << k;
      return all;
    };
  };
  check("vadd4.u32.u32.u32 %d, %a, %b, %c;", bytes([](int x, int y) { return x + y; }));
  check("vsub4.u32.u32.u32 %d, %a, %b, %c;", bytes([](int x, int y) { return x - y; }));
  check("vavrg4.u32.u32.u32 %d, %a, %b, %c;", bytes([](int x, int y) { return (x + y + 1) / 2; }));
  check("vabsdiff4.u32.u32.u32 %d, %a, %b, %c;",
        bytes([](int x, int y) { return std::abs(x - y); }));
  check("vabsdiff4.u32.u32.u32.add %d, %a, %b, %c;", [](uint32_t x, uint32_t y, uint32_t z) {
    for (int k = 0; k < 32; k += 8)
      z += static_cast<uint32_t>(
          std::abs(static_cast<int>(x >> k & 255) - static_cast<int>(y >> k & 255)));
    return z;
  });
  check("vmax2.s32.s32.s32 %d, %a, %b, %c;", [](uint32_t x, uint32_t y, uint32_t) {
    const auto high =
        std::max<int16_t>(static_cast<int16_t>(x >> 16), static_cast<int16_t>(y >> 16));
    const auto low = std::max<int16_t>(static_cast<int16_t>(x), static_cast<int16_t>(y));
    return static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16 | static_cast<uint16_t>(low);
  });
}
