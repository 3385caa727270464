// The checks of cuTensorMapEncodeTiled, and the machine's image of a map: tag, fields, a checksum.
// Source of the limits: CUDA driver API, "Tensor Map Object Management".
#include "runtime/devices/ptx/TensorMap.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle::ptx {

namespace {

constexpr char kTag[8] = {'h', 'e', 'd', 'd', 'l', 'e', 't', 'm'};

/// What lies in the 128 bytes. Extents are kept less one: a dimension may be 2^32.
struct Image {
  char tag[8];
  uint8_t type, rank, swizzle, fill;
  uint8_t elementStrides[kTensorMapRank];
  uint8_t unused[7];
  uint64_t address;
  uint64_t strides[kTensorMapRank - 1];
  uint32_t last[kTensorMapRank];
  uint16_t box[kTensorMapRank];
  uint16_t check;
  uint32_t unused2[8];
};
static_assert(sizeof(Image) == 128);

uint16_t checkOf(Image image) {
  image.check = 0;
  const auto *bytes = reinterpret_cast<const uint8_t *>(&image);
  uint32_t sum = 1;
  for (size_t i = 0; i < sizeof(Image); ++i)
    sum = sum * 31 + bytes[i];
  return static_cast<uint16_t>(sum ^ sum >> 16);
}

Status checkFields(const TensorMap &m) {
  const auto refuse = [](std::string text) {
    return Error{ErrorCode::InvalidArgument, "tensor map: " + text};
  };
  const int64_t bytes = m.elementBytes();
  if (bytes == 0)
    return refuse(fmt::format("element type {} is not supported", m.type));
  if (m.rank < 1 || m.rank > kTensorMapRank)
    return refuse(fmt::format("found rank {}, expected 1 to 5", m.rank));
  if (m.address == 0 || m.address % 16 != 0)
    return refuse(
        fmt::format("found a tensor at {:#x}, expected a multiple of 16 bytes", m.address));
  for (size_t d = 0; d < m.rank; ++d) {
    if (m.dims[d] < 1 || m.dims[d] > uint64_t{1} << 32)
      return refuse(
          fmt::format("found extent {} of dimension {}, expected 1 to 2^32", m.dims[d], d));
    if (d > 0 && (m.strides[d] % 16 != 0 || m.strides[d] == 0 || m.strides[d] >= uint64_t{1} << 40))
      return refuse(fmt::format("found stride {} of dimension {}, expected bytes: a multiple of 16 "
                                "below 2^40",
                                m.strides[d], d));
    if (m.box[d] < 1 || m.box[d] > 256)
      return refuse(
          fmt::format("found box extent {} of dimension {}, expected 1 to 256", m.box[d], d));
    if (m.elementStrides[d] < 1 || m.elementStrides[d] > 8)
      return refuse(fmt::format("found element stride {} of dimension {}, expected 1 to 8",
                                m.elementStrides[d], d));
  }
  const int64_t inner = m.box[0] * bytes;
  if (inner % 16 != 0)
    return refuse(
        fmt::format("found a box of {} bytes along dimension 0, expected a multiple of 16", inner));
  if (m.swizzle != Swizzle::None && inner > int64_t{16} << static_cast<int>(m.swizzle))
    return refuse(fmt::format("found a box of {} bytes along dimension 0, expected at most the "
                              "swizzle's {}",
                              inner, 16 << static_cast<int>(m.swizzle)));
  return {};
}

} // namespace

int64_t tensorMapElementBytes(int type) {
  // U8, U16, U32, S32, U64, S64, F16, F32, F64, BF16, F32_FTZ, TF32, TF32_FTZ
  constexpr int64_t kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  return type >= 0 && type < static_cast<int>(std::size(kBytes)) ? kBytes[type] : 0;
}

int64_t TensorMap::elementBytes() const { return tensorMapElementBytes(type); }

int64_t TensorMap::boxBytes() const {
  int64_t bytes = elementBytes();
  for (int d = 0; d < rank; ++d)
    bytes *= extent(d);
  return bytes;
}

