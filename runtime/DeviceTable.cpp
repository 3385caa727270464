// The table of devices: a name, or a name with a number after a colon, to the function that opens
// it.
//   "cpu" -> openCpuDevice
#include "runtime/Device.h"
#include "runtime/devices/cpu/CpuDevice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace heddle {
namespace {

struct Row {
  const char *name;
  Result<std::unique_ptr<Device>> (*open)(int threads);
};

constexpr Row kDevices[] = {
    {"cpu", cpu::openCpuDevice},
};

} // namespace

std::vector<std::string> deviceNames() {
  std::vector<std::string> names;
  for (const Row &row : kDevices)
    names.push_back(row.name);
  return names;
}

Result<std::unique_ptr<Device>> openDevice(const std::string &name, int threads) {
  for (const Row &row : kDevices)
    if (name == row.name)
      return row.open(threads);
  return Error{ErrorCode::NotFound, fmt::format("found no device '{}', expected one of {}", name,
                                                fmt::join(deviceNames(), ", "))};
}

} // namespace heddle
