// The store under every mishap: torn, foreign and older entries, killed writers, full and read-only
// directories, folders that others can write to.
#include "runtime/Cache.h"
#include "runtime/CacheEntry.h"
#include "tests/runtime/Mutate.h"
#include "tests/runtime/Scratch.h"
#include "tests/support/Files.h"
#include "tests/support/Test.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

#include <csignal>
#include <thread>

using namespace heddle;
namespace fs = std::filesystem;

namespace {

struct Log {
  std::vector<std::string> lines;
  LogSink sink() {
    return [this](LogLevel, std::string_view line) { lines.emplace_back(line); };
  }
  bool has(const std::string &text) const {
    for (const std::string &line : lines)
      if (line.find(text) != std::string::npos)
        return true;
    return false;
  }
};

Cache openAt(const std::string &path, Log &log) { return Cache::open({path, false, log.sink()}); }

/// Runs `body` in a process of its own; its exit status, or -signal.
template <typename Body> int inChild(Body body) {
  const pid_t child = ::fork();
  if (child == 0)
    ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

} // namespace

TEST_CASE("the store gives back what was put, by kind and key") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder / "deep/er", log);
  REQUIRE(cache.enabled());
  CHECK(!cache.get(EntryKind::Artifact, "k"));
  const std::string bytes("\0\xff\n", 3);
  REQUIRE(cache.put(EntryKind::Artifact, "k", bytes).ok());
  REQUIRE(cache.put(EntryKind::Winner, "k", "BM=64").ok());
  CHECK(*cache.get(EntryKind::Artifact, "k") == bytes);
  CHECK(*cache.get(EntryKind::Winner, "k") == "BM=64");
  CHECK(!cache.get(EntryKind::Signature, "k"));
  REQUIRE(cache.put(EntryKind::Winner, "k", "").ok());
  CHECK(cache.get(EntryKind::Winner, "k")->empty());
  CHECK(*openAt(folder / "deep/er", log).get(EntryKind::Artifact, "k") == bytes);
  CHECK(log.lines.empty());
}

TEST_CASE("keys that could leave the folder are refused") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder.path(), log);
  for (const std::string &key :
       {std::string(), std::string("../x"), std::string("a/b"), std::string(".hidden"),
        std::string(129, 'a'), std::string("a b")}) {
    CHECK(!cache.put(EntryKind::Artifact, key, "x").ok());
    CHECK(!cache.get(EntryKind::Artifact, key));
    CHECK(!cache.remove(EntryKind::Artifact, key).ok());
  }
}

TEST_CASE("an entry cut short anywhere, or changed anywhere, is a miss with a log line") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder.path(), log);
  REQUIRE(cache.put(EntryKind::Artifact, "key", "some payload").ok());
  const std::string path = folder / "artifact/key", whole = readFile(path);
  for (size_t n = 0; n < whole.size(); ++n) {
    writeFile(path, whole.substr(0, n));
    REQUIRE(!cache.get(EntryKind::Artifact, "key"));
    std::string changed = whole;
    changed[n] ^= 0x40;
    writeFile(path, changed);
    REQUIRE(!cache.get(EntryKind::Artifact, "key"));
  }
  CHECK(log.lines.size() == 2 * whole.size());
  CHECK(log.has("artifact/key: found a store entry that is"));
  writeFile(path, whole);
  CHECK(*cache.get(EntryKind::Artifact, "key") == "some payload");
  test::forEachMutation(whole, 3000, [&](const std::string &mutated) {
    const Result<std::string> payload = decodeEntry(mutated, EntryKind::Artifact, "key");
    REQUIRE((!payload.ok() || *payload == "some payload"));
  });
}

TEST_CASE("foreign and older entries are misses") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder.path(), log);
  REQUIRE(cache.put(EntryKind::Artifact, "one", "payload").ok());
  fs::copy(folder / "artifact/one", folder / "artifact/two");
  CHECK(!cache.get(EntryKind::Artifact, "two")); // another key's
  fs::copy(folder / "artifact/one", folder / "winner/one");
  CHECK(!cache.get(EntryKind::Winner, "one")); // another kind's
  std::string older = readFile(folder / "artifact/one");
  older[12] = static_cast<char>(kStoreVersion - 1);
  writeFile(folder / "artifact/one", older);
  CHECK(!cache.get(EntryKind::Artifact, "one"));
  CHECK(log.has("of version 0 (this is 1)"));
  writeFile(folder / "artifact/three", "#!/bin/sh");
  CHECK(!cache.get(EntryKind::Artifact, "three"));
  fs::create_symlink("/etc/passwd", folder / "artifact/four");
  CHECK(!cache.get(EntryKind::Artifact, "four"));
  fs::create_directory(folder / "artifact/five");
  CHECK(!cache.get(EntryKind::Artifact, "five"));
}

