// How many blocks of a kernel a multiprocessor of a GPU holds at once, and what limits them.
#pragma once

#include "compiler/machine/Machine.h"

#include <cstdint>
#include <string>

namespace heddle::compiler {

/// Of a multiprocessor: threads of a warp; partitions that issue by themselves.
inline constexpr int64_t kWarp = 32, kPartitions = 4;

/// What one block takes.
struct BlockNeeds {
  int64_t threads = 0;
  int64_t registers = 0;   ///< of one thread
  int64_t sharedBytes = 0; ///< static and dynamic
};

struct Occupancy {
  int64_t blocks = 0; ///< at once on a multiprocessor; 0: the block does not fit at all
  int64_t warps = 0;  ///< of these blocks
  double share = 0;   ///< of the warps a multiprocessor can hold
  std::string limit;  ///< registers, shared memory, warps or blocks: the first that is full
};

/// Rules: registers are given to a warp in units of 256, a quarter of the warps at a time (each of
/// the four partitions has a quarter of the registers); shared memory in units of 128 bytes, and
/// 1 KiB a block is the system's. Source: CUDA C++ programming guide, technical specifications;
/// cuda_occupancy.h of CUDA 13.0. Holds for sm_80 and later.
Occupancy occupancyOf(const Machine &machine, const BlockNeeds &block);

} // namespace heddle::compiler
