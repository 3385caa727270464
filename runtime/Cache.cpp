// Opening the store, reading and writing entries. An entry is written to a file of its own in the
// same folder and renamed over the old one, so readers see the old or the new one, never a part.
//   put(Artifact, "3f9a", bytes):  artifact/.writing-<random>  ->  artifact/3f9a
#include "runtime/CacheEntry.h"
#include "runtime/CacheState.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>

namespace heddle {
namespace {

constexpr int64_t kTouchAfterSeconds = 3600; ///< reads mark an entry used at most this often
constexpr int64_t kMaxEntryBytes = int64_t(1) << 30;

/// Closes itself.
struct File {
  int descriptor;
  explicit File(int descriptor) : descriptor(descriptor) {}
  ~File() {
    if (descriptor >= 0)
      ::close(descriptor);
  }
  File(const File &) = delete;
  File &operator=(const File &) = delete;
};

bool writeAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return false;
    bytes.remove_prefix(written);
  }
  return true;
}

/// Creates the folder and those above it, closed to others; 0 or errno.
int makeFolders(const std::string &path) {
  for (size_t at = 1; at <= path.size(); ++at)
    if (at == path.size() || path[at] == '/')
      if (::mkdir(path.substr(0, at).c_str(), 0700) != 0 && errno != EEXIST && at == path.size())
        return errno;
  struct stat status;
  return ::stat(path.c_str(), &status) != 0 ? errno : S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
}

/// Why the folder must not be trusted with code, or empty.
std::string untrusted(const std::string &path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0)
    return systemMessage(errno);
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return fmt::format("belongs to user {}", status.st_uid);
  if (status.st_mode & (S_IWGRP | S_IWOTH))
    return fmt::format("can be written to by others (mode {:o})", status.st_mode & 07777);
  return "";
}

/// Whole hours are enough for "least recently used", and spare most writes.
void markUsed(const std::string &path) {
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 &&
      ::time(nullptr) - status.st_mtim.tv_sec > kTouchAfterSeconds)
    ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0); // a read-only store stays as it is
}

} // namespace

std::string systemMessage(int error) { return std::system_category().message(error); }

Result<std::string> readFile(const std::string &path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status;
  if (file.descriptor < 0 || ::fstat(file.descriptor, &status) != 0)
    return Error{errno == ENOENT ? ErrorCode::NotFound : ErrorCode::IoError,
                 fmt::format("cannot read {}: {}", path, systemMessage(errno))};
  if (!S_ISREG(status.st_mode) || status.st_size > kMaxEntryBytes)
    return Error{ErrorCode::IoError, fmt::format("{} is no regular file below 1 GiB", path)};
  std::string bytes(status.st_size, '\0');
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t got = ::read(file.descriptor, bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    at += got;
  }
  bytes.resize(at); // shorter than announced: the checksum will tell
  return bytes;
}

Result<std::string> Cache::resolveDirectory(const std::string &option) {
  const auto environment = [](const char *name) {
    const char *value = std::getenv(name);
    return std::string(value ? value : "");
  };
  std::string path = option.empty() ? environment("HEDDLE_CACHE") : option;
  if (path.empty() && !environment("XDG_CACHE_HOME").empty())
    path = environment("XDG_CACHE_HOME") + "/heddle";
  if (path.empty() && !environment("HOME").empty())
    path = environment("HOME") + "/.cache/heddle";
  if (path.empty())
    return Error{ErrorCode::NotFound,
                 "found none of HEDDLE_CACHE, XDG_CACHE_HOME and HOME set, expected one of them to "
                 "say where kernels are kept; set HEDDLE_CACHE"};
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  return path;
}

Cache Cache::disabled() { return Cache(std::make_shared<State>()); }

