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

/// How the tokens are walked.
enum class ScanWalk {
  Forward,
  TwoWay,   ///< both directions, the decay symmetric
  Static,   ///< all keys first, then all queries: one state for every row
  Segments, ///< states at the ends of segments are kept and read beside the running one
  Levels,   ///< a state for every power-of-two bucket of the past
  Tree      ///< a state a node, from that of its parent
};

/// Features whose state lies in memory: [1, c x, c^2 x x' / sqrt(2)] or all products of `degree`
/// features.
struct PolynomialFeatures {
  int64_t degree = 0; ///< 0: none
  bool taylor = false;
  bool whole = false;      ///< both x_a x_b and x_b x_a, as the language lists taylor2
  Expr scaleQ, scaleK;     ///< c of taylor2
  std::string state, sums; ///< where S [B, H, F, V] and z [B, H, F] lie; f32
};

/// Segments, their gates and where the states lie that are kept, [B, slots, H, F, V].
struct SegmentStates {
  Expr length;       ///< of constant segments; null: powers of two of the length, largest first
  std::string gates; ///< [T, H, segments or levels]; empty: all 1
  std::string bank, sums;
  bool carried = false; ///< a run goes on where one ended; slots of levels are bits of its tokens
  bool running = false; ///< kept states go on decaying
  bool reset = true;
};

struct ScanProblem : PatternProblem {
  pattern::MixOp mix;
  /// Names of tensors by role: q, k, v, decay, beta, a, y, bonus, in_state, in_z, ..; o, state, z.
  /// Two taps are a second pair of keys and values, k_before and v_before.
  /// Results that nobody wants are left out.
  llvm::StringMap<std::string> inputs, results;
  Extent B, T, Hq, Hk, Hv; ///< T: of the keys
  Extent H;                ///< heads of states
  Extent Tq;
  Expr support, score, normArg, constantDecay; ///< the last two may be null
  mlir::ArrayAttr featuresQ, featuresK;        ///< maps that the kernels apply
  int64_t givenG = 0;                          ///< Hq / Hk where the request fixes it

  // What readScan finds.
  ScanWalk walk = ScanWalk::Forward;
  StateDecay decay = StateDecay::None;
  int64_t D = 0, Dq = 0;    ///< widths of k and q as kernels take them, before their features
  int64_t Dv = 0;           ///< width of v
  int64_t features = 0;     ///< rows of S: width of mapped keys
  int64_t writes = 1;       ///< sub-tokens that a token writes
  int64_t readouts = 1;     ///< and reads
  int64_t rowsPerToken = 1; ///< sub-tokens that lie side by side as rows of k, v, beta, a, y
  int64_t group = 1;        ///< query heads that read one state
  Expr scale;               ///< what a product of features is multiplied with
  bool sums = false;        ///< z, the sum of keys, is kept beside S
  PolynomialFeatures polynomial;
  SegmentStates segments;
  std::string ahead, aheadSums; ///< two-way: what the scan backwards reads, [T, H, V] and [T, H]
  std::string nodes, nodeSums;  ///< tree: states of nodes, the first that on entry
  Expr start, tokens;           ///< packed sequences: first token and length of sequence b; or null

  const ProblemTensor *input(llvm::StringRef role) const;
  const ProblemTensor *result(llvm::StringRef role) const;
  pattern::MixOp op() const { return mix; }
};

/// Unsupported for weights whose sum is no finite state, whatever the operands are.
Status checkStateWeights(pattern::MixOp mix);

/// Whether a node of a tree sees itself and its ancestors, which is what its state keeps.
bool seesAncestors(Expr support);

/// Completes the analysis of a mix whose tensors and expressions are known. Unsupported, naming the
/// clause, for a mix that is no finite state.
Status readScan(ScanProblem &scan);

} // namespace heddle::compiler
