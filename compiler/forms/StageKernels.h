// The kernels of stages that stand beside mixes, whatever form the mixes take.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// Why the stage has no kernel; empty if it has one, or is a mix.
std::string refuseStage(const Graph &graph, const Stage &stage);

/// Writes its kernel; nothing for a mix.
void writeStage(ProgramWriter &program, const Graph &graph, const Stage &stage);

} // namespace heddle::compiler