Cache Cache::open(CacheOptions options) {
  std::shared_ptr<State> state = std::make_shared<State>();
  state->log = std::move(options.log);
  const auto without = [&state](const std::string &reason) {
    state->say(LogLevel::Warning, reason + "; going on without a store, kernels are not kept");
    return Cache(state);
  };
  Result<std::string> path = resolveDirectory(options.directory);
  if (!path.ok())
    return without(path.error().message);
  if (const int error = makeFolders(*path))
    return without(fmt::format("cannot use the store {}: {}", *path, systemMessage(error)));
  std::string distrust = options.trustShared ? "" : untrusted(*path);
  for (EntryKind kind : kEntryKinds) {
    const std::string folder = *path + "/" + toString(kind);
    ::mkdir(folder.c_str(), 0700);
    if (distrust.empty() && !options.trustShared && ::access(folder.c_str(), F_OK) == 0)
      distrust = untrusted(folder);
  }
  if (!distrust.empty())
    return without(
        fmt::format("the store {} {}, and its entries are code that runs as you: make it "
                    "yours alone (chmod 700), or allow a shared store",
                    *path, distrust));
  state->directory = *path;
  return Cache(state);
}

bool Cache::enabled() const { return !state->directory.empty(); }
const std::string &Cache::directory() const { return state->directory; }

std::optional<std::string> Cache::get(EntryKind kind, std::string_view key) const {
  if (!enabled() || !isEntryKey(key))
    return std::nullopt;
  const std::string path = state->path(kind, key);
  Result<std::string> file = readFile(path);
  if (!file.ok()) {
    if (file.error().code != ErrorCode::NotFound)
      state->say(LogLevel::Warning, file.error().message);
    return std::nullopt;
  }
  Result<std::string> payload = decodeEntry(std::move(*file), kind, key);
  if (!payload.ok()) {
    state->say(LogLevel::Warning, fmt::format("{}: {}", path, payload.error().message));
    return std::nullopt;
  }
  markUsed(path);
  return std::move(*payload);
}

Status Cache::put(EntryKind kind, std::string_view key, std::string_view payload) const {
  if (!isEntryKey(key))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found the key '{}', expected 1 to 128 letters, digits, '-', '_' and "
                             "'.', not starting with '.'",
                             key)};
  if (!enabled())
    return Error{ErrorCode::IoError, "there is no store to keep this in"};
  uint64_t random = 0;
  if (::getrandom(&random, sizeof(random), 0) != sizeof(random))
    random = static_cast<uint64_t>(::getpid());
  const std::string temporary =
      fmt::format("{}/{}{:016x}", state->folder(kind), kTemporaryPrefix, random);
  const auto failed = [&](int error) {
    ::unlink(temporary.c_str());
    const std::string message =
        fmt::format("cannot write to the store {}: {}", state->directory, systemMessage(error));
    if (!state->writeFailureSaid.exchange(true))
      state->say(LogLevel::Warning, message + "; going on, what is made now is not kept");
    return Error{error == ENOSPC || error == EDQUOT || error == EFBIG ? ErrorCode::ResourceExhausted
                                                                      : ErrorCode::IoError,
                 message};
  };
  ::mkdir(state->folder(kind).c_str(), 0700);
  const std::string bytes = encodeEntry(kind, key, payload);
  {
    const File file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.descriptor < 0 || !writeAll(file.descriptor, bytes))
      return failed(errno);
  }
  if (::rename(temporary.c_str(), state->path(kind, key).c_str()) != 0)
    return failed(errno);
  return {};
}

Status Cache::remove(EntryKind kind, std::string_view key) const {
  if (!enabled() || !isEntryKey(key))
    return Error{ErrorCode::InvalidArgument, "there is no store, or this cannot be a key in it"};
  if (::unlink(state->path(kind, key).c_str()) != 0)
    return Error{errno == ENOENT ? ErrorCode::NotFound : ErrorCode::IoError,
                 fmt::format("cannot remove {}: {}", state->path(kind, key), systemMessage(errno))};
  return {};
}

} // namespace heddle
