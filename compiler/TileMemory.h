// The memory that a walked program sees: tensors of the caller and workspace buffers, windows of
// them, and the two rules of grid points: writes are disjoint, and nobody reads what another grid
// point of the same launch wrote.
#pragma once

#include "compiler/TileValues.h"
#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace heddle::compiler {

/// A tensor or a workspace buffer, addressed by element number in row-major order.
class HostArray {
public:
  /// A tensor of the caller; `writable` for results.
  HostArray(std::string name, TensorView view, bool writable);
  /// A buffer of the program, unspecified at first.
  HostArray(std::string name, Extents extents, bool isInteger);

  const std::string &name() const { return arrayName; }
  const Extents &extents() const { return arrayExtents; }

  /// Fails where another grid point of this launch wrote the element.
  Result<double> read(int64_t element, int64_t gridPoint) const;
  /// Fails on inputs, and where another grid point of this launch wrote the element.
  Status write(int64_t element, double value, int64_t gridPoint);
  /// Forgets who wrote what.
  void startLaunch() { writers.clear(); }

private:
  int64_t addressOf(int64_t element) const;

  std::string arrayName;
  Extents arrayExtents;
  TensorView tensor;
  std::vector<double> buffer;
  bool isTensor, writable;
  std::unordered_map<int64_t, int64_t> writers;
};

/// A window of an array.
struct HostView {
  enum Access { Dense, Paged, Wrap, List };

  HostArray *array = nullptr;
  int64_t first = 0;    ///< element number of the window's origin
  Extents extents = {}; ///< of the kept dimensions; paged: page and slot are two
  Extents strides = {}; ///< in element numbers
  Access access = Dense;
  int64_t block = 0;
  std::shared_ptr<const HostView> table = nullptr;

  int64_t rank() const { return extents.size() - (access == Paged ? 1 : 0); }
  /// Number of rows (dimension 0 of the view).
  int64_t rows() const;
  /// The element number at a coordinate of the view; nothing for a row that is not there (a
  /// negative list entry). Fails outside the window.
  Result<std::optional<int64_t>> locate(const Extents &coordinate, int64_t gridPoint) const;
};

} // namespace heddle::compiler
