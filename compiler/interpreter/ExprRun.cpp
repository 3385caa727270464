// Evaluates a compiled expression: nodes are computed when asked for and only if something they
// depend on has changed; rows of lanes by one loop an operation.
// Example: 1000 keys of one query are 4 runs of kLanes; a sum that does not vary along the keys is
// computed in the first run alone.
#include "compiler/interpreter/ExprProgram.h"
#include "ir/pattern/ExprUtils.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace heddle::compiler {

using pattern::ExprKind;

namespace {

double floorMod(double x, double y) { return x - y * std::floor(x / y); }

/// What a reduction of nothing gives.
double emptyValue(ExprKind kind) {
  switch (kind) {
  case ExprKind::Prod:
  case ExprKind::All:
    return 1;
  case ExprKind::Max:
    return -kInfinity;
  case ExprKind::Min:
    return kInfinity;
  case ExprKind::ArgMax:
  case ExprKind::ArgMin:
    return -1;
  default:
    return 0;
  }
}

/// One step of a reduction; `best` is the value at the argument found so far (ArgMax, ArgMin).
void accumulate(ExprKind kind, double at, double x, double &result, double &best) {
  switch (kind) {
  case ExprKind::Sum:
    result += x;
    break;
  case ExprKind::Prod:
    result *= x;
    break;
  case ExprKind::Max:
    result = x > result || std::isnan(x) ? x : result;
    break;
  case ExprKind::Min:
    result = x < result || std::isnan(x) ? x : result;
    break;
  case ExprKind::Any:
    result = result != 0 || x != 0;
    break;
  case ExprKind::All:
    result = result != 0 && x != 0;
    break;
  default: // ArgMax, ArgMin: the first of equals
    bool better = result < 0 || (kind == ExprKind::ArgMax ? x > best : x < best);
    result = better ? at : result;
    best = better ? x : best;
  }
}

} // namespace

void ExprProgram::bind(int slot, double value) {
  slots[slot].value = value;
  slots[slot].stamp = ++clock;
}

void ExprProgram::set(int slot, double value) {
  if (slots[slot].value != value || slots[slot].stamp == 1)
    bind(slot, value);
}

double ExprProgram::scalar() {
  assert(!varies() && "the expression varies along lanes: use run");
  return evaluate(root).values[0];
}

void ExprProgram::run(std::span<const LaneInput> inputs, int64_t count, double *out) {
  for (int64_t done = 0; done < count; done += kLanes) {
    frames[0] = std::min(kLanes, count - done);
    ++clock;
    for (const LaneInput &input : inputs) {
      slots[input.slot].lanes = input.values + done;
      slots[input.slot].stamp = clock;
    }
    Operand result = evaluate(root);
    for (int64_t n = 0; n < frames[0]; ++n)
      out[done + n] = result[n];
  }
}

ExprProgram::Operand ExprProgram::evaluate(int index) {
  Node &node = nodes[index];
  if (node.kind == ExprKind::Var) {
    const Slot &slot = slots[node.slot];
    return slot.frame < 0 ? Operand{&slot.value, 0} : Operand{slot.lanes, 1};
  }
  bool stale = node.stamp == 0;
  for (int slot : node.slots)
    stale = stale || slots[slot].stamp > node.stamp;
  if (stale) {
    compute(node);
    node.stamp = clock;
  }
  return node.frame < 0 ? Operand{&node.value, 0} : Operand{node.lanes.data(), 1};
}

template <typename F> void ExprProgram::apply1(Node &node, F f) {
  Operand x = evaluate(node.children[0]);
  if (node.frame < 0) {
    node.value = f(x[0]);
    return;
  }
  int64_t count = countOf(node);
  for (int64_t n = 0; n < count; ++n)
    node.lanes[n] = f(x.values[n]);
}

template <typename F> void ExprProgram::apply2(Node &node, F f) {
  Operand x = evaluate(node.children[0]);
  Operand y = evaluate(node.children[1]);
  if (node.frame < 0) {
    node.value = f(x[0], y[0]);
    return;
  }
  double *out = node.lanes.data();
  int64_t count = countOf(node);
  if (x.step == 0)
    for (int64_t n = 0; n < count; ++n)
      out[n] = f(x.values[0], y.values[n]);
  else if (y.step == 0)
    for (int64_t n = 0; n < count; ++n)
      out[n] = f(x.values[n], y.values[0]);
  else
    for (int64_t n = 0; n < count; ++n)
      out[n] = f(x.values[n], y.values[n]);
}

