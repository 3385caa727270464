// Launching: a call's scalars give grids and workspace offsets (the plan), tensors and plan give
// the parameter block, the device runs the launches one after the other.
//   workspace:  | buffer 0 | buffer 1 | ... | scratch of the workers |     each 64-byte aligned
#include "runtime/Kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace heddle {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMaxWorkspace = int64_t(1) << 50;
constexpr size_t kTensorMapBytes = 128;
constexpr size_t kMaxBlockBytes = 4096; ///< Artifact::validate holds blockBytes to it

Error tooLarge(std::string_view what, int64_t bytes) {
  return {ErrorCode::ResourceExhausted,
          fmt::format("found {} of {} bytes, expected 0 to 2^50; the extents or parameters are too "
                      "large",
                      what, bytes)};
}

/// Adds `bytes`, rounded up, to `total`.
Status grow(int64_t &total, int64_t bytes, std::string_view what) {
  if (bytes < 0 || bytes > kMaxWorkspace || total > kMaxWorkspace - bytes)
    return tooLarge(what, bytes);
  total += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return {};
}

template <typename T> void place(std::byte *block, int64_t offset, T value) {
  static_assert(sizeof(T) == 8);
  std::memcpy(block + offset, &value, sizeof(value));
}

} // namespace

void AlignedBuffer::Free::operator()(void *pointer) const { std::free(pointer); }

