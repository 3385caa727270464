// Which dimensions of which tiles are the same, as far as the ops of a kernel say: those joined by
// maps, reductions, products and loops form one class.
#pragma once

#include "ir/tile/TileDialect.h"

#include "llvm/ADT/EquivalenceClasses.h"

namespace heddle::compiler::cuda {

using tile::tileType;

/// How a product of two 2-d tiles runs, or of a vector and a 2-d tile: positions of the rows,
/// columns and contracted dimension.
struct ProductDims {
  int64_t rowsA; ///< -1 for a vector
  int64_t sumA, columnsB, sumB;
  int64_t rowsC; ///< 0, or 1 where the result is columns x rows; -1 for a vector
  bool isVector() const { return rowsA < 0; }
  int64_t columnsC() const { return isVector() ? 0 : 1 - rowsC; }
};
/// Nothing if the product is not of that kind.
std::optional<ProductDims> dimsOf(tile::MmaOp op);

class Dimensions {
public:
  explicit Dimensions(tile::KernelOp kernel);

  /// A key of the class of dimension `dim` of `value`.
  const void *classOf(mlir::Value value, int64_t dim);

private:
  using Key = std::pair<void *, int64_t>;
  void join(mlir::Value a, int64_t dimA, mlir::Value b, int64_t dimB);
  void joinAll(mlir::Value a, mlir::Value b);

  llvm::EquivalenceClasses<Key> classes;
};

} // namespace heddle::compiler::cuda
