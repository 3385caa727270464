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

/// Which rows of the outputs are wanted. Empty: all. Rows may only be chosen where every returned
/// value comes directly from a mix that is run by pairs; else the call is refused.
struct RowSelection {
  std::vector<Row> rows;
  bool all() const { return rows.empty(); }
};

/// One returned value, row-major.
struct Output {
  std::string name; ///< as in `return`
  std::vector<std::string>
      dims; ///< e.g. B, Tq, Hq, Dv; with a selection: "rows", then the last dims
  std::vector<int64_t> shape;
  std::vector<double> values;
};

struct Outputs {
  std::vector<Output> results; ///< in the order of `return`

  /// The result of that name, or null.
  const Output *find(const std::string &name) const;
};

/// Evaluates the pattern. Fails with InvalidArgument for a tensor that is missing, unknown, of
/// another rank, or whose shape does not match ("k: dim D is 64, but q has D = 128"), and with
/// Unsupported where an evaluator was asked for that the pattern cannot run on.
Result<Outputs> interpret(pattern::DefOp def, const Bindings &bindings,
                          const RowSelection &rows = {}, Evaluator evaluator = Evaluator::Auto);

/// Every dim of the pattern with its extent on these tensors: inferred, checked, derived (G).
Result<std::map<std::string, int64_t>> inferDims(pattern::DefOp def, const Bindings &bindings);

/// What there is to do.
struct Work {
  int64_t pairs = 0; ///< unmasked (b, h, i, j) over all mixes, exactly counted
  double flops = 0;  ///< useful: 2 * pairs * (D + Dv), or the scan's count for recurrent mixes
  double oracle = 0; ///< estimate of what the interpreter itself would spend on all rows, in flops
};

/// Counts pairs through the support and estimates flops. Evaluates maps and selections only where
/// a support reads what they made.
Result<Work> measureWork(pattern::DefOp def, const Bindings &bindings);

} // namespace heddle::compiler
