// load: artifact -> cuModuleLoadDataEx -> one function a launch.  run: grid, block, shared memory
// and the parameter block -> cuLaunchKernel with the block as its `extra` list. The device's
// primary context is used, as frameworks do, and is current only during a call.
#include "runtime/devices/cuda/CudaDevice.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <charconv>

namespace heddle::cuda {
namespace {

constexpr int64_t kMostGridX = INT32_MAX, kMostGridYZ = 65535;

/// Passes a driver call's failure on as an Error:  HEDDLE_DRIVER(driver, "what fails", call)
#define HEDDLE_DRIVER(driver, what, call)                                                          \
  do {                                                                                             \
    if (const CUresult heddleResult = (call); heddleResult != CUDA_SUCCESS)                        \
      return driverError((driver), heddleResult, (what));                                          \
  } while (false)

/// Facts about a GPU that code or its speed may depend on.
struct GpuInfo {
  std::string model;
  int major = 0, minor = 0, multiprocessors = 0, clockKHz = 0, driverVersion = 0;
  int sharedPerBlock = 0, sharedPerMultiprocessor = 0, l2Bytes = 0;

  /// Request::deviceFacts, in the form that compiler/machine reads.
  std::string facts() const {
    return fmt::format("model {}; sm {}{}; multiprocessors {}; clock {}; shared {}; "
                       "shared_all {}; l2 {}; driver {}.{}",
                       model, major, minor, multiprocessors, clockKHz, sharedPerBlock,
                       sharedPerMultiprocessor, l2Bytes, driverVersion / 1000,
                       driverVersion % 1000 / 10);
  }
};

/// The primary context of a device, held while any kernel or device needs it.
class PrimaryContext {
public:
  PrimaryContext(const Driver &driver, CUdevice device, CUcontext context)
      : driver(driver), device(device), context(context) {}
  ~PrimaryContext() { driver.cuDevicePrimaryCtxRelease(device); }
  PrimaryContext(const PrimaryContext &) = delete;
  PrimaryContext &operator=(const PrimaryContext &) = delete;

  const Driver driver;
  const CUdevice device;
  const CUcontext context;
};

/// Makes the context current for a while, unless it is already.
class Current {
public:
  explicit Current(const PrimaryContext &primary) : driver(primary.driver) {
    CUcontext before = nullptr;
    driver.cuCtxGetCurrent(&before);
    if (before != primary.context)
      pushed = driver.cuCtxPushCurrent(primary.context) == CUDA_SUCCESS;
  }
  ~Current() {
    CUcontext ignored = nullptr;
    if (pushed)
      driver.cuCtxPopCurrent(&ignored);
  }
  Current(const Current &) = delete;
  Current &operator=(const Current &) = delete;

private:
  const Driver &driver;
  bool pushed = false;
};

/// A loaded module, unloaded at the end.
class Module {
public:
  Module(std::shared_ptr<PrimaryContext> primary, CUmodule handle)
      : primary(std::move(primary)), handle(handle) {}
  ~Module() {
    const Current current(*primary);
    primary->driver.cuModuleUnload(handle);
  }
  Module(const Module &) = delete;
  Module &operator=(const Module &) = delete;

  const std::shared_ptr<PrimaryContext> primary;
  const CUmodule handle;
};

// --- kernels -------------------------------------------------------------------------------------

/// An entry with what its launches need.
struct Entry {
  std::string name;
  CUfunction function = nullptr;
  unsigned block[3] = {1, 1, 1};
  int64_t staticShared = 0;
  int64_t allowedShared = 0; ///< dynamic, without and with having asked for more
};

class CudaKernel : public LoadedKernel {
public:
  CudaKernel(std::unique_ptr<Module> module, std::vector<Entry> entries, int64_t blockBytes,
             int64_t mostShared)
      : module(std::move(module)), entries(std::move(entries)), blockBytes(blockBytes),
        mostShared(mostShared) {
    for (size_t n = 0; n < this->entries.size(); ++n)
      allowed[n] = this->entries[n].allowedShared;
  }

  int64_t scratchBytes(int64_t) const override { return 0; }

