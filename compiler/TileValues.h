// Tiles as arrays of double and what the value ops of the tile dialect do to them: the tile half of
// the walker over abstract kernels. Nothing here knows MLIR.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace heddle::compiler {

/// Extents of the dimensions of a tile.
using Extents = std::vector<int64_t>;

/// A tile: row-major elements; integers are held exactly up to 2^53.
struct HostTile {
  Extents extents;
  std::vector<double> elements;
};
using TilePointer = std::shared_ptr<const HostTile>;

/// What stands where nothing was specified: NaN for floats, a number no formula expects for
/// integers.
inline constexpr double kUnspecifiedReal = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kUnspecifiedInteger = -1234567;

int64_t elementCount(const Extents &extents);
Extents rowMajorStrides(const Extents &extents);

/// sum of coordinate[d] * strides[d] for every coordinate of `extents`, in row-major order.
std::vector<int64_t> offsetsOf(const Extents &extents, const Extents &strides);

/// Strides of a tile along `count` dimensions of a larger index space, where dimension d of the
/// tile is dimension positions[d] of the space; 0 along the others.
Extents stridesAlong(const Extents &tile, const std::vector<int64_t> &positions, int64_t count);

/// c + sum over the contracted dimensions of a * b. All dimensions are numbered 0 ..
/// extents.size(): positions say which one each tile dimension is; those of c come first, in order.
HostTile multiply(const HostTile &a, const std::vector<int64_t> &aPositions, const HostTile &b,
                  const std::vector<int64_t> &bPositions, const HostTile &c,
                  const Extents &extents);

/// init combined with the elements along `dim`, first to last.
HostTile reduce(const HostTile &tile, int64_t dim, const HostTile &init,
                const std::function<double(double, double)> &combine);

/// Prefix combination along `dim`; exclusive ones start with `neutral`.
HostTile scan(const HostTile &tile, int64_t dim, bool exclusive, bool reverse, double neutral,
              const std::function<double(double, double)> &combine);

/// X with (I + stril L) X = B by forward substitution.
HostTile solveUnitLower(const HostTile &lower, const HostTile &rhs);

/// Merges candidates into the k best of each row: larger score, then smaller id; -inf scores and
/// negative ids are no candidates, free places are (-inf, -1). `id` has one row or as many as
/// `score`.
void mergeTopk(const HostTile &score, const HostTile &id, HostTile &bestScore, HostTile &bestId);

/// Ascending along the last dimension, negative ids last.
HostTile sortIds(const HostTile &ids);

HostTile slice(const HostTile &tile, const std::vector<int64_t> &offsets, const Extents &extents);

/// Dimension n of the permuted tile is dimension permute[n] of `tile`; then regrouped to `extents`.
HostTile reshape(const HostTile &tile, const std::vector<int64_t> &permute, const Extents &extents);

/// Packed codes of `bits` bits to floats; null scale, zero or table where there is none.
HostTile decode(const HostTile &codes, int64_t bits, bool isSigned, const HostTile *scale,
                const HostTile *zero, const HostTile *table);

} // namespace heddle::compiler
