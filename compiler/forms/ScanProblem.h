// A mix as a scan: per head a state S [features, V] that decays, is written by each token and read
// by it. What the recurrent and the chunked form have in common: the analysis, and its refusals.
#pragma once

#include "compiler/forms/MixProblem.h"

namespace heddle::compiler {

/// What one step's decay multiplies the state with.
enum class StateDecay {
  None,
  Token,   ///< one number (constant per head, or per token)
  Feature, ///< a number a row of S
  Channel  ///< a number an element of S
};

struct ScanProblem {
  MixProblem problem;
  StateDecay decay = StateDecay::None;
  int64_t features = 0; ///< rows of S: width of mapped keys
  int64_t writes = 1;   ///< sub-tokens that a token writes
  int64_t readouts = 1; ///< and reads
  int64_t group = 1;    ///< query heads that read one state
  Expr scale;           ///< what a product of features is multiplied with
  bool sums = false;    ///< z, the sum of keys, is kept beside S

  pattern::MixOp mix() const { return problem.mix; }
  /// The tensor of that role (q, k, v, decay, beta, a, y, bonus, in_state, in_z, ..), or null.
  const ProblemTensor *input(llvm::StringRef role) const;
  const ProblemTensor *result(llvm::StringRef role) const;
};

/// The analysis. Unsupported, naming the clause, for a mix that is no finite state.
Result<ScanProblem> readScanProblem(const FormRequest &request);

} // namespace heddle::compiler
