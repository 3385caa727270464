// Runs a pattern's ops in order on bound tensors and collects what it returns.
// Example: moba = map (block means) -> select (best blocks) -> mix (their keys) -> return o, lse.
#include "compiler/Interpreter.h"

#include "compiler/interpreter/Graph.h"
#include "compiler/interpreter/Mix.h"
#include "ir/pattern/ExprUtils.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace heddle::compiler {

Status runOp(mlir::Operation &operation, Environment &environment, const RowSelection &rows,
             Evaluator evaluator) {
  if (auto map = mlir::dyn_cast<pattern::MapOp>(operation))
    return runMap(map, environment);
  if (auto select = mlir::dyn_cast<pattern::SelectOp>(operation))
    return runSelect(select, environment, rows);
  if (auto merge = mlir::dyn_cast<pattern::MergeOp>(operation))
    return runMerge(merge, environment);
  if (auto mix = mlir::dyn_cast<pattern::MixOp>(operation))
    return runMix(mix, environment, rows, evaluator);
  return Error{ErrorCode::Unsupported, fmt::format("the interpreter has no evaluator for the op {}",
                                                   operation.getName().getStringRef().str())};
}

namespace {

/// True if the op reads, directly or not, what a mix made.
bool readsMixes(mlir::Operation *op) {
  return llvm::any_of(op->getOperands(), [](mlir::Value value) {
    mlir::Operation *maker = value.getDefiningOp();
    return maker && (mlir::isa<pattern::MixOp>(maker) || readsMixes(maker));
  });
}

/// A comparison makes something known of what is not: refused where it may see a mix's result.
bool compares(pattern::ExprAttr expr) {
  bool found = false;
  pattern::walk(pattern::expandLets(expr), [&](pattern::ExprAttr e) {
    bool isSign =
        e.is(pattern::ExprKind::Call) && (e.getName() == "sign" || e.getName() == "clamp");
    bool isChoice = e.is(pattern::ExprKind::ArgMax) || e.is(pattern::ExprKind::ArgMin);
    if (pattern::isComparison(e.getKind()) || isSign || isChoice)
      pattern::walk(e, [&](pattern::ExprAttr part) {
        found |= part.is(pattern::ExprKind::Read);
        return true;
      });
    return true;
  });
  return found;
}

Status expectNoChoices(pattern::DefOp def) {
  for (auto map : def.getBody().front().getOps<pattern::MapOp>())
    if (readsMixes(map) && compares(map.getExpr()))
      return Error{ErrorCode::Unsupported,
                   fmt::format("rows cannot be chosen where a map compares what a mix made, as {} "
                               "may: evaluate all rows",
                               pattern::valueName(map.getOutput()).str())};
  return {};
}

Result<Output> resultOf(mlir::Value value, const Environment &environment, bool rowsOnly) {
  Output output;
  output.name = pattern::valueName(value).str();
  output.dims = Environment::dimNames(pattern::arrayType(value));
  HEDDLE_TRY(shape, environment.shapeOf(pattern::arrayType(value)));
  output.shape = std::move(shape);
  if (const SparseValue *rows = environment.someOf(value)) {
    std::vector<size_t> order(rows->places.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return rows->places[a] < rows->places[b]; });
    for (size_t n : order) {
      output.places.push_back(rows->places[n]);
      output.values.push_back(rows->values[n]);
    }
    return output;
  }
  output.values = environment.value(value).toVector();
  for (size_t n = 0; n < output.values.size() && rowsOnly; ++n)
    if (!std::isnan(output.values[n]))
      output.places.push_back(int64_t(n));
  if (rowsOnly)
    std::erase_if(output.values, [](double x) { return std::isnan(x); });
  return output;
}

} // namespace

const Output *Outputs::find(const std::string &name) const {
  for (const Output &output : results)
    if (output.name == name)
      return &output;
  return nullptr;
}

Result<Outputs> interpret(pattern::DefOp def, const Bindings &bindings, const RowSelection &rows,
                          Evaluator evaluator) {
  HEDDLE_TRY(environment, Environment::make(def, bindings));
  if (!rows.all())
    HEDDLE_CHECK(expectNoChoices(def));
  for (mlir::Operation &operation : def.getBody().front().without_terminator())
    HEDDLE_CHECK(runOp(operation, environment, rows, evaluator));
  Outputs outputs;
  for (mlir::Value value : def.returned().getResults()) {
    HEDDLE_TRY(output, resultOf(value, environment, !rows.all()));
    outputs.results.push_back(std::move(output));
  }
  return outputs;
}

Result<std::map<std::string, int64_t>> inferDims(pattern::DefOp def, const Bindings &bindings) {
  HEDDLE_TRY(environment, Environment::make(def, bindings));
  return environment.dims;
}

} // namespace heddle::compiler
