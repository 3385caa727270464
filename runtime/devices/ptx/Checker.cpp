// Findings of the checker, one for each kind and line, with how often it came.
//   race: warp 2 reads byte 128 of tile (shared) that warp 0 wrote with no
//   barrier between
#include "runtime/devices/ptx/Checker.h"

#include "runtime/devices/ptx/Shadow.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::ptx {

namespace {

constexpr uint32_t kSeveral = 32; // in place of a lane: more than one

} // namespace

void Checker::Known::join(const Known &o) {
  const uint32_t top = std::max(all, o.all);
  // Lanes known for longer than all are: of both, where both are.
  if (o.some > top && some > top) {
    lanes |= o.lanes;
    some = std::max(some, o.some);
  } else if (o.some > top) {
    lanes = o.lanes;
    some = o.some;
  }
  all = top;
}

void Checker::join(Clocks &into, const Clocks &from) {
  if (into.size() < from.size())
    into.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i)
    into[i].join(from[i]);
}

void Checker::join(Pair &into, const Pair &from) {
  join(into.order, from.order);
  join(into.fenced, from.fenced);
}

Checker::Checker(Cluster &cluster, bool check, bool counts, uint64_t stride)
    : cluster(cluster), program(*cluster.launch.program), check(check), counts(counts),
      stride(stride), warpsEach(cluster.blocks[0]->warps.size()) {
  const size_t warps = warpsEach * cluster.blocks.size();
  for (const auto &f : program.functions)
    for (const Inst &inst : f->code)
      fences =
          fences || (inst.kind == Class::Barrier && inst.flow == Flow::Plain && inst.variant == 0);
  pairs.assign(warps, {Clocks(warps), Clocks(warps)});
  together.assign(warps, 0);
  accumulators.resize(warps);
  if (check) {
    writes.resize(stride * cluster.blocks.size());
    reads.assign(stride * cluster.blocks.size() * warps, 0);
  }
}

/// Clocks go on from block to block, so that what an earlier block left is
/// older than everything.
void Checker::start() {
  uint32_t latest = 0;
  for (size_t w = 0; w < pairs.size(); ++w)
    latest = std::max(latest, epochOf(w));
  for (size_t w = 0; w < pairs.size(); ++w) {
    pairs[w].order.assign(pairs.size(), {latest + 1});
    pairs[w].fenced = pairs[w].order;
    pairs[w].order[w].all = together[w] = latest + 2;
  }
  for (Write &write : writes)
    write = Write();
  arrivals.clear();
  mbarriers.clear();
  readings.clear();
  for (auto &registers : accumulators)
    registers.clear();
  clusterArrivals = clusterComplete = Pair();
  components = pairs.size();
  globalWrites.clear();
  atomicClocks.clear();
}

void Checker::finish() {
  if (!check)
    return;
  for (const auto &block : cluster.blocks)
    for (const auto &warp : block->warps)
      for (const PendingCopy &copy : warp->copies)
        find(*warp, *copy.inst, copy.mask, "pending copy",
             "asynchronous copies are still pending when the threads exit");
  for (const Reading &r : readings)
    find(*r.warp, *r.inst, uint32_t{1} << r.lane, "pending copy",
         "a bulk copy may still read shared memory when the threads exit: no "
         "cp.async.bulk.wait_group of its thread covers it");
  for (const auto &[offset, barrier] : mbarriers)
    if (barrier.loads > barrier.observed)
      find(*barrier.loader, *barrier.load, 1, "pending copy",
           fmt::format("nobody waits for the phase of the mbarrier at {} that says its bytes are "
                       "there",
                       sharedPlace(offset)));
}

void Checker::find(Warp &warp, const Inst &inst, uint32_t lanes, const char *kind,
                   std::string message) {
  Finding &finding = findings[{kind, inst.line}];
  if (finding.times++ > 0)
    return;
  finding.kind = kind;
  finding.message = std::move(message);
  finding.line = static_cast<int>(inst.line);
  const auto &files = program.files;
  if (inst.cuda.line > 0 && static_cast<size_t>(inst.cuda.file) < files.size())
    finding.cuda = fmt::format("{}:{}", files[static_cast<size_t>(inst.cuda.file)], inst.cuda.line);
  std::copy_n(warp.block->id, 3, finding.block);
  finding.warp = warp.index;
  finding.lanes = lanes;
}

// ---- registers ----

