// The table of devices: a name, or a name with a number after a colon, to the function that opens
// it.
//   "cpu" -> openCpuDevice,  "cuda:1" -> openCudaDevice(1),  "ptx:80" -> the PTX machine as sm_80
#include "runtime/Device.h"
#include "runtime/OwnFolder.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "runtime/devices/cuda/CudaDevice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

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

/// The CUDA device over the driver functions of the PTX machine: it stands for the GPU of a
/// generation, sm_80 if no number is given.
OpenResult openPtxMachine(int generation, int) {
  const std::string name = "libheddle-ptx.so", own = ownFolder();
  const std::string beside = own + "/" + name, inLib = own + "/../lib/" + name;
  HEDDLE_TRY(driver, cuda::loadDriver(::access(beside.c_str(), R_OK) == 0 ? beside : inLib));
  const int wanted = generation ? generation : 80;
  int count = 0;
  driver.cuDeviceGetCount(&count);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    int major = 0, minor = 0;
    driver.cuDeviceGetAttribute(&major, cuda::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                                ordinal);
    driver.cuDeviceGetAttribute(&minor, cuda::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                                ordinal);
    if (10 * major + minor == wanted)
      return cuda::openCudaDevice(driver, {ordinal, fmt::format("ptx:{}", wanted), true});
  }
  return Error{ErrorCode::NotFound,
               fmt::format("the PTX machine stands for no sm_{}; it does for 80, 86, 89, 90, 100 "
                           "and 120",
                           wanted)};
}

constexpr Row kDevices[] = {
    {"cpu", false, [](int, int threads) { return cpu::openCpuDevice(threads); }},
    {"cuda", true, [](int number, int) { return cuda::openCudaDevice(number); }},
    {"ptx", true, openPtxMachine},
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