  Status run(int64_t index, const GridLaunch &launch, const void *block, void *,
             Stream stream) override {
    const Entry &entry = entries[index];
    HEDDLE_CHECK(checkGrid(entry, launch));
    if (launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0)
      return {};
    const Driver &driver = module->primary->driver;
    const Current current(*module->primary);
    HEDDLE_CHECK(allowShared(index, launch.sharedBytes));
    size_t bytes = static_cast<size_t>(blockBytes);
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<void *>(block),
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    const CUresult result = driver.cuLaunchKernel(
        entry.function, static_cast<unsigned>(launch.grid[0]),
        static_cast<unsigned>(launch.grid[1]), static_cast<unsigned>(launch.grid[2]),
        entry.block[0], entry.block[1], entry.block[2], static_cast<unsigned>(launch.sharedBytes),
        static_cast<CUstream>(stream), nullptr, extra);
    if (result != CUDA_SUCCESS)
      return driverError(driver, result, fmt::format("cannot launch {}", entry.name));
    return {};
  }

  Status encode(const TensorMapValues &map, void *to) const override {
    CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_UINT8;
    if (map.dtype == DType::F32)
      type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    else if (map.dtype == DType::F16)
      type = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    else if (map.dtype == DType::BF16)
      type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    else if (sizeOf(map.dtype) != 1)
      return Error{ErrorCode::Unsupported,
                   fmt::format("found a tensor map of {}, expected f32, f16, bf16 or bytes",
                               toString(map.dtype))};
    const CUtensorMapSwizzle swizzle = map.swizzleBytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                       : map.swizzleBytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                       : map.swizzleBytes == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                                : CU_TENSOR_MAP_SWIZZLE_NONE;
    const uint32_t everyElement[TensorMapValues::kMaxRank] = {1, 1, 1, 1, 1};
    const Driver &driver = module->primary->driver;
    const Current current(*module->primary);
    HEDDLE_DRIVER(driver, "cannot make a tensor map",
                  driver.cuTensorMapEncodeTiled(
                      static_cast<CUtensorMap *>(to), type, static_cast<unsigned>(map.rank),
                      map.data, map.extents.data(), map.strides.data() + 1, map.box.data(),
                      everyElement, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
    return {};
  }

private:
  static Status checkGrid(const Entry &entry, const GridLaunch &launch) {
    if (launch.grid[0] <= kMostGridX && launch.grid[1] <= kMostGridYZ &&
        launch.grid[2] <= kMostGridYZ)
      return {};
    return Error{
        ErrorCode::ResourceExhausted,
        fmt::format("found a grid of {} x {} x {} blocks for {}, expected at most 2^31 - 1 "
                    "x 65535 x 65535",
                    launch.grid[0], launch.grid[1], launch.grid[2], entry.name)};
  }

  /// A block gets 48 KiB unasked; for more the function's attribute is raised, once.
  Status allowShared(int64_t index, int64_t bytes) {
    if (bytes <= allowed[index].load(std::memory_order_acquire))
      return {};
    const Entry &entry = entries[index];
    const int64_t most = mostShared - entry.staticShared;
    if (bytes > most)
      return Error{ErrorCode::ResourceExhausted,
                   fmt::format("{} needs {} bytes of shared memory, {} more than this GPU gives a "
                               "block; compile it for this GPU",
                               entry.name, bytes + entry.staticShared, bytes - most)};
    const Driver &driver = module->primary->driver;
    HEDDLE_DRIVER(driver, "cannot get shared memory for " + entry.name,
                  driver.cuFuncSetAttribute(entry.function,
                                            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                            static_cast<int>(most)));
    allowed[index].store(most, std::memory_order_release);
    return {};
  }

  std::unique_ptr<Module> module;
  std::vector<Entry> entries;
  int64_t blockBytes, mostShared;
  std::array<std::atomic<int64_t>, kMaxLaunches> allowed;
};

// --- the device ----------------------------------------------------------------------------------

/// "sm_90a" -> 90, 'a'; 0 for another target.
std::pair<int, char> targetNumber(const std::string &target) {
  int number = 0;
  if (!target.starts_with("sm_"))
    return {0, 0};
  const char *end = target.data() + target.size();
  const char *stop = std::from_chars(target.data() + 3, end, number).ptr;
  return {stop + 1 >= end ? number : 0, stop < end ? *stop : '\0'};
}

class CudaDevice : public Device {
public:
  CudaDevice(std::shared_ptr<PrimaryContext> primary, GpuInfo info, const CudaOptions &options)
      : primary(std::move(primary)), driver(this->primary->driver), info(std::move(info)),
        deviceName(options.name.empty() ? fmt::format("cuda:{}", options.ordinal) : options.name),
        deviceTarget(fmt::format("sm_{}{}", this->info.major, this->info.minor)),
        description(this->info.facts()), fromPtx(options.fromPtx) {}

  const std::string &name() const override { return deviceName; }
  const std::string &target() const override { return deviceTarget; }
  const std::string &facts() const override { return description; }
  int workers() const override { return info.multiprocessors; }

  /// Code of the same number; of an earlier one of the same generation where it has no suffix.
  bool runs(const std::string &target) const override {
    const auto [number, suffix] = targetNumber(target);
    const int own = info.major * 10 + info.minor;
    return suffix == 'a' ? number == own : number / 10 == info.major && number % 10 <= info.minor;
  }

  Result<std::unique_ptr<LoadedKernel>> load(const Artifact &artifact) override {
    if (!runs(artifact.target))
      return Error{ErrorCode::Unsupported,
                   fmt::format("found code for {}, expected code for {}, which {} ({}) runs",
                               artifact.target, deviceTarget, deviceName, info.model)};
    const Current current(*primary);
    HEDDLE_TRY(module, loadModule(artifact));
    std::vector<Entry> entries;
    for (const Launch &launch : artifact.launches) {
      HEDDLE_TRY(entry, findEntry(*module, launch, artifact));
      entries.push_back(std::move(entry));
    }
    return std::unique_ptr<LoadedKernel>(std::make_unique<CudaKernel>(
        std::move(module), std::move(entries), artifact.blockBytes, info.sharedPerBlock));
  }

  bool usesHostMemory() const override { return false; }

  Result<void *> allocate(int64_t bytes) override {
    const Current current(*primary);
    CUdeviceptr pointer = 0;
    HEDDLE_DRIVER(driver, fmt::format("cannot allocate {} bytes on {}", bytes, deviceName),
                  driver.cuMemAlloc(&pointer, static_cast<size_t>(bytes)));
    return reinterpret_cast<void *>(pointer);
  }
  void release(void *memory) override {
    const Current current(*primary);
    driver.cuMemFree(reinterpret_cast<CUdeviceptr>(memory));
  }
  Status copyIn(void *device, const void *host, int64_t bytes) override {
    const Current current(*primary);
    if (bytes > 0)
      HEDDLE_DRIVER(driver, "cannot copy to " + deviceName,
                    driver.cuMemcpyHtoD(reinterpret_cast<CUdeviceptr>(device), host,
                                        static_cast<size_t>(bytes)));
    return {};
  }
  Status copyOut(void *host, const void *device, int64_t bytes) override {
    const Current current(*primary);
    if (bytes > 0)
      HEDDLE_DRIVER(driver, "cannot copy from " + deviceName,
                    driver.cuMemcpyDtoH(host, reinterpret_cast<CUdeviceptr>(device),
                                        static_cast<size_t>(bytes)));
    return {};
  }
  Status checkMemory(const void *memory, const std::string &what) const override {
    const Current current(*primary);
    unsigned kind = 0;
    const CUresult result = driver.cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                                         reinterpret_cast<CUdeviceptr>(memory));
    if (result == CUDA_SUCCESS)
      return {};
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found {} in memory that {} cannot reach, expected memory of that GPU",
                             what, deviceName)};
  }
  Status finish(Stream stream) override {
    const Current current(*primary);
    HEDDLE_DRIVER(driver, "a kernel failed on " + deviceName,
                  driver.cuStreamSynchronize(static_cast<CUstream>(stream)));
    return {};
  }

private:
  Result<std::unique_ptr<Module>> loadModule(const Artifact &artifact) {
    const auto ptx = artifact.sources.find("ptx");
    const bool usePtx = fromPtx || artifact.image.empty();
    if (usePtx && ptx == artifact.sources.end())
      return Error{
          ErrorCode::CorruptData,
          fmt::format("found no PTX in the artifact of {}; compile it again", artifact.name)};
    const std::string &image = usePtx ? ptx->second : artifact.image;
    std::array<char, 2048> log = {};
    CUjit_option names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log.data(), reinterpret_cast<void *>(log.size() - 1)};
    CUmodule module = nullptr;
    const CUresult result = driver.cuModuleLoadDataEx(&module, image.c_str(), 2, names, values);
    if (result == CUDA_SUCCESS)
      return std::make_unique<Module>(primary, module);
    Error error = driverError(
        driver, result, fmt::format("cannot load the code of {} on {}", artifact.name, deviceName));
    if (log[0])
      error.notes.emplace_back(log.data());
    return error;
  }

