// Formulas over run-time scalars: evaluation with a fixed stack, and their text.
//   Tq 64 ceildiv Hq *   with Tq = 100, Hq = 8   ->   16   "ceildiv(Tq, 64) * Hq"
#include "runtime/FoldedFormula.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace heddle {
namespace {

struct OpInfo {
  const char *name;
  int precedence; ///< of an infix operator; 0 for a function
};
constexpr std::array<OpInfo, 9> kOps = {{{"", 0},
                                         {"", 0},
                                         {" + ", 1},
                                         {" - ", 1},
                                         {" * ", 2},
                                         {"ceildiv", 0},
                                         {"floordiv", 0},
                                         {"min", 0},
                                         {"max", 0}}};
constexpr int kAtom = 3;

int64_t floorDiv(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

/// Nothing on overflow or division by zero.
std::optional<int64_t> apply(Formula::Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
  case Formula::Add:
    return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Formula::Sub:
    return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Formula::Mul:
    return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Formula::Min:
    return std::min(a, b);
  case Formula::Max:
    return std::max(a, b);
  case Formula::CeilDiv:
  case Formula::FloorDiv:
    if (b == 0 || (a == INT64_MIN && b == -1))
      return std::nullopt;
    return floorDiv(a, b) + (op == Formula::CeilDiv && a % b != 0);
  case Formula::Constant:
  case Formula::Scalar:
    break;
  }
  return std::nullopt;
}

Error malformed() {
  return {ErrorCode::CorruptData,
          "found a malformed formula in an artifact, expected postfix steps "
          "over its scalars that leave one value"};
}

} // namespace

Formula Formula::combine(Op op, const Formula &right) const {
  Formula joined = *this;
  joined.steps.insert(joined.steps.end(), right.steps.begin(), right.steps.end());
  joined.steps.push_back({op, 0});
  return joined;
}

Result<int64_t> Formula::evaluate(std::span<const int64_t> scalars) const {
  std::array<int64_t, kMaxDepth> stack;
  int depth = 0;
  for (const Step &step : steps) {
    if (step.op == Constant || step.op == Scalar) {
      const bool known = step.op == Constant ||
                         (step.value >= 0 && step.value < static_cast<int64_t>(scalars.size()));
      if (!known || depth == kMaxDepth)
        return malformed();
      stack[depth++] = step.op == Constant ? step.value : scalars[step.value];
      continue;
    }
    if (step.op > Max || depth < 2)
      return malformed();
    const int64_t a = stack[depth - 2], b = stack[depth - 1];
    const std::optional<int64_t> result = apply(step.op, a, b);
    if (!result)
      return Error{
          ErrorCode::InvalidArgument,
          fmt::format("found {}{}{}, which overflows or divides by zero; the extents of the "
                      "tensors or the parameters are too large",
                      a, kOps[step.op].precedence ? kOps[step.op].name : " / ", b)};
    stack[--depth - 1] = *result;
  }
  if (depth != 1)
    return malformed();
  return stack[0];
}

bool Formula::readsScalars() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const Step &step) { return step.op == Scalar; });
}

FoldedFormula::FoldedFormula(const Formula &given) : kind(Walk), formula(&given) {
  if (given.steps.size() == 1 && given.readsScalars()) {
    kind = OneScalar;
    operand = given.steps[0].value;
  } else if (!given.readsScalars()) {
    const Result<int64_t> number = given.evaluate({});
    kind = number.ok() ? Number : Walk;
    operand = number.ok() ? *number : 0;
  }
}

bool FoldedFormula::walk(std::span<const int64_t> scalars, int64_t &value) const {
  std::array<int64_t, Formula::kMaxDepth> stack;
  int depth = 0; // within bounds: the formula was validated
  for (const Formula::Step &step : formula->steps) {
    if (step.op == Formula::Constant || step.op == Formula::Scalar) {
      stack[depth++] = step.op == Formula::Constant ? step.value : scalars[step.value];
      continue;
    }
    const std::optional<int64_t> result = apply(step.op, stack[depth - 2], stack[depth - 1]);
    if (!result)
      return false;
    stack[--depth - 1] = *result;
  }
  value = stack[0];
  return true;
}

Error FoldedFormula::reason(std::span<const int64_t> scalars) const {
  const Result<int64_t> failed = formula->evaluate(scalars);
  return failed.ok() ? malformed() : failed.error();
}

std::string Formula::toString(std::span<const std::string> names) const {
  struct Part {
    std::string text;
    int precedence;
  };
  std::vector<Part> stack;
  const auto bracketed = [](const Part &part, int above) {
    return part.precedence < above ? "(" + part.text + ")" : part.text;
  };
  for (const Step &step : steps) {
    if (step.op == Constant) {
      stack.push_back({fmt::format("{}", step.value), kAtom});
      continue;
    }
    if (step.op == Scalar) {
      if (step.value < 0 || step.value >= static_cast<int64_t>(names.size()))
        return "malformed";
      stack.push_back({names[step.value], kAtom});
      continue;
    }
    if (step.op > Max || stack.size() < 2)
      return "malformed";
    const Part right = stack.back();
    stack.pop_back();
    const OpInfo &op = kOps[step.op];
    Part &left = stack.back();
    if (op.precedence == 0)
      left = {fmt::format("{}({}, {})", op.name, left.text, right.text), kAtom};
    else // a right operand of equal precedence keeps its brackets: a - (b - c)
      left = {bracketed(left, op.precedence) + op.name + bracketed(right, op.precedence + 1),
              op.precedence};
  }
  return stack.size() == 1 ? stack[0].text : "malformed";
}

} // namespace heddle
