// Runs a pattern's ops in order on bound tensors and collects what it returns.
// Example: moba = map (block means) -> select (best blocks) -> mix (their keys) -> return o, lse.
#include "compiler/Interpreter.h"

#include "compiler/interpreter/Graph.h"
#include "compiler/interpreter/Mix.h"

#include <fmt/format.h>

namespace heddle::compiler {

Status runOp(mlir::Operation &operation, Environment &environment, const RowSelection &rows,
             Evaluator evaluator) {
  if (auto map = mlir::dyn_cast<pattern::MapOp>(operation))
    return runMap(map, environment);
  if (auto select = mlir::dyn_cast<pattern::SelectOp>(operation))
    return runSelect(select, environment);
  if (auto merge = mlir::dyn_cast<pattern::MergeOp>(operation))
    return runMerge(merge, environment);
  if (auto mix = mlir::dyn_cast<pattern::MixOp>(operation))
    return runMix(mix, environment, rows, evaluator);
  return Error{ErrorCode::Unsupported, fmt::format("the interpreter has no evaluator for the op {}",
                                                   operation.getName().getStringRef().str())};
}

namespace {

/// Rows can be chosen if results are o or lse of mixes and no op reads what a mix made.
Status expectRowsFromMixes(pattern::DefOp def) {
  for (mlir::Value value : def.returned().getResults()) {
    auto mix = value.getDefiningOp<pattern::MixOp>();
    if (!mix || (value != mix.output("o") && value != mix.output("lse")))
      return Error{ErrorCode::Unsupported,
                   fmt::format("rows can be chosen only of o and lse of a mix, and {} is neither: "
                               "evaluate all rows",
                               pattern::valueName(value).str())};
  }
  for (mlir::Operation &operation : def.getBody().front())
    for (mlir::Value operand : operation.getOperands())
      if (operand.getDefiningOp<pattern::MixOp>() && !mlir::isa<pattern::ReturnOp>(operation))
        return Error{ErrorCode::Unsupported,
                     "rows cannot be chosen where an op reads the output of a mix: evaluate all "
                     "rows"};
  return {};
}

Output resultOf(mlir::Value value, const Environment &environment, bool rowsOnly) {
  Value result = environment.value(value).dense();
  Output output;
  output.name = pattern::valueName(value).str();
  output.shape = result.shape();
  output.values = result.toVector();
  output.dims = Environment::dimNames(pattern::arrayType(value));
  if (rowsOnly) {
    bool isLse = value == value.getDefiningOp<pattern::MixOp>().output("lse");
    output.dims = {"rows", isLse ? "1" : output.dims.back()};
    if (isLse && output.shape[1] == 1) {
      output.dims.pop_back();
      output.shape.pop_back();
    }
  }
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
    HEDDLE_CHECK(expectRowsFromMixes(def));
  for (mlir::Operation &operation : def.getBody().front().without_terminator())
    HEDDLE_CHECK(runOp(operation, environment, rows, evaluator));
  Outputs outputs;
  for (mlir::Value value : def.returned().getResults())
    outputs.results.push_back(resultOf(value, environment, !rows.all()));
  return outputs;
}

Result<std::map<std::string, int64_t>> inferDims(pattern::DefOp def, const Bindings &bindings) {
  HEDDLE_TRY(environment, Environment::make(def, bindings));
  return environment.dims;
}

} // namespace heddle::compiler
