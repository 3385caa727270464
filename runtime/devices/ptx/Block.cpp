// Runs the warps of a block in turn, and parks them on barriers.
#include "runtime/devices/ptx/Block.h"

#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

constexpr int64_t kQuantum = 1 << 16; // instructions of a warp before the next one runs
constexpr int kBarriers = 16;

} // namespace

Block::Block(Cluster &cluster, int rank, std::byte *shared, uint64_t sharedBytes)
    : cluster(cluster), launch(cluster.launch), program(*launch.program), rank(rank),
      shared(shared), sharedBytes(sharedBytes) {
  const int64_t *shape = launch.config.block;
  const int64_t threads = shape[0] * shape[1] * shape[2];
  localBytes = static_cast<uint64_t>(program.localBytes);
  localOwned = std::make_unique<std::byte[]>(localBytes * static_cast<uint64_t>(threads) + 1024);
  local = localOwned.get() + (1024 - reinterpret_cast<uint64_t>(localOwned.get()) % 1024) % 1024;
  constants = reinterpret_cast<const std::byte *>(program.constants.data());
  for (int64_t first = 0; first < threads; first += kLanes)
    warps.push_back(std::make_unique<Warp>());
  barriers.resize(kBarriers);
  if (launch.options.counts)
    counts.assign(program.functions[0]->code.size(), 0);
}

Block::~Block() = default;

uint64_t Block::random() { // xorshift64*
  randomState ^= randomState >> 12;
  randomState ^= randomState << 25;
  randomState ^= randomState >> 27;
  return (randomState * 0x2545f4914f6cdd1d) >> 32;
}

void Block::begin(int64_t x, int64_t y, int64_t z) {
  id[0] = x, id[1] = y, id[2] = z;
  observer = cluster.observer.get();
  const uint64_t number = static_cast<uint64_t>((z << 40) ^ (y << 20) ^ x);
  randomState = (launch.options.seed + number + 1) * 0x9e3779b97f4a7c15 | 1;
  const int64_t *shape = launch.config.block;
  const int64_t threads = shape[0] * shape[1] * shape[2];
  for (Barrier &barrier : barriers) {
    barrier = Barrier();
    barrier.arrived.assign(warps.size(), 0);
  }
  mbarriers.clear();
  for (size_t w = 0; w < warps.size(); ++w) {
    const int64_t lanes = std::min<int64_t>(threads - static_cast<int64_t>(w) * kLanes, kLanes);
    warps[w]->start(*this, static_cast<int>(w),
                    lanes == kLanes ? kAllLanes : (uint32_t{1} << lanes) - 1);
  }
}

Block::Round Block::runRound() {
  Round round;
  for (const auto &warp : warps) {
    if (warp->finished())
      continue;
    round.finished = false;
    round.progress = warp->run(kQuantum) || round.progress;
    if (launch.stopped)
      break;
  }
  return round;
}

Mbarrier *Block::findMbarrier(Warp &by, const Inst &inst, int lane, uint32_t offset) {
  const auto found = mbarriers.find(offset);
  uint64_t image = 0;
  std::memcpy(&image, shared + offset, sizeof image);
  if (found != mbarriers.end() && found->second.image() == image)
    return &found->second;
  by.fail(inst, uint32_t{1} << lane,
          found == mbarriers.end()
              ? fmt::format("no mbarrier was initialised at byte {} of shared memory", offset)
              : fmt::format("the mbarrier at byte {} of shared memory was overwritten", offset));
  return nullptr;
}

void Block::noteMbarrier(uint32_t offset, const Mbarrier &mbarrier, uint64_t phaseBefore) {
  const uint64_t image = mbarrier.image();
  std::memcpy(shared + offset, &image, sizeof image);
  ++cluster.events;
  if (mbarrier.phase == phaseBefore)
    return;
  if (observer)
    observer->mbarrierPhase(*this, offset, mbarrier.phase);
  cluster.phaseCompleted();
}

std::string Block::describeWait(Warp &warp, const Path &path) {
  if (path.at->kind != Class::Mbarrier)
    return "blocks of the cluster that do not come";
  warp.enter(path);
  const Operand &base = path.at->ops[path.at->address];
  const uint64_t address =
      warp.lane(base, std::countr_zero(path.mask)) + static_cast<uint64_t>(path.at->imm);
  const uint32_t offset = static_cast<uint32_t>((address & 0xffffff) - kSharedBase);
  const auto found = mbarriers.find(offset);
  if (found == mbarriers.end())
    return "an mbarrier";
  const Mbarrier &m = found->second;
  return fmt::format(
      "mbarrier at byte {}: in phase {}, {} of {} arrivals and {} bytes are still to "
      "come",
      offset, m.phase, m.pending, m.expected, m.bytes);
}

