// From the addresses of a warp's lanes to host memory, with bounds and alignment checked.
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle::ptx {

void Warp::fail(const Inst &inst, uint32_t lanes, std::string message) {
  stop = true;
  std::lock_guard lock(block->launch.mutex);
  block->launch.stopped = true;
  if (block->launch.error)
    return;
  Error error{ErrorCode::CheckFailed, std::move(message),
              fmt::format("{}:{}", block->program.file, inst.line)};
  error.notes.push_back(fmt::format("in block ({}, {}, {}), warp {}, lanes {:#010x}", block->id[0],
                                    block->id[1], block->id[2], index, lanes));
  const auto &files = block->program.files;
  if (inst.cuda.line > 0 && static_cast<size_t>(inst.cuda.file) < files.size())
    error.notes.push_back(
        fmt::format("from {}:{}", files[static_cast<size_t>(inst.cuda.file)], inst.cuda.line));
  block->launch.error = std::move(error);
}

namespace {

const char *verb(Warp::Access access) {
  return access == Warp::Access::Read    ? "reads"
         : access == Warp::Access::Write ? "writes"
                                         : "updates";
}

Space spaceOfGeneric(uint64_t address) {
  const uint64_t slot = address >> kSlotBits;
  return slot == kSharedSlot  ? Space::Shared
         : slot == kLocalSlot ? Space::Local
         : slot == kParamSlot ? Space::Param
                              : Space::Global;
}

} // namespace

std::byte *Warp::resolveOne(const Inst &inst, int lane, Space space, uint64_t address, int bytes,
                            int align, Access access) {
  const uint64_t size = static_cast<uint64_t>(bytes);
  const uint32_t bit = uint32_t{1} << lane;
  if (address % static_cast<uint64_t>(align) != 0) {
    fail(inst, bit,
         fmt::format("misaligned access: {} {} bytes at {:#x}, which is no multiple of {}",
                     verb(access), bytes, address, align));
    return nullptr;
  }
  if (space == Space::Generic) {
    space = spaceOfGeneric(address);
    if (space != Space::Global)
      address &= 0xffffffff;
  }
  const auto outside = [&](uint64_t base, uint64_t extent, const char *what) {
    fail(inst, bit,
         fmt::format("out of bounds: {} {} bytes at byte {} of {} ({} bytes)", verb(access), bytes,
                     static_cast<int64_t>(address - base), what, extent));
    return nullptr;
  };
  switch (space) {
  case Space::Shared: {
    Block *owner = block;
    if (const uint64_t rank = address >> kRankBits; rank != 0) { // of another block: mapa
      const auto &blocks = block->cluster.blocks;
      if (rank > blocks.size()) {
        fail(inst, bit,
             fmt::format("out of bounds: {} shared memory of block {} of a cluster of {}",
                         verb(access), rank - 1, blocks.size()));
        return nullptr;
      }
      owner = blocks[rank - 1].get();
      address &= (uint64_t{1} << kRankBits) - 1;
    }
    const uint64_t offset = address - kSharedBase;
    if (offset > owner->sharedBytes || size > owner->sharedBytes - offset)
      return outside(kSharedBase, owner->sharedBytes, "shared memory");
    return owner->shared + offset;
  }
  case Space::Local: {
    const uint64_t offset = address - kLocalBase, extent = block->localBytes;
    if (offset > extent || size > extent - offset)
      return outside(kLocalBase, extent, "local memory");
    return block->local + static_cast<uint64_t>(index * kLanes + lane) * extent + offset;
  }
  case Space::Param: {
    const std::span<const std::byte> params = block->launch.config.params;
    const uint64_t offset = address - kParamBase;
    if (offset > params.size() || size > params.size() - offset || access != Access::Read)
      return outside(kParamBase, params.size(), "the parameters (which are read-only)");
    return const_cast<std::byte *>(params.data()) + offset;
  }
  default:
    break;
  }
  const Memory &memory = *block->launch.memory;
  const Buffer *buffer = memory.find(address);
  const uint64_t offset = buffer ? address - buffer->address : 0;
  if (!buffer || offset > buffer->bytes || size > buffer->bytes - offset) {
    fail(inst, bit,
         fmt::format("out of bounds: {} {} bytes at {}", verb(access), bytes,
                     memory.describe(address)));
    return nullptr;
  }
  if (buffer->readOnly && access != Access::Read) {
    fail(inst, bit, fmt::format("{} constant memory: {}", verb(access), memory.describe(address)));
    return nullptr;
  }
  return buffer->data + offset;
}

bool Warp::needAllLanes(const Inst &inst, uint32_t mask) {
  if (mask == kAllLanes)
    return true;
  fail(inst, mask, "all 32 lanes of a warp have to execute this together, and these are alone");
  return false;
}

uint32_t Warp::resolve(const Inst &inst, uint32_t mask, int bytes, Access access, Addresses &out,
                       int align) {
  return resolveAt(inst, mask, inst.ops[inst.address], inst.imm, inst.space, bytes, access, out,
                   align);
}

uint32_t Warp::resolveAt(const Inst &inst, uint32_t mask, const Operand &base, int64_t displacement,
                         Space space, int bytes, Access access, Addresses &out, int align) {
  const uint64_t offset = static_cast<uint64_t>(displacement);
  if (base.bytes == 8) {
    const uint64_t *from = src<uint64_t>(base);
    for (int l = 0; l < kLanes; ++l)
      out.address[l] = from[l] + offset;
  } else {
    const uint32_t *from = src<uint32_t>(base);
    for (int l = 0; l < kLanes; ++l)
      out.address[l] = static_cast<uint32_t>(from[l] + offset);
  }
  const uint64_t size = static_cast<uint64_t>(bytes);
  const uint64_t low = static_cast<uint64_t>(align ? align : bytes) - 1;
  // The common case: all lanes in one buffer, or in shared memory, and in bounds.
  const int first = std::countr_zero(mask);
  std::byte *data = nullptr;
  uint64_t start = 0, extent = 0;
  if (space == Space::Shared) {
    data = block->shared;
    start = kSharedBase;
    extent = block->sharedBytes;
  } else if (space == Space::Global || space == Space::Generic || space == Space::Const) {
    const Buffer *buffer = block->launch.memory->find(out.address[first]);
    if (buffer && !(buffer->readOnly && access != Access::Read)) {
      data = buffer->data;
      start = buffer->address;
      extent = buffer->bytes;
    }
  }
  if (data && extent >= size) {
    const uint64_t last = extent - size;
    const uintptr_t base = reinterpret_cast<uintptr_t>(data); // no pointer: it may end up outside
    uint64_t bad = 0;
    if (mask == kAllLanes) {
      for (int l = 0; l < kLanes; ++l) {
        const uint64_t at = out.address[l] - start;
        bad |= static_cast<uint64_t>(at > last) | (out.address[l] & low);
        out.host[l] = reinterpret_cast<std::byte *>(base + at);
      }
    } else {
      for (uint32_t rest = mask; rest; rest &= rest - 1) {
        const int l = std::countr_zero(rest);
        const uint64_t at = out.address[l] - start;
        bad |= static_cast<uint64_t>(at > last) | (out.address[l] & low);
        out.host[l] = reinterpret_cast<std::byte *>(base + at);
      }
    }
    if (bad == 0) {
      if (observer) [[unlikely]]
        observer->access(*this, inst, mask, out, bytes, access);
      return mask;
    }
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    out.host[l] =
        resolveOne(inst, l, space, out.address[l], bytes, static_cast<int>(low) + 1, access);
    if (!out.host[l])
      return 0;
  }
  if (observer)
    observer->access(*this, inst, mask, out, bytes, access);
  return mask;
}

void Warp::fillSpecials() {
  const auto fill = [&](Special s, auto value) {
    uint32_t *to = reinterpret_cast<uint32_t *>(specials + offsetOf(s));
    for (int l = 0; l < kLanes; ++l)
      to[l] = static_cast<uint32_t>(value(l));
  };
  const auto all = [&](Special s, int64_t value) { fill(s, [=](int) { return value; }); };
  const LaunchConfig &config = block->launch.config;
  const int64_t *b = config.block, *shape = block->cluster.shape;
  const auto at = [](Special s, int i) { return static_cast<Special>(static_cast<int>(s) + i); };
  const int64_t thread = static_cast<int64_t>(index) * kLanes;
  fill(Special::TidX, [=](int l) { return (thread + l) % b[0]; });
  fill(Special::TidY, [=](int l) { return (thread + l) / b[0] % b[1]; });
  fill(Special::TidZ, [=](int l) { return (thread + l) / b[0] / b[1]; });
  for (int i = 0; i < 3; ++i) {
    all(at(Special::NTidX, i), b[i]);
    all(at(Special::CtaIdX, i), block->id[i]);
    all(at(Special::NCtaIdX, i), config.grid[i]);
    all(at(Special::ClusterIdX, i), block->id[i] / shape[i]);
    all(at(Special::NClusterIdX, i), config.grid[i] / shape[i]);
    all(at(Special::ClusterCtaIdX, i), block->id[i] % shape[i]);
    all(at(Special::ClusterNCtaIdX, i), shape[i]);
  }
  all(Special::ClusterCtaRank, block->rank);
  all(Special::ClusterNCtaRank, static_cast<int64_t>(block->cluster.blocks.size()));
  // A predicate is one word.
  all(Special::IsExplicitCluster,
      config.cluster[0] || block->program.cluster[0] ? int64_t{-1} : int64_t{0});
  fill(Special::LaneId, [](int l) { return l; });
  all(Special::WarpId, index);
  all(Special::NWarpId, static_cast<int64_t>(block->warps.size()));
  all(Special::SmId, 0);
  all(Special::NSmId, 1);
  std::memset(specials + offsetOf(Special::GridId), 0, 256);
  fill(Special::MaskEq, [](int l) { return 1u << l; });
  fill(Special::MaskLe, [](int l) { return (2ull << l) - 1; });
  fill(Special::MaskLt, [](int l) { return (1u << l) - 1; });
  fill(Special::MaskGe, [](int l) { return ~((1u << l) - 1); });
  fill(Special::MaskGt, [](int l) { return ~static_cast<uint32_t>((2ull << l) - 1); });
  all(Special::DynamicSmem, config.sharedBytes);
  all(Special::TotalSmem, static_cast<int64_t>(block->sharedBytes));
  all(Special::ReservedSmemBegin, 0);
  all(Special::ReservedSmemEnd, static_cast<int64_t>(kSharedBase));
  all(Special::ReservedSmemCap, static_cast<int64_t>(kSharedBase));
}

} // namespace heddle::ptx
