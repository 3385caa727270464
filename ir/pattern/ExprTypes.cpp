// Types of expressions and the table of functions.
//   typeOf(j <= i)  is Boolean;  typeOf(k[j, h, d] * 2)  is Real;  typeOf(1 + (i < j))  is a
//   mistake
// Integers are promoted to reals, truth values never are.
#include "ir/pattern/ExprUtils.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;

namespace heddle::pattern {

llvm::StringRef toString(ExprType type) {
  static constexpr const char *kNames[] = {"an integer", "a real number", "a truth value"};
  return kNames[int(type)];
}

static constexpr int kAny = 16;
static constexpr Function kFunctions[] = {
    {"exp", 1, 1, Function::Real, "exp(x)"},
    {"exp2", 1, 1, Function::Real, "2 to the x"},
    {"log", 1, 1, Function::Real, "natural logarithm; log(0) is -inf"},
    {"log2", 1, 1, Function::Real, "logarithm to base 2"},
    {"pow", 2, 2, Function::Real, "x to the y"},
    {"sqrt", 1, 1, Function::Real, "square root"},
    {"rsqrt", 1, 1, Function::Real, "1 / sqrt(x)"},
    {"tanh", 1, 1, Function::Real, "hyperbolic tangent"},
    {"sigmoid", 1, 1, Function::Real, "1 / (1 + exp(-x))"},
    {"softplus", 1, 1, Function::Real, "log(1 + exp(x))"},
    {"silu", 1, 1, Function::Real, "x * sigmoid(x)"},
    {"relu", 1, 1, Function::Same, "max(x, 0)"},
    {"sin", 1, 1, Function::Real, "sine, of radians"},
    {"cos", 1, 1, Function::Real, "cosine, of radians"},
    {"erf", 1, 1, Function::Real, "error function"},
    {"abs", 1, 1, Function::Same, "absolute value"},
    {"sign", 1, 1, Function::Same, "-1, 0 or 1"},
    {"min", 2, kAny, Function::Same, "smallest argument"},
    {"max", 2, kAny, Function::Same, "largest argument"},
    {"clamp", 3, 3, Function::Same, "clamp(x, lo, hi) = min(max(x, lo), hi)"},
    {"float", 1, 1, Function::Real, "an integer as a real number"},
    {"floor", 1, 1, Function::Rounded, "largest integer not above x"},
    {"ceil", 1, 1, Function::Rounded, "smallest integer not below x"},
    {"round", 1, 1, Function::Rounded, "nearest integer, half to even"},
    {"int", 1, 1, Function::Rounded, "x without its fraction"},
    {"cdiv", 2, 2, Function::Whole, "a / b rounded up"},
    {"bitand", 2, 2, Function::Whole, "bits in both"},
    {"bitxor", 2, 2, Function::Whole, "bits in one of the two"},
    {"bitlen", 1, 1, Function::Whole, "bits needed for n >= 0; bitlen(0) = 0"},
    {"binom", 2, 2, Function::Whole, "n over k: ways to choose k of n"},
    {"ascending", 1, 1, Function::Whole,
     "n itself, promised never to fall from one row to the next: bounds of loops rely on it"},
    {"depth", 1, 1, Function::Whole, "depth of a node of the tree, a root has 0"},
    {"ancestor", 2, 2, Function::Truth, "ancestor(n, m): m is n or an ancestor of n in the tree"},
    {"select", 3, 3, Function::Choice, "select(condition, a, b)"},
};

ArrayRef<Function> functions() { return kFunctions; }

const Function *findFunction(StringRef name) {
  const Function *found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                       [&](const Function &f) { return name == f.name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

//===--- rules ---===//

template <typename... Args>
static TypeResult mistake(fmt::format_string<Args...> text, Args &&...args) {
  return {std::nullopt, fmt::format(text, std::forward<Args>(args)...)};
}

static bool anyIs(ArrayRef<ExprType> types, ExprType type) {
  return llvm::is_contained(types, type);
}

static ExprType widest(ArrayRef<ExprType> types) {
  return anyIs(types, ExprType::Real) ? ExprType::Real : ExprType::Integer;
}

static TypeResult typeOfName(ExprAttr expr, const TypeScope &scope) {
  auto found = scope.names.find(expr.getName());
  if (found == scope.names.end())
    return mistake("unknown name '{}'", expr.getName().str());
  return {found->second, ""};
}

static TypeResult typeOfCall(ExprAttr expr, ArrayRef<ExprType> types) {
  std::string name = expr.getName().str();
  const Function *function = findFunction(name);
  if (!function)
    return mistake("unknown function '{}'", name);
  int count = int(types.size());
  if (count < function->minArguments || count > function->maxArguments) {
    std::string wanted = function->minArguments == function->maxArguments
                             ? std::to_string(function->minArguments)
                             : fmt::format("{} or more", function->minArguments);
    return mistake("{} has {} argument{}, expected {}: {}", name, count, count == 1 ? "" : "s",
                   wanted, function->help);
  }
  if (function->rule == Function::Choice) {
    if (types[0] != ExprType::Boolean)
      return mistake("the condition of select is {}, expected a truth value such as i < j",
                     toString(types[0]).str());
    if ((types[1] == ExprType::Boolean) != (types[2] == ExprType::Boolean))
      return mistake("select chooses between {} and {}: make both numbers or both truth values",
                     toString(types[1]).str(), toString(types[2]).str());
    return {types[1] == ExprType::Boolean ? types[1] : widest(types.drop_front()), ""};
  }
  if (anyIs(types, ExprType::Boolean))
    return mistake("{} is given a truth value where a number is expected: write select(c, 1, 0)",
                   name);
  bool whole = function->rule == Function::Whole || function->rule == Function::Truth;
  if (whole && anyIs(types, ExprType::Real))
    return mistake("{} is given a real number where an integer is expected: write int(x)", name);
  switch (function->rule) {
  case Function::Real:
    return {ExprType::Real, ""};
  case Function::Same:
    return {widest(types), ""};
  case Function::Truth:
    return {ExprType::Boolean, ""};
  default:
    return {ExprType::Integer, ""};
  }
}

// `missing` counts the indices a Member leaves out: its row is the last axis.
static TypeResult typeOfRead(ExprAttr expr, ArrayRef<ExprType> types, const TypeScope &scope,
                             int64_t missing) {
  std::string name = expr.getName().str();
  auto found = scope.tensors.find(name);
  if (found == scope.tensors.end())
    return mistake("unknown tensor '{}'", name);
  const TypeScope::Tensor &tensor = found->second;
  int64_t given = int64_t(types.size()) + missing;
  if (given != tensor.rank && !(tensor.batched && given == tensor.rank + 1)) {
    std::string batch = tensor.batched ? ", or one more with the batch index first" : "";
    return mistake("{} is read with {} ind{}, expected {}{}", name, types.size(),
                   types.size() == 1 ? "ex" : "ices", std::max<int64_t>(tensor.rank - missing, 0),
                   batch);
  }
  for (size_t n = 0; n < types.size(); ++n)
    if (types[n] != ExprType::Integer)
      return mistake("index {} of {} is {}, expected an integer{}", n + 1, name,
                     toString(types[n]).str(), types[n] == ExprType::Real ? ": write int(x)" : "");
  return {tensor.integers ? ExprType::Integer : ExprType::Real, ""};
}

static TypeResult typeOfReduction(ExprAttr expr, ArrayRef<ExprType> types) {
  std::string word = llvm::StringRef(kindName(expr.getKind())).lower();
  if (types[0] != ExprType::Integer || types[1] != ExprType::Integer)
    return mistake("the range of {} must be integers, found {}", word,
                   toString(types[types[0] != ExprType::Integer ? 0 : 1]).str());
  bool logical = expr.is(ExprKind::Any) || expr.is(ExprKind::All);
  if (logical != (types[2] == ExprType::Boolean))
    return mistake("the body of {} is {}, expected {}", word, toString(types[2]).str(),
                   logical ? "a truth value" : "a number: write select(c, 1, 0)");
  if (logical)
    return {ExprType::Boolean, ""};
  bool index = expr.is(ExprKind::ArgMax) || expr.is(ExprKind::ArgMin);
  // An empty max or min is infinite, so it is real even over integers.
  bool extremum = expr.is(ExprKind::Max) || expr.is(ExprKind::Min);
  if (index)
    return {ExprType::Integer, ""};
  return {extremum ? ExprType::Real : types[2], ""};
}

static TypeResult typeOfInfix(ExprAttr expr, ArrayRef<ExprType> types) {
  ExprKind kind = expr.getKind();
  if (kind == ExprKind::And || kind == ExprKind::Or || kind == ExprKind::Not) {
    std::string word = StringRef(kindName(kind)).lower();
    for (ExprType type : types)
      if (type != ExprType::Boolean)
        return mistake("'{}' joins truth values, found {}: write x <> 0 to test a number", word,
                       toString(type).str());
    return {ExprType::Boolean, ""};
  }
  if (anyIs(types, ExprType::Boolean))
    return mistake("a truth value where a number is expected: comparisons do not chain, and "
                   "select(c, 1, 0) makes a number");
  if (isComparison(kind) || kind == ExprKind::Member)
    return {ExprType::Boolean, ""};
  return {kind == ExprKind::Div ? ExprType::Real : widest(types), ""};
}

TypeResult typeOfNode(ExprAttr expr, ArrayRef<ExprType> types, const TypeScope &scope) {
  switch (expr.getKind()) {
  case ExprKind::Integer:
    return {ExprType::Integer, ""};
  case ExprKind::Float:
    return {ExprType::Real, ""};
  case ExprKind::Bool:
    return {ExprType::Boolean, ""};
  case ExprKind::Var:
  case ExprKind::Param:
  case ExprKind::Dim:
    return typeOfName(expr, scope);
  case ExprKind::Call:
    return typeOfCall(expr, types);
  case ExprKind::Read:
    return typeOfRead(expr, types, scope, 0);
  case ExprKind::Let:
    return {types[1], ""};
  default:
    return isReduction(expr.getKind()) ? typeOfReduction(expr, types) : typeOfInfix(expr, types);
  }
}

//===--- whole trees ---===//

static TypeResult typeOfTree(ExprAttr expr, TypeScope &scope);

// The type of `body` with one more integer or real name.
static TypeResult typeUnder(ExprAttr body, StringRef name, ExprType type, TypeScope &scope) {
  auto outer = scope.names.find(name);
  std::optional<ExprType> saved;
  if (outer != scope.names.end())
    saved = outer->second;
  scope.names[name] = type;
  TypeResult result = typeOfTree(body, scope);
  if (saved)
    scope.names[name] = *saved;
  else
    scope.names.erase(name);
  return result;
}

static TypeResult typeOfTree(ExprAttr expr, TypeScope &scope) {
  SmallVector<ExprType> types;
  bool binds = isReduction(expr.getKind()) || expr.is(ExprKind::Let);
  for (size_t n = 0; n < expr.size(); ++n) {
    TypeResult child;
    if (expr.is(ExprKind::Member) && n == 1) {
      SmallVector<ExprType> indices;
      for (ExprAttr index : expr[1].children()) {
        child = typeOfTree(index, scope);
        if (!child.type)
          return child;
        indices.push_back(*child.type);
      }
      child = typeOfRead(expr[1], indices, scope, 1);
    } else if (binds && n + 1 == expr.size()) {
      ExprType bound = expr.is(ExprKind::Let) ? types[0] : ExprType::Integer;
      child = typeUnder(expr[n], expr.getName(), bound, scope);
    } else {
      child = typeOfTree(expr[n], scope);
    }
    if (!child.type)
      return child;
    types.push_back(*child.type);
  }
  return typeOfNode(expr, types, scope);
}

TypeResult typeOf(ExprAttr expr, const TypeScope &scope) {
  TypeScope local = scope;
  return typeOfTree(expr, local);
}

TypeResult typeOfRow(ExprAttr read, ArrayRef<ExprType> indices, const TypeScope &scope) {
  return typeOfRead(read, indices, scope, 1);
}

//===--- scalar functions ---===//

static double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

double applyFunction(StringRef name, ArrayRef<double> a) {
  double x = a[0];
  if (name == "exp")
    return std::exp(x);
  if (name == "exp2")
    return std::exp2(x);
  if (name == "log")
    return std::log(x);
  if (name == "log2")
    return std::log2(x);
  if (name == "pow")
    return std::pow(x, a[1]);
  if (name == "sqrt")
    return std::sqrt(x);
  if (name == "rsqrt")
    return 1 / std::sqrt(x);
  if (name == "tanh")
    return std::tanh(x);
  if (name == "sigmoid")
    return sigmoid(x);
  if (name == "softplus")
    return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  if (name == "silu")
    return x * sigmoid(x);
  if (name == "relu")
    return std::max(x, 0.0);
  if (name == "sin")
    return std::sin(x);
  if (name == "cos")
    return std::cos(x);
  if (name == "erf")
    return std::erf(x);
  if (name == "abs")
    return std::abs(x);
  if (name == "sign")
    return double(x > 0) - double(x < 0);
  if (name == "min")
    return *std::min_element(a.begin(), a.end());
  if (name == "max")
    return *std::max_element(a.begin(), a.end());
  if (name == "clamp")
    return std::min(std::max(x, a[1]), a[2]);
  if (name == "float")
    return x;
  if (name == "floor")
    return std::floor(x);
  if (name == "ceil")
    return std::ceil(x);
  if (name == "round")
    return std::nearbyint(x);
  if (name == "int")
    return std::trunc(x);
  if (name == "cdiv")
    return std::ceil(x / a[1]);
  if (name == "bitand")
    return double(int64_t(x) & int64_t(a[1]));
  if (name == "bitxor")
    return double(int64_t(x) ^ int64_t(a[1]));
  if (name == "ascending")
    return x;
  if (name == "binom") {
    double ways = 1;
    for (int64_t n = 1; n <= int64_t(a[1]) && n <= 64; ++n)
      ways = ways * (x - a[1] + double(n)) / double(n);
    return std::nearbyint(ways);
  }
  if (name == "bitlen") {
    int64_t bits = 0;
    for (int64_t n = int64_t(x); n > 0; n >>= 1)
      ++bits;
    return double(bits);
  }
  assert(false && "applyFunction is for functions of numbers only");
  return std::numeric_limits<double>::quiet_NaN();
}

} // namespace heddle::pattern
