// XOR swizzle of shared memory, and the padded rows that take its place where it does not apply.
//
// Swizzle S<bits,base,shift> on an offset (as CuTe's Swizzle<B,M,S>):
//
//   offset  ... r r r | . . | c c c | b b b b      b: base untouched low bits
//               `--- shift bits higher ---'        c: bits bits, replaced by c xor r
//
// In bytes S<3,4,3> is the 128-byte swizzle of TMA, wgmma and tcgen05: 16-byte chunk ^= row mod 8.
#pragma once

#include "ir/layout/Layout.h"

namespace heddle::layout {

/// A swizzle. Invariant: bits, base >= 0, shift >= bits, base + shift + bits <= 62. S<0,0,0> is the
/// identity. It permutes every aligned block of `period()` offsets and is its own inverse.
class Swizzle {
public:
  Swizzle() = default;
  /// Fails if the invariant would not hold.
  static Expected<Swizzle> make(int64_t bits, int64_t base, int64_t shift);

  int64_t bits() const { return bitCount; }
  int64_t base() const { return baseBits; }
  int64_t shift() const { return shiftBits; }
  /// Offsets after which the pattern repeats: 2^(base+shift+bits); 1 if bits is 0.
  int64_t period() const;

  /// Post: operator()(operator()(x)) == x; x / period() is kept; the low `base` bits are kept.
  int64_t operator()(int64_t offset) const;

  bool operator==(const Swizzle &) const = default;

private:
  int64_t bitCount = 0;
  int64_t baseBits = 0;
  int64_t shiftBits = 0;
};

/// A layout followed by a swizzle: value(i) = swizzle(layout(i)).
struct SwizzledLayout {
  Swizzle swizzle;
  Layout layout;

  int64_t operator()(int64_t index) const { return swizzle(layout(index)); }
  Expected<int64_t> at(const IntTuple &coordinate) const;
  /// Upper bound of all values + 1, a multiple of the swizzle's period: what to allocate.
  /// Fails on overflow.
  Expected<int64_t> span() const;
  bool operator==(const SwizzledLayout &) const = default;
};

/// Post: result(i) == a(b(i)) for all i < |b|. Fails as compose of layouts.
Expected<SwizzledLayout> compose(const SwizzledLayout &a, const Layout &b);

/// The swizzle of byte offsets for rows of `rowBytes` bytes stored one after the other, so that 8
/// neighbouring rows' chunks of one column lie in 8 different 16-byte bank groups.
/// 32 -> S<1,4,3>, 64 -> S<2,4,3>, 128 -> S<3,4,3>, 256 -> S<3,4,4>, ...; 16 -> S<0,4,3>
/// (identity). Fails unless rowBytes is 16 times a power of two: pad such rows.
Expected<Swizzle> swizzleForRows(int64_t rowBytes);

/// Row pitch in bytes with an odd number of 16-byte chunks, the least that holds `rowBytes`: 8
/// neighbouring rows' chunks of one column then lie in 8 different bank groups, without a swizzle.
/// 144 (72 bf16) -> 144, 160 (80 bf16) -> 176, 192 (96 bf16) -> 208. Fails if rowBytes < 1.
Expected<int64_t> paddedPitch(int64_t rowBytes);

/// (rows,columns):(pitch,1) in elements with the pitch of paddedPitch.
/// Fails if an extent is < 1 or elementBytes does not divide 16.
Expected<Layout> paddedRows(int64_t rows, int64_t columns, int64_t elementBytes);

/// "S<3,4,3> o (8,128):(128,1)"; a layout alone if the swizzle is the identity.
std::string print(const SwizzledLayout &layout);
Expected<SwizzledLayout> parseSwizzledLayout(std::string_view text);

} // namespace heddle::layout
