// Feature maps of q and k on tiles of tokens, in f32: silu, relu, elu1, exp, scale, l2norm, append.
// A tile is wide enough for the mapped features from the start; columns that are not there yet are
// 0.
#pragma once

#include "compiler/forms/Elementwise.h"

namespace heddle::compiler {

/// Why the feature maps of that side cannot be put into a kernel; empty if they can.
std::string refuseFeatures(const MixProblem &problem, bool query);
/// Width of a mapped q or k.
int64_t featureWidth(const MixProblem &problem, bool query);
/// Whether a token of zeros stays one.
bool keepsZero(const MixProblem &problem, bool query);
/// `tile`, f32 with features along its last dimension "d", mapped. Numbers that maps need are
/// computed at scope.start.
mlir::Value applyFeatures(KernelWriter &w, PairScope &scope, const MixProblem &problem, bool query,
                          mlir::Value tile);

} // namespace heddle::compiler
