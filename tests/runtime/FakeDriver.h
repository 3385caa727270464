// A CUDA driver for tests: memory is the process's own, launches are recorded, and answers can be
// told to be others. One at a time: driver functions carry no state, so there is a current fake.
#pragma once

#include "runtime/devices/cuda/Driver.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace heddle::test {

struct FakeLaunch {
  std::string entry;
  unsigned grid[3], block[3], sharedBytes;
  cuda::CUstream stream;
  std::string parameters; ///< the bytes of the parameter block
};

/// What the fake was asked to do, and how it answers.
struct FakeDriver {
  std::vector<FakeLaunch> launches;
  std::vector<std::string> images;                  ///< of loaded modules
  std::map<std::string, int> dynamicShared;         ///< by entry, as set
  std::map<void *, size_t> memory;                  ///< live allocations
  std::set<std::string> entries = {"scale", "sum"}; ///< of every module
  std::map<int, int> attributes = {{75, 9},      {76, 0},      {16, 132},     {13, 1980000},
                                   {97, 232448}, {81, 233472}, {38, 52428800}};
  std::function<void(const FakeLaunch &)> onLaunch;
  std::map<std::string, cuda::CUresult> failures; ///< by function
  int devices = 1, contexts = 0, modules = 0, depth = 0, synchronised = 0;
  std::vector<std::string> functionNames; ///< a CUfunction is an index plus 1 into these

  FakeDriver() { current() = this; }
  ~FakeDriver() { current() = nullptr; }
  FakeDriver(const FakeDriver &) = delete;
  FakeDriver &operator=(const FakeDriver &) = delete;

  static FakeDriver *&current() {
    static FakeDriver *fake = nullptr;
    return fake;
  }
  cuda::CUresult answer(const char *function) const {
    const auto failure = failures.find(function);
    return failure == failures.end() ? cuda::CUDA_SUCCESS : failure->second;
  }
  const std::string &nameOf(cuda::CUfunction function) const {
    return functionNames[reinterpret_cast<uintptr_t>(function) - 1];
  }

  cuda::Driver table() const;
};

