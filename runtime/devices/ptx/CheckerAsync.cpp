// The checker's part for mbarriers, clusters and the asynchronous engines.
//   TMA load -> bytes wait for the mbarrier's phase -> a wait for it makes them known
//   st.shared -> fence.proxy.async -> barrier -> TMA store: without the fence the store may miss it
#include "runtime/devices/ptx/Checker.h"
#include "runtime/devices/ptx/Shadow.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace heddle::ptx {

Checker::Barrier &Checker::barrierOf(Block &block, uint32_t offset) {
  return mbarriers[static_cast<uint64_t>(block.rank) * stride + offset];
}

void Checker::mbarrierInit(Warp &warp, int lane, Block &block, uint32_t offset) {
  Barrier &barrier = barrierOf(block, offset);
  barrier = Barrier();
  barrier.component = components++;
  const size_t slot = slotOf(warp);
  barrier.init = {epochOf(slot), static_cast<uint16_t>(slot * kLanes + static_cast<size_t>(lane)),
                  Write::Plain, true};
}

void Checker::mbarrierArrive(Warp &warp, int lane, Block &block, uint32_t offset) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  join(barrierOf(block, offset).arrived, released(slot, uint32_t{1} << lane));
  advance(slot); // what the lane does from now on is not handed over
}

void Checker::mbarrierPhase(Block &block, uint32_t offset, uint64_t phase) {
  if (!check)
    return;
  Barrier &barrier = barrierOf(block, offset);
  join(barrier.complete, barrier.arrived);
  barrier.arrived = Pair();
  if (barrier.complete.order.size() <= barrier.component)
    barrier.complete.order.resize(barrier.component + 1);
  barrier.complete.order[barrier.component].all = static_cast<uint32_t>(phase);
}

void Checker::mbarrierWait(Warp &warp, const Inst &inst, int lane, Block &block, uint32_t offset) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  Barrier &barrier = barrierOf(block, offset);
  Clocks &own = pairs[slot].order;
  const uint32_t complete = barrier.component < barrier.complete.order.size()
                                ? barrier.complete.order[barrier.component].all
                                : 0;
  const uint32_t known = barrier.component < own.size() ? own[barrier.component].all : 0;
  if (known > 0 && complete >= known + 3)
    find(warp, inst, uint32_t{1} << lane, "phase aliasing",
         fmt::format(
             "{} phases of the mbarrier at {} completed since this warp waited for one: the "
             "parity it waits for says nothing",
             complete - known, sharedPlace(static_cast<uint64_t>(block.rank) * stride + offset)));
  barrier.observed = std::max(barrier.observed, complete);
  join(pairs[slot], barrier.complete);
}

// ---- clusters ----

void Checker::clusterArrive(Warp &warp, uint32_t mask) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  join(clusterArrivals, released(slot, mask));
  advance(slot);
}

void Checker::clusterRelease() {
  join(clusterComplete, clusterArrivals);
  clusterArrivals = Pair();
}

void Checker::clusterWait(Warp &warp, uint32_t mask) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  join(pairs[slot], clusterComplete);
  advance(slot);
  if ((warp.live & ~mask) == 0)
    together[slot] = epochOf(slot);
}

// ---- the asynchronous engines ----

void Checker::proxyFence(Warp &warp, uint32_t mask) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  join(pairs[slot].fenced, released(slot, mask).order);
  advance(slot);
}

void Checker::mbarrierFence(Warp &warp, uint32_t mask) {
  const size_t slot = slotOf(warp);
  for (auto &[offset, barrier] : mbarriers)
    for (uint32_t rest = mask; rest && !barrier.fenced; rest &= rest - 1)
      barrier.fenced = ordered(slot, std::countr_zero(rest), barrier.init);
}

