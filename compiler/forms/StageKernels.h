// The kernels of stages that stand beside mixes, whatever form the mixes take.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// Why the stage has no kernel; empty if it has one, or is a mix.
std::string refuseStage(const Graph &graph, const Stage &stage);

/// Writes the kernels of all stages in order; `writeMix` those of mixes. Neighbouring maps that
/// join become one, but for other targets than the CPU.
void writeStages(ProgramWriter &program, const FormRequest &request, const Graph &graph,
                 llvm::function_ref<void(const Stage &)> writeMix);

} // namespace heddle::compiler
