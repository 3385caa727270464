// Feature maps of q and k on tiles of tokens, in f32: silu, relu, elu1, exp, scale, l2norm, append.
// A tile is wide enough for the mapped features from the start; columns that are not there yet are
// 0.
#pragma once

#include "compiler/forms/Elementwise.h"

namespace heddle::compiler {

/// Why the feature maps cannot be put into a kernel; empty if they can. Others become a map before
/// the mix.
std::string refuseFeatures(const PatternProblem &problem, mlir::ArrayAttr features);
/// Width of a mapped row of `given` features.
int64_t featureWidth(int64_t given, mlir::ArrayAttr features);
/// Whether a token of zeros stays one.
bool keepsZero(mlir::ArrayAttr features);
/// Whether a column is put beside the others: keys of norm 1 become longer, and alike.
bool appendsColumn(mlir::ArrayAttr features);
/// Whether one of them takes an exponential an element, or a sum over the row.
bool hasCostlyFeature(mlir::ArrayAttr features);
/// `tile`, f32 with features along its last dimension "d" of which the first `given` are there,
/// mapped. Numbers that maps need are computed at scope.start.
mlir::Value mapFeatures(KernelWriter &w, TileScope &scope, const PatternProblem &problem,
                        mlir::ArrayAttr features, int64_t given, mlir::Value tile);

} // namespace heddle::compiler
