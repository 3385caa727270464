// From a request to a kernel: memory, then the store, then the compiler.
//   kernel(r): fill in device and build -> key -> memory? -> winner -> store? -> compile, keep
#include "runtime/CudaFiles.h"
#include "runtime/Jit.h"
#include "runtime/Key.h"

#include <fmt/format.h>

#include <chrono>

namespace heddle {
namespace {

Cache openStore(const ContextOptions &options) {
  if (!options.useStore)
    return Cache::disabled();
  return Cache::open({options.cacheDir, options.trustSharedStore, options.log});
}

std::string describe(const Request &request) {
  std::string text = request.patternName.empty() ? "a pattern" : request.patternName;
  for (const auto &[dim, extent] : request.dims)
    text += fmt::format(" {}={}", dim, extent);
  for (const auto &[tensor, type] : request.dtypes)
    text += fmt::format(" {}{}{}", tensor == "*" ? "" : tensor, tensor == "*" ? "" : ":",
                        toString(type));
  return text + " for " + request.target;
}

} // namespace

Context::Context(ContextOptions options)
    : given(std::move(options)), store(openStore(given)), plugin(given.compilerPath),
      nvrtc(given.nvrtc) {}

Result<std::shared_ptr<Context>> Context::create(ContextOptions options) {
  HEDDLE_TRY(device, openDevice(options.device, options.threads));
  std::shared_ptr<Context> context(new Context(std::move(options)));
  context->opened = std::move(device);
  return context;
}

void Context::log(LogLevel level, const std::string &message) const {
  if (given.log)
    given.log(level, message);
}

// --- requests ------------------------------------------------------------------------------------

Result<std::string> Context::nvrtcIdentity() const {
  const std::lock_guard lock(mutex);
  if (nvrtc.empty()) {
    HEDDLE_TRY(path, findNvrtc());
    HEDDLE_TRY(identity, fileIdentity(path));
    nvrtc = identity;
  }
  return nvrtc;
}

Result<Request> Context::fillIn(Request request) const {
  if (request.target.empty())
    request.target = opened->target();
  if (request.machine.empty() && request.target == opened->target())
    request.machine = "host";
  if (request.machine == "host" && request.deviceFacts.empty())
    request.deviceFacts = opened->facts();
  if (request.compilerBuild.empty())
    request.compilerBuild = given.compilerBuild;
  if (request.compilerBuild.empty()) {
    HEDDLE_TRY(build, plugin.buildId());
    request.compilerBuild = build;
  }
  if (request.nvrtc.empty() && request.target.starts_with("sm_")) {
    HEDDLE_TRY(identity, nvrtcIdentity());
    request.nvrtc = identity;
  }
  return request;
}

bool Context::takeWinner(Request &request) const {
  if (!given.useWinners || !request.schedule.empty())
    return false;
  std::optional<std::string> text = store.get(EntryKind::Winner, winnerKey(request));
  if (!text)
    text = store.get(EntryKind::Winner, classWinnerKey(request));
  if (!text)
    return false;
  Result<std::map<std::string, int64_t>> schedule = parseScheduleText(*text);
  if (!schedule.ok() || schedule->empty()) {
    log(LogLevel::Warning, "the stored winner of this request cannot be read; tune it again");
    return false;
  }
  request.schedule = std::move(*schedule);
  return true;
}

Result<Request> Context::complete(Request request, bool *tuned) const {
  HEDDLE_TRY(full, fillIn(std::move(request)));
  const bool won = takeWinner(full);
  if (tuned)
    *tuned = won;
  return full;
}

Status Context::setWinner(const Request &request, const std::map<std::string, int64_t> &schedule) {
  Request open = request;
  open.schedule.clear();
  HEDDLE_TRY(full, fillIn(std::move(open)));
  {
    const std::lock_guard lock(mutex);
    kernels.clear(); // requests without schedule, of these lengths and untuned ones, look again
  }
  HEDDLE_CHECK(store.put(EntryKind::Winner, winnerKey(full), scheduleText(schedule)));
  return store.put(EntryKind::Winner, classWinnerKey(full), scheduleText(schedule));
}

// --- signatures ----------------------------------------------------------------------------------

Result<Signature> Context::signature(const std::string &patternText,
                                     const std::string &patternName) {
  const std::string key = signatureKey(patternText, patternName);
  {
    const std::lock_guard lock(mutex);
    if (const auto known = signatures.find(key); known != signatures.end())
      return known->second;
  }
  Result<Signature> signature = Error{};
  if (const std::optional<std::string> bytes = store.get(EntryKind::Signature, key))
    signature = Signature::parse(*bytes);
  if (!signature.ok()) {
    signature = plugin.describe(patternText, patternName);
    if (!signature.ok())
      return signature.error();
    if (store.enabled())
      (void)store.put(EntryKind::Signature, key, signature->serialize()).ok(); // said by the store
  }
  const std::lock_guard lock(mutex);
  return signatures.emplace(key, *signature).first->second;
}

// --- kernels -------------------------------------------------------------------------------------

std::shared_ptr<const Kernel> Context::find(const std::string &key) {
  const std::lock_guard lock(mutex);
  const auto known = kernels.find(key);
  return known == kernels.end() ? nullptr : known->second;
}

Context::KernelResult Context::fromStore(const std::string &key, bool tuned) {
  const Error miss{ErrorCode::NotFound, "not in the store"};
  const std::optional<std::string> bytes = store.get(EntryKind::Artifact, key);
  if (!bytes)
    return miss;
  Result<Artifact> artifact = Artifact::parse(*bytes);
  if (!artifact.ok()) {
    log(LogLevel::Warning, artifact.error().message);
    return miss;
  }
  KernelOrigin origin;
  origin.source = KernelOrigin::Store;
  origin.tuned = tuned;
  origin.key = key;
  return Kernel::load(std::move(*artifact), origin, opened);
}

Context::KernelResult Context::compile(const Request &request, const std::string &key, bool tuned) {
  if (!given.allowCompile)
    return Error{ErrorCode::NotFound,
                 fmt::format("found no kernel for {} in the store, and compiling is not allowed "
                             "here; fill the store beforehand",
                             describe(request)),
                 "",
                 {"request key " + key}};
  const bool open = request.schedule.empty();
  log(LogLevel::Info, fmt::format("compiling {}{}", describe(request),
                                  open ? " with the default schedule; it has not been tuned"
                                       : " with " + scheduleText(request.schedule)));
  const auto start = std::chrono::steady_clock::now();
  HEDDLE_TRY(artifact, plugin.compile(request));
  KernelOrigin origin;
  origin.compileMs =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  origin.tuned = tuned;
  origin.key = key;
  if (store.enabled())
    (void)store.put(EntryKind::Artifact, key, artifact.serialize()).ok(); // said by the store
  return Kernel::load(std::move(artifact), origin, opened);
}

struct Context::Claim {
  Context &context;
  const std::string &key;
  ~Claim() {
    const std::lock_guard lock(context.mutex);
    context.underway.erase(key);
    context.arrived.notify_all();
  }
};

/// Lets one caller at a time work on a key; the others find the kernel in memory afterwards.
Context::KernelResult Context::obtain(const Request &request, const std::string &key, bool tuned) {
  std::unique_lock lock(mutex);
  arrived.wait(lock, [&] { return !underway.count(key); });
  if (const auto known = kernels.find(key); known != kernels.end())
    return known->second;
  underway.insert(key);
  lock.unlock();
  const Claim claim{*this, key}; // given up however this ends, else the others would wait forever
  KernelResult kernel = fromStore(key, tuned);
  if (!kernel.ok() && kernel.error().code == ErrorCode::NotFound)
    kernel = compile(request, key, tuned);
  if (kernel.ok()) {
    lock.lock();
    kernels[key] = *kernel;
    lock.unlock();
  }
  return kernel;
}

Result<std::shared_ptr<const Kernel>> Context::kernel(const Request &request) {
  HEDDLE_TRY(full, fillIn(request));
  if (!opened->runs(full.target))
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found a request for {}, expected {}, which device {} runs; compile it "
                    "without loading",
                    full.target, opened->target(), opened->name())};
  const std::string openKey = full.schedule.empty() ? winnerKey(full) : requestKey(full);
  if (std::shared_ptr<const Kernel> known = find(openKey))
    return known;
  const bool tuned = takeWinner(full);
  const std::string key = requestKey(full);
  HEDDLE_TRY(kernel, obtain(full, key, tuned));
  const std::lock_guard lock(mutex);
  kernels[openKey] = kernel;
  return kernel;
}

Result<std::shared_ptr<const Kernel>> Context::kernelFromBytes(std::string_view bytes) {
  HEDDLE_TRY(artifact, Artifact::parse(bytes));
  KernelOrigin origin;
  origin.source = KernelOrigin::Bytes;
  return Kernel::load(std::move(artifact), origin, opened);
}

} // namespace heddle