inline cuda::Driver FakeDriver::table() const {
  using namespace cuda;
  Driver driver;
#define HEDDLE_DRIVER_FUNCTION(name, symbol, parameters)                                           \
  driver.name = [] parameters -> CUresult { return FakeDriver::current()->answer(#name); };
#include "runtime/devices/cuda/Driver.def"
#undef HEDDLE_DRIVER_FUNCTION
  driver.cuGetErrorName = [](CUresult, const char **name) -> CUresult {
    *name = "CUDA_ERROR_OF_TEST";
    return CUDA_SUCCESS;
  };
  driver.cuGetErrorString = [](CUresult, const char **text) -> CUresult {
    *text = "as the test asked";
    return CUDA_SUCCESS;
  };
  driver.cuDriverGetVersion = [](int *version) -> CUresult {
    *version = 12040;
    return CUDA_SUCCESS;
  };
  driver.cuDeviceGetCount = [](int *count) -> CUresult {
    *count = current()->devices;
    return CUDA_SUCCESS;
  };
  driver.cuDeviceGetName = [](char *name, int bytes, CUdevice) -> CUresult {
    std::strncpy(name, "Fake H100", static_cast<size_t>(bytes));
    return CUDA_SUCCESS;
  };
  driver.cuDeviceGetAttribute = [](int *value, CUdevice_attribute attribute, CUdevice) -> CUresult {
    const auto known = current()->attributes.find(attribute);
    *value = known == current()->attributes.end() ? 0 : known->second;
    return CUDA_SUCCESS;
  };
  driver.cuDevicePrimaryCtxRetain = [](CUcontext *context, CUdevice) -> CUresult {
    ++current()->contexts;
    *context = reinterpret_cast<CUcontext>(1);
    return CUDA_SUCCESS;
  };
  driver.cuDevicePrimaryCtxRelease = [](CUdevice) -> CUresult {
    --current()->contexts;
    return CUDA_SUCCESS;
  };
  driver.cuCtxGetCurrent = [](CUcontext *context) -> CUresult {
    *context = reinterpret_cast<CUcontext>(uintptr_t(current()->depth > 0));
    return CUDA_SUCCESS;
  };
  driver.cuCtxPushCurrent = [](CUcontext) -> CUresult {
    ++current()->depth;
    return CUDA_SUCCESS;
  };
  driver.cuCtxPopCurrent = [](CUcontext *) -> CUresult {
    --current()->depth;
    return CUDA_SUCCESS;
  };
  driver.cuMemAlloc = [](CUdeviceptr *pointer, size_t bytes) -> CUresult {
    if (const CUresult failure = current()->answer("cuMemAlloc"))
      return failure;
    void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    current()->memory[memory] = bytes;
    *pointer = reinterpret_cast<CUdeviceptr>(memory);
    return CUDA_SUCCESS;
  };
  driver.cuMemFree = [](CUdeviceptr pointer) -> CUresult {
    void *memory = reinterpret_cast<void *>(pointer);
    if (current()->memory.erase(memory) == 0)
      return CUDA_ERROR_INVALID_VALUE;
    std::free(memory);
    return CUDA_SUCCESS;
  };
  driver.cuMemcpyHtoD = [](CUdeviceptr to, const void *from, size_t bytes) -> CUresult {
    std::memcpy(reinterpret_cast<void *>(to), from, bytes);
    return current()->answer("cuMemcpyHtoD");
  };
  driver.cuMemcpyDtoH = [](void *to, CUdeviceptr from, size_t bytes) -> CUresult {
    std::memcpy(to, reinterpret_cast<void *>(from), bytes);
    return current()->answer("cuMemcpyDtoH");
  };
  driver.cuPointerGetAttribute = [](void *, CUpointer_attribute, CUdeviceptr pointer) -> CUresult {
    void *address = reinterpret_cast<void *>(pointer);
    auto after = current()->memory.upper_bound(address);
    if (after == current()->memory.begin())
      return CUDA_ERROR_INVALID_VALUE;
    const auto &[begin, bytes] = *std::prev(after);
    const bool inside = address < static_cast<char *>(begin) + bytes;
    return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  };
  driver.cuModuleLoadDataEx = [](CUmodule *module, const void *image, unsigned, CUjit_option *,
                                 void **) -> CUresult {
    current()->images.push_back(static_cast<const char *>(image));
    ++current()->modules;
    *module = reinterpret_cast<CUmodule>(1);
    return current()->answer("cuModuleLoadDataEx");
  };
  driver.cuModuleUnload = [](CUmodule) -> CUresult {
    --current()->modules;
    return CUDA_SUCCESS;
  };
  driver.cuModuleGetFunction = [](CUfunction *function, CUmodule, const char *name) -> CUresult {
    if (!current()->entries.contains(name))
      return CUDA_ERROR_NOT_FOUND;
    current()->functionNames.push_back(name);
    *function = reinterpret_cast<CUfunction>(current()->functionNames.size());
    return CUDA_SUCCESS;
  };
  driver.cuFuncGetAttribute = [](int *value, CUfunction_attribute attribute,
                                 CUfunction) -> CUresult {
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK           ? 512
             : attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ? 49152
                                                                            : 0;
    return CUDA_SUCCESS;
  };
  driver.cuFuncSetAttribute = [](CUfunction function, CUfunction_attribute, int value) -> CUresult {
    current()->dynamicShared[current()->nameOf(function)] = value;
    return current()->answer("cuFuncSetAttribute");
  };
  driver.cuStreamSynchronize = [](CUstream) -> CUresult {
    ++current()->synchronised;
    return current()->answer("cuStreamSynchronize");
  };
  driver.cuLaunchKernel = [](CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                             unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared,
                             CUstream stream, void **, void **extra) -> CUresult {
    FakeLaunch launch = {current()->nameOf(function),
                         {gridX, gridY, gridZ},
                         {blockX, blockY, blockZ},
                         shared,
                         stream,
                         {}};
    if (extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER || extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE ||
        extra[4] != CU_LAUNCH_PARAM_END)
      return CUDA_ERROR_INVALID_VALUE;
    launch.parameters.assign(static_cast<const char *>(extra[1]),
                             *static_cast<const size_t *>(extra[3]));
    current()->launches.push_back(launch);
    if (current()->onLaunch)
      current()->onLaunch(launch);
    return current()->answer("cuLaunchKernel");
  };
  return driver;
}

} // namespace heddle::test
