// Scalar ops of arith and math as C++ expressions.
#pragma once

#include "mlir/IR/Operation.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::compiler::cuda {

/// C++ type of a scalar: index and i32 are int, i64 is long long, i1 is bool.
std::string typeText(mlir::Type type);

/// A literal: 0.125f, 7, true; infinities by a wrapper of the prelude.
std::string literal(double value);
std::string literal(mlir::Attribute value);

/// Whether the parenthesis at `open` closes at the very end of `text`.
bool isClosedBy(std::string_view text, size_t open);

/// The expression in parentheses, unless it is a name, a number or one call.
std::string asOperand(const std::string &text);

/// The expression of `op` for operands that are already expressions (names, literals or in
/// parentheses). Nothing for an op that has no CUDA spelling.
std::optional<std::string> expression(mlir::Operation *op,
                                      const std::vector<std::string> &operands);

} // namespace heddle::compiler::cuda
