// Bytes of a store entry:
//   "heddle-store" | version u32 | kind u8 | key | payload length | sha-256 of the payload |
//   payload
#include "runtime/CacheEntry.h"

#include "runtime/Bytes.h"
#include "runtime/Sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace heddle {
namespace {

constexpr std::string_view kEntryMagic = "heddle-store";

struct EntryHeader {
  uint32_t version = kStoreVersion;
  EntryKind kind = EntryKind::Artifact;
  std::string key;
  std::string checksum;
  uint64_t payloadBytes = 0;
};

template <typename A> void transfer(A &a, EntryHeader &x) {
  a(x.version, x.kind, x.key, x.checksum, x.payloadBytes);
}

/// Fixed for a key's length, so the header's size is known before it is read.
size_t headerBytes(std::string_view key) { return 4 + 1 + 8 + key.size() + 8 + 32 + 8; }

Error damaged(std::string what) {
  return {ErrorCode::CorruptData,
          fmt::format("found a store entry that is {}, expected one of this "
                      "version; it is made anew",
                      what)};
}

constexpr std::array kNames = {"artifact", "signature", "winner", "measurement"};

} // namespace

const char *toString(EntryKind kind) {
  const size_t index = static_cast<size_t>(kind) - 1;
  return index < kNames.size() ? kNames[index] : "unknown";
}

Result<EntryKind> parseEntryKind(std::string_view name) {
  for (size_t index = 0; index < kNames.size(); ++index)
    if (name == kNames[index])
      return static_cast<EntryKind>(index + 1);
  return Error{
      ErrorCode::InvalidArgument,
      fmt::format("found '{}', expected artifact, signature, winner or measurement", name)};
}

bool isEntryKey(std::string_view key) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !key.empty() && key.size() <= 128 && key[0] != '.' &&
         std::all_of(key.begin(), key.end(), allowed);
}

std::string encodeEntry(EntryKind kind, std::string_view key, std::string_view payload) {
  ByteWriter header;
  header(EntryHeader{kStoreVersion, kind, std::string(key), sha256(payload), payload.size()});
  return std::string(kEntryMagic) + header.take() + std::string(payload);
}

Result<std::string> decodeEntry(std::string file, EntryKind kind, std::string_view key) {
  if (!std::string_view(file).starts_with(kEntryMagic))
    return damaged("no entry of a heddle store");
  const std::string_view rest = std::string_view(file).substr(kEntryMagic.size());
  uint32_t version = 0;
  std::memcpy(&version, rest.data(), std::min(sizeof(version), rest.size()));
  if (version != kStoreVersion)
    return damaged(fmt::format("of version {} (this is {})", version, kStoreVersion));
  EntryHeader header;
  ByteReader reader(rest.substr(0, headerBytes(key)));
  reader(header);
  if (!reader.atEnd() || header.kind != kind || header.key != key)
    return damaged("another key's or cut short");
  const std::string_view payload = rest.substr(headerBytes(key));
  if (payload.size() != header.payloadBytes)
    return damaged(fmt::format("{} bytes long instead of {}", payload.size(), header.payloadBytes));
  if (sha256(payload) != header.checksum)
    return damaged("changed since it was written");
  file.erase(0, kEntryMagic.size() + headerBytes(key));
  return file;
}

} // namespace heddle
