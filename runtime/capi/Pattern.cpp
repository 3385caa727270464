// Patterns through the C interface: description, shapes, the kernels of requests, tuning.
//   heddle_kernel_get(pattern, request, ...)  ->  Pattern::find -> a handle of its entry
#include "runtime/capi/Handles.h"

#include <charconv>

using namespace heddle;
using namespace heddle::capi;

namespace {

std::string_view view(const char *given) { return given ? given : ""; }

Result<PatternOptions> patternOptions(const heddle_request &request) {
  PatternOptions options;
  options.form = view(request.form);
  options.schedule = view(request.schedule);
  options.flags = view(request.flags);
  if (request.on_miss < HEDDLE_MISS_WAIT || request.on_miss > HEDDLE_MISS_REFUSE)
    return wrong(fmt::format("found on_miss {}, expected a heddle_miss", request.on_miss));
  if (request.deadline_ms < 0)
    return wrong(fmt::format("found deadline_ms {}, expected 0 or more", request.deadline_ms));
  options.miss.action = static_cast<MissPolicy::Action>(request.on_miss);
  options.miss.deadline = std::chrono::milliseconds(
      request.deadline_ms == 0 && request.on_miss == HEDDLE_MISS_WAIT ? -1 : request.deadline_ms);
  return options;
}

Result<Pattern::EntryPointer> findEntry(Pattern &pattern, const heddle_request &request) {
  HEDDLE_TRY(options, patternOptions(request));
  Arrays arrays;
  HEDDLE_CHECK(arrays.fill(request.tensors, request.tensor_count, request.parameters,
                           request.parameter_count));
  if (request.tensor_count > 0 && request.extent_count > 0)
    return wrong("found both tensors and extents in a request, expected one of them");
  if (request.tensor_count > 0)
    return pattern.find(arrays.tensors.span(), arrays.parameters.span(), options);
  NamedExtents extents;
  HEDDLE_CHECK(fill(extents, request.extents, request.extent_count));
  HEDDLE_TRY(dtype, dtypeOf(request.dtype));
  return pattern.find(extents.span(), dtype, arrays.parameters.span(), options);
}

/// The object that follows "winner": in the report, as a schedule's text. Names of knobs and whole
/// numbers alone stand in it: {"BM":64,"BN":128}.
Result<std::map<std::string, int64_t>> winnerOf(std::string_view report) {
  const Error unknown{ErrorCode::Internal, "found no winner in the report of the sweep"};
  const size_t name = report.find("\"winner\"");
  const size_t begin = name == report.npos ? name : report.find('{', name);
  const size_t end = begin == report.npos ? begin : report.find('}', begin);
  if (end == report.npos)
    return unknown;
  std::string schedule;
  for (char c : report.substr(begin + 1, end - begin - 1))
    if (c == ':')
      schedule += '=';
    else if (c != '"' && !std::isspace(static_cast<unsigned char>(c)))
      schedule += c;
  return parseScheduleText(schedule);
}

} // namespace

// --- description ---------------------------------------------------------------------------------

heddle_status heddle_pattern_create(heddle_context *context, const char *source, const char *name,
                                    heddle_pattern **pattern, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!source || !pattern)
      return nullPointer(source ? "the place of the pattern" : "the pattern's text");
    *pattern = nullptr;
    HEDDLE_TRY(made, Pattern::make(*context->object, source, text(name)));
    *pattern = new heddle_pattern(std::move(made));
    return {};
  });
}

void heddle_pattern_destroy(heddle_pattern *pattern) { giveBack(pattern); }

const char *heddle_pattern_name(const heddle_pattern *pattern) {
  return alive(pattern, "").ok() ? (*pattern->object)->signature().name.c_str() : "";
}

size_t heddle_pattern_tensor_count(const heddle_pattern *pattern) {
  return alive(pattern, "").ok() ? (*pattern->object)->signature().tensors.size() : 0;
}

size_t heddle_pattern_parameter_count(const heddle_pattern *pattern) {
  return alive(pattern, "").ok() ? (*pattern->object)->signature().parameters.size() : 0;
}

heddle_status heddle_pattern_tensor(const heddle_pattern *pattern, size_t index,
                                    heddle_tensor_info *info, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(pattern, "the pattern"));
    heddle_tensor_info known = {};
    HEDDLE_CHECK(sized(info, "the tensor's description", known));
    const std::vector<Signature::Tensor> &tensors = (*pattern->object)->signature().tensors;
    if (index >= tensors.size())
      return wrong(fmt::format("found tensor {}, expected one of {}", index, tensors.size()));
    const Signature::Tensor &tensor = tensors[index];
    known.name = tensor.name.c_str();
    known.dtype = tensor.fixedDtype ? static_cast<int32_t>(tensor.dtype) : 0;
    known.rank = static_cast<int32_t>(tensor.shape.size());
    known.is_result = tensor.isResult;
    known.next = tensor.next;
    giveSized(known, info);
    return {};
  });
}

