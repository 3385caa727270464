// A device loads artifacts and launches them. What is common to all devices (checking a call
// against the artifact, formulas, the parameter block) is in Binding; a device only runs grids.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/DType.h"
#include "runtime/Result.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace heddle {

/// One launch with all its formulas evaluated. No initialisers: a call has room for many of them.
struct GridLaunch {
  int64_t grid[3];
  int64_t sharedBytes;
};

/// A tensor map with the numbers of a call; the contiguous dimension first.
struct TensorMapValues {
  static constexpr int kMaxRank = TensorMapInfo::kMaxDims;
  void *data;
  DType dtype;
  int rank;
  std::array<uint64_t, kMaxRank> extents; ///< elements, 1 or more
  std::array<uint64_t, kMaxRank> strides; ///< bytes
  std::array<uint32_t, kMaxRank> box;     ///< elements
  int64_t swizzleBytes;
};

/// Work that a device does in order: a CUstream. Null: the device's default one.
using Stream = void *;

/// Code of one artifact on one device. Thread-safe: several calls may run at once.
class LoadedKernel {
public:
  virtual ~LoadedKernel() = default;
  /// Memory that a launch with these shared bytes needs besides the artifact's workspace buffers.
  virtual int64_t scratchBytes(int64_t sharedBytes) const = 0;
  /// Runs launch `index` of the artifact behind everything that is in `stream` already. `block`
  /// holds the arguments and may change once this returns; `scratch` points to
  /// scratchBytes(launch.sharedBytes) bytes, 64-byte aligned. Allocates nothing. A device without
  /// streams (the CPU) has run it to its end on return.
  virtual Status run(int64_t index, const GridLaunch &launch, const void *block, void *scratch,
                     Stream stream) = 0;
  /// Writes the 128 bytes of a tensor map, as kernels of this device take it. Fails where the
  /// device's driver does not make it; Unsupported on devices without.
  virtual Status encode(const TensorMapValues &map, void *to) const = 0;
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
  /// Whether code for this target runs here: its own, and variants of it ("sm_90a" on "sm_90").
  virtual bool runs(const std::string &target) const = 0;

  /// Whether kernels work on the process's own memory. If not, tensors and workspace of a launch
  /// must be this device's, by allocate() or by the caller's own means.
  virtual bool usesHostMemory() const = 0;
  /// At least 64-byte aligned, not initialised. ResourceExhausted where there is not enough.
  virtual Result<void *> allocate(int64_t bytes) = 0;
  virtual void release(void *memory) = 0;
  /// Copies between host and device memory; done on return.
  virtual Status copyIn(void *device, const void *host, int64_t bytes) = 0;
  virtual Status copyOut(void *host, const void *device, int64_t bytes) = 0;
  /// InvalidArgument, naming `what`, where kernels of this device cannot reach the memory.
  virtual Status checkMemory(const void *memory, const std::string &what) const = 0;
  /// Waits until everything in the stream is done; an error of a kernel appears here.
  virtual Status finish(Stream stream) = 0;
};

/// Opens a device by name: "cpu", "cuda" or "cuda:1"; DeviceTable.cpp lists the kinds. `threads`:
/// for the CPU, 0 = all it may use. NotFound where there is no such device.
Result<std::unique_ptr<Device>> openDevice(const std::string &name, int threads);
/// The kinds of devices that openDevice knows.
std::vector<std::string> deviceNames();

} // namespace heddle
