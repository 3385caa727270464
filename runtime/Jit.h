// The C++ door: from a request to a kernel that can be launched. Looks in memory, then in the
// store, then asks the compiler.
//
//   HEDDLE_TRY(context, Context::create({}));
//   HEDDLE_TRY(signature, context->signature(text));
//   HEDDLE_TRY(extents, signature.completeExtents({{"T", 1537}, {"Hq", 32}, {"Hk", 8}, {"D",
//   128}})); HEDDLE_TRY(request, signature.request(text, extents, DType::F32)); HEDDLE_TRY(kernel,
//   context->kernel(request)); HEDDLE_TRY(bytes, kernel->workspaceBytes(tensors, parameters));
//   HEDDLE_CHECK(kernel->launch(tensors, parameters, {memory, bytes}));   // memory: 64-byte
//   aligned
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Binding.h"
#include "runtime/Cache.h"
#include "runtime/CompilerPlugin.h"
#include "runtime/Device.h"
#include "runtime/Log.h"
#include "runtime/Request.h"
#include "runtime/Signature.h"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>

namespace heddle {

struct ContextOptions {
  std::string device = "cpu";
  int threads = 0;      ///< CPU: 0 = every core the process may use
  std::string cacheDir; ///< empty: see CacheOptions
  bool useStore = true; ///< false: nothing is read from or written to disk
  bool trustSharedStore = false;
  bool allowCompile = true; ///< false: a kernel that is not in the store is an error
  bool useWinners = true;   ///< a request without schedule takes the tuned one, if there is one
  std::string compilerPath; ///< empty: see CompilerPlugin
  /// Empty: that of the compiler library. An engine that ships a filled store and no compiler names
  /// the build that filled it.
  std::string compilerBuild;
  std::string nvrtc; ///< CUDA: the same for NVRTC; empty: the identity of the one that is found
  LogSink log;
};

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
  enum Source { Compiled, Store, Bytes };
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

  /// Workspace that a launch with these tensors needs; the same checks as launch.
  Result<int64_t> workspaceBytes(std::span<const TensorView> tensors,
                                 std::span<const ParameterValue> parameters) const;
  Result<int64_t> workspaceBytes(const Extents &extents,
                                 std::span<const ParameterValue> parameters) const;

  /// Checks everything, then runs all launches to their end. `tensors` as Artifact::tensors:
  /// inputs, then results. Nothing has run if it fails with InvalidArgument. Allocates nothing when
  /// it succeeds.
  Status launch(std::span<const TensorView> tensors, std::span<const ParameterValue> parameters,
                Workspace workspace) const;
  /// The same without waiting for the end: everything is put behind what is in `stream` already.
  /// The workspace belongs to the launch until it is done. On the CPU it is done on return.
  Status enqueue(std::span<const TensorView> tensors, std::span<const ParameterValue> parameters,
                 Workspace workspace, Stream stream) const;

private:
  Kernel() = default;

  /// Everything about a call that follows from its scalars.
  struct Plan {
    std::array<int64_t, kMaxBuffers> buffers; ///< offsets of the workspace buffers
    std::array<GridLaunch, kMaxLaunches> launches;
    std::array<int64_t, kMaxLaunches> repeats;
    int64_t scratch = 0; ///< offset of the scratch memory, behind the buffers
    int64_t bytes = 0;   ///< of the whole workspace
  };
  Status makePlan(const ScalarValues &scalars, Plan &plan) const;
  Status checkMemory(std::span<const TensorView> tensors, Workspace workspace) const;
  void fillBlock(std::span<const TensorView> tensors, const ScalarValues &scalars, const Plan &plan,
                 std::byte *workspace, std::byte *block) const;
  Status runLaunches(const Plan &plan, std::byte *workspace, std::byte *block, Stream stream) const;

  Artifact code;
  KernelOrigin from;
  Binding binding;
  std::shared_ptr<Device> device;
  std::unique_ptr<LoadedKernel> loaded;
};

/// One device, one store, one compiler, one table of kernels. Thread-safe. Kernels outlive it.
class Context {
public:
  /// Fails if the device cannot be opened or an option makes no sense. A store or compiler that
  /// cannot be used is found out when it is needed.
  static Result<std::shared_ptr<Context>> create(ContextOptions options);

  /// The signature of a pattern: from memory, the store, or the compiler.
  Result<Signature> signature(const std::string &patternText, const std::string &patternName = "");

  /// Fills in what the caller leaves open: target and facts of the device, machine "host", build of
  /// the compiler, and the winner's schedule if the request has none. Whether the schedule came
  /// from a winner is told in `tuned` if given.
  Result<Request> complete(Request request, bool *tuned = nullptr) const;

  /// The kernel for a request: from memory, the store, or the compiler, whose use is logged. Of
  /// several callers that miss the same key one compiles and the others wait for it.
  Result<std::shared_ptr<const Kernel>> kernel(const Request &request);
  /// A kernel from artifact bytes that the caller kept.
  Result<std::shared_ptr<const Kernel>> kernelFromBytes(std::string_view bytes);

  /// Keeps a schedule as the one that requests without a schedule take: those of the same length
  /// buckets, and those of the same class whose own buckets have no winner (the latest one counts).
  Status setWinner(const Request &request, const std::map<std::string, int64_t> &schedule);

  const ContextOptions &options() const { return given; }
  Device &device() { return *opened; }
  std::shared_ptr<Device> sharedDevice() const { return opened; }
  const Cache &cache() const { return store; }
  CompilerPlugin &compiler() { return plugin; }

private:
  using KernelResult = Result<std::shared_ptr<const Kernel>>;
  struct Claim; ///< a key that somebody works on

  explicit Context(ContextOptions options);
  Result<std::string> nvrtcIdentity() const;
  Result<Request> fillIn(Request request) const;
  bool takeWinner(Request &request) const;
  std::shared_ptr<const Kernel> find(const std::string &key);
  KernelResult obtain(const Request &request, const std::string &key, bool tuned);
  KernelResult fromStore(const std::string &key, bool tuned);
  KernelResult compile(const Request &request, const std::string &key, bool tuned);
  void log(LogLevel level, const std::string &message) const;

  ContextOptions given;
  std::shared_ptr<Device> opened;
  Cache store;
  mutable CompilerPlugin plugin;

  mutable std::mutex mutex;  ///< guards what follows
  mutable std::string nvrtc; ///< identity of NVRTC, once it was needed
  std::condition_variable arrived;
  std::map<std::string, std::shared_ptr<const Kernel>> kernels; ///< by request or winner key
  std::map<std::string, Signature> signatures;                  ///< by signature key
  std::set<std::string> underway;                               ///< keys somebody works on
};

} // namespace heddle