void ExprProgram::compute(Node &node) {
  switch (node.kind) {
  case ExprKind::Integer:
  case ExprKind::Float:
  case ExprKind::Bool:
    return;
  case ExprKind::Neg:
    return apply1(node, [](double x) { return -x; });
  case ExprKind::Not:
    return apply1(node, [](double x) { return x == 0 ? 1.0 : 0.0; });
  case ExprKind::Add:
    return apply2(node, [](double x, double y) { return x + y; });
  case ExprKind::Sub:
    return apply2(node, [](double x, double y) { return x - y; });
  case ExprKind::Mul:
    return apply2(node, [](double x, double y) { return x * y; });
  case ExprKind::Div:
    return apply2(node, [](double x, double y) { return x / y; });
  case ExprKind::FloorDiv:
    return apply2(node, [](double x, double y) { return std::floor(x / y); });
  case ExprKind::Mod:
    return apply2(node, floorMod);
  case ExprKind::Lt:
    return apply2(node, [](double x, double y) { return x < y ? 1.0 : 0.0; });
  case ExprKind::Le:
    return apply2(node, [](double x, double y) { return x <= y ? 1.0 : 0.0; });
  case ExprKind::Gt:
    return apply2(node, [](double x, double y) { return x > y ? 1.0 : 0.0; });
  case ExprKind::Ge:
    return apply2(node, [](double x, double y) { return x >= y ? 1.0 : 0.0; });
  case ExprKind::Eq:
    return apply2(node, [](double x, double y) { return x == y ? 1.0 : 0.0; });
  case ExprKind::Ne:
    return apply2(node, [](double x, double y) { return x != y ? 1.0 : 0.0; });
  case ExprKind::And:
    return apply2(node, [](double x, double y) { return x != 0 && y != 0 ? 1.0 : 0.0; });
  case ExprKind::Or:
    return apply2(node, [](double x, double y) { return x != 0 || y != 0 ? 1.0 : 0.0; });
  case ExprKind::Call:
    return computeCall(node);
  case ExprKind::Read:
    return computeRead(node);
  case ExprKind::Member:
    return computeMember(node);
  default:
    return node.inner >= 0 ? reduceLanes(node) : reduceLoop(node);
  }
}

void ExprProgram::computeCall(Node &node) {
  if (node.unary)
    return apply1(node, node.unary);
  if (node.binary)
    return apply2(node, node.binary);
  if (node.function == "ancestor" || node.function == "depth")
    return computeTree(node);
  std::vector<Operand> arguments;
  for (int child : node.children)
    arguments.push_back(evaluate(child));
  double *out = node.frame < 0 ? &node.value : node.lanes.data();
  std::vector<double> values(arguments.size());
  for (int64_t n = 0; n < countOf(node); ++n) {
    for (size_t a = 0; a < values.size(); ++a)
      values[a] = arguments[a][n];
    out[n] = node.function == "select" ? (values[0] != 0 ? values[1] : values[2])
                                       : pattern::applyFunction(node.function, values);
  }
}

/// Offset of the element, or of the row if indices lack the last one; nothing if one is outside.
std::optional<int64_t> ExprProgram::rowOffset(const Node &read, int64_t lane) {
  const ExprScope::Tensor &tensor = tensors[read.tensor];
  int given = static_cast<int>(read.children.size());
  int64_t offset = 0;
  auto add = [&](int dim, double index) {
    if (!(index >= 0 && index < static_cast<double>(tensor.value.extent(dim))))
      return false;
    offset += static_cast<int64_t>(index) * tensor.value.stride(dim);
    return true;
  };
  int first = read.implicitBatch ? 1 : 0;
  if (read.implicitBatch && !add(0, batchSlot < 0 ? 0 : slots[batchSlot].value))
    return std::nullopt;
  for (int n = 0; n < given; ++n) {
    const Node &child = nodes[read.children[n]];
    double index = child.kind == ExprKind::Var
                       ? (slots[child.slot].frame < 0 ? slots[child.slot].value
                                                      : slots[child.slot].lanes[lane])
                       : (child.frame < 0 ? child.value : child.lanes[lane]);
    if (!add(first + n, index))
      return std::nullopt;
  }
  return offset;
}