  Result<Entry> findEntry(const Module &module, const Launch &launch, const Artifact &artifact) {
    Entry entry;
    entry.name = launch.entry;
    if (driver.cuModuleGetFunction(&entry.function, module.handle, launch.entry.c_str()) !=
        CUDA_SUCCESS)
      return Error{ErrorCode::CorruptData,
                   fmt::format("found no entry {} in the code of {}; compile it again",
                               launch.entry, artifact.name)};
    int threads = 1;
    int most = 0, shared = 0, allowed = 0;
    HEDDLE_DRIVER(
        driver, "cannot look at " + entry.name,
        driver.cuFuncGetAttribute(&most, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, entry.function));
    HEDDLE_DRIVER(
        driver, "cannot look at " + entry.name,
        driver.cuFuncGetAttribute(&shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, entry.function));
    HEDDLE_DRIVER(driver, "cannot look at " + entry.name,
                  driver.cuFuncGetAttribute(
                      &allowed, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, entry.function));
    for (int d = 0; d < 3; ++d) {
      entry.block[d] = static_cast<unsigned>(launch.block[d]);
      threads *= static_cast<int>(launch.block[d]);
    }
    if (threads > most)
      return Error{ErrorCode::ResourceExhausted,
                   fmt::format("{} wants {} threads a block, {} gives it at most {}", entry.name,
                               threads, deviceName, most)};
    entry.staticShared = shared;
    entry.allowedShared = allowed;
    return entry;
  }

