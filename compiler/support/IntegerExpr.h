// Integer expressions of the pattern language over an integer algebra (Bounds.h): one meaning for
// numbers and for arith values. An algebra has, besides what Bounds.h asks for:
//   Value mod(Value, Value) (as floorDiv: floor semantics; a divisor of 0 gives 0, no trap)
//   Bool equal(Value, Value), either(Bool, Bool), negate(Bool), truth(bool)
//   Value scalar(StringRef)                            a parameter, a dim, b or h
//   Value read(StringRef tensor, ArrayRef<Value>)      an integer element; 0 outside the tensor
#pragma once

#include "compiler/support/Zone.h"

#include "llvm/ADT/StringSwitch.h"

#include <cassert>
#include <optional>

namespace heddle::compiler {

/// True if evaluateInteger can compute `expr` from run-time scalars, the position i (only with
/// `withRow`) and integer tensors.
bool isIntegerScalar(Expr expr, const SupportNames &names, bool withRow = false);
/// True if evaluateCondition can: comparisons of such integers joined by and, or, not.
bool isConditionScalar(Expr expr, const SupportNames &names);

template <typename A> class IntegerExpr {
public:
  using Value = typename A::Value;
  using Bool = typename A::Bool;
  using Kind = pattern::ExprKind;

  /// `row`, if given, is the value of the variable `rowName`.
  IntegerExpr(A &algebra, std::optional<Value> row = {}, llvm::StringRef rowName = "i")
      : a(algebra), row(row), rowName(rowName) {}

  Value integer(Expr expr) {
    switch (expr.getKind()) {
    case Kind::Integer:
      return a.constant(expr.integer());
    case Kind::Var:
      if (row && expr.getName() == rowName)
        return *row;
      [[fallthrough]];
    case Kind::Param:
    case Kind::Dim:
      return a.scalar(expr.getName());
    case Kind::Neg:
      return a.sub(a.constant(0), integer(expr[0]));
    case Kind::Add:
      return a.add(integer(expr[0]), integer(expr[1]));
    case Kind::Sub:
      return a.sub(integer(expr[0]), integer(expr[1]));
    case Kind::Mul:
      return a.mul(integer(expr[0]), integer(expr[1]));
    case Kind::FloorDiv:
      return a.floorDiv(integer(expr[0]), integer(expr[1]));
    case Kind::Mod:
      return a.mod(integer(expr[0]), integer(expr[1]));
    case Kind::Call:
      return call(expr);
    case Kind::Read: {
      llvm::SmallVector<Value, 4> indices;
      for (Expr index : expr.children())
        indices.push_back(integer(index));
      return a.read(expr.getName(), indices);
    }
    default:
      assert(false && "not an integer expression: isIntegerScalar was not asked");
      return a.constant(0);
    }
  }

  Bool condition(Expr expr) {
    switch (expr.getKind()) {
    case Kind::Bool:
      return a.truth(expr.boolean());
    case Kind::Not:
      return a.negate(condition(expr[0]));
    case Kind::And:
      return a.both(condition(expr[0]), condition(expr[1]));
    case Kind::Or:
      return a.either(condition(expr[0]), condition(expr[1]));
    case Kind::Le:
      return a.lessEqual(integer(expr[0]), integer(expr[1]));
    case Kind::Ge:
      return a.lessEqual(integer(expr[1]), integer(expr[0]));
    case Kind::Gt:
      return a.negate(a.lessEqual(integer(expr[0]), integer(expr[1])));
    case Kind::Lt:
      return a.negate(a.lessEqual(integer(expr[1]), integer(expr[0])));
    case Kind::Eq:
      return a.equal(integer(expr[0]), integer(expr[1]));
    case Kind::Ne:
      return a.negate(a.equal(integer(expr[0]), integer(expr[1])));
    default:
      assert(false && "not a condition: isConditionScalar was not asked");
      return a.truth(false);
    }
  }

private:
  Value call(Expr expr) {
    llvm::StringRef name = expr.getName();
    if (name == "select")
      return a.select(condition(expr[0]), integer(expr[1]), integer(expr[2]));
    Value x = integer(expr[0]);
    if (name == "ascending")
      return x;
    if (name == "abs")
      return a.max(x, a.sub(a.constant(0), x));
    Value y = integer(expr[1]);
    if (name == "cdiv") // -((-x) // y)
      return a.sub(a.constant(0), a.floorDiv(a.sub(a.constant(0), x), y));
    bool isMin = name == "min";
    assert((isMin || name == "max") && "not an integer function: isIntegerScalar was not asked");
    for (size_t k = 1; k < expr.size(); ++k) {
      y = integer(expr[k]);
      x = isMin ? a.min(x, y) : a.max(x, y);
    }
    return x;
  }

  A &a;
  std::optional<Value> row;
  llvm::StringRef rowName;
};

} // namespace heddle::compiler