uint32_t Checker::definedLanes(const Warp &warp, const Operand &o) const {
  return o.base == Operand::Frame ? warp.frame->defined[o.offset / 4] : kAllLanes;
}

/// Lanes of `mask` whose data operands (all but the address) hold values.
uint32_t Checker::valueDefined(Warp &warp, const Inst &inst, uint32_t mask) const {
  for (int k = inst.results; k < inst.results + inst.sources; ++k)
    mask &= definedLanes(warp, inst.ops[k]);
  return mask;
}

namespace {

bool isMemory(const Inst &inst) {
  return (inst.kind >= Class::GlobalLoad && inst.kind <= Class::AsyncCopy) ||
         inst.kind == Class::MatrixMove;
}

} // namespace

void Checker::before(Warp &warp, const Inst &inst, uint32_t mask) {
  if (counts)
    traffic.tensorFlops += inst.flops;
  if (!check)
    return;
  if (inst.guard != Inst::kNever) {
    const uint32_t lost = mask & ~warp.frame->defined[inst.guard / 4];
    if (lost)
      find(warp, inst, lost, "uninitialised register",
           "a predicate that was never written decides whether this is "
           "executed");
  }
  if (!accumulators[slotOf(warp)].empty())
    checkAccumulators(warp, inst, mask);
  sourceDefined = valueDefined(warp, inst, mask);
  if (sourceDefined == mask)
    return;
  const uint32_t lost = mask & ~sourceDefined;
  if (inst.kind == Class::Tensor)
    find(warp, inst, lost, "uninitialised register", "a fragment of the product was never written");
  else if (inst.flow == Flow::Barrier || inst.flow == Flow::BranchIndexed)
    find(warp, inst, lost, "uninitialised register", "its operand was never written");
  else if (isMemory(inst) && inst.space != Space::Param &&
           inst.address < inst.results + inst.sources &&
           (mask & ~definedLanes(warp, inst.ops[inst.address])))
    find(warp, inst, lost, "uninitialised register", "its address was never written");
  else if (inst.kind == Class::GlobalStore || inst.kind == Class::Atomic)
    find(warp, inst, lost, "uninitialised register",
         "a value that was never written goes to memory");
}

void Checker::after(Warp &warp, const Inst &inst, uint32_t mask) {
  if (!check || inst.results == 0 || warp.finished())
    return;
  if (inst.flow != Flow::Plain && inst.flow != Flow::Collective && inst.flow != Flow::Wait)
    return;
  // Loads are judged where they read, and shuffles mix lanes: their results
  // count as values.
  const bool mixed = isMemory(inst) || inst.kind == Class::Mbarrier ||
                     inst.flow == Flow::Collective || inst.kind == Class::Tensor;
  const uint32_t defined = mixed ? mask : sourceDefined;
  for (int k = 0; k < inst.results; ++k) {
    uint32_t &lanes = warp.frame->defined[inst.ops[k].offset / 4];
    lanes = (lanes & ~mask) | defined;
  }
}

void Checker::called(Warp &, Frame &callee, const Function &function) {
  for (const FrameVariable &v : function.params)
    if (v.inRegister)
      callee.defined[v.reg.offset / 4] = kAllLanes;
}

void Checker::returned(Frame &caller, const CallSite &site, uint32_t mask) {
  for (const FrameVariable &v : site.results)
    if (v.inRegister)
      caller.defined[v.reg.offset / 4] |= mask;
}

// ---- order ----

bool Checker::ordered(size_t slot, int lane, uint32_t epoch, int otherWarp, int otherLane) const {
  const Clocks &own = pairs[slot].order;
  if (static_cast<size_t>(otherWarp) == slot)
    return otherLane == lane || epoch < together[slot];
  return own[static_cast<size_t>(otherWarp)].covers(epoch, otherLane);
}

bool Checker::ordered(size_t slot, int lane, const Write &w) const {
  if (w.kind != Write::Bulk)
    return ordered(slot, lane, w.epoch, w.thread / kLanes, w.thread % kLanes);
  const Clocks &own = pairs[slot].order;
  return w.thread < own.size() && w.epoch <= own[w.thread].all;
}

void Checker::advance(size_t slot) { ++pairs[slot].order[slot].all; }

Checker::Pair Checker::released(size_t slot, uint32_t lanes) const {
  Pair pair = pairs[slot];
  Known &own = pair.order[slot];
  const Warp &warp = *cluster.blocks[slot / warpsEach]->warps[slot % warpsEach];
  if (warp.live & ~lanes) // the others' accesses since they met are not handed over
    own = {together[slot] - 1, own.all, lanes};
  return pair;
}

