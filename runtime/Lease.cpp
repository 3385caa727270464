// A lease is a file that only one process can create; its text names the holder:
//   <boot id> <pid namespace> <pid> <start time of the process> <nonce>
// A pid comes back after a while, its start time (clock ticks since boot) does not.
#include "runtime/Lease.h"

#include "runtime/File.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sstream>
#include <thread>

namespace heddle {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{1}, kLongestPause{50};

/// A file of /proc, whose size is not known before it is read.
std::string readProc(const std::string &path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const size_t size = file.number < 0 ? 0 : readUpTo(file.number, text, sizeof(text));
  return {text, size};
}

/// Field 22 of /proc/PID/stat, counted from behind the name, which may hold anything. Empty if
/// there is no such process, or it is dead and only not yet waited for.
std::string startTime(const std::string &pid) {
  const std::string stat = readProc("/proc/" + pid + "/stat");
  const size_t name = stat.rfind(')');
  if (name == stat.npos)
    return "";
  std::istringstream fields(stat.substr(name + 1));
  std::string field;
  for (int n = 3; n <= 22 && fields >> field; ++n)
    if (n == 3 && (field == "Z" || field == "X"))
      return "";
  return field;
}

struct Holder {
  std::string boot, space, pid, start, nonce;

  static Holder self() {
    Holder own;
    std::istringstream(readProc("/proc/sys/kernel/random/boot_id")) >> own.boot;
    char space[64];
    const ssize_t size = ::readlink("/proc/self/ns/pid", space, sizeof(space));
    own.space.assign(space, std::max<ssize_t>(size, 0));
    own.pid = std::to_string(::getpid());
    own.start = startTime(own.pid);
    uint64_t random = 0;
    if (::getrandom(&random, sizeof(random), 0) != sizeof(random))
      random = Clock::now().time_since_epoch().count();
    own.nonce = fmt::format("{:016x}", random);
    return own;
  }
  static std::optional<Holder> parse(const std::string &text) {
    Holder holder;
    std::istringstream fields(text);
    if (fields >> holder.boot >> holder.space >> holder.pid >> holder.start >> holder.nonce)
      return holder;
    return std::nullopt;
  }
  std::string text() const {
    return fmt::format("{} {} {} {} {}\n", boot.empty() ? "-" : boot, space.empty() ? "-" : space,
                       pid, start.empty() ? "-" : start, nonce);
  }
};

/// Whether the holder certainly lives no more: it ran under this boot and these process numbers.
bool isGone(const Holder &holder, const Holder &own) {
  if (holder.boot != own.boot || holder.space != own.space || own.start.empty())
    return false;
  return startTime(holder.pid) != holder.start;
}

/// Puts the lease in place with its text complete, which a crash between creating and writing a
/// file would not. 0 or errno; EEXIST if somebody holds it.
int take(const std::string &path, const Holder &own) {
  const std::string beside = path + "." + own.nonce;
  {
    const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.number < 0)
      return errno;
    if (!writeAll(file.number, own.text())) {
      const int error = errno;
      ::unlink(beside.c_str());
      return error;
    }
  }
  const int error = ::link(beside.c_str(), path.c_str()) == 0 ? 0 : errno;
  ::unlink(beside.c_str());
  return error;
}

/// Removes a dead holder's lease, and no other: of several that try one gets to rename it.
void clear(const std::string &path, const Holder &dead, const Holder &own) {
  const std::string aside = path + "." + own.nonce;
  if (::rename(path.c_str(), aside.c_str()) != 0)
    return;
  const Result<std::string> text = readFile(aside);
  if (text.ok() && *text != dead.text())        // a new holder's: give it back
    (void)!::link(aside.c_str(), path.c_str()); // or lose it: then work is done twice
  ::unlink(aside.c_str());
}

} // namespace

Lease::Lease(std::string where, milliseconds patience, const std::function<bool()> &arrived)
    : path(std::move(where)) {
  const Holder own = Holder::self();
  const Clock::time_point end = Clock::now() + patience;
  for (milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const int error = take(path, own);
    mine = error == 0;
    if (error != EEXIST)
      return;
    const Result<std::string> text = readFile(path);
    const std::optional<Holder> holder = text.ok() ? Holder::parse(*text) : std::nullopt;
    if (holder && isGone(*holder, own)) {
      clear(path, *holder, own);
      continue;
    }
    if (arrived() || Clock::now() >= end)
      return;
    std::this_thread::sleep_for(pause);
  }
}

Lease::~Lease() {
  if (mine)
    ::unlink(path.c_str());
}

} // namespace heddle
