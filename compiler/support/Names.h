// Names: of dimensions in lists, and of scalars in the text of a GPU kernel, where a value's
// location carries what the emitter calls it.
#pragma once

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"

namespace heddle::compiler {

/// Where a name stands in a list of dimension names; -1 if it does not.
inline int64_t positionOf(mlir::ArrayAttr names, mlir::Attribute name) {
  const auto *found = llvm::find(names, name);
  return found == names.end() ? -1 : found - names.begin();
}
inline int64_t positionOf(mlir::ArrayAttr names, llvm::StringRef name) {
  return positionOf(names, mlir::StringAttr::get(names.getContext(), name));
}

/// The same value, called `name` in emitted text. Constants and what has a name keep theirs.
inline mlir::Value named(mlir::Value value, llvm::StringRef name) {
  mlir::Operation *op = value.getDefiningOp();
  if (op && !llvm::isa<mlir::arith::ConstantOp>(op) && !llvm::isa<mlir::NameLoc>(op->getLoc()))
    op->setLoc(mlir::NameLoc::get(mlir::StringAttr::get(op->getContext(), name), op->getLoc()));
  return value;
}

} // namespace heddle::compiler
