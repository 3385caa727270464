// A mix as a scan: per head a state S [features, V] that decays, is written by each token and read
// by it. What the recurrent and the chunked form have in common: the analysis, and its refusals.
#pragma once

#include "compiler/forms/PatternProblem.h"

namespace heddle::compiler {

/// What one step's decay multiplies the state with.
enum class StateDecay {
  None,
  Token,   ///< one number (constant per head, or per token)
  Feature, ///< a number a row of S
  Channel  ///< a number an element of S
};

struct ScanProblem : PatternProblem {
  pattern::MixOp mix;
  /// Names of tensors by role: q, k, v, decay, beta, a, y, bonus, in_state, in_z, ..; o, state, z.
  /// Results that nobody wants are left out.
  llvm::StringMap<std::string> inputs, results;
  Extent B, T, Hq, Hk, Hv;
  Expr support, score, normArg, constantDecay; ///< the last two may be null
  mlir::ArrayAttr featuresQ, featuresK;        ///< maps that the kernels apply
  int64_t givenG = 0;                          ///< Hq / Hk where the request fixes it

  // What readScan finds.
  StateDecay decay = StateDecay::None;
  int64_t D = 0;        ///< width of q and k as given
  int64_t Dv = 0;       ///< width of v
  int64_t features = 0; ///< rows of S: width of mapped keys
  int64_t writes = 1;   ///< sub-tokens that a token writes
  int64_t readouts = 1; ///< and reads
  int64_t group = 1;    ///< query heads that read one state
  Expr scale;           ///< what a product of features is multiplied with
  bool sums = false;    ///< z, the sum of keys, is kept beside S

  const ProblemTensor *input(llvm::StringRef role) const;
  const ProblemTensor *result(llvm::StringRef role) const;
  pattern::MixOp op() const { return mix; }
};

/// Completes the analysis of a mix whose tensors and expressions are known. Unsupported, naming the
/// clause, for a mix that is no finite state.
Status readScan(ScanProblem &scan);

} // namespace heddle::compiler
