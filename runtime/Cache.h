// The store on disk: one file an entry, written beside and renamed, with version, kind, key and
// checksum in its header. Readers take no lock; an entry that is torn, foreign or of another
// version is a miss. A store that cannot be written is no error: work goes on without it, said
// once.
//   DIR/artifact/3f9a...   DIR/signature/...   DIR/winner/...   DIR/measurement/...
#pragma once

#include "runtime/Log.h"
#include "runtime/Result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

enum class EntryKind : uint8_t {
  Artifact = 1,    ///< request key -> Artifact bytes
  Signature = 2,   ///< signature key -> Signature bytes
  Winner = 3,      ///< winner key -> schedule text "BM=64,BN=128"
  Measurement = 4, ///< key chosen by the tuner -> its record
};
const char *toString(EntryKind kind);
Result<EntryKind> parseEntryKind(std::string_view name);

struct CacheOptions {
  /// Empty: $HEDDLE_CACHE, else $XDG_CACHE_HOME/heddle, else ~/.cache/heddle.
  std::string directory;
  /// Use a store that others could write to. Entries are code: whoever writes them runs as you.
  bool trustShared = false;
  LogSink log;
  /// Once the store holds more, what was not used for longest goes until 7/8 of it are left:
  /// artifacts and signatures, which can be made anew, before winners and measurements. 0: 2 GiB.
  int64_t maxBytes = 0;
};

/// An entry as `heddle cache show` lists it.
struct EntryInfo {
  EntryKind kind = EntryKind::Artifact;
  std::string key;
  int64_t bytes = 0;    ///< of the file
  int64_t lastUsed = 0; ///< seconds since 1970, to the hour
};

/// What verify and prune found and did.
struct CacheReport {
  int64_t entries = 0, bytes = 0; ///< left in the store
  int64_t removedEntries = 0, removedBytes = 0;
  std::vector<std::string> damaged; ///< "artifact/3f9a...: reason", each removed
};

/// Thread-safe; cheap to copy (a handle).
class Cache {
public:
  /// Never fails: a directory that cannot be used gives a disabled store and one warning.
  static Cache open(CacheOptions options);
  /// A store that misses always and keeps nothing.
  static Cache disabled();
  /// The directory that `open` uses for this option text.
  static Result<std::string> resolveDirectory(const std::string &option);

  bool enabled() const;
  const std::string &directory() const; ///< empty if disabled

  /// The payload, or nothing: absent, torn, foreign or of another version (the latter are logged).
  std::optional<std::string> get(EntryKind kind, std::string_view key) const;
  /// Keeps the payload; the newer of two writers wins. A failure is told through the log once and
  /// returned each time. Keys: 1 to 128 letters, digits, '-', '_' and '.', not starting with '.'.
  Status put(EntryKind kind, std::string_view key, std::string_view payload) const;
  Status remove(EntryKind kind, std::string_view key) const;
  /// Whether there is such an entry, sound or not.
  bool has(EntryKind kind, std::string_view key) const;
  /// Where the lease on making an artifact lies (Lease.h); empty without a store.
  std::string leasePath(std::string_view key) const;

  /// All entries, by kind, then key. Fails if the store is disabled or cannot be read.
  Result<std::vector<EntryInfo>> list() const;
  /// Reads every entry; removes the damaged ones and leftovers of writers that were killed.
  Result<CacheReport> verify() const;
  /// Removes entries not used for `maxAgeSeconds` (no limit if negative), and the least recently
  /// used until at most `maxBytes` are left (no limit if negative), in the order that
  /// CacheOptions::maxBytes says.
  Result<CacheReport> prune(int64_t maxBytes, int64_t maxAgeSeconds) const;
  /// Removes all entries; files that are not the store's stay.
  Result<CacheReport> clear() const;

private:
  struct State;
  Result<CacheReport> evict(int64_t maxBytes, int64_t maxAgeSeconds, std::string_view spared) const;
  Status removeLeftovers(CacheReport &report) const;
  void boundSize(int64_t written, std::string_view key) const;

  explicit Cache(std::shared_ptr<State> state) : state(std::move(state)) {}
  std::shared_ptr<State> state;
};

} // namespace heddle
