// Which part of an edge tile its mask can be true in, vector by vector:
//
//   s = map { select(j <= i and j < n, .., -inf) }        16 rows a vector
//
//        j ->                       rows  0..15: keys [0, 16)   of a tile on the diagonal
//     ┌──────┐                      rows 16..31: keys [0, 32)
//     └──────┴──────┐               rows 32..47: keys [0, 48)
//
// Outside of it s is -inf (or 0): if nothing that is made from s then counts, it is not computed.
#pragma once

#include "compiler/targets/cpu/VectorBuilder.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/IRMapping.h"

namespace heddle::compiler::cpu {

/// Elements of the dimension that is not along the lanes, for each group of `vectors` vectors.
struct LaneRanges {
  int64_t vectors = 0; ///< 0: no ranges
  mlir::SmallVector<std::pair<Value, Value>> bounds;
  Value memory; ///< the same on the stack, two i64 a group, for loops over the groups
  explicit operator bool() const { return vectors != 0; }
  /// Begin and end for the vector of that static number, or, where it is -1, from row `first` on.
  std::pair<Value, Value> at(VectorBuilder &e, int64_t number, Value first) const;
};

/// One bound on the column c of a tile for its row r: c < (or >=) rowFactor * r + constant +
/// scalars.
struct MaskBound {
  bool upper = true;
  int64_t rowFactor = 0, constant = 0;
  mlir::SmallVector<std::pair<Value, int64_t>> scalars; ///< values outside the map, with factors
};

/// Bounds that the mask of a map's selected result implies, with rows along `lanesDim`; empty where
/// there is none that depends on the row, or where something made from the result would count
/// outside of them.
mlir::SmallVector<MaskBound> maskBounds(tile::MapOp map, int64_t lanesDim);

/// Emits the ranges for groups of `vectors` vectors of a tile with `rows` rows and `columns`
/// columns. Starts are even and not negative, ends even or `columns`.
LaneRanges emitRanges(VectorBuilder &e, const mlir::IRMapping &scalars,
                      mlir::ArrayRef<MaskBound> bounds, int64_t rows, int64_t columns,
                      int64_t vectors);

} // namespace heddle::compiler::cpu
