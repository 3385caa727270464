// Looking after the store: list, verify, prune, clear. Safe beside readers and writers: files are
// only ever removed whole, and what somebody else removed first is no error.
//   prune(maxBytes = 1 MB):  entries by time of last use, oldest removed until 1 MB is left
#include "runtime/CacheEntry.h"
#include "runtime/CacheState.h"
#include "runtime/File.h"

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

struct StoredFile {
  std::string name;
  int64_t bytes, modified;
};

/// Regular files of a folder; none if it does not exist.
Result<std::vector<StoredFile>> filesOf(const std::string &folder) {
  std::vector<StoredFile> found;
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
            [](const StoredFile &a, const StoredFile &b) { return a.name < b.name; });
  return found;
}

/// Removes files whose names begin so, and that nobody has touched since.
Status removeAbandoned(const std::string &folder, std::string_view prefix, int64_t olderThan,
                       CacheReport &report) {
  HEDDLE_TRY(files, filesOf(folder));
  for (const StoredFile &file : files) {
    if (!std::string_view(file.name).starts_with(prefix) || file.modified > olderThan)
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
    for (const StoredFile &file : files)
      if (isEntryKey(file.name))
        entries.push_back({kind, file.name, file.bytes, file.modified});
  }
  return entries;
}

/// What killed writers and compilers left behind.
Status Cache::removeLeftovers(CacheReport &report) const {
  const int64_t olderThan = ::time(nullptr) - kAbandonedAfterSeconds;
  for (EntryKind kind : kEntryKinds)
    HEDDLE_CHECK(removeAbandoned(state->folder(kind), kTemporaryPrefix, olderThan, report));
  return removeAbandoned(state->leases(), "", olderThan, report);
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
  HEDDLE_CHECK(removeLeftovers(report));
  return report;
}

Result<CacheReport> Cache::evict(int64_t maxBytes, int64_t maxAgeSeconds,
                                 std::string_view spared) const {
  HEDDLE_TRY(entries, list());
  const auto order = [](const EntryInfo &entry) {
    const bool fromSweep = entry.kind == EntryKind::Winner || entry.kind == EntryKind::Measurement;
    return std::make_tuple(fromSweep, entry.lastUsed, entry.kind, std::string_view(entry.key));
  };
  std::sort(entries.begin(), entries.end(),
            [&](const EntryInfo &a, const EntryInfo &b) { return order(a) < order(b); });
  CacheReport report;
  for (const EntryInfo &entry : entries) {
    ++report.entries;
    report.bytes += entry.bytes;
  }
  const int64_t now = ::time(nullptr);
  for (const EntryInfo &entry : entries) {
    const bool tooOld = maxAgeSeconds >= 0 && now - entry.lastUsed > maxAgeSeconds;
    const bool tooMuch = maxBytes == 0 || (maxBytes > 0 && report.bytes > maxBytes);
    if ((!tooOld && !tooMuch) || entry.key == spared)
      continue;
    if (!remove(entry.kind, entry.key).ok())
      continue;
    --report.entries;
    report.bytes -= entry.bytes;
    ++report.removedEntries;
    report.removedBytes += entry.bytes;
  }
  HEDDLE_CHECK(removeLeftovers(report));
  return report;
}

Result<CacheReport> Cache::prune(int64_t maxBytes, int64_t maxAgeSeconds) const {
  return evict(maxBytes, maxAgeSeconds, "");
}

/// Reading the folders costs more than a write, so it is done after many.
void Cache::boundSize(int64_t written, std::string_view key) const {
  if (state->unchecked.fetch_add(written) + written < state->maxBytes / 16)
    return;
  state->unchecked = 0;
  const Result<std::vector<EntryInfo>> entries = list();
  int64_t bytes = 0;
  if (entries.ok())
    for (const EntryInfo &entry : *entries)
      bytes += entry.bytes;
  if (bytes <= state->maxBytes)
    return;
  const Result<CacheReport> report = evict(state->maxBytes / 8 * 7, -1, key);
  if (report.ok())
    state->say(LogLevel::Info,
               fmt::format("the store {} is over its bound of {} MiB: removed {} entries",
                           state->directory, state->maxBytes >> 20, report->removedEntries));
}

Result<CacheReport> Cache::clear() const { return prune(0, -1); }

} // namespace heddle
