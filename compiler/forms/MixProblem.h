// A mix, as a form wants to see it: its operands (a tensor, or what an expression makes of
// tensors), its lengths and heads, every expression with static dims, constants and lets put in.
#pragma once

#include "compiler/forms/PatternProblem.h"

namespace heddle::compiler {

/// q, k or v of a mix: a tensor [B, T, H, width], or an expression of other tensors that is
/// computed where the operand is read.
struct Operand {
  std::string tensor; ///< empty: `value` alone
  /// An element in terms of `row` (q) or `j`, the operand's head `hq`, `hk` or `hv`, the feature
  /// `d`; null: the tensor's element.
  Expr value;
  Extent heads;
  int64_t width = 0;
  int64_t first = 0; ///< feature of the tensor where the operand begins
};

struct MixProblem : PatternProblem {
  pattern::MixOp mix;
  Operand q, k, v;
  mlir::Type element;          ///< of the operands in products: f32, bf16 or f16
  std::string o, lse;          ///< names of the results; lse may be empty
  Extent B, Tq, Tk, H, Hq, Hk; ///< H: heads of the output
  int64_t D = 0, Dv = 0, G = 1;
  bool bottomRight = true;
  Expr support, score, sink, normArg; ///< sink and normArg may be null
  Expr decay;                         ///< log-decay of the pair (i, j); null: none
};

} // namespace heddle::compiler
