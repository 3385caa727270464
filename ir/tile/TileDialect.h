// The dialect `tile`: one language for the kernels of every target, in two stages (README.md).
// Register with `registry.insert<heddle::tile::TileDialect>()`.
#pragma once

#include "ir/layout/Swizzle.h"
#include "ir/tile/TileFormula.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <optional>

// clang-format off: generated, in this order, after all of the above
#include "ir/tile/TileEnums.h.inc"
#include "ir/tile/TileDialect.h.inc"
// clang-format on

#define GET_ATTRDEF_CLASSES
#include "ir/tile/TileAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "ir/tile/TileTypes.h.inc"

namespace heddle::tile {

class YieldOp;

/// The precision an mma of operands of that element type has unless it says otherwise; nothing for
/// a type that no mma takes.
std::optional<Precision> defaultPrecision(mlir::Type elementType);

/// Rows and columns that an i64 constant or a `Value` gives: what offsets of load, store and slice
/// are made of.
llvm::SmallVector<mlir::OpFoldResult> mixedOffsets(mlir::MLIRContext *context,
                                                   mlir::ValueRange offsets,
                                                   llvm::ArrayRef<int64_t> staticOffsets);

/// The type of a value that is a tile.
inline TileType typeOf(mlir::Value tile) { return mlir::cast<TileType>(tile.getType()); }
/// The same, null for any other value.
inline TileType tileType(mlir::Value value) { return mlir::dyn_cast<TileType>(value.getType()); }

} // namespace heddle::tile

#define GET_OP_CLASSES
#include "ir/tile/TileOps.h.inc"
