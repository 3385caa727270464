// A tile in registers as the C++ array a thread holds, read off the tile's layout.
//
//   64x128xf32, ((4,8,4),(2,2,16)):((128,1,16),(64,8,512))   ->   float x[16][2][2]
//   column 2 * quad + 8 * n + c, row 16 * warp + group + 8 * half
//
// Values are nested from the slowest to the fastest. Tiles of 16-bit floats that maps make hold two
// columns in a 32-bit register (packed).
#pragma once

#include "ir/tile/TileDialect.h"

#include <string>
#include <vector>

namespace heddle::compiler::cuda {

/// One leaf of a layout: `extent` steps of `step` along dimension `dim` (-1: copies).
struct Step {
  int64_t extent = 1;
  int64_t dim = -1;
  int64_t step = 0;
  int64_t lane = 1;       ///< threads: how many lie between two steps
  bool outermost = false; ///< threads: none lie beyond the last step
  std::string variable;   ///< values: the loop variable, c half n m for what mma.sync makes
};

struct Fragment {
  explicit Fragment(tile::TileType type);

  tile::TileType type;
  std::vector<Step> threads, values; ///< fastest first
  /// The dimension that columns of fragments run along: the last one, or the first of a tile whose
  /// rows are its second.
  int64_t columnDim = 0;

  bool is16Bit() const { return type.getElementType().getIntOrFloatBitWidth() == 16; }
  /// Whether pairs of columns can be packed: the fastest value moves one column.
  bool pairs() const;
  /// Whether threads hold what mma.sync makes: four threads along columns, eight rows.
  bool isAccumulator() const;
  const Step *value(int64_t dim, int64_t step) const;
};

/// The loop variables of a fragment's values, with an index expression for each.
using Indices = std::vector<std::pair<std::string, std::string>>;

/// "[n][half][c]" with the variables replaced by what `indices` says, the fastest `inner` left out.
std::string subscript(const Fragment &fragment, const Indices &indices, int inner = 0);
/// "[16][2][2]", the fastest `inner` left out.
std::string extents(const Fragment &fragment, int inner = 0);

/// 0, 1, .. rank - 1.
llvm::SmallVector<int64_t> identityOf(int64_t rank);
/// A thread's coordinate of one of `threads`: "quad", "warp % 2", ...
std::string threadCoordinate(const Step &step);
/// "8 * x", "x" for a factor of 1.
std::string times(const std::string &x, int64_t factor);

} // namespace heddle::compiler::cuda
