// Declarations of a tile.program: what a form says about scalars, tensors, workspace and grids.
#pragma once

#include "compiler/forms/PatternProblem.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/OwningOpRef.h"

namespace heddle::compiler {

class ProgramWriter {
public:
  /// A module with an empty program that declares the problem's extents, parameters, tensors and
  /// buffers. `groupedHeads` (may be empty): extent whose values are multiples of `group`.
  ProgramWriter(const PatternProblem &problem, llvm::StringRef name,
                llvm::StringRef groupedHeads = "", int64_t group = 1);

  tile::FormulaAttr formula(const Extent &extent);
  /// ceil(extent / divisor).
  tile::FormulaAttr ratio(const Extent &extent, int64_t divisor);
  tile::FormulaAttr product(tile::FormulaAttr x, tile::FormulaAttr y);
  /// 1 if the extent is at least `limit`, else 0; and 1 minus such.
  tile::FormulaAttr atLeast(const Extent &extent, int64_t limit);
  tile::FormulaAttr negated(tile::FormulaAttr flag);
  /// A workspace buffer of f32.
  void buffer(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> shape);
  /// `why`: what the kernel does and why it is a launch of its own, for `explain`.
  tile::KernelOp kernel(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> grid,
                        llvm::ArrayRef<bool> descending, llvm::StringRef why = "");
  mlir::OwningOpRef<mlir::ModuleOp> take() { return std::move(module); }

private:
  void declareTensors(const PatternProblem &problem);

  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::OpBuilder builder;
  mlir::Location location;
};

/// Why the extent has no formula; empty if it has one.
std::string refuseExtent(const PatternProblem &problem, const Extent &extent);

} // namespace heddle::compiler