Result<TensorMapImage> encodeTensorMap(const TensorMap &map) {
  HEDDLE_CHECK(checkFields(map));
  Image image = {};
  std::memcpy(image.tag, kTag, sizeof kTag);
  image.type = map.type;
  image.rank = map.rank;
  image.swizzle = static_cast<uint8_t>(map.swizzle);
  image.fill = static_cast<uint8_t>(map.fill);
  image.address = map.address;
  for (size_t d = 0; d < map.rank; ++d) {
    image.elementStrides[d] = static_cast<uint8_t>(map.elementStrides[d]);
    image.last[d] = static_cast<uint32_t>(map.dims[d] - 1);
    image.box[d] = static_cast<uint16_t>(map.box[d]);
    if (d > 0)
      image.strides[d - 1] = map.strides[d];
  }
  image.check = checkOf(image);
  TensorMapImage bytes;
  std::memcpy(bytes.data(), &image, sizeof image);
  return bytes;
}

bool replaceTensorMapField(std::span<std::byte, 128> bytes, TensorMapField field, int d,
                           uint64_t value) {
  Image image;
  std::memcpy(&image, bytes.data(), sizeof image);
  std::memcpy(image.tag, kTag, sizeof kTag);
  if (d < 0 || d >= kTensorMapRank)
    return false;
  switch (field) {
  case TensorMapField::Address:
    image.address = value;
    break;
  case TensorMapField::Rank:
    image.rank = static_cast<uint8_t>(std::min<uint64_t>(value, 200) + 1);
    break;
  case TensorMapField::Box:
    image.box[d] = static_cast<uint16_t>(value);
    break;
  case TensorMapField::Dim:
    image.last[d] = static_cast<uint32_t>(value - 1);
    break;
  case TensorMapField::Stride:
    if (d >= kTensorMapRank - 1)
      return false;
    image.strides[d] = value;
    break;
  case TensorMapField::ElementStride:
    image.elementStrides[d] = static_cast<uint8_t>(value);
    break;
  case TensorMapField::Type: { // .f32.ftz comes before .f64 there, and last in the driver's list
    constexpr uint8_t kTypes[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9, 11, 12};
    if (value >= std::size(kTypes))
      return false;
    image.type = kTypes[value];
    break;
  }
  case TensorMapField::Interleave:
    if (value != 0)
      return false;
    break;
  case TensorMapField::Swizzle:
    if (value > static_cast<uint64_t>(Swizzle::B128))
      return false;
    image.swizzle = static_cast<uint8_t>(value);
    break;
  case TensorMapField::Fill:
    image.fill = static_cast<uint8_t>(value & 1);
    break;
  }
  image.check = checkOf(image);
  std::memcpy(bytes.data(), &image, sizeof image);
  return true;
}

Result<TensorMap> decodeTensorMap(std::span<const std::byte, 128> bytes) {
  Image image;
  std::memcpy(&image, bytes.data(), sizeof image);
  if (std::memcmp(image.tag, kTag, sizeof kTag) != 0 || image.check != checkOf(image))
    return Error{ErrorCode::InvalidArgument,
                 "these 128 bytes are no tensor map of the machine's cuTensorMapEncodeTiled"};
  TensorMap map;
  map.type = image.type;
  map.rank = image.rank;
  map.swizzle = static_cast<Swizzle>(image.swizzle);
  map.fill = static_cast<TensorMap::Fill>(image.fill);
  map.address = image.address;
  for (size_t d = 0; d < std::min<size_t>(image.rank, kTensorMapRank); ++d) {
    map.elementStrides[d] = image.elementStrides[d];
    map.dims[d] = uint64_t{image.last[d]} + 1;
    map.box[d] = image.box[d];
    map.strides[d] = d == 0 ? static_cast<uint64_t>(map.elementBytes()) : image.strides[d - 1];
  }
  HEDDLE_CHECK(checkFields(map));
  return map;
}

} // namespace heddle::ptx
