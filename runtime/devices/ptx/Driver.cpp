// The machine under the names of the CUDA driver: libheddle-ptx shows the
// symbols of Driver.def, so loadDriver("libheddle-ptx.so") fills the table of
// the CUDA device with it. Devices 0, 1, .. are the generations in
// kGenerations. Work is done when it is asked for: streams are always idle.
//
// The driver's interface is a process-wide one, so there is one machine for it,
// made on first use.
#include "runtime/devices/cuda/Driver.h"

#include "runtime/devices/ptx/DriverControl.h"
#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/TensorMap.h"
#include "runtime/devices/ptx/ops/TensorCore.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

using namespace heddle::cuda;
using namespace heddle::ptx;

namespace {

/// What the devices say of themselves. Sources: data sheets and the CUDA
/// programming guide.
struct Generation {
  int major, minor;
  const char *name;
  int multiprocessors, sharedPerBlock, sharedPerMultiprocessor, threadsPerMultiprocessor;
  int l2Bytes, clockKHz;
};
constexpr Generation kGenerations[] = {
    {8, 0, "PTX machine (sm_80)", 108, 166912, 167936, 2048, 40 << 20, 1410000},
    {8, 6, "PTX machine (sm_86)", 82, 101376, 102400, 1536, 6 << 20, 1695000},
    {8, 9, "PTX machine (sm_89)", 128, 101376, 102400, 1536, 72 << 20, 2520000},
    {9, 0, "PTX machine (sm_90)", 132, 232448, 233472, 2048, 50 << 20, 1830000},
    {10, 0, "PTX machine (sm_100)", 148, 232448, 233472, 2048, 126 << 20, 1965000},
    {12, 0, "PTX machine (sm_120)", 170, 101376, 102400, 1536, 96 << 20, 2407000}};
constexpr int kDevices = static_cast<int>(std::size(kGenerations));

using Clock = std::chrono::steady_clock;

} // namespace

// The driver's opaque types.
struct heddle::cuda::CUctx_st {
  int device;
};
struct heddle::cuda::CUfunc_st {
  const Program *program;
  int maxDynamicShared = 48 << 10;
  int device;
};
struct heddle::cuda::CUmod_st {
  std::unique_ptr<heddle::ptx::Module> module;
  std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
  int device;
};
struct heddle::cuda::CUstream_st {};
struct heddle::cuda::CUevent_st {
  Clock::time_point time;
};

namespace {

struct Face {
  std::mutex mutex;
  Machine machine;
  CUctx_st contexts[kDevices];
  LaunchOptions options;
  std::vector<LaunchRecord> records;
  bool recording = false;

  Face() {
    for (int i = 0; i < kDevices; ++i)
      contexts[i].device = i;
    options.threads = 0;
  }
};

Face &face() {
  static Face theFace;
  return theFace;
}

thread_local std::vector<CUcontext> currentContexts;
/// What cuGetErrorString says of a launch that failed, which no fixed text can.
thread_local std::string lastFailure;

int currentDevice() { return currentContexts.empty() ? 0 : currentContexts.back()->device; }

CUresult resultOf(const heddle::Error &error) {
  lastFailure = error.toString();
  switch (error.code) {
  case heddle::ErrorCode::ResourceExhausted:
    return CUDA_ERROR_OUT_OF_MEMORY;
  case heddle::ErrorCode::NotFound:
    return CUDA_ERROR_NOT_FOUND;
  case heddle::ErrorCode::InvalidArgument:
    return CUDA_ERROR_INVALID_VALUE;
  case heddle::ErrorCode::Unsupported:
    return CUDA_ERROR_NOT_SUPPORTED;
  default:
    return error.message.starts_with("out of bounds") ? CUDA_ERROR_ILLEGAL_ADDRESS
                                                      : CUDA_ERROR_LAUNCH_FAILED;
  }
}
CUresult resultOf(const heddle::Status &status) {
  return status.ok() ? CUDA_SUCCESS : resultOf(status.error());
}

struct ErrorText {
  CUresult result;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}};

