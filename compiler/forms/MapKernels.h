// Kernels of the stages beside a mix: maps, and prefix sums of decays.
#pragma once

#include "compiler/forms/Graph.h"
#include "compiler/forms/Program.h"

namespace heddle::compiler {

/// Why the stage has no kernel; empty if it has one.
std::string refuseMap(const PatternProblem &problem, const MapStage &stage);

/// Whether `next` can be computed in the kernel of `maps`: tensors of one shape, and what it reads
/// of theirs is its own element.
bool joins(const PatternProblem &problem, llvm::ArrayRef<const MapStage *> maps,
           const MapStage &next);

/// One kernel for maps that join: grid (tiles of the first and the last dim, the dims between,
/// batch).
void writeMaps(ProgramWriter &program, const PatternProblem &problem,
               llvm::ArrayRef<const MapStage *> maps);

/// One kernel that walks the sequence, and one for the paths of a tree: grid (tiles of the last
/// dim, the dims between and tiles of nodes, batch).
void writePrefix(ProgramWriter &program, const PatternProblem &problem, const PrefixStage &stage);

/// One kernel that walks the nodes: grid (tiles of columns, batch).
void writeAncestors(ProgramWriter &program, const PatternProblem &problem,
                    const AncestorStage &stage);

} // namespace heddle::compiler
