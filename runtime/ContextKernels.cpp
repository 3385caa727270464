// From a request to a kernel: memory, then store and bundles, then the compiler.
//   find(r): fill in device and build -> key -> memory? -> winner -> store? bundle? -> compile,
//   keep
// A compile is a job that any number of callers wait for, each as long as its policy says. Without
// a deadline the first caller's own thread does the work, else a thread of the pool.
#include "runtime/Jit.h"
#include "runtime/Key.h"
#include "runtime/Lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace heddle {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string describe(const Request &request) {
  std::string text = request.patternName.empty() ? "a pattern" : request.patternName;
  for (const auto &[dim, extent] : request.dims)
    text += fmt::format(" {}={}", dim, extent);
  for (const auto &[tensor, type] : request.dtypes)
    text += fmt::format(" {}{}{}", tensor == "*" ? "" : tensor, tensor == "*" ? "" : ":",
                        toString(type));
  return text + " for " + request.target;
}

/// Requests whose kernels can do all that this one's can, the nearest first: the default schedule
/// in place of the winner's, wider classes.
std::vector<Request> widerRequests(const Request &open, const Request &full) {
  const auto any = [](ExtentClass &extent) { extent = {}; };
  const auto noMultiple = [](ExtentClass &extent) { extent.multipleOf16 = false; };
  const auto same = [](ExtentClass &) {};
  const auto longer = [](ExtentClass &extent) {
    extent = {std::max(extent.bound, ExtentClass::UpTo4096), false};
  };
  std::vector<Request> wider;
  for (const auto &widen :
       {std::function<void(ExtentClass &)>(same), {noMultiple}, {longer}, {any}})
    for (const Request *base : {&full, &open}) {
      Request request = *base;
      for (auto &[dim, extent] : request.extents)
        widen(extent);
      if (request != full && std::find(wider.begin(), wider.end(), request) == wider.end())
        wider.push_back(std::move(request));
    }
  return wider;
}

Error notInStore() { return {ErrorCode::NotFound, "not in the store"}; }

} // namespace

void Context::tell(CompileEvent::Stage stage, const Wanted &wanted, double milliseconds) {
  if (!given.progress)
    return;
  const std::string what = describe(wanted.full);
  CompileEvent event{stage, what, wanted.key, milliseconds, 0};
  {
    const std::lock_guard lock(mutex);
    event.waiting = static_cast<int>(jobs.size());
  }
  given.progress(event);
}

// --- what there is -------------------------------------------------------------------------------

bool Context::recall(const std::string &key, Found &found) {
  const std::lock_guard lock(mutex);
  const auto known = kernels.find(key);
  if (known == kernels.end())
    return false;
  found.kernel = known->second.kernel;
  found.request.schedule = known->second.schedule;
  return true;
}

void Context::remember(const std::string &key, const std::shared_ptr<const Kernel> &kernel,
                       const Wanted &wanted) {
  const std::lock_guard lock(mutex);
  kernels[key] = {kernel, wanted.full.schedule};
}

Context::KernelResult Context::load(std::string_view bytes, KernelOrigin::Source source,
                                    const std::string &key, bool tuned) {
  Result<Artifact> artifact = Artifact::parse(bytes);
  if (!artifact.ok()) {
    log(LogLevel::Warning, artifact.error().message);
    return notInStore();
  }
  KernelOrigin origin;
  origin.source = source;
  origin.tuned = tuned;
  origin.key = key;
  return Kernel::load(std::move(*artifact), origin, opened);
}

Context::KernelResult Context::fromStore(const std::string &key, bool tuned) {
  const std::optional<std::string> bytes = store.get(EntryKind::Artifact, key);
  if (!bytes)
    return notInStore();
  return load(*bytes, KernelOrigin::Store, key, tuned);
}

/// The first kernel, over all targets of all bundles, that this device can run.
Context::KernelResult Context::fromBundles(const Request &open) {
  for (const Bundle &bundle : bundles)
    for (const Request &target : bundle.targets()) {
      if (!opened->runs(target.target))
        continue;
      Request request = forTarget(open, target);
      const bool tuned = takeWinner(request, bundle);
      const std::string key = requestKey(request);
      const Result<std::string> bytes = bundle.get(EntryKind::Artifact, key);
      if (!bytes.ok() && bytes.error().code != ErrorCode::NotFound)
        log(LogLevel::Warning, bytes.error().message);
      if (!bytes.ok())
        continue;
      KernelResult kernel = load(*bytes, KernelOrigin::Bundle, key, tuned);
      if (kernel.ok())
        return kernel;
    }
  return notInStore();
}

