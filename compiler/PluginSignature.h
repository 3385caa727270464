// From a parsed pattern to the Signature that libheddle binds tensors with.
#pragma once

#include "ir/pattern/PatternDialect.h"
#include "runtime/Result.h"
#include "runtime/Signature.h"

namespace heddle::compiler {

/// The signature of a verified pattern. Static are the dims that lie inside the rows of some tensor
/// (head widths, page sizes) and G; run-time are batch, lengths (T*), head counts (H*) and dims
/// that only ever come first. Extents that are expressions become formulas; Unsupported where one
/// uses something a formula cannot.
Result<Signature> signatureOf(pattern::DefOp def);

} // namespace heddle::compiler
