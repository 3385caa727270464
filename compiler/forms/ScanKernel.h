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
  mlir::Value head, batch;   ///< of the state; the batch counts packed sequences where they are
  mlir::Value first, length; ///< first token in its tensors; number of keys

  int64_t F() const { return scan.features; }
  int64_t V() const { return scan.Dv; }

  /// Window of a tensor [B, T, (sub), H, rest..]: of all tokens (null t), or of one; null `sub`
  /// where there is no such axis. `member` of the group of query heads for q and o; `last` an index
  /// of the last dimension, null for all.
  mlir::Value tokens(const ProblemTensor &tensor, mlir::Value t, mlir::Value sub,
                     mlir::Value member = {}, mlir::Value last = {});
  /// Window of a tensor [B, H, rest..] or [H, rest..]; `member` as above.
  mlir::Value heads(const ProblemTensor &tensor, mlir::Value member = {});
  /// u of read bonus, [F]; whether query heads that share a state have one each.
  mlir::Value loadBonus(mlir::Value member = {});
  bool hasBonusByMember() const;

  /// Tokens t .. of a view, `valid` of them there, as an f32 tile [rows] or [rows, columns]; the
  /// others are zeros, as are columns that the tensor lacks (0 columns: as many as it has).
  mlir::Value loadRows(const ProblemTensor &tensor, mlir::Value view, mlir::Value t, int64_t rows,
                       mlir::Value valid, int64_t columns = 0);
  /// The whole of a view without run-time extents, as an f32 tile of that shape or wider.
  mlir::Value loadAll(const ProblemTensor &tensor, mlir::Value view, llvm::ArrayRef<int64_t> shape);
  mlir::Value asF32(mlir::Value tile);

  /// Where token t of the sequence lies.
  mlir::Value at(mlir::Value t) { return first ? w.add(first, t) : t; }
  /// Mapped keys from a tile of raw ones. Tokens that are not there are zeros after the maps too:
  /// `index` < `valid` if given.
  mlir::Value mappedKeys(mlir::Value raw, mlir::Value index = {}, mlir::Value valid = {});
  /// Mapped queries at t (and behind it), times the score's factor.
  mlir::Value mappedQueries(mlir::Value raw, mlir::Value t);
  /// x, whose rows ([C, ..]) or whole ([..]) stands at t, times the score's factor.
  mlir::Value scaled(mlir::Value x, const Names &dims, mlir::Value t);
  /// From here on expressions are of this query head of the group; null: of the state's head.
  void readAs(mlir::Value member);

  /// log2 of a constant decay, as a number; null for other decays.
  mlir::Value constantDecay();
  /// Numbers are computed before the loop that has this index.
  void computeNumbersBefore(mlir::Value loopIndex);
  /// Value of an expression of the head, at the kernel's start.
  mlir::Value number(Expr expr);

  /// States in memory: [.., H, F, V] and [.., H, F] with these indices in front of the head.
  ScanState loadState(llvm::StringRef S, llvm::StringRef z, mlir::Value slot);
  void storeState(const ScanState &state, llvm::StringRef S, llvm::StringRef z, mlir::Value slot,
                  mlir::Value valid = {});
  /// Column n of a tensor [B, T, H, columns], tokens t.. of the head as f32 [rows].
  mlir::Value column(const ProblemTensor &tensor, mlir::Value n, mlir::Value t, int64_t rows,
                     mlir::Value valid, mlir::Value member = {});

  /// Tokens of earlier runs that the sequence begins behind: `in_position`, never above `most`
  /// whatever it holds; 0 without one.
  mlir::Value tokensBefore(int64_t most);

  ScanState enter();
  void leave(const ScanState &state);

  /// o = O / its norm: O [rows, V] or [V], l the sums; the norm's argument is a tile of the rows, a
  /// number, or null.
  mlir::Value normalised(mlir::Value O, mlir::Value l, mlir::Value argument);
  /// Argument of the norm for rows from `t` on, [rows]; null if it has none.
  mlir::Value normArgument(mlir::Value t, int64_t rows);

private:
  mlir::Value bankView(llvm::StringRef name, mlir::Value slot);
  static tile::KernelOp addKernel(ProgramWriter &program, const ScanProblem &scan,
                                  llvm::StringRef name);
  ScanKernel(tile::KernelOp kernel, const ScanProblem &scan);
};

} // namespace heddle::compiler
