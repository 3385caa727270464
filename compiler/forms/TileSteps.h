// Elementwise steps on f32 tiles that online sums are made of. A matrix runs along i (rows) and e
// (columns of v) or j (keys); a vector along i.
#pragma once

#include "compiler/forms/KernelWriter.h"

#include <limits>

namespace heddle::compiler::steps {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// An f32 constant inside a region.
mlir::Value real(mlir::OpBuilder &builder, mlir::Location at, double value);

/// Any scalar as f32: exact for integers up to 2^24, half formats and f32.
mlir::Value asReal(mlir::OpBuilder &builder, mlir::Location at, mlir::Value x);

/// x y inside a region.
mlir::Value product(mlir::OpBuilder &builder, mlir::Location at, mlir::Value x, mlir::Value y);

using Combine =
    llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;
/// A map over the extents of the first tile, whose dimensions are `dims`; vectors among matrices
/// are repeated along the columns.
mlir::Value combine(KernelWriter &w, mlir::ValueRange tiles, const Names &dims, mlir::Type element,
                    Combine combine);

/// Rounded to a narrower float type.
mlir::Value rounded(KernelWriter &w, mlir::Value tile, const Names &dims, mlir::Type element);
/// m, or 0 where m is -inf: never -inf - -inf.
mlir::Value finiteOrZero(KernelWriter &w, mlir::Value m);
/// exp2(x - y) of vectors.
mlir::Value exp2Difference(KernelWriter &w, mlir::Value x, mlir::Value y);
/// x times a factor a row.
mlir::Value scaled(KernelWriter &w, mlir::Value x, mlir::Value factor, const Names &dims);
/// max(x, y) of vectors.
mlir::Value maximum(KernelWriter &w, mlir::Value x, mlir::Value y);
/// x + y.
mlir::Value sum(KernelWriter &w, mlir::Value x, mlir::Value y);
/// x * a + y * b, with a factor a row each.
mlir::Value weighted(KernelWriter &w, mlir::Value x, mlir::Value a, mlir::Value y, mlir::Value b,
                     const Names &dims);

/// One element of a result: O over its sum l, as the norm has it; `argument` is its epsilon or
/// floor, null for none. 0 where the divisor is 0.
mlir::Value divided(mlir::OpBuilder &builder, mlir::Location at, pattern::NormKind norm,
                    mlir::Value O, mlir::Value l, mlir::Value argument);

} // namespace heddle::compiler::steps
