// Kernels of scans that walk their tokens in another way than once forwards with one state: each
// adds one kernel of that name. `chunk` tokens at a time; with 1 this is the recurrent form.
#pragma once

#include "compiler/forms/Program.h"
#include "compiler/forms/ScanProblem.h"

namespace heddle::compiler {

/// States at the ends of segments are kept in a bank and read, gated, beside the running one.
void writeSegments(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                   int64_t chunk);
/// A state for every power-of-two bucket of the past; `chunk` a power of two.
void writeLevels(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk);
/// A scan backwards that leaves what it reads, then one forwards that adds it.
void writeTwoWay(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk);
/// One state of all keys, then all queries.
void writeStatic(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                 int64_t chunk);
/// Power features: the state in memory, features made where they are multiplied.
void writePowerChunks(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                      int64_t chunk);
/// Whichever of these the scan is; false for a plain walk forwards.
bool writeOtherWalk(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                    int64_t chunk);

} // namespace heddle::compiler