TEST_CASE("writers killed at any moment leave old or new entries, never a part") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder.path(), log);
  const std::string contents[] = {std::string(300000, 'a'), std::string(300000, 'b')};
  for (int round = 0; round < 12; ++round) {
    const pid_t child = ::fork();
    if (child == 0)
      for (int n = 0;; ++n)
        (void)cache.put(EntryKind::Artifact, "key", contents[n % 2]).ok();
    ::usleep(1000 * (3 + 5 * (round % 4)));
    for (int read = 0; read < 5; ++read)
      if (const std::optional<std::string> found = cache.get(EntryKind::Artifact, "key"))
        REQUIRE((*found == contents[0] || *found == contents[1]));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (const std::optional<std::string> found = cache.get(EntryKind::Artifact, "key"))
      REQUIRE((*found == contents[0] || *found == contents[1]));
  }
  CHECK(log.lines.empty());
  // What the killed ones left is no entry, and verify removes it once it is old.
  const std::string leftover = folder / "artifact/.writing-0123456789abcdef";
  writeFile(leftover, "half an ent");
  CHECK(cache.verify()->damaged.empty());
  CHECK(fs::exists(leftover));
  const utimbuf longAgo = {1000000, 1000000};
  REQUIRE(::utime(leftover.c_str(), &longAgo) == 0);
  REQUIRE(cache.verify().ok());
  CHECK(!fs::exists(leftover));
}

TEST_CASE("a directory that cannot be made or read is said once, and work goes on") {
  test::ScratchFolder folder;
  writeFile(folder / "file", "");
  Log log;
  const Cache cache = openAt(folder / "file/store", log);
  CHECK(!cache.enabled());
  REQUIRE(log.lines.size() == 1);
  CHECK(log.has("going on without a store"));
  CHECK(!cache.get(EntryKind::Artifact, "k"));
  CHECK(!cache.put(EntryKind::Artifact, "k", "x").ok());
  CHECK(!cache.list().ok());
  CHECK(log.lines.size() == 1);
}

TEST_CASE("a read-only store is read, and writing fails with one log line") {
  test::ScratchFolder folder;
  Log log;
  REQUIRE(openAt(folder.path(), log).put(EntryKind::Winner, "k", "BM=64").ok());
  const int status = inChild([&] {
    // The super-user may write anywhere, so become nobody; the folder's owner too.
    for (const char *name : {"", "/artifact", "/signature", "/winner", "/measurement"})
      if (::geteuid() == 0 && ::chown((folder.path() + name).c_str(), 65534, 65534) != 0)
        return 10;
    if (::geteuid() == 0 && ::chown((folder / "winner/k").c_str(), 65534, 65534) != 0)
      return 10;
    if (::geteuid() == 0 && ::setuid(65534) != 0)
      return 11;
    for (const char *name : {"/artifact", "/signature", "/winner", "/measurement", ""})
      ::chmod((folder.path() + name).c_str(), 0500);
    Log own;
    const Cache cache = openAt(folder.path(), own);
    if (!cache.enabled() || !own.lines.empty())
      return 1;
    for (int n = 0; n < 3; ++n) {
      const Status written = cache.put(EntryKind::Winner, "k", "BM=32");
      if (written.ok() || written.error().code != ErrorCode::IoError)
        return 2;
    }
    if (own.lines.size() != 1 || !own.has("cannot write to the store"))
      return 3;
    return cache.get(EntryKind::Winner, "k").value_or("") == "BM=64" ? 0 : 4;
  });
  for (const char *name : {"", "/artifact", "/signature", "/winner", "/measurement"})
    ::chmod((folder.path() + name).c_str(), 0700);
  CHECK(status == 0);
}

TEST_CASE("a full disk is said once, and old entries stay") {
  test::ScratchFolder folder;
  Log log;
  REQUIRE(openAt(folder.path(), log).put(EntryKind::Winner, "k", "BM=64").ok());
  const int status = inChild([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {4096, 4096}; // files end after 4 KiB, as on a disk that fills up
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Log own;
    const Cache cache = openAt(folder.path(), own);
    for (int n = 0; n < 3; ++n) {
      const Status written = cache.put(EntryKind::Winner, "k", std::string(10000, 'x'));
      if (written.ok() || written.error().code != ErrorCode::ResourceExhausted)
        return 1;
    }
    if (own.lines.size() != 1)
      return 2;
    return cache.get(EntryKind::Winner, "k").value_or("") == "BM=64" ? 0 : 3;
  });
  CHECK(status == 0);
  CHECK(std::distance(fs::directory_iterator(folder / "winner"), {}) == 1); // no leftovers
}

