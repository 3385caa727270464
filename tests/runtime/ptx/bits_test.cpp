// Logic, shifts, fields and permutations against bit-by-bit references.
#include "tests/runtime/ptx/PtxKernel.h"

#include <algorithm>
#include <bit>
#include <functional>

using namespace heddle::test;

namespace {

constexpr size_t kCount = 777;

template <class T> void check(const std::string &code, const std::function<T(T, T, T)> &reference) {
  const auto a = samples<T>(kCount, 1), b = samples<T>(kCount, 2), c = samples<T>(kCount, 3);
  const auto got = mapPtx<T, T>(code, a, b, c);
  for (size_t i = 0; i < kCount; ++i) {
    INFO(code << " element " << i << ": " << a[i] << " " << b[i] << " " << c[i]);
    REQUIRE(got[i] == reference(a[i], b[i], c[i]));
  }
}

} // namespace

TEST_CASE("lop3 follows its table", "[ptx]") {
  for (const uint32_t table : {0x00u, 0x80u, 0xfeu, 0x96u, 0xcau, 0xe8u, 0x5au, 0xffu, 0x1du}) {
    check<uint32_t>(fmt::format("lop3.b32 %d, %a, %b, %c, {};", table),
                    [=](uint32_t a, uint32_t b, uint32_t c) {
                      uint32_t d = 0;
                      for (int k = 0; k < 32; ++k) {
                        const uint32_t at = (a >> k & 1) << 2 | (b >> k & 1) << 1 | (c >> k & 1);
                        d |= (table >> at & 1) << k;
                      }
                      return d;
                    });
  }
}

TEST_CASE("shifts clamp their counts, funnels clamp or wrap", "[ptx]") {
  check<uint32_t>("shl.b32 %d, %a, %b;",
                  [](uint32_t a, uint32_t b, uint32_t) { return b > 31 ? 0 : a << b; });
  check<uint32_t>("shr.u32 %d, %a, %b;",
                  [](uint32_t a, uint32_t b, uint32_t) { return b > 31 ? 0 : a >> b; });
  check<uint32_t>("shr.s32 %d, %a, %b;", [](uint32_t a, uint32_t b, uint32_t) {
    return static_cast<uint32_t>(static_cast<int32_t>(a) >> std::min(b, 31u));
  });
  const auto funnel = [](bool left, bool clamp) {
    return [=](uint32_t a, uint32_t b, uint32_t c) {
      const uint32_t n = clamp ? std::min(c, 32u) : c & 31;
      const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
      return static_cast<uint32_t>(left ? both << n >> 32 : both >> n);
    };
  };
  check<uint32_t>("shf.l.wrap.b32 %d, %a, %b, %c;", funnel(true, false));
  check<uint32_t>("shf.l.clamp.b32 %d, %a, %b, %c;", funnel(true, true));
  check<uint32_t>("shf.r.wrap.b32 %d, %a, %b, %c;", funnel(false, false));
  check<uint32_t>("shf.r.clamp.b32 %d, %a, %b, %c;", funnel(false, true));
}

TEST_CASE("bit fields", "[ptx]") {
  const auto extract = [](bool withSign) {
    return [=](uint32_t a, uint32_t b, uint32_t c) {
      const uint32_t at = b & 0xff, length = c & 0xff;
      uint32_t d = 0;
      const uint32_t sign = withSign && length ? a >> std::min(at + length - 1, 31u) & 1 : 0;
      for (uint32_t k = 0; k < 32; ++k)
        d |= (k < length && at + k < 32 ? a >> (at + k) & 1 : sign) << k;
      return d;
    };
  };
  check<uint32_t>("bfe.u32 %d, %a, %b, %c;", extract(false));
  check<uint32_t>("bfe.s32 %d, %a, %b, %c;", extract(true));
  check<uint32_t>("bfi.b32 %d, %a, %b, 5, %c;", [](uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t length = c & 0xff;
    uint32_t d = b;
    for (uint32_t k = 0; k < length && 5 + k < 32; ++k)
      d = (d & ~(1u << (5 + k))) | (a >> k & 1) << (5 + k);
    return d;
  });
  check<uint32_t>("bfi.b32 %d, %a, %b, %c, 8;", [](uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t at = c & 0xff;
    uint32_t d = b;
    for (uint32_t k = 0; k < 8 && at + k < 32; ++k)
      d = (d & ~(1u << (at + k))) | (a >> k & 1) << (at + k);
    return d;
  });
}

