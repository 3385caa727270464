// The C++ door: from a request to a kernel that can be launched. Looks in memory, then in the
// store and the bundles, then asks the compiler.
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
#include "runtime/Bundle.h"
#include "runtime/Cache.h"
#include "runtime/CompilePool.h"
#include "runtime/CompilerPlugin.h"
#include "runtime/Device.h"
#include "runtime/Kernel.h"
#include "runtime/Log.h"
#include "runtime/NotReady.h"
#include "runtime/Request.h"
#include "runtime/Signature.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace heddle {

/// What becomes of a compile; for progress bars and for logs of a server.
struct CompileEvent {
  enum Stage { Queued = 1, Started, Finished, Failed } stage = Queued;
  std::string_view what;   ///< "causal_softmax D=128 bf16 for cpu"
  std::string_view key;    ///< request key
  double milliseconds = 0; ///< of the compiler; Finished and Failed
  int waiting = 0;         ///< kernels that are queued or being made, this one included
};
/// May be called from several threads at once; must not call back into the Context. May be empty.
using CompileProgress = std::function<void(const CompileEvent &)>;

struct ContextOptions {
  std::string device = "cpu";
  int threads = 0;      ///< CPU: 0 = every core the process may use
  std::string cacheDir; ///< empty: see CacheOptions
  bool useStore = true; ///< false: nothing is read from or written to disk
  bool trustSharedStore = false;
  int64_t storeBytes = 0;           ///< size bound of the store; see CacheOptions::maxBytes
  std::vector<std::string> bundles; ///< files made ahead of time, looked at in this order
  bool allowCompile = true;         ///< false: as if every request said MissPolicy::Refuse
  bool useWinners = true;   ///< a request without schedule takes the tuned one, if there is one
  std::string compilerPath; ///< empty: see CompilerPlugin
  /// Empty: that of the compiler library. An engine that ships a filled store and no compiler names
  /// the build that filled it.
  std::string compilerBuild;
  std::string nvrtc; ///< CUDA: the same for NVRTC; empty: the identity of the one that is found
  int compileThreads = 1;    ///< compilers at once
  int64_t compileMemory = 0; ///< bytes; see CompilePool
  /// How long to wait for another process that compiles the same kernel before compiling it too.
  std::chrono::milliseconds leaseWait{10000};
  LogSink log;
  CompileProgress progress;
};

/// What a caller wants when a kernel has to be compiled.
struct MissPolicy {
  enum Action {
    Wait,    ///< for the kernel; kNotReady if the deadline passes first, and compiling goes on
    StandIn, ///< another kernel that can do the call, as long as this one is being compiled
    Refuse,  ///< what could stand in, else NotFound; nothing is compiled
  };
  Action action = Wait;
  /// Waiting ends after this long; negative: never, and then the caller's own thread compiles.
  /// StandIn: before a stand-in is taken (negative: at once); kNotReady if there is none.
  std::chrono::milliseconds deadline{-1};
};

/// A kernel that is being made, and what came of it. Written and read under the context's lock but
/// for `done`.
struct CompileJob {
  std::atomic<bool> done = false;
  Result<std::shared_ptr<const Kernel>> result = Error{};
};

/// A kernel and how it was asked for.
struct Found {
  std::shared_ptr<const Kernel> kernel;
  Request request;                          ///< complete, with the winner's schedule
  std::shared_ptr<const CompileJob> better; ///< of a stand-in: what it stands in for
};

/// One device, one store, one compiler, one table of kernels. Thread-safe. Kernels outlive it.
class Context {
public:
  /// Fails if the device cannot be opened, a bundle cannot be read or an option makes no sense. A
  /// store or compiler that cannot be used is found out when it is needed.
  static Result<std::shared_ptr<Context>> create(ContextOptions options);

  /// The signature of a pattern: from memory, the store, a bundle, or the compiler.
  Result<Signature> signature(const std::string &patternText, const std::string &patternName = "");

