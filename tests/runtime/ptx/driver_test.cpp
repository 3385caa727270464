// The machine under the names of the CUDA driver: the table is filled by name, and the driver's own
// calls load, launch, copy and report.
#include "runtime/devices/cuda/Driver.h"
#include "runtime/devices/ptx/DriverControl.h"
#include "tests/runtime/ptx/PtxKernel.h"

#include <dlfcn.h>

using namespace heddle;
using namespace heddle::cuda;
using namespace heddle::test;

namespace {

/// The table, filled from the library this test is linked with.
Driver machineDriver() {
  Driver driver;
#define HEDDLE_DRIVER_FUNCTION(name, symbol, parameters)                                           \
  driver.name = reinterpret_cast<decltype(driver.name)>(::dlsym(RTLD_DEFAULT, symbol));            \
  REQUIRE(driver.name);
#include "runtime/devices/cuda/Driver.def"
#undef HEDDLE_DRIVER_FUNCTION
  return driver;
}

const std::string kAdd = ptxModule(".param .u64 p0, .param .u32 p1",
                                   ".reg .b64 %q; .reg .b32 %t, %v; mov.u32 %t, %tid.x;\n"
                                   "ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 4, %q;\n"
                                   "ld.global.u32 %t, [%q]; ld.param.u32 %v, [p1];\n"
                                   "add.u32 %t, %t, %v; st.global.u32 [%q], %t;",
                                   "sm_80");

} // namespace

TEST_CASE("the driver's calls run a kernel on the machine", "[ptx]") {
  const Driver d = machineDriver();
  REQUIRE(d.cuInit(0) == CUDA_SUCCESS);
  int major = 0;
  CHECK(d.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) ==
        CUDA_SUCCESS);
  CHECK(major == 8);
  CUcontext context = nullptr;
  REQUIRE(d.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
  REQUIRE(d.cuCtxPushCurrent(context) == CUDA_SUCCESS);
  CUmodule module = nullptr;
  REQUIRE(d.cuModuleLoadDataEx(&module, kAdd.c_str(), 0, nullptr, nullptr) == CUDA_SUCCESS);
  CUfunction function = nullptr;
  CHECK(d.cuModuleGetFunction(&function, module, "absent") == CUDA_ERROR_NOT_FOUND);
  REQUIRE(d.cuModuleGetFunction(&function, module, "kernel") == CUDA_SUCCESS);
  CUdeviceptr memory = 0;
  REQUIRE(d.cuMemAlloc(&memory, 128) == CUDA_SUCCESS);
  std::vector<uint32_t> values(32);
  for (uint32_t i = 0; i < 32; ++i)
    values[i] = i;
  REQUIRE(d.cuMemcpyHtoD(memory, values.data(), 128) == CUDA_SUCCESS);

  struct {
    CUdeviceptr pointer;
    uint32_t add;
  } block = {memory, 100};
  size_t bytes = sizeof(block);
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  ptx::LaunchOptions checked;
  checked.check = checked.counts = true;
  checked.copies = ptx::CopyTime::Late;
  ptx::setDriverOptions(checked);
  REQUIRE(d.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra) ==
          CUDA_SUCCESS);
  void *parameters[] = {&block.pointer, &block.add};
  REQUIRE(d.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr) ==
          CUDA_SUCCESS);
  REQUIRE(d.cuMemcpyDtoH(values.data(), memory, 128) == CUDA_SUCCESS);
  for (uint32_t i = 0; i < 32; ++i)
    CHECK(values[i] == i + 200);
  const std::vector<ptx::LaunchRecord> records = ptx::takeLaunches();
  REQUIRE(records.size() == 2);
  CHECK(records[1].kernel == "kernel");
  CHECK(std::string(records[1].report.verdict()) == "clean");
  CHECK(records[1].report.classes.at("global load") == 1);
  CHECK(ptx::takeLaunches().empty());

  // A block of 64 threads reads beyond the buffer: without the checker the launch fails, and says
  // why.
  ptx::setDriverOptions({});
  const CUresult failed =
      d.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, nullptr, parameters, nullptr);
  CHECK(failed == CUDA_ERROR_ILLEGAL_ADDRESS);
  const char *text = nullptr;
  CHECK(d.cuGetErrorString(failed, &text) == CUDA_SUCCESS);
  CHECK(std::string(text).find("byte 128 of buffer") != std::string::npos);
  CHECK(d.cuMemFree(memory) == CUDA_SUCCESS);
  CHECK(d.cuMemcpyDtoH(values.data(), memory, 4) == CUDA_ERROR_INVALID_VALUE);
  CHECK(d.cuModuleUnload(module) == CUDA_SUCCESS);
  CHECK(d.cuCtxPopCurrent(&context) == CUDA_SUCCESS);
}

TEST_CASE("text that is no PTX, or for a later GPU, is refused with a log", "[ptx]") {
  const Driver d = machineDriver();
  char log[512] = {};
  CUjit_option names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log))};
  CUmodule module = nullptr;
  CHECK(d.cuModuleLoadDataEx(&module, "int main() {}", 2, names, values) == CUDA_ERROR_INVALID_PTX);
  CHECK(std::string(log).find("PTX begins with .version") != std::string::npos);
  const std::string later = ptxModule("", "", "sm_90");
  CHECK(d.cuModuleLoadDataEx(&module, later.c_str(), 2, names, values) ==
        CUDA_ERROR_NO_BINARY_FOR_GPU);
}
