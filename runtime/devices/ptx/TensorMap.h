// Tensor maps: what cuTensorMapEncodeTiled is told, kept as 128 bytes that the machine reads back.
//
// NVIDIA's binary image is not public. The machine's image is a tag and the fields in the clear, so
// a map made by anybody else is recognised and refused.
#pragma once

#include "runtime/Result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::ptx {

constexpr int kTensorMapRank = 5;
using TensorMapImage = std::array<std::byte, 128>;

enum class Swizzle : uint8_t { None, B32, B64, B128 };

/// The bytes of shared memory that `offset` (from a multiple of the pattern's repeat) becomes: bits
/// 4.. are exchanged with bits 7.., so that the columns of a tile lie in different banks.
constexpr uint64_t swizzled(Swizzle swizzle, uint64_t offset) {
  const uint64_t rows = (uint64_t{1} << static_cast<int>(swizzle)) - 1;
  return offset ^ ((offset >> 7) & rows) << 4;
}
/// Bytes after which the pattern repeats: what the tile's address is a multiple of.
constexpr int64_t repeatOf(Swizzle swizzle) {
  return swizzle == Swizzle::None ? 128 : int64_t{128} << static_cast<int>(swizzle);
}

/// A tensor in global memory and the box of it that one copy moves. Dimension 0 is contiguous.
struct TensorMap {
  enum class Fill : uint8_t { Zero, NaN };
  uint8_t type = 0; // CUtensorMapDataType
  uint8_t rank = 0;
  Swizzle swizzle = Swizzle::None;
  Fill fill = Fill::Zero;
  uint64_t address = 0;
  std::array<uint64_t, kTensorMapRank> dims = {};
  std::array<uint64_t, kTensorMapRank> strides = {}; // bytes; [0] is that of an element
  std::array<uint32_t, kTensorMapRank> box = {};
  std::array<uint32_t, kTensorMapRank> elementStrides = {1, 1, 1, 1, 1};

  int64_t elementBytes() const;
  /// Elements of the box along a dimension: one in elementStrides.
  int64_t extent(int d) const {
    return (box[static_cast<size_t>(d)] + elementStrides[static_cast<size_t>(d)] - 1) /
           elementStrides[static_cast<size_t>(d)];
  }
  int64_t boxBytes() const;
};

/// Bytes of an element of a CUtensorMapDataType; 0 for one that the machine does not know.
int64_t tensorMapElementBytes(int type);

/// Fails with InvalidArgument as the driver does (alignment, sizes), saying which field.
Result<TensorMapImage> encodeTensorMap(const TensorMap &map);
/// tensormap.replace: one field of an image, or of 128 zero bytes. False if the machine does not
/// know the value. Element types are numbered as the PTX manual does, and rank counts from 0.
enum class TensorMapField : uint8_t {
  Address,
  Rank,
  Box,
  Dim,
  Stride,
  ElementStride,
  Type,
  Interleave,
  Swizzle,
  Fill,
};
bool replaceTensorMapField(std::span<std::byte, 128> image, TensorMapField field, int dimension,
                           uint64_t value);

/// Fails with InvalidArgument if the bytes are no image of the machine's.
Result<TensorMap> decodeTensorMap(std::span<const std::byte, 128> image);

} // namespace heddle::ptx