void ExprProgram::computeRead(Node &node) {
  for (int child : node.children)
    evaluate(child);
  const Value &value = tensors[node.tensor].value;
  double *out = node.frame < 0 ? &node.value : node.lanes.data();
  for (int64_t n = 0; n < countOf(node); ++n) {
    std::optional<int64_t> offset = rowOffset(node, n);
    out[n] = offset ? value.load(*offset) : 0;
  }
}

void ExprProgram::computeMember(Node &node) {
  Operand x = evaluate(node.children[0]);
  Node &read = nodes[node.children[1]];
  for (int child : read.children)
    evaluate(child);
  const Value &value = tensors[read.tensor].value;
  int last = value.rank() - 1;
  double *out = node.frame < 0 ? &node.value : node.lanes.data();
  for (int64_t n = 0; n < countOf(node); ++n) {
    if (n == 0 || read.frame >= 0) { // one row for all lanes, unless the row itself varies
      std::optional<int64_t> offset = rowOffset(read, n);
      node.row.resize(offset ? value.extent(last) : 0);
      value.gather(offset.value_or(0), value.stride(last), node.row.size(), node.row.data());
      std::sort(node.row.begin(), node.row.end());
    }
    out[n] = std::binary_search(node.row.begin(), node.row.end(), x[n]);
  }
}

/// Parent of a node of the query tree; -1 for a root and for anything that is no node. Parents come
/// before their children, so a walk ends.
double ExprProgram::parentOf(double node) {
  const Value &value = parents->value;
  int last = value.rank() - 1;
  if (!(node >= 0 && node < static_cast<double>(value.extent(last))))
    return -1;
  int64_t offset = static_cast<int64_t>(node) * value.stride(last);
  if (parents->batched && batchSlot >= 0)
    offset += static_cast<int64_t>(slots[batchSlot].value) * value.stride(0);
  double parent = value.load(offset);
  return parent < node ? parent : -1;
}

/// depth(n): edges from n to its root. ancestor(n, m): m is n or an ancestor of n.
void ExprProgram::computeTree(Node &node) {
  Operand query = evaluate(node.children[0]);
  double *out = node.frame < 0 ? &node.value : node.lanes.data();
  if (node.function == "depth") {
    for (int64_t n = 0; n < countOf(node); ++n) {
      out[n] = 0;
      for (double at = parentOf(query[n]); at >= 0; at = parentOf(at))
        ++out[n];
    }
    return;
  }
  Operand other = evaluate(node.children[1]);
  for (int64_t n = 0; n < countOf(node); ++n) {
    double at = query[n];
    while (at >= 0 && at > other[n])
      at = parentOf(at);
    out[n] = at >= 0 && at == other[n];
  }
}

void ExprProgram::reduceLanes(Node &node) {
  double lo = evaluate(node.children[0])[0], hi = evaluate(node.children[1])[0];
  double result = emptyValue(node.kind), best = 0;
  double index[kLanes];
  for (double at = lo; at < hi; at += kLanes) {
    int64_t count = static_cast<int64_t>(std::min<double>(kLanes, hi - at));
    for (int64_t n = 0; n < count; ++n)
      index[n] = at + static_cast<double>(n);
    frames[node.inner] = count;
    slots[node.slot].lanes = index;
    slots[node.slot].stamp = ++clock;
    Operand body = evaluate(node.children[2]);
    for (int64_t n = 0; n < count; ++n)
      accumulate(node.kind, index[n], body[n], result, best);
  }
  node.value = result;
}

void ExprProgram::reduceLoop(Node &node) {
  Operand lo = evaluate(node.children[0]), hi = evaluate(node.children[1]);
  int64_t count = countOf(node);
  double *result = node.frame < 0 ? &node.value : node.lanes.data();
  std::vector<double> best(count, 0.0), value(count, emptyValue(node.kind));
  double first = kInfinity, last = -kInfinity;
  for (int64_t n = 0; n < count; ++n) {
    first = std::min(first, lo[n]);
    last = std::max(last, hi[n]);
  }
  for (double at = first; at < last; ++at) {
    bind(node.slot, at);
    Operand body = evaluate(node.children[2]);
    for (int64_t n = 0; n < count; ++n)
      if (at >= lo[n] && at < hi[n])
        accumulate(node.kind, at, body[n], value[n], best[n]);
  }
  std::copy(value.begin(), value.end(), result);
}

} // namespace heddle::compiler
