// Compares what a kernel computed with the definition: parses the pattern, evaluates it in double
// on the very inputs the kernel got, and applies the tolerance table. Large problems are checked on
// sampled rows: first, last, around tile edges, and random ones; of a scan, rows of a few heads,
// whose sequences are walked to the end, or as far as the budget goes.
#pragma once

#include "compiler/Interpreter.h"
#include "compiler/Tolerance.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace heddle::compiler {

/// What to evaluate. Views are borrowed until make() returns.
struct OracleJob {
  std::string patternText, patternName;
  Bindings bindings;        ///< inputs already rounded to the kernel's dtype
  DType dtype = DType::F32; ///< the kernel's input dtype: chooses the tolerance
  double budget = 2e9;      ///< all rows if the interpreter would spend fewer flops than this
  int64_t mostRows = 512;   ///< rows to sample otherwise
  int64_t tile = 64;        ///< rows around multiples of this are among the sampled ones
  uint64_t seed = 0;        ///< of the random rows
};

/// What one result came to.
struct OracleResult {
  std::string name;
  Comparison comparison;
  double limit = 0;
  int64_t compared = 0, total = 0; ///< numbers; compared = 0: the sample says nothing about it
};

struct OracleReport {
  bool passed = true;
  bool sampled = false;
  int64_t rows = 0;      ///< (b, h, row) triples compared
  int64_t totalRows = 0; ///< of the problem
  std::vector<OracleResult> results;

  /// One line a result: "o: max 2.1e-07, rms 8.9e-08, limit 1e-05".
  std::string toString() const;
};

/// The expected numbers of one problem, evaluated once and compared with any number of kernels.
class Oracle {
public:
  /// Fails if the pattern does not parse, the tensors do not fit it, or it is over the budget and
  /// no sample says anything.
  static Result<Oracle> make(const OracleJob &job);

  /// `found`: a kernel's results by name. What the pattern returns and `found` lacks is not
  /// compared.
  Result<OracleReport> compare(const std::map<std::string, TensorView> &found) const;

private:
  Outputs expected;
  std::vector<bool> isLse; ///< by result
  std::vector<Row> rows;   ///< empty: all
  int64_t totalRows = 0;
  Arithmetic arithmetic = Arithmetic::F32;
};

/// The (b, h, row) triples that are checked of a problem of that size: every one if they fit into
/// `most`, else first, last, both sides of tile edges, then random ones by seed. Without repeats.
/// At most `places` different (b, h) take part, the first and the last among them.
std::vector<Row> sampleRows(int64_t batch, int64_t heads, int64_t rows, int64_t tile, int64_t most,
                            uint64_t seed, int64_t places = INT64_MAX);

} // namespace heddle::compiler
