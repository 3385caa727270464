// Runs the blocks of a cluster in turn. When none can go on, operations that are under way take
// effect; when there are none either, waits that may end without success do; and when that changes
// nothing for many rounds, it is deadlock.
#include "runtime/devices/ptx/Cluster.h"

#include "runtime/devices/ptx/Checker.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::ptx {

namespace {

/// Rounds of waits that ended without success and changed nothing, until it is deadlock.
constexpr int kIdleRounds = 256;

} // namespace

Cluster::Cluster(Launch &launch) : launch(launch) {
  const Program &program = *launch.program;
  const int64_t *given = launch.config.cluster[0] ? launch.config.cluster : program.cluster;
  for (int i = 0; i < 3; ++i)
    shape[i] = std::max<int64_t>(given[i], 1);
  const uint64_t each = static_cast<uint64_t>(program.dynamicOffset) - kSharedBase +
                        static_cast<uint64_t>(launch.config.sharedBytes);
  const int64_t count = shape[0] * shape[1] * shape[2];
  // A gap behind each block's, so that what lies beyond it is nobody's.
  sharedStride = (each + 16 + 1023) / 1024 * 1024;
  sharedTotal = sharedStride * static_cast<uint64_t>(count);
  sharedOwned = std::make_unique<std::byte[]>(sharedTotal + 1024);
  shared = sharedOwned.get() + (1024 - reinterpret_cast<uint64_t>(sharedOwned.get()) % 1024) % 1024;
  for (int64_t rank = 0; rank < count; ++rank)
    blocks.push_back(std::make_unique<Block>(
        *this, static_cast<int>(rank), shared + sharedStride * static_cast<uint64_t>(rank), each));
  if (launch.options.check || launch.options.counts)
    observer =
        std::make_unique<Checker>(*this, launch.options.check, launch.options.counts, sharedStride);
}

Cluster::~Cluster() = default;

void Cluster::run(int64_t number) {
  const int64_t *grid = launch.config.grid;
  int64_t along[3];
  for (int i = 0; i < 3; ++i)
    along[i] = grid[i] / shape[i];
  const int64_t at[3] = {number % along[0], number / along[0] % along[1],
                         number / along[0] / along[1]};
  for (size_t rank = 0; rank < blocks.size(); ++rank) {
    const int64_t r = static_cast<int64_t>(rank);
    blocks[rank]->begin(at[0] * shape[0] + r % shape[0], at[1] * shape[1] + r / shape[0] % shape[1],
                        at[2] * shape[2] + r / shape[0] / shape[1]);
  }
  underWay.clear();
  clusterPhase = 0;
  idleRounds = 0;
  if (observer)
    observer->start();
  while (!launch.stopped) {
    bool progress = false, finished = true;
    for (const auto &block : blocks) {
      const Block::Round round = block->runRound();
      progress = progress || round.progress;
      finished = finished && round.finished;
      if (launch.stopped)
        return;
    }
    if (finished) {
      completeWhere([](const BulkCopy &) { return true; });
      if (observer && !launch.stopped)
        observer->finish();
      return;
    }
    if (progress) {
      if (launch.options.copies == CopyTime::Random && !underWay.empty() && blocks[0]->random() & 1)
        completeOne();
      continue;
    }
    if (!completeOne() && !expireWaits()) {
      reportDeadlock();
      return;
    }
  }
}

void Cluster::submit(BulkCopy copy) {
  const CopyTime time = launch.options.copies;
  if (time == CopyTime::Early || (time == CopyTime::Random && copy.warp->block->random() & 1))
    perform(*this, copy);
  else
    underWay.push_back(std::move(copy));
}

/// The oldest operation, or with random times any, takes effect.
bool Cluster::completeOne() {
  if (underWay.empty())
    return false;
  const uint64_t chosen =
      launch.options.copies == CopyTime::Random ? blocks[0]->random() % underWay.size() : 0;
  const uint64_t number = underWay[chosen].number;
  const BulkCopy *first = &underWay[chosen];
  completeWhere([&, done = false](const BulkCopy &copy) mutable {
    const bool match = !done && (&copy == first || copy.number == number);
    done = done || match;
    return match;
  });
  return true;
}

void Cluster::phaseCompleted() {
  ++events;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps)
      for (Path &path : warp->paths)
        if (path.state == Path::State::Waiting)
          path.state = Path::State::Ready;
}

/// try_wait may end without success: the paths in one go on with a false predicate.
bool Cluster::expireWaits() {
  idleRounds = events == lastEvents ? idleRounds + 1 : 0;
  lastEvents = events;
  bool any = false;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps)
      for (Path &path : warp->paths)
        if (path.state == Path::State::Waiting && path.mayExpire) {
          path.expired = true;
          path.state = Path::State::Ready;
          any = true;
        }
  return any && idleRounds < kIdleRounds;
}

void Cluster::reportDeadlock() {
  std::string where;
  Warp *first = nullptr;
  const Path *firstPath = nullptr;
  int named = 0;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps)
      for (const Path &path : warp->paths) {
        if (path.at == nullptr || (path.state == Path::State::Ready && !path.expired))
          continue;
        if (!first) {
          first = warp.get();
          firstPath = &path;
        }
        if (++named > 16)
          continue;
        where += fmt::format(
            "{}{}warp {} lanes {:#010x} in line {} ({})", where.empty() ? "" : ", ",
            blocks.size() > 1 ? fmt::format("block {} of the cluster, ", block->rank) : "",
            warp->index, path.mask, path.at->line,
            path.state == Path::State::AtBarrier   ? fmt::format("barrier {}", path.members)
            : path.state == Path::State::AtMembers ? "lanes of a member mask that do not come"
                                                   : block->describeWait(*warp, path));
      }
  if (first)
    first->fail(*firstPath->at, firstPath->mask, "deadlock: all wait: " + where);
}

// ---- barrier.cluster ----

void Cluster::arriveAtClusterBarrier(Warp &warp, uint32_t mask) {
  warp.clusterArrived |= mask;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    warp.clusterPhase[std::countr_zero(rest)] = clusterPhase + 1;
  settleClusterBarrier();
}

void Cluster::settleClusterBarrier() {
  bool any = false;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps) {
      if (warp->live & ~warp->clusterArrived)
        return;
      any = any || (warp->live & warp->clusterArrived);
    }
  if (!any)
    return;
  ++clusterPhase;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps)
      warp->clusterArrived = 0;
  if (observer)
    observer->clusterRelease();
  phaseCompleted();
}

void Cluster::exited() {
  ++events;
  settleClusterBarrier();
}

} // namespace heddle::ptx
