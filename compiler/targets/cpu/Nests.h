// Loop nests of a kernel's body. A nest computes one or several `sinks` over one tile's points:
//
//   products    register blocks of MQ vectors x MK others; maps and reductions of the result are
//               done on the accumulators before they are written
//   sweeps      maps and reductions over tiles in scratch, one pass
//   transfers   loads into scratch and stores to memory, transposed in W x W blocks where lanes
//               and memory disagree
#pragma once

#include "compiler/targets/cpu/Evaluator.h"

namespace heddle::compiler::cpu {

/// Shape of the register block of products.
struct Blocking {
  int64_t vectors = 4; ///< MQ: vectors along the lanes
  int64_t others = 4;  ///< MK: columns of the other dimension
};

/// Sinks that share their points: ops with a local result, reductions, or stores (storesInNest).
struct NestGroup {
  mlir::SmallVector<mlir::Operation *> sinks;
  std::map<mlir::Operation *, GlobalPlace> targets = {}; ///< of stores
  bool empty() const { return sinks.empty(); }
};

class NestEmitter {
public:
  NestEmitter(Evaluator &evaluator, Blocking blocking)
      : evaluator(evaluator), e(evaluator.e), blocking(blocking) {}

  /// Whether `op` can be computed in the same nest as the group's sinks.
  bool joins(const NestGroup &group, mlir::Operation *op);
  /// Whether a nest may store the tile as it makes it, beside what else is made of it: a map of
  /// whole tiles that lie in memory, and nothing in the kernel reads what is stored.
  bool storesInNest(tile::StoreOp store);
  /// Whether the tile is made, point by point or not, from a result of the group.
  bool dependsOn(const NestGroup &group, Value tile);
  void emit(const NestGroup &group);

  void emitLoad(tile::LoadOp load, const GlobalPlace &source);
  /// Asks for the rows that a loop over chunks loads from the same tensor in its next step.
  void askForNext(tile::LoadOp load, const GlobalPlace &source);
  void emitStore(tile::StoreOp store, const GlobalPlace &target);
  /// A 1-d map: its row vectors, now.
  void emitRows(tile::MapOp map);
  /// A map or copy of one dimension into scratch; a tile of rank 0, one splat vector.
  void emitVector(mlir::Operation *op);
  void emitOne(Value tile);
  /// A product of the matrix unit, and what a kernel with such products begins and ends with.
  void emitAmxProduct(tile::MmaOp mma);
  void configureAmx();
  void releaseAmx();
  /// A reduction to scratch, or to a number; a running sum; a triangular system.
  void emitSum(tile::ReduceOp reduce);
  void emitScan(tile::ScanOp scan);
  void emitSolve(tile::SolveUnitLowerOp solve);
  /// The best of a list and of new candidates (Topk.cpp).
  void emitTopk(tile::TopkOp topk);

private:
  struct Nest; ///< one group being emitted
  void turnBlock(mlir::Type element, int64_t present, int64_t count,
                 mlir::function_ref<Value(Value)> row,
                 mlir::function_ref<void(Value, Value)> column);
  void fillTransposed(Value result, const LocalPlace &place,
                      mlir::function_ref<Value(mlir::ArrayRef<Coord>)> source);
  /// What a turned copy is made of: the vector of a row from a column on.
  using Lines = mlir::function_ref<Value(const Coord &row, const Coord &along)>;
  void fillTransposedPairs(const LocalPlace &place, Lines line);
  void clearPairs(const LocalPlace &place, Value lane, int64_t count, Value begin, Value end);
  LaneRanges rangesOfMask(tile::MmaOp mma, int64_t lanesDim);
  void fillQueryPairs(const LocalPlace &place, Lines line);
  void fillKeyPairs(const LocalPlace &place, const GlobalPlace &source);
  /// Line by line; in loops over a support the next lines are asked for.
  void fillStraight(const LocalPlace &place, const GlobalPlace &source, bool inSupport);
  void storeTransposed(tile::StoreOp store, const GlobalPlace &target);
  void storeStraight(tile::StoreOp store, const GlobalPlace &target);
  /// Calls body for indices 0, step, .. below `end`, a last smaller piece apart: (index, count).
  void forPieces(int64_t extent, int64_t step, mlir::function_ref<void(Value, int64_t)> body);

  void emitRowsOnStack(tile::MapOp map);
  bool turnsInBlocks(mlir::Operation *op);
  void emitTurned(tile::MapOp map);
  mlir::SmallVector<Coord> vectorsOf(int64_t extent);
  void overIndices(int64_t extent, mlir::function_ref<void(Value)> body);
  Value sumAlongLanes(tile::ReduceOp reduce, Point point);
  Value sumAcrossLanes(tile::ReduceOp reduce, Point point);
  void solveRows(tile::SolveUnitLowerOp solve, const LocalPlace &place, Value first, int64_t rows,
                 mlir::ArrayRef<Coord> columns);

  Evaluator &evaluator;
  VectorBuilder &e;
  Blocking blocking;
  bool ranged = true; ///< masks cut nests by groups of vectors that the blocking suggests
};

/// The dimension along the lanes by the type's layout; the last one where the layout has none.
int64_t lanesDimOf(tile::TileType type);
/// Whether the tile (through tiles made where they are read) has a row vector of splats.
bool readsReplicated(Evaluator &evaluator, Value tile);

} // namespace heddle::compiler::cpu
