// What every device must do, the same on all: the CPU, the CUDA device on the PTX machine, and the
// CUDA device on NVIDIA's driver where there is one. One artifact has code for each: y = factor * x
// in blocks of four rows, their sums, and a repeated third launch on what the first two wrote.
#include "runtime/DeviceTensors.h"
#include "runtime/Pattern.h"
#include "runtime/devices/cuda/CudaDevice.h"
#include "tests/runtime/Setting.h"
#include "tests/runtime/plugin/TargetArtifact.h"

#include <dlfcn.h>

#include <atomic>
#include <set>
#include <thread>

using namespace heddle;
using namespace heddle::test;
using namespace heddle::cuda;
using Catch::Matchers::Contains;

namespace {

constexpr const char *kDevices[] = {"cpu", "ptx:80", "ptx:90", "cuda"};

std::shared_ptr<Device> opened(const std::string &name) {
  Result<std::unique_ptr<Device>> device = openDevice(name, 2);
  INFO(name << ": " << (device.ok() ? "" : device.error().toString()));
  REQUIRE(device.ok());
  return std::move(*device);
}

std::shared_ptr<const Kernel> loaded(const std::shared_ptr<Device> &device, int64_t columns = 10) {
  Result<std::shared_ptr<const Kernel>> kernel =
      Kernel::load(scaleArtifactFor(device->target(), columns), {}, device);
  INFO((kernel.ok() ? "" : kernel.error().toString()));
  REQUIRE(kernel.ok());
  return *kernel;
}

/// A call with its tensors and workspace on a device.
struct Placed {
  ScaleCall call;
  DeviceTensors tensors;
  DeviceBuffer memory;
  Workspace workspace;

  Placed(const std::shared_ptr<Device> &device, const Kernel &kernel, int64_t rows,
         int64_t columns = 10)
      : call(rows, columns) {
    Result<DeviceTensors> placed = DeviceTensors::make(device, call.tensors);
    const Result<int64_t> bytes = kernel.workspaceBytes(call.tensors, {});
    INFO((bytes.ok() ? "" : bytes.error().toString()));
    REQUIRE((placed.ok() && bytes.ok()));
    tensors = std::move(*placed);
    memory = std::move(*DeviceBuffer::allocate(device, *bytes));
    workspace = {memory.data(), *bytes};
  }
  bool isRight(float factor) {
    return tensors.copyBack(1).ok() && tensors.copyBack(2).ok() && call.isRight(factor);
  }
};

/// Runs `test(name, device)` for each device of the list that this computer has.
template <typename Test> void onEveryDevice(Test test) {
  for (const char *name : kDevices) {
    if (std::string_view(name) == "cuda" && !openDevice(name, 1).ok())
      continue;
    INFO(name);
    test(std::string(name), opened(name));
  }
}

/// The driver's functions behind a CUDA device of the list.
Driver driverOf(const std::string &name) {
  Result<Driver> driver =
      name == "cuda" ? loadDriver() : loadDriver(std::string(kBinaryDir) + "/lib/libheddle-ptx.so");
  REQUIRE(driver.ok());
  return *driver;
}

} // namespace

TEST_CASE("every device says what it is and what it runs", "[conformance]") {
  onEveryDevice([](const std::string &name, const std::shared_ptr<Device> &device) {
    CHECK(device->name().starts_with(name));
    CHECK(device->runs(device->target()));
    CHECK(!device->runs("sm_70"));
    CHECK(!device->runs(device->target() == "cpu" ? "sm_80" : "cpu"));
    CHECK(!device->facts().empty());
    CHECK(device->workers() >= 1);
    CHECK(opened(name)->facts() == device->facts());
  });
}

TEST_CASE("every device keeps what is copied to it", "[conformance]") {
  onEveryDevice([](const std::string &, const std::shared_ptr<Device> &device) {
    for (int64_t bytes : {0, 1, 64, 4097}) {
      const Result<void *> memory = device->allocate(std::max<int64_t>(bytes, 1));
      REQUIRE(memory.ok());
      CHECK(reinterpret_cast<uintptr_t>(*memory) % 64 == 0);
      CHECK(device->checkMemory(*memory, "the memory").ok());
      std::string in(bytes, 'x'), out(bytes, 'o');
      REQUIRE(device->copyIn(*memory, in.data(), bytes).ok());
      REQUIRE(device->copyOut(out.data(), *memory, bytes).ok());
      CHECK(in == out);
      device->release(*memory);
    }
    const Result<void *> tooMuch = device->allocate(int64_t(1) << 60);
    REQUIRE(!tooMuch.ok());
    CHECK(tooMuch.error().code == ErrorCode::ResourceExhausted);
  });
}

