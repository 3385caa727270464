// Feature maps of q and k: the table of names and arguments, text, checks. Internal to ir/pattern.
#pragma once

#include "ir/pattern/OpText.h"

namespace heddle::pattern {

/// Names that the arguments of a feature map may use on the side of q or of k; `f` is the index of
/// a rotated pair, x and d an element and its index (each).
std::vector<ContextName> featureNames(bool query);

/// [silu, rope(base = 10000.0)]
mlir::ParseResult parseFeatures(OpReader &reader, bool query, mlir::ArrayAttr &out);
void printFeatures(OpWriter &writer, mlir::ArrayAttr features);
/// Emits an error at `op` if a name, an argument or its type is not in the table.
mlir::LogicalResult checkFeatures(mlir::Operation *op, const TypeScope &scope,
                                  mlir::ArrayAttr features, bool query);

/// One line a feature map: "silu", "rope(base = .., ..): ...", for the tool's help.
std::vector<std::string> featureHelp();

} // namespace heddle::pattern