/// An engine completes the phase of an mbarrier: whoever initialised it has to have said so to the
/// asynchronous proxy.
void Checker::checkSignal(const BulkCopy &copy, const BulkCopy::Signal &signal) {
  const Barrier &barrier = barrierOf(*signal.block, signal.offset);
  const Clocks &fenced = pairs[slotOf(*copy.warp)].fenced;
  const size_t by = barrier.init.thread / kLanes;
  if (barrier.fenced || barrier.init.kind == Write::None ||
      (by < fenced.size() && fenced[by].covers(barrier.init.epoch, barrier.init.thread % kLanes)))
    return;
  find(*copy.warp, *copy.inst, uint32_t{1} << copy.lane, "missing proxy fence",
       fmt::format(
           "it completes a phase of the mbarrier at {} through the asynchronous proxy, which "
           "{} initialised with no fence.mbarrier_init or fence.proxy.async between",
           sharedPlace(static_cast<uint64_t>(signal.block->rank) * stride + signal.offset),
           whoWrote(barrier.init)));
}

/// What an engine reads has to be there for it: in order before the issue, and behind a fence.
void Checker::checkFenced(Warp &warp, const Inst &inst, int lane, uint64_t offset, uint64_t bytes) {
  const Clocks &fenced = pairs[slotOf(warp)].fenced;
  for (uint64_t at = offset; at < offset + bytes; ++at) {
    const Write &w = writes[at];
    if (w.kind == Write::None || w.kind == Write::Bulk || !w.defined)
      continue;
    const size_t by = w.thread / kLanes;
    if (by < fenced.size() && fenced[by].covers(w.epoch, w.thread % kLanes))
      continue;
    find(warp, inst, uint32_t{1} << lane, "missing proxy fence",
         fmt::format("it reads {} through the asynchronous proxy, which {} wrote with no "
                     "fence.proxy.async before the barrier between",
                     sharedPlace(at), whoWrote(w)));
    return;
  }
}

void Checker::engineRead(Warp &warp, const Inst &inst, const std::byte *host, int bytes) {
  if (!check)
    return;
  const uint64_t offset = cluster.sharedOffset(host).value_or(0);
  readShared(warp, inst, 0, offset, bytes, false);
  checkFenced(warp, inst, 0, offset, static_cast<uint64_t>(bytes));
}

void Checker::groupProduct(Warp &warp, const Inst &inst) {
  for (int k = 0; check && k < inst.results; ++k)
    accumulators[slotOf(warp)][inst.ops[k].offset] = warp.productCommits;
}

void Checker::groupWaited(Warp &warp, uint32_t keep) {
  std::erase_if(accumulators[slotOf(warp)],
                [&](const auto &entry) { return entry.second + keep < warp.productCommits; });
}

/// Accumulators that a wgmma is still to write are for other wgmmas only.
void Checker::checkAccumulators(Warp &warp, const Inst &inst, uint32_t mask) {
  const auto &pending = accumulators[slotOf(warp)];
  const bool product = inst.kind == Class::Tensor;
  for (int k = product ? inst.results : 0; k < inst.results + inst.sources; ++k)
    if (inst.ops[k].base == Operand::Frame && pending.contains(inst.ops[k].offset)) {
      find(warp, inst, mask, "missing wait",
           "it uses a register that a wgmma is still to write: no wgmma.wait_group covers it");
      return;
    }
}

void Checker::checkBulkGlobal(const BulkCopy &copy, const BulkCopy::Piece &piece) {
  const Memory &memory = *cluster.launch.memory;
  Buffer *buffer = piece.address ? memory.find(piece.address) : nullptr;
  if (!buffer)
    return;
  const uint64_t offset = piece.address - buffer->address;
  if (copy.kind != BulkCopy::Kind::Store && !buffer->shadow->initialised(offset, piece.bytes))
    find(*copy.warp, *copy.inst, uint32_t{1} << copy.lane, "uninitialised global memory",
         fmt::format("it reads {}, which nobody wrote", memory.describe(piece.address)));
  if (copy.kind != BulkCopy::Kind::Load)
    buffer->shadow->set(offset, piece.bytes);
}

