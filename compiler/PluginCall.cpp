// Reads what crosses the boundary: texts, tensors, calls.
#include "compiler/PluginCall.h"

#include "compiler/machine/Machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace heddle::compiler {

static Error parseError(const std::vector<pattern::Diagnostic> &diagnostics) {
  Error error{ErrorCode::InvalidPattern, "found a text that is no pattern"};
  bool first = true;
  for (const pattern::Diagnostic &diagnostic : diagnostics) {
    if (!first || diagnostic.severity != pattern::Diagnostic::Error) {
      error.notes.push_back(diagnostic.str());
      continue;
    }
    first = false;
    error.message = diagnostic.message;
    if (diagnostic.line > 0)
      error.where = fmt::format("{}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
  }
  return error;
}

std::string_view view(heddle_bytes bytes) { return {bytes.data, bytes.size}; }

Result<ParsedPattern> parsePattern(std::string_view text, std::string_view name) {
  ParsedPattern pattern;
  pattern.context = pattern::makePatternContext();
  pattern.parsed = pattern::parsePatterns(*pattern.context, text, "pattern.heddle");
  if (!pattern.parsed.ok())
    return parseError(pattern.parsed.diagnostics);
  std::string why;
  pattern.def = pattern::findPattern(*pattern.parsed.module, name, why);
  if (!pattern.def)
    return Error{ErrorCode::NotFound, why};
  return pattern;
}

Result<Request> readRequest(heddle_bytes text) {
  HEDDLE_TRY(request, Request::parse(view(text)));
  bool named = !request.machine.empty() && request.machine != "host";
  if (!named || !request.deviceFacts.empty())
    return request;
  HEDDLE_TRY(machine, machineOf(request));
  request.deviceFacts =
      fmt::format("model {}; features {}", machine.name, fmt::join(machine.features, " "));
  return request;
}

Result<TensorView> viewOf(const heddle_compiler_tensor &tensor) {
  TensorView out;
  out.data = tensor.data;
  out.dtype = static_cast<DType>(tensor.dtype);
  out.rank = tensor.rank;
  if (tensor.rank < 1 || tensor.rank > kMaxRank || !isValid(out.dtype))
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found {} with {} dimensions and element type {}, expected 1 to {} and "
                    "a known type",
                    view(tensor.name), tensor.rank, tensor.dtype, kMaxRank)};
  std::copy_n(tensor.shape, tensor.rank, out.shape.begin());
  std::copy_n(tensor.strides, tensor.rank, out.strides.begin());
  return out;
}

std::map<std::string, int64_t> extentsOf(const heddle_compiler_call &call) {
  std::map<std::string, int64_t> extents;
  for (size_t n = 0; n < call.extent_count; ++n)
    extents[std::string(view(call.extents[n].name))] = call.extents[n].value;
  return extents;
}

Result<Bindings> bindingsOf(const Request &request, const heddle_compiler_call &call) {
  Bindings bindings;
  bindings.dims = request.dims;
  bindings.dims.erase("G"); // follows from the heads
  bindings.params = request.constants;
  for (size_t n = 0; n < call.parameter_count; ++n)
    bindings.params[std::string(view(call.parameters[n].name))] = call.parameters[n].value;
  for (size_t n = 0; n < call.input_count; ++n) {
    HEDDLE_TRY(tensor, viewOf(call.inputs[n]));
    bindings.tensors[std::string(view(call.inputs[n].name))] = tensor;
  }
  for (const auto &[name, extent] : extentsOf(call))
    if (name != "G")
      bindings.dims[name] = extent;
  return bindings;
}

} // namespace heddle::compiler
