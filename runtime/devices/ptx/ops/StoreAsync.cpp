// st.async: registers to shared memory of a block of the cluster, in the background; an mbarrier
// beside them hears of the bytes.
//   st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [a], {x, y}, [mbarrier];
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

namespace heddle::ptx {

namespace {

/// The mbarrier that a lane names, which has to be in the block that it writes to.
bool signal(Warp &w, const Inst &i, int lane, std::byte *target, uint64_t address,
            BulkCopy::Signal &signal) {
  Cluster &cluster = w.block->cluster;
  std::byte *host = w.resolveOne(i, lane, Space::Shared, address, 8, 8, Warp::Access::Atomic);
  if (!host)
    return false;
  signal.block = &cluster.blockAt(*cluster.sharedOffset(host));
  signal.offset = static_cast<uint32_t>(host - signal.block->shared);
  if (signal.block != &cluster.blockAt(*cluster.sharedOffset(target))) {
    w.fail(i, uint32_t{1} << lane, "the mbarrier is in another block than the memory");
    return false;
  }
  return signal.block->findMbarrier(w, i, lane, signal.offset) != nullptr;
}

/// ops: [address, values.., mbarrier] by lane; imm and imm2 are the offsets of the addresses;
/// extra: bytes of a value. Each value is an operation of its own.
void storeAsync(Warp &w, const Inst &i, uint32_t mask) {
  const int size = i.extra;
  for (uint32_t rest = mask; rest && !w.stop; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    std::byte *to =
        w.resolveOne(i, lane, Space::Shared, w.lane(i.ops[0], lane) + static_cast<uint64_t>(i.imm),
                     size * i.count, size * i.count, Warp::Access::Write);
    BulkCopy copy;
    copy.warp = &w;
    copy.lane = lane;
    copy.inst = &i;
    copy.generic = true;
    copy.fillBytes = static_cast<uint8_t>(size);
    copy.signals = {{nullptr, 0, size}};
    if (!to ||
        !signal(w, i, lane, to, w.lane(i.ops[1 + i.count], lane) + static_cast<uint64_t>(i.imm2),
                copy.signals[0]))
      return;
    for (int k = 0; k < i.count; ++k) {
      BulkCopy one = copy;
      one.fill = w.lane(i.ops[1 + k], lane);
      one.pieces = {{to + k * size, nullptr, static_cast<uint32_t>(size), 0}};
      if (w.observer)
        w.observer->bulkIssued(one);
      w.block->cluster.submit(std::move(one));
    }
  }
}

} // namespace

bool decodeStoreAsync(Decoder &d) {
  d.take("weak");
  const bool space = d.take("shared::cluster"), signals = d.take("mbarrier::complete_tx::bytes");
  constexpr int kCounts[] = {2, 4};
  const int vector = d.takeOneOf({"v2", "v4"});
  const Type type = d.takeType();
  const int bytes = bitsOf(type) / 8;
  if (!space || !signals || (bytes != 4 && bytes != 8) || !d.expectOperands(3, 3))
    return d.refuse("expected st.async.shared::cluster.mbarrier::complete_tx::bytes of values of 4 "
                    "or 8 bytes");
  const int count = vector < 0 ? 1 : kCounts[vector];
  if (!d.address(0, Space::Shared))
    return false;
  const int64_t offset = d.inst.imm;
  if (!d.sources(1, type, static_cast<size_t>(count)) || !d.address(2, Space::Shared))
    return false;
  d.inst.imm2 = d.inst.imm;
  d.inst.imm = offset;
  d.inst.address = 0;
  d.inst.count = static_cast<uint8_t>(count);
  d.inst.extra = static_cast<uint8_t>(bytes);
  d.inst.kind = Class::AsyncCopy;
  d.inst.run = &storeAsync;
  return true;
}

} // namespace heddle::ptx
