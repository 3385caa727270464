// The CUDA device over a fake driver: what it loads, launches, copies and refuses. The kernels are
// done by the fake when they are launched, so results come back as from a GPU.
#include "runtime/DeviceTensors.h"
#include "runtime/Jit.h"
#include "runtime/devices/cuda/CudaDevice.h"
#include "tests/runtime/FakeDriver.h"
#include "tests/support/Test.h"

#include <cstring>

using namespace heddle;
using namespace heddle::cuda;
using Catch::Matchers::Contains;

namespace {

/// y[T] = factor * x[T], in blocks of 128; then a second launch, repeated, on the workspace.
Artifact scaleArtifact() {
  Artifact artifact;
  artifact.name = "scale";
  artifact.target = "sm_90";
  artifact.form = "attention";
  artifact.scalars = {{"T", ScalarInfo::Extent, 0}, {"factor", ScalarInfo::FloatParameter, 2.0}};
  artifact.tensors = {{"x", DType::F32, false, {"T"}}, {"y", DType::F32, true, {"T"}}};
  artifact.arguments = {{Argument::TensorPointer, 0, 0, 0},     {Argument::TensorPointer, 1, 0, 8},
                        {Argument::ScalarValue, 0, 0, 16},      {Argument::ScalarValue, 1, 0, 24},
                        {Argument::WorkspacePointer, 0, 0, 32}, {Argument::RepeatIndex, 0, 0, 40}};
  artifact.blockBytes = 48;
  const Formula one = Formula::constant(1), length = Formula::scalar(0);
  const Formula blocks = length.combine(Formula::CeilDiv, Formula::constant(128));
  artifact.workspaceBytes = {length.combine(Formula::Mul, Formula::constant(4))};
  artifact.launches = {
      {"scale", {blocks, one, one}, {128, 1, 1}, Formula::constant(100000), one, false},
      {"sum", {one, one, one}, {32, 2, 1}, Formula::constant(0), Formula::constant(2), false}};
  artifact.image = "cubin";
  artifact.sources["ptx"] = "ptx";
  return artifact;
}

struct Parameters {
  const float *x;
  float *y;
  int64_t length;
  double factor;
  void *workspace;
  int64_t repeat;
};

Parameters parametersOf(const test::FakeLaunch &launch) {
  Parameters parameters;
  REQUIRE(launch.parameters.size() == sizeof parameters);
  std::memcpy(&parameters, launch.parameters.data(), sizeof parameters);
  return parameters;
}

void runScale(const test::FakeLaunch &launch) {
  if (launch.entry != "scale")
    return;
  const Parameters p = parametersOf(launch);
  for (int64_t n = 0; n < p.length; ++n)
    p.y[n] = static_cast<float>(p.factor) * p.x[n];
}

TensorView viewOf(std::vector<float> &values) {
  TensorView view;
  view.data = values.data();
  view.rank = 1;
  view.shape[0] = static_cast<int64_t>(values.size());
  view.strides[0] = 1;
  return view;
}

std::shared_ptr<Device> open(const test::FakeDriver &fake, const CudaOptions &options = {}) {
  Result<std::unique_ptr<Device>> device = openCudaDevice(fake.table(), options);
  INFO((device.ok() ? "" : device.error().toString()));
  REQUIRE(device.ok());
  return std::move(*device);
}

/// Runs the kernel on `length` elements, from host to host.
Status scale(std::shared_ptr<Device> device, int64_t length, std::vector<float> &y) {
  std::vector<float> x(static_cast<size_t>(length));
  for (int64_t n = 0; n < length; ++n)
    x[n] = static_cast<float>(n);
  y.assign(x.size(), -1);
  HEDDLE_TRY(kernel, Kernel::load(scaleArtifact(), {}, device));
  const TensorView host[] = {viewOf(x), viewOf(y)};
  const ParameterValue factor[] = {{"factor", 3.0}};
  HEDDLE_TRY(bytes, kernel->workspaceBytes(host, factor));
  HEDDLE_TRY(workspace, DeviceBuffer::allocate(device, bytes));
  HEDDLE_TRY(tensors, DeviceTensors::make(device, host));
  HEDDLE_CHECK(kernel->launch(tensors.views(), factor, {workspace.data(), bytes}));
  return tensors.copyBack(1);
}

} // namespace

