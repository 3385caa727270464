// Fuzzes the PTX machine: any bytes are a module or a reason with its place, and what is a kernel
// runs to its end, to a finding or to its bound on steps, with arguments that point to 256 bytes.
// Build with `cmake --preset fuzz && ninja -C build-fuzz ptx_fuzz`, run with
// `build-fuzz/bin/ptx_fuzz -max_total_time=600 -max_len=3000 CORPUS`; a corpus of small kernels, a
// few instructions each, goes further than one of whole files.
#include "runtime/devices/ptx/Machine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

using namespace heddle::ptx;

/// A block of two warps. All of the machine's own limits hold; these are to be quick.
void run(Machine &machine, const Program &program) {
  const auto buffer = machine.memory.allocate(256, "buffer");
  std::vector<std::byte> params(static_cast<size_t>(program.paramBytes));
  for (size_t at = 0; buffer.ok() && at + 8 <= params.size(); at += 8)
    std::memcpy(params.data() + at, &(*buffer)->address, 8);
  LaunchConfig config;
  for (int axis = 0; axis < 3; ++axis) {
    config.block[axis] = std::max<int64_t>(program.requiredThreads[axis], axis == 0 ? 64 : 1);
    config.grid[axis] = std::max<int64_t>(program.cluster[axis], 1);
  }
  config.sharedBytes = 256;
  config.params = params;
  LaunchOptions options;
  options.check = options.counts = true;
  options.stepLimit = 500;
  options.copies = CopyTime::Random;
  (void)machine.launch(program, config, options);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Machine machine;
  auto module = machine.load({reinterpret_cast<const char *>(data), size}, "fuzz.ptx");
  if (!module.ok()) {
    if (module.error().message.empty() || module.error().where.empty())
      std::abort(); // refused without a reason or a place
    return 0;
  }
  for (const std::string &name : (*module)->kernels())
    if (const auto kernel = (*module)->kernel(name); kernel.ok())
      run(machine, **kernel);
  return 0;
}
