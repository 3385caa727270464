// A cluster: blocks that run together, reach each other's shared memory and meet at barriers. Most
// launches have clusters of one block. One thread of the host runs it.
#pragma once

#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Bulk.h"

#include <deque>

namespace heddle::ptx {

class Cluster {
public:
  explicit Cluster(Launch &launch);
  ~Cluster();
  /// Runs cluster `number` of the grid to its end, or to the launch's first error.
  void run(int64_t number);

  /// Where a host address lies in the shared memory of the cluster, counted from its first block's;
  /// nothing for any other memory.
  std::optional<uint64_t> sharedOffset(const std::byte *host) const {
    const uint64_t at = static_cast<uint64_t>(host - shared);
    return at < sharedTotal ? std::optional(at) : std::nullopt;
  }
  Block &blockAt(uint64_t offset) { return *blocks[offset / sharedStride]; }

  /// Takes an operation that is under way; it takes effect now or later, as the launch says.
  void submit(BulkCopy copy);
  /// Operations that match take effect now.
  template <class F> void completeWhere(F matches);
  void phaseCompleted(); ///< wakes the paths that wait for an mbarrier

  // barrier.cluster
  void arriveAtClusterBarrier(Warp &warp, uint32_t mask);
  uint64_t clusterPhase = 0;

  void exited();

  Launch &launch;
  int64_t shape[3] = {1, 1, 1}; // blocks
  std::vector<std::unique_ptr<Block>> blocks;
  std::unique_ptr<Observer> observer; // null: nobody watches
  uint64_t events = 0;                // of what may end a wait
  std::deque<BulkCopy> underWay;

private:
  bool expireWaits();
  void reportDeadlock();
  void settleClusterBarrier();
  bool completeOne();

  std::byte *shared = nullptr;
  uint64_t sharedStride = 0, sharedTotal = 0;
  std::unique_ptr<std::byte[]> sharedOwned;
  uint64_t lastEvents = 0;
  int idleRounds = 0;
};

template <class F> void Cluster::completeWhere(F matches) {
  for (size_t i = 0; i < underWay.size();) {
    if (!matches(underWay[i])) {
      ++i;
      continue;
    }
    BulkCopy copy = std::move(underWay[i]);
    underWay.erase(underWay.begin() + static_cast<std::ptrdiff_t>(i));
    perform(*this, copy);
  }
}

} // namespace heddle::ptx
