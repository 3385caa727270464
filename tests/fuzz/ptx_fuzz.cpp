// Fuzzes the PTX parser and decoder: any bytes are a module or a reason with its place.
// Build with `cmake --preset fuzz && ninja -C build-fuzz ptx_fuzz`, run with
// `build-fuzz/bin/ptx_fuzz -max_total_time=600 CORPUS`.
#include "runtime/devices/ptx/Machine.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  heddle::ptx::Machine machine;
  auto module = machine.load({reinterpret_cast<const char *>(data), size}, "fuzz.ptx");
  if (!module.ok()) {
    if (module.error().message.empty() || module.error().where.empty())
      std::abort(); // refused without a reason or a place
    return 0;
  }
  for (const std::string &name : (*module)->kernels())
    (void)(*module)->kernel(name);
  return 0;
}
