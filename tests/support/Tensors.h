// Tensors of doubles for tests: deterministic random ones, and patterns run on them by name.
#pragma once

#include "runtime/Tensor.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace heddle::test {

/// Row-major doubles.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> data;

  Tensor() = default;
  explicit Tensor(std::vector<int64_t> shape, double fill = 0) : shape(std::move(shape)) {
    data.assign(elements(), fill);
  }
  Tensor(std::vector<int64_t> shape, std::vector<double> data)
      : shape(std::move(shape)), data(std::move(data)) {}

  int64_t elements() const {
    int64_t n = 1;
    for (int64_t extent : shape)
      n *= extent;
    return n;
  }
  /// Offset of an element.
  int64_t at(std::initializer_list<int64_t> index) const {
    int64_t offset = 0;
    size_t dim = 0;
    for (int64_t i : index)
      offset = offset * shape[dim++] + i;
    return offset;
  }
  double &operator()(std::initializer_list<int64_t> index) { return data[at(index)]; }
  double operator()(std::initializer_list<int64_t> index) const { return data[at(index)]; }
  /// A view that must not outlive the tensor. The interpreter reads only.
  TensorView view() const {
    TensorView view;
    view.data = const_cast<double *>(data.data());
    view.dtype = DType::F64;
    view.rank = static_cast<int>(shape.size());
    int64_t step = 1;
    for (int d = view.rank; d-- > 0;) {
      view.shape[d] = shape[d];
      view.strides[d] = step;
      step *= shape[d];
    }
    return view;
  }
};

/// SplitMix64: the same numbers everywhere.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t bits() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// In [low, high).
  double uniform(double low = -1, double high = 1) {
    return low + (high - low) * (double(bits() >> 11) * 0x1p-53);
  }
  double normal();
  int64_t below(int64_t n) { return int64_t(bits() % uint64_t(n)); }
  Tensor tensor(std::vector<int64_t> shape, double low = -1, double high = 1) {
    Tensor t(std::move(shape));
    for (double &x : t.data)
      x = uniform(low, high);
    return t;
  }

private:
  uint64_t state;
};

/// The sum of twelve uniforms less 6: close enough to N(0, 1) for tests of quantisers.
inline double Random::normal() {
  double sum = -6;
  for (int n = 0; n < 12; ++n)
    sum += uniform(0, 1);
  return sum;
}

/// Rows [begin, end) of dim `dim`.
inline Tensor slice(const Tensor &t, int dim, int64_t begin, int64_t end) {
  std::vector<int64_t> shape = t.shape;
  shape[dim] = end - begin;
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < dim; ++d)
    outer *= t.shape[d];
  for (size_t d = dim + 1; d < t.shape.size(); ++d)
    inner *= t.shape[d];
  Tensor out(shape);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t n = 0; n < (end - begin) * inner; ++n)
      out.data[o * (end - begin) * inner + n] = t.data[(o * t.shape[dim] + begin) * inner + n];
  return out;
}

/// f of each element.
inline Tensor mapped(Tensor t, const std::function<double(double)> &f) {
  for (double &x : t.data)
    x = f(x);
  return t;
}

} // namespace heddle::test
