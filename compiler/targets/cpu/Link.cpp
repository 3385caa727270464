// Links objects into a shared object inside this process by lld, without touching the disk:
//   objects' bytes -> memory files -> ld.lld -shared -z defs -> pipe -> image bytes
// lld keeps global state, hence the mutex, and the context is destroyed after each link.
#include "compiler/targets/cpu/NativeCode.h"

#include "lld/Common/CommonLinkerContext.h"
#include "lld/Common/Driver.h"
#include "llvm/Support/raw_ostream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <mutex>
#include <thread>
#include <vector>

LLD_HAS_DRIVER(elf)

namespace heddle::compiler::cpu {
namespace {

/// The object where lld can open it by name; gone when closed.
class MemoryFile {
public:
  explicit MemoryFile(const std::string &bytes) : descriptor(memfd_create("object", MFD_CLOEXEC)) {
    for (size_t done = 0; done < bytes.size();) {
      ssize_t count = write(descriptor, bytes.data() + done, bytes.size() - done);
      if (count <= 0)
        return;
      done += count;
    }
    complete = descriptor >= 0;
  }
  ~MemoryFile() { close(descriptor); }
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;

  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor); }
  bool complete = false;

private:
  int descriptor;
};

/// A pipe that is drained while lld writes to it. (lld replaces regular files by a rename, which
/// memory files do not allow; to a pipe it writes.)
class Drain {
public:
  Drain() {
    open = pipe2(ends, O_CLOEXEC) == 0;
    if (open)
      reader = std::thread([this] { readAll(); });
  }
  ~Drain() { finish(); }
  Drain(const Drain &) = delete;
  Drain &operator=(const Drain &) = delete;

  std::string path() const { return fmt::format("/proc/self/fd/{}", ends[1]); }

  /// What was written; ends the reader.
  std::string &finish() {
    if (open) {
      close(ends[1]);
      reader.join();
      close(ends[0]);
      open = false;
    }
    return bytes;
  }
  bool open = false;

private:
  void readAll() {
    char buffer[1 << 14];
    for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0;)
      bytes.append(buffer, count);
  }

  int ends[2] = {-1, -1};
  std::string bytes;
  std::thread reader;
};

} // namespace

Result<std::string> linkSharedObject(const std::vector<std::string> &objects) {
  static std::mutex oneLink;
  std::lock_guard<std::mutex> guard(oneLink);
  std::deque<MemoryFile> inputs;
  for (const std::string &object : objects)
    inputs.emplace_back(object);
  Drain output;
  if (!output.open || !llvm::all_of(inputs, [](MemoryFile &input) { return input.complete; }))
    return Error{ErrorCode::IoError, "no memory file or pipe for the linker; is memory short?"};
  std::string outputPath = output.path();
  std::vector<const char *> arguments = {"ld.lld",
                                         "-shared",
                                         "-nostdlib",
                                         "--build-id=none",
                                         "--hash-style=gnu",
                                         "-z",
                                         "defs",
                                         "-z",
                                         "now",
                                         "-z",
                                         "noexecstack",
                                         "--threads=1",
                                         "--no-mmap-output-file",
                                         "-o",
                                         outputPath.c_str()};
  std::vector<std::string> inputPaths;
  for (const MemoryFile &input : inputs)
    inputPaths.push_back(input.path());
  for (const std::string &path : inputPaths)
    arguments.push_back(path.c_str());
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  bool linked = lld::elf::link(arguments, stream, stream, /*exitEarly=*/false,
                               /*disableOutput=*/false);
  lld::CommonLinkerContext::destroy();
  if (!linked)
    return Error{ErrorCode::CompilerFailure, "lld refused the objects: " + messages};
  if (output.finish().empty())
    return Error{ErrorCode::IoError, "the linked image could not be read back"};
  return output.finish();
}

} // namespace heddle::compiler::cpu
