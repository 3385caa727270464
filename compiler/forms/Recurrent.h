// The recurrent form: one token after the other, a state that each writes and reads.
#pragma once

#include "compiler/forms/Form.h"

namespace heddle::compiler {

/// Empty if the pattern is one mix that is a scan; else the clause that forbids it.
std::string refuseRecurrent(const FormRequest &request);
mlir::OwningOpRef<mlir::ModuleOp> buildRecurrent(const FormRequest &request);

} // namespace heddle::compiler
