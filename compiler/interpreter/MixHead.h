// One head of one sequence of a mix, ready for both evaluators: mapped keys, values, prefix sums of
// the log-decays, gates. Everything a formula of the pair or of the scan names.
#pragma once

#include "compiler/interpreter/Features.h"
#include "compiler/interpreter/Segments.h"

namespace heddle::compiler {

/// b_j = sum of the log-decays on the path up to and with key j; `width` entries each.
struct DecayPrefix {
  int64_t width = 0; ///< 0: no decay, 1: a number, features: a vector, features * columns
  std::vector<double> sums;
  /// Key -1 is the state on entry: zeros.
  const double *at(int64_t key) const { return sums.data() + (key + 1) * width; }
};

class MixHead {
public:
  static Result<MixHead> make(pattern::MixOp op, const Environment &environment);

  /// Loads keys, values, decays and gates.
  Status enter(int64_t sequence, int64_t head);
  /// Only says where it stands: enough for visible().
  void place(int64_t sequence, int64_t head);
  bool supportUses(int slot) const { return support->uses(slot); }
  /// Width of a mapped key.
  Result<int64_t> countFeatures();
  const double *key(int64_t j, int64_t sub) const {
    return keys.data() + (j * in.writes + sub) * features;
  }
  const double *value(int64_t j, int64_t sub) const {
    return values.data() + (j * in.writes + sub) * in.widthV;
  }
  /// The mapped row of a query.
  std::vector<double> query(int64_t row, int64_t sub);
  /// The keys that a query sees, ascending.
  const std::vector<double> &visible(int64_t row);
  /// The chain over products s[n] with the keys j[n], in place.
  void chain(int64_t row, const double *j, double *s, int64_t count);
  /// chain(1): what a linear chain multiplies the product with.
  double factor(int64_t row);
  /// Value of an optional expression of the op at a query (sink, epsilon, floor).
  double at(std::optional<ExprProgram> &program, int64_t row, double otherwise);
  /// Key index of a query clamped to where a prefix sum is known; before the first key: -1.
  int64_t time(int64_t row) const {
    return std::max<int64_t>(-1, std::min(in.keyOf(s, row), s.lenK - 1));
  }
  bool hasState() const { return !state.empty(); }

  pattern::MixOp op;
  MixInputs in;
  Segments segments;
  Sequence s;
  int64_t head = 0;
  int64_t features = 0; ///< width of mapped keys and queries
  DecayPrefix decay;
  std::vector<double> state;                ///< on entry [features, widthV], empty: zeros
  std::vector<double> sums;                 ///< on entry [features]
  std::vector<double> bank;                 ///< on entry [segments or levels, features, widthV]
  std::vector<double> bonus;                ///< u [features]
  std::vector<double> tapPrevious, tapHere; ///< [keys], empty without taps
  std::vector<double> lastKey, lastValue;   ///< on entry [writes, ...], mapped
  std::optional<ExprProgram> sink, normArgument; ///< see at()

private:
  Status loadKeys();
  Status loadDecay();
  Status loadEntry();

  FeatureMaps mapsQ, mapsK;
  std::optional<ExprProgram> support, score, decayValue;
  TokenTensor decayInput, previousInput, hereInput;
  std::vector<double> keys, values, seen, mask, all;
  int64_t loadedSequence = -1, loadedKeyHead = -1, loadedValueHead = -1;
};

/// True if the expression is c * s with a c free of s and j.
bool isLinearChain(pattern::ExprAttr score);

} // namespace heddle::compiler
