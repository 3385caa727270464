// Segment gates of a mix: which segment a key belongs to, where segments end, and the weight gamma
// that a query gives to each of them (memory caching, log-linear attention).
#pragma once

#include "compiler/interpreter/MixInputs.h"

namespace heddle::compiler {

/// Segments and gates of one head of one sequence.
class Segments {
public:
  static Result<Segments> make(const MixInputs &in);

  bool present() const { return kind != pattern::SegmentKind::None; }
  /// Levels of log-linear attention instead of a partition: level(t, j) = bit_length(t xor j).
  bool fenwick() const { return kind == pattern::SegmentKind::fenwick; }

  /// Cuts the sequence and pools its keys. A run that goes on has `before()` ended segments and
  /// `offset()` tokens behind it.
  Status enter(MixInputs &in, const Sequence &s, int64_t head);
  int64_t count() const { return static_cast<int64_t>(ends.size()); }
  int64_t of(int64_t key) const { return key < 0 ? segmentsBefore : segmentOf[key]; }
  /// Last key of a segment; -1 for those of an earlier run.
  int64_t last(int64_t segment) const { return ends[segment]; }
  int64_t before() const { return segmentsBefore; }
  int64_t offset() const { return tokensBefore; }
  bool pools() const { return width > 0; }
  /// What the router holds of a segment, as a query at t sees it: the mean or sum of its keys.
  std::vector<double> pooled(int64_t segment, int64_t t) const;
  /// gamma[i] for the segments i up to that of key t (fenwick: for all levels), of a query at t.
  void gates(MixInputs &in, const Sequence &s, int64_t head, int64_t row, int64_t t,
             std::vector<double> &gamma);

  int64_t level(int64_t t, int64_t j) const;

private:
  Status partition(MixInputs &in, const Sequence &s, int64_t head);
  Status enterEarlier(MixInputs &in, const Sequence &s, int64_t head);
  void pool(MixInputs &in, const Sequence &s, int64_t head);
  void route(MixInputs &in, const Sequence &s, int64_t head, int64_t row, int64_t t,
             std::vector<double> &gamma);

  pattern::SegmentKind kind = pattern::SegmentKind::None;
  pattern::GateKind gate = pattern::GateKind::ones;
  int64_t length = 0, top = 0;
  std::optional<ExprProgram> by;
  TokenTensor given, router, pooledInput;
  std::vector<int64_t> segmentOf, ends;
  std::vector<double> sums; ///< inclusive prefix sums of what is pooled, [keys + 1, width]
  int64_t width = 0;        ///< of what is pooled, 0 without a router
  int64_t perToken = 1;     ///< rows that a token adds to a pool
  bool mean = true;
  int64_t segmentsBefore = 0, tokensBefore = 0;
  std::vector<double> earlierPools, runningPool; ///< of the run before, as pooled() gives them
};

} // namespace heddle::compiler
