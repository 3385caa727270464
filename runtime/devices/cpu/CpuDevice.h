// The CPU as a device: artifacts are shared objects, grids are shared out over a thread pool.
#pragma once

#include "runtime/Device.h"
#include "runtime/devices/cpu/Host.h"

namespace heddle::cpu {

/// `threads` 0: every core the process may run on. InvalidArgument for a negative or absurd number.
Result<std::unique_ptr<Device>> openCpuDevice(int threads);

/// The same for a processor described by hand: tests use it to lack features.
Result<std::unique_ptr<Device>> openCpuDevice(int threads, HostInfo host);

} // namespace heddle::cpu
