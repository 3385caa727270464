// dlopen of bytes by way of memfd_create. The loader tells libraries apart by the path they were
// opened with, and descriptor numbers come back: two images would both be /proc/self/fd/7 and the
// second would silently be the first. So every load spells the path differently.
//   image 5 -> /proc/self/fd/.//././7   (bit n of the count: "./" or ".//")
#include "runtime/devices/cpu/SharedImage.h"

#include "runtime/File.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace heddle::cpu {
namespace {

#ifndef MFD_EXEC
constexpr unsigned MFD_EXEC = 0x0010U; // Linux 6.3; refused as unknown by older kernels
#endif

/// A path to the descriptor that no image of this process had before.
std::string uniquePath(int descriptor) {
  static std::atomic<uint32_t> loads = 0; // the loader's table of paths is per process, too
  std::string path = "/proc/self/fd/";
  for (uint32_t count = loads++; count != 0; count >>= 1)
    path += count & 1 ? ".//" : "./";
  return path + std::to_string(descriptor);
}

int openMemoryFile() {
  const int descriptor = ::memfd_create("heddle-kernel", MFD_CLOEXEC | MFD_EXEC);
  return descriptor >= 0 || errno != EINVAL ? descriptor
                                            : ::memfd_create("heddle-kernel", MFD_CLOEXEC);
}

void *openFromMemory(std::string_view bytes) {
  const Descriptor file(openMemoryFile());
  if (file.number < 0 || !writeAll(file.number, bytes))
    return nullptr;
  return ::dlopen(uniquePath(file.number).c_str(), RTLD_NOW | RTLD_LOCAL);
}

void *openFromPrivateFile(std::string_view bytes) {
  const char *folder = std::getenv("XDG_RUNTIME_DIR");
  std::string path = std::string(folder && *folder ? folder : "/tmp") + "/heddle-XXXXXX";
  const Descriptor file(::mkostemp(path.data(), O_CLOEXEC)); // mode 0600, name not guessable
  if (file.number < 0)
    return nullptr;
  void *handle =
      writeAll(file.number, bytes) ? ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  ::unlink(path.c_str());
  return handle;
}

} // namespace

void SharedImage::Close::operator()(void *handle) const { ::dlclose(handle); }

Result<SharedImage> SharedImage::load(std::string_view bytes) {
  if (!bytes.starts_with("\x7f"
                         "ELF"))
    return Error{ErrorCode::CorruptData,
                 "found an artifact whose code is no shared object; compile it again"};
  SharedImage image;
  image.handle.reset(openFromMemory(bytes));
  const char *reason = image.handle ? nullptr : ::dlerror();
  const std::string first = reason ? reason : "no executable memory files";
  if (!image.handle)
    image.handle.reset(openFromPrivateFile(bytes));
  if (!image.handle)
    return Error{ErrorCode::CorruptData,
                 fmt::format("the loader refuses the code of this artifact: {}", first)};
  return image;
}

void *SharedImage::find(const std::string &symbol) const {
  return ::dlsym(handle.get(), symbol.c_str());
}

} // namespace heddle::cpu
