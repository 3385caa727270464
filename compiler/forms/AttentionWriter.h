// Writes the kernels of a mix as weights of pairs. Inner to this folder; Attention.h is the form.
//
//   AttentionKernels   grids: tiles of rows, or one query row whose heads are the rows of a tile
//   AttentionTiles     lengths, heads, what a tile of rows or keys reads
//   AttentionSteps     the loop over keys: masks, weights, online sums
//   AttentionSums      what sums start from, how ranges join, what is stored
#pragma once

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/MixProblem.h"
#include "compiler/forms/Program.h"
#include "compiler/forms/Weights.h"
#include "compiler/support/Emit.h"

namespace heddle::compiler {

/// The rows of a tile: where they stand and what names run along them.
struct RowTile {
  int64_t rows = 0;
  mlir::Value first, last; ///< positions of the first and last row that exist
  mlir::Value Q;           ///< rows x D
  mlir::Value list;        ///< view of the row's list of keys; null: none
  mlir::Value k, v;        ///< views; null where the operand is an expression
  llvm::SmallVector<mlir::Value> supportArgs;
  llvm::SmallVector<mlir::Value> seenAt; ///< where workspace `seen` holds this tile's row of keys
};

/// (m, l, O) of the exponential form, or (l, O) or (O); f32.
using Accumulators = llvm::SmallVector<mlir::Value>;

/// Whether the heads of a key head can be the rows of a tile: their number must be known.
bool canPack(const MixProblem &problem);

class AttentionWriter {
public:
  /// Names of kernels and partial results end in `suffix`.
  AttentionWriter(const MixProblem &problem, const Schedule &schedule, std::string suffix);

  /// Kernel `attn`: grid (row tile, head, batch). `factor` (may be null): 1, or 0 where another
  /// kernel does the work.
  void writeRows(ProgramWriter &program, tile::FormulaAttr factor = {});
  /// Kernel `queries`: one query at a time over the keys of its list, its heads packed where they
  /// share it; then over those of `others` (may be null), the other part of the mix.
  void writeQueries(ProgramWriter &program, AttentionWriter *others, tile::FormulaAttr factor = {});
  /// Kernels `split`, one query row and a range of keys each, and `merge`, which joins the ranges.
  void writeSplit(ProgramWriter &program);
  void writeMerge(ProgramWriter &program);

private:
  using Value = mlir::Value;

  /// One query row: batch, row, the first of the heads that are the rows of the tile, and the heads
  /// of the operands.
  struct PackedRow {
    Value b, row, h0, hq, hk, hv;
  };

  // ---- AttentionKernels.cpp ----
  PackedRow namePackedRow(KernelWriter &w, TileScope &scope, Value b, Value group, Value row);
  RowTile openPackedRow(KernelWriter &w, TileScope &scope, const PackedRow &at);
  /// What a loop over the keys runs to at most.
  Extent loopExtent() {
    return problem.list.tensor.empty() ? problem.Tk : Extent{problem.list.count, "", {}};
  }
  /// Tiles of `packed` heads.
  tile::FormulaAttr headTiles(ProgramWriter &program) {
    if (grouped && packed == problem.G)
      return program.formula(problem.Hk);
    return packed == 1 ? program.formula(problem.H) : program.ratio(problem.H, packed);
  }
  void storePackedRow(KernelWriter &w, TileScope &scope, const Accumulators &sums,
                      const PackedRow &at);

