// Short names for building expressions, to be read like the formulas they make.
#pragma once

#include "ir/pattern/ExprUtils.h"

#include <initializer_list>
#include <string>
#include <utility>

namespace heddle::compiler::terms {

using Expr = pattern::ExprAttr;

/// tensor[at..]; at least one index.
inline Expr read(llvm::StringRef tensor, llvm::ArrayRef<Expr> at) {
  return pattern::makeRead(at.front().getContext(), tensor, at);
}
/// function(x..); at least one argument.
inline Expr call(const char *function, llvm::ArrayRef<Expr> x) {
  return pattern::makeCall(x.front().getContext(), function, x);
}
inline Expr sumOf(Expr x, Expr y) { return pattern::makeBinary(pattern::ExprKind::Add, x, y); }
inline Expr times(Expr x, Expr y) { return pattern::makeBinary(pattern::ExprKind::Mul, x, y); }
inline Expr minus(Expr x, Expr y) { return pattern::makeBinary(pattern::ExprKind::Sub, x, y); }

/// floor(h own / all): the head of what has `own` heads that head h of `all` reads.
inline Expr headOf(Expr h, Expr own, Expr all) {
  using pattern::ExprKind;
  if (own == all)
    return h;
  const bool known = own.is(ExprKind::Integer) && all.is(ExprKind::Integer);
  if (known && own.integer() == 1)
    return pattern::makeInteger(h.getContext(), 0);
  if (known && own.integer() > 0 && all.integer() % own.integer() == 0)
    return pattern::makeBinary(ExprKind::FloorDiv, h,
                               pattern::makeInteger(h.getContext(), all.integer() / own.integer()));
  return pattern::makeBinary(ExprKind::FloorDiv, times(h, own), all);
}

/// Whether the variable is free in the expression.
inline bool mentions(Expr expr, llvm::StringRef name) {
  return llvm::is_contained(pattern::freeVars(expr), name);
}

/// `expr` (null stays null) with variables replaced.
inline Expr rename(Expr expr, std::initializer_list<std::pair<std::string, Expr>> names) {
  llvm::StringMap<Expr> map;
  for (const auto &[name, value] : names)
    map[name] = value;
  return expr ? pattern::substitute(expr, map) : expr;
}

/// A condition with each of these true or false where `and` and `or` alone lie above it.
inline Expr assume(Expr expr, llvm::ArrayRef<Expr> conditions, bool truth) {
  if (llvm::is_contained(conditions, expr))
    return pattern::makeBool(expr.getContext(), truth);
  if (!expr.is(pattern::ExprKind::And) && !expr.is(pattern::ExprKind::Or))
    return expr;
  Expr left = assume(expr[0], conditions, truth), right = assume(expr[1], conditions, truth);
  return pattern::simplify(pattern::makeBinary(expr.getKind(), left, right));
}

} // namespace heddle::compiler::terms
