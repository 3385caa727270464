// Looking after the store: list, verify, prune, clear. Safe beside readers and writers: files are
// only ever removed whole, and what somebody else removed first is no error.
//   prune(maxBytes = 1 MB):  entries by time of last use, oldest removed until 1 MB is left
#include "runtime/CacheEntry.h"
#include "runtime/CacheState.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <tuple>

namespace heddle {
namespace {

constexpr int64_t kAbandonedAfterSeconds = 600; ///< no writer takes this long for one file

Error noStore() {
  return {ErrorCode::NotFound, "there is no store; see the warning given when it was opened"};
}

struct Found {
  std::string name;
  int64_t bytes, modified;
};

/// Regular files of a folder; none if it does not exist.
Result<std::vector<Found>> filesOf(const std::string &folder) {
  std::vector<Found> found;
  const std::unique_ptr<DIR, int (*)(DIR *)> listing(::opendir(folder.c_str()), ::closedir);
  if (!listing && errno == ENOENT)
    return found;
  if (!listing)
    return Error{ErrorCode::IoError,
                 fmt::format("cannot list {}: {}", folder, systemMessage(errno))};
  while (const dirent *item = ::readdir(listing.get())) {
    struct stat status;
    if (::fstatat(::dirfd(listing.get()), item->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode))
      found.push_back({item->d_name, status.st_size, status.st_mtim.tv_sec});
  }
  std::sort(found.begin(), found.end(),
            [](const Found &a, const Found &b) { return a.name < b.name; });
  return found;
}

/// Removes what killed writers left behind.
Status removeAbandoned(const std::string &folder, int64_t olderThan, CacheReport &report) {
  HEDDLE_TRY(files, filesOf(folder));
  for (const Found &file : files) {
    const bool temporary = std::string_view(file.name).starts_with(kTemporaryPrefix);
    if (!temporary || file.modified > olderThan)
      continue;
    if (::unlink((folder + "/" + file.name).c_str()) == 0) {
      ++report.removedEntries;
      report.removedBytes += file.bytes;
    }
  }
  return {};
}

} // namespace

Result<std::vector<EntryInfo>> Cache::list() const {
  if (!enabled())
    return noStore();
  std::vector<EntryInfo> entries;
  for (EntryKind kind : kEntryKinds) {
    HEDDLE_TRY(files, filesOf(state->folder(kind)));
    for (const Found &file : files)
      if (isEntryKey(file.name))
        entries.push_back({kind, file.name, file.bytes, file.modified});
  }
  return entries;
}

Result<CacheReport> Cache::verify() const {
  HEDDLE_TRY(entries, list());
  CacheReport report;
  for (const EntryInfo &entry : entries) {
    Result<std::string> file = readFile(state->path(entry.kind, entry.key));
    if (!file.ok() && file.error().code == ErrorCode::NotFound)
      continue; // removed meanwhile
    Status sound;
    if (!file.ok())
      sound = file.error();
    else if (Result<std::string> payload = decodeEntry(std::move(*file), entry.kind, entry.key);
             !payload.ok())
      sound = payload.error();
    if (sound.ok()) {
      ++report.entries;
      report.bytes += entry.bytes;
      continue;
    }
    report.damaged.push_back(
        fmt::format("{}/{}: {}", toString(entry.kind), entry.key, sound.error().message));
    if (remove(entry.kind, entry.key).ok()) {
      ++report.removedEntries;
      report.removedBytes += entry.bytes;
    }
  }
  for (EntryKind kind : kEntryKinds)
    HEDDLE_CHECK(
        removeAbandoned(state->folder(kind), ::time(nullptr) - kAbandonedAfterSeconds, report));
  return report;
}

Result<CacheReport> Cache::prune(int64_t maxBytes, int64_t maxAgeSeconds) const {
  HEDDLE_TRY(entries, list());
  std::sort(entries.begin(), entries.end(), [](const EntryInfo &a, const EntryInfo &b) {
    return std::tie(a.lastUsed, a.kind, a.key) < std::tie(b.lastUsed, b.kind, b.key);
  });
  CacheReport report;
  for (const EntryInfo &entry : entries) {
    ++report.entries;
    report.bytes += entry.bytes;
  }
  const int64_t now = ::time(nullptr);
  for (const EntryInfo &entry : entries) {
    const bool tooOld = maxAgeSeconds >= 0 && now - entry.lastUsed > maxAgeSeconds;
    const bool tooMuch = maxBytes == 0 || (maxBytes > 0 && report.bytes > maxBytes);
    if (!tooOld && !tooMuch)
      break; // sorted: what follows is younger
    if (!remove(entry.kind, entry.key).ok())
      continue;
    --report.entries;
    report.bytes -= entry.bytes;
    ++report.removedEntries;
    report.removedBytes += entry.bytes;
  }
  for (EntryKind kind : kEntryKinds)
    HEDDLE_CHECK(removeAbandoned(state->folder(kind), now - kAbandonedAfterSeconds, report));
  return report;
}

Result<CacheReport> Cache::clear() const { return prune(0, -1); }

} // namespace heddle