/// ops: result of bar.red (if variant >= 2), number, count (0: all threads),
/// predicate.
bool Block::arriveAtBarrier(Warp &warp, const Inst &inst, uint32_t mask) {
  const int lane = std::countr_zero(mask);
  const uint64_t number = warp.lane(inst.ops[inst.results], lane);
  const int64_t count = static_cast<int64_t>(warp.lane(inst.ops[inst.results + 1], lane));
  if (number >= barriers.size() || count % kLanes != 0) {
    warp.fail(inst, mask,
              fmt::format("barrier {} with {} threads: barriers 0 to 15 exist, "
                          "and the threads are "
                          "a multiple of 32",
                          number, count));
    return true;
  }
  Barrier &barrier = barriers[number];
  if (barrier.active && barrier.expected != count) {
    warp.fail(inst, mask,
              fmt::format("barrier {} is entered with {} threads, and by others with {}", number,
                          count, barrier.expected));
    return true;
  }
  uint32_t &arrived = barrier.arrived[static_cast<size_t>(warp.index)];
  if (arrived & mask) {
    warp.fail(inst, mask, fmt::format("barrier {} is entered twice before it completes", number));
    return true;
  }
  if (observer)
    observer->barrierArrive(warp, inst, mask, static_cast<int>(number));
  barrier.active = true;
  barrier.expected = count;
  arrived |= mask;
  if (inst.variant >= 2) {
    const uint32_t vote = warp.predicate(inst.ops[inst.results + 2]) & mask;
    barrier.sum += static_cast<uint32_t>(std::popcount(vote));
    barrier.voters += static_cast<uint32_t>(std::popcount(mask));
  }
  Path &path = warp.paths[warp.current];
  if (inst.variant == 1) { // bar.arrive: the path goes on, whatever happens to the barrier
    releaseIfComplete(static_cast<int>(number));
    return false;
  }
  path.state = Path::State::AtBarrier;
  path.members = static_cast<uint32_t>(number);
  releaseIfComplete(static_cast<int>(number));
  return true;
}

void Block::exited(Warp &) {
  cluster.exited();
  for (int number = 0; number < kBarriers; ++number)
    if (barriers[static_cast<size_t>(number)].active)
      releaseIfComplete(number);
}

void Block::releaseIfComplete(int number) {
  Barrier &barrier = barriers[static_cast<size_t>(number)];
  int64_t present = 0;
  bool all = true;
  for (const auto &warp : warps) {
    const uint32_t arrived = barrier.arrived[static_cast<size_t>(warp->index)];
    const bool whole = (warp->live & ~arrived) == 0;
    all = all && whole;
    present += arrived == 0 ? 0 : whole ? kLanes : std::popcount(arrived);
  }
  if (barrier.expected ? present < barrier.expected : !all)
    return;
  std::vector<uint32_t> waiting(warps.size(), 0);
  for (const auto &warp : warps) {
    for (Path &path : warp->paths) {
      if (path.state != Path::State::AtBarrier || path.members != static_cast<uint32_t>(number))
        continue;
      waiting[static_cast<size_t>(warp->index)] |= path.mask;
      const Inst &inst = *path.at;
      if (inst.variant >= 2) {
        warp->enter(path);
        const Operand &result = inst.ops[0];
        if (observer)
          path.frame->defined[result.offset / 4] |= path.mask;
        if (inst.variant == 2)
          forLanes(path.mask, [&](int l) { warp->dst<uint32_t>(result)[l] = barrier.sum; });
        else
          warp->setPredicate(result, path.mask,
                             (inst.variant == 3 ? barrier.sum == barrier.voters : barrier.sum > 0)
                                 ? kAllLanes
                                 : 0);
      }
      warp->release(path);
    }
  }
  barrier = Barrier();
  barrier.arrived.assign(warps.size(), 0);
  ++cluster.events;
  if (observer)
    observer->barrierRelease(*this, number, waiting);
}

} // namespace heddle::ptx
