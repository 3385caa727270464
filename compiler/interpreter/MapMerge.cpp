// Evaluates map (a tensor, element by element) and merge (partial results joined).
// Example: %y = map (t, h, d) in (T, H, D) { x[t, h, d] * rsqrt(sum[e < D] { .. }) } runs d along
// lanes and computes the sum once for each (b, t, h).
#include "compiler/interpreter/Graph.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace heddle::compiler {

namespace {

/// Steps `index` through `extents` in row-major order, the last dim excepted; false at the end.
bool nextRow(std::vector<int64_t> &index, const std::vector<int64_t> &extents) {
  for (size_t d = index.size() - 1; d-- > 0;) {
    if (++index[d] < extents[d])
      return true;
    index[d] = 0;
  }
  return false;
}

int64_t product(const std::vector<int64_t> &extents) {
  return std::accumulate(extents.begin(), extents.end(), int64_t(1), std::multiplies<>());
}

} // namespace

Status runMap(pattern::MapOp op, Environment &environment) {
  ExprScope scope = environment.scope(op.getReads(), op.getReadNames());
  pattern::ArrayType type = pattern::arrayType(op.getOutput());
  HEDDLE_TRY(shape, environment.shapeOf(type));
  // Slot 0 is the batch, the others are the op's indices; the last runs along lanes.
  scope.variables.push_back({"b", false});
  for (mlir::Attribute name : op.getVars())
    scope.variables.push_back({mlir::cast<mlir::StringAttr>(name).str(), false});
  bool lanes = scope.variables.size() > 1;
  scope.variables.back().lanes = lanes;
  HEDDLE_TRY(program, ExprProgram::compile(op.getExpr(), scope));

  Value out = Value::make(shape);
  std::vector<int64_t> extents = shape;
  if (!type.getBatched())
    extents.insert(extents.begin(), 1);
  std::vector<int64_t> index(extents.size(), 0);
  int64_t width = lanes ? extents.back() : 1;
  int last = static_cast<int>(extents.size()) - 1;
  std::vector<double> inner(width);
  std::iota(inner.begin(), inner.end(), 0.0);
  double *row = out.data();
  if (product(extents) > 0) {
    do {
      for (int d = 0; d < last; ++d)
        program.set(d, static_cast<double>(index[d]));
      if (!lanes)
        program.set(0, static_cast<double>(index[0]));
      LaneInput input[] = {{last, inner.data()}};
      if (!program.varies())
        std::fill_n(row, width, program.scalar());
      else
        program.run(input, width, row);
      row += width;
      if (!lanes && ++index[0] >= extents[0])
        break;
    } while (!lanes || nextRow(index, extents));
  }
  environment.define(op.getOutput(), out);
  return {};
}

namespace {

Value mergeSum(const std::vector<Value> &parts) {
  Value out = Value::make(parts[0].shape());
  for (const Value &part : parts)
    for (int64_t n = 0; n < out.elements(); ++n)
      out.data()[n] += part.data()[n];
  return out;
}

/// L = log sum e^{L_a}, o = sum e^{L_a - L} o_a; parts that saw no key weigh nothing. NaN, which
/// stands for what is not known, stays NaN.
void mergeLse(const std::vector<Value> &parts, Value &o, Value &lse) {
  int64_t rows = lse.elements(), width = rows ? o.elements() / rows : 0;
  for (int64_t row = 0; row < rows; ++row) {
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (size_t a = 1; a < parts.size(); a += 2)
      most = parts[a].data()[row] <= most ? most : parts[a].data()[row];
    if (std::isinf(most) && most < 0) {
      lse.data()[row] = most;
      continue;
    }
    for (size_t a = 1; a < parts.size(); a += 2)
      sum += std::exp(parts[a].data()[row] - most);
    for (size_t a = 0; a < parts.size(); a += 2) {
      double weight = std::exp(parts[a + 1].data()[row] - most) / sum;
      for (int64_t e = 0; e < width && weight != 0; ++e)
        o.data()[row * width + e] += weight * parts[a].data()[row * width + e];
    }
    lse.data()[row] = most + std::log(sum);
  }
}

} // namespace

Status runMerge(pattern::MergeOp op, Environment &environment) {
  std::vector<Value> parts;
  for (mlir::Value input : op.getInputs())
    parts.push_back(environment.value(input).dense());
  if (op.getKind() == pattern::MergeKind::sum) {
    environment.define(op.getOutputs()[0], mergeSum(parts));
    return {};
  }
  Value o = Value::make(parts[0].shape()), lse = Value::make(parts[1].shape());
  mergeLse(parts, o, lse);
  environment.define(op.getOutputs()[0], o);
  environment.define(op.getOutputs()[1], lse);
  return {};
}

} // namespace heddle::compiler
