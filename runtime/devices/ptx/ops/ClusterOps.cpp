// Clusters: mapa, getctarank, barrier.cluster (in Control.cpp's `barrier`), st.async, red.async.
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

namespace heddle::ptx {

namespace {

/// ops: d, a, rank: the address of the same variable in another block of the cluster.
template <class T> void mapAddress(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]);
  const uint32_t *rank = w.src<uint32_t>(i.ops[2]);
  constexpr T kRank = ~static_cast<T>(((uint64_t{1} << 32) - 1) ^ ((uint64_t{1} << kRankBits) - 1));
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if (rank[l] >= w.block->cluster.blocks.size()) {
      w.fail(i, uint32_t{1} << l,
             fmt::format("mapa to block {} of a cluster of {}", rank[l],
                         w.block->cluster.blocks.size()));
      return;
    }
    d[l] = static_cast<T>((a[l] & kRank) | static_cast<T>(rank[l] + 1) << kRankBits);
  }
}

bool decodeMapa(Decoder &d) {
  d.take("shared::cluster");
  const Type type = d.takeType();
  d.inst.kind = Class::Move;
  d.inst.run = bitsOf(type) == 64   ? &mapAddress<uint64_t>
               : bitsOf(type) == 32 ? &mapAddress<uint32_t>
                                    : nullptr;
  if (!d.inst.run || !d.expectOperands(3, 3))
    return d.refuse("expected mapa[.shared::cluster].u32 or .u64 d, a, rank");
  return d.result(0, type) && d.source(1, type) && d.source(2, Type::U32);
}

template <class T> void rankOf(Warp &w, const Inst &i, uint32_t mask) {
  const T *a = w.src<T>(i.ops[1]);
  forLanes(mask, [&](int l) {
    const uint32_t rank = static_cast<uint32_t>(a[l]) >> kRankBits;
    w.dst<uint32_t>(i.ops[0])[l] = rank ? rank - 1 : static_cast<uint32_t>(w.block->rank);
  });
}

bool decodeRank(Decoder &d) {
  d.take("shared::cluster");
  const Type type = d.takeType();
  d.inst.kind = Class::Move;
  d.inst.run = bitsOf(type) == 64 ? &rankOf<uint64_t> : &rankOf<uint32_t>;
  return d.expectOperands(2, 2) && d.result(0, Type::U32) && d.source(1, type);
}

void arriveCluster(Warp &w, const Inst &i, uint32_t mask) {
  if (w.clusterArrived & mask)
    return w.fail(i, w.clusterArrived & mask, "barrier.cluster.arrive twice before its wait");
  if (w.observer && !i.variant)
    w.observer->clusterArrive(w, mask);
  w.block->cluster.arriveAtClusterBarrier(w, mask);
}

void waitCluster(Warp &w, const Inst &, uint32_t mask) {
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    if (w.clusterPhase[std::countr_zero(rest)] > w.block->cluster.clusterPhase) {
      w.waited = Warp::Waited::Must;
      return;
    }
  if (w.observer)
    w.observer->clusterWait(w, mask);
}

constexpr Opcode kOpcodes[] = {{"mapa", decodeMapa}, {"getctarank", decodeRank}};

} // namespace

/// barrier.cluster.arrive[.release|.relaxed][.aligned], barrier.cluster.wait[.acquire][.aligned]
bool decodeClusterBarrier(Decoder &d) {
  const bool arrives = d.take("arrive"), waits = d.take("wait");
  d.take("release");
  d.take("acquire");
  d.take("aligned");
  d.inst.variant = d.take("relaxed");
  d.inst.kind = Class::Barrier;
  d.inst.run = arrives ? &arriveCluster : &waitCluster;
  d.inst.flow = waits ? Flow::Wait : Flow::Plain;
  if (arrives == waits)
    return d.refuse("expected barrier.cluster.arrive or .wait");
  return d.expectOperands(0, 0);
}

std::span<const Opcode> clusterOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
