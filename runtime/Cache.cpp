// Opening the store, reading and writing entries. An entry is written to a file of its own in the
// same folder and renamed over the old one, so readers see the old or the new one, never a part.
//   put(Artifact, "3f9a", bytes):  artifact/.writing-<random>  ->  artifact/3f9a
#include "runtime/CacheEntry.h"
#include "runtime/CacheState.h"
#include "runtime/File.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace heddle {
namespace {

constexpr int64_t kDefaultMaxBytes = int64_t(2) << 30;
constexpr int64_t kTouchAfterSeconds = 3600; ///< reads mark an entry used at most this often

/// Creates the folder and those above it, closed to others; 0 or errno.
int makeFolders(const std::string &path) {
  for (size_t at = 1; at <= path.size(); ++at)
    if (at == path.size() || path[at] == '/')
      if (::mkdir(path.substr(0, at).c_str(), 0700) != 0 && errno != EEXIST && at == path.size())
        return errno;
  struct stat status;
  return ::stat(path.c_str(), &status) != 0 ? errno : S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
}

/// Whole hours are enough for "least recently used", and spare most writes.
void markUsed(const std::string &path) {
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 &&
      ::time(nullptr) - status.st_mtim.tv_sec > kTouchAfterSeconds)
    ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0); // a read-only store stays as it is
}

} // namespace

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
  std::string distrust = options.trustShared ? "" : whyUntrusted(*path);
  for (EntryKind kind : kEntryKinds) {
    const std::string folder = *path + "/" + toString(kind);
    ::mkdir(folder.c_str(), 0700);
    if (distrust.empty() && !options.trustShared && ::access(folder.c_str(), F_OK) == 0)
      distrust = whyUntrusted(folder);
  }
  if (!distrust.empty())
    return without(
        fmt::format("the store {} {}, and its entries are code that runs as you: make it "
                    "yours alone (chmod 700), or allow a shared store",
                    *path, distrust));
  state->directory = *path;
  state->maxBytes = options.maxBytes > 0 ? options.maxBytes : kDefaultMaxBytes;
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
  if (const int error = replaceFile(temporary, state->path(kind, key), bytes))
    return failed(error);
  boundSize(bytes.size(), key);
  return {};
}

bool Cache::has(EntryKind kind, std::string_view key) const {
  return enabled() && isEntryKey(key) && ::access(state->path(kind, key).c_str(), F_OK) == 0;
}

std::string Cache::leasePath(std::string_view key) const {
  if (!enabled() || !isEntryKey(key))
    return "";
  ::mkdir(state->leases().c_str(), 0700);
  return state->leases() + "/" + std::string(key);
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
