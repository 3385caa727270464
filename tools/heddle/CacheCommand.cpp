// heddle cache: what the store holds, and keeping it in order.
#include "runtime/CacheTransfer.h"
#include "tools/heddle/Certificate.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <ctime>

namespace heddle::tool {
namespace {

struct CacheOptionsGiven {
  std::string verb = "show", path;
  double maxMegabytes = -1, maxDays = -1;
  bool json = false;
};

void warn(LogLevel, std::string_view message) { fmt::print(stderr, "heddle: {}\n", message); }

std::string dateText(int64_t seconds) {
  std::time_t time = seconds;
  std::tm parts = {};
  localtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

Result<int> show(const Cache &cache, bool json) {
  HEDDLE_TRY(entries, cache.list());
  nlohmann::json all = nlohmann::json::array();
  Table table({"kind", "key", "bytes", "last used", "what it is"});
  double total = 0;
  for (const EntryInfo &entry : entries) {
    std::string what;
    std::optional<std::string> payload = cache.get(entry.kind, entry.key);
    if (payload && entry.kind == EntryKind::Artifact)
      if (Result<Artifact> artifact = Artifact::parse(*payload); artifact.ok())
        what = fmt::format("{} {} {}", artifact->name, artifact->target, artifact->form);
    if (payload && entry.key.starts_with(kCertificateKey))
      what = "certificate: " +
             certificateText(nlohmann::json::parse(*payload, nullptr, /*allow_exceptions=*/false));
    if (payload && entry.kind == EntryKind::Winner)
      what = *payload;
    if (payload && entry.kind == EntryKind::Signature)
      if (Result<Signature> signature = Signature::parse(*payload); signature.ok())
        what = signature->name;
    total += static_cast<double>(entry.bytes);
    table.add({toString(entry.kind), entry.key.substr(0, 16), fmt::to_string(entry.bytes),
               dateText(entry.lastUsed), what});
    all.push_back({{"kind", toString(entry.kind)},
                   {"key", entry.key},
                   {"bytes", entry.bytes},
                   {"last_used", entry.lastUsed},
                   {"what", what}});
  }
  if (json)
    fmt::print("{}\n", nlohmann::json{{"directory", cache.directory()}, {"entries", all}}.dump(1));
  else
    fmt::print("{}\n{}{} entries, {}\n", cache.directory(), table.text(), entries.size(),
               bytesText(total));
  return 0;
}

Result<int> report(const CacheReport &report, bool json) {
  if (json) {
    fmt::print("{}\n", nlohmann::json{{"entries", report.entries},
                                      {"bytes", report.bytes},
                                      {"removed_entries", report.removedEntries},
                                      {"removed_bytes", report.removedBytes},
                                      {"damaged", report.damaged}}
                           .dump(1));
    return 0;
  }
  for (const std::string &damaged : report.damaged)
    fmt::print("removed: {}\n", damaged);
  fmt::print("{} entries, {} left; {} removed, {}\n", report.entries,
             bytesText(static_cast<double>(report.bytes)), report.removedEntries,
             bytesText(static_cast<double>(report.removedBytes)));
  return 0;
}

Result<int> report(const TransferReport &report, bool json) {
  if (json) {
    fmt::print("{}\n", nlohmann::json{{"entries", report.entries},
                                      {"bytes", report.bytes},
                                      {"present", report.present},
                                      {"damaged", report.damaged}}
                           .dump(1));
    return 0;
  }
  for (const std::string &damaged : report.damaged)
    fmt::print("left out: {}\n", damaged);
  fmt::print("{} entries carried over, {}; {} were there already\n", report.entries,
             bytesText(static_cast<double>(report.bytes)), report.present);
  return 0;
}

/// export FILE, import FILE and merge FOLDER.
Result<TransferReport> transfer(const Cache &cache, const CacheOptionsGiven &options) {
  if (options.verb == "export")
    return exportStore(cache, options.path);
  if (options.verb == "import") {
    HEDDLE_TRY(bundle, Bundle::open(options.path));
    return importBundle(cache, bundle);
  }
  struct stat status;
  if (::stat(options.path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return Error{
        ErrorCode::NotFound,
        fmt::format("cache merge: found no folder '{}', expected another store", options.path)};
  CacheOptions other;
  other.directory = options.path;
  other.log = warn;
  const Cache from = Cache::open(other);
  if (!from.enabled())
    return Error{ErrorCode::IoError, fmt::format("the store '{}' cannot be used", options.path)};
  return mergeStore(cache, from);
}

Result<int> run(const CacheOptionsGiven &options) {
  CacheOptions opening;
  opening.log = warn;
  Cache cache = Cache::open(opening);
  if (options.verb == "dir") {
    HEDDLE_TRY(directory, Cache::resolveDirectory(""));
    fmt::print("{}\n", directory);
    return 0;
  }
  if (!cache.enabled())
    return Error{ErrorCode::IoError, "the store cannot be used"};
  if (options.verb == "show")
    return show(cache, options.json);
  if (!options.path.empty()) {
    HEDDLE_TRY(carried, transfer(cache, options));
    return report(carried, options.json);
  }
  Result<CacheReport> done =
      options.verb == "verify" ? cache.verify()
      : options.verb == "clear"
          ? cache.clear()
          : cache.prune(options.maxMegabytes < 0
                            ? -1
                            : static_cast<int64_t>(options.maxMegabytes * 1048576),
                        options.maxDays < 0 ? -1 : static_cast<int64_t>(options.maxDays * 86400));
  if (!done.ok())
    return done.error();
  return report(*done, options.json);
}

} // namespace

void addCacheCommand(CLI::App &app, Action &action) {
  auto *command =
      app.add_subcommand("cache", "look at, check and prune the store of kernels and timings");
  auto options = std::make_shared<CacheOptionsGiven>();
  command
      ->add_option(
          "verb", options->verb,
          "show: list entries; verify: read all, remove damaged ones; prune: remove by size or "
          "age; clear: remove all; export FILE: write all into one file; import FILE: take what "
          "such "
          "a file or a bundle has; merge FOLDER: take what another store has; dir: print the "
          "folder")
      ->check(
          CLI::IsMember({"show", "verify", "prune", "clear", "dir", "export", "import", "merge"}))
      ->capture_default_str();
  command->add_option("path", options->path, "FILE or FOLDER of export, import and merge");
  command->add_option("--max-mb", options->maxMegabytes,
                      "prune: keep at most this, least recently used go first");
  command->add_option("--max-days", options->maxDays,
                      "prune: remove what was not used for so long");
  addJsonOption(*command, options->json);
  command->callback([=, &action] {
    action = [=]() -> Result<int> {
      if (options->verb == "prune" && options->maxMegabytes < 0 && options->maxDays < 0)
        return Error{ErrorCode::InvalidArgument, "cache prune: expected --max-mb or --max-days"};
      const bool transfers =
          options->verb == "export" || options->verb == "import" || options->verb == "merge";
      if (transfers == options->path.empty())
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("cache {}: found {} path, expected {}", options->verb,
                                 transfers ? "no" : "a", transfers ? "one" : "none")};
      return run(*options);
    };
  });
}

} // namespace heddle::tool
