// Resolves the names of an expression and decides what runs along lanes.
// Example, lanes along j: in `s - slope[h] * (i - j)` the read of slope is one number, computed
// when h changes; `s`, `i - j` and what they feed are rows of lanes. A reduction whose body does
// not touch the lanes, such as sum[d < D] { q[i, h, d] }, runs its own index along lanes.
#include "compiler/interpreter/ExprProgram.h"
#include "ir/pattern/ExprUtils.h"

#include <algorithm>
#include <cmath>

namespace heddle::compiler {

using pattern::ExprAttr;
using pattern::ExprKind;

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) {
  return x > 30 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

struct UnaryFunction {
  const char *name;
  double (*apply)(double);
};
constexpr UnaryFunction kUnary[] = {
    {"exp", [](double x) { return std::exp(x); }},
    {"exp2", [](double x) { return std::exp2(x); }},
    {"log", [](double x) { return std::log(x); }},
    {"log2", [](double x) { return std::log2(x); }},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"sigmoid", sigmoid},
    {"softplus", softplus},
    {"silu", [](double x) { return x * sigmoid(x); }},
    {"relu", [](double x) { return x <= 0 ? 0.0 : x; }},
    {"abs", [](double x) { return std::fabs(x); }},
    {"sqrt", [](double x) { return std::sqrt(x); }},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }},
    {"floor", [](double x) { return std::floor(x); }},
    {"ceil", [](double x) { return std::ceil(x); }},
    {"round", [](double x) { return std::nearbyint(x); }},
    {"cos", [](double x) { return std::cos(x); }},
    {"sin", [](double x) { return std::sin(x); }},
    {"float", [](double x) { return x; }},
    {"ascending", [](double x) { return x; }},
};
struct BinaryFunction {
  const char *name;
  double (*apply)(double, double);
};
constexpr BinaryFunction kBinary[] = {
    {"min", [](double x, double y) { return x < y || x != x ? x : y; }},
    {"max", [](double x, double y) { return x > y || x != x ? x : y; }},
    {"pow", [](double x, double y) { return std::pow(x, y); }},
    {"cdiv", [](double x, double y) { return std::ceil(x / y); }},
};

template <typename Table> auto applyOf(const Table &table, llvm::StringRef name) {
  auto found = std::find_if(std::begin(table), std::end(table),
                            [&](const auto &entry) { return name == entry.name; });
  return found == std::end(table) ? nullptr : found->apply;
}

Error unknownName(const char *what, llvm::StringRef name) {
  return {ErrorCode::Internal, std::string("the expression uses ") + what + " " + name.str() +
                                   ", which its place does not define; the verifier should have "
                                   "refused it"};
}

void addAll(std::vector<int> &set, const std::vector<int> &more) {
  for (int slot : more)
    if (std::find(set.begin(), set.end(), slot) == set.end())
      set.push_back(slot);
}

} // namespace

int ExprScope::slot(const std::string &name) const {
  for (size_t n = 0; n < variables.size(); ++n)
    if (variables[n].name == name)
      return static_cast<int>(n);
  return -1;
}

/// Builds the nodes of one program, children first.
class ExprBuilder {
public:
  ExprBuilder(ExprProgram &program, const ExprScope &scope) : program(program), scope(scope) {
    program.frames.push_back(0);
    for (const ExprScope::Variable &variable : scope.variables) {
      names.push_back({variable.name, static_cast<int>(program.slots.size()), -1});
      program.slots.emplace_back();
      program.slots.back().frame = variable.lanes ? 0 : -1;
    }
    program.batchSlot = scope.slot(scope.batch);
    program.parents = scope.parents;
  }

  Result<int> build(ExprAttr expr) {
    if (auto found = known.find({expr.getAsOpaquePointer(), epoch}); found != known.end())
      return found->second;
    int keep = epoch;
    HEDDLE_TRY(index, make(expr));
    known[{expr.getAsOpaquePointer(), keep}] = index;
    return index;
  }

private:
  using Node = ExprProgram::Node;
  /// A name is a slot or, bound by a Let, a node.
  struct Name {
    std::string name;
    int slot;
    int node;
  };

  Result<int> make(ExprAttr expr) {
    Node node;
    node.kind = expr.getKind();
    program.operations += 1;
    if (node.kind == ExprKind::Let)
      return makeLet(expr);
    if (pattern::isReduction(node.kind))
      return makeReduction(expr, std::move(node));
    switch (node.kind) {
    case ExprKind::Integer:
      node.value = static_cast<double>(expr.integer());
      break;
    case ExprKind::Float:
      node.value = expr.number();
      break;
    case ExprKind::Bool:
      node.value = expr.boolean();
      break;
    case ExprKind::Var:
    case ExprKind::Param:
    case ExprKind::Dim:
      return makeName(expr, std::move(node));
    case ExprKind::Read:
      HEDDLE_CHECK(resolveTensor(expr, node, 0));
      break;
    case ExprKind::Member:
      return makeMember(expr, std::move(node));
    case ExprKind::Call:
      HEDDLE_CHECK(resolveCall(expr, node));
      break;
    default:
      break;
    }
    for (ExprAttr child : expr.children()) {
      HEDDLE_TRY(index, build(child));
      node.children.push_back(index);
    }
    return add(std::move(node));
  }

  const Name *lookup(llvm::StringRef name) const {
    for (size_t n = names.size(); n-- > 0;)
      if (name == names[n].name)
        return &names[n];
    return nullptr;
  }

