// One nest as it is emitted: private to the sources that emit nests.
#pragma once

#include "compiler/targets/cpu/Nests.h"

namespace heddle::compiler::cpu {

/// The tile whose points a sink visits.
Value visited(mlir::Operation *op);
/// Whether the tile is made where it is read, by a map or a product.
bool isStreamed(Value tile);
/// Operand tiles that op reads at its own points.
mlir::SmallVector<Value> tileOperands(mlir::Operation *op);
/// Whether anything in a kernel or a program reads the tensor.
bool isRead(mlir::Operation *within, mlir::StringRef tensor);

struct NestEmitter::Nest {
  Nest(NestEmitter &emitter, const NestGroup &group);
  void emit();

  NestEmitter &emitter;
  Evaluator &evaluator;
  VectorBuilder &e;
  const NestGroup &group;
  tile::TileType type; ///< of the visited tile
  int64_t lanes = 0;   ///< its dimension along the lanes
  int64_t vectors = 1; ///< along the lanes
  int64_t others = 1;  ///< extent of the other dimension
  Value clip;          ///< of the other dimension, null: none
  Value lanesEnd;      ///< of the rows along the lanes, null: all are there
  int64_t blockVectors = 1, blockOthers = 1;
  bool hasProducts = false;                  ///< made where they are read
  LaneRanges ranges;                         ///< of the other dimension, by groups of vectors
  bool unrolled = false;                     ///< the other dimension, because of splats
  mlir::SmallVector<tile::ReduceOp> carried; ///< reductions along the other dimension
  mlir::SmallVector<tile::ReduceOp> across;  ///< reductions along the lanes
  mlir::DenseMap<mlir::Operation *, Values> partial; ///< of `across`, per other index

  mlir::DenseMap<mlir::Operation *, Value> pastCaches; ///< of stores that may be, whether they are

  Value goesPastCaches(tile::StoreOp store);
  void storeBlock(tile::StoreOp store, mlir::ArrayRef<Coord> laneCoords,
                  mlir::ArrayRef<Coord> otherCoords);
  Value combine(tile::ReduceOp reduce, Value a, Value b);
  Value horizontal(tile::ReduceOp reduce, Value vector);
  Values body(mlir::ArrayRef<Coord> laneCoords, Value first, int64_t count, int64_t number,
              mlir::ValueRange carriedIn);
  Values overOthers(mlir::ArrayRef<Coord> laneCoords, Values carriedIn);
  void write(mlir::Operation *sink, mlir::ArrayRef<Coord> laneCoords,
             mlir::ArrayRef<Coord> otherCoords);
  Point pointOf(const Coord &lane, const Coord &other) {
    Point point(2);
    point[lanes] = lane;
    point[1 - lanes] = other;
    return point;
  }
  void finish();
  bool canLoop();
  bool canLoopAcross();
  void emitLoopAcross();
  void emitGroups();
  void emitLoopOverGroups();
  Value tailOfRows(Value begin, Value end);
  Value scaledInPlace();
  Value anyOtherThanOne(Value factors, mlir::ArrayRef<Coord> laneCoords);
  void findRanges(mlir::ArrayRef<tile::MmaOp> products);
  bool loopsOverRanges() const;
};

} // namespace heddle::compiler::cpu
