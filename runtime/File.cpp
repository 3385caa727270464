// Small wrappers of system calls: retried when interrupted, short reads and writes carried on.
#include "runtime/File.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace heddle {
namespace {

constexpr int64_t kMaxBytes = int64_t(1) << 30;

} // namespace

Descriptor::~Descriptor() {
  if (number >= 0)
    ::close(number);
}

bool writeAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return false;
    bytes.remove_prefix(written);
  }
  return true;
}

size_t readUpTo(int descriptor, char *bytes, size_t size) {
  size_t at = 0;
  while (at < size) {
    const ssize_t got = ::read(descriptor, bytes + at, size - at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    at += got;
  }
  return at;
}

std::string systemMessage(int error) { return std::system_category().message(error); }

Result<std::string> readFile(const std::string &path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status;
  if (file.number < 0 || ::fstat(file.number, &status) != 0)
    return Error{errno == ENOENT ? ErrorCode::NotFound : ErrorCode::IoError,
                 fmt::format("cannot read {}: {}", path, systemMessage(errno))};
  if (!S_ISREG(status.st_mode) || status.st_size > kMaxBytes)
    return Error{ErrorCode::IoError, fmt::format("{} is no regular file below 1 GiB", path)};
  std::string bytes(status.st_size, '\0');
  bytes.resize(readUpTo(file.number, bytes.data(), bytes.size())); // short: a checksum will tell
  return bytes;
}

int replaceFile(const std::string &temporary, const std::string &path, std::string_view bytes) {
  const auto failed = [&] {
    const int error = errno;
    ::unlink(temporary.c_str());
    return error;
  };
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.number < 0)
      return errno;
    if (!writeAll(file.number, bytes))
      return failed();
  }
  return ::rename(temporary.c_str(), path.c_str()) == 0 ? 0 : failed();
}

std::string whyUntrusted(const std::string &path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0)
    return systemMessage(errno);
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return fmt::format("belongs to user {}", status.st_uid);
  if (status.st_mode & (S_IWGRP | S_IWOTH))
    return fmt::format("can be written to by others (mode {:o})", status.st_mode & 07777);
  return "";
}

} // namespace heddle
