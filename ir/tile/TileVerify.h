// The rules of a whole kernel, one function each, called by the verifiers of tile.program and
// tile.kernel. Each reports the first breach through the op at fault.
#pragma once

#include "ir/tile/TileDialect.h"

namespace heddle::tile {

/// The declared element type and extents of a tensor or buffer.
std::pair<mlir::Type, mlir::ArrayAttr> declarationOf(mlir::Operation *tensorOrBuffer);

/// Whether `op` belongs to arith or math.
bool isScalarOp(mlir::Operation *op);

/// Elements beyond an extent: valid(..) is there unless the extent is proved, and what it leaves
/// out reaches no sum. The kernel's views are known to fit their declarations.
mlir::LogicalResult verifyExtents(KernelOp kernel);

/// Stores of different grid points go to different elements, as far as their index expressions say.
mlir::LogicalResult verifyStores(KernelOp kernel);

/// With roles, tiles and effects stand inside one of them, and no role waits for what a branch of
/// another alone decides.
mlir::LogicalResult verifyRoles(KernelOp kernel);

/// Puts, takes and releases of a ring fit together.
mlir::LogicalResult verifyRing(RingOp ring);

} // namespace heddle::tile
