// Values of tiles at points. A tile has a place (TileStorage.h) or is made where it is read:
//
//   at(%P, (i lanes, j))  ->  at(%s, ..), at(%x, (i)), then the map's region on vectors
//
// What was made is remembered per scope; a scope is the body of one emitted loop.
#pragma once

#include "compiler/targets/cpu/TileStorage.h"

#include "mlir/IR/IRMapping.h"

#include <map>
#include <vector>

namespace heddle::compiler::cpu {

/// The register block a nest works on: every combination of a lanes coordinate and another one.
struct RegisterBlock {
  mlir::SmallVector<Coord> lanes;
  mlir::SmallVector<Coord> others;
  int64_t lanesDim = 0; ///< of the result of products in this nest
};

/// A tile of memory that is read `rows` rows further on than its place says.
struct Reading {
  GlobalPlace place;
  Value rows;
};

/// What to ask for when rows of a tile are read.
struct Later {
  mlir::SmallVector<Reading, 3> order; ///< the tile itself and what is read after it, tile by tile
  int64_t columns = 0;                 ///< of a row; 0: ask for nothing
  int64_t extent = 0;                  ///< rows of each tile
  int64_t pages = 1;                   ///< rows of that many pages are asked for in turn
  mlir::SmallVector<int64_t> ahead;    ///< rows further on, in the order in which rows are read
  /// A place whose rows are like those that are asked for.
  const GlobalPlace &asked() const { return order[order.size() > 1 ? 1 : 0].place; }
};

/// Rows of bf16 that were widened to the stack, line by line: keepWidened.
struct WidenedRows {
  Value memory;
  int64_t columns = 0; ///< of a row, in whole lines
  Value at(VectorBuilder &e, Value row, Value column) const {
    return e.address(memory, e.builder.getF32Type(), e.plus(e.times(row, columns), column));
  }
};

class Evaluator {
public:
  explicit Evaluator(VectorBuilder &e) : e(e) { scopes.emplace_back(); }

  VectorBuilder &e;
  mlir::IRMapping scalars; ///< lowered scalars and indices
  mlir::DenseMap<Value, ViewPlace> views;
  mlir::DenseMap<Value, GlobalPlace> globals;
  /// Where loads and stores of rows that lie in memory as they are find or leave them.
  mlir::DenseMap<mlir::Operation *, GlobalPlace> transfers;
  mlir::DenseMap<Value, LocalPlace> locals;
  mlir::DenseMap<Value, RowsPlace> rows;
  RegisterBlock block;
  /// Rows that nests make, of those along the lanes; null: all. See KernelLowering::lowerByRows.
  Value firstRow, endRow;
  bool asks = true; ///< whether products of many rows ask for what is read next
  bool failed = false;

  /// The vector at a point. Without a lanes coordinate: the element in every lane.
  Value at(Value tile, mlir::ArrayRef<Coord> point);
  /// The same made by the tile's op, whatever its place: what a nest writes there.
  Value compute(Value tile, mlir::ArrayRef<Coord> point);

  Coord element(Value index, int64_t number = -1) {
    return {index, ++lastTag, false, number, false};
  }
  Coord lanesFrom(Value index, int64_t number = -1, bool whole = false) {
    return {index, ++lastTag, true, number, whole};
  }
  /// Copies the row vectors that a tile is made from to the stack, so that loops may run over them:
  /// points then need no static number. False if there are some that cannot be read so.
  /// `splatsToo`: rows of splats stay as they are, read by the numbers of their elements.
  bool keepInMemory(Value tile, bool splatsToo = false);
  void pushScope() { scopes.emplace_back(); }
  void popScope() { scopes.pop_back(); }
  void remember(Value tile, mlir::ArrayRef<Coord> point, Value vector) {
    scopes.back()[keyOf(tile, point)] = vector;
  }
  /// Elements that count along a dimension of the tile: the smallest of what its sources have, null
  /// for all.
  Value clipOf(Value tile, int64_t dim);
  /// The same by the tile's op, whatever its place.
  Value clipOfSources(Value tile, int64_t dim);
  /// Where the rows end that a tile's lanes run along, by the tiles in scratch that it is made
  /// from; null: all of them are there. Lanes beyond need not be computed.
  Value lanesEndOf(Value tile, int64_t dim);
  /// The same by the tile's op, whatever its place.
  Value lanesEndOfSources(Value tile, int64_t dim);
  /// Ranges of the tiles in scratch that a tile is made from, point by point; none: all of it.
  LaneRanges rangesOf(Value tile);
  Value reportUnsupported(mlir::Operation *op, const char *reason);
  /// The place of rows that are read from memory as they lie; null if the tile is elsewhere.
  const GlobalPlace *denseRows(Value tile);
  /// Widens to the stack what a map makes of queries that are read as words of two.
  void keepWidened(tile::MapOp map);

private:
  friend class OuterProduct;
  using Key = std::pair<void *, std::vector<int64_t>>;
  Key keyOf(Value tile, mlir::ArrayRef<Coord> point);
  Value read(Value tile, mlir::ArrayRef<Coord> point);
  bool putInMemory(RowsPlace &place);
  Value make(Value tile, mlir::ArrayRef<Coord> point);
  Value find(const Key &key);
  Value constant(tile::FillOp fill);
  Value makeMap(tile::MapOp map, Value tile, mlir::ArrayRef<Coord> point);
  /// Makes the product for the whole register block and remembers all of it.
  void makeProduct(tile::MmaOp op);
  void dotProduct(tile::MmaOp op);

