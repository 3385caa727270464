// From the vector dialect to native code: func + scf + vector + arith + math + llvm (memory) ->
// LLVM dialect -> LLVM IR -> object -> shared object. Deterministic; nothing is read from the
// machine the compiler runs on.
#pragma once

#include "compiler/machine/Isa.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace heddle::compiler::cpu {

/// What to stop at.
enum class NativeForm { LlvmText, Assembly, Object };

/// Lowers `module` (changed in place, to the LLVM dialect), optimises it for `isa` and emits
/// `form`. The module may define functions but call none outside itself. CompilerFailure on errors.
Result<std::string> emitNative(mlir::ModuleOp module, const Isa &isa, NativeForm form);

/// Links one object into a shared object without dependencies that exports its global functions.
/// An undefined symbol (libc included) is an error. Thread safe: one link at a time.
Result<std::string> linkSharedObject(const std::string &object);

} // namespace heddle::compiler::cpu
