// Every way reads one entry at a time and puts it where it is missing; put writes beside and
// renames, so other processes may use both stores meanwhile.
#include "runtime/CacheTransfer.h"

#include "runtime/CacheEntry.h"

#include <fmt/format.h>

namespace heddle {
namespace {

Status take(const Cache &store, EntryKind kind, const std::string &key, const std::string &payload,
            TransferReport &report) {
  HEDDLE_CHECK(store.put(kind, key, payload));
  ++report.entries;
  report.bytes += static_cast<int64_t>(payload.size());
  return {};
}

std::string damagedText(EntryKind kind, const std::string &key, const std::string &reason) {
  return fmt::format("{}/{}: {}", toString(kind), key, reason);
}

} // namespace

Result<TransferReport> exportStore(const Cache &store, const std::string &path) {
  HEDDLE_TRY(entries, store.list());
  TransferReport report;
  BundleContents contents;
  contents.manifest = "{\"what\":\"heddle cache export\"}";
  for (const EntryInfo &entry : entries) {
    std::optional<std::string> payload = store.get(entry.kind, entry.key);
    if (!payload) {
      report.damaged.push_back(damagedText(entry.kind, entry.key, "it cannot be read"));
      continue;
    }
    ++report.entries;
    report.bytes += static_cast<int64_t>(payload->size());
    contents.entries.push_back({entry.kind, entry.key, std::move(*payload)});
  }
  HEDDLE_CHECK(writeBundle(path, contents));
  return report;
}

Result<TransferReport> importBundle(const Cache &store, const Bundle &bundle) {
  TransferReport report;
  for (const auto &[name, item] : bundle.index()) {
    const auto &[kind, key] = name;
    if (store.has(kind, key)) {
      ++report.present;
      continue;
    }
    const Result<std::string> payload = bundle.get(kind, key);
    if (!payload.ok() || !isEntryKey(key))
      report.damaged.push_back(
          damagedText(kind, key, payload.ok() ? "it cannot be a key" : payload.error().message));
    else
      HEDDLE_CHECK(take(store, kind, key, *payload, report));
  }
  return report;
}

Result<TransferReport> mergeStore(const Cache &store, const Cache &other) {
  HEDDLE_TRY(entries, other.list());
  TransferReport report;
  for (const EntryInfo &entry : entries) {
    if (store.has(entry.kind, entry.key)) {
      ++report.present;
      continue;
    }
    const std::optional<std::string> payload = other.get(entry.kind, entry.key);
    if (!payload)
      report.damaged.push_back(damagedText(entry.kind, entry.key, "it cannot be read"));
    else
      HEDDLE_CHECK(take(store, entry.kind, entry.key, *payload, report));
  }
  return report;
}

} // namespace heddle
