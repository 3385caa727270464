// One file of the store: header with magic, version, kind, key, length and checksum, then the
// payload. A file proves by itself which key it answers, so a renamed file is a miss.
#pragma once

#include "runtime/Cache.h"

namespace heddle {

/// Raised whenever the header or the meaning of a payload changes: older entries become misses.
inline constexpr uint32_t kStoreVersion = 1;

std::string encodeEntry(EntryKind kind, std::string_view key, std::string_view payload);
/// The payload, or CorruptData saying what is wrong: cut short, changed, foreign or another
/// version.
Result<std::string> decodeEntry(std::string file, EntryKind kind, std::string_view key);

/// 1 to 128 letters, digits, '-', '_' and '.', not starting with '.'.
bool isEntryKey(std::string_view key);

} // namespace heddle
