// Helpers of the CPU target's tests: a loader of images from memory and the instruction sets this
// machine can run.
#pragma once

#include "compiler/machine/Isa.h"
#include "compiler/targets/cpu/NativeCode.h"
#include "runtime/devices/cpu/Host.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace heddle::compiler::cpu {

/// A shared object loaded from its bytes.
class LoadedImage {
public:
  explicit LoadedImage(const std::string &image) {
    int file = memfd_create("heddle-test-image", MFD_CLOEXEC);
    if (write(file, image.data(), image.size()) == static_cast<ssize_t>(image.size()))
      handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    close(file);
  }
  ~LoadedImage() {
    if (handle)
      dlclose(handle);
  }
  LoadedImage(const LoadedImage &) = delete;
  LoadedImage &operator=(const LoadedImage &) = delete;

  template <typename Function> Function symbol(const char *name) const {
    return handle ? reinterpret_cast<Function>(dlsym(handle, name)) : nullptr;
  }

private:
  void *handle = nullptr;
};

/// The feature words of this machine, as deviceFacts hold them.
inline std::string hostFacts() {
  std::ifstream file("/proc/cpuinfo");
  std::string facts;
  for (std::string line; std::getline(file, line);)
    if (line.rfind("flags", 0) == 0 || line.rfind("vendor_id", 0) == 0)
      facts += line.substr(line.find(':') + 1) + " ";
    else if (line.empty())
      break;
  return facts;
}

/// Every level this machine runs, widest first; AVX-512 without bf16 dot is not listed apart.
inline std::vector<Isa> hostIsas() {
  std::vector<Isa> isas;
  for (int64_t knob : {Isa::Avx512, Isa::Avx2})
    if (Result<Isa> isa = chooseIsa(hostFacts(), knob)) {
      isa->amx = isa->amx && heddle::cpu::requestAmx().ok();
      isas.push_back(*isa);
    }
  return isas;
}

} // namespace heddle::compiler::cpu