heddle_status heddle_pattern_parameter(const heddle_pattern *pattern, size_t index,
                                       heddle_parameter_info *info, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(pattern, "the pattern"));
    heddle_parameter_info known = {};
    HEDDLE_CHECK(sized(info, "the parameter's description", known));
    const std::vector<Signature::Parameter> &all = (*pattern->object)->signature().parameters;
    if (index >= all.size())
      return wrong(fmt::format("found parameter {}, expected one of {}", index, all.size()));
    const Signature::Parameter &parameter = all[index];
    known.name = parameter.name.c_str();
    known.default_value = parameter.defaultValue;
    known.is_integer = parameter.isInteger;
    known.is_constant = parameter.isConstant;
    known.is_required = parameter.required;
    giveSized(known, info);
    return {};
  });
}

heddle_status heddle_pattern_shape(const heddle_pattern *pattern, const heddle_request *request,
                                   size_t index, heddle_tensor *tensor, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(pattern, "the pattern"));
    heddle_request known = {};
    HEDDLE_CHECK(sized(request, "the request", known));
    if (!tensor)
      return nullPointer("the tensor");
    const Signature &signature = (*pattern->object)->signature();
    if (index >= signature.tensors.size())
      return wrong(
          fmt::format("found tensor {}, expected one of {}", index, signature.tensors.size()));
    Arrays arrays;
    HEDDLE_CHECK(
        arrays.fill(known.tensors, known.tensor_count, known.parameters, known.parameter_count));
    const std::map<std::string, double> values = valuesByName(arrays.parameters.span());
    Result<Extents> extents = Error{};
    DType dtype = DType::F32;
    if (known.tensor_count > 0) {
      extents = signature.extentsOf(arrays.tensors.span());
      HEDDLE_TRY(open, signature.openDType(arrays.tensors.span()));
      dtype = open;
    } else {
      NamedExtents some;
      HEDDLE_CHECK(fill(some, known.extents, known.extent_count));
      Extents named;
      for (const NamedExtent &extent : some.span())
        named[std::string(extent.name)] = extent.value;
      extents = signature.completeExtents(named, values);
      HEDDLE_TRY(given, dtypeOf(known.dtype));
      dtype = given;
    }
    if (!extents.ok())
      return extents.error();
    const Signature::Tensor &info = signature.tensors[index];
    HEDDLE_TRY(shape, signature.shapeOf(info, *extents, values));
    tensor->dtype = static_cast<int32_t>(signature.dtypeOf(info, dtype));
    tensor->rank = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      tensor->shape[d] = shape[d];
      tensor->strides[d] = stride;
      stride *= std::max<int64_t>(shape[d], 1);
    }
    return {};
  });
}

// --- kernels -------------------------------------------------------------------------------------

heddle_status heddle_kernel_get(heddle_pattern *pattern, const heddle_request *request,
                                heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(pattern, "the pattern"));
    if (!kernel)
      return nullPointer("the place of the kernel");
    *kernel = nullptr;
    heddle_request known;
    HEDDLE_CHECK(sized(request, "the request", known));
    HEDDLE_TRY(entry, findEntry(**pattern->object, known));
    *kernel = new heddle_kernel(std::move(entry));
    return {};
  });
}

// --- tuning --------------------------------------------------------------------------------------

heddle_status heddle_pattern_tune(heddle_pattern *pattern, const heddle_request *request,
                                  const heddle_call *call, const heddle_tune_options *options,
                                  heddle_bytes_callback callback, void *user,
                                  heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(pattern, "the pattern"));
    heddle_request known;
    heddle_call work;
    heddle_tune_options chosen = {};
    HEDDLE_CHECK(sized(request, "the request", known));
    HEDDLE_CHECK(sized(call, "the call", work));
    if (options)
      HEDDLE_CHECK(sized(options, "the options", chosen));
    if (known.schedule)
      return wrong("found a schedule in a request to tune, expected none: a sweep chooses it");
    Pattern &what = **pattern->object;
    Context &context = *what.context();
    const Signature &signature = what.signature();
    HEDDLE_TRY(entry, findEntry(what, known));
    Request open = entry->found.request;
    open.schedule.clear(); // an earlier winner must not fix what is to be swept
    Arrays arrays;
    HEDDLE_CHECK(
        arrays.fill(work.tensors, work.tensor_count, work.parameters, work.parameter_count));
    if (work.tensor_count != signature.tensors.size())
      return wrong(fmt::format("found {} tensors, expected the {} of pattern {}", work.tensor_count,
                               signature.tensors.size(), signature.name));
    std::vector<NamedTensor> tensors;
    for (const TensorView &tensor : arrays.tensors.span())
      tensors.push_back({signature.tensors[tensors.size()].name, tensor});
    std::map<std::string, double> parameters;
    for (const ParameterValue &parameter : arrays.parameters.span())
      parameters[std::string(parameter.name)] = parameter.value;
    TuneSettings settings;
    settings.budget = chosen.budget;
    settings.threads = context.device().workers();
    settings.storeDirectory = context.cache().directory();
    if (chosen.progress)
      settings.progress = [&](int64_t done, int64_t total, std::string_view note) {
        return chosen.progress(chosen.progress_user, done, total, std::string(note).c_str()) != 0;
      };
    HEDDLE_TRY(report, context.compiler().tune(open, tensors, parameters, settings));
    HEDDLE_TRY(winner, winnerOf(report));
    if (context.cache().enabled())
      HEDDLE_CHECK(context.setWinner(open, winner));
    if (callback)
      callback(user, report.data(), report.size());
    return {};
  });
}
