// Runs patterns in the interpreter: text or library file in, named tensors in and out. A mistake
// fails the running test with its message.
#pragma once

#include "compiler/Interpreter.h"
#include "compiler/Tolerance.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "tests/support/Files.h"
#include "tests/support/Tensors.h"
#include "tests/support/Test.h"

#include <cmath>
#include <map>
#include <memory>

namespace heddle::test {

using Inputs = std::map<std::string, Tensor>;
using Params = std::map<std::string, double>;
using compiler::Evaluator;

class PatternRun {
public:
  /// A pattern's text.
  static PatternRun text(const std::string &text) { return PatternRun(text, "test.heddle"); }
  /// patterns/<name>.heddle.
  static PatternRun library(const std::string &name) {
    return PatternRun(libraryText(name), name + ".heddle");
  }

  /// All results by name.
  std::map<std::string, Tensor> operator()(const Inputs &inputs, const Params &params = {},
                                           Evaluator evaluator = Evaluator::Auto) {
    Result<compiler::Outputs> outputs = tryRun(inputs, params, evaluator);
    INFO((outputs.ok() ? std::string() : outputs.error().toString()));
    REQUIRE(outputs.ok());
    std::map<std::string, Tensor> results;
    for (const compiler::Output &output : outputs->results)
      results[output.name] = Tensor(output.shape, output.values);
    return results;
  }

  Result<compiler::Outputs> tryRun(const Inputs &inputs, const Params &params = {},
                                   Evaluator evaluator = Evaluator::Auto,
                                   const compiler::RowSelection &rows = {}) {
    return compiler::interpret(def, bind(inputs, params), rows, evaluator);
  }

  static compiler::Bindings bind(const Inputs &inputs, const Params &params = {}) {
    compiler::Bindings bindings;
    for (const auto &[name, tensor] : inputs)
      bindings.tensors[name] = tensor.view();
    bindings.params = params;
    return bindings;
  }

  pattern::DefOp def;

private:
  PatternRun(const std::string &text, const std::string &file)
      : context(pattern::makePatternContext()),
        parsed(pattern::parsePatterns(*context, text, file)) {
    INFO(text);
    INFO(parsed.str());
    REQUIRE(parsed.ok());
    std::string why;
    def = pattern::findPattern(*parsed.module, "", why);
    INFO(why);
    REQUIRE(def);
  }

  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
};

/// Same shape, and equal within the relative rms of two forms in double.
inline void requireSame(const Tensor &found, const Tensor &expected, double limit = 1e-10) {
  REQUIRE(found.shape == expected.shape);
  double errors = 0, norm = 0, worst = 0;
  for (size_t n = 0; n < found.data.size(); ++n) {
    if (found.data[n] == expected.data[n])
      continue;
    double delta = std::fabs(found.data[n] - expected.data[n]);
    errors += std::isfinite(delta) ? delta * delta : INFINITY;
    norm += expected.data[n] * expected.data[n];
    worst = std::max(worst, std::isfinite(delta) ? delta : INFINITY);
  }
  for (double x : expected.data)
    norm += std::isfinite(x) ? x * x * 1e-300 : 0;
  INFO("rms " << std::sqrt(errors / norm) << ", largest difference " << worst);
  REQUIRE((errors == 0 || std::sqrt(errors) <= limit * std::sqrt(norm) || worst <= 1e-14));
}

} // namespace heddle::test
