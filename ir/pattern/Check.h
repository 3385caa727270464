// What the verifiers share: names and types visible in a pattern, extents in canonical form.
// Internal to ir/pattern, but for canonicalExtent, which forms may use.
#pragma once

#include "ir/pattern/ExprParser.h"
#include "ir/pattern/PatternDialect.h"

namespace heddle::pattern {

/// Types of a pattern's scalars and dims, and of the values an op reads.
TypeScope scopeOfOp(DefOp def, mlir::ValueRange reads, mlir::ArrayAttr readNames,
                    llvm::ArrayRef<ContextName> names);

/// `extent` with the pattern's lets replaced, simplified: equal extents are the same pointer.
ExprAttr canonicalExtent(DefOp def, ExprAttr extent);
ExprAttr canonicalExtent(llvm::ArrayRef<LetAttr> lets, ExprAttr extent);

/// Emits an error at `op` if an expression is mistyped, too deep, or names what it may not.
mlir::LogicalResult checkExpr(mlir::Operation *op, const TypeScope &scope, ExprAttr expr,
                              ExprType type, const llvm::Twine &what);

/// Result names: one a result, distinct within the pattern; read names: one a value read.
mlir::LogicalResult checkNames(mlir::Operation *op, mlir::ArrayAttr names, size_t results);

} // namespace heddle::pattern