TEST_CASE("a store that others can write to is refused unless asked for") {
  test::ScratchFolder folder;
  Log log;
  REQUIRE(openAt(folder / "store", log).enabled());
  for (const char *name : {"", "/artifact"}) {
    ::chmod((folder / "store" + name).c_str(), 0777);
    Log own;
    CHECK(!openAt(folder / "store", own).enabled());
    CHECK(own.has("can be written to by others (mode 777)"));
    CHECK(Cache::open({folder / "store", true, own.sink()}).enabled());
    ::chmod((folder / "store" + name).c_str(), 0700);
  }
  CHECK(openAt(folder / "store", log).enabled());
}

TEST_CASE("list, verify, prune and clear") {
  test::ScratchFolder folder;
  Log log;
  const Cache cache = openAt(folder.path(), log);
  const int64_t now = ::time(nullptr);
  for (int n = 0; n < 5; ++n) {
    const std::string key = "key" + std::to_string(n);
    REQUIRE(cache.put(EntryKind::Artifact, key, std::string(1000, 'x')).ok());
    const utimbuf used = {now - 5000 + 1000 * n, now - 5000 + 1000 * n};
    REQUIRE(::utime((folder / "artifact/" + key).c_str(), &used) == 0);
  }
  const std::vector<EntryInfo> entries = *cache.list();
  REQUIRE(entries.size() == 5);
  CHECK(entries[1].key == "key1");
  CHECK(entries[1].bytes > 1000);
  CHECK(entries[1].lastUsed == now - 4000);

  writeFile(folder / "artifact/key4", "torn");
  CacheReport report = *cache.verify();
  CHECK(report.entries == 4);
  REQUIRE(report.damaged.size() == 1);
  CHECK(report.damaged[0].find("artifact/key4: ") == 0);
  CHECK(!fs::exists(folder / "artifact/key4"));

  // Reading marks as used: key0 outlives key1 now.
  REQUIRE(cache.get(EntryKind::Artifact, "key0"));
  report = *cache.prune(3 * entries[0].bytes, -1);
  CHECK(report.removedEntries == 1);
  CHECK(report.entries == 3);
  CHECK(!fs::exists(folder / "artifact/key1"));
  report = *cache.prune(-1, 2500);
  CHECK(!fs::exists(folder / "artifact/key2"));
  CHECK(fs::exists(folder / "artifact/key3"));

  writeFile(folder / "artifact/.stranger", "not ours");
  report = *cache.clear();
  CHECK(report.entries == 0);
  CHECK(cache.list()->empty());
  CHECK(fs::exists(folder / "artifact/.stranger"));
}

TEST_CASE("many threads and processes share a store without locks", "[threads]") {
  test::ScratchFolder folder;
  const auto worker = [&](int seed) {
    Log log;
    const Cache cache = openAt(folder.path(), log);
    for (int n = 0; n < 300; ++n) {
      const std::string key = "key" + std::to_string((n * 7 + seed) % 5);
      const std::string expected = key + std::string(2000, 'v');
      if (n % 3 == 0)
        (void)cache.put(EntryKind::Artifact, key, expected).ok();
      else if (n % 50 == 1)
        (void)cache.prune(6000, -1).ok();
      else if (cache.get(EntryKind::Artifact, key).value_or(expected) != expected)
        return 1;
    }
    return log.lines.empty() ? 0 : 2;
  };
  std::vector<pid_t> children;
  for (int process = 0; process < 4; ++process)
    if (children.emplace_back(::fork()); children.back() == 0)
      ::_exit(worker(process));
  std::vector<int> results(3, -1);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&, thread] { results[thread] = worker(10 + thread); });
  for (std::thread &thread : threads)
    thread.join();
  CHECK(results == std::vector<int>(3, 0));
  for (pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

TEST_CASE("where the store lies") {
  const auto with = [](const char *cache, const char *xdg, const char *home) {
    ::setenv("HEDDLE_CACHE", cache, 1);
    ::setenv("XDG_CACHE_HOME", xdg, 1);
    ::setenv("HOME", home, 1);
    const Result<std::string> path = Cache::resolveDirectory("");
    return path.ok() ? *path : "none";
  };
  const int status = inChild([&] {
    const bool right = with("/a/", "/b", "/c") == "/a" && with("", "/b", "/c") == "/b/heddle" &&
                       with("", "", "/c") == "/c/.cache/heddle" && with("", "", "") == "none" &&
                       *Cache::resolveDirectory("/given") == "/given";
    return right ? 0 : 1;
  });
  CHECK(status == 0);
}