const ErrorText *findError(CUresult result) {
  for (const ErrorText &row : kErrors)
    if (row.result == result)
      return &row;
  return nullptr;
}

CUresult copyHostToDevice(CUdeviceptr to, const void *from, size_t bytes) {
  return resultOf(face().machine.memory.write(to, {static_cast<const std::byte *>(from), bytes}));
}
CUresult copyDeviceToHost(void *to, CUdeviceptr from, size_t bytes) {
  return resultOf(face().machine.memory.read(from, {static_cast<std::byte *>(to), bytes}));
}
CUresult copyDeviceToDevice(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  std::vector<std::byte> between(bytes);
  const CUresult read = copyDeviceToHost(between.data(), from, bytes);
  return read ? read : copyHostToDevice(to, between.data(), bytes);
}
CUresult fill(CUdeviceptr to, unsigned char value, size_t count) {
  const std::vector<unsigned char> bytes(count, value);
  return copyHostToDevice(to, bytes.data(), count);
}

/// Writes the text to the caller's error log, where one is given.
void writeLog(unsigned options, const CUjit_option *names, void **values, const std::string &text) {
  char *buffer = nullptr;
  size_t size = 0;
  for (unsigned i = 0; i < options; ++i) {
    if (names[i] == CU_JIT_ERROR_LOG_BUFFER)
      buffer = static_cast<char *>(values[i]);
    if (names[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      size = reinterpret_cast<size_t>(values[i]);
  }
  if (!buffer || size == 0)
    return;
  const size_t length = std::min(size - 1, text.size());
  std::memcpy(buffer, text.data(), length);
  buffer[length] = '\0';
}

/// The launch's parameters as one block of bytes: from `extra`, or from one
/// pointer for each.
heddle::Result<std::vector<std::byte>> paramBytes(const Program &program, void **parameters,
                                                  void **extra) {
  std::vector<std::byte> bytes(static_cast<size_t>(program.paramBytes));
  if (parameters) {
    for (size_t i = 0; i < program.params.size(); ++i)
      std::memcpy(bytes.data() + program.params[i].offset, parameters[i],
                  static_cast<size_t>(program.params[i].bytes));
    return bytes;
  }
  const void *from = nullptr;
  size_t size = 0;
  for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
      from = extra[1];
    if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
      size = *static_cast<const size_t *>(extra[1]);
  }
  // Callers round a block up to a multiple of its alignment.
  if (size < bytes.size() || (size > 0 && !from))
    return heddle::Error{heddle::ErrorCode::InvalidArgument,
                         fmt::format("kernel '{}' takes {} bytes of arguments, given are {}",
                                     program.name, bytes.size(), size)};
  if (!bytes.empty())
    std::memcpy(bytes.data(), from, bytes.size());
  return bytes;
}

} // namespace

LaunchOptions heddle::ptx::driverOptions() {
  std::lock_guard lock(face().mutex);
  return face().options;
}
void heddle::ptx::setDriverOptions(const LaunchOptions &options) {
  std::lock_guard lock(face().mutex);
  face().options = options;
  face().recording = true;
}
std::vector<LaunchRecord> heddle::ptx::takeLaunches() {
  std::lock_guard lock(face().mutex);
  return std::exchange(face().records, {});
}

// Every function is declared from the table, so that a wrong signature does not
// compile.
#define HEDDLE_DRIVER_FUNCTION(name, symbol, parameters)                                           \
  extern "C" __attribute__((visibility("default"))) CUresult ptx_##name parameters __asm__(symbol);
#include "runtime/devices/cuda/Driver.def"
#undef HEDDLE_DRIVER_FUNCTION

