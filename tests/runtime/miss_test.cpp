// What happens when a kernel is not there yet: deadlines, stand-ins, refusals, the bound on
// compilers, and callers who meet at one job.
#include "runtime/Key.h"
#include "runtime/Pattern.h"
#include "tests/runtime/Setting.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

using namespace heddle;
using namespace heddle::test;
using std::chrono::milliseconds;

namespace {

MissPolicy waitFor(int ms) { return {MissPolicy::Wait, milliseconds(ms)}; }
const MissPolicy kStandIn{MissPolicy::StandIn, milliseconds(0)};
const MissPolicy kRefuse{MissPolicy::Refuse, milliseconds(0)};

/// Asks until the answer is no stand-in and no NotReady, at most for a minute.
Result<Found> settled(Context &context, const Request &request) {
  for (int n = 0; n < 6000; ++n) {
    Result<Found> found = context.find(request, kStandIn);
    const bool wait = found.ok() ? found->better != nullptr : found.error().code == kNotReady;
    if (!wait)
      return found;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return Error{ErrorCode::Internal, "it never settled"};
}

} // namespace

TEST_CASE("a deadline ends the wait, and compiling goes on", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  Setting::delay(300);
  const Result<Found> early = context->find(request, waitFor(1));
  REQUIRE(!early.ok());
  CHECK(early.error().code == kNotReady);
  CHECK(early.error().message.find("scale D=10 f32 for cpu is still being compiled after 1 ms") !=
        std::string::npos);
  const Result<Found> late = context->find(request, waitFor(60000));
  REQUIRE(late.ok());
  ScaleCall call(7, 10);
  REQUIRE(call.run(*late->kernel).ok());
  CHECK(call.isRight(2));
  CHECK(context->kernel(request).ok());
  CHECK(setting.calls("compile") == 1);
}

TEST_CASE("a wider kernel or the default schedule stands in until the better one is there",
          "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request any = scaleRequest(*context, 10, 777), few = scaleRequest(*context, 10, 7);
  Setting::delay(300);
  Result<Found> none = context->find(few, kStandIn); // nothing could stand in yet
  REQUIRE(!none.ok());
  CHECK(none.error().code == kNotReady);
  REQUIRE(settled(*context, few).ok());

  Request other = few;
  other.dims["D"] = 12;
  Request wide = any;
  wide.dims["D"] = 12;
  REQUIRE(context->kernel(wide).ok());
  Setting::delay(300);
  const Result<Found> standIn = context->find(other, kStandIn);
  REQUIRE(standIn.ok());
  CHECK(standIn->better);
  CHECK(standIn->kernel == *context->kernel(wide));
  ScaleCall call(7, 12);
  REQUIRE(call.run(*standIn->kernel).ok());
  CHECK(call.isRight(2));
  const Result<Found> better = settled(*context, other);
  REQUIRE(better.ok());
  CHECK(better->kernel != standIn->kernel);
  CHECK(standIn->better->done);

  // A winner's schedule that has to be compiled: the default one stands in, from a new process too.
  REQUIRE(context->setWinner(other, {{"BM", 32}}).ok());
  const std::shared_ptr<Context> next = setting.open();
  const Result<Found> untuned = next->find(other, kStandIn);
  REQUIRE(untuned.ok());
  CHECK(untuned->better);
  CHECK(untuned->kernel->origin().source == KernelOrigin::Store);
  CHECK(untuned->kernel->scheduleText().empty());
  CHECK(settled(*next, other)->kernel->scheduleText() == "BM=32");
}

TEST_CASE("a registered pattern changes over when the better kernel is there", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const std::shared_ptr<Pattern> pattern = *Pattern::make(context, "scale");
  ScaleCall small(7, 10), large(777, 10);
  REQUIRE(pattern->find(large.tensors, {}).ok());
  Setting::delay(300);
  PatternOptions options;
  options.miss = kStandIn;
  const Result<Pattern::EntryPointer> first = pattern->find(small.tensors, {}, options);
  REQUIRE(first.ok());
  CHECK((*first)->found.better);
  Result<Pattern::EntryPointer> last = first;
  for (int n = 0; n < 6000 && (*last)->found.better; ++n) {
    std::this_thread::sleep_for(milliseconds(10));
    last = pattern->find(small.tensors, {}, options);
    REQUIRE(last.ok());
  }
  CHECK((*last)->found.kernel != (*first)->found.kernel);
  CHECK(setting.calls("compile") == 2);
}

TEST_CASE("refusing compiles nothing, and takes what is there", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  const Result<Found> refused = context->find(request, kRefuse);
  REQUIRE(!refused.ok());
  CHECK(refused.error().code == ErrorCode::NotFound);
  CHECK(setting.calls("compile") == 0);
  REQUIRE(context->kernel(request).ok());
  CHECK(context->find(request, kRefuse).ok());
  CHECK(setting.open()->find(request, kRefuse)->kernel->origin().source == KernelOrigin::Store);
}

TEST_CASE("what cannot be compiled is tried in the background once", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  Request request = scaleRequest(*context);
  request.patternText = "refuse";
  const Result<Found> found = settled(*context, request);
  REQUIRE(!found.ok());
  CHECK(found.error().code == ErrorCode::InvalidPattern);
  for (int n = 0; n < 5; ++n)
    CHECK(context->find(request, kStandIn).error().code == ErrorCode::InvalidPattern);
  CHECK(setting.calls("compile") == 1);
  CHECK(!context->kernel(request).ok()); // asked outright, it is tried again
  CHECK(setting.calls("compile") == 2);
}

TEST_CASE("no more compilers run at once than the bounds allow", "[threads]") {
  for (const auto &[threads, memory, most] :
       {std::tuple(1, int64_t(0), 1), {3, int64_t(0), 3}, {3, 2 * kCompilerBytes, 2}, {3, 1, 1}}) {
    Setting setting;
    std::atomic<int> running = 0, peak = 0, finished = 0;
    setting.options.compileThreads = threads;
    setting.options.compileMemory = memory;
    setting.options.useStore = false;
    setting.options.progress = [&](const CompileEvent &event) {
      if (event.stage == CompileEvent::Started)
        peak = std::max<int>(peak, ++running);
      if (event.stage == CompileEvent::Finished) {
        --running;
        ++finished;
      }
    };
    const std::shared_ptr<Context> context = setting.open();
    const Request request = scaleRequest(*context);
    Setting::delay(60);
    std::vector<std::thread> callers;
    for (int n = 0; n < 6; ++n)
      callers.emplace_back([&, n] {
        Request mine = request;
        mine.dims["D"] = 20 + n;
        (void)context->find(mine, n % 2 ? waitFor(60000) : MissPolicy()).ok();
      });
    for (std::thread &caller : callers)
      caller.join();
    INFO("threads " << threads << ", memory " << memory);
    CHECK(finished == 6);
    CHECK(peak <= most);
  }
}

TEST_CASE(
    "a context that goes while kernels are being compiled waits for them and drops the rest") {
  Setting setting;
  {
    const std::shared_ptr<Context> context = setting.open();
    const Request request = scaleRequest(*context);
    Setting::delay(200);
    for (int n = 0; n < 4; ++n) {
      Request mine = request;
      mine.dims["D"] = 30 + n;
      CHECK(context->find(mine, kStandIn).error().code == kNotReady);
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
  CHECK(setting.calls("compile") <= 1);
}

TEST_CASE("a forked child compiles on its own", "[threads]") {
  Setting setting;
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  Setting::delay(100);
  CHECK(!context->find(request, waitFor(0)).ok()); // the parent has a compiling thread now
  REQUIRE(context->find(request, waitFor(60000)).ok());
  const pid_t child = ::fork();
  if (child == 0) {
    Request other = request;
    other.dims["D"] = 40;
    const bool right = context->find(other, waitFor(60000)).ok();
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
