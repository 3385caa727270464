// The integer algebra of numbers: the bounds of a support for given values of its scalars.
#pragma once

#include "compiler/support/Bounds.h"
#include "compiler/support/IntegerExpr.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace heddle::compiler {

/// Bounds.h over int64_t. Scalars and tensors come from callbacks that outlive it.
class NumberAlgebra {
public:
  using Value = int64_t;
  using Bool = bool;
  using ScalarLookup = llvm::function_ref<int64_t(llvm::StringRef)>;
  using TensorLookup = llvm::function_ref<int64_t(llvm::StringRef, llvm::ArrayRef<int64_t>)>;

  NumberAlgebra(ScalarLookup scalars, TensorLookup tensors) : scalars(scalars), tensors(tensors) {}

  Value constant(int64_t value) { return value; }
  Value add(Value x, Value y) { return x + y; }
  Value sub(Value x, Value y) { return x - y; }
  Value mul(Value x, Value y) { return x * y; }
  Value floorDiv(Value x, Value y) {
    return y == 0 ? 0 : x / y - (x % y != 0 && (x < 0) != (y < 0));
  }
  Value mod(Value x, Value y) { return y == 0 ? 0 : x - y * floorDiv(x, y); }
  Value min(Value x, Value y) { return x < y ? x : y; }
  Value max(Value x, Value y) { return x < y ? y : x; }
  Value select(Bool c, Value x, Value y) { return c ? x : y; }
  Bool lessEqual(Value x, Value y) { return x <= y; }
  Bool equal(Value x, Value y) { return x == y; }
  Bool both(Bool x, Bool y) { return x && y; }
  Bool either(Bool x, Bool y) { return x || y; }
  Bool negate(Bool x) { return !x; }
  Bool truth(bool value) { return value; }
  Value scalar(llvm::StringRef name) { return scalars(name); }
  Value read(llvm::StringRef tensor, llvm::ArrayRef<Value> indices) {
    return tensors(tensor, indices);
  }

  Value evaluate(Expr expr) { return IntegerExpr<NumberAlgebra>(*this).integer(expr); }
  Value evaluateAt(Expr expr, Value row) {
    return IntegerExpr<NumberAlgebra>(*this, row).integer(expr);
  }
  Bool holds(Expr expr) { return IntegerExpr<NumberAlgebra>(*this).condition(expr); }

private:
  ScalarLookup scalars;
  TensorLookup tensors;
};

} // namespace heddle::compiler
