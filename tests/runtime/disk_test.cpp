// Contexts on disks that go wrong: full, read-only, noexec. Kernels are made and run all the same,
// and what is amiss is said once. A disk is a tmpfs in a child's own name space.
#include "tests/runtime/Setting.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr int kNotAllowed = 99;

/// Runs `body` in a child where the store's folder is a file system of its own. The body's result,
/// or kNotAllowed where this user may not mount one.
int onDisk(Setting &setting, unsigned long flags, const char *options,
           const std::function<int()> &body) {
  std::filesystem::create_directories(setting.folder / "store");
  const std::string store = setting.folder / "store";
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("disk", store.c_str(), "tmpfs", flags, options) != 0)
      ::_exit(kNotAllowed);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Kernels of two widths from one context, each twice: 0 if all are right, else where it failed.
int useKernels(Setting &setting) {
  const Result<std::shared_ptr<Context>> context = Context::create(setting.options);
  if (!context.ok())
    return 1;
  for (int64_t columns : {10, 12, 10}) {
    const Result<Signature> signature = (*context)->signature("scale");
    if (!signature.ok())
      return 2;
    const Result<Request> request =
        signature->request("scale", {{"T", 7}, {"D", columns}}, DType::F32);
    const Result<std::shared_ptr<const Kernel>> kernel = (*context)->kernel(*request);
    ScaleCall call(7, columns);
    if (!kernel.ok() || !call.run(**kernel).ok() || !call.isRight(2))
      return 3;
  }
  return 0;
}

int warnings(const Setting &setting, const char *part) {
  int count = 0;
  for (const std::string &line : setting.log)
    count += line.find(part) != line.npos;
  return count;
}

} // namespace

TEST_CASE("on a full disk kernels are made and run, and it is said once") {
  Setting setting;
  const int result = onDisk(setting, 0, "size=4k,mode=0700", [&] {
    if (const int failed = useKernels(setting))
      return failed;
    return warnings(setting, "cannot write to the store") == 1 && setting.log.size() == 3 ? 0 : 10;
  });
  if (result == kNotAllowed)
    HEDDLE_SKIP("this user may not mount a file system");
  CHECK(result == 0); // one warning, and two kernels that were compiled
  CHECK(setting.calls("compile") == 2);
}

TEST_CASE("on a read-only disk kernels are made and run, and it is said once") {
  Setting setting;
  const int result = onDisk(setting, MS_RDONLY, "mode=0700", [&] {
    if (const int failed = useKernels(setting))
      return failed;
    return warnings(setting, "store") == 1 ? 0 : 10;
  });
  if (result == kNotAllowed)
    HEDDLE_SKIP("this user may not mount a file system");
  CHECK(result == 0);
  CHECK(setting.calls("compile") == 2);
}

TEST_CASE("a store on a noexec disk works") {
  Setting setting;
  const int result = onDisk(setting, MS_NOEXEC | MS_NOSUID, "mode=0700", [&] {
    for (int process = 0; process < 2; ++process) // the second takes what the first kept
      if (const int failed = useKernels(setting))
        return failed;
    return warnings(setting, "store") == 0 ? 0 : 10;
  });
  if (result == kNotAllowed)
    HEDDLE_SKIP("this user may not mount a file system");
  CHECK(result == 0);
  CHECK(setting.calls("compile") == 2);
}
