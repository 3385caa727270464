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

  void say(LogLevel level, const std::string &message) const {
    if (log)
      log(level, message);
  }
  std::string folder(EntryKind kind) const { return directory + "/" + toString(kind); }
  std::string path(EntryKind kind, std::string_view key) const {
    return folder(kind) + "/" + std::string(key);
  }
};

/// A file that is being written begins with this; no entry's key begins with a dot.
inline constexpr std::string_view kTemporaryPrefix = ".writing-";

/// "errno text", without allocation of locale state.
std::string systemMessage(int error);

/// The whole file; NotFound if there is none, IoError if it cannot be read.
Result<std::string> readFile(const std::string &path);

} // namespace heddle
