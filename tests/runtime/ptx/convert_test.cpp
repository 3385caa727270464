// Conversions: every value of the 8- and 16-bit formats, roundings at ties, saturation, and widths.
#include "tests/runtime/ptx/PtxKernel.h"

#include <bit>
#include <cmath>

using namespace heddle::test;

namespace {

std::vector<uint16_t> all16() {
  std::vector<uint16_t> v(65536);
  for (size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<uint16_t>(i);
  return v;
}

} // namespace

TEST_CASE("f16 and bf16 widen exactly and come back", "[ptx]") {
  const auto bits = all16();
  for (const std::string type : {"f16", "bf16"}) {
    const auto wide = mapPtx<float, uint16_t>("cvt.f32." + type + " %d, %a;", bits);
    const auto back = mapPtx<uint16_t, uint16_t>(
        ".reg .f32 %w; cvt.f32." + type + " %w, %a; cvt.rn." + type + ".f32 %d, %w;", bits);
    for (size_t i = 0; i < bits.size(); ++i) {
      const float expected = type == "f16" ? static_cast<float>(std::bit_cast<_Float16>(bits[i]))
                                           : std::bit_cast<float>(static_cast<uint32_t>(i) << 16);
      if (std::isnan(expected)) {
        REQUIRE(back[i] == 0x7fff);
        continue;
      }
      REQUIRE(wide[i] == expected);
      REQUIRE(back[i] == bits[i]);
    }
  }
}

TEST_CASE("rounding of f32 to bf16 and f16", "[ptx]") {
  // Halfway between two bf16 numbers: to even; just above: up; .rz: down.
  const std::vector<float> a = {std::bit_cast<float>(0x3f808000u),
                                std::bit_cast<float>(0x3f818000u),
                                std::bit_cast<float>(0x3f808001u),
                                -3.4e38f,
                                65519.0f,
                                65520.0f};
  const auto rn = mapPtx<uint16_t, float>("cvt.rn.bf16.f32 %d, %a;", a);
  CHECK(rn[0] == 0x3f80);
  CHECK(rn[1] == 0x3f82);
  CHECK(rn[2] == 0x3f81);
  CHECK(rn[3] == 0xff80);
  const auto rz = mapPtx<uint16_t, float>("cvt.rz.bf16.f32 %d, %a;", a);
  CHECK(rz[2] == 0x3f80);
  CHECK(rz[3] == 0xff7f);
  const auto half = mapPtx<uint16_t, float>("cvt.rn.f16.f32 %d, %a;", a);
  CHECK(half[4] == 0x7bff);
  CHECK(half[5] == 0x7c00);
  const auto pair = mapPtx<uint32_t, float>("cvt.rn.bf16x2.f32 %d, %a, %b;", a,
                                            std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(pair[0] == 0x3f803f80);
  CHECK(pair[2] == 0x3f814040);
  const auto relu = mapPtx<uint32_t, float>("cvt.rn.relu.f16x2.f32 %d, %a, %b;", {-1.0f, 2.0f},
                                            std::vector<float>{1.5f, -0.0f});
  CHECK(relu[0] == 0x00003e00);
  CHECK(relu[1] == 0x40000000);
}

TEST_CASE("8-bit formats: every number, saturation", "[ptx]") {
  for (const bool e4 : {true, false}) {
    const std::string type = e4 ? "e4m3x2" : "e5m2x2";
    std::vector<float> a;
    std::vector<uint16_t> bits;
    for (int i = 0; i < 256; ++i) {
      if (e4 ? (i & 0x7f) == 0x7f : (i & 0x7f) >= 0x7c)
        continue;
      bits.push_back(static_cast<uint16_t>(i));
      a.push_back(static_cast<float>(e4 ? byteValue(i, 4, 3, 7) : byteValue(i, 5, 2, 15)));
    }
    const auto there =
        mapPtx<uint16_t, float>("cvt.rn.satfinite." + type + ".f32 %d, 0f00000000, %a;", a);
    CHECK(there == bits);
    const auto wide = mapPtx<uint32_t, uint16_t>("cvt.rn.f16x2." + type + " %d, %a;", bits);
    for (size_t i = 0; i < bits.size(); ++i)
      REQUIRE(static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(wide[i]))) == a[i]);
    const auto over = mapPtx<uint16_t, float>("cvt.rn.satfinite." + type + ".f32 %d, %a, %b;",
                                              {1e9f, NAN}, std::vector<float>{-1e9f, 0.0f});
    CHECK(over[0] == (e4 ? 0x7efe : 0x7bfb));
    CHECK(over[1] == 0x7f00);
  }
}

