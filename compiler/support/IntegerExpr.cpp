// Which expressions of the pattern language are integers (or conditions on integers) that can be
// computed before the loop over keys, from run-time scalars alone.
//
//   (W - 1) // 2, len[b], Tk - Tq  yes        doc[b, j], W * 0.5, sum[..]  no
#include "compiler/support/IntegerExpr.h"

namespace heddle::compiler {

using pattern::ExprKind;

bool isIntegerScalar(Expr expr, const SupportNames &names, bool withRow) {
  auto children = [&](size_t first = 0) {
    for (size_t k = first; k < expr.size(); ++k)
      if (!isIntegerScalar(expr[k], names, withRow))
        return false;
    return true;
  };
  switch (expr.getKind()) {
  case ExprKind::Integer:
  case ExprKind::Dim:
    return true;
  case ExprKind::Param:
    return !llvm::is_contained(names.reals, expr.getName());
  case ExprKind::Var:
    return llvm::is_contained(names.invariant, expr.getName()) ||
           (withRow && expr.getName() == names.row);
  case ExprKind::Neg:
  case ExprKind::Add:
  case ExprKind::Sub:
  case ExprKind::Mul:
  case ExprKind::FloorDiv:
  case ExprKind::Mod:
    return children();
  case ExprKind::Call:
    if (expr.getName() == "select")
      return isConditionScalar(expr[0], names) && children(1);
    return llvm::StringSwitch<bool>(expr.getName())
               .Cases({"min", "max", "abs", "cdiv", "ascending"}, true)
               .Default(false) &&
           children();
  case ExprKind::Read:
    return llvm::is_contained(names.integers, expr.getName()) && children();
  default:
    return false;
  }
}

bool isConditionScalar(Expr expr, const SupportNames &names) {
  switch (expr.getKind()) {
  case ExprKind::Bool:
    return true;
  case ExprKind::Not:
    return isConditionScalar(expr[0], names);
  case ExprKind::And:
  case ExprKind::Or:
    return isConditionScalar(expr[0], names) && isConditionScalar(expr[1], names);
  default:
    return pattern::isComparison(expr.getKind()) && isIntegerScalar(expr[0], names) &&
           isIntegerScalar(expr[1], names);
  }
}

} // namespace heddle::compiler
