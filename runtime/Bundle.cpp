// Bytes of a bundle:
//   "heddle-bundle" | version u32 | header bytes u64 | sha-256 of the header | header | payloads
// The header holds manifest, targets and index; offsets count from the end of the header. Payloads
// are read when asked for and checked against their own checksum.
#include "runtime/Bundle.h"

#include "runtime/Bytes.h"
#include "runtime/CacheEntry.h"
#include "runtime/File.h"
#include "runtime/Sha256.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace heddle {
namespace {

constexpr std::string_view kBundleMagic = "heddle-bundle";
constexpr uint32_t kBundleVersion = 1;
constexpr size_t kPrefixBytes = 13 + 4 + 8 + 32;
constexpr uint64_t kMaxHeaderBytes = uint64_t(1) << 30;

struct Row {
  EntryKind kind = EntryKind::Artifact;
  std::string key, checksum;
  uint64_t offset = 0, bytes = 0;
};
template <typename A> void transfer(A &a, Row &x) {
  a(x.kind, x.key, x.checksum, x.offset, x.bytes);
}

struct BundleHeader {
  std::string manifest;
  std::vector<std::string> targets;
  std::vector<Row> rows;
};
template <typename A> void transfer(A &a, BundleHeader &x) { a(x.manifest, x.targets, x.rows); }

Error corrupt(const std::string &path, std::string_view what) {
  return {ErrorCode::CorruptData,
          fmt::format("found {} in {}, expected a heddle bundle of version {}; build it again",
                      what, path, kBundleVersion)};
}

bool readAt(int descriptor, char *bytes, size_t size, uint64_t offset) {
  size_t at = 0;
  while (at < size) {
    const ssize_t got = ::pread(descriptor, bytes + at, size - at, offset + at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    at += got;
  }
  return true;
}

} // namespace

struct Bundle::State {
  std::string path;
  Descriptor file{-1};
  uint64_t payloads = 0; ///< where they begin
  std::string manifest;
  std::vector<Request> targets;
  Index index;
};

const std::string &Bundle::path() const { return state->path; }
const std::string &Bundle::manifest() const { return state->manifest; }
const std::vector<Request> &Bundle::targets() const { return state->targets; }
const Bundle::Index &Bundle::index() const { return state->index; }

Request forTarget(Request request, const Request &target) {
  request.target = target.target;
  request.machine = target.machine;
  request.deviceFacts = target.deviceFacts;
  request.compilerBuild = target.compilerBuild;
  request.nvrtc = target.nvrtc;
  request.flags = target.flags.empty() ? request.flags : target.flags;
  return request;
}

Status writeBundle(const std::string &path, const BundleContents &contents) {
  BundleHeader header;
  header.manifest = contents.manifest;
  for (const Request &target : contents.targets)
    header.targets.push_back(target.serialize());
  std::map<std::pair<EntryKind, std::string>, std::string_view> ordered;
  for (const BundleEntry &entry : contents.entries)
    if (!isEntryKey(entry.key) ||
        !ordered.emplace(std::pair(entry.kind, entry.key), entry.payload).second)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found the {} {} twice or with a key that cannot be one",
                               toString(entry.kind), entry.key)};
  std::string payloads;
  for (const auto &[name, payload] : ordered) {
    header.rows.push_back(
        {name.first, name.second, sha256(payload), payloads.size(), payload.size()});
    payloads += payload;
  }
  ByteWriter body;
  body(header);
  const std::string bytes = body.take();
  const uint64_t size = bytes.size();
  std::string file(kBundleMagic);
  file.append(reinterpret_cast<const char *>(&kBundleVersion), sizeof(kBundleVersion));
  file.append(reinterpret_cast<const char *>(&size), sizeof(size));
  file += sha256(bytes) + bytes + payloads;
  const std::string beside = fmt::format("{}.writing-{}", path, ::getpid());
  ::unlink(beside.c_str()); // of a process that had this number and was killed
  if (const int error = replaceFile(beside, path, file))
    return Error{ErrorCode::IoError,
                 fmt::format("cannot write {}: {}", path, systemMessage(error))};
  ::chmod(path.c_str(), 0644); // read by whom it is handed to
  return {};
}

Result<Bundle> Bundle::open(const std::string &path, bool trustShared) {
  std::shared_ptr<State> state = std::make_shared<State>();
  state->path = path;
  state->file.number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (state->file.number < 0)
    return Error{errno == ENOENT ? ErrorCode::NotFound : ErrorCode::IoError,
                 fmt::format("cannot read the bundle {}: {}", path, systemMessage(errno))};
  if (const std::string reason = whyUntrusted(path); !reason.empty() && !trustShared)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("the bundle {} {}, and its entries are code that runs as you: make it "
                             "yours alone (chmod 644), or allow a shared store",
                             path, reason)};
  const int file = state->file.number;
  char prefix[kPrefixBytes];
  uint32_t version = 0;
  uint64_t size = 0;
  if (!readAt(file, prefix, sizeof(prefix), 0) ||
      std::string_view(prefix, kBundleMagic.size()) != kBundleMagic)
    return corrupt(path, "no bundle");
  std::memcpy(&version, prefix + kBundleMagic.size(), sizeof(version));
  std::memcpy(&size, prefix + kBundleMagic.size() + 4, sizeof(size));
  if (version != kBundleVersion)
    return corrupt(path, fmt::format("version {}", version));
  struct stat status;
  if (::fstat(file, &status) != 0 || size > kMaxHeaderBytes ||
      size + kPrefixBytes > static_cast<uint64_t>(status.st_size))
    return corrupt(path, "a file that was cut short");
  std::string bytes(size, '\0');
  if (!readAt(file, bytes.data(), size, kPrefixBytes) ||
      sha256(bytes) != std::string_view(prefix + kPrefixBytes - 32, 32))
    return corrupt(path, "a header that was changed");
  BundleHeader header;
  ByteReader reader(bytes);
  reader(header);
  if (!reader.atEnd())
    return corrupt(path, "a header whose fields do not add up");
  state->payloads = kPrefixBytes + size;
  const uint64_t left = status.st_size - state->payloads;
  for (Row &row : header.rows) {
    if (row.bytes > left || row.offset > left - row.bytes)
      return corrupt(path, "a file that was cut short");
    state->index[{row.kind, row.key}] = {row.offset, row.bytes, row.checksum};
  }
  for (const std::string &text : header.targets) {
    HEDDLE_TRY(target, Request::parse(text));
    state->targets.push_back(std::move(target));
  }
  state->manifest = std::move(header.manifest);
  return Bundle(std::move(state));
}

Result<std::string> Bundle::get(EntryKind kind, std::string_view key) const {
  const auto found = state->index.find({kind, std::string(key)});
  if (found == state->index.end())
    return Error{ErrorCode::NotFound,
                 fmt::format("{} has no {} {}", state->path, toString(kind), key)};
  const Item &item = found->second;
  std::string payload(item.bytes, '\0');
  if (!readAt(state->file.number, payload.data(), payload.size(), state->payloads + item.offset) ||
      sha256(payload) != item.checksum)
    return corrupt(state->path, fmt::format("a changed {} {}", toString(kind), key));
  return payload;
}

} // namespace heddle
