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
  /// Why this form and schedule; what was refused and why. A JSON object.
  Result<std::string> explain(const Request &request);
  /// Knobs and machines, each as a JSON array of objects.
  Result<std::string> knobs();
  Result<std::string> machines();
  /// The pattern's meaning in double precision: reads `inputs`, fills `results` (dense, f64), all
  /// rows or those listed; others are left alone.
  Status interpret(const Request &request, const std::vector<NamedTensor> &inputs,
                   const std::map<std::string, double> &parameters, const RowList &rows,
                   const std::vector<NamedTensor> &results);

private:
  Result<const heddle_compiler_api *> api();

  std::string file;
  mutable std::mutex mutex; ///< guards what follows
  mutable std::string build;
  const heddle_compiler_api *table = nullptr;
};

} // namespace heddle
