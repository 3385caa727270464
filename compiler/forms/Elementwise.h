// Expressions over the pairs of a tile: which part is computed once before the loop, which tiles
// of coordinates and of tensor elements the rest reads, and the map that joins them.
#pragma once

#include "compiler/forms/ExprOps.h"
#include "compiler/forms/KernelWriter.h"

namespace heddle::compiler {

/// A name that runs along a dimension of the tile: its value is base + coordinate.
struct Axis {
  llvm::StringRef dim; ///< "i" (rows) or "j" (keys)
  int64_t extent = 0;
  mlir::Value base;  ///< index
  mlir::Value valid; ///< how many coordinates are inside
};

/// The names an expression may use, as the kernel at hand has them.
class PairScope {
public:
  PairScope(KernelWriter &writer, const MixProblem &problem) : w(writer), problem(problem) {}

  /// Index values that are the same for the whole tile: b, and h or i.
  llvm::StringMap<mlir::Value> uniforms;
  /// Names that run along rows (i, row, or h in packed heads) and keys (j).
  llvm::StringMap<Axis> axes;
  /// Where what does not depend on j is computed.
  mlir::OpBuilder::InsertPoint start;

  /// Why reads in `expr` cannot be tiles; empty if they can.
  static std::string refuseReads(Expr expr, const MixProblem &problem);

  /// A 64-bit or f32 value that is the same for the whole tile, computed at `start`.
  mlir::Value uniform(Expr expr);

  /// Value of `expr` in the region of a map: `score` is what `s` means (null outside a score).
  /// Inputs are collected while the expression is prepared and are operands of the map.
  struct Prepared {
    Expr expr;
    mlir::Type integerType;
    llvm::SmallVector<std::pair<Expr, mlir::Value>> scalars; ///< by subtree, f32 / i1 / integerType
    llvm::SmallVector<std::pair<Expr, unsigned>> operands;   ///< by leaf, number of the operand
    llvm::SmallVector<mlir::Value> tiles;
    llvm::SmallVector<Names> dims;
  };
  Prepared prepare(Expr expr);
  /// Inside the map: operands of `prepared` are args.drop_front(firstOperand).
  mlir::Value emit(const Prepared &prepared, mlir::OpBuilder &builder, mlir::ValueRange operands,
                   mlir::Value score);

private:
  bool isUniform(Expr expr) const;
  void collect(Expr expr, Prepared &prepared);
  void addUniform(Expr expr, Prepared &prepared);
  mlir::Value tileOf(Expr leaf, Names &dims);
  mlir::Value readTile(Expr read, Names &dims);
  mlir::Value readScalar(Expr read);
  mlir::Value saturated(mlir::Value index);

  KernelWriter &w;
  const MixProblem &problem;
};

/// Whether integer arithmetic of `expr` on 29-bit leaves stays inside 32 bits.
bool fitsInt32(Expr expr);

} // namespace heddle::compiler
