// The formula of GpuEstimate.h, resource by resource.
#include "compiler/machine/GpuEstimate.h"

#include "compiler/machine/Occupancy.h"

#include <algorithm>
#include <cmath>

namespace heddle::compiler {
namespace {

constexpr double kBandwidthShare = 0.92, kLatencySeconds = 700e-9, kLaunchSeconds = 3e-6;

struct Named {
  const char *name;
  double value;
};

Named greatest(std::initializer_list<Named> list) {
  return *std::max_element(list.begin(), list.end(),
                           [](const Named &a, const Named &b) { return a.value < b.value; });
}

double norm4(std::initializer_list<double> list) {
  double sum = 0;
  for (const double value : list)
    sum += value * value * value * value;
  return std::pow(sum, 0.25);
}

/// Seconds of arithmetic, and what they go to.
Named arithmetic(const Machine &machine, const GpuWork &work) {
  const GpuUnit &gpu = machine.gpu;
  const double slots = work.iteration.slots;
  const double tensorRate =
      static_cast<double>(work.tensorF32 ? gpu.tensorTf32PerCycle : gpu.tensorF16PerCycle);
  const double tensor = work.iteration.mmaFlops / std::max(1.0, tensorRate / kPartitions);
  const double special =
      work.iteration.special * kWarp / (static_cast<double>(gpu.specialPerCycle) / kPartitions);
  const double shared = work.iteration.wavefronts * kPartitions; // one a cycle for all partitions

  const double multiprocessors = static_cast<double>(gpu.multiprocessors);
  const double atOnce = static_cast<double>(std::max<int64_t>(work.blocksAtOnce, 1));
  const double busy = std::min(atOnce, std::ceil(work.blocks / multiprocessors)); // blocks each
  const double warps =
      std::max(1.0, busy * static_cast<double>(work.warpsOfBlock) / kPartitions); // of a partition
  const Named most = greatest({{"issue slots", warps * slots},
                               {"tensor cores", warps * tensor},
                               {"exponentials", warps * special},
                               {"shared memory", warps * shared},
                               {"latency", slots + tensor + special + work.iteration.wavefronts}});
  const double waves = std::ceil(work.blocks / (multiprocessors * busy));
  const double iterationsOfBlock = work.iterations / std::max(1.0, work.blocks);
  const double iterationsOfWarp =
      iterationsOfBlock / static_cast<double>(std::max<int64_t>(work.warpsOfBlock, 1));
  const double cycles = std::max(most.value, warps * norm4({slots, tensor, special, shared}));
  return {most.name, waves * iterationsOfWarp * cycles / (machine.clockGHz * 1e9)};
}

double memory(const Machine &machine, const GpuWork &work) {
  const double resident =
      std::min(work.blocks, static_cast<double>(machine.gpu.multiprocessors *
                                                std::max<int64_t>(work.blocksAtOnce, 1)));
  const double onTheWay = resident * work.stagedBytes / kLatencySeconds;
  const double sheet = machine.memoryGBs * 1e9 * kBandwidthShare;
  return work.bytes / std::max(1.0, onTheWay > 0 ? std::min(sheet, onTheWay) : sheet);
}

} // namespace

GpuEstimate estimateTime(const Machine &machine, const GpuWork &work) {
  const double launch = kLaunchSeconds * static_cast<double>(work.launches);
  const Named longest = greatest({arithmetic(machine, work), {"memory", memory(machine, work)}});
  const Named named = greatest({longest, {"launch", launch}});
  return {(longest.value + launch) * 1e3, named.name};
}

} // namespace heddle::compiler
