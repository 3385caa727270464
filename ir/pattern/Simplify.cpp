// simplify(): constants folded, neutral elements dropped, integer sums collected.
//   (Tk - Tq + Tq) * 1  ->  Tk        2 * n + n  ->  3 * n        exp(0.0) * x  ->  1.0 * x  ->  x
// Real arithmetic is folded in double where all operands are constants, and never reordered.
#include "ir/pattern/ExprUtils.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

using namespace mlir;

namespace heddle::pattern {

namespace {

bool isConstant(ExprAttr expr) {
  return expr.is(ExprKind::Integer) || expr.is(ExprKind::Float) || expr.is(ExprKind::Bool);
}

bool isNumber(ExprAttr expr, double value) {
  return (expr.is(ExprKind::Integer) && double(expr.integer()) == value) ||
         (expr.is(ExprKind::Float) && expr.number() == value);
}

bool isTruth(ExprAttr expr, bool value) {
  return expr.is(ExprKind::Bool) && expr.boolean() == value;
}

double asDouble(ExprAttr expr) {
  return expr.is(ExprKind::Float) ? expr.number() : double(expr.integer());
}

// True if the value is an integer whatever the types of the scalars: s and x are the names of
// reals.
bool isWhole(ExprAttr expr) {
  switch (expr.getKind()) {
  case ExprKind::Integer:
  case ExprKind::Dim:
    return true;
  case ExprKind::Var:
    return expr.getName() != "s" && expr.getName() != "x";
  case ExprKind::Neg:
  case ExprKind::Add:
  case ExprKind::Sub:
  case ExprKind::Mul:
  case ExprKind::FloorDiv:
  case ExprKind::Mod:
    return llvm::all_of(expr.children(), isWhole);
  case ExprKind::Call: {
    const Function *function = findFunction(expr.getName());
    return function && (function->rule == Function::Whole || function->rule == Function::Rounded);
  }
  default:
    return false;
  }
}

//===--- sums of integers ---===//

struct Sum {
  std::map<std::string, std::pair<ExprAttr, int64_t>> terms; ///< by text, so the order is fixed
  int64_t constant = 0;
  bool overflow = false;

  void add(ExprAttr expr, int64_t factor) {
    int64_t product = 0;
    switch (expr.getKind()) {
    case ExprKind::Integer:
      overflow |= __builtin_mul_overflow(expr.integer(), factor, &product) ||
                  __builtin_add_overflow(constant, product, &constant);
      return;
    case ExprKind::Add:
      add(expr[0], factor);
      add(expr[1], factor);
      return;
    case ExprKind::Sub:
      add(expr[0], factor);
      add(expr[1], -factor);
      return;
    case ExprKind::Neg:
      add(expr[0], -factor);
      return;
    case ExprKind::Mul:
      for (int side : {0, 1}) {
        if (!expr[side].is(ExprKind::Integer))
          continue;
        overflow |= __builtin_mul_overflow(expr[side].integer(), factor, &product);
        return add(expr[1 - side], product);
      }
      break;
    default:
      break;
    }
    auto &term = terms.try_emplace(expr.str(), expr, 0).first->second;
    overflow |= __builtin_add_overflow(term.second, factor, &term.second);
  }

