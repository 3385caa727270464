// Copies what a strided view spans, from its first to its last element, gaps included.
//   shape [2, 3], strides [8, 1]: 11 elements
#include "runtime/DeviceTensors.h"

#include <algorithm>
#include <utility>

namespace heddle {
namespace {

int64_t spanBytes(const TensorView &view) {
  if (view.elements() == 0)
    return 0;
  int64_t last = 0;
  for (int d = 0; d < view.rank; ++d)
    last += (view.shape[d] - 1) * view.strides[d];
  return (last + 1) * sizeOf(view.dtype);
}

} // namespace

Result<DeviceBuffer> DeviceBuffer::allocate(std::shared_ptr<Device> device, int64_t bytes) {
  HEDDLE_TRY(memory, device->allocate(std::max<int64_t>(bytes, 1)));
  DeviceBuffer buffer;
  buffer.device = std::move(device);
  buffer.memory = memory;
  buffer.bytes = bytes;
  return buffer;
}

DeviceBuffer &DeviceBuffer::operator=(DeviceBuffer &&other) noexcept {
  std::swap(device, other.device);
  std::swap(memory, other.memory);
  std::swap(bytes, other.bytes);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (memory)
    device->release(memory);
}

Result<DeviceTensors> DeviceTensors::make(std::shared_ptr<Device> device,
                                          std::span<const TensorView> host) {
  DeviceTensors tensors;
  tensors.onHost.assign(host.begin(), host.end());
  tensors.onDevice = tensors.onHost;
  tensors.device = std::move(device);
  if (tensors.device->usesHostMemory())
    return tensors;
  for (TensorView &view : tensors.onDevice) {
    const int64_t bytes = spanBytes(view);
    HEDDLE_TRY(buffer, DeviceBuffer::allocate(tensors.device, bytes));
    HEDDLE_CHECK(tensors.device->copyIn(buffer.data(), view.data, bytes));
    view.data = buffer.data();
    tensors.buffers.push_back(std::move(buffer));
  }
  return tensors;
}

Status DeviceTensors::copyBack(size_t index) const {
  if (buffers.empty())
    return {};
  HEDDLE_CHECK(device->finish(nullptr));
  return device->copyOut(onHost[index].data, onDevice[index].data, spanBytes(onHost[index]));
}

} // namespace heddle
