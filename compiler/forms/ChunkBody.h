// What one chunk of tokens does, for every walk over chunks: decays inside it, the weights of its
// pairs, what it writes, how it is read, the state after it. With b the prefix sum of the
// log2-decays inside a chunk, W(x, y)_ij = sum_d x_id y_jd 2^(b_i - b_j), every update is a list of
// writes (keys k, values u):
//
//   add     (k, v)
//   delta   (k, N),          (I + beta stril W(k, k)) N = beta (v - (k 2^b) S)
//   dplr    (k, v), (y, P),  (I - stril W'(a, y)) P = W'(a, k) v + (a 2^b') S,   ' = before the
//   decay
//
//   O = (q 2^b) S + sum over writes of tril W(q, k) u
//   S = 2^(b_last) S + sum of (k 2^(b_last - b))^T u
//
// A short chunk is filled with tokens that write nothing and do not decay. Sub-tokens that are
// written lie side by side as rows, `scan.writes` a token.
#pragma once

#include "compiler/forms/ScanKernel.h"

namespace heddle::compiler {

/// The decay from one place of a chunk to another; both null without a decay. [rows] for one number
/// a token, [rows, F] for one a feature.
struct Decay {
  mlir::Value log;    ///< log2 of the factor
  mlir::Value factor; ///< 2^log
};

struct ChunkDecay {
  Decay through; ///< up to and with the token, of rows that are written
  Decay before;  ///< up to the token
  Decay after;   ///< of the tokens behind it
  Decay total;   ///< of the chunk: [] or [F]
  Decay reads;   ///< up to and with the token, of rows that are read; before it if read early
};

struct Write {
  mlir::Value keys, values; ///< [rows, F], [rows, V]
};

struct Chunk {
  mlir::Value t, valid; ///< first token; how many are there
  ChunkDecay decay;
  llvm::SmallVector<Write> writes;
};

/// Who reads: a query head of the group, a sub-token; null where there is one.
struct Reader {
  mlir::Value member, sub;
};

/// What a row reads: values, and the sum of weights (null without a norm).
struct ReadRows {
  mlir::Value O, l; ///< [C, V], [C]
};

/// A chunk as a linear map of the state: S' = total S - (keys decayed to the end)^T effect S, plus
/// what it writes itself.
struct ChunkMap {
  mlir::Value keys, values; ///< [R, F], [R, V]
  mlir::Value inverse;      ///< (I + M)^-1 beta [R, R]; null for update add
  mlir::Value entering;     ///< keys decayed from the chunk's start, [R, F]; null for update add
  mlir::Value effect;       ///< inverse entering, [R, F]; null for update add
};

class ChunkBody {
public:
  ChunkBody(const ScanProblem &scan, ProgramWriter &program, llvm::StringRef name, int64_t chunk);

  const ScanProblem &scan;
  ScanKernel kernel;
  KernelWriter &w;
  const int64_t C, R; ///< rows that are read, rows that are written
  mlir::Value length; ///< T
  mlir::Value rows;   ///< 0, 1, .. C - 1: token of a row that is read
  mlir::Value tokens; ///< the same of a row that is written
  /// Of products with features; none: that of the operands' type.
  std::optional<tile::Precision> precision;

  /// The loop over tokens lo .. hi (a token each step of C) with a state.
  ScanState loop(mlir::Value lo, mlir::Value hi, const ScanState &start,
                 llvm::function_ref<ScanState(mlir::Value, const ScanState &)> body);

  /// Decays and writes of the chunk at t. Updates that correct what is there read S.
  Chunk chunkAt(mlir::Value t, mlir::Value valid, mlir::Value S);
  /// For each reader: `read` makes the rows, which are normalised and stored.
  void readAll(const Chunk &chunk,
               llvm::function_ref<ReadRows(const Reader &, mlir::Value Q)> read);
  /// State and pairs; `gate` [C, R], null for 1, multiplies the weights of pairs.
  ReadRows readState(const Chunk &chunk, const ScanState &state, mlir::Value Q,
                     mlir::Value gate = {});
  /// State before the chunk, and pairs of the chunk in both directions.
  ReadRows readBothWays(const Chunk &chunk, const ScanState &state, mlir::Value Q);
  ScanState advance(const Chunk &chunk, const ScanState &state);
  /// For each reader, its mapped queries.
  void readAllInto(const Chunk &chunk,
                   llvm::function_ref<void(const Reader &, mlir::Value Q)> body);

