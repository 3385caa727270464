// Element types of tensors: MLIR's and the runtime's, one for the other.
#pragma once

#include "runtime/DType.h"

#include "mlir/IR/Types.h"

#include <optional>

namespace heddle::compiler {

/// Unsigned bytes are ui8; every other integer is signless.
mlir::Type elementOf(mlir::MLIRContext *context, DType type);

/// Nothing for a type that no tensor has.
std::optional<DType> dtypeOf(mlir::Type type);

} // namespace heddle::compiler