Context::KernelResult Context::fromDisk(const Wanted &wanted) {
  KernelResult kernel = fromStore(wanted.key, wanted.tuned);
  if (!kernel.ok() && kernel.error().code == ErrorCode::NotFound)
    kernel = fromBundles(wanted.open);
  return kernel;
}

// --- the compiler --------------------------------------------------------------------------------

Error Context::refusal(const Wanted &wanted) const {
  return {ErrorCode::NotFound,
          fmt::format("found no kernel for {} in the store{}, and compiling is not allowed here; "
                      "fill the store beforehand",
                      describe(wanted.full), bundles.empty() ? "" : " and the bundles"),
          "",
          {"request key " + wanted.key}};
}

Context::KernelResult Context::compile(const Wanted &wanted) {
  const Request &request = wanted.full;
  log(LogLevel::Info,
      fmt::format("compiling {}{}", describe(request),
                  request.schedule.empty() ? " with the default schedule; it has not been tuned"
                                           : " with " + scheduleText(request.schedule)));
  tell(CompileEvent::Started, wanted);
  const Clock::time_point start = Clock::now();
  Result<Artifact> artifact = plugin.compile(request);
  KernelOrigin origin;
  origin.compileMs = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  origin.tuned = wanted.tuned;
  origin.key = wanted.key;
  tell(artifact.ok() ? CompileEvent::Finished : CompileEvent::Failed, wanted, origin.compileMs);
  if (!artifact.ok())
    return artifact.error();
  if (store.enabled()) // a failure is said by the store
    (void)store.put(EntryKind::Artifact, wanted.key, artifact->serialize()).ok();
  return Kernel::load(std::move(*artifact), origin, opened);
}

/// Compiles unless another process does so first.
Context::KernelResult Context::compileOnce(const Wanted &wanted) {
  try {
    const std::string path = store.leasePath(wanted.key);
    if (path.empty())
      return compile(wanted);
    const Lease lease(path, given.leaseWait,
                      [&] { return store.has(EntryKind::Artifact, wanted.key); });
    KernelResult made = fromStore(wanted.key, wanted.tuned);
    return made.ok() ? made : compile(wanted);
  } catch (const std::bad_alloc &) {
    return Error{ErrorCode::ResourceExhausted, "out of memory while compiling"};
  }
}

// --- jobs ----------------------------------------------------------------------------------------

void Context::finish(const Wanted &wanted, const std::shared_ptr<CompileJob> &job,
                     KernelResult result) {
  const std::lock_guard lock(mutex);
  if (result.ok())
    kernels[wanted.key] = kernels[wanted.openKey] = {*result, wanted.full.schedule};
  if (result.ok())
    failures.erase(wanted.key);
  else
    failures.insert_or_assign(wanted.key, result.error());
  job->result = std::move(result);
  job->done.store(true, std::memory_order_release);
  jobs.erase(wanted.key);
  arrived.notify_all();
}

/// Finishes the job, on this thread or later on one of the pool.
void Context::start(const Wanted &wanted, const std::shared_ptr<CompileJob> &job,
                    const MissPolicy &policy) {
  KernelResult kernel = fromDisk(wanted);
  if (kernel.ok() || kernel.error().code != ErrorCode::NotFound)
    return finish(wanted, job, std::move(kernel));
  const bool here = policy.action == MissPolicy::Wait && policy.deadline.count() < 0;
  if (!here) {
    tell(CompileEvent::Queued, wanted);
    const auto work = [this, wanted, job] {
      KernelResult made = compileOnce(wanted);
      if (!made.ok())
        log(LogLevel::Warning, fmt::format("{} cannot be compiled: {}", describe(wanted.full),
                                           made.error().toString()));
      finish(wanted, job, std::move(made));
    };
    if (pool.post(work))
      return;
  }
  pool.runHere([&] { kernel = compileOnce(wanted); });
  finish(wanted, job, std::move(kernel));
}

