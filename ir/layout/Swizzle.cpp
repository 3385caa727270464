// XOR swizzles and padded rows: two ways to spread a column of 16-byte chunks over the banks.
//
//   rows of 8 chunks, S<3,4,3>       rows of 9 chunks (72 bf16)
//   row 0: 0 1 2 3 4 5 6 7           row 0 starts in bank group 0
//   row 1: 1 0 3 2 5 4 7 6           row 1 starts in bank group 1
//   row 2: 2 3 0 1 6 7 4 5           row 2 starts in bank group 2
#include "ir/layout/Swizzle.h"

#include "ir/layout/Algebra.h"
#include "ir/layout/Checked.h"
#include "ir/layout/TextCursor.h"

#include <algorithm>
#include <bit>

namespace heddle::layout {

namespace {
constexpr int64_t kChunkBytes = 16;
constexpr int64_t kChunkBits = 4; ///< 2^4 bytes
constexpr int64_t kRowsBits = 3;  ///< 2^3 rows meet 2^3 bank groups of 16 bytes
} // namespace

Expected<Swizzle> Swizzle::make(int64_t bits, int64_t base, int64_t shift) {
  auto inRange = [](int64_t number) { return number >= 0 && number <= 62; };
  if (!inRange(bits) || !inRange(base) || !inRange(shift) || shift < bits ||
      bits + base + shift > 62)
    return Failure{"swizzle S<" + std::to_string(bits) + "," + std::to_string(base) + "," +
                   std::to_string(shift) +
                   ">, expected numbers >= 0 with shift >= bits and a sum of 62 at most"};
  Swizzle swizzle;
  swizzle.bitCount = bits;
  swizzle.baseBits = base;
  swizzle.shiftBits = shift;
  return swizzle;
}

int64_t Swizzle::period() const {
  return bitCount == 0 ? 1 : int64_t{1} << (bitCount + baseBits + shiftBits);
}

int64_t Swizzle::operator()(int64_t offset) const {
  int64_t source = ((int64_t{1} << bitCount) - 1) << (baseBits + shiftBits);
  return offset ^ ((offset & source) >> shiftBits);
}

Expected<int64_t> SwizzledLayout::at(const IntTuple &coordinate) const {
  Expected<int64_t> offset = layout.at(coordinate);
  return offset.ok() ? Expected<int64_t>(swizzle(*offset)) : offset;
}

Expected<int64_t> SwizzledLayout::span() const {
  int64_t end = 0;
  if (!add(layout.cosize(), swizzle.period() - 1, end))
    return Failure{"the span of " + print(*this) + " does not fit 64 bits"};
  return end / swizzle.period() * swizzle.period();
}

Expected<SwizzledLayout> compose(const SwizzledLayout &a, const Layout &b) {
  Expected<Layout> inner = compose(a.layout, b);
  return inner.ok() ? Expected<SwizzledLayout>(SwizzledLayout{a.swizzle, *inner})
                    : Failure{inner.text()};
}

Expected<Swizzle> swizzleForRows(int64_t rowBytes) {
  int64_t chunks = rowBytes / kChunkBytes;
  if (rowBytes < 1 || rowBytes % kChunkBytes != 0 || !std::has_single_bit(uint64_t(chunks)))
    return Failure{"rows of " + std::to_string(rowBytes) +
                   " bytes cannot be swizzled, expected 16 times a power of two: pad the rows"};
  int64_t chunkBits = std::countr_zero(uint64_t(chunks));
  return Swizzle::make(std::min(chunkBits, kRowsBits), kChunkBits, std::max(chunkBits, kRowsBits));
}

Expected<int64_t> paddedPitch(int64_t rowBytes) {
  int64_t end = 0;
  if (rowBytes < 1 || !add(rowBytes, 2 * kChunkBytes, end))
    return Failure{"row of " + std::to_string(rowBytes) + " bytes, expected 1 at least"};
  int64_t chunks = (rowBytes + kChunkBytes - 1) / kChunkBytes;
  return (chunks | 1) * kChunkBytes;
}

Expected<Layout> paddedRows(int64_t rows, int64_t columns, int64_t elementBytes) {
  if (elementBytes < 1 || kChunkBytes % elementBytes != 0)
    return Failure{"elements of " + std::to_string(elementBytes) +
                   " bytes, expected 1, 2, 4, 8 or 16"};
  int64_t rowBytes = 0;
  if (!multiply(columns, elementBytes, rowBytes))
    return Failure{"a row of " + std::to_string(columns) + " elements does not fit 64 bits"};
  Expected<int64_t> pitch = paddedPitch(rowBytes);
  if (!pitch.ok())
    return Failure{pitch.text()};
  return Layout::make({rows, columns}, {*pitch / elementBytes, 1});
}

std::string print(const SwizzledLayout &layout) {
  const Swizzle &swizzle = layout.swizzle;
  if (swizzle.bits() == 0)
    return print(layout.layout);
  return "S<" + std::to_string(swizzle.bits()) + "," + std::to_string(swizzle.base()) + "," +
         std::to_string(swizzle.shift()) + "> o " + print(layout.layout);
}

namespace {

/// "S<3,4,3> o" at the cursor.
Expected<Swizzle> parseSwizzle(TextCursor &cursor) {
  int64_t numbers[3] = {0, 0, 0};
  const char before[3] = {'<', ',', ','};
  for (int k = 0; k < 3; ++k) {
    if (!cursor.take(before[k]))
      return cursor.expected(std::string("'") + before[k] + "'");
    Expected<int64_t> number = cursor.number();
    if (!number.ok())
      return Failure{number.text()};
    numbers[k] = *number;
  }
  if (!cursor.take('>') || !cursor.take('o'))
    return cursor.expected("'> o'");
  return Swizzle::make(numbers[0], numbers[1], numbers[2]);
}

} // namespace

Expected<SwizzledLayout> parseSwizzledLayout(std::string_view text) {
  TextCursor cursor(text);
  Swizzle swizzle;
  if (cursor.take('S')) {
    Expected<Swizzle> parsed = parseSwizzle(cursor);
    if (!parsed.ok())
      return Failure{parsed.text()};
    swizzle = *parsed;
  }
  Expected<Layout> layout = parseLayoutAt(cursor);
  return layout.ok() ? Expected<SwizzledLayout>(SwizzledLayout{swizzle, *layout})
                     : Failure{layout.text()};
}

} // namespace heddle::layout
