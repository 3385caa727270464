// A tensor inside the interpreter: a view of the caller's memory of any dtype and strides, or
// doubles of its own. Reading always gives doubles.
#pragma once

#include "runtime/Tensor.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace heddle::compiler {

/// Copies share their elements.
class Value {
public:
  Value() = default;

  /// A view of memory that outlives the value.
  static Value borrow(const TensorView &view);
  /// Row-major doubles of its own, all `fill`.
  static Value make(std::vector<int64_t> shape, double fill = 0);

  /// Zeros that share one element: a shape without its memory.
  static Value zeros(const std::vector<int64_t> &shape);

  int rank() const { return view.rank; }
  int64_t extent(int dim) const { return view.shape[dim]; }
  int64_t stride(int dim) const { return view.strides[dim]; }
  int64_t elements() const { return view.elements(); }
  std::vector<int64_t> shape() const;

  /// The element `offset` elements from the first (sum of index * stride).
  double load(int64_t offset) const;
  /// out[n] = load(offset + n * step) for n < count.
  void gather(int64_t offset, int64_t step, int64_t count, double *out) const;
  /// One element by its indices, which must be inside.
  double at(std::span<const int64_t> indices) const;

  /// The row-major doubles of a value from make().
  double *data() { return owned->data(); }
  const double *data() const { return owned->data(); }
  /// Row-major doubles of any value.
  std::vector<double> toVector() const;
  /// This value if it owns row-major doubles, else a copy that does.
  Value dense() const;

private:
  TensorView view;
  std::shared_ptr<std::vector<double>> owned;
};

} // namespace heddle::compiler