void Checker::warpBarrier(Warp &warp, uint32_t lanes) {
  (void)lanes;
  const size_t slot = slotOf(warp);
  advance(slot);
  together[slot] = epochOf(slot);
}

void Checker::barrierArrive(Warp &warp, const Inst &inst, uint32_t mask, int number) {
  if (!check)
    return;
  if (inst.extra && mask != warp.live)
    find(warp, inst, warp.live & ~mask, "barrier divergence",
         fmt::format("barrier {} is reached by some lanes of a warp only", number));
  const size_t slot = slotOf(warp);
  arrivals[{warp.block->rank, number}].push_back(pairs[slot]);
  // What the warp does after arriving is not ordered by this barrier.
  advance(slot);
}

void Checker::barrierRelease(Block &block, int number, const std::vector<uint32_t> &waiting) {
  if (!check)
    return;
  Pair joined;
  for (const Pair &p : arrivals[{block.rank, number}])
    join(joined, p);
  arrivals[{block.rank, number}].clear();
  for (size_t w = 0; w < waiting.size(); ++w) {
    if (!waiting[w])
      continue;
    const size_t slot = static_cast<size_t>(block.rank) * warpsEach + w;
    join(pairs[slot], joined);
    advance(slot);
    together[slot] = epochOf(slot);
  }
}

/// An atomic of a kernel with fences orders its warp after whoever used the same address before:
/// the way of locks and counters. (Every such atomic counts as acquire and release.)
void Checker::synchronise(Warp &warp, uint32_t mask, const uint64_t *addresses) {
  const size_t slot = slotOf(warp);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Pair &there = atomicClocks[addresses[std::countr_zero(rest)]];
    join(there, pairs[slot]);
    join(pairs[slot], there);
  }
  advance(slot);
  together[slot] = epochOf(slot);
}

// ---- shared memory ----

std::string Checker::sharedPlace(uint64_t offset) const {
  if (cluster.blocks.size() > 1)
    return fmt::format("{} of block {} of the cluster", sharedPlaceInBlock(offset % stride),
                       offset / stride);
  return sharedPlaceInBlock(offset);
}

std::string Checker::whoWrote(const Write &w) const {
  const size_t warp = w.thread / kLanes;
  if (cluster.blocks.size() > 1)
    return fmt::format("warp {} of block {} lane {}", warp % warpsEach, warp / warpsEach,
                       w.thread % kLanes);
  return fmt::format("warp {} lane {}", warp, w.thread % kLanes);
}

std::string Checker::sharedPlaceInBlock(uint64_t offset) const {
  const auto &names = program.sharedNames;
  const std::pair<std::string, int64_t> *best = nullptr;
  for (const auto &name : names)
    if (static_cast<uint64_t>(name.second) <= offset)
      best = &name;
  const int64_t dynamic = program.dynamicOffset - static_cast<int64_t>(kSharedBase);
  if (!best || offset >= static_cast<uint64_t>(dynamic))
    return fmt::format("byte {} of dynamic shared memory", static_cast<int64_t>(offset) - dynamic);
  return fmt::format("byte {} of {}", static_cast<int64_t>(offset) - best->second, best->first);
}

void Checker::readShared(Warp &warp, const Inst &inst, int lane, uint64_t offset, int bytes,
                         bool atomic) {
  const size_t warps = pairs.size(), slot = slotOf(warp);
  for (int k = 0; k < bytes; ++k) {
    const uint64_t at = offset + static_cast<uint64_t>(k);
    const Write &w = writes[at];
    if (w.kind == Write::Pending)
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it reads {}, which an asynchronous copy of {} is to write: no wait of that "
                       "thread covers it",
                       sharedPlace(at), whoWrote(w)));
    else if (w.kind == Write::Bulk && !ordered(slot, lane, w))
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it reads {}, which a bulk copy writes: the phase of its mbarrier was not "
                       "waited for",
                       sharedPlace(at)));
    else if (w.kind != Write::None && !ordered(slot, lane, w) &&
             !(w.kind == Write::Atomic && atomic))
      find(warp, inst, 1u << lane, "race",
           fmt::format("it reads {}, which {} wrote with no barrier between", sharedPlace(at),
                       whoWrote(w)));
    else if (!w.defined)
      find(warp, inst, 1u << lane, "uninitialised shared memory",
           fmt::format("it reads {}, which nobody wrote", sharedPlace(at)));
    if (atomic)
      continue; // recorded as a write
    uint32_t &read = reads[at * warps + slot];
    const uint32_t epoch = epochOf(slot);
    const uint32_t who = read >> 6 == epoch && (read & 63) != static_cast<uint32_t>(lane)
                             ? kSeveral
                             : static_cast<uint32_t>(lane);
    read = epoch << 6 | who;
  }
}

