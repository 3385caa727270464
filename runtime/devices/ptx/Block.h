// A block (CTA): its warps, shared memory and barriers, run by one thread of
// the host.
#pragma once

#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/Warp.h"

#include <atomic>
#include <mutex>

namespace heddle::ptx {

/// What all blocks of one launch share.
struct Launch {
  const Program *program = nullptr;
  Memory *memory = nullptr;
  LaunchConfig config;
  LaunchOptions options;
  std::atomic<int64_t> nextBlock = 0;
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
  explicit Block(Launch &launch);
  ~Block();
  /// Runs block (x, y, z) to its end, or to the launch's first error.
  void run(int64_t x, int64_t y, int64_t z);

  /// The lanes of `mask` come to a barrier. True if they have to wait.
  bool arriveAtBarrier(Warp &warp, const Inst &inst, uint32_t mask);
  void exited(Warp &warp);

  /// The next number of a sequence given by the seed and the block.
  uint64_t random();

  Launch &launch;
  const Program &program;
  int64_t id[3] = {0, 0, 0};
  std::vector<std::unique_ptr<Warp>> warps;
  std::byte *shared = nullptr; // sharedBytes of them
  uint64_t sharedBytes = 0;
  std::byte *local = nullptr; // localBytes for each thread
  uint64_t localBytes = 0;
  const std::byte *constants = nullptr;
  std::unique_ptr<Observer> observer; // null: nobody watches
  std::vector<uint64_t> counts; // warp instructions, by instruction of the kernel; may be empty

private:
  uint64_t randomState = 0;
  void releaseIfComplete(int number);
  void reportDeadlock();

  std::vector<Barrier> barriers;
  std::unique_ptr<std::byte[]> sharedOwned, localOwned;
};

} // namespace heddle::ptx
