// Expressions over the elements of a tile: what of them is computed once before the loop, the tiles
// of coordinates, of tensor elements and of reductions that the rest reads, and the region of the
// map that joins them.
#pragma once

#include "compiler/forms/ExprOps.h"
#include "compiler/forms/KernelWriter.h"

namespace heddle::compiler {

/// A name that runs along a dimension of the tile: its value is base + coordinate.
struct Axis {
  llvm::StringRef dim; ///< a literal: "i" (rows), "j" (keys), "d" (features), ..
  int64_t extent = 0;
  mlir::Value base; ///< index
  Extent bound;     ///< the name's values end here
};

/// The names an expression may use, as the kernel at hand has them.
class TileScope {
public:
  TileScope(KernelWriter &writer, const PatternProblem &problem)
      : w(writer), problem(problem), types(problem.scope) {}

  /// A name with one value for the whole tile, and where its values end (none: not known).
  void uniform(llvm::StringRef name, mlir::Value index, std::optional<Extent> bound = {});
  /// An expression whose value that name has: where it stands for an index, the name's bound holds.
  void sameAs(Expr expr, llvm::StringRef name) { aliases.push_back({expr, name.str()}); }
  void axis(llvm::StringRef name, Axis axis);
  void forget(llvm::StringRef name) { axes.erase(name); }
  /// Tiles that stand for reads of a tensor at exactly these indices.
  void given(Expr read, mlir::Value tile, Names dims) { givens.push_back({read, {tile, dims}}); }

  /// Names along this dimension are there only inside the loop at hand; nothing else is.
  llvm::StringRef innerDim = "j";
  /// The dimension that vectors run along: reductions without it run along it themselves.
  llvm::StringRef lanesDim = "j";
  /// Rows are few, and vectors run along the keys: tiles that lie the other way are gathered.
  bool fewRows = false;
  /// Where what does not depend on names along `innerDim` is computed.
  mlir::OpBuilder::InsertPoint start;

  /// Why `expr` has no code here; empty if it has.
  static std::string refuse(Expr expr, const PatternProblem &problem);

  /// A 64-bit or f32 value that is the same for the whole tile, computed at `start`.
  mlir::Value uniformValue(Expr expr);

  /// Value of `expr` in the region of a map: `score` is what `s` means (null outside a score).
  /// Inputs are collected while the expression is prepared and are operands of the map.
  struct Prepared {
    Expr expr;
    mlir::Type integerType;
    llvm::SmallVector<std::pair<Expr, mlir::Value>> scalars; ///< by subtree, f32 / i1 / integerType
    llvm::SmallVector<std::pair<Expr, unsigned>> operands;   ///< by leaf, number of the operand
    llvm::SmallVector<std::pair<Expr, mlir::Value>> gathers; ///< by read, the view to gather from
    llvm::SmallVector<mlir::Value> tiles;
    llvm::SmallVector<Names> dims;
  };
  Prepared prepare(Expr expr);
  /// Inside the map: operands of `prepared` are `operands`.
  mlir::Value emit(const Prepared &prepared, mlir::OpBuilder &builder, mlir::ValueRange operands,
                   mlir::Value score);
  /// An f32 tile of `expr` over dims of these extents, at the builder's place.
  mlir::Value tile(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                   llvm::ArrayRef<int64_t> extents);
  /// The same in i32, exact.
  mlir::Value integerTile(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                          llvm::ArrayRef<int64_t> extents);

private:
  using Finish = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Value)>;
  mlir::Value mapped(Expr expr, llvm::ArrayRef<llvm::StringRef> dims,
                     llvm::ArrayRef<int64_t> extents, mlir::Type element, Finish finish);
  struct Placed {
    mlir::Value tile;
    Names dims;
  };
  bool isUniform(Expr expr) const;
  /// Names along dimensions among the free names of `expr`.
  llvm::SmallVector<const Axis *> axesOf(Expr expr) const;
  bool isInner(Expr expr) const;
  bool isDirect(Expr read) const;
  bool hasIndex(Expr index, const Extent &extent) const;
  void collect(Expr expr, Prepared &prepared);
  void addUniform(Expr expr, Prepared &prepared);
  void addGather(Expr read, Prepared &prepared);
  void addTile(Expr expr, Placed placed, Prepared &prepared);
  Placed readTile(Expr read);
  Placed indexTile(const Axis &axis);
  Placed reduceTile(Expr reduction);
  mlir::Value boundOf(Expr expr, bool largest);
  mlir::Value readScalar(Expr read);
  mlir::Value saturated(mlir::Value index);
  mlir::Value batchOf(Expr read, const ProblemTensor &tensor, unsigned &first);

  KernelWriter &w;
  const PatternProblem &problem;
  pattern::TypeScope types;
  llvm::StringMap<mlir::Value> uniforms;
  llvm::StringMap<Axis> axes;
  llvm::StringMap<Extent> bounds; ///< of uniform names
  llvm::SmallVector<std::pair<Expr, std::string>> aliases;
  llvm::SmallVector<std::pair<Expr, Placed>> givens;
};

/// Whether integer arithmetic of `expr` on 29-bit leaves stays inside 32 bits.
bool fitsInt32(Expr expr);

/// `j in list[h]` as a reduction: any[r < R] { list[h, r] == j }.
Expr expandMember(Expr member, const PatternProblem &problem);

} // namespace heddle::compiler
