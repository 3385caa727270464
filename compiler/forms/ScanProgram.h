// A program of the recurrent or the chunked form: the stages of a pattern in order, maps as their
// own kernels, each mix as the kernels of a scan, or of pairs where it is no state.
#pragma once

#include "compiler/forms/Form.h"
#include "compiler/forms/Graph.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// Why some stage has no kernels; `more` says what the form cannot do of a scan.
std::string refuseScans(const FormRequest &request, MixAs mixes,
                        llvm::function_ref<std::string(const ScanProblem &)> more);

/// `write` adds the kernels of a scan; their names end in the suffix.
mlir::OwningOpRef<mlir::ModuleOp>
buildScans(const FormRequest &request, MixAs mixes,
           llvm::function_ref<void(ProgramWriter &, const ScanProblem &, llvm::StringRef)> write);

} // namespace heddle::compiler
