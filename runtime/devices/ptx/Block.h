// A block (CTA): its warps, shared memory and barriers, run by one thread of
// the host.
#pragma once

#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/Mbarrier.h"
#include "runtime/devices/ptx/Warp.h"

#include <atomic>
#include <mutex>
#include <unordered_map>

namespace heddle::ptx {

/// What all blocks of one launch share.
struct Launch {
  const Program *program = nullptr;
  Memory *memory = nullptr;
  LaunchConfig config;
  LaunchOptions options;
  int64_t blocks = 0; // that run
  std::atomic<int64_t> nextCluster = 0;
  std::atomic<bool> stopped = false;
  std::mutex mutex; // of what follows
  std::optional<Error> error;
  std::string printed;
  Report report;
};

struct Barrier {
  std::vector<uint32_t> arrived; // by warp
  int64_t expected = 0;          // threads; 0: all of the block
  bool active = false;
  uint32_t sum = 0; // predicates counted by bar.red
  uint32_t voters = 0;
};

class Block {
public:
  /// `shared`: its sharedBytes of shared memory.
  Block(Cluster &cluster, int rank, std::byte *shared, uint64_t sharedBytes);
  ~Block();
  /// Makes it block (x, y, z), before its first instruction.
  void begin(int64_t x, int64_t y, int64_t z);
  /// Lets each warp run for a while.
  struct Round {
    bool progress = false, finished = true;
  };
  Round runRound();

  /// The lanes of `mask` come to a barrier. True if they have to wait.
  bool arriveAtBarrier(Warp &warp, const Inst &inst, uint32_t mask);
  void exited(Warp &warp);

  /// mbarrier objects, by their offset in shared memory.
  std::unordered_map<uint32_t, Mbarrier> mbarriers;
  /// The mbarrier at an offset; fails if there is none, or if its bytes were overwritten.
  Mbarrier *findMbarrier(Warp &by, const Inst &inst, int lane, uint32_t offset);
  /// After a change of it: its image goes to memory, and whoever waits for it is woken.
  void noteMbarrier(uint32_t offset, const Mbarrier &mbarrier, uint64_t phaseBefore);
  /// "mbarrier 'bars' + 8: phase 2, 1 of 4 arrivals and 512 bytes are still to come"
  std::string describeWait(Warp &warp, const Path &path);

  /// The next number of a sequence given by the seed and the block.
  uint64_t random();

  Cluster &cluster;
  Launch &launch;
  const Program &program;
  const int rank; // in the cluster
  int64_t id[3] = {0, 0, 0};
  std::vector<std::unique_ptr<Warp>> warps;
  std::byte *shared = nullptr; // sharedBytes of them
  uint64_t sharedBytes = 0;
  std::byte *local = nullptr; // localBytes for each thread
  uint64_t localBytes = 0;
  const std::byte *constants = nullptr;
  Observer *observer = nullptr; // the cluster's; null: nobody watches
  std::vector<uint64_t> counts; // warp instructions, by instruction of the kernel; may be empty

private:
  uint64_t randomState = 0;
  void releaseIfComplete(int number);

  std::vector<Barrier> barriers;
  std::unique_ptr<std::byte[]> localOwned;
};

} // namespace heddle::ptx
