// Layouts of tiles in registers and shared memory, and how they carry over from one tile to
// another.
#pragma once

#include "compiler/machine/Atoms.h"
#include "ir/tile/TileDialect.h"

namespace heddle::compiler::cuda {

/// Sums of a product of rows x columns whose rows are dimension `rowsDim` of the tile. Warps share
/// the rows in contiguous parts, and the columns where there are fewer rows than 16 a warp; what is
/// then left over are copies.
layout::Layout accumulators(const MmaAtom &atom, int64_t rows, int64_t columns, int64_t warps,
                            int64_t rowsDim);
/// Operand a of such a product, rows x sum; copies where warps share the columns.
layout::Layout operandA(const MmaAtom &atom, int64_t rows, int64_t sum, int64_t warps,
                        int64_t rowsDim);

/// A vector along the lanes of each warp, neighbours in one lane; warps hold copies.
layout::Layout alongLanes(int64_t extent, int64_t warps);
/// Threads along the last dimensions of a tile, all elements along `whole` (or -1) in one thread;
/// threads beyond hold copies.
layout::Layout spread(llvm::ArrayRef<int64_t> shape, int64_t threads, int64_t whole = -1);
/// Rows in pieces of 8 neighbouring columns, as they are copied from and to memory.
layout::Layout inChunks(llvm::ArrayRef<int64_t> shape, int64_t threads);

/// The layout of a tile whose dimension d is dimension positions[d] of a tile of `shape` laid out
/// as `from`: values along other dimensions are dropped, threads along them hold copies.
///   ((4,8),(2,2)):((32,1),(16,8)) of 16x8, rows only   ->   ((4,8),(2)):((0,1),(8))
layout::Layout project(const layout::Layout &from, llvm::ArrayRef<int64_t> shape,
                       llvm::ArrayRef<int64_t> positions);

/// The layout of the shares that threads make of dimension `dim`: its values are dropped, its
/// threads become the elements.
layout::Layout sharesOf(const layout::Layout &from, llvm::ArrayRef<int64_t> shape, int64_t dim);

/// Equal as functions of (thread, value).
bool sameDistribution(const layout::Layout &a, const layout::Layout &b);

/// For tiles that no product touches: up to 32 threads along the last dimension, the others along
/// the dimensions before it, every other element in values; threads beyond hold copies.
layout::Layout elementwise(llvm::ArrayRef<int64_t> shape, int64_t threads);

/// Rows x columns in shared memory, free of bank conflicts for 8 rows' 16-byte chunks: swizzled
/// where a row is a power of two of chunks, else with rows padded to an odd number of them.
layout::SwizzledLayout sharedLayout(llvm::ArrayRef<int64_t> shape, int64_t elementBytes);

} // namespace heddle::compiler::cuda
