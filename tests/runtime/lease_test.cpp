// Leases between processes: one makes an entry and the others wait, but never for the dead and
// never longer than they want to.
#include "runtime/Key.h"
#include "runtime/Lease.h"
#include "tests/runtime/Setting.h"
#include "tests/support/Tier.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <sstream>
#include <thread>

using namespace heddle;
using namespace heddle::test;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

namespace {

constexpr milliseconds kLong{60000};

bool never() { return false; }

/// Runs `body` in a process of its own, which exits with its value.
template <typename Body> pid_t startChild(Body body) {
  const pid_t child = ::fork();
  if (child == 0)
    ::_exit(body());
  return child;
}

int finishChild(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Waits until the file is there.
void awaitFile(const std::string &path) {
  for (int n = 0; n < 6000 && !fs::exists(path); ++n)
    std::this_thread::sleep_for(milliseconds(10));
  REQUIRE(fs::exists(path));
}

double seconds(const std::function<void()> &work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

TEST_CASE("one holds a lease at a time") {
  ScratchFolder folder;
  const std::string path = folder / "key";
  {
    const Lease first(path, kLong, never);
    CHECK(first.held());
    const Lease second(path, milliseconds(20), never);
    CHECK(!second.held());
    CHECK(!Lease(path, kLong, [] { return true; }).held()); // the entry is there: no more waiting
  }
  CHECK(Lease(path, kLong, never).held());
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a killed holder is found out, at once") {
  ScratchFolder folder;
  const std::string path = folder / "key";
  const pid_t child = startChild([&] {
    const Lease lease(path, kLong, never);
    ::pause();
    return 0;
  });
  awaitFile(path);
  CHECK(!Lease(path, milliseconds(50), never).held()); // it lives
  ::kill(child, SIGKILL);
  std::this_thread::sleep_for(milliseconds(50)); // dead, but not waited for: still in /proc
  const double waited = seconds([&] { CHECK(Lease(path, kLong, never).held()); });
  CHECK(waited < 30);
  CHECK(finishChild(child) == -SIGKILL);
  CHECK(Lease(path, kLong, never).held());
}

TEST_CASE("of many that find a dead holder one gets the lease at a time") {
  ScratchFolder folder;
  const std::string path = folder / "key";
  for (int round = 0; round < 20; ++round) {
    const pid_t dead = startChild([&] {
      new Lease(path, kLong, never);
      ::raise(SIGKILL);
      return 0;
    });
    finishChild(dead);
    std::vector<pid_t> children;
    for (int n = 0; n < 4; ++n)
      children.push_back(startChild([&] {
        const Lease lease(path, kLong, never);
        if (!lease.held() || ::mkdir((folder / "inside").c_str(), 0700) != 0)
          return 1;
        ::usleep(2000);
        return ::rmdir((folder / "inside").c_str()) == 0 ? 0 : 1;
      }));
    for (pid_t child : children)
      CHECK(finishChild(child) == 0);
  }
}

TEST_CASE("whoever cannot be asked is waited for a bounded time") {
  ScratchFolder folder;
  const std::string path = folder / "key";
  for (const char *text :
       {"", "nonsense", "11111111-other-boot pid:[4026531836] 1 5 00ff\n", "- - - - -\n"}) {
    std::ofstream(path) << text;
    const Lease lease(path, milliseconds(30), never);
    CHECK(!lease.held());
    CHECK(fs::exists(path));
  }
  CHECK(!Lease(folder / "no/such/folder/key", kLong, never).held());
}

TEST_CASE("a process number that came back is not the holder") {
  ScratchFolder folder;
  const std::string path = folder / "key";
  std::string own;
  {
    const Lease lease(path, kLong, never);
    std::ifstream file(path);
    std::getline(file, own);
  }
  // boot, space, pid, start, nonce: another start time
  std::vector<std::string> fields(5);
  std::istringstream(own) >> fields[0] >> fields[1] >> fields[2] >> fields[3] >> fields[4];
  std::ofstream(path) << fields[0] << " " << fields[1] << " " << fields[2] << " 1 " << fields[4]
                      << "\n";
  CHECK(Lease(path, kLong, never).held());
}

TEST_CASE("of several processes that miss one key, one compiles", "[threads]") {
  Setting setting;
  Setting::delay(300);
  std::vector<pid_t> children;
  for (int n = 0; n < 4; ++n)
    children.push_back(startChild([&] {
      const Result<std::shared_ptr<Context>> context = Context::create(setting.options);
      if (!context.ok())
        return 1;
      const Result<Signature> signature = (*context)->signature("scale");
      const Result<Request> request =
          signature->request("scale", {{"T", 7}, {"D", 10}}, DType::F32);
      const Result<std::shared_ptr<const Kernel>> kernel = (*context)->kernel(*request);
      ScaleCall call(7, 10);
      return kernel.ok() && call.run(**kernel).ok() && call.isRight(2) ? 0 : 1;
    }));
  for (pid_t child : children)
    CHECK(finishChild(child) == 0);
  CHECK(setting.calls("compile") == 1);
}

TEST_CASE("a lease that stays is no more than a bounded delay") {
  Setting setting;
  setting.options.leaseWait = milliseconds(50);
  const std::shared_ptr<Context> context = setting.open();
  const Request request = scaleRequest(*context);
  const std::string key = requestKey(*context->complete(request));
  fs::create_directories(setting.folder / "store/lease");
  std::ofstream(setting.folder / ("store/lease/" + key)) << "another computer\n";
  REQUIRE(context->kernel(request).ok());
  CHECK(setting.open()->kernel(request).ok());
  CHECK(setting.calls("compile") == 1);
}

// Processes compile, read, prune and are killed at random; nobody ever gets a wrong kernel, hangs,
// or reads a torn entry (which would be logged as a warning).
TEST_CASE("torture: processes share a store and are killed at any moment") {
  Setting setting;
  Setting::delay(5);
  const double length = wholeTier() ? 60 : 4;
  const auto end =
      std::chrono::steady_clock::now() +
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(length));
  const auto worker = [&](unsigned seed) {
    std::mt19937 random(seed);
    bool warned = false;
    ContextOptions options = setting.options;
    options.storeBytes = 200000; // a dozen entries: eviction all the time
    options.leaseWait = milliseconds(2000);
    options.log = [&](LogLevel level, std::string_view) { warned |= level == LogLevel::Warning; };
    for (int n = 0; n < 200 && std::chrono::steady_clock::now() < end; ++n) {
      const Result<std::shared_ptr<Context>> context = Context::create(options);
      if (!context.ok())
        return 2;
      for (int turn = 0; turn < 5; ++turn) {
        const int64_t columns = 1 + random() % 30;
        const Result<Signature> signature = (*context)->signature("scale");
        if (!signature.ok())
          return 3;
        const Result<Request> request =
            signature->request("scale", {{"T", 7}, {"D", columns}}, DType::F32);
        const Result<std::shared_ptr<const Kernel>> kernel = (*context)->kernel(*request);
        ScaleCall call(7, columns);
        if (!kernel.ok() || !call.run(**kernel).ok() || !call.isRight(2))
          return 4;
        if (random() % 20 == 0)
          (void)(*context)->cache().prune(50000, -1).ok();
      }
      if (warned)
        return 5;
    }
    return 0;
  };
  std::mt19937 random(7);
  std::vector<pid_t> children(8, 0);
  int killed = 0, ended = 0;
  unsigned seed = 1;
  while (std::chrono::steady_clock::now() < end) {
    pid_t &child = children[random() % children.size()];
    if (child != 0) {
      ::kill(child, SIGKILL);
      const int result = finishChild(child);
      CHECK((result == -SIGKILL || result == 0));
      ++(result == 0 ? ended : killed);
    }
    child = startChild([&] { return worker(seed); });
    ++seed;
    std::this_thread::sleep_for(milliseconds(random() % 40));
  }
  const double waited = seconds([&] {
    for (pid_t child : children)
      if (child != 0)
        CHECK(finishChild(child) == 0);
  });
  CHECK(waited < 120);
  CHECK(killed > 10);
  const Cache cache = setting.open()->cache();
  CHECK(cache.verify()->damaged.empty());
}