  ExprAttr build(MLIRContext *context) const {
    ExprAttr out;
    for (const auto &[text, term] : terms) {
      auto [expr, factor] = term;
      if (factor == 0 || factor == std::numeric_limits<int64_t>::min())
        continue;
      int64_t size = std::abs(factor);
      ExprAttr part =
          size == 1 ? expr : makeBinary(ExprKind::Mul, makeInteger(context, size), expr);
      if (out)
        out = makeBinary(factor < 0 ? ExprKind::Sub : ExprKind::Add, out, part);
      else
        out = factor < 0 ? makeUnary(ExprKind::Neg, part) : part;
    }
    if (!out)
      return makeInteger(context, constant);
    if (constant == 0)
      return out;
    bool minus = constant < 0 && constant != std::numeric_limits<int64_t>::min();
    return makeBinary(minus ? ExprKind::Sub : ExprKind::Add, out,
                      makeInteger(context, minus ? -constant : constant));
  }
};

//===--- one node ---===//

ExprAttr foldReal(ExprAttr expr) {
  double value = 0;
  if (expr.is(ExprKind::Call)) {
    const Function *function = findFunction(expr.getName());
    if (function->rule != Function::Real && function->rule != Function::Same)
      return expr;
    SmallVector<double> arguments;
    for (ExprAttr child : expr.children())
      arguments.push_back(asDouble(child));
    value = applyFunction(expr.getName(), arguments);
  } else {
    double a = asDouble(expr[0]), b = asDouble(expr[1]);
    switch (expr.getKind()) {
    case ExprKind::Add:
      value = a + b;
      break;
    case ExprKind::Sub:
      value = a - b;
      break;
    case ExprKind::Mul:
      value = a * b;
      break;
    case ExprKind::Div:
      value = a / b;
      break;
    default:
      return expr;
    }
  }
  return std::isfinite(value) ? makeFloat(expr.getContext(), value) : expr;
}

ExprAttr foldConstants(ExprAttr expr) {
  std::vector<ExprAttr> children = expr.children();
  if (children.empty() || !llvm::all_of(children, isConstant))
    return expr;
  MLIRContext *context = expr.getContext();
  bool whole = llvm::none_of(children, [](ExprAttr c) { return c.is(ExprKind::Float); });
  bool logical = isComparison(expr.getKind()) || expr.is(ExprKind::And) || expr.is(ExprKind::Or) ||
                 expr.is(ExprKind::Not);
  const Function *function = expr.is(ExprKind::Call) ? findFunction(expr.getName()) : nullptr;
  bool real = expr.is(ExprKind::Div) || (function && function->rule == Function::Real);
  if (whole && !real) {
    auto value = evaluateInteger(expr, [](StringRef) { return std::nullopt; });
    if (!value)
      return expr;
    bool truth = function && function->rule == Function::Choice && children[1].is(ExprKind::Bool);
    return logical || truth ? makeBool(context, *value != 0) : makeInteger(context, *value);
  }
  bool numbers = llvm::none_of(children, [](ExprAttr c) { return c.is(ExprKind::Bool); });
  bool foldable = function || (expr.getKind() >= ExprKind::Add && expr.getKind() <= ExprKind::Div);
  return numbers && foldable ? foldReal(expr) : expr;
}

ExprAttr dropNeutral(ExprAttr expr) {
  ExprAttr a = expr.size() > 0 ? expr[0] : ExprAttr();
  ExprAttr b = expr.size() > 1 ? expr[1] : ExprAttr();
  switch (expr.getKind()) {
  case ExprKind::Add:
    return isNumber(b, 0) && b.is(ExprKind::Integer)   ? a
           : isNumber(a, 0) && a.is(ExprKind::Integer) ? b
                                                       : expr;
  case ExprKind::Sub:
    return b.isInteger(0) ? a : expr;
  case ExprKind::Mul:
    return isNumber(b, 1) ? a : isNumber(a, 1) ? b : expr;
  case ExprKind::FloorDiv:
    return b.isInteger(1) && isWhole(a) ? a : expr;
  case ExprKind::Mod:
    return b.isInteger(1) && isWhole(a) ? makeInteger(expr.getContext(), 0) : expr;
  case ExprKind::Neg:
    return a.is(ExprKind::Neg) ? a[0] : expr;
  case ExprKind::Not:
    return a.is(ExprKind::Not) ? a[0] : expr;
  case ExprKind::And:
    if (isTruth(a, false) || isTruth(b, true) || a == b)
      return a;
    return isTruth(a, true) || isTruth(b, false) ? b : expr;
  case ExprKind::Or:
    if (isTruth(a, true) || isTruth(b, false) || a == b)
      return a;
    return isTruth(a, false) || isTruth(b, true) ? b : expr;
  case ExprKind::Call:
    if (expr.getName() == "select" && a.is(ExprKind::Bool))
      return a.boolean() ? b : expr[2];
    if (expr.getName() == "cdiv" && b.isInteger(1))
      return a;
    return expr;
  default:
    return expr;
  }
}

ExprAttr collectSum(ExprAttr expr) {
  bool sum = expr.is(ExprKind::Add) || expr.is(ExprKind::Sub) || expr.is(ExprKind::Neg) ||
             expr.is(ExprKind::Mul);
  if (!sum || !isWhole(expr))
    return expr;
  Sum collected;
  collected.add(expr, 1);
  return collected.overflow ? expr : collected.build(expr.getContext());
}

ExprAttr simplifyTree(ExprAttr expr) {
  // A Member's row stays a Read; everything else may become any expression.
  return collectSum(dropNeutral(foldConstants(mapChildren(expr, simplifyTree))));
}

} // namespace

ExprAttr simplify(ExprAttr expr) {
  // A step may enable another one level up, so repeat until nothing changes (a few rounds at most).
  for (ExprAttr last; last != expr;) {
    last = expr;
    expr = simplifyTree(expr);
  }
  return expr;
}

} // namespace heddle::pattern
