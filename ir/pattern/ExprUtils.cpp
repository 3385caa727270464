// Names in expressions, substitution without capture, and values of integer expressions.
//   substitute(sum[n < N] { n * i }, {i -> n})   ->   sum[n_1 < N] { n_1 * n }
#include "ir/pattern/ExprUtils.h"

#include <algorithm>
#include <limits>
#include <set>

using namespace mlir;

namespace heddle::pattern {

static bool binds(ExprAttr expr) { return isReduction(expr.getKind()) || expr.is(ExprKind::Let); }

//===--- names ---===//

static void collectFree(ExprAttr expr, std::set<std::string> &bound, std::set<std::string> &out) {
  if (expr.is(ExprKind::Var)) {
    if (!bound.count(expr.getName().str()))
      out.insert(expr.getName().str());
    return;
  }
  if (!binds(expr)) {
    for (ExprAttr child : expr.children())
      collectFree(child, bound, out);
    return;
  }
  for (size_t n = 0; n + 1 < expr.size(); ++n)
    collectFree(expr[n], bound, out);
  bool added = bound.insert(expr.getName().str()).second;
  collectFree(expr[expr.size() - 1], bound, out);
  if (added)
    bound.erase(expr.getName().str());
}

std::vector<std::string> freeVars(ExprAttr expr) {
  std::set<std::string> bound, out;
  collectFree(expr, bound, out);
  return {out.begin(), out.end()};
}

static std::vector<std::string> namesOf(ExprAttr expr, ExprKind kind) {
  std::set<std::string> out;
  walk(expr, [&](ExprAttr node) {
    if (node.is(kind))
      out.insert(node.getName().str());
    return true;
  });
  return {out.begin(), out.end()};
}

std::vector<std::string> paramsOf(ExprAttr expr) { return namesOf(expr, ExprKind::Param); }
std::vector<std::string> dimsOf(ExprAttr expr) { return namesOf(expr, ExprKind::Dim); }
std::vector<std::string> tensorsOf(ExprAttr expr) { return namesOf(expr, ExprKind::Read); }

//===--- sizes ---===//

int64_t sizeOf(ExprAttr expr, int64_t limit) {
  int64_t size = 0;
  walk(expr, [&](ExprAttr) { return ++size < limit; });
  return std::min(size, limit);
}

int64_t depthOf(ExprAttr expr) {
  int64_t depth = 0;
  for (ExprAttr child : expr.children())
    depth = std::max(depth, depthOf(child));
  return depth + 1;
}

//===--- rewriting ---===//

static ExprAttr withChildren(ExprAttr expr, StringRef name, ArrayRef<ExprAttr> children) {
  SmallVector<Attribute> operands(children.begin(), children.end());
  StringAttr symbol = name.empty() ? StringAttr() : StringAttr::get(expr.getContext(), name);
  return ExprAttr::get(expr.getContext(), expr.getKind(), symbol, expr.getValue(), operands);
}

namespace {

class Substitution {
public:
  explicit Substitution(const llvm::StringMap<ExprAttr> &map) : map(map) {
    for (const auto &entry : map)
      for (const std::string &name : freeVars(entry.second))
        introduced.insert(name);
  }

  ExprAttr apply(ExprAttr expr) {
    bool named = expr.is(ExprKind::Var) || expr.is(ExprKind::Param) || expr.is(ExprKind::Dim);
    if (named) {
      auto local = renamed.find(expr.getName());
      if (local != renamed.end())
        return local->second;
      auto found = map.find(expr.getName());
      return found == map.end() ? expr : found->second;
    }
    SmallVector<ExprAttr> children;
    size_t outer = binds(expr) ? expr.size() - 1 : expr.size();
    for (size_t n = 0; n < outer; ++n)
      children.push_back(apply(expr[n]));
    if (!binds(expr))
      return withChildren(expr, expr.getName(), children);
    std::string name = freshName(expr);
    auto saved = renamed;
    renamed[expr.getName()] = makeVar(expr.getContext(), name);
    children.push_back(apply(expr[outer]));
    renamed = saved;
    return withChildren(expr, name, children);
  }

private:
  // The bound name, or name_1, name_2, .. if it would capture a name that a replacement brings.
  std::string freshName(ExprAttr expr) {
    std::string name = expr.getName().str();
    if (!introduced.count(name))
      return name;
    std::vector<std::string> inside = freeVars(expr[expr.size() - 1]);
    for (int n = 1;; ++n) {
      std::string candidate = name + "_" + std::to_string(n);
      if (!introduced.count(candidate) && !llvm::is_contained(inside, candidate))
        return candidate;
    }
  }

