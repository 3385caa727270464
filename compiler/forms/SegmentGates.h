// Segments of a sequence as expressions, and the gates of a router over them as stages.
#pragma once

#include "compiler/forms/GraphReader.h"

namespace heddle::compiler {

/// Where segments lie: of constant length, or the powers of two of the length, largest first. The
/// latter count its bits from the highest on; one that is not set is a segment without tokens. A
/// run that goes on has `position` tokens behind it, which count for the numbers of segments.
struct SegmentCuts {
  Expr length;        ///< null: powers of two of T
  Expr T;             ///< tokens of this run
  Expr position = {}; ///< tokens of earlier runs; null: 0
  Expr slots = {};    ///< ended segments that the caller has room for; null: all of this run

  Expr of(Expr t) const;     ///< number of token t's segment
  Expr begin(Expr n) const;  ///< first token of this run in segment n
  Expr end(Expr n) const;    ///< behind its last one, the last segment filled up
  Expr exists(Expr n) const; ///< whether it has tokens
  /// The segment that this run begins in, which begins with its next token if it is full; and what
  /// it has of earlier runs. Null without a position: segment 0, and nothing.
  Expr first() const;
  Expr inFirst() const;
  Expr ended() const; ///< segments that end with a token before the last one
  /// An upper bound of their number, for workspace.
  Expr count() const;

private:
  Expr bit(Expr n) const; ///< 2^(bitlen(T) - 1 - n)
};

/// What a router sees of segments: sums or means of their keys (or of what the mix names), those of
/// earlier runs among them.
class SegmentPools {
public:
  SegmentPools(GraphReader &reader, pattern::MixOp mix, const SegmentCuts &cuts)
      : reader(reader), mix(mix), cuts(cuts) {}

  /// Adds the stage of prefix sums that pools are differences of.
  Status addSums();
  /// Softmax or top-k gates [T, H, segments] as stages. The running segment's pool is that of its
  /// tokens so far.
  Status addGates(const Extent &T, const Extent &H, llvm::StringRef o, std::string &gates);
  /// The results pool and run_pool, where the mix has them: what the next run begins with.
  Status addResults(Expr heads, const ProblemTensor *pools, const ProblemTensor *running);

  mlir::Value router() { return mix.input("router") ? mix.input("router") : mix.getQ(); }
  mlir::Value pooled() { return mix.input("pooled") ? mix.input("pooled") : mix.getK(); }
  /// Head of a value for head h of `heads`, its own being dimension `dim`.
  Expr headOf(mlir::Value value, size_t dim, Expr h, Expr heads);
  /// What tokens before `end` give segment n, and by how many it is to be divided; null: by none.
  Expr total(Expr n, Expr end, Expr h, Expr heads, Expr e);
  Expr divisor(Expr n, Expr end);
  /// Segments of earlier runs, whose pools are what the caller has; null: none.
  Expr given(Expr n, Expr h, Expr heads, Expr e);

private:
  GraphReader &reader;
  pattern::MixOp mix;
  const SegmentCuts cuts;
  PrefixStage sums;
};

} // namespace heddle::compiler