CUresult ptx_cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult ptx_cuDriverGetVersion(int *version) {
  *version = 13000;
  return CUDA_SUCCESS;
}
CUresult ptx_cuGetErrorName(CUresult error, const char **name) {
  const ErrorText *row = findError(error);
  *name = row ? row->name : nullptr;
  return row ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult ptx_cuGetErrorString(CUresult error, const char **text) {
  const ErrorText *row = findError(error);
  const bool own = error != CUDA_SUCCESS && !lastFailure.empty();
  *text = own ? lastFailure.c_str() : row ? row->text : nullptr;
  return row ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult ptx_cuDeviceGetCount(int *count) {
  *count = kDevices;
  return CUDA_SUCCESS;
}
CUresult ptx_cuDeviceGet(CUdevice *device, int ordinal) {
  if (ordinal < 0 || ordinal >= kDevices)
    return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult ptx_cuDeviceGetName(char *name, int bytes, CUdevice device) {
  if (device < 0 || device >= kDevices || bytes < 1)
    return CUDA_ERROR_INVALID_DEVICE;
  std::strncpy(name, kGenerations[device].name, static_cast<size_t>(bytes));
  name[bytes - 1] = '\0';
  return CUDA_SUCCESS;
}
CUresult ptx_cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  if (device < 0 || device >= kDevices)
    return CUDA_ERROR_INVALID_DEVICE;
  const Generation &g = kGenerations[device];
  const std::pair<CUdevice_attribute, int> values[] = {
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, INT32_MAX},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
      {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
      {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, g.clockKHz},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, g.multiprocessors},
      {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000000},
      {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 256},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, g.l2Bytes},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, g.threadsPerMultiprocessor},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, g.major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, g.minor},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, g.sharedPerMultiprocessor},
      {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, g.sharedPerBlock},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32}};
  for (const auto &[known, v] : values)
    if (known == attribute) {
      *value = v;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_INVALID_VALUE;
}
CUresult ptx_cuDeviceTotalMem(size_t *bytes, CUdevice) {
  *bytes = size_t{16} << 30;
  return CUDA_SUCCESS;
}

CUresult ptx_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  if (device < 0 || device >= kDevices)
    return CUDA_ERROR_INVALID_DEVICE;
  *context = &face().contexts[device];
  return CUDA_SUCCESS;
}
CUresult ptx_cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
CUresult ptx_cuCtxGetCurrent(CUcontext *context) {
  *context = currentContexts.empty() ? nullptr : currentContexts.back();
  return CUDA_SUCCESS;
}
CUresult ptx_cuCtxPushCurrent(CUcontext context) {
  currentContexts.push_back(context);
  return CUDA_SUCCESS;
}
CUresult ptx_cuCtxPopCurrent(CUcontext *context) {
  if (currentContexts.empty())
    return CUDA_ERROR_INVALID_CONTEXT;
  if (context)
    *context = currentContexts.back();
  currentContexts.pop_back();
  return CUDA_SUCCESS;
}
CUresult ptx_cuCtxSynchronize() { return CUDA_SUCCESS; }