  const std::shared_ptr<PrimaryContext> primary;
  const Driver &driver;
  const GpuInfo info;
  const std::string deviceName, deviceTarget, description;
  const bool fromPtx;
};

Result<GpuInfo> describe(const Driver &driver, CUdevice device) {
  GpuInfo info;
  char name[256] = {};
  HEDDLE_DRIVER(driver, "cannot name the GPU", driver.cuDeviceGetName(name, sizeof name, device));
  info.model = name;
  HEDDLE_DRIVER(driver, "cannot ask the driver's version",
                driver.cuDriverGetVersion(&info.driverVersion));
  const std::pair<CUdevice_attribute, int *> attributes[] = {
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &info.major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &info.minor},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &info.multiprocessors},
      {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, &info.clockKHz},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &info.sharedPerBlock},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, &info.sharedPerMultiprocessor},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &info.l2Bytes}};
  for (const auto &[attribute, value] : attributes)
    HEDDLE_DRIVER(driver, "cannot ask the GPU's attributes",
                  driver.cuDeviceGetAttribute(value, attribute, device));
  return info;
}

} // namespace

Result<std::unique_ptr<Device>> openCudaDevice(const Driver &driver, const CudaOptions &options) {
  const CUresult started = driver.cuInit(0);
  if (started == CUDA_ERROR_NO_DEVICE)
    return Error{ErrorCode::NotFound, "found a CUDA driver but no GPU on this computer"};
  HEDDLE_DRIVER(driver, "the CUDA driver does not start", started);
  int count = 0;
  HEDDLE_DRIVER(driver, "cannot count the GPUs", driver.cuDeviceGetCount(&count));
  if (options.ordinal < 0 || options.ordinal >= count)
    return Error{ErrorCode::NotFound,
                 fmt::format("found {} GPUs on this computer, expected a number below that, not {}",
                             count, options.ordinal)};
  CUdevice device = 0;
  HEDDLE_DRIVER(driver, "cannot open the GPU", driver.cuDeviceGet(&device, options.ordinal));
  HEDDLE_TRY(info, describe(driver, device));
  if (info.major < 8)
    return Error{ErrorCode::Unsupported,
                 fmt::format("found {} of compute capability {}.{}, expected 8.0 or later",
                             info.model, info.major, info.minor)};
  CUcontext context = nullptr;
  HEDDLE_DRIVER(driver, "cannot make a context on " + info.model,
                driver.cuDevicePrimaryCtxRetain(&context, device));
  auto primary = std::make_shared<PrimaryContext>(driver, device, context);
  return std::unique_ptr<Device>(
      std::make_unique<CudaDevice>(std::move(primary), std::move(info), options));
}

Result<std::unique_ptr<Device>> openCudaDevice(int ordinal) {
  HEDDLE_TRY(driver, loadDriver());
  CudaOptions options;
  options.ordinal = ordinal;
  return openCudaDevice(driver, options);
}

} // namespace heddle::cuda
