// Segments of a sequence as expressions, and the gates of a router over them as stages.
#pragma once

#include "compiler/forms/GraphReader.h"

namespace heddle::compiler {

/// Where segments lie: of constant length, or the powers of two of the length, largest first. The
/// latter count its bits from the highest on; one that is not set is a segment without tokens.
class SegmentCuts {
public:
  /// `length` of a segment; null: powers of two of T.
  SegmentCuts(Expr length, Expr T) : length(length), T(T) {}

  Expr of(Expr t) const;    ///< number of token t's segment
  Expr begin(Expr n) const; ///< first token of segment n
  Expr size(Expr n) const;  ///< tokens of segment n, the last one filled up
  /// An upper bound of their number, for workspace.
  Expr count() const;

private:
  Expr bit(Expr n) const; ///< 2^(bitlen(T) - 1 - n)
  Expr length, T;
};

/// Adds the stages that compute softmax or top-k gates [T, H, segments] from pools of keys (or of
/// what the mix names). The running segment's pool is that of its tokens so far.
Status addRouterGates(GraphReader &reader, pattern::MixOp mix, const SegmentCuts &cuts,
                      const Extent &T, const Extent &H, llvm::StringRef o, std::string &gates);

} // namespace heddle::compiler
