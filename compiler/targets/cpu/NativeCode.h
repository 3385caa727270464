// From the vector dialect to native code: func + scf + vector + arith + math + llvm (memory) ->
// LLVM dialect -> LLVM IR -> object -> shared object. Deterministic; nothing is read from the
// machine the compiler runs on.
#pragma once

#include "compiler/machine/Isa.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>
#include <vector>

namespace heddle::compiler::cpu {

/// Lowers `module` (changed in place, to the LLVM dialect), optimises it for `isa` and emits an
/// object for each function that it exports, with the private ones that that calls; several at a
/// time, by the processors there are. The module may define functions but call none outside itself.
/// The same bytes for any number of processors. CompilerFailure on errors.
Result<std::vector<std::string>> emitObjects(mlir::ModuleOp module, const Isa &isa);

/// What to print of a module.
enum class NativeText { Llvm, Assembly };

/// The same code of the whole module, to be read.
Result<std::string> printNative(mlir::ModuleOp module, const Isa &isa, NativeText text);

/// Links objects into a shared object without dependencies that exports their global functions.
/// An undefined symbol (libc included) is an error. Thread safe: one link at a time.
Result<std::string> linkSharedObject(const std::vector<std::string> &objects);

} // namespace heddle::compiler::cpu