Result<Found> Context::obtain(const Wanted &wanted, const MissPolicy &policy) {
  const bool forever = policy.action == MissPolicy::Wait && policy.deadline.count() < 0;
  const Clock::time_point end =
      Clock::now() + std::max(forever ? milliseconds(0) : policy.deadline, milliseconds(0));
  std::unique_lock lock(mutex);
  if (const auto known = kernels.find(wanted.key); known != kernels.end())
    return Found{known->second.kernel, wanted.full, nullptr};
  if (const auto failed = failures.find(wanted.key);
      failed != failures.end() && policy.action == MissPolicy::StandIn) {
    const Error reason = failed->second;
    lock.unlock();
    Result<Found> other = standIn(wanted, nullptr);
    return other.ok() ? other : reason;
  }
  std::shared_ptr<CompileJob> &place = jobs[wanted.key];
  const bool isNew = place == nullptr;
  if (isNew)
    place = std::make_shared<CompileJob>();
  const std::shared_ptr<CompileJob> job = place;
  if (isNew) {
    lock.unlock();
    try {
      start(wanted, job, policy);
    } catch (const std::bad_alloc &) { // the others would wait forever
      finish(wanted, job, Error{ErrorCode::ResourceExhausted, "out of memory"});
    }
    lock.lock();
  }
  const auto isDone = [&] { return job->done.load(std::memory_order_acquire); };
  if (forever)
    arrived.wait(lock, isDone);
  else
    arrived.wait_until(lock, end, isDone);
  if (isDone()) {
    if (!job->result.ok())
      return job->result.error();
    return Found{*job->result, wanted.full, nullptr};
  }
  lock.unlock();
  if (policy.action == MissPolicy::StandIn)
    return standIn(wanted, job);
  return Error{kNotReady,
               fmt::format("the kernel for {} is still being compiled after {} ms; ask again later",
                           describe(wanted.full), policy.deadline.count())};
}

Result<Found> Context::standIn(const Wanted &wanted, std::shared_ptr<const CompileJob> better) {
  for (const Request &request : widerRequests(wanted.open, wanted.full)) {
    Wanted wider{request, request, "", requestKey(request), false};
    Found found{nullptr, request, better};
    if (recall(wider.key, found))
      return found;
    const KernelResult kernel = fromDisk(wider);
    if (!kernel.ok())
      continue;
    remember(wider.key, *kernel, wider);
    log(LogLevel::Info,
        fmt::format("a kernel of a wider class or the default schedule stands in "
                    "for {}{}",
                    describe(wanted.full), better ? ", which is being compiled" : ""));
    found.kernel = *kernel;
    return found;
  }
  return Error{kNotReady,
               fmt::format("the kernel for {} is being compiled, and neither store nor bundle has "
                           "one that could stand in; ask again later, or wait with a deadline",
                           describe(wanted.full))};
}

/// What memory and disk have, if need be of a wider class, for callers that will have nothing
/// compiled.
Result<Found> Context::findPresent(const Wanted &wanted) {
  Found found{nullptr, wanted.full, nullptr};
  if (recall(wanted.key, found))
    return found;
  KernelResult kernel = fromDisk(wanted);
  if (!kernel.ok()) {
    if (kernel.error().code != ErrorCode::NotFound)
      return kernel.error();
    Result<Found> other = standIn(wanted, nullptr);
    if (!other.ok())
      return refusal(wanted);
    remember(wanted.openKey, other->kernel, wanted);
    return other;
  }
  remember(wanted.key, *kernel, wanted);
  remember(wanted.openKey, *kernel, wanted);
  found.kernel = *kernel;
  return found;
}

// --- the way in ----------------------------------------------------------------------------------

Result<Found> Context::find(const Request &request, const MissPolicy &policy) {
  Wanted wanted;
  HEDDLE_TRY(open, fillIn(request));
  if (!opened->runs(open.target))
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found a request for {}, expected {}, which device {} runs; compile it "
                    "without loading",
                    open.target, opened->target(), opened->name())};
  wanted.openKey = open.schedule.empty() ? winnerKey(open) : requestKey(open);
  Found found{nullptr, open, nullptr};
  if (recall(wanted.openKey, found))
    return found;
  wanted.full = wanted.open = std::move(open);
  wanted.tuned = takeWinner(wanted.full);
  wanted.key = requestKey(wanted.full);
  if (policy.action == MissPolicy::Refuse || !given.allowCompile)
    return findPresent(wanted);
  Result<Found> made = obtain(wanted, policy);
  if (!made.ok() && made.error().code == ErrorCode::NotFound) // no compiler: take what could do it
    if (Result<Found> other = standIn(wanted, nullptr); other.ok())
      made = std::move(other);
  if (made.ok() && !made->better)
    remember(wanted.openKey, made->kernel, wanted);
  return made;
}

Result<std::shared_ptr<const Kernel>> Context::kernel(const Request &request) {
  HEDDLE_TRY(found, find(request));
  return found.kernel;
}

Result<std::shared_ptr<const Kernel>> Context::kernelFromBytes(std::string_view bytes) {
  HEDDLE_TRY(artifact, Artifact::parse(bytes));
  KernelOrigin origin;
  origin.source = KernelOrigin::Bytes;
  return Kernel::load(std::move(artifact), origin, opened);
}

} // namespace heddle