void Checker::writeShared(Warp &warp, const Inst &inst, int lane, uint64_t offset, int bytes,
                          Write::Kind kind) {
  const size_t warps = pairs.size(), slot = slotOf(warp);
  for (int k = 0; k < bytes; ++k) {
    const uint64_t at = offset + static_cast<uint64_t>(k);
    const Write &w = writes[at];
    if (w.kind == Write::Pending)
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it writes {}, which an asynchronous copy of {} is still to write",
                       sharedPlace(at), whoWrote(w)));
    else if (w.kind == Write::Bulk && !ordered(slot, lane, w))
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it writes {}, which a bulk copy writes: the phase of its mbarrier was not "
                       "waited for",
                       sharedPlace(at)));
    else if (w.kind != Write::None && !ordered(slot, lane, w) &&
             !(w.kind == Write::Atomic && kind == Write::Atomic))
      find(warp, inst, 1u << lane, "race",
           fmt::format("it writes {}, which {} wrote with no barrier between", sharedPlace(at),
                       whoWrote(w)));
    for (size_t v = 0; v < warps; ++v) {
      const uint32_t read = reads[at * warps + v];
      if (read == 0)
        continue;
      const int readLane = static_cast<int>(read & 63);
      const bool known =
          readLane == static_cast<int>(kSeveral)
              ? (v == slot ? (read >> 6) < together[slot] : (read >> 6) <= pairs[slot].order[v].all)
              : ordered(slot, lane, read >> 6, static_cast<int>(v), readLane);
      if (!known)
        find(warp, inst, 1u << lane, "race",
             fmt::format("it writes {}, which warp {} reads with no barrier between",
                         sharedPlace(at), v % warpsEach));
    }
  }
  for (const Reading &r : readings)
    if (offset < r.offset + r.bytes && r.offset < offset + static_cast<uint64_t>(bytes))
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it writes {}, which a bulk copy of warp {} lane {} may still read: no "
                       "cp.async.bulk.wait_group of that thread covers it",
                       sharedPlace(offset), r.warp->index, r.lane));
}

void Checker::checkShared(Warp &warp, const Inst &inst, uint32_t mask, const uint64_t *offsets,
                          int bytes, Warp::Access access) {
  const size_t slot = slotOf(warp);
  const Write::Kind kind = access == Warp::Access::Async    ? Write::Pending
                           : access == Warp::Access::Atomic ? Write::Atomic
                                                            : Write::Plain;
  // Judge all lanes by what was before this instruction, then record them.
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if (inst.kind == Class::Mbarrier && access == Warp::Access::Atomic)
      if (const auto found = mbarriers.find(offsets[l]);
          found != mbarriers.end() && !ordered(slot, l, found->second.init))
        find(warp, inst, 1u << l, "race",
             fmt::format("it uses the mbarrier at {}, which {} initialised with no barrier between",
                         sharedPlace(offsets[l]), whoWrote(found->second.init)));
    if (access == Warp::Access::Read || access == Warp::Access::Atomic)
      readShared(warp, inst, l, offsets[l], bytes, access == Warp::Access::Atomic);
    if (access != Warp::Access::Read)
      writeShared(warp, inst, l, offsets[l], bytes, kind);
  }
  if (access == Warp::Access::Read)
    return;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const bool defined = inst.kind == Class::MatrixMove ? sourceDefined == kAllLanes
                         : inst.kind == Class::Mbarrier ? true
                                                        : (sourceDefined >> l & 1) != 0;
    for (int k = 0; k < bytes; ++k)
      writes[offsets[l] + static_cast<uint64_t>(k)] = {
          epochOf(slot), static_cast<uint16_t>(slot * kLanes + static_cast<size_t>(l)), kind,
          defined || access != Warp::Access::Write};
  }
}

void Checker::copied(Warp &warp, const PendingCopy &copy, uint32_t lanes) {
  if (!check)
    return;
  const size_t slot = slotOf(warp);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const uint64_t offset = *cluster.sharedOffset(copy.to[l]);
    const uint16_t thread = static_cast<uint16_t>(slot * kLanes + static_cast<size_t>(l));
    for (int k = 0; k < copy.bytes; ++k) {
      Write &w = writes[offset + static_cast<uint64_t>(k)];
      if (w.kind == Write::Pending && w.thread == thread)
        w = {epochOf(slot), thread, Write::Plain, true};
    }
  }
}

