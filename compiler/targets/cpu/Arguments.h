// The parameter block as a kernel reads it.
#pragma once

#include "compiler/targets/cpu/VectorBuilder.h"
#include "ir/tile/TileDialect.h"
#include "runtime/Artifact.h"

namespace heddle::compiler::cpu {

/// Emits loads from the parameter block by name. A name the artifact lacks gives a null Value.
class Arguments {
public:
  Arguments(VectorBuilder &e, tile::ProgramOp program, const Artifact &artifact, Value block)
      : e(e), program(program), artifact(artifact), block(block) {}

  /// Start of a tensor or workspace buffer.
  Value pointer(llvm::StringRef name);
  /// Stride of a dimension in elements; 1 for the last.
  Value stride(llvm::StringRef name, int64_t dim);
  /// Extent of a dimension.
  Value extent(llvm::StringRef name, int64_t dim);
  /// An extent or parameter as `type` (index, f32 or f64).
  Value scalar(llvm::StringRef name, mlir::Type type);
  Value formula(tile::FormulaAttr formula);

private:
  Value word(Argument::Kind kind, int32_t index, int32_t dim, mlir::Type type);
  int64_t tensorIndex(llvm::StringRef name);
  int64_t bufferIndex(llvm::StringRef name);
  mlir::ArrayAttr shapeOf(llvm::StringRef name);

  VectorBuilder &e;
  tile::ProgramOp program;
  const Artifact &artifact;
  Value block;
};

} // namespace heddle::compiler::cpu
