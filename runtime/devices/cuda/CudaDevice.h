// A GPU as a device: modules, one by-value parameter block a launch, memory, streams. Everything
// goes through a table of driver functions (Driver.h), so the same code runs on NVIDIA's driver, on
// the PTX machine and on a test's fake.
#pragma once

#include "runtime/Device.h"
#include "runtime/devices/cuda/Driver.h"

namespace heddle::cuda {

struct CudaOptions {
  int ordinal = 0;      ///< of the driver's devices
  std::string name;     ///< of the Device; empty: "cuda:ORDINAL"
  bool fromPtx = false; ///< load Artifact::sources["ptx"] instead of the cubin
};

/// Opens a GPU of NVIDIA's driver. NotFound where there is no driver or no such GPU.
Result<std::unique_ptr<Device>> openCudaDevice(int ordinal);

/// The same over a given table.
Result<std::unique_ptr<Device>> openCudaDevice(const Driver &driver, const CudaOptions &options);

} // namespace heddle::cuda
