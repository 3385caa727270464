// The table of devices: a name, or a name with a number after a colon, to the function that opens
// it.
//   "cpu" -> openCpuDevice,  "cuda:1" -> openCudaDevice(1)
#include "runtime/Device.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "runtime/devices/cuda/CudaDevice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <string_view>

namespace heddle {
namespace {

using OpenResult = Result<std::unique_ptr<Device>>;

struct Row {
  const char *name;
  bool numbered; ///< whether ":N" may follow; 0 without
  OpenResult (*open)(int number, int threads);
};

constexpr Row kDevices[] = {
    {"cpu", false, [](int, int threads) { return cpu::openCpuDevice(threads); }},
    {"cuda", true, [](int number, int) { return cuda::openCudaDevice(number); }},
};

/// Whether `name` is the row's, with or without a number.
bool reads(const Row &row, std::string_view name, int &number) {
  if (name == row.name)
    return true;
  if (!row.numbered || !name.starts_with(row.name))
    return false;
  name.remove_prefix(std::string_view(row.name).size());
  const char *end = name.data() + name.size();
  return name.size() > 1 && name[0] == ':' && name[1] != '-' &&
         std::from_chars(name.data() + 1, end, number).ptr == end;
}

} // namespace

std::vector<std::string> deviceNames() {
  std::vector<std::string> names;
  for (const Row &row : kDevices)
    names.push_back(fmt::format("{}{}", row.name, row.numbered ? "[:N]" : ""));
  return names;
}

OpenResult openDevice(const std::string &name, int threads) {
  for (const Row &row : kDevices) {
    int number = 0;
    if (reads(row, name, number))
      return row.open(number, threads);
  }
  return Error{ErrorCode::NotFound, fmt::format("found no device '{}', expected one of {}", name,
                                                fmt::join(deviceNames(), ", "))};
}

} // namespace heddle