  // ---- AttentionTiles.cpp ----
  Value offset(KernelWriter &w);
  void clampRows(KernelWriter &w, Value &start, Value &length, const Extent &rows);
  void readLengths(KernelWriter &w, TileScope &scope);
  Value headOf(KernelWriter &w, Value h, const Extent &heads);
  void nameHeads(KernelWriter &w, TileScope &scope, Value h);
  Value expressionTile(KernelWriter &w, TileScope &scope, const Operand &operand,
                       llvm::StringRef dim, int64_t extent);
  Value inProducts(KernelWriter &w, Value tile, const Names &dims);
  void loadQueries(KernelWriter &w, TileScope &scope, RowTile &tile, llvm::ArrayRef<Value> indices,
                   llvm::ArrayRef<mlir::OpFoldResult> offsets, mlir::ValueRange valid);
  Value openOperand(KernelWriter &w, const Operand &operand, const RowTile &tile, Value b,
                    Value head);
  void openKeys(KernelWriter &w, RowTile &tile, Value b, Value hk, Value hv);
  Value listRow(KernelWriter &w, const PackedRow &at);
  Value entryOf(KernelWriter &w, Value list, Value n);
  Value countEntries(KernelWriter &w, Value list);
  Value loadKeys(KernelWriter &w, TileScope &scope, const Operand &operand, Value view, Value j,
                 Value valid);
  Value zeroBeyond(KernelWriter &w, Value V, Value j, Value end);
  Value perRow(KernelWriter &w, TileScope &scope, Expr expr, int64_t rows);

  // ---- AttentionSteps.cpp ----
  Accumulators loop(KernelWriter &w, TileScope &scope, const RowTile &tile, Value lo, Value hi,
                    const Accumulators &start);
  Accumulators loopOverBlocks(KernelWriter &w, TileScope &scope, const RowTile &tile,
                              const Accumulators &start);
  Accumulators stepInBlocks(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j,
                            Value end, const Accumulators &state);
  Value isSeen(KernelWriter &w, const RowTile &tile, Value n, KeyRange<ArithAlgebra> range);
  Value seenBit(KernelWriter &w, const RowTile &tile, Value column);
  Accumulators step(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j, Value end,
                    const Accumulators &state);
  Value maskTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value j, Value end);
  Value scoreTile(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S, Value keep,
                  double factor, double masked);
  Accumulators softmaxStep(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S,
                           Value keep, Value V, mlir::Type element, const Accumulators &state);
  Accumulators plainStep(KernelWriter &w, TileScope &scope, const RowTile &tile, Value S,
                         Value keep, Value V, mlir::Type element, const Accumulators &state);

  // ---- AttentionSums.cpp ----
  Accumulators initial(KernelWriter &w, TileScope &scope, int64_t rows, bool withSink);
  void addEntry(KernelWriter &w, TileScope &scope, const RowTile &tile, Accumulators &start,
                Value b, Value h);
  llvm::SmallVector<std::string> partialNames();
  void declarePartials(ProgramWriter &program, tile::FormulaAttr ranges);
  Value partialView(KernelWriter &w, llvm::StringRef name, Value b, Value s);
  Accumulators mergeLoop(KernelWriter &w, Value b, Value h0, Value ranges,
                         const Accumulators &start);
  Value finish(KernelWriter &w, TileScope &scope, const Accumulators &sums, int64_t rows);
  Value normalised(mlir::OpBuilder &builder, mlir::Location at, pattern::NormKind norm,
                   mlir::ValueRange x);
  Value logSum(KernelWriter &w, const Accumulators &sums, int64_t rows);
  void storeRows(KernelWriter &w, const std::string &name, Value tile,
                 llvm::ArrayRef<Value> indices, llvm::ArrayRef<mlir::OpFoldResult> offsets,
                 mlir::ValueRange valid);

  struct Lengths {
    Value q, k, startQ, startK;
    Value seen = {};    ///< keys so far, by which positions count
    Value entries = {}; ///< of the list that stands for the keys; null: none
    Value ofLoop() const { return entries ? entries : k; }
  };

  const MixProblem &problem;
  Weights weights;
  int64_t keys, rowsPerTile, split;
  bool grouped;   ///< where there is one query row: the heads of a key head are the rows of a tile
  int64_t packed; ///< how many heads a tile has; else 1
  std::string suffix;
  Lengths lengths;                                   ///< in the kernel at hand
  llvm::StringRef featureDim = "d", noDim = "none$"; ///< what scopes run along beside the keys
};

} // namespace heddle::compiler
