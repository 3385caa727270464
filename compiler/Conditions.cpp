// Expressions of extents as formulas, and conditions on them.
//   where Hv mod Hk == 0          ->  Hv - floordiv(Hv, Hk) * Hk = 0
//   layout ring .. keep { n }     ->  n + 1 <= R, the slots of the ring
#include "compiler/Conditions.h"

#include "ir/pattern/ExprUtils.h"

#include <fmt/format.h>

#include <optional>

namespace heddle::compiler {
namespace {

using pattern::ExprAttr;
using pattern::ExprKind;

class FormulaReader {
public:
  FormulaReader(pattern::DefOp def, const FormulaOfName &named) : def(def), named(named) {}

  Result<Formula> read(ExprAttr expr) {
    switch (expr.getKind()) {
    case ExprKind::Integer:
      return Formula::constant(expr.integer());
    case ExprKind::Dim:
      return named(expr.getName().str());
    case ExprKind::Param:
    case ExprKind::Var:
      if (pattern::LetAttr let = def.let(expr.getName()))
        return read(let.getExpr());
      if (pattern::ParamAttr param = def.param(expr.getName()); param && !param.getInteger())
        break;
      return named(expr.getName().str());
    case ExprKind::Add:
      return binary(expr, Formula::Add);
    case ExprKind::Sub:
      return binary(expr, Formula::Sub);
    case ExprKind::Mul:
      return binary(expr, Formula::Mul);
    case ExprKind::FloorDiv:
      return binary(expr, Formula::FloorDiv);
    case ExprKind::Mod:
      return remainder(expr);
    case ExprKind::Call:
      if (expr.size() == 2 && expr.getName() == "cdiv")
        return binary(expr, Formula::CeilDiv);
      if (expr.size() == 2 && expr.getName() == "min")
        return binary(expr, Formula::Min);
      if (expr.size() == 2 && expr.getName() == "max")
        return binary(expr, Formula::Max);
      if (expr.getName() == "binom" && isSmall(expr[1]))
        return choices(expr[0], pattern::simplify(expr[1]).integer());
      break;
    default:
      break;
    }
    return Error{
        ErrorCode::Unsupported,
        fmt::format("the extent '{}' uses more than + - * div mod cdiv min max", expr.str())};
  }

private:
  Result<Formula> binary(ExprAttr expr, Formula::Op op) {
    HEDDLE_TRY(left, read(expr[0]));
    HEDDLE_TRY(right, read(expr[1]));
    return left.combine(op, right);
  }

  Result<Formula> remainder(ExprAttr expr) {
    HEDDLE_TRY(left, read(expr[0]));
    HEDDLE_TRY(right, read(expr[1]));
    return left.combine(Formula::Sub,
                        left.combine(Formula::FloorDiv, right).combine(Formula::Mul, right));
  }

  static bool isSmall(ExprAttr expr) {
    ExprAttr known = pattern::simplify(expr);
    return known.is(ExprKind::Integer) && known.integer() >= 0 && known.integer() <= 4;
  }

  /// n (n - 1) .. (n - k + 1) / k!
  Result<Formula> choices(ExprAttr n, int64_t k) {
    HEDDLE_TRY(count, read(n));
    Formula product = Formula::constant(1);
    int64_t factorial = 1;
    for (int64_t x = 0; x < k; ++x) {
      product = product.combine(Formula::Mul, count.combine(Formula::Sub, Formula::constant(x)));
      factorial *= x + 1;
    }
    return product.combine(Formula::FloorDiv, Formula::constant(factorial));
  }

  pattern::DefOp def;
  const FormulaOfName &named;
};

/// A comparison of integers; nothing for other conditions.
std::optional<Constraint> constraintOf(pattern::DefOp def, ExprAttr expr,
                                       const FormulaOfName &named) {
  if (!pattern::isComparison(expr.getKind()) || expr.is(ExprKind::Ne))
    return std::nullopt;
  Result<Formula> left = formulaOf(def, expr[0], named), right = formulaOf(def, expr[1], named);
  if (!left.ok() || !right.ok())
    return std::nullopt;
  if (expr.is(ExprKind::Ge) || expr.is(ExprKind::Gt))
    std::swap(*left, *right);
  if (expr.is(ExprKind::Lt) || expr.is(ExprKind::Gt))
    *left = left->combine(Formula::Add, Formula::constant(1));
  return Constraint{expr.is(ExprKind::Eq) ? Constraint::Equal : Constraint::AtMost, *left, *right,
                    expr.str()};
}

} // namespace

Result<Formula> formulaOf(pattern::DefOp def, ExprAttr expr, const FormulaOfName &named) {
  return FormulaReader(def, named).read(expr);
}

std::vector<Constraint> conditionsOf(pattern::DefOp def, const FormulaOfName &named) {
  std::vector<ExprAttr> conditions;
  for (mlir::Attribute condition : def.getConditions())
    conditions.push_back(mlir::cast<ExprAttr>(condition));
  for (auto mix : def.getBody().front().getOps<pattern::MixOp>())
    if (mix.getLayout() == pattern::LayoutKind::ring && mix.getRingKeepAttr())
      conditions.push_back(pattern::makeBinary(ExprKind::Lt, mix.getRingKeepAttr(),
                                               pattern::arrayType(mix.getK()).dim(0)));
  std::vector<Constraint> found;
  for (ExprAttr condition : conditions)
    if (std::optional<Constraint> constraint = constraintOf(def, condition, named))
      found.push_back(std::move(*constraint));
  return found;
}

Status addConditions(Artifact &artifact, pattern::DefOp def,
                     const std::map<std::string, double> &constants) {
  const auto named = [&](const std::string &name) -> Result<Formula> {
    if (auto fixed = artifact.staticDims.find(name); fixed != artifact.staticDims.end())
      return Formula::constant(fixed->second);
    if (auto given = constants.find(name); given != constants.end())
      return Formula::constant(static_cast<int64_t>(given->second));
    for (size_t n = 0; n < artifact.scalars.size(); ++n)
      if (artifact.scalars[n].name == name &&
          artifact.scalars[n].kind != ScalarInfo::FloatParameter)
        return Formula::scalar(static_cast<int64_t>(n));
    pattern::ParamAttr param = def.param(name);
    if (param && param.getConstant() && param.getInteger() && !param.required())
      return Formula::constant(static_cast<int64_t>(param.number()));
    return Error{ErrorCode::NotFound, name};
  };
  for (Constraint &condition : conditionsOf(def, named)) {
    if (condition.left.readsScalars() || condition.right.readsScalars()) {
      artifact.constraints.push_back(std::move(condition));
      continue;
    }
    HEDDLE_CHECK(checkCondition(condition, {}, artifact.name));
  }
  return {};
}

} // namespace heddle::compiler