TEST_CASE("every device computes the same, at any length, in order", "[conformance]") {
  onEveryDevice([](const std::string &, const std::shared_ptr<Device> &device) {
    const std::shared_ptr<const Kernel> kernel = loaded(device);
    for (int64_t rows : {0, 1, 7, 777, 1537}) {
      INFO(rows);
      Placed placed(device, *kernel, rows);
      REQUIRE(kernel->launch(placed.tensors.views(), {}, placed.workspace).ok());
      CHECK(placed.isRight(2));
      const ParameterValue factor[] = {{"factor", -0.5}};
      REQUIRE(kernel->launch(placed.tensors.views(), factor, placed.workspace).ok());
      CHECK(placed.isRight(-0.5F));
    }
  });
}

TEST_CASE("a registered pattern gets kernels for the device of its context", "[conformance]") {
  onEveryDevice([](const std::string &name, const std::shared_ptr<Device> &device) {
    Setting setting;
    setting.options.device = name;
    setting.options.nvrtc = "none"; // part of the key of kernels for GPUs
    const std::shared_ptr<Pattern> pattern = *Pattern::make(setting.open(), "scale");
    ScaleCall call(7, 10);
    Result<Pattern::EntryPointer> entry = pattern->find(call.tensors, {});
    INFO((entry.ok() ? "" : entry.error().toString()));
    REQUIRE(entry.ok());
    const Kernel &kernel = *(*entry)->found.kernel;
    CHECK(kernel.artifact().target == device->target());
    CHECK(*pattern->find(call.tensors, {}) == *entry);
    Placed placed(pattern->context()->sharedDevice(), kernel, 7);
    REQUIRE(kernel.launch(placed.tensors.views(), {}, placed.workspace).ok());
    CHECK(placed.isRight(2));
  });
}

TEST_CASE("kernels of one device live side by side, and longer than their device's handle",
          "[conformance]") {
  onEveryDevice([](const std::string &, std::shared_ptr<Device> device) {
    const std::shared_ptr<const Kernel> narrow = loaded(device, 10), wide = loaded(device, 33);
    Placed a(device, *narrow, 9, 10), b(device, *wide, 5, 33);
    device.reset();
    REQUIRE(wide->launch(b.tensors.views(), {}, b.workspace).ok());
    REQUIRE(narrow->launch(a.tensors.views(), {}, a.workspace).ok());
    CHECK(a.isRight(2));
    CHECK(b.isRight(2));
  });
}

