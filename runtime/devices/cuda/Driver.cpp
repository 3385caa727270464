// Fills the table by the names in Driver.def:  "cuMemAlloc_v2" of libcuda.so.1 -> driver.cuMemAlloc
#include "runtime/devices/cuda/Driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace heddle::cuda {

Result<Driver> loadDriver(const std::string &library) {
  void *handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *reason = ::dlerror();
    return Error{ErrorCode::NotFound,
                 fmt::format("found no CUDA driver ({}); it comes with NVIDIA's driver for a GPU. "
                             "Kernels can be compiled and inspected without one",
                             reason ? reason : library)};
  }
  Driver driver;
  const char *missing = nullptr;
#define HEDDLE_DRIVER_FUNCTION(name, symbol, parameters)                                           \
  driver.name = reinterpret_cast<decltype(driver.name)>(::dlsym(handle, symbol));                  \
  if (!driver.name)                                                                                \
    missing = symbol;
#include "runtime/devices/cuda/Driver.def"
#undef HEDDLE_DRIVER_FUNCTION
  if (missing)
    return Error{ErrorCode::Unsupported,
                 fmt::format("found a CUDA driver without {} in {}, expected one of CUDA 12.0 or "
                             "newer; update NVIDIA's driver",
                             missing, library)};
  return driver;
}

Error driverError(const Driver &driver, CUresult result, const std::string &what) {
  const char *name = nullptr, *text = nullptr;
  driver.cuGetErrorName(result, &name);
  driver.cuGetErrorString(result, &text);
  const bool exhausted =
      result == CUDA_ERROR_OUT_OF_MEMORY || result == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  return {exhausted ? ErrorCode::ResourceExhausted : ErrorCode::IoError,
          fmt::format("{}: the driver says {} ({}): {}", what, name ? name : "an unknown error",
                      result, text ? text : "it gives no text")};
}

} // namespace heddle::cuda
