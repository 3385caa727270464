// The passes on tile IR. Pipeline.cpp puts them in order; heddle-opt runs them by name on text.
#pragma once

#include "mlir/Pass/Pass.h"

#include <memory>
#include <optional>

namespace heddle::compiler {

/// tile-loops: a loop over all keys that carries a support becomes, for each zone, a loop over the
/// edge tiles and a loop over the full tiles. Bounds are computed at kernel start. Every loop's
/// body is still the whole one.
std::unique_ptr<mlir::Pass> createTileLoopsPass();

/// split-edges: bodies of full loops lose the mask and the bounds of loads along the keys.
std::unique_ptr<mlir::Pass> createSplitEdgesPass();

/// simplify-maps: constant factors are folded (scale, log2 e, softcap), exp and log become exp2 and
/// log2, a map that only one other map reads joins it; then folding and common subexpressions.
std::unique_ptr<mlir::Pass> createSimplifyMapsPass();

/// fold-scale: max(s c) = c max(s) for a constant c > 0: the factor is applied once a row, and in
/// the exponential's argument, where it is one multiply-add.
std::unique_ptr<mlir::Pass> createFoldScalePass();

/// hoist-reciprocals: x / l with a number l of the row becomes x * (1 / l).
std::unique_ptr<mlir::Pass> createHoistReciprocalsPass();

/// What a floating-point constant is worth; nothing for any other value.
std::optional<double> floatConstant(mlir::Value value);

/// What a tile was before a map widened it from `type`, or null.
mlir::Value unwidened(mlir::Value value, mlir::Type type);

/// Whether the op is a map that rounds its tile, element by element, and does nothing else.
bool isNarrowing(mlir::Operation *op);

/// The tile rounded to `type` by a map behind it.
mlir::Value narrowed(mlir::Value value, mlir::Type type);

/// Registers all passes by name; called by heddle-opt alone.
void registerPasses();

} // namespace heddle::compiler
