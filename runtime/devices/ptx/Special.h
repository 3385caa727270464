// Special registers: 32 values each, filled when a warp starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace heddle::ptx {

struct SpecialRegister {
  uint32_t offset; // into Warp::specials
  uint8_t bytes;
};

// Offsets by name; every register takes 256 bytes. Times are read by an instruction of their own.
constexpr uint32_t kSpecialStride = 256;
enum class Special : uint8_t {
  TidX,
  TidY,
  TidZ,
  NTidX,
  NTidY,
  NTidZ,
  CtaIdX,
  CtaIdY,
  CtaIdZ,
  NCtaIdX,
  NCtaIdY,
  NCtaIdZ,
  LaneId,
  WarpId,
  NWarpId,
  SmId,
  NSmId,
  GridId,
  MaskEq,
  MaskLe,
  MaskLt,
  MaskGe,
  MaskGt,
  DynamicSmem,
  TotalSmem,
  ReservedSmemBegin,
  ReservedSmemEnd,
  ReservedSmemCap,
  ClusterIdX,
  ClusterIdY,
  ClusterIdZ,
  NClusterIdX,
  NClusterIdY,
  NClusterIdZ,
  ClusterCtaIdX,
  ClusterCtaIdY,
  ClusterCtaIdZ,
  ClusterNCtaIdX,
  ClusterNCtaIdY,
  ClusterNCtaIdZ,
  ClusterCtaRank,
  ClusterNCtaRank,
  IsExplicitCluster,
  LocalBase,
  Count,
};

/// "%tid.x" -> where it stands; nothing for names that are no special register.
std::optional<SpecialRegister> findSpecial(std::string_view name);
constexpr uint32_t offsetOf(Special s) { return static_cast<uint32_t>(s) * kSpecialStride; }

} // namespace heddle::ptx
