// Whether a layout attribute fits a tile, and how tiles lie in a CPU's scratch.
#pragma once

#include "ir/tile/TileDialect.h"

namespace heddle::tile {

/// Discardable attribute of a product: the matrix instruction that makes it; none: multiply-adds or
/// dot products of vectors. `amx`: tdpbf16ps, sums of 16 x 16 over 32 bf16.
inline constexpr llvm::StringLiteral kAtomAttr = "tile.atom", kAmxAtom = "amx";
inline constexpr int64_t kAmxSide = 16, kAmxDepth = 32;

/// The layout names dimensions that the tile has, covers each of its elements, and suits the space:
/// dist reg and tmem, mem smem and local, lanes and pairs any but global, strided global.
mlir::LogicalResult verifyLayout(llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                 llvm::ArrayRef<int64_t> shape, mlir::Attribute layout,
                                 Space space);

/// A tile of space local with layout lanes or pairs: elements (pairs: pairs) from one index of each
/// dimension to the next, and the bytes of all. Lanes are filled up to whole vectors. Rows that are
/// walked a piece at a time get one cache line more where they are a multiple of 256 bytes: the
/// pieces would fall into a few sets of the first-level cache.
struct ScratchShape {
  int64_t strides[2] = {1, 1};
  int64_t bytes = 0;
};
ScratchShape scratchShapeOf(TileType type);

} // namespace heddle::tile
