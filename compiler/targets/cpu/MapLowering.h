// The scalar region of a tile.map, op by op on vectors.
#pragma once

#include "compiler/targets/cpu/VectorBuilder.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/IRMapping.h"

namespace heddle::compiler::cpu {

/// The vector a tile.gather reads; its indices are scalars or vectors of index.
using EmitGather = llvm::function_ref<Value(tile::GatherOp, ValueRange)>;

/// Emits the region once for `operands`, a vector of lanes each. `scalars` maps values from outside
/// the map to their lowered scalars, which are broadcast where they meet a vector. Returns one
/// vector per result, or nothing after an error on an op that has no vector form.
Values lowerMapBody(VectorBuilder &e, tile::MapOp map, ValueRange operands,
                    const mlir::IRMapping &scalars, EmitGather gather);

/// An elementary function of scalars outside a map (log2(Tk) before the loops): done on vectors, so
/// that no libm is called. Null for any other op.
Value lowerScalarFunction(VectorBuilder &e, mlir::Operation *op, ValueRange operands);

} // namespace heddle::compiler::cpu
