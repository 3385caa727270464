// The names of the special registers, in the order of the enumeration.
#include "runtime/devices/ptx/Special.h"

#include <iterator>

namespace heddle::ptx {

namespace {

constexpr std::string_view kNames[] = {"%tid.x",
                                       "%tid.y",
                                       "%tid.z",
                                       "%ntid.x",
                                       "%ntid.y",
                                       "%ntid.z",
                                       "%ctaid.x",
                                       "%ctaid.y",
                                       "%ctaid.z",
                                       "%nctaid.x",
                                       "%nctaid.y",
                                       "%nctaid.z",
                                       "%laneid",
                                       "%warpid",
                                       "%nwarpid",
                                       "%smid",
                                       "%nsmid",
                                       "%gridid",
                                       "%lanemask_eq",
                                       "%lanemask_le",
                                       "%lanemask_lt",
                                       "%lanemask_ge",
                                       "%lanemask_gt",
                                       "%dynamic_smem_size",
                                       "%total_smem_size",
                                       "%reserved_smem_offset_begin",
                                       "%reserved_smem_offset_end",
                                       "%reserved_smem_offset_cap",
                                       "%clusterid.x",
                                       "%clusterid.y",
                                       "%clusterid.z",
                                       "%nclusterid.x",
                                       "%nclusterid.y",
                                       "%nclusterid.z",
                                       "%cluster_ctaid.x",
                                       "%cluster_ctaid.y",
                                       "%cluster_ctaid.z",
                                       "%cluster_nctaid.x",
                                       "%cluster_nctaid.y",
                                       "%cluster_nctaid.z",
                                       "%cluster_ctarank",
                                       "%cluster_nctarank",
                                       "%is_explicit_cluster"};
static_assert(std::size(kNames) == static_cast<size_t>(Special::LocalBase));

} // namespace

std::optional<SpecialRegister> findSpecial(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (name != kNames[i])
      continue;
    const Special s = static_cast<Special>(i);
    const uint8_t bytes = s == Special::GridId ? 8 : s == Special::IsExplicitCluster ? 0 : 4;
    return SpecialRegister{offsetOf(s), bytes};
  }
  return std::nullopt;
}

} // namespace heddle::ptx