CUresult ptx_cuMemGetInfo(size_t *free, size_t *total) {
  *free = *total = size_t{16} << 30;
  return CUDA_SUCCESS;
}
CUresult ptx_cuMemAlloc(CUdeviceptr *pointer, size_t bytes) {
  std::lock_guard lock(face().mutex);
  const auto buffer = face().machine.memory.allocate(bytes, "");
  if (!buffer.ok())
    return resultOf(buffer.error());
  *pointer = (*buffer)->address;
  return CUDA_SUCCESS;
}
CUresult ptx_cuMemFree(CUdeviceptr pointer) {
  std::lock_guard lock(face().mutex);
  return pointer == 0 ? CUDA_SUCCESS : resultOf(face().machine.memory.release(pointer));
}
CUresult ptx_cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
  std::lock_guard lock(face().mutex);
  return copyHostToDevice(to, from, bytes);
}
CUresult ptx_cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
  std::lock_guard lock(face().mutex);
  return copyDeviceToHost(to, from, bytes);
}
CUresult ptx_cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  std::lock_guard lock(face().mutex);
  return copyDeviceToDevice(to, from, bytes);
}
CUresult ptx_cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
  return ptx_cuMemcpyHtoD(to, from, bytes);
}
CUresult ptx_cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream) {
  return ptx_cuMemcpyDtoH(to, from, bytes);
}
CUresult ptx_cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  return ptx_cuMemcpyDtoD(to, from, bytes);
}
CUresult ptx_cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  std::lock_guard lock(face().mutex);
  return fill(to, value, count);
}
CUresult ptx_cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream) {
  return ptx_cuMemsetD8(to, value, count);
}
CUresult ptx_cuPointerGetAttribute(void *value, CUpointer_attribute attribute,
                                   CUdeviceptr pointer) {
  std::lock_guard lock(face().mutex);
  if (!face().machine.memory.host(pointer, 1).ok())
    return CUDA_ERROR_INVALID_VALUE;
  if (attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
    *static_cast<unsigned *>(value) = 2;
  else
    *static_cast<int *>(value) = currentDevice();
  return CUDA_SUCCESS;
}

CUresult ptx_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned options,
                                CUjit_option *names, void **values) {
  std::lock_guard lock(face().mutex);
  const char *text = static_cast<const char *>(image);
  if (std::memcmp(text,
                  "\x7f"
                  "ELF",
                  4) == 0) {
    lastFailure = "the PTX machine runs PTX text, and this is machine code";
    writeLog(options, names, values, lastFailure);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  auto loaded = face().machine.load(text, "kernel.ptx");
  if (!loaded.ok()) {
    writeLog(options, names, values, loaded.error().toString());
    resultOf(loaded.error());
    return CUDA_ERROR_INVALID_PTX;
  }
  const Generation &g = kGenerations[currentDevice()];
  const int wanted = smNumber((*loaded)->syntax().target);
  if (wanted > g.major * 10 + g.minor) {
    lastFailure = fmt::format("PTX for {} on {}", (*loaded)->syntax().target, g.name);
    writeLog(options, names, values, lastFailure);
    (void)face().machine.unload(**loaded);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  *module = new CUmod_st{std::move(*loaded), {}, currentDevice()};
  return CUDA_SUCCESS;
}
CUresult ptx_cuModuleUnload(CUmodule module) {
  std::lock_guard lock(face().mutex);
  const CUresult result = resultOf(face().machine.unload(*module->module));
  delete module;
  return result;
}
CUresult ptx_cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  std::lock_guard lock(face().mutex);
  auto &slot = module->functions[name];
  if (!slot) {
    const auto program = module->module->kernel(name);
    if (!program.ok()) {
      module->functions.erase(name);
      return resultOf(program.error());
    }
    slot = std::make_unique<CUfunc_st>();
    slot->program = *program;
    slot->device = module->device;
  }
  *function = slot.get();
  return CUDA_SUCCESS;
}
CUresult ptx_cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  const Program &p = *function->program;
  const int64_t most = p.requiredThreads[0]
                           ? p.requiredThreads[0] * p.requiredThreads[1] * p.requiredThreads[2]
                       : p.maxThreads[0] ? p.maxThreads[0] * p.maxThreads[1] * p.maxThreads[2]
                                         : 1024;
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    *value = static_cast<int>(std::min<int64_t>(most, 1024));
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    *value = static_cast<int>(p.sharedBytes);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    *value = static_cast<int>(p.localBytes);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
  case CU_FUNC_ATTRIBUTE_NUM_REGS:
    *value = 0;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    *value = function->maxDynamicShared;
    return CUDA_SUCCESS;
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}
CUresult ptx_cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    return CUDA_SUCCESS;
  if (value + function->program->sharedBytes > kGenerations[function->device].sharedPerBlock)
    return CUDA_ERROR_INVALID_VALUE;
  function->maxDynamicShared = value;
  return CUDA_SUCCESS;
}
CUresult ptx_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
                                                         int blockThreads, size_t sharedBytes) {
  const Generation &g = kGenerations[function->device];
  const int64_t shared = static_cast<int64_t>(sharedBytes) + function->program->sharedBytes + 1024;
  if (blockThreads < 1)
    return CUDA_ERROR_INVALID_VALUE;
  *blocks = static_cast<int>(std::min<int64_t>(g.threadsPerMultiprocessor / blockThreads,
                                               g.sharedPerMultiprocessor / shared));
  return CUDA_SUCCESS;
}

