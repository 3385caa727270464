// Names, roles and canonical order of mix's clauses, shared by its parser, printer and verifier.
// Internal to ir/pattern.
#pragma once

#include "ir/pattern/ExprParser.h"
#include "ir/pattern/MixShape.h"

namespace heddle::pattern {

/// Names inside support: i j row b h hk len_q len_k; score has s as well.
std::vector<ContextName> supportNames();
std::vector<ContextName> scoreNames();
/// Names inside sink and norm: those of support without j. Inside decay constant: h hk b.
std::vector<ContextName> rowNames();
std::vector<ContextName> headNames();
/// Names inside `segments by`: j, len_k, b. Inside codec q, k or v.
std::vector<ContextName> segmentNames();
std::vector<ContextName> codecNames(char operand);

/// j <= i, and s * rsqrt(width): what support and score are when not written.
ExprAttr defaultSupport(mlir::MLIRContext *context);
ExprAttr defaultScore(ExprAttr width);

/// Roles a mix's results may have, o first; without `gives` the leading ones of the default.
llvm::ArrayRef<llvm::StringRef> resultRoles();
llvm::SmallVector<std::string> defaultResultRoles(WeightKind weight, size_t count);

} // namespace heddle::pattern
