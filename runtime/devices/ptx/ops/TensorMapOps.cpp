// tensormap.replace and tensormap.cp_fenceproxy: tensor maps that a kernel makes for itself. The
// machine's own image of a map is edited, so a map begins as zeros or as one of the driver's.
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle::ptx {

namespace {

constexpr const char *kFields[] = {
    "global_address", "rank",     "box_dim",           "global_dim",   "global_stride",
    "element_stride", "elemtype", "interleave_layout", "swizzle_mode", "fill_mode"};

/// ops: address of the map, value; variant: the field, imm2: the dimension.
void replaceField(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  if (!w.resolve(i, mask, 128, Warp::Access::Write, at, 64))
    return;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const auto field = static_cast<TensorMapField>(i.variant);
    if (!replaceTensorMapField(std::span<std::byte, 128>(at.host[l], 128), field,
                               static_cast<int>(i.imm2), w.lane(i.ops[1], l)))
      return w.fail(i, uint32_t{1} << l,
                    fmt::format("tensormap.replace of {} with {}: the machine knows no such map",
                                kFields[i.variant], w.lane(i.ops[1], l)));
  }
}

/// ops: where to, where from.
void copyMap(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses to, from;
  if (!w.resolveAt(i, mask, i.ops[1], i.imm2, Space::Shared, 128, Warp::Access::Read, from, 64) ||
      !w.resolveAt(i, mask, i.ops[0], i.imm, Space::Global, 128, Warp::Access::Write, to, 64))
    return;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    std::memcpy(to.host[std::countr_zero(rest)], from.host[std::countr_zero(rest)], 128);
}

bool decodeReplace(Decoder &d) {
  const bool tile = d.take("tile");
  int field = -1;
  for (size_t f = 0; f < std::size(kFields); ++f)
    if (d.take(kFields[f]))
      field = static_cast<int>(f);
  const Space space = d.takeSpace();
  const bool whole = d.take("b1024");
  const Type type = d.takeType();
  const bool dimension = field >= 2 && field <= 5;
  if (!tile || field < 0 || !whole || !d.expectOperands(dimension ? 3 : 2, dimension ? 3 : 2))
    return d.refuse(
        "expected tensormap.replace.tile.<field>.b1024.<type> [map], [dimension,] value");
  if (dimension) {
    if (d.operand(1).kind != OperandSyntax::Kind::Integer)
      return d.refuse("expected a constant dimension");
    d.inst.imm2 = d.operand(1).integer;
  }
  d.inst.variant = static_cast<uint8_t>(field);
  d.inst.kind = Class::Other;
  d.inst.run = &replaceField;
  return d.address(0, space) && d.source(dimension ? 2 : 1, type);
}

/// tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned
///     [to], [from], 128
bool decodeTensormap(Decoder &d) {
  if (d.take("replace"))
    return decodeReplace(d);
  if (!d.take("cp_fenceproxy") || !d.take("global") || !d.take("shared::cta") ||
      !d.expectOperands(3, 3))
    return d.refuse("expected tensormap.replace or tensormap.cp_fenceproxy.global.shared::cta");
  for (const char *word :
       {"tensormap::generic", "release", "cta", "cluster", "gpu", "sys", "sync", "aligned"})
    d.take(word);
  d.inst.kind = Class::Other;
  d.inst.run = &copyMap;
  if (!d.address(0, Space::Global))
    return false;
  const int64_t to = d.inst.imm;
  if (!d.address(1, Space::Shared))
    return false;
  d.inst.imm2 = d.inst.imm;
  d.inst.imm = to;
  d.inst.address = 0;
  return true;
}

constexpr Opcode kOpcodes[] = {{"tensormap", decodeTensormap}};

} // namespace

std::span<const Opcode> tensorMapOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
