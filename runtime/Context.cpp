// The context's requests, winners and signatures; ContextKernels.cpp has the way to a kernel.
#include "runtime/CudaFiles.h"
#include "runtime/Jit.h"
#include "runtime/Key.h"

#include <fmt/format.h>

namespace heddle {
namespace {

constexpr int kMaxCompilers = 256;

Cache openStore(const ContextOptions &options) {
  if (!options.useStore)
    return Cache::disabled();
  return Cache::open({options.cacheDir, options.trustSharedStore, options.log, options.storeBytes});
}

Status checkOptions(const ContextOptions &options) {
  const auto wrong = [](const char *what, int64_t found, const char *expected) {
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found {} {}, expected {}", found, what, expected)};
  };
  if (options.compileThreads < 1 || options.compileThreads > kMaxCompilers)
    return wrong("compile threads", options.compileThreads, "1 to 256");
  if (options.compileMemory < 0)
    return wrong("bytes for compilers", options.compileMemory, "0 (no bound) or more");
  if (options.storeBytes < 0)
    return wrong("bytes for the store", options.storeBytes, "0 (the default) or more");
  return {};
}

} // namespace

Context::Context(ContextOptions options)
    : given(std::move(options)), store(openStore(given)), plugin(given.compilerPath),
      nvrtc(given.nvrtc), pool(given.compileThreads, given.compileMemory) {}

Result<std::shared_ptr<Context>> Context::create(ContextOptions options) {
  HEDDLE_CHECK(checkOptions(options));
  HEDDLE_TRY(device, openDevice(options.device, options.threads));
  std::vector<Bundle> bundles;
  for (const std::string &path : options.bundles) {
    HEDDLE_TRY(bundle, Bundle::open(path, options.trustSharedStore));
    bundles.push_back(std::move(bundle));
  }
  std::shared_ptr<Context> context(new Context(std::move(options)));
  context->opened = std::move(device);
  context->bundles = std::move(bundles);
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
    Result<std::string> build = plugin.buildId();
    if (!build.ok() && bundles.empty())
      return build.error();
    // Without a compiler the bundles alone can help, and know the builds that they come from.
    request.compilerBuild = build.ok() ? *build : "none";
  }
  if (request.nvrtc.empty() && request.target.starts_with("sm_")) {
    Result<std::string> identity = nvrtcIdentity();
    if (!identity.ok() && bundles.empty())
      return identity.error();
    request.nvrtc = identity.ok() ? *identity : "none";
  }
  return request;
}

static bool readWinner(const std::string &text, Request &request) {
  Result<std::map<std::string, int64_t>> schedule = parseScheduleText(text);
  if (!schedule.ok() || schedule->empty())
    return false;
  request.schedule = std::move(*schedule);
  return true;
}

bool Context::takeWinner(Request &request) const {
  if (!given.useWinners || !request.schedule.empty() || !store.enabled())
    return false;
  std::optional<std::string> text = store.get(EntryKind::Winner, winnerKey(request));
  if (!text)
    text = store.get(EntryKind::Winner, classWinnerKey(request));
  if (!text)
    return false;
  if (!readWinner(*text, request)) {
    log(LogLevel::Warning, "the stored winner of this request cannot be read; tune it again");
    return false;
  }
  return true;
}

bool Context::takeWinner(Request &request, const Bundle &bundle) const {
  if (!given.useWinners || !request.schedule.empty())
    return false;
  Result<std::string> text = bundle.get(EntryKind::Winner, winnerKey(request));
  if (!text.ok())
    text = bundle.get(EntryKind::Winner, classWinnerKey(request));
  return text.ok() && readWinner(*text, request);
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
  const Status kept = [&]() -> Status {
    HEDDLE_CHECK(store.put(EntryKind::Winner, winnerKey(full), scheduleText(schedule)));
    return store.put(EntryKind::Winner, classWinnerKey(full), scheduleText(schedule));
  }();
  const std::lock_guard lock(mutex);
  kernels.clear(); // requests without schedule, of these lengths and untuned ones, look again
  changes.fetch_add(1, std::memory_order_release);
  return kept;
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
  for (size_t n = 0; n < bundles.size() && !signature.ok(); ++n)
    if (const Result<std::string> bytes = bundles[n].get(EntryKind::Signature, key); bytes.ok())
      signature = Signature::parse(*bytes);
  if (!signature.ok() && !given.allowCompile)
    return Error{ErrorCode::NotFound,
                 "found no signature of this pattern in the store or a bundle, and the compiler is "
                 "not allowed here; fill the store beforehand"};
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

} // namespace heddle
