// Concrete tile IR -> func, scf, vector, arith, math and llvm (memory only).
//
//   tile.kernel @attn  ->  func @attn(block, first, last, scratch)      exported; loops over points
//                          func private @attn.point(scratch, x, y, z, pointers..)    one grid point
#pragma once

#include "compiler/machine/Isa.h"
#include "compiler/targets/cpu/Nests.h"
#include "runtime/Artifact.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace heddle::compiler::cpu {

/// Lowers every kernel of `program` into a new module. `artifact` gives the argument table: tensors
/// and scalars by name, workspace buffers in the program's order. Scratch bytes of each kernel go
/// to `scratchBytes` in order. Unsupported (with the op and reason) where an op has no lowering.
Result<mlir::OwningOpRef<mlir::ModuleOp>> lowerTileToVector(tile::ProgramOp program,
                                                            const Artifact &artifact,
                                                            const Isa &isa, Blocking blocking,
                                                            std::vector<int64_t> &scratchBytes);

} // namespace heddle::compiler::cpu
