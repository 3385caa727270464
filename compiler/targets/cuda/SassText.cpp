// Runs nvdisasm, and reads its text:
//   "   /*0a30*/   @!P0 HMMA.16816.F32.BF16 R4, R8, R2, R4 ;"  ->  0xa30, "@!P0", "HMMA....", "R4,
//   ..."
//   ".L_x_3:"  ->  a label of what follows
#include "compiler/targets/cuda/Sass.h"
#include "runtime/CudaFiles.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

extern char **environ;

namespace heddle::compiler::cuda {
namespace {

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos)
    return {};
  return text.substr(begin, text.find_last_not_of(" \t;") + 1 - begin);
}

/// The name in `.section .text.NAME,"ax",@progbits`, or empty.
std::string_view textSection(std::string_view line) {
  constexpr std::string_view kPrefix = ".text.";
  std::string_view name = trim(line.substr(sizeof(".section") - 1));
  if (!name.starts_with(kPrefix))
    return {};
  name.remove_prefix(kPrefix.size());
  return name.substr(0, name.find(','));
}

/// An instruction behind its address in a comment; false for other lines.
bool readInstruction(std::string_view line, SassInstruction &instruction) {
  line = trim(line);
  const size_t close = line.find("*/");
  if (!line.starts_with("/*") || close == line.npos)
    return false;
  const std::string_view address = line.substr(2, close - 2);
  const char *end = address.data() + address.size();
  if (std::from_chars(address.data(), end, instruction.address, 16).ptr != end)
    return false;
  std::string_view rest = trim(line.substr(close + 2));
  if (const size_t encoding = rest.find("/*"); encoding != rest.npos)
    rest = trim(rest.substr(0, encoding)); // printed where -hex was asked for
  if (rest.starts_with("@")) {
    const size_t space = std::min(rest.find(' '), rest.size());
    instruction.predicate = rest.substr(0, space);
    rest = trim(rest.substr(space));
  }
  const size_t space = std::min(rest.find(' '), rest.size());
  instruction.opcode = rest.substr(0, space);
  instruction.operands = trim(rest.substr(space));
  return !instruction.opcode.empty();
}

// --- nvdisasm ------------------------------------------------------------------------------------

/// A descriptor that closes itself.
struct Descriptor {
  int number = -1;
  ~Descriptor() { reset(); }
  void reset() {
    if (number >= 0)
      ::close(number);
    number = -1;
  }
};

bool writeAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count <= 0)
      return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

std::string readAll(int descriptor) {
  std::string text;
  char buffer[1 << 14];
  for (ssize_t count; (count = ::read(descriptor, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(count));
  return text;
}

Error systemError(const std::string &what) {
  return {ErrorCode::IoError, fmt::format("{}: {}", what, std::generic_category().message(errno))};
}

} // namespace

Result<std::string> disassemble(const std::string &cubin) {
  HEDDLE_TRY(program, findNvdisasm());
  // The child opens the memory file through its own descriptor 3; nothing touches the disk.
  Descriptor image{::memfd_create("cubin", MFD_CLOEXEC)};
  Descriptor ends[2];
  int pipe[2];
  if (image.number < 0 || !writeAll(image.number, cubin) || ::pipe2(pipe, O_CLOEXEC) != 0)
    return systemError("no memory file or pipe for nvdisasm");
  ends[0].number = pipe[0];
  ends[1].number = pipe[1];
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, image.number, 3);
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
  std::string name = "nvdisasm", option = "-c", path = "/proc/self/fd/3";
  char *arguments[] = {name.data(), option.data(), path.data(), nullptr};
  pid_t child = 0;
  errno = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  const int spawned = errno;
  ::posix_spawn_file_actions_destroy(&actions);
  errno = spawned;
  if (spawned != 0)
    return systemError(fmt::format("cannot start {}", program));
  ends[1].reset();
  std::string text = readAll(ends[0].number);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return Error{ErrorCode::Unsupported, fmt::format("{} cannot read the code: {}; a newer one may",
                                                     program, text.substr(0, text.find('\n')))};
  return text;
}

std::vector<SassKernel> parseSass(std::string_view text) {
  std::vector<SassKernel> kernels;
  bool inside = false;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view bare = trim(line);
    if (bare.starts_with(".section\t") || bare.starts_with(".section ")) {
      const std::string_view name = textSection(bare);
      inside = !name.empty();
      if (inside)
        kernels.push_back({std::string(name), {}, {}});
      continue;
    }
    SassInstruction instruction;
    if (inside && bare.starts_with(".L") && bare.ends_with(":"))
      kernels.back().labels[std::string(bare.substr(0, bare.size() - 1))] =
          static_cast<int64_t>(kernels.back().instructions.size());
    else if (inside && readInstruction(bare, instruction))
      kernels.back().instructions.push_back(std::move(instruction));
  }
  return kernels;
}

} // namespace heddle::compiler::cuda
