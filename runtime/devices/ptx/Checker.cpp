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

Checker::Checker(Block &block, bool check, bool counts)
    : block(block), check(check), counts(counts) {
  const size_t warps = block.warps.size();
  for (const auto &f : block.program.functions)
    for (const Inst &inst : f->code)
      fences = fences || (inst.kind == Class::Barrier && inst.flow == Flow::Plain);
  clocks.assign(warps, Clocks(warps, 0));
  if (check) {
    writes.resize(block.sharedBytes);
    reads.assign(block.sharedBytes * warps, 0);
  }
}

/// Clocks go on from block to block, so that what an earlier block left is
/// older than everything.
void Checker::start() {
  uint32_t latest = 0;
  for (const Clocks &c : clocks)
    latest = std::max(latest, *std::max_element(c.begin(), c.end()));
  for (size_t w = 0; w < clocks.size(); ++w) {
    std::fill(clocks[w].begin(), clocks[w].end(), latest + 1);
    clocks[w][w] = latest + 2;
  }
  for (Write &write : writes)
    write = Write();
  arrivals.clear();
  globalWrites.clear();
  atomicClocks.clear();
}

void Checker::finish() {
  if (!check)
    return;
  for (const auto &warp : block.warps)
    for (const PendingCopy &copy : warp->copies)
      find(*warp, *copy.inst, copy.mask, "pending copy",
           "asynchronous copies are still pending when the threads exit");
}

void Checker::find(Warp &warp, const Inst &inst, uint32_t lanes, const char *kind,
                   std::string message) {
  Finding &finding = findings[{kind, inst.line}];
  if (finding.times++ > 0)
    return;
  finding.kind = kind;
  finding.message = std::move(message);
  finding.line = static_cast<int>(inst.line);
  const auto &files = block.program.files;
  if (inst.cuda.line > 0 && static_cast<size_t>(inst.cuda.file) < files.size())
    finding.cuda = fmt::format("{}:{}", files[static_cast<size_t>(inst.cuda.file)], inst.cuda.line);
  std::copy_n(block.id, 3, finding.block);
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
  if (inst.flow != Flow::Plain && inst.flow != Flow::Collective)
    return;
  // Loads are judged where they read, and shuffles mix lanes: their results
  // count as values.
  const bool mixed = isMemory(inst) || inst.flow == Flow::Collective || inst.kind == Class::Tensor;
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

bool Checker::ordered(const Warp &warp, int lane, uint32_t epoch, int otherWarp,
                      int otherLane) const {
  const Clocks &own = clocks[static_cast<size_t>(warp.index)];
  if (otherWarp == warp.index)
    return otherLane == lane || epoch < own[static_cast<size_t>(warp.index)];
  return epoch <= own[static_cast<size_t>(otherWarp)];
}

void Checker::warpBarrier(Warp &warp, uint32_t lanes) {
  (void)lanes;
  ++clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
}

void Checker::barrierArrive(Warp &warp, const Inst &inst, uint32_t mask, int number) {
  if (!check)
    return;
  if (inst.extra && mask != warp.live)
    find(warp, inst, warp.live & ~mask, "barrier divergence",
         fmt::format("barrier {} is reached by some lanes of a warp only", number));
  arrivals[number].push_back(clocks[static_cast<size_t>(warp.index)]);
  // What the warp does after arriving is not ordered by this barrier.
  ++clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
}

void Checker::barrierRelease(int number, const std::vector<uint32_t> &waiting) {
  if (!check)
    return;
  Clocks joined(clocks.size(), 0);
  for (const Clocks &c : arrivals[number])
    for (size_t v = 0; v < joined.size(); ++v)
      joined[v] = std::max(joined[v], c[v]);
  arrivals[number].clear();
  for (size_t w = 0; w < clocks.size(); ++w) {
    if (!waiting[w])
      continue;
    for (size_t v = 0; v < joined.size(); ++v)
      clocks[w][v] = std::max(clocks[w][v], joined[v]);
    ++clocks[w][w];
  }
}

/// An atomic of a kernel with fences orders its warp after whoever used the same address before:
/// the way of locks and counters. (Every such atomic counts as acquire and release.)
void Checker::synchronise(Warp &warp, uint32_t mask, const uint64_t *addresses) {
  Clocks &own = clocks[static_cast<size_t>(warp.index)];
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Clocks &there = atomicClocks[addresses[std::countr_zero(rest)]];
    there.resize(own.size(), 0);
    for (size_t v = 0; v < own.size(); ++v)
      own[v] = there[v] = std::max(own[v], there[v]);
  }
  ++own[static_cast<size_t>(warp.index)];
}

// ---- shared memory ----

std::string Checker::sharedPlace(uint64_t offset) const {
  const auto &names = block.program.sharedNames;
  const std::pair<std::string, int64_t> *best = nullptr;
  for (const auto &name : names)
    if (static_cast<uint64_t>(name.second) <= offset)
      best = &name;
  const int64_t dynamic = block.program.dynamicOffset - static_cast<int64_t>(kSharedBase);
  if (!best || offset >= static_cast<uint64_t>(dynamic))
    return fmt::format("byte {} of dynamic shared memory", static_cast<int64_t>(offset) - dynamic);
  return fmt::format("byte {} of {}", static_cast<int64_t>(offset) - best->second, best->first);
}

