// Expressions of the pattern language: an immutable tree, uniqued by the context (equal trees are
// the same pointer). Every index and extent is an integer; arithmetic on tensors' elements is real.
//
// Kinds and their children:
//   Integer Float Bool      a constant
//   Var Param Dim           a name: bound index or score (i, j, h, s, ...), parameter or let,
//   extent Neg Not                 one operand Add Sub Mul Div FloorDiv Mod   two operands. Div is
//   real division whatever its operands;
//                           FloorDiv and Mod round towards -inf, as in Python
//   Lt Le Gt Ge Eq Ne       two numbers, gives a truth value
//   And Or                  two truth values
//   Call                    getName() is the function; functions are listed in ExprUtils.h
//   Read                    getName()[children]: an element of a tensor. As many children as the
//   type
//                           has dims: the batch index is that of the result. One more: the first is
//                           the batch index. An index out of range reads 0
//   Member                  child 0 is a value, child 1 a Read that lacks its last index: true if
//                           the value stands in that row of the tensor
//   Sum Prod Max Min Any All ArgMax ArgMin   a reduction: children lo, hi (exclusive), body;
//   getName()
//                           is the bound index. Empty: 0, 1, -inf, +inf, false, true, -1, -1
//   Let                     getName() is bound to child 0 inside child 1
#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"
#include "mlir/IR/Attributes.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/DialectImplementation.h"

#include <cstdint>
#include <string>

namespace heddle::pattern {

enum class ExprKind : uint8_t {
  Integer,
  Float,
  Bool,
  Var,
  Param,
  Dim,
  Neg,
  Not,
  Add,
  Sub,
  Mul,
  Div,
  FloorDiv,
  Mod,
  Lt,
  Le,
  Gt,
  Ge,
  Eq,
  Ne,
  And,
  Or,
  Call,
  Read,
  Member,
  Sum,
  Prod,
  Max,
  Min,
  Any,
  All,
  ArgMax,
  ArgMin,
  Let,
};

inline llvm::hash_code hash_value(ExprKind kind) { return llvm::hash_value(uint8_t(kind)); }
bool isReduction(ExprKind kind);
bool isComparison(ExprKind kind);
/// "Add", "ArgMax": for messages and tests.
llvm::StringRef kindName(ExprKind kind);

} // namespace heddle::pattern

#define GET_ATTRDEF_CLASSES
#include "ir/pattern/PatternAttrs.h.inc"

namespace heddle::pattern {

// Factories. They build exactly the tree that is asked for: no folding (see ExprUtils.h).
ExprAttr makeInteger(mlir::MLIRContext *context, int64_t value);
/// `value` is finite.
ExprAttr makeFloat(mlir::MLIRContext *context, double value);
ExprAttr makeBool(mlir::MLIRContext *context, bool value);
ExprAttr makeVar(mlir::MLIRContext *context, llvm::StringRef name);
ExprAttr makeParam(mlir::MLIRContext *context, llvm::StringRef name);
ExprAttr makeDim(mlir::MLIRContext *context, llvm::StringRef name);
/// Neg or Not.
ExprAttr makeUnary(ExprKind kind, ExprAttr operand);
/// Add..Or.
ExprAttr makeBinary(ExprKind kind, ExprAttr left, ExprAttr right);
ExprAttr makeCall(mlir::MLIRContext *context, llvm::StringRef function,
                  llvm::ArrayRef<ExprAttr> arguments);
ExprAttr makeRead(mlir::MLIRContext *context, llvm::StringRef tensor,
                  llvm::ArrayRef<ExprAttr> indices);
ExprAttr makeMember(ExprAttr value, ExprAttr row);
/// Sum..ArgMin over name in [lo, hi).
ExprAttr makeReduction(ExprKind kind, llvm::StringRef name, ExprAttr lo, ExprAttr hi,
                       ExprAttr body);
ExprAttr makeLet(llvm::StringRef name, ExprAttr value, ExprAttr body);

/// Visits `expr` and all below it, parents first; `visit` returns false to skip the children.
void walk(ExprAttr expr, llvm::function_ref<bool(ExprAttr)> visit);

/// Prints the text that parses to the same tree inside a pattern. With `marked`, parameters and
/// dims print as param(W) and dim(D), comparisons as words and ranges as sum[n, lo, hi], so that
/// the text can stand in an attribute, without a scope.
void print(ExprAttr expr, llvm::raw_ostream &os, bool marked = false);

} // namespace heddle::pattern
