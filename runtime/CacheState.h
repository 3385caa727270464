// What the sources of the store share; nobody else includes this.
#pragma once

#include "runtime/Cache.h"

#include <atomic>
#include <functional>

namespace heddle {

inline constexpr EntryKind kEntryKinds[] = {EntryKind::Artifact, EntryKind::Signature,
                                            EntryKind::Winner, EntryKind::Measurement};

struct Cache::State {
  std::string directory; ///< empty: disabled
  LogSink log;
  std::atomic<bool> writeFailureSaid = false;
  int64_t maxBytes = 0;
  std::atomic<int64_t> unchecked = INT64_MAX / 2; ///< bytes written since the size was last bounded

  void say(LogLevel level, const std::string &message) const {
    if (log)
      log(level, message);
  }
  std::string folder(EntryKind kind) const { return directory + "/" + toString(kind); }
  std::string leases() const { return directory + "/lease"; }
  std::string path(EntryKind kind, std::string_view key) const {
    return folder(kind) + "/" + std::string(key);
  }
};

/// A file that is being written begins with this; no entry's key begins with a dot.
inline constexpr std::string_view kTemporaryPrefix = ".writing-";

} // namespace heddle