  /// Fills in what the caller leaves open: target and facts of the device, machine "host", build of
  /// the compiler, and the winner's schedule if the request has none. Whether the schedule came
  /// from a winner is told in `tuned` if given.
  Result<Request> complete(Request request, bool *tuned = nullptr) const;

  /// The kernel for a request: from memory, the store, a bundle, or the compiler, whose use is
  /// logged. Of several callers that miss the same key one compiles and the others wait for it; so
  /// do other processes with the same store.
  Result<Found> find(const Request &request, const MissPolicy &policy = {});
  Result<std::shared_ptr<const Kernel>> kernel(const Request &request);
  /// A kernel from artifact bytes that the caller kept.
  Result<std::shared_ptr<const Kernel>> kernelFromBytes(std::string_view bytes);

  /// Keeps a schedule as the one that requests without a schedule take: those of the same length
  /// buckets, and those of the same class whose own buckets have no winner (the latest one counts).
  Status setWinner(const Request &request, const std::map<std::string, int64_t> &schedule);
  /// Changes whenever a kernel found before may no longer be the one to take.
  uint64_t generation() const { return changes.load(std::memory_order_acquire); }

  const ContextOptions &options() const { return given; }
  Device &device() { return *opened; }
  std::shared_ptr<Device> sharedDevice() const { return opened; }
  const Cache &cache() const { return store; }
  CompilerPlugin &compiler() { return plugin; }

private:
  using KernelResult = Result<std::shared_ptr<const Kernel>>;
  /// A request on its way to a kernel.
  struct Wanted {
    Request open; ///< complete but for the schedule, as the caller gave it
    Request full; ///< with the winner's schedule
    std::string openKey, key;
    bool tuned = false;
  };
  /// A kernel in memory, and the schedule of the request it was made for.
  struct Known {
    std::shared_ptr<const Kernel> kernel;
    std::map<std::string, int64_t> schedule;
  };

  explicit Context(ContextOptions options);
  Result<std::string> nvrtcIdentity() const;
  void log(LogLevel level, const std::string &message) const;
  void tell(CompileEvent::Stage stage, const Wanted &wanted, double milliseconds = 0);

  Result<Request> fillIn(Request request) const;
  bool takeWinner(Request &request) const;
  bool takeWinner(Request &request, const Bundle &bundle) const;

  bool recall(const std::string &key, Found &found);
  void remember(const std::string &key, const std::shared_ptr<const Kernel> &kernel,
                const Wanted &wanted);
  KernelResult load(std::string_view bytes, KernelOrigin::Source source, const std::string &key,
                    bool tuned);
  KernelResult fromStore(const std::string &key, bool tuned);
  KernelResult fromBundles(const Request &open);
  KernelResult fromDisk(const Wanted &wanted);
  KernelResult compile(const Wanted &wanted);
  KernelResult compileOnce(const Wanted &wanted);
  Error refusal(const Wanted &wanted) const;

  Result<Found> findPresent(const Wanted &wanted);
  Result<Found> obtain(const Wanted &wanted, const MissPolicy &policy);
  void start(const Wanted &wanted, const std::shared_ptr<CompileJob> &job,
             const MissPolicy &policy);
  void finish(const Wanted &wanted, const std::shared_ptr<CompileJob> &job, KernelResult result);
  Result<Found> standIn(const Wanted &wanted, std::shared_ptr<const CompileJob> better);

  ContextOptions given;
  std::shared_ptr<Device> opened;
  Cache store;
  std::vector<Bundle> bundles;
  mutable CompilerPlugin plugin;
  std::atomic<uint64_t> changes = 0;

  mutable std::mutex mutex;  ///< guards what follows
  mutable std::string nvrtc; ///< identity of NVRTC, once it was needed
  std::condition_variable arrived;
  std::map<std::string, Known> kernels;                    ///< by request or winner key
  std::map<std::string, Signature> signatures;             ///< by signature key
  std::map<std::string, std::shared_ptr<CompileJob>> jobs; ///< by request key: being made
  std::map<std::string, Error> failures; ///< by request key: nobody makes these unasked again

  CompilePool pool; ///< last: its threads use all the rest
};

} // namespace heddle