  const llvm::StringMap<ExprAttr> &map;
  std::set<std::string> introduced;
  llvm::StringMap<ExprAttr> renamed;
};

} // namespace

ExprAttr substitute(ExprAttr expr, const llvm::StringMap<ExprAttr> &map) {
  return map.empty() ? expr : Substitution(map).apply(expr);
}

ExprAttr mapChildren(ExprAttr expr, llvm::function_ref<ExprAttr(ExprAttr)> replace) {
  return withChildren(expr, expr.getName(), llvm::map_to_vector(expr.children(), replace));
}

ExprAttr renameTensors(ExprAttr expr, const llvm::StringMap<std::string> &map) {
  SmallVector<ExprAttr> children;
  for (ExprAttr child : expr.children())
    children.push_back(renameTensors(child, map));
  StringRef name = expr.getName();
  auto found = map.find(name);
  if (expr.is(ExprKind::Read) && found != map.end())
    name = found->second;
  return withChildren(expr, name, children);
}

ExprAttr expandLets(ExprAttr expr) {
  SmallVector<ExprAttr> children;
  for (ExprAttr child : expr.children())
    children.push_back(expandLets(child));
  if (!expr.is(ExprKind::Let))
    return withChildren(expr, expr.getName(), children);
  llvm::StringMap<ExprAttr> map;
  map[expr.getName()] = children[0];
  return substitute(children[1], map);
}

//===--- integer values ---===//

namespace {

using Integer = std::optional<int64_t>;
using Lookup = llvm::function_ref<Integer(StringRef)>;

Integer floorDiv(int64_t a, int64_t b) {
  if (b == 0 || (a == std::numeric_limits<int64_t>::min() && b == -1))
    return std::nullopt;
  int64_t quotient = a / b;
  return quotient - ((a % b != 0) && ((a < 0) != (b < 0)));
}

Integer arithmetic(ExprKind kind, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (kind) {
  case ExprKind::Add:
    return __builtin_add_overflow(a, b, &out) ? Integer() : out;
  case ExprKind::Sub:
    return __builtin_sub_overflow(a, b, &out) ? Integer() : out;
  case ExprKind::Mul:
    return __builtin_mul_overflow(a, b, &out) ? Integer() : out;
  case ExprKind::FloorDiv:
    return floorDiv(a, b);
  case ExprKind::Mod: {
    Integer quotient = floorDiv(a, b);
    return quotient ? Integer(a - *quotient * b) : std::nullopt;
  }
  case ExprKind::Lt:
    return a < b;
  case ExprKind::Le:
    return a <= b;
  case ExprKind::Gt:
    return a > b;
  case ExprKind::Ge:
    return a >= b;
  case ExprKind::Eq:
    return a == b;
  case ExprKind::Ne:
    return a != b;
  default:
    return std::nullopt;
  }
}

Integer call(StringRef name, ArrayRef<int64_t> a) {
  if (name == "cdiv") {
    Integer quotient = a[1] == 0 ? Integer() : floorDiv(a[0], a[1]);
    return quotient ? Integer(*quotient + (*quotient * a[1] != a[0])) : std::nullopt;
  }
  if (name == "min")
    return *std::min_element(a.begin(), a.end());
  if (name == "max")
    return *std::max_element(a.begin(), a.end());
  if (name == "clamp")
    return std::min(std::max(a[0], a[1]), a[2]);
  if (name == "select")
    return a[0] ? a[1] : a[2];
  if (name == "relu")
    return std::max<int64_t>(a[0], 0);
  if (name == "abs" && a[0] != std::numeric_limits<int64_t>::min())
    return std::abs(a[0]);
  if (name == "sign")
    return (a[0] > 0) - (a[0] < 0);
  if (name == "int" || name == "floor" || name == "ceil" || name == "round")
    return a[0];
  if (name == "ascending")
    return a[0];
  if (name == "bitand")
    return a[0] & a[1];
  if (name == "bitxor")
    return a[0] ^ a[1];
  if (name == "binom") {
    double ways = a[1] < 0 || a[1] > 64 ? -1.0 : applyFunction(name, {double(a[0]), double(a[1])});
    return ways >= 0 && ways < 1e15 ? Integer(int64_t(ways)) : std::nullopt;
  }
  if (name == "bitlen")
    return int64_t(applyFunction(name, {double(a[0])}));
  return std::nullopt;
}

Integer evaluate(ExprAttr expr, Lookup lookup) {
  switch (expr.getKind()) {
  case ExprKind::Integer:
    return expr.integer();
  case ExprKind::Bool:
    return expr.boolean();
  case ExprKind::Var:
  case ExprKind::Param:
  case ExprKind::Dim:
    return lookup(expr.getName());
  case ExprKind::And:
  case ExprKind::Or: {
    Integer left = evaluate(expr[0], lookup), right = evaluate(expr[1], lookup);
    if (!left || !right)
      return std::nullopt;
    return expr.is(ExprKind::And) ? *left && *right : *left || *right;
  }
  default:
    break;
  }
  SmallVector<int64_t> values;
  bool tree = expr.is(ExprKind::Read) || expr.is(ExprKind::Member) || binds(expr);
  for (ExprAttr child : tree ? std::vector<ExprAttr>() : expr.children()) {
    Integer value = evaluate(child, lookup);
    if (!value)
      return std::nullopt;
    values.push_back(*value);
  }
  if (expr.is(ExprKind::Call))
    return call(expr.getName(), values);
  if (expr.is(ExprKind::Neg))
    return arithmetic(ExprKind::Sub, 0, values[0]);
  if (expr.is(ExprKind::Not))
    return !values[0];
  return values.size() == 2 ? arithmetic(expr.getKind(), values[0], values[1]) : std::nullopt;
}

} // namespace

Integer evaluateInteger(ExprAttr expr, Lookup lookup) { return evaluate(expandLets(expr), lookup); }

} // namespace heddle::pattern
