// What crosses the C boundary, as C++: used by the sources of the plugin alone.
#pragma once

#include "compiler/Interpreter.h"
#include "compiler/Plugin.h"
#include "ir/pattern/Parse.h"
#include "ir/pattern/PatternDialect.h"
#include "runtime/Request.h"

#include <memory>
#include <string_view>

namespace heddle::compiler {

std::string_view view(heddle_bytes bytes);

/// A pattern text, parsed; the context owns what `def` points to.
struct ParsedPattern {
  std::unique_ptr<mlir::MLIRContext> context;
  pattern::Parsed parsed;
  pattern::DefOp def;
};

/// InvalidPattern with place and notes, or NotFound if the text has no such pattern.
Result<ParsedPattern> parsePattern(std::string_view text, std::string_view name);

/// The request of a text. One for a named machine gets that machine's features as its facts: the
/// compiler never asks the processor it runs on.
Result<Request> readRequest(heddle_bytes text);

Result<TensorView> viewOf(const heddle_compiler_tensor &tensor);
/// Tensors (inputs), parameters, constants and extents of a call.
Result<Bindings> bindingsOf(const Request &request, const heddle_compiler_call &call);
std::map<std::string, int64_t> extentsOf(const heddle_compiler_call &call);

} // namespace heddle::compiler