  // Rows read from memory as they lie: Streams.cpp.
  /// Lines of a tile that a register block asks for: `count` from a line of a row on.
  struct Share {
    GlobalPlace place;
    Value row, line;
    int64_t count, lines; ///< lines: of a row
  };
  std::vector<Share> sharesOfNext(tile::MmaOp op);
  Share shareOf(const GlobalPlace &place, tile::TileType type, tile::MmaOp op);
  /// Asks for all lines of a share at once.
  void askForAll(const Share &share);
  /// Where many at once would be dropped: for those of the share that fall, when `done` of the
  /// sum's `extent` are done, to the next `width`.
  void askForSome(const Share &share, Value done, int64_t width, int64_t extent);
  void askForRows(tile::MmaOp op, const GlobalPlace &place, int64_t columns);
  void planAsking(tile::ForOp loop);
  /// Whether so few rows are made that a product reads its rows of memory once.
  bool isReadOnce(tile::MmaOp op);
  /// What is read from memory after a tile that is read once: the next tile of the loop around it,
  /// the first one of the loop's next step, or that of the next grid point.
  Later readAfter(Value tile);
  Reading inNextStep(Value tile, tile::ForOp loop);
  /// Where the row lies to ask for when the row of that number is read, so many rows ahead.
  Value rowToAskFor(const Later &later, Value number, int64_t ahead);
  /// Asks for the line of a column in such a row; for a part of the lines of one, when the row of
  /// that number is read.
  void askFor(const Later &later, Value row, Value column);
  void askForPart(const Later &later, Value row, int64_t part, int64_t parts);
  /// When that column of `count` rows is read, asks for as many lines of the rows to ask for, in
  /// the order in which they lie. False, and nothing is asked for, where another order is better or
  /// rows are no whole number of turns.
  bool askForLines(const Later &later, Value row, Value column, int64_t count);

  // Rows of bf16 as words of two: Words.cpp.
  /// The rows of bf16 that a map widens and nothing masks; null: others.
  const GlobalPlace *wordRows(Value tile);
  /// Two vectors' elements from a column on: those with even and with odd distance from it.
  std::pair<Value, Value> loadWords(const GlobalPlace &place, const Coord &row, Value column);
  /// The same of two neighbouring rows as pairs of bf16, the first row's elements first.
  std::pair<Value, Value> loadRowPairs(const GlobalPlace &place, const Coord &row, Value column);
  /// A tile of scratch that is widened from bf16, so that the lower halves of its words are zero,
  /// with neighbours of a row side by side; null: others.
  const LocalPlace *roundedRows(Value tile);
  /// Two neighbours of such a row as a pair of bf16 in each lane.
  Value loadRoundedPair(const LocalPlace &place, const Coord &row, const Coord &column);
  /// Two vectors in order to even and odd elements, and back.
  std::pair<Value, Value> byParity(Value low, Value high);
  std::pair<Value, Value> inOrder(Value even, Value odd);

  mlir::DenseMap<Value, WidenedRows> widened;
  int64_t lastTag = 0;
  mlir::DenseSet<mlir::Operation *> planned; ///< loops whose products know what to ask for
  mlir::DenseMap<mlir::Operation *, mlir::SmallVector<mlir::Operation *>> asked; ///< by products
  std::vector<std::map<Key, Value>> scopes;
};

/// How many rows ahead of itself a tile in memory is asked for where no loop says what comes next.
inline constexpr int64_t kRowsAhead = 32;

/// The operands of a product by role.
struct Roles {
  Value lanes, others;         ///< with the result's lanes dimension; with the other one
  int64_t lanesFree, lanesSum; ///< dimensions of `lanes`
  int64_t othersFree, othersSum;
};
Roles rolesOf(tile::MmaOp op, int64_t lanesDim);

/// A point of a matrix by its coordinate along dimension `firstDim` and the other one.
Point pointOf(int64_t firstDim, const Coord &first, const Coord &second);
/// accumulator + a . b of pairs of bf16 in each lane.
Value dotOfPairs(VectorBuilder &e, Value accumulator, Value a, Value b);

/// Whether the matrix unit makes the product, from scratch to scratch: AmxProducts.cpp.
bool isAmxProduct(tile::MmaOp op);
/// The map that masks such a product in an edge tile and is all that reads it; null: none.
tile::MapOp maskOf(tile::MmaOp op);
/// Whether the kernel or program has such a product.
bool hasAmxProduct(mlir::Operation *op);

/// Whether the product sums along the lanes (rows are few): its kind follows from the layouts
/// alone.
bool isDotProduct(tile::MmaOp op);

} // namespace heddle::compiler::cpu