TEST_CASE("floats become integers by rounding and clamping", "[ptx]") {
  const std::vector<float> a = {2.5f, -2.5f, 3.5f, 1e20f, -1e20f, NAN, -0.3f, 2147483520.0f};
  const auto rni = mapPtx<uint32_t, float>("cvt.rni.s32.f32 %d, %a;", a);
  CHECK(rni == std::vector<uint32_t>{2, ~1u, 4, 0x7fffffff, 0x80000000, 0, 0, 2147483520u});
  const auto rmi = mapPtx<uint32_t, float>("cvt.rmi.s32.f32 %d, %a;", a);
  CHECK(rmi[1] == static_cast<uint32_t>(-3));
  CHECK(rmi[6] == ~0u);
  const auto u8 = mapPtx<uint32_t, float>("cvt.rzi.u8.f32 %d, %a;", {300.0f, -5.0f, 7.9f});
  CHECK(u8 == std::vector<uint32_t>{255, 0, 7});
  const auto u64 = mapPtx<uint64_t, float>("cvt.rzi.u64.f32 %d, %a;", {0x1p63f, 1e30f});
  CHECK(u64 == std::vector<uint64_t>{uint64_t{1} << 63, ~uint64_t{0}});
  const auto integral =
      mapPtx<float, float>("cvt.rpi.f32.f32 %d, %a;", {1.25f, -1.25f, 8388609.0f});
  CHECK(integral == std::vector<float>{2, -1, 8388609});
}

TEST_CASE("integers become floats rounded once", "[ptx]") {
  const std::vector<uint64_t> a = {0x8000008000000001, 0x7fffffbfffffffff, 0xffffffffffffffff,
                                   12345};
  const auto s = mapPtx<float, uint64_t>("cvt.rn.f32.s64 %d, %a;", a);
  const auto u = mapPtx<float, uint64_t>("cvt.rn.f32.u64 %d, %a;", a);
  const auto z = mapPtx<float, uint64_t>("cvt.rz.f32.u64 %d, %a;", a);
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(s[i] == static_cast<float>(static_cast<int64_t>(a[i])));
    CHECK(u[i] == static_cast<float>(a[i]));
  }
  CHECK(z[2] == 0x1.fffffep63f);
}

TEST_CASE("integer widths: truncation, extension, saturation", "[ptx]") {
  const std::vector<uint32_t> a = {0x12345680, 0xffffff80, 127, 300};
  CHECK(mapPtx<uint32_t, uint32_t>("cvt.s32.s8 %d, %a;", a) ==
        std::vector<uint32_t>{0xffffff80, 0xffffff80, 127, 44});
  CHECK(mapPtx<uint32_t, uint32_t>("cvt.u32.u8 %d, %a;", a) ==
        std::vector<uint32_t>{0x80, 0x80, 127, 44});
  CHECK(mapPtx<uint32_t, uint32_t>("cvt.sat.s8.s32 %d, %a;", a) ==
        std::vector<uint32_t>{127, 0xffffff80, 127, 127});
  CHECK(mapPtx<uint64_t, uint32_t>("cvt.s64.s32 %d, %a;", a)[1] == 0xffffffffffffff80);
  CHECK(mapPtx<uint32_t, uint32_t>("cvt.pack.sat.u8.s32.b32 %d, %a, %b, %c;", {300}, {~4u},
                                   std::vector<uint32_t>{0x1234})[0] == 0x1234ff00);
}
