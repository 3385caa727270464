// The steps of AssignLayouts, in their order; private to this folder. AssignLayouts.cpp has the
// pass and the choice of spaces, OrientProducts.cpp, SpreadLanes.cpp and CarryInPlace.cpp the rest.
#pragma once

#include "compiler/passes/cpu/CpuPasses.h"
#include "ir/tile/TileDialect.h"
#include "ir/tile/TileLayouts.h"

#include "llvm/ADT/EquivalenceClasses.h"

#include <optional>
#include <utility>

namespace heddle::compiler {

/// How a product uses an operand.
struct Product {
  tile::MmaOp op;
  enum Kind { Outer, Dot } kind = Outer; ///< lanes along a result dimension, or along the sum
  int64_t lanes = 0;                     ///< dimension of the result along the lanes
  bool lanesFromA = true;                ///< which operand has it
  bool pairs = false;                    ///< dot products of bf16 pairs
  bool amx = false;                      ///< .. of whole tiles, by a matrix unit
  int64_t sumA = 0, sumB = 0, freeA = 0, freeB = 0; ///< dimensions of the operands

  mlir::Value a() const { return tile::MmaOp(op).getA(); }
  mlir::Value b() const { return tile::MmaOp(op).getB(); }
  mlir::Value lanesOperand() const { return lanesFromA ? a() : b(); }
  mlir::Value scalarOperand() const { return lanesFromA ? b() : a(); }
};

/// Step 1: which dimension of each product runs along the lanes, and which unit does it. Products
/// of a matrix unit get their atom and operands of their own; operands of the others become f32,
/// but for dot products of pairs. Fails, with an error, where a product has no such form.
mlir::FailureOr<mlir::SmallVector<Product>> orientProducts(tile::KernelOp kernel,
                                                           const CpuLayoutOptions &options);

/// Whether the tile is a load (possibly widened) whose last dimension is `dim`: contiguous memory.
bool contiguousLoad(mlir::Value value, int64_t dim);

inline int64_t rankOf(mlir::Value value) {
  return tile::tileType(value) ? tile::tileType(value).getRank() : -1;
}

/// Step 2: the dimension along the lanes, spread from the products through maps, reductions and
/// what loops carry. Tiles of one dimension follow the matrices they meet.
class Lanes {
public:
  Lanes(tile::KernelOp kernel, const CpuLayoutOptions &options, mlir::ArrayRef<Product> products);

  /// The dimension along the lanes, or -1. A tile that only feeds a product is as that reads it.
  int64_t of(mlir::Value value);
  /// The dimension of a matrix along the lanes because a product writes it so, or -1.
  int64_t writtenOf(mlir::Value value);
  /// The dimension along which some product reads what is made of the matrix by lanes, or -1.
  int64_t wishedOf(mlir::Value value);
  /// Whether a tile of one dimension lies in scratch, where it is read along and across the lanes.
  bool inMemory(mlir::Value row);
  /// A product's operand that must lie in memory as bf16 pairs: (lanes, packed).
  std::optional<std::pair<int64_t, int64_t>> pairsFor(mlir::Value value);
  /// The dimension that lies side by side in what products of pairs read in rows: all that the
  /// matrix unit does, maps that dot products do. -1 for others.
  int64_t rowsOfPairs(mlir::Value value);

private:
  /// A dimension of a value, as the classes name it.
  using Dim = std::pair<void *, int64_t>;
  /// How matrices read the tiles of a class: along their lanes, across them, or in both ways.
  struct Meetings {
    bool along = false, across = false, memory = false;
  };

  void spread(tile::KernelOp kernel);
  void join(mlir::Value a, int64_t dimA, mlir::Value b, int64_t dimB);
  void joinRows(tile::KernelOp kernel);
  Meetings &meetingsOf(mlir::Value row);
  void meet(mlir::Value row, mlir::Value matrix, int64_t dim);
  bool liesInRows(mlir::Value value);
  bool isTurned(mlir::Value value);

  const CpuLayoutOptions &options;
  mlir::ArrayRef<Product> products;
  llvm::EquivalenceClasses<Dim> classes;
  mlir::DenseSet<Dim> written, wishes; ///< leaders of classes
  llvm::EquivalenceClasses<void *> rowClasses;
  mlir::DenseMap<void *, Meetings> meetings; ///< by leaders of rowClasses
};

/// Step 4, where all tiles have their types: products, running sums, sums and triangular systems
/// get one type for what they start from and what they write, and what a loop carries stays in one
/// place, by a `tile.convert` where it would move.
void carryInPlace(tile::KernelOp kernel);

} // namespace heddle::compiler
