// Declarations of a tile.program: what a form says about scalars, tensors, workspace and grids.
#pragma once

#include "compiler/forms/MixProblem.h"
#include "ir/tile/TileDialect.h"

#include "mlir/IR/OwningOpRef.h"

namespace heddle::compiler {

class ProgramWriter {
public:
  /// A module with an empty program that declares the problem's extents, parameters and tensors.
  explicit ProgramWriter(const MixProblem &problem);

  tile::FormulaAttr formula(const Extent &extent);
  /// ceil(extent / divisor).
  tile::FormulaAttr ratio(const Extent &extent, int64_t divisor);
  /// A workspace buffer of f32.
  void buffer(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> shape);
  tile::KernelOp kernel(llvm::StringRef name, llvm::ArrayRef<tile::FormulaAttr> grid,
                        llvm::ArrayRef<bool> descending);
  mlir::OwningOpRef<mlir::ModuleOp> take() { return std::move(module); }

private:
  void declareScalars(const MixProblem &problem);
  void declareTensors(const MixProblem &problem);

  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::OpBuilder builder;
  mlir::Location location;
};

} // namespace heddle::compiler
