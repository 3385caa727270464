// Files by descriptor: closed by themselves, written and read whole, errors as texts.
#pragma once

#include "runtime/Result.h"

#include <string>
#include <string_view>

namespace heddle {

/// Closes itself. Negative: no file.
struct Descriptor {
  int number = -1;
  explicit Descriptor(int number) : number(number) {}
  ~Descriptor();
  Descriptor(Descriptor &&other) noexcept : number(other.number) { other.number = -1; }
  Descriptor &operator=(Descriptor &&) = delete;
};

/// False, with errno set, if not all could be written.
bool writeAll(int descriptor, std::string_view bytes);
/// Reads until `size` bytes are there, the file ends or cannot be read: how many were read.
size_t readUpTo(int descriptor, char *bytes, size_t size);

/// The whole of a regular file below 1 GiB; symbolic links are not followed. NotFound if there is
/// none, IoError if it cannot be read.
Result<std::string> readFile(const std::string &path);

/// Writes beside and renames, so that readers see the old file or the new one. 0 or errno; the file
/// beside, `temporary`, is gone either way. Its mode is 0600.
int replaceFile(const std::string &temporary, const std::string &path, std::string_view bytes);

/// "No such file or directory", without allocation of locale state.
std::string systemMessage(int error);

/// Why a file or folder must not be trusted with code: it belongs to another user (but root), or
/// others can write to it. Empty if it may be.
std::string whyUntrusted(const std::string &path);

} // namespace heddle
