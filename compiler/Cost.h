// What a pattern costs on a problem, whatever kernel computes it: pairs, arithmetic, traffic,
// state. Conventions: a multiply-add is 2 FLOP; exponentials are counted apart; compulsory traffic
// is every input and result once at its storage width.
#pragma once

#include "compiler/Interpreter.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/DType.h"
#include "runtime/Result.h"

#include <map>
#include <string>

namespace heddle::compiler {

struct Cost {
  int64_t pairs = 0;      ///< unmasked (b, h, i, j) over all mixes
  double flops = 0;       ///< useful; Interpreter.h, Work, has the convention
  double formFlops = 0;   ///< what the form does
  double sfu = 0;         ///< exponentials (and tanh) of scores
  double bytes = 0;       ///< compulsory traffic
  double stateBytes = 0;  ///< what one sequence carries from token to token: KV, or the state
  double stateFlops = 0;  ///< FLOP that combine one token's activation with the state, last token
  double weightFlops = 0; ///< FLOP of the projections around the pattern, one token

  /// FLOP a byte.
  double intensity() const { return bytes > 0 ? flops / bytes : 0; }
  /// weightFlops : stateFlops; see kWeightStateConvention.
  double weightStateRatio() const { return stateFlops > 0 ? weightFlops / stateFlops : 0; }
};

/// Keys that a sequence's cache has room for, where the mix keeps lengths of their own (layout
/// paged or ring): slots of the ring, or of the pages in a row of the table. 0 for other mixes.
int64_t roomForKeys(pattern::MixOp mix, const std::map<std::string, int64_t> &dims);

/// How weightStateRatio counts.
inline constexpr const char *kWeightStateConvention =
    "weights: q, k, v and o projections of width Hq*D, 2 FLOP a parameter; state: softmax reads "
    "the "
    "whole KV of length Tk, 2 Hq (D + Dv) Tk, a scan 4 H K V; no causal halving";

/// The cost of a pattern on these dims and parameters, in a form (with chunks of `chunk` tokens).
/// Tensors in the bindings are needed only where a support reads them. `dtype` is that of tensors
/// without a type of their own.
Result<Cost> costOf(pattern::DefOp def, const Bindings &bindings, DType dtype,
                    const std::string &form, int64_t chunk);

} // namespace heddle::compiler
