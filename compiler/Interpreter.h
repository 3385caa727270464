// The meaning of every pattern: evaluates a pattern graph on real tensors in double precision, with
// no tiling, no online update and no skipping (two evaluators: pairs and scan). The oracle of
// tests, of `heddle run --check` and of the tuner. Slow on purpose; never used to compute a result.
#pragma once

#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace heddle::pattern {
class DefOp;
} // namespace heddle::pattern

namespace heddle::compiler {

/// What a pattern is evaluated on. Names are those of the pattern's text, without `%`.
struct Bindings {
  /// By argument name; the logical shape of a `seq` starts with B. Any strides and dtypes. Tensors
  /// are read only. Arguments of integer and of codec types are read as the integers they hold.
  std::map<std::string, TensorView> tensors;
  /// Dims that no tensor fixes, or that must agree with what the tensors say.
  std::map<std::string, int64_t> dims;
  /// Parameters and constants that do not take their default.
  std::map<std::string, double> params;
};

/// Which evaluator runs the mixes. Auto takes pairs where they are legal, else the scan. A mix that
/// the one asked for cannot run is refused (Unsupported, with the reason).
enum class Evaluator { Auto, Pair, Scan };

/// One row of a mix's output: batch, query head, query index (not the absolute position).
struct Row {
  int64_t b = 0, h = 0, row = 0;
};

/// Which rows of the outputs are wanted. Empty: all. Every mix computes these rows alone: a mix by
/// pairs their sums, a scan its steps up to the last of them. `b` counts sequences, `h` counts
/// modulo the heads of the mix, and a row that a mix does not have is left out. What follows from
/// rows that were not computed is unknown, and not part of the outputs.
struct RowSelection {
  std::vector<Row> rows;
  /// Also what is left after the last token (states, banks) of the heads that have rows.
  bool finals = true;
  bool all() const { return rows.empty(); }
};

/// One returned value, row-major.
struct Output {
  std::string name;              ///< as in `return`
  std::vector<std::string> dims; ///< e.g. B, Tq, Hq, Dv
  std::vector<int64_t> shape;    ///< of the whole value
  std::vector<double> values;    ///< all of them; with a selection those that are known
  /// With a selection: the place of each value in the whole, ascending. Else empty.
  std::vector<int64_t> places;
};

struct Outputs {
  std::vector<Output> results; ///< in the order of `return`

  /// The result of that name, or null.
  const Output *find(const std::string &name) const;
};

/// Evaluates the pattern. Fails with InvalidArgument for a tensor that is missing, unknown, of
/// another rank, or whose shape does not match ("k: dim D is 64, but q has D = 128"), and with
/// Unsupported where an evaluator was asked for that the pattern cannot run on, or where rows were
/// chosen and a map compares what a mix made: it cannot tell what is known from what is not.
Result<Outputs> interpret(pattern::DefOp def, const Bindings &bindings,
                          const RowSelection &rows = {}, Evaluator evaluator = Evaluator::Auto);

/// Every dim of the pattern with its extent on these tensors: inferred, checked, derived (G).
Result<std::map<std::string, int64_t>> inferDims(pattern::DefOp def, const Bindings &bindings);

/// What there is to do. `flops` is useful work by the conventions in use elsewhere: softmax counts
/// unmasked pairs, 2 (D + Dv) each; what is a finite state counts 2 K V for each write and for each
/// read of a token, and 2 (delta) or 4 (dplr) K V more for a write that reads the state first;
/// where features are wider than keys (powers) whichever of the two is less.
struct Work {
  int64_t pairs = 0;  ///< unmasked (b, h, i, j) over all mixes, exactly counted
  double flops = 0;   ///< useful
  double inPairs = 0; ///< of the attention form: 2 (D + Dv) for each unmasked pair
  double inSteps = 0; ///< of the recurrent form: the useful work of states, and their decay
  double inChunk = 0; ///< beside that, of the chunked form, for each token of a chunk's length
  double oracle = 0;  ///< estimate of what the interpreter itself would spend on all rows, in flops
  double scans = 0;   ///< the part of `oracle` that walks sequences: rows cost their whole head
  bool finals = false; ///< a result is what is left after the last token

  /// Multiply-adds (2 FLOP each) that a form does; chunks of `chunk` tokens. Mixes that are no
  /// finite state are counted by pairs in every form.
  double formFlops(const std::string &form, int64_t chunk) const;
};

/// Counts pairs through the support and estimates flops. Evaluates maps and selections only where
/// a support reads what they made.
Result<Work> measureWork(pattern::DefOp def, const Bindings &bindings);

} // namespace heddle::compiler