  Result<int> makeName(ExprAttr expr, Node node) {
    // A parameter or dim may be called like a variable (d, x) that is not in its scope.
    if (const Name *name = expr.is(ExprKind::Var) ? lookup(nameOf(expr)) : nullptr) {
      if (name->node >= 0)
        return name->node;
      node.kind = ExprKind::Var;
      node.slot = name->slot;
      node.slots = {name->slot};
      return add(std::move(node));
    }
    auto scalar = scope.scalars.find(nameOf(expr).str());
    if (scalar == scope.scalars.end())
      return unknownName("the name", nameOf(expr));
    node.kind = ExprKind::Float;
    node.value = scalar->second;
    return add(std::move(node));
  }

  /// The row of a membership is a Read that lacks its last index, so it is not built as one.
  Result<int> makeMember(ExprAttr expr, Node node) {
    HEDDLE_TRY(value, build(expr[0]));
    Node row;
    row.kind = ExprKind::Read;
    HEDDLE_CHECK(resolveTensor(expr[1], row, 1));
    for (ExprAttr child : expr[1].children()) {
      HEDDLE_TRY(index, build(child));
      row.children.push_back(index);
    }
    node.children = {value, add(std::move(row))};
    program.operations += 10;
    return add(std::move(node));
  }

  /// `missing`: how many trailing indices the read lacks.
  Status resolveTensor(ExprAttr expr, Node &node, int missing) {
    auto tensor = scope.tensors.find(nameOf(expr).str());
    if (tensor == scope.tensors.end())
      return unknownName("the tensor", nameOf(expr));
    node.tensor = static_cast<int>(program.tensors.size());
    program.tensors.push_back(tensor->second);
    int given = static_cast<int>(expr.size()) + missing;
    node.implicitBatch = tensor->second.batched && given + 1 == tensor->second.value.rank();
    if (node.implicitBatch && program.batchSlot >= 0)
      node.slots.push_back(program.batchSlot);
    return {};
  }

  Status resolveCall(ExprAttr expr, Node &node) {
    node.function = nameOf(expr).str();
    if (expr.size() == 1)
      node.unary = applyOf(kUnary, nameOf(expr));
    if (expr.size() == 2)
      node.binary = applyOf(kBinary, nameOf(expr));
    if (nameOf(expr) == "ancestor" || nameOf(expr) == "depth") {
      if (!scope.parents)
        return unknownName("the tree function", nameOf(expr));
      if (program.batchSlot >= 0)
        node.slots.push_back(program.batchSlot);
    }
    program.operations += 10;
    return {};
  }

  Result<int> makeLet(ExprAttr expr) {
    HEDDLE_TRY(value, build(expr[0]));
    int outer = enter({nameOf(expr).str(), -1, value});
    HEDDLE_TRY(body, build(expr[1]));
    leave(outer);
    return body;
  }

  Result<int> makeReduction(ExprAttr expr, Node node) {
    HEDDLE_TRY(lo, build(expr[0]));
    HEDDLE_TRY(hi, build(expr[1]));
    node.slot = static_cast<int>(program.slots.size());
    program.slots.emplace_back();
    bool loop = program.nodes[lo].frame >= 0 || program.nodes[hi].frame >= 0 ||
                touchesLanes(expr[2], nameOf(expr));
    if (!loop) {
      node.inner = static_cast<int>(program.frames.size());
      program.frames.push_back(0);
      program.slots[node.slot].frame = node.inner;
    }
    double before = program.operations;
    int outer = enter({nameOf(expr).str(), node.slot, -1});
    HEDDLE_TRY(body, build(expr[2]));
    leave(outer);
    if (loop) // how often the body runs is not known here: a guess
      program.operations = before + 64 * (program.operations - before);
    node.children = {lo, hi, body};
    return add(std::move(node));
  }

  /// True if a free name of `expr` other than `bound` varies along some lanes.
  bool touchesLanes(ExprAttr expr, llvm::StringRef bound) const {
    for (const std::string &free : pattern::freeVars(expr)) {
      const Name *name = free == bound ? nullptr : lookup(free);
      if (!name)
        continue;
      int frame =
          name->node >= 0 ? program.nodes[name->node].frame : program.slots[name->slot].frame;
      if (frame >= 0)
        return true;
    }
    return false;
  }

  /// A new innermost name; results known before stay known after leave().
  int enter(Name name) {
    names.push_back(std::move(name));
    int outer = epoch;
    epoch = ++epochs;
    return outer;
  }
  void leave(int outer) {
    names.pop_back();
    epoch = outer;
  }

  int add(Node node) {
    for (int child : node.children) {
      addAll(node.slots, program.nodes[child].slots);
      int frame = program.nodes[child].frame;
      if (frame != node.inner || node.inner < 0)
        node.frame = std::max(node.frame, frame);
    }
    if (node.kind == ExprKind::Var)
      node.frame = program.slots[node.slot].frame;
    else if (node.slot >= 0) // the bound name of a reduction ends here
      std::erase(node.slots, node.slot);
    if (node.frame >= 0)
      node.lanes.resize(kLanes);
    program.nodes.push_back(std::move(node));
    return static_cast<int>(program.nodes.size()) - 1;
  }

  ExprProgram &program;
  const ExprScope &scope;
  std::vector<Name> names;
  std::map<std::pair<const void *, int>, int> known;
  int epoch = 0, epochs = 0;
};

Result<ExprProgram> ExprProgram::compile(ExprAttr expr, const ExprScope &scope) {
  ExprProgram program;
  ExprBuilder builder(program, scope);
  HEDDLE_TRY(root, builder.build(expr));
  program.root = root;
  return program;
}

bool ExprProgram::uses(int slot) const {
  const std::vector<int> &slots = nodes[root].slots;
  return std::find(slots.begin(), slots.end(), slot) != slots.end();
}

} // namespace heddle::compiler
