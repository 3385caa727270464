// Atoms: instructions that multiply tiles, with the layouts of their operands, as data. What
// AssignLayouts spreads over a kernel and what an emitter spells is read off this table.
//
//   mma.sync m16n8k16: 32 threads hold a 16x8 accumulator as ((4,8),(2,2)):((32,1),(16,8))
#pragma once

#include "ir/layout/Layout.h"
#include "runtime/DType.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace heddle::compiler {

/// One instruction. Layouts map (thread, value) to the element of the operand, dimension 0 fastest:
/// a is rows x k, b is columns x k, c is rows x columns.
struct MmaAtom {
  std::string_view name; ///< "m16n8k16"
  DType operand;         ///< of a and b; c is f32
  int64_t rows, columns, sum;
  std::string_view a, b, c;
};

/// All atoms of warps, e.g. mma.sync; sources: PTX ISA, "matrix fragments for mma.m16n8k16".
std::span<const MmaAtom> warpAtoms();
/// The atom for operands of that type, or null.
const MmaAtom *warpAtomFor(DType operand);

/// The atom's layout `text` (of a `atomRows`-row operand) repeated over a tile of rows x columns:
/// values go along columns first, then along rows; `warps` share the rows in contiguous parts.
/// Post: bijective onto the tile. The extents must be multiples of the atom's, rows also of warps.
///   c of m16n8k16 over 64x16, 2 warps: ((4,8,2),(2,2,2,2)):((128,1,32),(64,8,512,16))
layout::Layout tiledLayout(std::string_view text, int64_t atomRows, int64_t atomColumns,
                           int64_t rows, int64_t columns, int64_t warps);

} // namespace heddle::compiler