CUresult ptx_cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                            unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                            CUstream, void **parameters, void **extra) {
  std::lock_guard lock(face().mutex);
  Face &f = face();
  if (sharedBytes > static_cast<unsigned>(function->maxDynamicShared)) {
    lastFailure = fmt::format("{} bytes of shared memory, and the function may have {}",
                              sharedBytes, function->maxDynamicShared);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto params = paramBytes(*function->program, parameters, extra);
  if (!params.ok())
    return resultOf(params.error());
  LaunchConfig config;
  const int64_t shape[6] = {gridX, gridY, gridZ, blockX, blockY, blockZ};
  std::copy_n(shape, 3, config.grid);
  std::copy_n(shape + 3, 3, config.block);
  config.sharedBytes = sharedBytes;
  config.params = *params;
  LaunchOptions options = f.options;
  options.sharedLimit = kGenerations[function->device].sharedPerBlock;
  auto report = f.machine.launch(*function->program, config, options);
  if (!report.ok())
    return resultOf(report.error());
  std::fputs(report->printed.c_str(), stdout);
  if (f.recording)
    f.records.push_back({function->program->name, std::move(*report)});
  return CUDA_SUCCESS;
}

CUresult ptx_cuStreamCreate(CUstream *stream, unsigned) {
  *stream = new CUstream_st;
  return CUDA_SUCCESS;
}
CUresult ptx_cuStreamDestroy(CUstream stream) {
  delete stream;
  return CUDA_SUCCESS;
}
CUresult ptx_cuStreamSynchronize(CUstream) { return CUDA_SUCCESS; }
CUresult ptx_cuStreamWaitEvent(CUstream, CUevent, unsigned) { return CUDA_SUCCESS; }
CUresult ptx_cuEventCreate(CUevent *event, unsigned) {
  *event = new CUevent_st{Clock::now()};
  return CUDA_SUCCESS;
}
CUresult ptx_cuEventDestroy(CUevent event) {
  delete event;
  return CUDA_SUCCESS;
}
CUresult ptx_cuEventRecord(CUevent event, CUstream) {
  event->time = Clock::now();
  return CUDA_SUCCESS;
}
CUresult ptx_cuEventSynchronize(CUevent) { return CUDA_SUCCESS; }
CUresult ptx_cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return CUDA_SUCCESS;
}
CUresult ptx_cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, unsigned rank,
                                    void *address, const uint64_t *extents, const uint64_t *strides,
                                    const uint32_t *box, const uint32_t *elementStrides,
                                    CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill outside) {
  std::lock_guard lock(face().mutex);
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || swizzle < 0 ||
      swizzle > CU_TENSOR_MAP_SWIZZLE_128B || rank < 1 || rank > kTensorMapRank) {
    lastFailure = "the PTX machine knows tensor maps of rank 1 to 5 without interleave, with "
                  "swizzles of 32, 64 and 128 bytes";
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  TensorMap m;
  m.type = static_cast<uint8_t>(type);
  m.rank = static_cast<uint8_t>(rank);
  m.address = reinterpret_cast<uint64_t>(address);
  m.swizzle = static_cast<Swizzle>(swizzle);
  m.fill = outside ? TensorMap::Fill::NaN : TensorMap::Fill::Zero;
  for (size_t d = 0; d < rank; ++d) {
    m.dims[d] = extents[d];
    m.strides[d] = d == 0 ? static_cast<uint64_t>(m.elementBytes()) : strides[d - 1];
    m.box[d] = box[d];
    m.elementStrides[d] = elementStrides[d];
  }
  const auto image = encodeTensorMap(m);
  if (!image.ok())
    return resultOf(image.error());
  std::memcpy(map, image->data(), image->size());
  return CUDA_SUCCESS;
}