TEST_CASE("counts and reversal", "[ptx]") {
  check<uint32_t>("popc.b32 %d, %a;", [](uint32_t a, uint32_t, uint32_t) {
    return static_cast<uint32_t>(std::popcount(a));
  });
  check<uint32_t>("clz.b32 %d, %a;", [](uint32_t a, uint32_t, uint32_t) {
    return static_cast<uint32_t>(std::countl_zero(a));
  });
  check<uint32_t>("brev.b32 %d, %a;", [](uint32_t a, uint32_t, uint32_t) {
    uint32_t d = 0;
    for (int k = 0; k < 32; ++k)
      d |= (a >> k & 1) << (31 - k);
    return d;
  });
  check<uint32_t>("bfind.s32 %d, %a;", [](uint32_t a, uint32_t, uint32_t) {
    const uint32_t sign = a >> 31;
    for (int k = 31; k >= 0; --k)
      if ((a >> k & 1) != sign)
        return static_cast<uint32_t>(k);
    return ~0u;
  });
  check<uint64_t>(
      ".reg .b32 %w; popc.b64 %w, %a; cvt.u64.u32 %d, %w;",
      [](uint64_t a, uint64_t, uint64_t) { return static_cast<uint64_t>(std::popcount(a)); });
}

TEST_CASE("prmt picks bytes and signs", "[ptx]") {
  check<uint32_t>("prmt.b32 %d, %a, %b, %c;", [](uint32_t a, uint32_t b, uint32_t c) {
    uint8_t bytes[8];
    std::memcpy(bytes, &a, 4);
    std::memcpy(bytes + 4, &b, 4);
    uint32_t d = 0;
    for (int k = 0; k < 4; ++k) {
      const uint32_t pick = c >> (4 * k) & 15;
      const uint32_t byte = pick & 8 ? (bytes[pick & 7] & 0x80 ? 255 : 0) : bytes[pick & 7];
      d |= byte << (8 * k);
    }
    return d;
  });
}

TEST_CASE("predicates: comparison, logic, choice", "[ptx]") {
  check<uint32_t>("setp.lt.and.s32 %p|%r, %a, %b, %p; setp.gt.u32 %r, %a, %c;\n"
                  "setp.lt.s32 %p, %a, %b; xor.pred %p, %p, %r; selp.b32 %d, %a, %b, %p;",
                  [](uint32_t a, uint32_t b, uint32_t c) {
                    return (static_cast<int32_t>(a) < static_cast<int32_t>(b)) != (a > c) ? a : b;
                  });
  check<uint32_t>("setp.eq.u32 %p, %b, %c; setp.le.or.u32 %p|%r, %a, %b, !%p;\n"
                  "selp.u32 %d, 1, 0, %r; @%p add.u32 %d, %d, 2;",
                  [](uint32_t a, uint32_t b, uint32_t c) {
                    const bool third = b != c;
                    return (a > b || third ? 1u : 0u) + (a <= b || third ? 2u : 0u);
                  });
  check<uint32_t>("set.ge.u32.u32 %d, %a, %b;",
                  [](uint32_t a, uint32_t b, uint32_t) { return a >= b ? ~0u : 0u; });
  check<uint32_t>("slct.u32.s32 %d, %a, %b, %c;", [](uint32_t a, uint32_t b, uint32_t c) {
    return static_cast<int32_t>(c) >= 0 ? a : b;
  });
}