TEST_CASE("a GPU tells its target, its facts, and what code it runs") {
  test::FakeDriver fake;
  const std::shared_ptr<Device> device = open(fake);
  CHECK(device->name() == "cuda:0");
  CHECK(device->target() == "sm_90");
  CHECK(device->workers() == 132);
  CHECK_THAT(device->facts(),
             Contains("model Fake H100; sm 90; multiprocessors 132; clock 1980000") &&
                 Contains("driver 12.4"));
  CHECK(device->runs("sm_90"));
  CHECK(device->runs("sm_90a"));
  for (const char *target : {"cpu", "sm_80", "sm_100", "sm_9", "sm_", "sm_100a", "90", "sm_91"})
    CHECK(!device->runs(target));
  fake.attributes[75] = 8;
  fake.attributes[76] = 9;
  const std::shared_ptr<Device> ada = open(fake);
  CHECK(ada->runs("sm_80")); // code of a generation runs on its later members
  CHECK(ada->runs("sm_86"));
  CHECK(!ada->runs("sm_90"));
}

TEST_CASE("tensors go in, the launches run, results come back; any length") {
  for (int64_t length : {0, 1, 7, 777, 1537}) {
    INFO(length);
    test::FakeDriver fake;
    fake.onLaunch = runScale;
    std::vector<float> y;
    Status done = scale(open(fake), length, y);
    INFO((done.ok() ? "" : done.error().toString()));
    REQUIRE(done.ok());
    for (int64_t n = 0; n < length; ++n)
      REQUIRE(y[n] == 3.0f * static_cast<float>(n));
    CHECK(fake.memory.empty());
    CHECK(fake.modules == 0);
    CHECK(fake.contexts == 0);
    CHECK(fake.depth == 0);
    CHECK(fake.synchronised > 0);
    CHECK(fake.images == std::vector<std::string>{"cubin"});
    // An empty grid is not launched; the second launch has a grid of its own.
    REQUIRE(fake.launches.size() == (length > 0 ? 3 : 2));
    const test::FakeLaunch &last = fake.launches.back();
    CHECK(last.entry == "sum");
    CHECK(last.block[0] == 32);
    CHECK(last.block[1] == 2);
    CHECK(parametersOf(last).repeat == 1);
    CHECK(parametersOf(last).length == length);
    if (length > 0) {
      CHECK(fake.launches[0].grid[0] == (length + 127) / 128);
      CHECK(fake.launches[0].sharedBytes == 100000);
      CHECK(fake.dynamicShared.at("scale") == 232448);
      CHECK(!fake.dynamicShared.contains("sum"));
    }
  }
}

namespace {

/// What the driver was told of the last tensor map.
struct Encoded {
  int type, swizzle;
  void *address;
  std::vector<uint64_t> extents, strides;
  std::vector<uint32_t> box;
};
std::vector<Encoded> encoded;

CUresult recordMap(CUtensorMap *map, CUtensorMapDataType type, unsigned rank, void *address,
                   const uint64_t *extents, const uint64_t *strides, const uint32_t *box,
                   const uint32_t *elementStrides, CUtensorMapInterleave,
                   CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  for (unsigned d = 0; d < rank; ++d)
    REQUIRE(elementStrides[d] == 1);
  encoded.push_back({type,
                     swizzle,
                     address,
                     {extents, extents + rank},
                     {strides, strides + rank - 1},
                     {box, box + rank}});
  map->opaque[0] = 0x1234;
  return test::FakeDriver::current()->answer("cuTensorMapEncodeTiled");
}

/// y = f(x) for x[B, T, 80] in f16, read in panels of 16 columns.
Artifact mappedArtifact() {
  Artifact artifact = scaleArtifact();
  artifact.scalars.insert(artifact.scalars.begin() + 1, {"B", ScalarInfo::Extent, 0});
  artifact.scalars.pop_back();
  artifact.tensors[0] = {"x", DType::F16, false, {"B", "T", "80"}};
  artifact.tensorMaps = {{0, {{-1, 16, 1, 16}, {1, 1, 1, 64}, {-1, 5, 16, 5}, {0, 1, 1, 1}}, 32}};
  artifact.arguments = {{Argument::TensorPointer, 1, 0, 0}, {Argument::TensorMap, 0, 0, 64}};
  artifact.blockBytes = 192;
  return artifact;
}

Status runMapped(test::FakeDriver &fake, int64_t B, int64_t T, int64_t batchStride) {
  encoded.clear();
  Driver table = fake.table();
  table.cuTensorMapEncodeTiled = recordMap;
  HEDDLE_TRY(opened, openCudaDevice(table, {}));
  const std::shared_ptr<Device> device = std::move(opened);
  HEDDLE_TRY(kernel, Kernel::load(mappedArtifact(), {}, device));
  HEDDLE_TRY(memory, DeviceBuffer::allocate(device, 65536));
  TensorView x{memory.data(), DType::F16, 3, {B, T, 80}, {batchStride, 88, 1}};
  TensorView y{static_cast<char *>(memory.data()) + 60000, DType::F32, 1, {T}, {1}};
  HEDDLE_TRY(workspace, DeviceBuffer::allocate(device, 64 + 4 * T));
  const TensorView tensors[] = {x, y};
  return kernel->launch(tensors, {}, {workspace.data(), 64 + 4 * T});
}

} // namespace

