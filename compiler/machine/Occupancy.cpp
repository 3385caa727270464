// The least of four limits:
//   8 warps x 127 registers, 80 KiB on an A100: registers 2, shared memory 2, warps 8, blocks 32 ->
//   2
#include "compiler/machine/Occupancy.h"

#include <algorithm>

namespace heddle::compiler {
namespace {

constexpr int64_t kRegisterUnit = 256, kMostRegisters = 255;
constexpr int64_t kSharedUnit = 128, kSystemShared = 1024;
constexpr int64_t kMostThreads = 1024;

int64_t roundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

int64_t blocksByRegisters(const GpuUnit &gpu, int64_t warps, int64_t registers) {
  const int64_t ofWarp = roundUp(std::max<int64_t>(registers, 1) * kWarp, kRegisterUnit);
  const bool fits = registers <= kMostRegisters &&
                    ofWarp * roundUp(warps, kPartitions) <= gpu.registersPerMultiprocessor;
  const int64_t warpsOfPartition = gpu.registersPerMultiprocessor / kPartitions / ofWarp;
  return fits ? warpsOfPartition * kPartitions / warps : 0;
}

int64_t blocksByShared(const GpuUnit &gpu, int64_t bytes) {
  if (bytes > gpu.sharedBytesPerBlock)
    return 0;
  return gpu.sharedBytesPerMultiprocessor / roundUp(bytes + kSystemShared, kSharedUnit);
}

} // namespace

Occupancy occupancyOf(const Machine &machine, const BlockNeeds &block) {
  const GpuUnit &gpu = machine.gpu;
  const int64_t warps = roundUp(block.threads, kWarp) / kWarp;
  if (warps == 0 || block.threads > kMostThreads)
    return {0, 0, 0, "threads"};
  const struct {
    const char *name;
    int64_t blocks;
  } limits[] = {{"registers", blocksByRegisters(gpu, warps, block.registers)},
                {"shared memory", blocksByShared(gpu, block.sharedBytes)},
                {"warps", gpu.warps / warps},
                {"blocks", gpu.blocks}};
  const auto *least = std::min_element(std::begin(limits), std::end(limits),
                                       [](auto &a, auto &b) { return a.blocks < b.blocks; });
  Occupancy occupancy;
  occupancy.blocks = least->blocks;
  occupancy.warps = least->blocks * warps;
  occupancy.share = static_cast<double>(occupancy.warps) / static_cast<double>(gpu.warps);
  occupancy.limit = least->name;
  return occupancy;
}

} // namespace heddle::compiler
