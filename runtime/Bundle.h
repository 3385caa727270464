// A bundle: kernels made ahead of time, in one file that engines open read-only. It holds entries
// as the store does, and for each target it was built for the part of a request that the key of its
// kernels depends on; so neither compiler nor store is needed to use it. `heddle build` writes one;
// `heddle cache export` writes one without targets.
#pragma once

#include "runtime/Cache.h"
#include "runtime/Request.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heddle {

struct BundleEntry {
  EntryKind kind = EntryKind::Artifact;
  std::string key;
  std::string payload;
};

struct BundleContents {
  /// For people and tools: a JSON object. The runtime does not read it.
  std::string manifest;
  /// Only what forTarget takes is set; the best target first.
  std::vector<Request> targets;
  std::vector<BundleEntry> entries;
};

/// Writes the file beside and renames it. InvalidArgument for two entries of one kind and key.
Status writeBundle(const std::string &path, const BundleContents &contents);

/// Thread-safe; cheap to copy (a handle).
class Bundle {
public:
  struct Item {
    uint64_t offset = 0, bytes = 0;
    std::string checksum;
  };
  using Index = std::map<std::pair<EntryKind, std::string>, Item>;

  /// Reads and checks everything but the entries' bytes. NotFound if there is no such file,
  /// CorruptData if it is no bundle of this version or was changed, InvalidArgument if others could
  /// write to it (entries are code that runs as you) and `trustShared` does not allow that.
  static Result<Bundle> open(const std::string &path, bool trustShared = false);

  const std::string &path() const;
  const std::string &manifest() const;
  const std::vector<Request> &targets() const;
  const Index &index() const;
  /// The payload. NotFound if there is no such entry, CorruptData if it was changed.
  Result<std::string> get(EntryKind kind, std::string_view key) const;

private:
  struct State;
  explicit Bundle(std::shared_ptr<const State> state) : state(std::move(state)) {}
  std::shared_ptr<const State> state;
};

/// The request with the target's part in place of its own.
Request forTarget(Request request, const Request &target);

} // namespace heddle
