// Where the tiles of a kernel are at run time, and how one vector of one is read or written.
//
//   global   where the view has it: pointer + strides; read by lanes, broadcast, or by masked lanes
//   local    scratch: one dimension contiguous (the lanes), or bf16 pairs packed in 32 bits
//   rows     SSA vectors: 1-d tiles such as m, l; by lanes, or one splat vector per element
#pragma once

#include "compiler/targets/cpu/MaskRanges.h"
#include "compiler/targets/cpu/VectorBuilder.h"
#include "ir/tile/TileDialect.h"

namespace heddle::compiler::cpu {

/// A coordinate along one dimension of a tile: one index, or a vector of them (`lanes`).
struct Coord {
  Value index;         ///< the index, or that of the first lane
  int64_t tag = 0;     ///< equal tags in one scope mean equal coordinates
  bool lanes = false;  ///< W consecutive indices from `index` on
  int64_t number = -1; ///< static number: of the vector if lanes, else of the element; -1: run-time
  bool whole = false;  ///< all lanes are known to lie inside the tile
};
using Point = mlir::SmallVector<Coord, 2>;

/// A window of memory, from tile.view.
struct ViewPlace {
  Value pointer; ///< element (0, 0, ..)
  mlir::Type element;
  Values strides; ///< of each kept dimension, in elements
  Values extents; ///< of each kept dimension, where elements are gathered
  tile::Access access = tile::Access::Dense;
  int64_t block = 0;                ///< rows of a page or list entry
  Value slotStride;                 ///< paged: stride of a slot inside its page
  Value wrapExtent;                 ///< wrap: rows of the tensor; paged: its pages
  const ViewPlace *table = nullptr; ///< paged, list
  Value toNextPoint; ///< elements to the next grid point's window, 0: unknown; null: the same one
};

/// A tile that stays in memory.
struct GlobalPlace {
  ViewPlace view;
  Values offsets;
  Values valid;         ///< per dimension, null: everything is there
  bool clipped = false; ///< loops never run beyond `valid`
  double fill = 0;
};

/// A tile in scratch.
struct LocalPlace {
  Value pointer;
  tile::TileType type;
  int64_t offset = 0, bytes = 0; ///< in scratch
  int64_t strides[2] = {1, 1};   ///< of the dimensions, in elements (pairs: in pairs)
  int64_t panel = 0;             ///< rows of a panel; 0: there are none
  Values clip;                   ///< per dimension: elements that were made, null: all
  LaneRanges ranges;             ///< parts that were made, by groups of vectors; none: all
  Value lanesEnd;                ///< lanes beyond are not there; groups of them alone are skipped
  tile::PairsAttr pairs;         ///< null: plain
};

/// A 1-d tile in registers, on the stack, or both.
struct RowsPlace {
  Values vectors;          ///< empty: on the stack alone
  bool replicated = false; ///< one splat vector per element
  Value memory;            ///< on the stack, for loops over the vectors; or null
};

/// Whether a 1-d tile has more vectors than registers can hold beside a register block. Such tiles
/// live on the stack and are made by loops: code for each vector takes long to compile.
bool livesOnStack(VectorBuilder &e, tile::TileType type);

/// A vector of a row tile on the stack, from element `index` on.
Value loadRow(VectorBuilder &e, Value memory, Value index, mlir::Type element);
void storeRow(VectorBuilder &e, Value memory, Value index, Value vector);

/// The type in which vectors of an element type are moved: small floats as integers, bits as bytes.
mlir::Type movedAs(mlir::Type element);
/// A vector between the type it is moved in and its own.
Value asType(VectorBuilder &e, Value vector, mlir::Type element);

/// Vectors of rows that all of a loop's body is done for before the next ones, and of a panel.
constexpr int64_t kRowVectors = 4;

/// In panels, f32 tiles of many vectors of rows lie so that all columns of some rows are
/// neighbours: what is done for those rows finds them on few pages. Panels need no gaps, so no more
/// bytes.
LocalPlace makeLocal(VectorBuilder &e, Value scratch, tile::TileType type, int64_t offset,
                     bool inPanels);

/// One vector of lanes (or one element broadcast into a vector) of a tile in memory, of the
/// element type of the tile.
Value loadGlobal(VectorBuilder &e, const GlobalPlace &place, mlir::ArrayRef<Coord> point,
                 mlir::ArrayRef<int64_t> shape);
Value loadLocal(VectorBuilder &e, const LocalPlace &place, mlir::ArrayRef<Coord> point);
void storeLocal(VectorBuilder &e, const LocalPlace &place, mlir::ArrayRef<Coord> point,
                Value vector);

/// The same of one element: lane 0 of the vector.
void storeElement(VectorBuilder &e, const LocalPlace &place, mlir::ArrayRef<Coord> point,
                  Value vector);

/// Elements that a row lies further because of the panels before its own.
Value toPanel(VectorBuilder &e, const LocalPlace &place, Value row);

/// Addresses in scratch: of an element, and of a pair's word.
Value localAddress(VectorBuilder &e, const LocalPlace &place, mlir::ArrayRef<Coord> point,
                   mlir::Type element);
Value pairAddress(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed);

/// Dot products of pairs: the packed dimension's index is even. `loadPairs` gives vector<2W x bf16>
/// by lanes, the others the same with one pair in each lane: of a tile of pairs, or of neighbours
/// in a row of scratch or memory.
Value loadPairs(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed);
Value loadPairWord(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed);
Value loadRowPairWord(VectorBuilder &e, const LocalPlace &place, mlir::ArrayRef<Coord> point);
Value loadGlobalPairWord(VectorBuilder &e, const GlobalPlace &place, mlir::ArrayRef<Coord> point);
/// Interleaves two vectors of bf16 (packed indices p and p + 1) and writes them.
void storePairs(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed, Value even,
                Value odd);

/// Words of 32 bits as pairs of bf16.
Value asPairs(VectorBuilder &e, Value words);

/// Two vectors of bf16 shuffled into one of 32-bit words; words written as a row of pairs.
Value joinPairs(VectorBuilder &e, Value low, Value high, mlir::ArrayRef<int64_t> order);
void storePairWords(VectorBuilder &e, const LocalPlace &place, Value lane, Value packed,
                    Value words);

/// Writes W (or fewer) elements along `point`'s lanes to memory, those that are `valid`.
void storeGlobal(VectorBuilder &e, const GlobalPlace &place, mlir::ArrayRef<Coord> point,
                 mlir::ArrayRef<int64_t> shape, Value vector);

/// An element for each lane at indices (a scalar or a vector of index each) of a view with extents;
/// 0 where an index is outside.
Value gatherLanes(VectorBuilder &e, const ViewPlace &view, ValueRange indices);

/// Address of one element.
Value globalAddress(VectorBuilder &e, const GlobalPlace &place, mlir::ArrayRef<Coord> point);

/// Asks for the cache lines of `columns` elements of a row; the row need not be there.
void prefetchRow(VectorBuilder &e, const GlobalPlace &place, Value row, int64_t columns);

/// Transposes the square block of vectors at an address: new[i] lane j = old[j] lane i.
void callTranspose(VectorBuilder &e, mlir::VectorType type, Value block);
/// Lane t of the result is the sum over the lanes of vectors[t].
Value sumsOfVectors(VectorBuilder &e, Values vectors);

/// lane index + `first` < bound, as a mask; null if it is true everywhere by constants.
Value laneMask(VectorBuilder &e, Value first, Value bound);

} // namespace heddle::compiler::cpu
