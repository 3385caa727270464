// Tensors of the host on a device: copies where the device has memory of its own, the tensors
// themselves where it has not.
//   HEDDLE_TRY(tensors, DeviceTensors::make(device, hostViews));
//   kernel.launch(tensors.views(), parameters, workspace);  tensors.copyBack(index);
#pragma once

#include "runtime/Device.h"
#include "runtime/Tensor.h"

#include <memory>
#include <span>
#include <vector>

namespace heddle {

/// Memory of a device that frees itself.
class DeviceBuffer {
public:
  DeviceBuffer() = default;
  /// As Device::allocate; `bytes` 0 gives one byte.
  static Result<DeviceBuffer> allocate(std::shared_ptr<Device> device, int64_t bytes);
  DeviceBuffer(DeviceBuffer &&other) noexcept { *this = std::move(other); }
  DeviceBuffer &operator=(DeviceBuffer &&other) noexcept;
  ~DeviceBuffer();

  void *data() const { return memory; }
  int64_t size() const { return bytes; }

private:
  std::shared_ptr<Device> device;
  void *memory = nullptr;
  int64_t bytes = 0;
};

class DeviceTensors {
public:
  DeviceTensors() = default;
  /// `host`: with strides of 0 or more; must outlive the result. Every tensor is copied in, results
  /// too: kernels may write only part of them.
  static Result<DeviceTensors> make(std::shared_ptr<Device> device,
                                    std::span<const TensorView> host);

  /// As the host's, with the device's addresses.
  std::span<const TensorView> views() const { return onDevice; }
  /// Copies tensor `index` back to the host; waits for the default stream.
  Status copyBack(size_t index) const;

private:
  std::shared_ptr<Device> device;
  std::vector<TensorView> onHost, onDevice;
  std::vector<DeviceBuffer> buffers; ///< empty where the device uses host memory
};

} // namespace heddle
