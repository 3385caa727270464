// Evaluators of ops: map, select and merge here, mix in Mix.h. Each defines the results of its op.
#pragma once

#include "compiler/interpreter/Environment.h"

namespace heddle::compiler {

Status runMap(pattern::MapOp op, Environment &environment);
/// With rows, lists of other rows stay empty where nothing else can read them.
Status runSelect(pattern::SelectOp op, Environment &environment, const RowSelection &rows);
Status runMerge(pattern::MergeOp op, Environment &environment);

/// Any op but the return; rows and evaluator are for mixes.
Status runOp(mlir::Operation &operation, Environment &environment, const RowSelection &rows,
             Evaluator evaluator);

} // namespace heddle::compiler