TEST_CASE("tensor maps are made for each call from its address, extents and strides") {
  test::FakeDriver fake;
  REQUIRE(runMapped(fake, 2, 77, 88 * 77).ok());
  REQUIRE(encoded.size() == 1);
  CHECK(encoded[0].type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
  CHECK(encoded[0].swizzle == CU_TENSOR_MAP_SWIZZLE_32B);
  CHECK(encoded[0].extents == std::vector<uint64_t>{16, 77, 5, 2});
  CHECK(encoded[0].strides == std::vector<uint64_t>{176, 32, 176 * 77});
  CHECK(encoded[0].box == std::vector<uint32_t>{16, 64, 5, 1});
  REQUIRE(fake.launches.front().parameters.size() == 192);
  CHECK(fake.launches.front().parameters.substr(64, 2) == "\x34\x12");
}

TEST_CASE("one sequence may have any stride, several may not lie on one another") {
  test::FakeDriver fake;
  REQUIRE(runMapped(fake, 1, 77, 0).ok());
  CHECK(encoded[0].strides[2] == 16);
  const Status shared = runMapped(fake, 2, 77, 0);
  REQUIRE(!shared.ok());
  CHECK_THAT(shared.error().message,
             Contains("a stride of 0 bytes in dimension 0 of x") && Contains("TMA=0"));
  CHECK(encoded.empty());
}

TEST_CASE("a tensor without elements needs no map; what the driver refuses is an error") {
  test::FakeDriver fake;
  REQUIRE(runMapped(fake, 1, 0, 0).ok());
  CHECK(encoded.empty());
  fake.failures["cuTensorMapEncodeTiled"] = CUDA_ERROR_INVALID_VALUE;
  const Status refused = runMapped(fake, 1, 7, 0);
  REQUIRE(!refused.ok());
  CHECK_THAT(refused.error().message, Contains("cannot make a tensor map"));
}

TEST_CASE("a launch can be put into the caller's stream without waiting") {
  test::FakeDriver fake;
  const std::shared_ptr<Device> device = open(fake);
  Result<std::shared_ptr<const Kernel>> kernel = Kernel::load(scaleArtifact(), {}, device);
  REQUIRE(kernel.ok());
  std::vector<float> x(8), y(8);
  const TensorView host[] = {viewOf(x), viewOf(y)};
  DeviceTensors tensors = std::move(*DeviceTensors::make(device, host));
  DeviceBuffer workspace = std::move(*DeviceBuffer::allocate(device, 64));
  const Stream stream = &fake;
  REQUIRE((*kernel)->enqueue(tensors.views(), {}, {workspace.data(), 64}, stream).ok());
  CHECK(fake.synchronised == 0);
  for (const test::FakeLaunch &launch : fake.launches)
    CHECK(launch.stream == stream);
}

TEST_CASE("tensors and workspace of the host are refused before anything runs") {
  test::FakeDriver fake;
  const std::shared_ptr<Device> device = open(fake);
  Result<std::shared_ptr<const Kernel>> kernel = Kernel::load(scaleArtifact(), {}, device);
  REQUIRE(kernel.ok());
  std::vector<float> x(8), y(8);
  const TensorView host[] = {viewOf(x), viewOf(y)};
  DeviceTensors tensors = std::move(*DeviceTensors::make(device, host));
  alignas(64) char memory[64];
  Status status = (*kernel)->launch(tensors.views(), {}, {memory, 64});
  REQUIRE(!status.ok());
  CHECK(status.error().code == ErrorCode::InvalidArgument);
  CHECK_THAT(status.error().message, Contains("workspace") && Contains("cuda:0"));
  DeviceBuffer workspace = std::move(*DeviceBuffer::allocate(device, 64));
  status = (*kernel)->launch(host, {}, {workspace.data(), 64});
  REQUIRE(!status.ok());
  CHECK_THAT(status.error().message, Contains("found x in memory"));
  CHECK(fake.launches.empty());
}

TEST_CASE("what cannot be opened, loaded or launched is told with the reason") {
  test::FakeDriver fake;
  CudaOptions second;
  second.ordinal = 1;
  Result<std::unique_ptr<Device>> none = openCudaDevice(fake.table(), second);
  REQUIRE(!none.ok());
  CHECK(none.error().code == ErrorCode::NotFound);
  CHECK_THAT(none.error().message, Contains("found 1 GPUs"));
  fake.failures["cuInit"] = CUDA_ERROR_NO_DEVICE;
  CHECK(openCudaDevice(fake.table(), {}).error().code == ErrorCode::NotFound);
  fake.failures.clear();
  fake.attributes[75] = 7;
  CHECK(openCudaDevice(fake.table(), {}).error().code == ErrorCode::Unsupported);
  fake.attributes[75] = 9;

  const std::shared_ptr<Device> device = open(fake);
  Artifact artifact = scaleArtifact();
  artifact.target = "sm_80";
  CHECK(device->load(artifact).error().code == ErrorCode::Unsupported);
  artifact = scaleArtifact();
  artifact.launches[1].entry = "missing";
  CHECK_THAT(device->load(artifact).error().message, Contains("no entry missing"));
  artifact = scaleArtifact();
  artifact.launches[0].block[0] = 1024;
  CHECK_THAT(device->load(artifact).error().message, Contains("1024 threads"));
  CHECK(fake.modules == 0); // nothing of it stays

  std::vector<float> y;
  fake.attributes[97] = 99 * 1024;
  Status shared = scale(open(fake), 8, y);
  REQUIRE(shared.ok());
  fake.attributes[97] = 64 * 1024;
  shared = scale(open(fake), 8, y);
  REQUIRE(!shared.ok());
  CHECK_THAT(shared.error().message, Contains("34464 more than"));
  fake.attributes[97] = 232448;
  fake.failures["cuStreamSynchronize"] = CUDA_ERROR_ILLEGAL_ADDRESS;
  Status failed = scale(open(fake), 8, y);
  REQUIRE(!failed.ok());
  CHECK_THAT(failed.error().message, Contains("a kernel failed on cuda:0"));
  fake.failures = {{"cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY}};
  CHECK(scale(open(fake), 8, y).error().code == ErrorCode::ResourceExhausted);
}

TEST_CASE("a device that is to take PTX gets PTX; so does one whose artifact has no cubin") {
  test::FakeDriver fake;
  CudaOptions options;
  options.fromPtx = true;
  options.name = "ptx";
  const std::shared_ptr<Device> machine = open(fake, options);
  CHECK(machine->name() == "ptx");
  REQUIRE(machine->load(scaleArtifact()).ok());
  Artifact artifact = scaleArtifact();
  artifact.image.clear();
  REQUIRE(open(fake)->load(artifact).ok());
  CHECK(fake.images == std::vector<std::string>{"ptx", "ptx"});
  artifact.sources.clear();
  CHECK(open(fake)->load(artifact).error().code == ErrorCode::CorruptData);
}

TEST_CASE("strided tensors are copied whole, from first to last element") {
  test::FakeDriver fake;
  const std::shared_ptr<Device> device = open(fake);
  std::vector<float> memory = {1, 2, 3, 4, 5, 6, 7, 8};
  TensorView view = viewOf(memory);
  view.rank = 2;
  view.shape[0] = view.shape[1] = 2;
  view.strides[0] = 5;
  view.strides[1] = 1;
  const TensorView views[] = {view};
  DeviceTensors tensors = std::move(*DeviceTensors::make(device, views));
  REQUIRE(fake.memory.size() == 1);
  CHECK(fake.memory.begin()->second == 7 * sizeof(float));
  float *copy = static_cast<float *>(tensors.views()[0].data);
  CHECK(copy[6] == 7);
  copy[6] = 70;
  REQUIRE(tensors.copyBack(0).ok());
  CHECK(memory == std::vector<float>{1, 2, 3, 4, 5, 6, 70, 8});
}

TEST_CASE("opening a GPU by name says clearly what lacks") {
  for (const char *name : {"cuda:x", "cuda:", "cuda:-1", "cuda0", "cpu:0"}) {
    INFO(name);
    Result<std::unique_ptr<Device>> device = openDevice(name, 1);
    REQUIRE(!device.ok());
    CHECK_THAT(device.error().message, Contains("found no device"));
  }
  if (loadDriver().ok())
    HEDDLE_SKIP("this computer has a CUDA driver; `make gpu-check` looks at it");
  Result<std::unique_ptr<Device>> device = openDevice("cuda:0", 1);
  REQUIRE(!device.ok());
  CHECK(device.error().code == ErrorCode::NotFound);
  CHECK_THAT(device.error().message, Contains("found no CUDA driver"));
}
