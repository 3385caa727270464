// The compiler as libheddle sees it: a shared library with a C boundary (compiler/Plugin.h), loaded
// with local binding on first use. Whoever never misses the store never loads it.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"
#include "runtime/Signature.h"
#include "runtime/Tensor.h"

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

struct heddle_compiler_api;

namespace heddle {

/// Rows of the results that the interpreter computes: (batch, head, row). All rows if empty.
using RowList = std::vector<std::array<int64_t, 3>>;

/// A tensor of an interpretation, by its name in the pattern.
struct NamedTensor {
  std::string name;
  TensorView view;
};

/// How results are compared with the definition; see compiler/Oracle.h.
struct CheckSettings {
  double budget = 2e9; ///< flops of the interpreter below which every row is checked
  int64_t mostRows = 512;
  uint64_t seed = 0;
};

/// Reports `done` of `total` candidates; returns false to stop the sweep.
using SweepProgress = std::function<bool(int64_t done, int64_t total, std::string_view note)>;

/// What a sweep tries and where it keeps its measurements.
struct TuneSettings {
  int64_t budget = 0; ///< most candidates, nearest to the default first; 0: all legal ones
  int threads = 0;
  std::string storeDirectory; ///< empty: measurements are not kept
  CheckSettings check;
  SweepProgress progress;
};

/// Thread-safe; the library is loaded at most once and stays loaded.
class CompilerPlugin {
public:
  /// `path` empty: $HEDDLE_COMPILER, else libheddle-compiler.so beside libheddle, else ../lib of
  /// it.
  explicit CompilerPlugin(std::string path = "");

  /// Where the library is, whether or not it exists.
  const std::string &path() const { return file; }
  bool loaded() const;
  /// Names the compiler's build without loading it: the GNU build id of the file, else its size,
  /// time and path. NotFound, with what to do, if there is no file.
  Result<std::string> buildId() const;

  /// As compiler/Compiler.h says. NotFound if there is no compiler library, Unsupported if it is of
  /// another version.
  Result<Artifact> compile(const Request &request);
  Result<Signature> describe(std::string_view patternText, std::string_view patternName = "");
  Result<std::string> show(const Request &request, std::string_view station);
  Result<std::vector<std::string>> stations();
  /// Legal schedules, the default first.
  Result<std::vector<std::map<std::string, int64_t>>> enumerate(const Request &request);
  /// Form, launches, cost on these extents, what was refused and why. A JSON object.
  Result<std::string> explain(const Request &request, const Extents &extents,
                              const std::map<std::string, double> &parameters);
  /// Knobs and machines, each as a JSON array of objects.
  Result<std::string> knobs();
  Result<std::string> machines();
  /// The pattern's meaning in double precision: reads `inputs`, fills `results` (dense, f64), all
  /// rows or those listed; others are left alone.
  Status interpret(const Request &request, const std::vector<NamedTensor> &inputs,
                   const std::map<std::string, double> &parameters, const RowList &rows,
                   const std::vector<NamedTensor> &results);
  /// Compares a kernel's results with the definition on the same inputs. `tensors` holds both, by
  /// name. A JSON object: passed, sampled, rows, total_rows, results [name, max, rms, limit,
  /// passed].
  Result<std::string> check(const Request &request, const std::vector<NamedTensor> &tensors,
                            const std::map<std::string, double> &parameters,
                            const CheckSettings &settings);
  /// Measures candidate schedules on these tensors (results are overwritten), each checked first. A
  /// JSON object: winner, candidates, ties, measured, reused.
  Result<std::string> tune(const Request &request, const std::vector<NamedTensor> &tensors,
                           const std::map<std::string, double> &parameters,
                           const TuneSettings &settings);

  /// Facts of a GPU artifact made for the request: a JSON array, one object a launch; with `sass`
  /// the loops of the machine code too; with `counts` (compiler/Plugin.h) an estimate from these.
  Result<std::string> inspect(const Request &request, const Artifact &artifact, bool sass,
                              const std::string &counts = "");
  /// Ranks candidate schedules for a GPU by an estimate, without one. `settings.check` is not used.
  /// A JSON object: winner, candidates, compiled, reused, machine.
  Result<std::string> estimate(const Request &request, const Extents &extents,
                               const std::map<std::string, double> &parameters,
                               const TuneSettings &settings);

private:
  Result<const heddle_compiler_api *> api();

  std::string file;
  mutable std::mutex mutex; ///< guards what follows
  mutable std::string build;
  const heddle_compiler_api *table = nullptr;
};

} // namespace heddle