void Checker::readShared(Warp &warp, const Inst &inst, int lane, uint64_t offset, int bytes) {
  const size_t warps = clocks.size();
  for (int k = 0; k < bytes; ++k) {
    const Write &w = writes[offset + static_cast<uint64_t>(k)];
    const int by = w.thread / kLanes, byLane = w.thread % kLanes;
    if (w.kind == Write::Pending)
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it reads {}, which an asynchronous copy of warp {} "
                       "lane {} is to write: no "
                       "wait of that thread covers it",
                       sharedPlace(offset + static_cast<uint64_t>(k)), by, byLane));
    else if (w.kind != Write::None && !ordered(warp, lane, w.epoch, by, byLane) &&
             !(w.kind == Write::Atomic && inst.kind == Class::Atomic))
      find(warp, inst, 1u << lane, "race",
           fmt::format("it reads {}, which warp {} lane {} wrote with no "
                       "barrier between",
                       sharedPlace(offset + static_cast<uint64_t>(k)), by, byLane));
    else if (!w.defined)
      find(warp, inst, 1u << lane, "uninitialised shared memory",
           fmt::format("it reads {}, which nobody wrote",
                       sharedPlace(offset + static_cast<uint64_t>(k))));
    if (inst.kind == Class::Atomic)
      continue; // recorded as a write
    uint32_t &read =
        reads[(offset + static_cast<uint64_t>(k)) * warps + static_cast<size_t>(warp.index)];
    const uint32_t epoch = clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
    const uint32_t who = read >> 6 == epoch && (read & 63) != static_cast<uint32_t>(lane)
                             ? kSeveral
                             : static_cast<uint32_t>(lane);
    read = epoch << 6 | who;
  }
}

void Checker::writeShared(Warp &warp, const Inst &inst, int lane, uint64_t offset, int bytes,
                          Write::Kind kind) {
  const size_t warps = clocks.size();
  for (int k = 0; k < bytes; ++k) {
    const uint64_t at = offset + static_cast<uint64_t>(k);
    const Write &w = writes[at];
    const int by = w.thread / kLanes, byLane = w.thread % kLanes;
    if (w.kind == Write::Pending)
      find(warp, inst, 1u << lane, "missing wait",
           fmt::format("it writes {}, which an asynchronous copy of warp {} "
                       "lane {} is still to "
                       "write",
                       sharedPlace(at), by, byLane));
    else if (w.kind != Write::None && !ordered(warp, lane, w.epoch, by, byLane) &&
             !(w.kind == Write::Atomic && kind == Write::Atomic))
      find(warp, inst, 1u << lane, "race",
           fmt::format("it writes {}, which warp {} lane {} wrote with no "
                       "barrier between",
                       sharedPlace(at), by, byLane));
    for (size_t v = 0; v < warps; ++v) {
      const uint32_t read = reads[at * warps + v];
      if (read == 0)
        continue;
      const int readLane = static_cast<int>(read & 63);
      if (!ordered(warp, lane, read >> 6, static_cast<int>(v), readLane))
        find(warp, inst, 1u << lane, "race",
             fmt::format("it writes {}, which warp {} reads with no barrier between",
                         sharedPlace(at), v));
    }
  }
}

void Checker::checkShared(Warp &warp, const Inst &inst, uint32_t mask, const uint64_t *offsets,
                          int bytes, Warp::Access access) {
  const uint32_t epoch = clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
  const Write::Kind kind = access == Warp::Access::Async    ? Write::Pending
                           : access == Warp::Access::Atomic ? Write::Atomic
                                                            : Write::Plain;
  // Judge all lanes by what was before this instruction, then record them.
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if (access == Warp::Access::Read || access == Warp::Access::Atomic)
      readShared(warp, inst, l, offsets[l], bytes);
    if (access != Warp::Access::Read)
      writeShared(warp, inst, l, offsets[l], bytes, kind);
  }
  if (access == Warp::Access::Read)
    return;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const bool defined =
        inst.kind == Class::MatrixMove ? sourceDefined == kAllLanes : (sourceDefined >> l & 1) != 0;
    for (int k = 0; k < bytes; ++k)
      writes[offsets[l] + static_cast<uint64_t>(k)] = {
          epoch, static_cast<uint16_t>(warp.index * kLanes + l), kind,
          defined || access != Warp::Access::Write};
  }
}

void Checker::copied(Warp &warp, const PendingCopy &copy, uint32_t lanes) {
  if (!check)
    return;
  const uint32_t epoch = clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    for (int k = 0; k < copy.bytes; ++k) {
      Write &w = writes[copy.toAddress[l] - kSharedBase + static_cast<uint64_t>(k)];
      if (w.kind == Write::Pending && w.thread == warp.index * kLanes + l)
        w = {epoch, w.thread, Write::Plain, true};
    }
  }
}

// ---- global memory ----

void Checker::checkGlobal(Warp &warp, const Inst &inst, uint32_t mask, const uint64_t *addresses,
                          int bytes, Warp::Access access) {
  const Memory &memory = *block.launch.memory;
  const uint32_t epoch = clocks[static_cast<size_t>(warp.index)][static_cast<size_t>(warp.index)];
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
          !ordered(warp, l, found->second.epoch, found->second.thread / kLanes,
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
        globalWrites[word] = {epoch, static_cast<uint16_t>(warp.index * kLanes + l)};
  }
}

void Checker::access(Warp &warp, const Inst &inst, uint32_t mask, const Warp::Addresses &at,
                     int bytes, Warp::Access access) {
  // Generic addresses say by their window what they mean; all lanes are taken
  // to agree.
  const uint64_t slot = at.address[std::countr_zero(mask)] >> kSlotBits;
  const bool global = slot >= kFirstSlot;
  const bool shared =
      slot == kSharedSlot || (slot == 0 && at.host[std::countr_zero(mask)] >= block.shared &&
                              at.host[std::countr_zero(mask)] < block.shared + block.sharedBytes);
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
  if (access == Warp::Access::Atomic && fences)
    synchronise(warp, mask, at.address);
  if (shared) {
    uint64_t offsets[kLanes];
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      offsets[l] = static_cast<uint64_t>(at.host[l] - block.shared);
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
