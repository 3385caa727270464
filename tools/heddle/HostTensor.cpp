// Owning host tensors: 64-byte aligned, dense, row-major.
#include "tools/heddle/HostTensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <cstring>

namespace heddle::tool {

void HostTensor::Free::operator()(void *memory) const { std::free(memory); }

Result<HostTensor> HostTensor::allocate(DType dtype, const std::vector<int64_t> &shape) {
  if (shape.size() > kMaxRank)
    return Error{
        ErrorCode::Unsupported,
        fmt::format("found a tensor of rank {}, expected at most {}", shape.size(), kMaxRank)};
  HostTensor tensor;
  tensor.tensorView.dtype = dtype;
  tensor.tensorView.rank = static_cast<int>(shape.size());
  int64_t elements = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    if (shape[d] < 0)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found a negative size in shape {}", shapeText(shape))};
    tensor.tensorView.shape[d] = shape[d];
    tensor.tensorView.strides[d] = elements;
    if (__builtin_mul_overflow(elements, shape[d], &elements) || elements > (int64_t{1} << 46))
      return Error{ErrorCode::ResourceExhausted,
                   fmt::format("a tensor of shape {} is too large", shapeText(shape))};
  }
  int64_t bytes = elements * sizeOf(dtype);
  size_t rounded = (static_cast<size_t>(bytes) + 127) / 64 * 64;
  tensor.memory.reset(std::aligned_alloc(64, rounded));
  if (!tensor.memory)
    return Error{
        ErrorCode::ResourceExhausted,
        fmt::format("no memory for a tensor of {} bytes, shape {}", bytes, shapeText(shape))};
  std::memset(tensor.memory.get(), 0, rounded);
  tensor.tensorView.data = tensor.memory.get();
  return tensor;
}

std::vector<int64_t> HostTensor::shape() const {
  return {tensorView.shape.begin(), tensorView.shape.begin() + tensorView.rank};
}

Result<HostTensor> HostTensor::convertedTo(DType dtype) const {
  HEDDLE_TRY(result, allocate(dtype, shape()));
  result.madeBy = madeBy;
  for (int64_t i = 0, n = elements(); i < n; ++i)
    storeElement(dtype, result.data(), i, loadElement(this->dtype(), data(), i));
  return result;
}

std::string shapeText(const std::vector<int64_t> &shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

} // namespace heddle::tool
