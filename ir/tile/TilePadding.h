// What lies in a tile beyond the valid elements of a load, followed through the ops that read it.
#pragma once

#include "ir/tile/TileDialect.h"

namespace heddle::tile {

/// Elements of a value beyond an extent, along one dimension.
struct Padding {
  enum Kind {
    Inside,     ///< there are none: the tile lies inside, or nothing is known against it
    Zero,       ///< they are 0
    Masked,     ///< a select decides what they are
    Filled,     ///< they are some finite or infinite value other than 0
    Unspecified ///< they may be NaN
  };
  Kind kind = Inside;
  mlir::Operation *source = nullptr; ///< the load or put that clipped the tile
};

/// Padding of tile `value` along dimension `dim`. Values that loops carry count as Inside.
Padding paddingOf(mlir::Value value, int64_t dim);

/// Along the dimensions an mma contracts, its operands are Inside, Zero or Masked.
mlir::LogicalResult verifyPadding(MmaOp mma);
/// A sum runs over Inside, Zero or Masked elements, any other reduction not over Unspecified ones.
mlir::LogicalResult verifyPadding(ReduceOp reduce);

} // namespace heddle::tile
