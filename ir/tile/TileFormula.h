// Steps of FormulaAttr: the same postfix form as the artifact's Formula, with scalars by name.
#pragma once

#include "mlir/IR/BuiltinAttributes.h"

namespace heddle::tile {

enum class FormulaOp : uint8_t {
  Constant, ///< pushes value
  Scalar,   ///< pushes the run-time scalar `name`
  Add,
  Sub,
  Mul,
  CeilDiv,
  FloorDiv,
  Min,
  Max
};

struct FormulaStep {
  FormulaOp op;
  int64_t value = 0;
  mlir::StringAttr name = {};
  bool operator==(const FormulaStep &) const = default;
};

inline llvm::hash_code hash_value(const FormulaStep &step) {
  return llvm::hash_combine(static_cast<uint8_t>(step.op), step.value,
                            step.name.getAsOpaquePointer());
}

} // namespace heddle::tile
