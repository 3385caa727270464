// Reads elements of any dtype and strides as doubles.
// Example: a bf16 view [2, 3] with strides {4, 1} gives the vector of its 6 elements, row by row.
#include "compiler/interpreter/Value.h"

#include <cassert>

namespace heddle::compiler {

namespace {

template <typename T> void gatherAs(const void *data, int64_t step, int64_t count, double *out) {
  const T *first = static_cast<const T *>(data);
  for (int64_t n = 0; n < count; ++n)
    out[n] = static_cast<double>(first[n * step]);
}

std::array<int64_t, kMaxRank> rowMajor(std::span<const int64_t> shape) {
  std::array<int64_t, kMaxRank> strides = {};
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

} // namespace

Value Value::borrow(const TensorView &view) {
  Value value;
  value.view = view;
  return value;
}

Value Value::make(std::vector<int64_t> shape, double fill) {
  assert(shape.size() <= kMaxRank && "a value of the graph has too many dims");
  Value value;
  value.view.dtype = DType::F64;
  value.view.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), value.view.shape.begin());
  value.view.strides = rowMajor(shape);
  value.owned = std::make_shared<std::vector<double>>(value.view.elements(), fill);
  value.view.data = value.owned->data();
  return value;
}

Value Value::zeros(const std::vector<int64_t> &shape) {
  Value value = make({});
  value.view.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), value.view.shape.begin());
  return value;
}

std::vector<int64_t> Value::shape() const {
  return {view.shape.begin(), view.shape.begin() + view.rank};
}

double Value::load(int64_t offset) const {
  if (view.dtype == DType::F64)
    return static_cast<const double *>(view.data)[offset];
  if (view.dtype == DType::F32)
    return static_cast<const float *>(view.data)[offset];
  return loadElement(view.dtype, view.data, offset);
}

void Value::gather(int64_t offset, int64_t step, int64_t count, double *out) const {
  if (count == 0)
    return;
  if (view.dtype == DType::F64)
    return gatherAs<double>(static_cast<const double *>(view.data) + offset, step, count, out);
  if (view.dtype == DType::F32)
    return gatherAs<float>(static_cast<const float *>(view.data) + offset, step, count, out);
  for (int64_t n = 0; n < count; ++n)
    out[n] = loadElement(view.dtype, view.data, offset + n * step);
}

double Value::at(std::span<const int64_t> indices) const {
  assert(static_cast<int>(indices.size()) == view.rank && "as many indices as dims");
  int64_t offset = 0;
  for (int d = 0; d < view.rank; ++d) {
    assert(indices[d] >= 0 && indices[d] < view.shape[d] && "an index is outside its tensor");
    offset += indices[d] * view.strides[d];
  }
  return load(offset);
}

std::vector<double> Value::toVector() const {
  std::vector<double> out(view.elements());
  if (out.empty())
    return out;
  int inner = view.rank - 1;
  int64_t width = inner < 0 ? 1 : view.shape[inner];
  std::vector<int64_t> index(view.rank, 0);
  for (int64_t row = 0; row < static_cast<int64_t>(out.size()) / width; ++row) {
    int64_t offset = 0;
    for (int d = 0; d < inner; ++d)
      offset += index[d] * view.strides[d];
    gather(offset, inner < 0 ? 1 : view.strides[inner], width, out.data() + row * width);
    for (int d = inner - 1; d >= 0 && ++index[d] == view.shape[d]; --d)
      index[d] = 0;
  }
  return out;
}

Value Value::dense() const {
  if (owned)
    return *this;
  Value copy = make(shape());
  *copy.owned = toVector();
  copy.view.data = copy.owned->data();
  return copy;
}

} // namespace heddle::compiler