Result<AlignedBuffer> AlignedBuffer::allocate(int64_t bytes) {
  if (bytes < 0)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found a buffer size of {} bytes, expected 0 or more", bytes)};
  AlignedBuffer buffer;
  const size_t size = (static_cast<size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  buffer.memory.reset(std::aligned_alloc(kAlignment, std::max<size_t>(size, kAlignment)));
  if (!buffer.memory)
    return Error{ErrorCode::ResourceExhausted,
                 fmt::format("cannot allocate {} bytes of memory", bytes)};
  std::memset(buffer.memory.get(), 0, size);
  buffer.bytes = bytes;
  return buffer;
}

Result<std::shared_ptr<const Kernel>> Kernel::load(Artifact artifact, KernelOrigin origin,
                                                   std::shared_ptr<Device> device) {
  HEDDLE_CHECK(artifact.validate());
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Kernel> kernel(new Kernel);
  kernel->code = std::move(artifact);
  kernel->device = std::move(device);
  HEDDLE_TRY(binding, Binding::make(kernel->code));
  HEDDLE_TRY(loaded, kernel->device->load(kernel->code));
  kernel->binding = std::move(binding);
  kernel->loaded = std::move(loaded);
  for (const Formula &bytes : kernel->code.workspaceBytes)
    kernel->bufferFormulas.emplace_back(bytes);
  for (const Launch &launch : kernel->code.launches)
    kernel->launchFormulas.push_back({{FoldedFormula(launch.grid[0]), FoldedFormula(launch.grid[1]),
                                       FoldedFormula(launch.grid[2])},
                                      FoldedFormula(launch.sharedBytes),
                                      FoldedFormula(launch.repeat)});
  kernel->schedule = heddle::scheduleText(kernel->code.schedule);
  for (const std::string &note : kernel->code.notes)
    kernel->notes += (kernel->notes.empty() ? "" : "\n") + note;
  kernel->readArguments();
  kernel->onHost = kernel->device->usesHostMemory();
  kernel->from = std::move(origin);
  kernel->from.loadMs =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return std::shared_ptr<const Kernel>(std::move(kernel));
}

void Kernel::readArguments() {
  constexpr decltype(Field::kind) kKinds[] = {Field::Pointer, Field::Stride,
                                              Field::Integer, Field::Buffer,
                                              Field::Buffer,  Field::Map}; // by Argument::Kind
  for (const Argument &argument : code.arguments) {
    if (argument.kind == Argument::RepeatIndex) {
      repeatOffsets.push_back(argument.offset);
      continue;
    }
    Field field{kKinds[argument.kind], static_cast<uint8_t>(argument.dim),
                static_cast<uint16_t>(argument.index), static_cast<uint16_t>(argument.offset)};
    if (argument.kind == Argument::ScalarValue &&
        code.scalars[argument.index].kind == ScalarInfo::FloatParameter)
      field.kind = Field::Float;
    fields.push_back(field);
  }
}

Status Kernel::makePlan(const ScalarValues &scalars, Plan &plan) const {
  const std::span<const int64_t> values = scalars.span();
  plan.bytes = 0;
  for (size_t b = 0; b < bufferFormulas.size(); ++b) {
    int64_t bytes = 0;
    if (!bufferFormulas[b].evaluate(values, bytes))
      return bufferFormulas[b].reason(values);
    plan.buffers[b] = plan.bytes;
    HEDDLE_CHECK(grow(plan.bytes, bytes, "a workspace buffer"));
  }
  int64_t scratch = 0;
  for (size_t l = 0; l < launchFormulas.size(); ++l) {
    const LaunchFormulas &formulas = launchFormulas[l];
    GridLaunch &launch = plan.launches[l];
    for (int d = 0; d < 3; ++d) {
      if (!formulas.grid[d].evaluate(values, launch.grid[d]))
        return formulas.grid[d].reason(values);
      launch.grid[d] = std::max<int64_t>(launch.grid[d], 0);
    }
    if (!formulas.sharedBytes.evaluate(values, launch.sharedBytes))
      return formulas.sharedBytes.reason(values);
    if (!formulas.repeat.evaluate(values, plan.repeats[l]))
      return formulas.repeat.reason(values);
    if (launch.sharedBytes < 0 || launch.sharedBytes > kMaxWorkspace)
      return tooLarge("scratch memory", launch.sharedBytes);
    scratch = std::max(scratch, loaded->scratchBytes(launch.sharedBytes));
  }
  plan.scratch = plan.bytes;
  return grow(plan.bytes, scratch, "scratch memory");
}

Result<int64_t> Kernel::workspaceBytes(std::span<const TensorView> tensors,
                                       std::span<const ParameterValue> parameters) const {
  ScalarValues scalars;
  Plan plan;
  HEDDLE_CHECK(binding.bind(tensors, parameters, scalars));
  HEDDLE_CHECK(makePlan(scalars, plan));
  return plan.bytes;
}

Result<int64_t> Kernel::workspaceBytes(const Extents &extents,
                                       std::span<const ParameterValue> parameters) const {
  ScalarValues scalars;
  Plan plan;
  HEDDLE_CHECK(binding.bindExtents(extents, parameters, scalars));
  HEDDLE_CHECK(makePlan(scalars, plan));
  return plan.bytes;
}

/// A tensor without elements has no map, and nothing is copied by it. Along a dimension of one
/// element callers may give any stride; no copy steps along it.
Status Kernel::placeMap(const TensorMapInfo &map, const TensorView &tensor, std::byte *to) const {
  constexpr int64_t kAnyStride = 16, kMostStride = int64_t(1) << 40;
  std::memset(to, 0, kTensorMapBytes);
  if (tensor.elements() == 0)
    return {};
  const int64_t bytes = sizeOf(tensor.dtype);
  TensorMapValues values{tensor.data, tensor.dtype,    static_cast<int>(map.dims.size()), {}, {},
                         {},          map.swizzleBytes};
  for (size_t d = 0; d < map.dims.size(); ++d) {
    const TensorMapInfo::Dim &dim = map.dims[d];
    const int64_t extent = dim.dim < 0 ? dim.extent : tensor.shape[dim.dim];
    int64_t stride = (dim.dim < 0 ? dim.stride : tensor.strides[dim.dim]) * bytes;
    if (d > 0 && extent == 1)
      stride = kAnyStride;
    if (d > 0 && (stride <= 0 || stride >= kMostStride || stride % 16 != 0))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found a stride of {} bytes in dimension {} of {}, expected a "
                               "multiple of 16 from 16 to 2^40 where tiles are copied by TMA; "
                               "compile with TMA=0",
                               stride, dim.dim, code.tensors[map.tensor].name)};
    values.extents[d] = static_cast<uint64_t>(extent);
    values.strides[d] = static_cast<uint64_t>(stride);
    values.box[d] = static_cast<uint32_t>(dim.box);
  }
  return loaded->encode(values, to);
}

