// A first estimate of a GPU kernel's time from static counts, made without
// running anything. Good for ranking schedules of one problem on one machine,
// not for promising times.
#pragma once

#include "compiler/machine/Machine.h"

#include <cstdint>
#include <string>

namespace heddle::compiler {

/// One loop iteration of one warp.
struct WarpIteration {
  double slots = 0;      ///< instructions a scheduler issues, tensor-core ones included
  double mmaFlops = 0;   ///< a multiply-add as 2
  double special = 0;    ///< exponentials and their like, instructions of a warp
  double wavefronts = 0; ///< cycles of shared memory's banks; 0: not known
};

struct GpuWork {
  double iterations = 0;    ///< of all warps of all blocks together
  WarpIteration iteration;  ///< their mean
  double blocks = 0;        ///< of the grid
  int64_t warpsOfBlock = 0; ///< warps
  int64_t blocksAtOnce = 0; ///< of one multiprocessor (occupancy)
  double bytes = 0;         ///< from and to memory, at least
  double stagedBytes = 0;   ///< shared memory of a block: what it can have on the way from memory
  int64_t launches = 1;
  bool tensorF32 = false; ///< operands are tf32
};

struct GpuEstimate {
  double milliseconds = 0;
  std::string bound; ///< tensor cores, issue slots, exponentials, shared memory,
                     ///< latency, memory, launch
};

/// The greater of arithmetic and memory time, plus 3 us a launch.
///
/// Arithmetic. A multiprocessor has four partitions; each issues one instruction of a warp a cycle,
/// does a quarter of tensor_f16 and a quarter of `special` (Machine.h). With w warps on a partition
/// an iteration of each takes
///   max(w * |slots, tensor, special, shared|, slots + tensor + special + wavefronts)   cycles,
/// where shared memory serves one wavefront a cycle to all four partitions (shared = 4 wavefronts):
/// warps overlap with each other, a single warp overlaps nothing with itself. |..| is the 4-norm:
/// little more than the greatest, but what is not the bottleneck costs something too, as overlap is
/// never whole; it tells schedules with one bottleneck apart. Blocks run in whole waves of
/// multiprocessors * blocksAtOnce; the last one counts in full.
///
/// Memory. `bytes` at 92 % of the bandwidth on the data sheet, or at what can be on the way at once
/// (stagedBytes of every resident block) by the latency of memory, 700 ns, if that is less.
///
/// Sources: issue and tensor rates: NVIDIA's architecture papers, as in the machines' files; share
/// of bandwidth, latency and 3 us a launch: RRZE gpu-benches (2025-02) on A100, L40 and GH200.
GpuEstimate estimateTime(const Machine &machine, const GpuWork &work);

} // namespace heddle::compiler
