// Reads the note of type NT_GNU_BUILD_ID that the linker leaves in an ELF file: a hash of what was
// linked, so it changes with every change of the compiler.
//   libheddle-compiler.so -> "gnu:5f0c..."
#include "runtime/BuildId.h"

#include "runtime/File.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

namespace heddle {
namespace {

constexpr size_t kMaxNoteBytes = 1 << 16;

bool readAt(int descriptor, void *data, size_t size, int64_t offset) {
  return ::pread(descriptor, data, size, offset) == static_cast<ssize_t>(size);
}

/// A note: name size, payload size, type, then name and payload, each padded to 4 bytes.
std::optional<std::string> findInNotes(std::string_view notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr header;
    std::memcpy(&header, notes.data(), sizeof(header));
    notes.remove_prefix(sizeof(header));
    const size_t name = (size_t(header.n_namesz) + 3) / 4 * 4;
    const size_t payload = (size_t(header.n_descsz) + 3) / 4 * 4;
    if (name > notes.size() || payload > notes.size() - name)
      return std::nullopt;
    if (header.n_type == NT_GNU_BUILD_ID && notes.starts_with(std::string_view("GNU\0", 4))) {
      std::string text = "gnu:";
      for (char c : notes.substr(name, header.n_descsz))
        text += fmt::format("{:02x}", static_cast<uint8_t>(c));
      return text;
    }
    notes.remove_prefix(name + payload);
  }
  return std::nullopt;
}

std::optional<std::string> gnuBuildId(int descriptor) {
  Elf64_Ehdr file;
  if (!readAt(descriptor, &file, sizeof(file), 0) ||
      std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
      file.e_phentsize != sizeof(Elf64_Phdr))
    return std::nullopt;
  for (int n = 0; n < file.e_phnum; ++n) {
    Elf64_Phdr segment;
    if (!readAt(descriptor, &segment, sizeof(segment), file.e_phoff + n * sizeof(segment)))
      return std::nullopt;
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMaxNoteBytes)
      continue;
    std::string notes(segment.p_filesz, '\0');
    if (!readAt(descriptor, notes.data(), notes.size(), segment.p_offset))
      return std::nullopt;
    if (std::optional<std::string> id = findInNotes(notes))
      return id;
  }
  return std::nullopt;
}

} // namespace

Result<std::string> buildIdOf(const std::string &path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (file.number < 0 || ::fstat(file.number, &status) != 0)
    return Error{ErrorCode::NotFound,
                 fmt::format("cannot read {}: {}", path, systemMessage(errno))};
  std::optional<std::string> id = gnuBuildId(file.number);
  if (!id)
    id = fmt::format("file:{}:{}.{:09}:{}", status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, path);
  return *id;
}

} // namespace heddle
