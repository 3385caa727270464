// A device loads artifacts and launches them. What is common to all devices (checking a call
// against the artifact, formulas, the parameter block) is in Binding; a device only runs grids.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace heddle {

/// One launch with all its formulas evaluated.
struct GridLaunch {
  int64_t grid[3] = {1, 1, 1};
  int64_t sharedBytes = 0;
};

/// Code of one artifact on one device. Thread-safe: several calls may run at once.
class LoadedKernel {
public:
  virtual ~LoadedKernel() = default;
  /// Memory that a launch with these shared bytes needs besides the artifact's workspace buffers.
  virtual int64_t scratchBytes(int64_t sharedBytes) const = 0;
  /// Runs launch `index` of the artifact to its end. `block` holds the arguments; `scratch` points
  /// to scratchBytes(launch.sharedBytes) bytes, 64-byte aligned. Allocates nothing.
  virtual Status run(int64_t index, const GridLaunch &launch, const void *block, void *scratch) = 0;
};

class Device {
public:
  virtual ~Device() = default;
  virtual const std::string &name() const = 0;   ///< "cpu"
  virtual const std::string &target() const = 0; ///< of the artifacts it runs: "cpu", "sm_80"
  /// Everything about the device that code may depend on: Request::deviceFacts.
  virtual const std::string &facts() const = 0;
  /// How many grid points run at once: threads of the CPU.
  virtual int workers() const = 0;
  /// Fails with Unsupported, naming what lacks, if the artifact needs a feature the device has not.
  virtual Result<std::unique_ptr<LoadedKernel>> load(const Artifact &artifact) = 0;
};

/// Opens a device by name; DeviceTable.cpp lists the kinds. `threads`: for the CPU, 0 = all it may
/// use.
Result<std::unique_ptr<Device>> openDevice(const std::string &name, int threads);
/// The names openDevice knows on this computer.
std::vector<std::string> deviceNames();

} // namespace heddle
