// The pattern dialect's C++ classes: DefOp, MixOp, SelectOp, MergeOp, MapOp, ReturnOp, the type
// ArrayType (printed seq<..> or tensor<..>) and the attributes of Expr.h.
#pragma once

#include "ir/pattern/Expr.h"
#include "ir/pattern/PatternDialect.h.inc"
#include "ir/pattern/PatternEnums.h.inc"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#define GET_TYPEDEF_CLASSES
#include "ir/pattern/PatternTypes.h.inc"

#define GET_OP_CLASSES
#include "ir/pattern/PatternOps.h.inc"

namespace heddle::pattern {

/// The name a value has in the text, without %: an argument's or a result's; empty if it has none.
llvm::StringRef valueName(mlir::Value value);

/// The array type of a value of the dialect.
inline ArrayType arrayType(mlir::Value value) { return mlir::cast<ArrayType>(value.getType()); }

/// Element type by its word: f64 f32 bf16 f16 f8e4m3 f8e5m2 i64 i32 i8 u8; null if unknown.
mlir::Type parseElement(mlir::MLIRContext *context, llvm::StringRef word);
/// The word of an element type; "" for null (a float of the request's dtype).
llvm::StringRef elementWord(mlir::Type element);

} // namespace heddle::pattern
