// A loaded kernel and the memory it is launched with.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Binding.h"
#include "runtime/Device.h"
#include "runtime/FoldedFormula.h"
#include "runtime/Signature.h"

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace heddle {

/// Memory for one launch: 64-byte aligned, at least Kernel::workspaceBytes.
struct Workspace {
  void *data = nullptr;
  int64_t bytes = 0;
};

/// 64-byte aligned memory that frees itself.
class AlignedBuffer {
public:
  AlignedBuffer() = default;
  /// Zeroed. Fails with ResourceExhausted, or InvalidArgument for a negative size.
  static Result<AlignedBuffer> allocate(int64_t bytes);
  void *data() const { return memory.get(); }
  int64_t size() const { return bytes; }
  Workspace workspace() const { return {memory.get(), bytes}; }

private:
  struct Free {
    void operator()(void *pointer) const;
  };
  std::unique_ptr<void, Free> memory;
  int64_t bytes = 0;
};

/// How a kernel came about.
struct KernelOrigin {
  enum Source { Compiled, Store, Bytes, Bundle };
  Source source = Compiled;
  double compileMs = 0; ///< wall time of the compiler, 0 unless compiled
  double loadMs = 0;    ///< wall time of loading the code
  bool tuned = false;   ///< the schedule is a sweep's winner
  std::string key;      ///< request key, empty for Bytes
};

/// A loaded kernel. Immutable; any number of threads may launch it at once, each with a workspace
/// of its own.
class Kernel {
public:
  static Result<std::shared_ptr<const Kernel>> load(Artifact artifact, KernelOrigin origin,
                                                    std::shared_ptr<Device> device);

  const Artifact &artifact() const { return code; }
  const KernelOrigin &origin() const { return from; }
  /// Of the artifact: "BM=64,BN=128", and its notes, one a line.
  const std::string &scheduleText() const { return schedule; }
  const std::string &notesText() const { return notes; }

  /// Workspace that a launch with these tensors needs; the same checks as launch.
  Result<int64_t> workspaceBytes(std::span<const TensorView> tensors,
                                 std::span<const ParameterValue> parameters) const;
  Result<int64_t> workspaceBytes(const Extents &extents,
                                 std::span<const ParameterValue> parameters) const;

  /// What launch checks of numbers in host memory, on `host`: shapes as in the launch, and data
  /// wherever it is to be checked, null elsewhere. A launch on a device with memory of its own
  /// trusts what lies there, so that this belongs before the copy.
  Status checkValuesOf(std::span<const TensorView> host) const;

  /// Checks everything, then runs all launches to their end. `tensors` as Artifact::tensors:
  /// inputs, then results. Nothing has run if it fails with InvalidArgument. Allocates nothing when
  /// it succeeds. Offsets, lengths, page tables and lists in host memory are read and checked
  /// (ValueRule.h says what that costs).
  Status launch(std::span<const TensorView> tensors, std::span<const ParameterValue> parameters,
                Workspace workspace) const;
  /// The same without waiting for the end: everything is put behind what is in `stream` already.
  /// The workspace belongs to the launch until it is done. On the CPU, which takes no stream but
  /// null, it is done on return.
  Status enqueue(std::span<const TensorView> tensors, std::span<const ParameterValue> parameters,
                 Workspace workspace, Stream stream) const;

private:
  Kernel() = default;

  /// Everything about a call that follows from its scalars. Only what the artifact has is set.
  struct Plan {
    std::array<int64_t, kMaxBuffers> buffers; ///< offsets of the workspace buffers
    std::array<GridLaunch, kMaxLaunches> launches;
    std::array<int64_t, kMaxLaunches> repeats;
    int64_t scratch; ///< offset of the scratch memory, behind the buffers
    int64_t bytes;   ///< of the whole workspace
  };
  struct LaunchFormulas {
    FoldedFormula grid[3], sharedBytes, repeat;
  };
  void readArguments();
  Status makePlan(const ScalarValues &scalars, Plan &plan) const;
  Status checkMemory(std::span<const TensorView> tensors, Workspace workspace) const;
  Status fillBlock(std::span<const TensorView> tensors, const ScalarValues &scalars,
                   const Plan &plan, std::byte *workspace, std::byte *block) const;
  Status placeMap(const TensorMapInfo &map, const TensorView &tensor, std::byte *to) const;
  Status runLaunches(const Plan &plan, std::byte *workspace, std::byte *block, Stream stream) const;

  Artifact code;
  std::string schedule, notes; ///< as texts
  /// Artifact::arguments, with what is asked of each looked up.
  struct Field {
    enum : uint8_t { Pointer, Stride, Integer, Float, Buffer, Map } kind;
    uint8_t dim;
    uint16_t index, offset;
  };
  std::vector<Field> fields; ///< but for repeat indices, which are set for each repetition
  bool onHost = true;        ///< kernels work on the process's own memory
  std::vector<FoldedFormula> bufferFormulas;
  std::vector<LaunchFormulas> launchFormulas;
  KernelOrigin from;
  Binding binding;
  std::shared_ptr<Device> device;
  std::unique_ptr<LoadedKernel> loaded;
  std::vector<int64_t> repeatOffsets; ///< where the block holds the number of the repetition
};

} // namespace heddle