Status Kernel::fillBlock(std::span<const TensorView> tensors, const ScalarValues &scalars,
                         const Plan &plan, std::byte *workspace, std::byte *block) const {
  for (const Field &field : fields)
    switch (field.kind) {
    case Field::Pointer:
      place(block, field.offset, tensors[field.index].data);
      break;
    case Field::Stride:
      place(block, field.offset, tensors[field.index].strides[field.dim]);
      break;
    case Field::Integer:
      place(block, field.offset, scalars.integers[field.index]);
      break;
    case Field::Float:
      place(block, field.offset, scalars.floats[field.index]);
      break;
    case Field::Buffer:
      place(block, field.offset, workspace + plan.buffers[field.index]);
      break;
    case Field::Map: {
      const TensorMapInfo &map = code.tensorMaps[field.index];
      HEDDLE_CHECK(placeMap(map, tensors[map.tensor], block + field.offset));
      break;
    }
    }
  return {};
}

Status Kernel::runLaunches(const Plan &plan, std::byte *workspace, std::byte *block,
                           Stream stream) const {
  for (size_t l = 0; l < code.launches.size(); ++l)
    for (int64_t repeat = 0; repeat < plan.repeats[l]; ++repeat) {
      for (int64_t offset : repeatOffsets)
        place(block, offset, repeat);
      HEDDLE_CHECK(loaded->run(static_cast<int64_t>(l), plan.launches[l], block,
                               workspace + plan.scratch, stream));
    }
  return {};
}

Status Kernel::launch(std::span<const TensorView> tensors,
                      std::span<const ParameterValue> parameters, Workspace workspace) const {
  HEDDLE_CHECK(enqueue(tensors, parameters, workspace, nullptr));
  return device->finish(nullptr);
}

/// Whether the device reaches every tensor that has elements, and the workspace.
Status Kernel::checkMemory(std::span<const TensorView> tensors, Workspace workspace) const {
  for (size_t n = 0; n < tensors.size(); ++n)
    if (tensors[n].elements() > 0)
      HEDDLE_CHECK(device->checkMemory(tensors[n].data, code.tensors[n].name));
  return workspace.data ? device->checkMemory(workspace.data, "the workspace") : Status();
}

Status Kernel::checkValuesOf(std::span<const TensorView> host) const {
  if (host.size() != code.tensors.size())
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found {} tensors, expected {}: inputs, then results", host.size(),
                             code.tensors.size())};
  for (size_t n = 0; n < host.size(); ++n)
    if (host[n].rank != static_cast<int>(code.tensors[n].shape.size()) ||
        host[n].dtype != code.tensors[n].dtype)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found {} of type {} with {} dimensions, expected {} with {}",
                               code.tensors[n].name, toString(host[n].dtype), host[n].rank,
                               toString(code.tensors[n].dtype), code.tensors[n].shape.size())};
  return checkValues(code.valueRules, host,
                     [&](int32_t n) -> std::string_view { return code.tensors[n].name; });
}

Status Kernel::enqueue(std::span<const TensorView> tensors,
                       std::span<const ParameterValue> parameters, Workspace workspace,
                       Stream stream) const {
  ScalarValues scalars;
  Plan plan;
  HEDDLE_CHECK(binding.bind(tensors, parameters, scalars));
  HEDDLE_CHECK(makePlan(scalars, plan));
  if (workspace.bytes < plan.bytes || (plan.bytes > 0 && !workspace.data))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found a workspace of {} bytes{}, expected at least {}; ask "
                             "workspaceBytes for these tensors",
                             workspace.bytes, workspace.data ? "" : " (a null pointer)",
                             plan.bytes)};
  if (reinterpret_cast<uintptr_t>(workspace.data) % kAlignment != 0)
    return Error{ErrorCode::InvalidArgument,
                 "found a workspace whose address is no multiple of 64, expected one that is"};
  if (!onHost)
    HEDDLE_CHECK(checkMemory(tensors, workspace));
  else if (!code.valueRules.empty())
    HEDDLE_CHECK(checkValues(code.valueRules, tensors,
                             [&](int32_t n) -> std::string_view { return code.tensors[n].name; }));
  alignas(kTensorMapBytes) std::array<std::byte, kMaxBlockBytes> block;
  std::byte *memory = static_cast<std::byte *>(workspace.data);
  HEDDLE_CHECK(fillBlock(tensors, scalars, plan, memory, block.data()));
  return runLaunches(plan, memory, block.data(), stream);
}

} // namespace heddle
