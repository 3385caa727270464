// Whether a layout attribute fits a tile.
#pragma once

#include "ir/tile/TileDialect.h"

namespace heddle::tile {

/// The layout names dimensions that the tile has, covers each of its elements, and suits the space:
/// dist reg and tmem, mem smem and local, lanes and pairs any but global, strided global.
mlir::LogicalResult verifyLayout(llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                 llvm::ArrayRef<int64_t> shape, mlir::Attribute layout,
                                 Space space);

} // namespace heddle::tile