TEST_CASE("threads and devices of their own use one processor at once", "[conformance][threads]") {
  onEveryDevice([](const std::string &name, const std::shared_ptr<Device> &device) {
    const std::shared_ptr<const Kernel> kernel = loaded(device);
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; ++n)
      threads.emplace_back([&, n] {
        // Half of them share the device and the kernel, half open their own.
        Result<std::unique_ptr<Device>> mine = openDevice(name, 1);
        if (!mine.ok())
          return;
        const std::shared_ptr<Device> own = n % 2 ? device : std::shared_ptr(std::move(*mine));
        const Result<std::shared_ptr<const Kernel>> code =
            Kernel::load(scaleArtifactFor(own->target(), 10), {}, own);
        if (!code.ok())
          return;
        const Kernel &used = n % 2 ? *kernel : **code;
        for (int turn = 0; turn < 8; ++turn) {
          ScaleCall call(1 + turn * 5, 10);
          Result<DeviceTensors> tensors = DeviceTensors::make(own, call.tensors);
          const Result<int64_t> bytes = used.workspaceBytes(call.tensors, {});
          Result<DeviceBuffer> memory = DeviceBuffer::allocate(own, *bytes);
          const ParameterValue factor[] = {{"factor", n + 1.0}};
          right += tensors.ok() && memory.ok() &&
                   used.launch(tensors->views(), factor, {memory->data(), *bytes}).ok() &&
                   tensors->copyBack(1).ok() && tensors->copyBack(2).ok() &&
                   call.isRight(static_cast<float>(n + 1));
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    CHECK(right == 32);
  });
}

TEST_CASE("every device refuses what it cannot run, and goes on", "[conformance]") {
  onEveryDevice([](const std::string &, const std::shared_ptr<Device> &device) {
    const std::shared_ptr<const Kernel> kernel = loaded(device);
    const auto refusal = [&](Artifact artifact) {
      const Result<std::shared_ptr<const Kernel>> refused =
          Kernel::load(std::move(artifact), {}, device);
      REQUIRE(!refused.ok());
      return refused.error().toString();
    };
    Artifact artifact = scaleArtifactFor(device->target(), 10);
    artifact.target = device->target() == "cpu" ? "sm_80" : "cpu";
    CHECK_THAT(refusal(artifact), Contains("expected code for"));
    artifact = scaleArtifactFor(device->target(), 10);
    artifact.launches[1].entry = "missing";
    CHECK_THAT(refusal(artifact), Contains("no entry missing"));
    artifact = scaleArtifactFor(device->target(), 10);
    artifact.image = artifact.sources["ptx"] = "no code";
    CHECK_THAT(refusal(artifact), !Contains("no entry"));

    Placed placed(device, *kernel, 7);
    const std::span<const TensorView> tensors = placed.tensors.views();
    const Workspace &whole = placed.workspace;
    const auto fails = [&](const Status &status, ErrorCode code, const char *part) {
      REQUIRE(!status.ok());
      CHECK(status.error().code == code);
      CHECK_THAT(status.error().message, Contains(part));
    };
    fails(kernel->launch(tensors, {}, {whole.data, whole.bytes - 64}), ErrorCode::InvalidArgument,
          "found a workspace of");
    fails(kernel->launch(tensors, {}, {}), ErrorCode::InvalidArgument, "a null pointer");
    fails(kernel->launch(tensors, {}, {static_cast<char *>(whole.data) + 8, whole.bytes}),
          ErrorCode::InvalidArgument, "no multiple of 64");
    fails(kernel->launch(tensors.first(2), {}, whole), ErrorCode::InvalidArgument,
          "found 2 tensors");
    const ParameterValue unknown[] = {{"speed", 1}};
    fails(kernel->launch(tensors, unknown, whole), ErrorCode::InvalidArgument, "'speed'");
    if (!device->usesHostMemory())
      fails(kernel->launch(placed.call.tensors, {}, whole), ErrorCode::InvalidArgument,
            "found x in memory that");
    REQUIRE(kernel->launch(tensors, {}, whole).ok());
    CHECK(placed.isRight(2));
  });
}

TEST_CASE("work goes into the caller's stream, behind what is there", "[conformance]") {
  onEveryDevice([](const std::string &name, const std::shared_ptr<Device> &device) {
    const std::shared_ptr<const Kernel> kernel = loaded(device);
    Placed placed(device, *kernel, 130);
    if (device->usesHostMemory()) {
      const Status refused = kernel->enqueue(placed.tensors.views(), {}, placed.workspace, &placed);
      REQUIRE(!refused.ok());
      CHECK_THAT(refused.error().message, Contains("found a stream for a kernel of the CPU"));
      REQUIRE(kernel->enqueue(placed.tensors.views(), {}, placed.workspace, nullptr).ok());
      CHECK(placed.isRight(2));
      return;
    }
    const Driver driver = driverOf(name);
    CUstream first = nullptr, second = nullptr;
    CUevent begin = nullptr, end = nullptr;
    CUcontext context = nullptr;
    int ordinal = 0, count = 0, number = 0;
    REQUIRE(driver.cuDeviceGetCount(&count) == CUDA_SUCCESS);
    for (int n = 0; n < count && name != "cuda"; ++n)
      if (driver.cuDeviceGetAttribute(&number, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, n) ==
              CUDA_SUCCESS &&
          device->target() == "sm_" + std::to_string(number) + "0")
        ordinal = n;
    REQUIRE(driver.cuDevicePrimaryCtxRetain(&context, ordinal) == CUDA_SUCCESS);
    REQUIRE(driver.cuCtxPushCurrent(context) == CUDA_SUCCESS);
    REQUIRE(driver.cuStreamCreate(&first, 1) == CUDA_SUCCESS);
    REQUIRE(driver.cuStreamCreate(&second, 1) == CUDA_SUCCESS);
    REQUIRE(driver.cuEventCreate(&begin, 0) == CUDA_SUCCESS);
    REQUIRE(driver.cuEventCreate(&end, 0) == CUDA_SUCCESS);
    CHECK(driver.cuEventRecord(begin, first) == CUDA_SUCCESS);
    const std::span<const TensorView> tensors = placed.tensors.views();
    for (double factor : {5.0, 4.0, 3.0}) { // the same workspace: each behind the one before
      const ParameterValue parameters[] = {{"factor", factor}};
      REQUIRE(kernel->enqueue(tensors, parameters, placed.workspace, first).ok());
    }
    CHECK(driver.cuEventRecord(end, first) == CUDA_SUCCESS);
    CHECK(driver.cuStreamWaitEvent(second, end, 0) == CUDA_SUCCESS);
    // Doubled in the other stream, which waits for the first: x is y of three launches.
    TensorView again[] = {tensors[1], tensors[0], tensors[2]};
    REQUIRE(kernel->enqueue(again, {}, placed.workspace, second).ok());
    REQUIRE(device->finish(second).ok());
    float milliseconds = -1;
    CHECK(driver.cuEventSynchronize(end) == CUDA_SUCCESS);
    CHECK(driver.cuEventElapsedTime(&milliseconds, begin, end) == CUDA_SUCCESS);
    CHECK(milliseconds >= 0);
    const std::vector<float> before = placed.call.x;
    REQUIRE((placed.tensors.copyBack(0).ok() && placed.tensors.copyBack(1).ok()));
    for (size_t n = 0; n < before.size(); ++n) {
      REQUIRE(placed.call.y[n] == 3 * before[n]);
      REQUIRE(placed.call.x[n] == 6 * before[n]);
    }
    for (CUstream stream : {first, second})
      CHECK(driver.cuStreamDestroy(stream) == CUDA_SUCCESS);
    for (CUevent event : {begin, end})
      CHECK(driver.cuEventDestroy(event) == CUDA_SUCCESS);
    CHECK(driver.cuCtxPopCurrent(&context) == CUDA_SUCCESS);
    CHECK(driver.cuDevicePrimaryCtxRelease(ordinal) == CUDA_SUCCESS);
  });
}

// --- graphs --------------------------------------------------------------------------------------

namespace {

/// A launch as a graph keeps it: the parameters by value.
struct Recorded {
  CUfunction function;
  unsigned grid[3], block[3], shared;
  std::string parameters;
};

/// The driver beneath, what a capture keeps of the launches, and the calls that a capture forbids.
struct Capture {
  Driver beneath;
  bool running = false;
  std::vector<Recorded> launches;
  std::set<std::string> forbidden;
} capture;

constexpr CUresult kCaptureUnsupported = 900; // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED

CUresult note(const char *name) {
  capture.forbidden.insert(name);
  return kCaptureUnsupported;
}

/// The driver, but for this: while a capture runs, launches are kept instead of run, and whatever
/// allocates, waits, copies or loads fails, as it does in the capture of a stream.
Driver capturingDriver() {
  Driver driver = capture.beneath;
  driver.cuLaunchKernel = [](CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                             unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared,
                             CUstream stream, void **parameters, void **extra) -> CUresult {
    if (!capture.running)
      return capture.beneath.cuLaunchKernel(function, gridX, gridY, gridZ, blockX, blockY, blockZ,
                                            shared, stream, parameters, extra);
    if (parameters || !extra || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER)
      return note("parameters that are not one block");
    capture.launches.push_back(
        {function,
         {gridX, gridY, gridZ},
         {blockX, blockY, blockZ},
         shared,
         {static_cast<const char *>(extra[1]), *static_cast<const size_t *>(extra[3])}});
    return CUDA_SUCCESS;
  };
  driver.cuMemAlloc = [](CUdeviceptr *pointer, size_t bytes) -> CUresult {
    return capture.running ? note("cuMemAlloc") : capture.beneath.cuMemAlloc(pointer, bytes);
  };
  driver.cuMemFree = [](CUdeviceptr pointer) -> CUresult {
    return capture.running ? note("cuMemFree") : capture.beneath.cuMemFree(pointer);
  };
  driver.cuMemcpyHtoD = [](CUdeviceptr to, const void *from, size_t bytes) -> CUresult {
    return capture.running ? note("cuMemcpyHtoD") : capture.beneath.cuMemcpyHtoD(to, from, bytes);
  };
  driver.cuMemcpyDtoH = [](void *to, CUdeviceptr from, size_t bytes) -> CUresult {
    return capture.running ? note("cuMemcpyDtoH") : capture.beneath.cuMemcpyDtoH(to, from, bytes);
  };
  driver.cuStreamSynchronize = [](CUstream stream) -> CUresult {
    return capture.running ? note("cuStreamSynchronize")
                           : capture.beneath.cuStreamSynchronize(stream);
  };
  driver.cuCtxSynchronize = []() -> CUresult {
    return capture.running ? note("cuCtxSynchronize") : capture.beneath.cuCtxSynchronize();
  };
  driver.cuModuleLoadDataEx = [](CUmodule *module, const void *image, unsigned options,
                                 CUjit_option *names, void **values) -> CUresult {
    return capture.running
               ? note("cuModuleLoadDataEx")
               : capture.beneath.cuModuleLoadDataEx(module, image, options, names, values);
  };
  return driver;
}

void replay() {
  for (Recorded &launch : capture.launches) {
    size_t bytes = launch.parameters.size();
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, launch.parameters.data(),
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    REQUIRE(capture.beneath.cuLaunchKernel(launch.function, launch.grid[0], launch.grid[1],
                                           launch.grid[2], launch.block[0], launch.block[1],
                                           launch.block[2], launch.shared, nullptr, nullptr,
                                           extra) == CUDA_SUCCESS);
  }
}

} // namespace

TEST_CASE("a launch can be captured in a graph and replayed on new contents", "[conformance]") {
  capture = {driverOf("ptx:80"), false, {}, {}};
  Result<std::unique_ptr<Device>> device = openCudaDevice(capturingDriver(), {0, "ptx", true});
  REQUIRE(device.ok());
  const std::shared_ptr<Device> shared = std::move(*device);
  const std::shared_ptr<const Kernel> kernel = loaded(shared);
  Placed placed(shared, *kernel, 21);
  capture.running = true;
  const Status done =
      kernel->enqueue(placed.tensors.views(), {}, placed.workspace, &capture); // any stream
  const Status waits = kernel->launch(placed.tensors.views(), {}, placed.workspace);
  capture.running = false;
  REQUIRE(done.ok());
  CHECK(!waits.ok()); // launch() waits for the end, which a capture cannot
  CHECK(capture.forbidden == std::set<std::string>{"cuStreamSynchronize"});
  capture.launches.resize(5); // scale, sum, three repetitions
  for (float sign : {1.0F, -3.0F}) {
    for (float &x : placed.call.x)
      x *= sign;
    REQUIRE(shared
                ->copyIn(placed.tensors.views()[0].data, placed.call.x.data(),
                         static_cast<int64_t>(placed.call.x.size() * sizeof(float)))
                .ok());
    replay();
    CHECK(placed.isRight(2));
  }
}

TEST_CASE("NVIDIA's driver captures a launch in a graph", "[conformance]") {
  const Result<std::unique_ptr<Device>> probe = openDevice("cuda", 1);
  if (!probe.ok())
    HEDDLE_SKIP("no GPU: " + probe.error().message);
  // Symbols that Heddle itself does not need. Source: CUDA driver API manual.
  void *library = ::dlopen("libcuda.so.1", RTLD_NOW);
  using Graph = struct CUgraph_st *;
  using Executable = struct CUgraphExec_st *;
  const auto begin =
      reinterpret_cast<CUresult (*)(CUstream, int)>(::dlsym(library, "cuStreamBeginCapture_v2"));
  const auto end =
      reinterpret_cast<CUresult (*)(CUstream, Graph *)>(::dlsym(library, "cuStreamEndCapture"));
  const auto instantiate = reinterpret_cast<CUresult (*)(Executable *, Graph, unsigned long long)>(
      ::dlsym(library, "cuGraphInstantiateWithFlags"));
  const auto launch =
      reinterpret_cast<CUresult (*)(Executable, CUstream)>(::dlsym(library, "cuGraphLaunch"));
  REQUIRE((begin && end && instantiate && launch));
  const std::shared_ptr<Device> device = opened("cuda");
  const std::shared_ptr<const Kernel> kernel = loaded(device);
  Placed placed(device, *kernel, 21);
  const Driver driver = driverOf("cuda");
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  REQUIRE(driver.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
  REQUIRE(driver.cuCtxPushCurrent(context) == CUDA_SUCCESS);
  REQUIRE(driver.cuStreamCreate(&stream, 1) == CUDA_SUCCESS);
  Graph graph = nullptr;
  Executable executable = nullptr;
  REQUIRE(begin(stream, 0) == CUDA_SUCCESS);
  REQUIRE(kernel->enqueue(placed.tensors.views(), {}, placed.workspace, stream).ok());
  REQUIRE(end(stream, &graph) == CUDA_SUCCESS);
  REQUIRE(instantiate(&executable, graph, 0) == CUDA_SUCCESS);
  for (int turn = 0; turn < 2; ++turn)
    REQUIRE(launch(executable, stream) == CUDA_SUCCESS);
  REQUIRE(device->finish(stream).ok());
  CHECK(placed.isRight(2));
  CHECK(driver.cuStreamDestroy(stream) == CUDA_SUCCESS);
  CHECK(driver.cuCtxPopCurrent(&context) == CUDA_SUCCESS);
  CHECK(driver.cuDevicePrimaryCtxRelease(0) == CUDA_SUCCESS);
}
