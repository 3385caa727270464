// Evaluates arith and math ops on scalars in double and 64-bit integers: the scalar half of the
// walker over abstract kernels.
#pragma once

#include "runtime/Result.h"

#include "mlir/IR/Block.h"
#include "mlir/IR/Operation.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace heddle::compiler {

/// A scalar. Which field holds depends on its IR type: `real` for floats, `integer` for index and
/// iN, sign-extended from N bits (i1: 0 or 1).
struct Number {
  double real = 0;
  int64_t integer = 0;
};

/// Computes an op's only result from its operands. Division by zero gives 0.
using ScalarEvaluator = Number (*)(mlir::Operation *op, const Number *operands);

/// The evaluator of an arith or math op. Floats are never rounded to their IR type: extf, truncf
/// and constants are exact in double. Unsupported for an op that is not known.
Result<ScalarEvaluator> findScalarEvaluator(mlir::Operation *op);

/// The straight-line region of a tile.map, made ready to run for many elements.
class ScalarFunction {
public:
  /// Reads an element for a tile.gather from its indices.
  using Gather = std::function<Number(const Number *indices)>;

  /// `captured(value)` gives scalars that the block reads from outside, `gather` the reader of a
  /// tile.gather. Fails on an op without an evaluator.
  static Result<ScalarFunction> make(mlir::Block &block,
                                     llvm::function_ref<Result<Number>(mlir::Value)> captured,
                                     llvm::function_ref<Gather(mlir::Operation *)> gather);

  /// Where the caller puts block argument n before each run.
  Number &argument(size_t n) { return slots[n]; }
  void run();
  /// Operand n of the terminator after a run.
  const Number &result(size_t n) const { return slots[results[n]]; }

private:
  struct Step {
    ScalarEvaluator evaluate;
    mlir::Operation *op;
    std::vector<int> operands;
    int result;
    Gather gather; ///< instead of evaluate
  };
  std::vector<Number> slots;
  std::vector<Step> steps;
  std::vector<int> results;
};

/// Keeps the low bits of an integer of type `type`, sign-extended (i1: 0 or 1).
int64_t wrapInteger(int64_t value, mlir::Type type);

} // namespace heddle::compiler