  // ---- updates add and delta as a map of any state ----

  ChunkMap mapOf(const Chunk &chunk);
  /// Weights of the chunk's values [C, R], and rows that read a state before the chunk [C, F].
  std::pair<mlir::Value, mlir::Value> readMap(const Chunk &chunk, const ChunkMap &map,
                                              mlir::Value Q);
  /// The state after the chunk; `written`: with what the chunk writes, else without.
  mlir::Value changed(const Chunk &chunk, const ChunkMap &map, mlir::Value S, bool written);

  // ---- parts ----

  ChunkDecay decayOf(mlir::Value t, mlir::Value valid);
  mlir::Value load(llvm::StringRef role, mlir::Value t, mlir::Value valid, int64_t columns = 0);
  /// Mapped queries of a reader.
  mlir::Value queries(const Chunk &chunk, const Reader &reader);
  ReadRows nothing();
  void store(const Chunk &chunk, const Reader &reader, ReadRows read);

  /// x with the decay's factor; x itself without one.
  mlir::Value decayed(mlir::Value x, const Decay &decay);
  mlir::Value decayedState(mlir::Value S, const Decay &total);
  mlir::Value multiplied(mlir::Value x, const Names &dims, mlir::Value factor,
                         const Names &factorDims);
  /// x S + init, [rows, V].
  mlir::Value read(mlir::Value x, mlir::Value S, mlir::Value init);
  /// A u + init, [rows, V].
  mlir::Value combine(mlir::Value A, mlir::Value u, mlir::Value init);
  mlir::Value rowSums(mlir::Value A, mlir::Value init);
  /// Weights of the chunk's pairs, f of their products: f(q_i . k_j) 2^(b_i - b_j) for j <= i.
  using OfProduct = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::Value)>;
  mlir::Value pairWeights(const Chunk &chunk, mlir::Value Q, mlir::Value K, OfProduct f);
  mlir::Value zeros(llvm::ArrayRef<int64_t> shape) { return w.fill(w.f32(shape), 0); }
  /// x_id z_d.
  mlir::Value times(mlir::Value x, mlir::Value z);

  pattern::UpdateKind update() const { return scan.op().getUpdate(); }
  bool readsEarly() const { return scan.op().getRead() == pattern::ReadKind::bonus; }
  bool normed() const { return scan.op().getNorm() != pattern::NormKind::None; }

private:
  /// One side of pairs; `order` [rows] says which of them see each other.
  struct Side {
    mlir::Value x;
    Decay decay;
    mlir::Value order;
  };
  struct Pairs {
    bool strict = false;   ///< j < i instead of j <= i
    bool bothWays = false; ///< all of them, decayed by their distance
    mlir::Value factor;    ///< [rows of x]
    mlir::Value diagonal;  ///< put at i = j
    mlir::Value gate;      ///< [rows of x, rows of y]
    OfProduct f;           ///< of the product of x and y
  };
  mlir::Value weights(const Side &x, const Side &y, const Pairs &pairs);
  ReadRows readWith(const Chunk &chunk, const ScanState &state, mlir::Value Q, Pairs pairs);
  mlir::Value featureProducts(const Side &x, const Side &y, bool strict);
  Side written(mlir::Value x, const Decay &decay) { return {x, decay, writtenRows}; }
  Decay decayFrom(mlir::Value log, const Names &dims);
  ChunkDecay constantDecayOf(mlir::Value valid);
  mlir::Value logDecay(llvm::StringRef role, mlir::Value t, mlir::Value valid);
  llvm::SmallVector<Write> writesOf(mlir::Value t, mlir::Value valid, const ChunkDecay &decay,
                                    mlir::Value S);
  mlir::Value bonusOf(mlir::Value Q, mlir::Value K);

  mlir::Value writtenRows; ///< 0, 1, .. R - 1
  mlir::Value perToken;    ///< log2 of a constant decay
  mlir::Value bonus;       ///< u [F]
  llvm::StringMap<mlir::Value> views;
};

} // namespace heddle::compiler
