// The chunked form: pairs inside a chunk of tokens, a state between chunks.
#pragma once

#include "compiler/forms/Form.h"

namespace heddle::compiler {

/// Empty if the pattern is one mix that is a scan; else the clause that forbids it.
std::string refuseChunked(const FormRequest &request);
/// Knob CHUNK: tokens of a chunk.
mlir::OwningOpRef<mlir::ModuleOp> buildChunked(const FormRequest &request);

} // namespace heddle::compiler