// ---- global memory ----

void Checker::checkGlobal(Warp &warp, const Inst &inst, uint32_t mask, const uint64_t *addresses,
                          int bytes, Warp::Access access) {
  const Memory &memory = *cluster.launch.memory;
  const size_t slot = slotOf(warp);
  const uint32_t epoch = epochOf(slot);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    Buffer *buffer = memory.find(addresses[l]);
    if (!buffer)
      continue;
    const uint64_t offset = addresses[l] - buffer->address;
    if (access != Warp::Access::Write &&
        !buffer->shadow->initialised(offset, static_cast<uint64_t>(bytes)))
      find(warp, inst, 1u << l, "uninitialised global memory",
           fmt::format("it reads {}, which nobody wrote", memory.describe(addresses[l])));
    const uint64_t first = addresses[l] / 4,
                   last = (addresses[l] + static_cast<uint64_t>(bytes) - 1) / 4;
    for (uint64_t word = first; word <= last && !globalWrites.empty() && bytes >= 4; ++word) {
      const auto found = globalWrites.find(word);
      if (found != globalWrites.end() && access != Warp::Access::Atomic &&
          !ordered(slot, l, found->second.epoch, found->second.thread / kLanes,
                   found->second.thread % kLanes))
        find(warp, inst, 1u << l, "race",
             fmt::format("it {} {}, which warp {} lane {} wrote with no barrier between",
                         access == Warp::Access::Read ? "reads" : "writes",
                         memory.describe(addresses[l]), found->second.thread / kLanes,
                         found->second.thread % kLanes));
    }
  }
  if (access == Warp::Access::Read)
    return;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    Buffer *buffer = memory.find(addresses[l]);
    if (!buffer)
      continue;
    buffer->shadow->set(addresses[l] - buffer->address, static_cast<uint64_t>(bytes));
    if (access == Warp::Access::Write && bytes >= 4)
      for (uint64_t word = addresses[l] / 4;
           word <= (addresses[l] + static_cast<uint64_t>(bytes) - 1) / 4; ++word)
        globalWrites[word] = {epoch, static_cast<uint16_t>(slot * kLanes + static_cast<size_t>(l))};
  }
}

void Checker::access(Warp &warp, const Inst &inst, uint32_t mask, const Warp::Addresses &at,
                     int bytes, Warp::Access access) {
  // Generic addresses say by their window what they mean; all lanes are taken
  // to agree.
  const uint64_t slot = at.address[std::countr_zero(mask)] >> kSlotBits;
  const bool global = slot >= kFirstSlot;
  const bool shared = cluster.sharedOffset(at.host[std::countr_zero(mask)]).has_value();
  if (counts && shared) {
    const Wavefronts w = sharedWavefronts(at.address, mask, bytes);
    ++traffic.sharedRequests;
    traffic.sharedWavefronts += static_cast<uint64_t>(w.taken);
    traffic.sharedIdeal += static_cast<uint64_t>(w.ideal);
  }
  if (counts && global) {
    ++traffic.globalRequests;
    traffic.globalSectors += static_cast<uint64_t>(globalSectors(at.address, mask, bytes));
    traffic.globalBytes += static_cast<uint64_t>(bytes * std::popcount(mask));
  }
  if (!check)
    return;
  if (access == Warp::Access::Atomic && fences && inst.kind != Class::Mbarrier)
    synchronise(warp, mask, at.address);
  if (shared) {
    uint64_t offsets[kLanes];
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      offsets[l] = cluster.sharedOffset(at.host[l]).value_or(0);
    }
    checkShared(warp, inst, mask, offsets, bytes, access);
  } else if (global) {
    checkGlobal(warp, inst, mask, at.address, bytes, access);
  }
}

void Checker::addTo(Report &report) const {
  report.traffic.add(traffic);
  for (const auto &[key, finding] : findings) {
    const auto same =
        std::find_if(report.findings.begin(), report.findings.end(), [&](const Finding &f) {
          return f.kind == finding.kind && f.line == finding.line;
        });
    if (same == report.findings.end())
      report.findings.push_back(finding);
    else
      same->times += finding.times;
  }
}

} // namespace heddle::ptx