void Checker::bulkIssued(const BulkCopy &copy) {
  if (counts && copy.kind != BulkCopy::Kind::Arrive) {
    traffic.globalRequests += std::any_of(copy.pieces.begin(), copy.pieces.end(),
                                          [](const auto &piece) { return piece.address != 0; });
    for (const BulkCopy::Piece &piece : copy.pieces)
      if (piece.address) {
        traffic.globalSectors +=
            (piece.address % 32 + piece.bytes + 31) / 32; // whole rows: each sector once
        traffic.globalBytes += piece.bytes;
      }
  }
  if (!check)
    return;
  const size_t slot = slotOf(*copy.warp);
  for (const BulkCopy::Signal &signal : copy.signals)
    if (copy.kind == BulkCopy::Kind::Load && !copy.generic)
      checkSignal(copy, signal);
  uint64_t low = ~uint64_t{0}, high = 0;
  for (const BulkCopy::Piece &piece : copy.pieces) {
    checkBulkGlobal(copy, piece);
    const bool loads = copy.kind == BulkCopy::Kind::Load;
    const auto to = cluster.sharedOffset(piece.to);
    const auto from = piece.from ? cluster.sharedOffset(piece.from) : std::nullopt;
    if (from) {
      readShared(*copy.warp, *copy.inst, copy.lane, *from, static_cast<int>(piece.bytes), false);
      checkFenced(*copy.warp, *copy.inst, copy.lane, *from, piece.bytes);
      low = std::min(low, *from);
      high = std::max(high, *from + piece.bytes);
    }
    if (loads && to) {
      writeShared(*copy.warp, *copy.inst, copy.lane, *to, static_cast<int>(piece.bytes),
                  Write::Bulk);
      const Block &block = cluster.blockAt(*to);
      // The signal that hears of this piece is the one in the same block.
      uint16_t component = 0;
      for (const BulkCopy::Signal &signal : copy.signals)
        if (signal.block == &block || copy.signals.size() == 1)
          component = static_cast<uint16_t>(barrierOf(*signal.block, signal.offset).component);
      for (uint64_t at = *to; at < *to + piece.bytes; ++at)
        writes[at] = {kNever, component, Write::Bulk, true};
    }
  }
  if (copy.kind == BulkCopy::Kind::Store || copy.kind == BulkCopy::Kind::Reduce)
    if (low < high)
      readings.push_back({low, high - low, copy.warp, copy.lane, copy.group, copy.inst});
  advance(slot);
}

void Checker::bulkDone(const BulkCopy &copy, const BulkCopy::Signal &signal, uint64_t phase) {
  if (!check)
    return;
  Barrier &barrier = barrierOf(*signal.block, signal.offset);
  barrier.loads = static_cast<uint32_t>(phase) + 1;
  barrier.load = copy.inst;
  barrier.loader = copy.warp;
  for (const BulkCopy::Piece &piece : copy.pieces) {
    const auto to = cluster.sharedOffset(piece.to);
    if (!to)
      continue;
    for (uint64_t at = *to; at < *to + piece.bytes; ++at) {
      Write &w = writes[at];
      if (w.kind == Write::Bulk && w.thread == barrier.component && w.epoch == kNever)
        w.epoch = static_cast<uint32_t>(phase) + 1;
    }
  }
}

/// The bytes were read by the time the thread goes on: they count as read by it.
void Checker::bulkWaited(Warp &warp, uint32_t mask, uint32_t keep) {
  if (!check)
    return;
  const size_t slot = slotOf(warp), warps = pairs.size();
  std::erase_if(readings, [&](const Reading &r) {
    const bool over =
        r.warp == &warp && (mask >> r.lane & 1) && r.group + keep < warp.bulkCommits[r.lane];
    for (uint64_t at = r.offset; over && at < r.offset + r.bytes; ++at)
      reads[at * warps + slot] = epochOf(slot) << 6 | static_cast<uint32_t>(r.lane);
    return over;
  });
}

} // namespace heddle::ptx
