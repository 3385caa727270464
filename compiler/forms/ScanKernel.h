// What kernels of the recurrent and the chunked form are made of: views of a state head's operands,
// tokens as f32 tiles with their feature maps, the state's way in and out.
#pragma once

#include "compiler/forms/Program.h"
#include "compiler/forms/ScanFeatures.h"
#include "compiler/forms/ScanProblem.h"

namespace heddle::compiler {

/// S [features, V] and z [features] (null if sums are not kept), f32.
struct ScanState {
  mlir::Value S, z;
};

/// A kernel whose grid is (state heads, batch), with the kernel of that name added to `program`.
class ScanKernel {
public:
  ScanKernel(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name);

  KernelWriter w;
  const ScanProblem &scan;
  TileScope scope;
  mlir::Value head, batch; ///< of the state

  int64_t F() const { return scan.features; }
  int64_t V() const { return scan.Dv; }

  /// Window of a tensor [B, T, (sub), H, rest..]: of all tokens (null t), or of one; null `sub`
  /// where there is no such axis. `member` of the group of query heads for q and o.
  mlir::Value tokens(const ProblemTensor &tensor, mlir::Value t, mlir::Value sub,
                     mlir::Value member = {});
  /// Window of a tensor [B, H, rest..] or [H, rest..].
  mlir::Value heads(const ProblemTensor &tensor);

  /// Tokens t .. of a view, `valid` of them there, as an f32 tile [rows] or [rows, columns]; the
  /// others are zeros, as are columns that the tensor lacks (0 columns: as many as it has).
  mlir::Value loadRows(const ProblemTensor &tensor, mlir::Value view, mlir::Value t, int64_t rows,
                       mlir::Value valid, int64_t columns = 0);
  /// The whole of a view without run-time extents, as an f32 tile of that shape or wider.
  mlir::Value loadAll(const ProblemTensor &tensor, mlir::Value view, llvm::ArrayRef<int64_t> shape);
  mlir::Value asF32(mlir::Value tile);

  /// Mapped queries (times the score's factor) or keys from a tile of raw ones. Tokens that are not
  /// there are zeros after the maps too: `index` < `valid` if given.
  mlir::Value mapped(bool query, mlir::Value raw, mlir::Value index = {}, mlir::Value valid = {});

  /// log2 of a constant decay, as a number; null for other decays.
  mlir::Value constantDecay();
  /// Numbers are computed before the loop that has this index.
  void computeNumbersBefore(mlir::Value loopIndex);
  /// Value of an expression of the head, at the kernel's start.
  mlir::Value number(Expr expr);

  ScanState enter();
  void leave(const ScanState &state);

  /// o = O / its norm: O [rows, V] or [V], l the sums; the norm's argument is a tile of the rows, a
  /// number, or null.
  mlir::Value normalised(mlir::Value O, mlir::Value l, mlir::Value argument);
  /// Argument of the norm for rows from `t` on, [rows]; null if it has none.
  mlir::Value normArgument(mlir::Value t, int64_t rows);

private:
  static tile::KernelOp addKernel(ProgramWriter &program, const ScanProblem &scan,
                                  llvm::StringRef name);
  ScanKernel(tile::KernelOp kernel, const ScanProblem &scan);
};

} // namespace heddle::compiler
