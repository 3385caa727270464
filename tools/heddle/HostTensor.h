// A tensor that owns its memory: what files are read into and kernels are run on.
#pragma once

#include "runtime/Tensor.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace heddle::tool {

/// Dense row-major tensor in 64-byte aligned memory.
class HostTensor {
public:
  HostTensor() = default;
  /// Zero-filled. Fails with ResourceExhausted if the memory cannot be had.
  static Result<HostTensor> allocate(DType dtype, const std::vector<int64_t> &shape);

  const TensorView &view() const { return tensorView; }
  DType dtype() const { return tensorView.dtype; }
  std::vector<int64_t> shape() const;
  int64_t elements() const { return tensorView.elements(); }
  int64_t bytes() const { return elements() * sizeOf(dtype()); }
  void *data() const { return tensorView.data; }

  /// Whose result it is, as its file says: "retnet s", pattern and result. Empty: not known.
  std::string madeBy;

  /// The same numbers rounded to another type.
  Result<HostTensor> convertedTo(DType dtype) const;

private:
  struct Free {
    void operator()(void *memory) const;
  };
  std::unique_ptr<void, Free> memory;
  TensorView tensorView;
};

/// "[1, 1537, 32, 128]"
std::string shapeText(const std::vector<int64_t> &shape);

} // namespace heddle::tool
