// The C interface over Context and Kernel: pointers checked, texts turned into strings, errors into
// objects. Nothing is thrown out of here: memory that runs out becomes an error like any other.
//   heddle_kernel_get(context, request, ...)  ->  Signature::request -> Context::kernel
#include "runtime/Jit.h"
#include "runtime/Version.h"
#include "runtime/heddle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

struct heddle_error {
  heddle::Error error;
  std::string message;
};

struct heddle_context {
  std::shared_ptr<heddle::Context> context;
};

struct heddle_kernel {
  std::shared_ptr<const heddle::Kernel> kernel;
  std::string requestText;
  std::string schedule;
};

using namespace heddle;

namespace {

constexpr size_t kFewTensors = 32; ///< calls with more copy their views to the heap

static_assert(HEDDLE_MAX_RANK == kMaxRank);
static_assert(int(HEDDLE_INTERNAL) == int(ErrorCode::Internal) &&
              int(HEDDLE_NOT_FOUND) == int(ErrorCode::NotFound));
static_assert(int(HEDDLE_U8) == int(DType::U8) && int(HEDDLE_BF16) == int(DType::BF16));

heddle_status report(const Error &error, heddle_error **out) {
  if (out)
    *out = new (std::nothrow) heddle_error{error, error.toString()};
  return static_cast<heddle_status>(error.code);
}

/// Runs `work`, which returns a Status, and reports its error.
template <typename Work> heddle_status guarded(heddle_error **out, Work work) {
  try {
    const Status status = work();
    return status.ok() ? HEDDLE_OK : report(status.error(), out);
  } catch (const std::bad_alloc &) {
    return report({ErrorCode::ResourceExhausted, "out of memory"}, out);
  } catch (const std::exception &thrown) {
    return report({ErrorCode::Internal, thrown.what()}, out);
  }
}

Error nullPointer(const char *what) {
  return {ErrorCode::InvalidArgument, fmt::format("found a null pointer for {}", what)};
}

std::string text(const char *given) { return given ? given : ""; }

/// The caller's struct in our size: fields it does not know are 0. Fails if its size makes no
/// sense.
template <typename T> Result<T> sized(const T *given, const char *what) {
  T known = {};
  if (!given)
    return nullPointer(what);
  if (given->size < sizeof(size_t) || given->size > 4096)
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found size {} in {}, expected sizeof of the struct", given->size, what)};
  std::memcpy(&known, given, std::min(given->size, sizeof(T)));
  return known;
}

Result<DType> dtypeOf(int32_t value) {
  const DType type = static_cast<DType>(value);
  if (value < 0 || value > 255 || !isValid(type))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found element type {}, expected a heddle_dtype", value)};
  return type;
}

// --- requests ------------------------------------------------------------------------------------

Result<Extents> extentsOf(const heddle_request &given) {
  Extents extents;
  if (given.extent_count > 0 && !given.extents)
    return nullPointer("the extents");
  for (size_t n = 0; n < given.extent_count; ++n) {
    if (!given.extents[n].name)
      return nullPointer("the name of an extent");
    extents[given.extents[n].name] = given.extents[n].value;
  }
  return extents;
}

Result<Request> requestOf(Context &context, const heddle_request &given) {
  if (!given.pattern)
    return nullPointer("the pattern's text");
  HEDDLE_TRY(signature, context.signature(given.pattern, text(given.name)));
  HEDDLE_TRY(some, extentsOf(given));
  HEDDLE_TRY(extents, signature.completeExtents(some));
  HEDDLE_TRY(dtype, dtypeOf(given.dtype));
  if (given.parameter_count > 0 && !given.parameters)
    return nullPointer("the parameters");
  std::map<std::string, double> parameters;
  for (size_t n = 0; n < given.parameter_count; ++n)
    parameters[text(given.parameters[n].name)] = given.parameters[n].value;
  HEDDLE_TRY(request, signature.request(given.pattern, extents, dtype, parameters));
  if (given.unaligned)
    request.alignedPointers = false;
  if (given.form)
    request.form = given.form;
  HEDDLE_TRY(schedule, parseScheduleText(text(given.schedule)));
  request.schedule = std::move(schedule);
  request.flags = text(given.flags);
  return request;
}

Status makeKernel(Context &context, const Request &request, heddle_kernel **out) {
  HEDDLE_TRY(kernel, context.kernel(request));
  HEDDLE_TRY(complete, context.complete(request));
  *out = new heddle_kernel{kernel, complete.serialize(), scheduleText(kernel->artifact().schedule)};
  return {};
}

// --- calls ---------------------------------------------------------------------------------------

/// The caller's arrays as the runtime wants them, without allocation for calls of usual size.
struct Call {
  std::array<TensorView, kFewTensors> fewTensors;
  std::array<ParameterValue, kFewTensors> fewParameters;
  std::vector<TensorView> manyTensors;
  std::vector<ParameterValue> manyParameters;
  std::span<TensorView> tensors;
  std::span<ParameterValue> parameters;

  Status fill(const heddle_tensor *given, size_t count, const heddle_parameter *values,
              size_t valueCount) {
    if ((count > 0 && !given) || (valueCount > 0 && !values))
      return nullPointer(given || count == 0 ? "the parameters" : "the tensors");
    if (count > kFewTensors)
      manyTensors.resize(count);
    if (valueCount > kFewTensors)
      manyParameters.resize(valueCount);
    tensors = count > kFewTensors ? std::span(manyTensors) : std::span(fewTensors).first(count);
    parameters = valueCount > kFewTensors ? std::span(manyParameters)
                                          : std::span(fewParameters).first(valueCount);
    for (size_t n = 0; n < count; ++n)
      HEDDLE_CHECK(fillTensor(tensors[n], given[n], n));
    for (size_t n = 0; n < valueCount; ++n) {
      if (!values[n].name)
        return nullPointer("the name of a parameter");
      parameters[n] = {values[n].name, values[n].value};
    }
    return {};
  }

  static Status fillTensor(TensorView &view, const heddle_tensor &given, size_t index) {
    if (given.rank < 0 || given.rank > kMaxRank)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found tensor {} with {} dimensions, expected at most {}", index,
                               given.rank, kMaxRank)};
    HEDDLE_TRY(dtype, dtypeOf(given.dtype));
    view.data = given.data;
    view.dtype = dtype;
    view.rank = given.rank;
    std::copy_n(given.shape, kMaxRank, view.shape.begin());
    std::copy_n(given.strides, kMaxRank, view.strides.begin());
    return {};
  }
};

} // namespace

// --- version and errors --------------------------------------------------------------------------

const char *heddle_version_string(void) { return kVersion; }

heddle_status heddle_error_status(const heddle_error *error) {
  return error ? static_cast<heddle_status>(error->error.code) : HEDDLE_OK;
}
const char *heddle_error_message(const heddle_error *error) {
  return error ? error->message.c_str() : "";
}
size_t heddle_error_note_count(const heddle_error *error) {
  return error ? error->error.notes.size() : 0;
}
const char *heddle_error_note(const heddle_error *error, size_t index) {
  return error && index < error->error.notes.size() ? error->error.notes[index].c_str() : nullptr;
}
void heddle_error_destroy(heddle_error *error) { delete error; }

// --- context -------------------------------------------------------------------------------------

heddle_status heddle_context_create(const heddle_context_options *options, heddle_context **context,
                                    heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context)
      return nullPointer("the place of the context");
    *context = nullptr;
    heddle_context_options known = {};
    if (options) {
      HEDDLE_TRY(given, sized(options, "the context's options"));
      known = given;
    }
    ContextOptions wanted;
    if (known.device)
      wanted.device = known.device;
    wanted.threads = known.threads;
    wanted.cacheDir = text(known.store_directory);
    wanted.compilerPath = text(known.compiler);
    wanted.compilerBuild = text(known.compiler_build);
    wanted.useStore = !(known.flags & HEDDLE_NO_STORE);
    wanted.trustSharedStore = known.flags & HEDDLE_TRUST_SHARED_STORE;
    wanted.allowCompile = !(known.flags & HEDDLE_NO_COMPILE);
    wanted.useWinners = !(known.flags & HEDDLE_NO_WINNERS);
    if (known.log)
      wanted.log = [log = known.log, user = known.log_user](LogLevel level,
                                                            std::string_view message) {
        log(user, static_cast<int>(level), std::string(message).c_str());
      };
    HEDDLE_TRY(made, Context::create(std::move(wanted)));
    *context = new heddle_context{made};
    return {};
  });
}

void heddle_context_destroy(heddle_context *context) { delete context; }

// --- kernels -------------------------------------------------------------------------------------

heddle_status heddle_kernel_get(heddle_context *context, const heddle_request *request,
                                heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !kernel)
      return nullPointer(context ? "the place of the kernel" : "the context");
    *kernel = nullptr;
    HEDDLE_TRY(known, sized(request, "the request"));
    HEDDLE_TRY(full, requestOf(*context->context, known));
    return makeKernel(*context->context, full, kernel);
  });
}

heddle_status heddle_kernel_get_by_text(heddle_context *context, const char *request, size_t size,
                                        heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !kernel || !request)
      return nullPointer("the context, the request or the place of the kernel");
    *kernel = nullptr;
    HEDDLE_TRY(full, Request::parse({request, size}));
    return makeKernel(*context->context, full, kernel);
  });
}

heddle_status heddle_kernel_from_artifact(heddle_context *context, const void *bytes, size_t size,
                                          heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !kernel || !bytes)
      return nullPointer("the context, the bytes or the place of the kernel");
    *kernel = nullptr;
    HEDDLE_TRY(loaded, context->context->kernelFromBytes({static_cast<const char *>(bytes), size}));
    *kernel = new heddle_kernel{loaded, "", scheduleText(loaded->artifact().schedule)};
    return {};
  });
}

void heddle_kernel_release(heddle_kernel *kernel) { delete kernel; }

void heddle_kernel_artifact(const heddle_kernel *kernel, heddle_bytes_callback callback,
                            void *user) {
  if (!kernel || !callback)
    return;
  const std::string bytes = kernel->kernel->artifact().serialize();
  callback(user, bytes.data(), bytes.size());
}

void heddle_kernel_request_text(const heddle_kernel *kernel, heddle_bytes_callback callback,
                                void *user) {
  if (kernel && callback)
    callback(user, kernel->requestText.data(), kernel->requestText.size());
}

const char *heddle_kernel_schedule(const heddle_kernel *kernel) {
  return kernel ? kernel->schedule.c_str() : "";
}

size_t heddle_kernel_tensor_count(const heddle_kernel *kernel) {
  return kernel ? kernel->kernel->artifact().tensors.size() : 0;
}

heddle_status heddle_kernel_tensor(const heddle_kernel *kernel, size_t index,
                                   heddle_tensor_info *info, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!kernel)
      return nullPointer("the kernel");
    HEDDLE_TRY(known, sized(info, "the tensor's description"));
    const std::vector<TensorInfo> &tensors = kernel->kernel->artifact().tensors;
    if (index >= tensors.size())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found tensor {}, expected one of {}", index, tensors.size())};
    const TensorInfo &tensor = tensors[index];
    known.name = tensor.name.c_str();
    known.dtype = static_cast<int32_t>(tensor.dtype);
    known.rank = static_cast<int32_t>(tensor.shape.size());
    known.is_result = tensor.isResult;
    std::memcpy(info, &known, std::min(info->size, sizeof(known)));
    return {};
  });
}

// --- launches ------------------------------------------------------------------------------------

heddle_status heddle_kernel_workspace(const heddle_kernel *kernel, const heddle_tensor *tensors,
                                      size_t tensor_count, const heddle_parameter *parameters,
                                      size_t parameter_count, int64_t *bytes,
                                      heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!kernel || !bytes)
      return nullPointer(kernel ? "the place of the size" : "the kernel");
    Call call;
    HEDDLE_CHECK(call.fill(tensors, tensor_count, parameters, parameter_count));
    HEDDLE_TRY(needed, kernel->kernel->workspaceBytes(call.tensors, call.parameters));
    *bytes = needed;
    return {};
  });
}

heddle_status heddle_kernel_launch(const heddle_kernel *kernel, const heddle_tensor *tensors,
                                   size_t tensor_count, const heddle_parameter *parameters,
                                   size_t parameter_count, void *workspace, int64_t workspace_bytes,
                                   heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!kernel)
      return nullPointer("the kernel");
    Call call;
    HEDDLE_CHECK(call.fill(tensors, tensor_count, parameters, parameter_count));
    return kernel->kernel->launch(call.tensors, call.parameters, {workspace, workspace_bytes});
  });
}

// --- store ---------------------------------------------------------------------------------------

heddle_status heddle_store_get(heddle_context *context, const char *kind, const char *key,
                               heddle_bytes_callback callback, void *user, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !kind || !key || !callback)
      return nullPointer("the context, the kind, the key or the callback");
    HEDDLE_TRY(entry, parseEntryKind(kind));
    const std::optional<std::string> bytes = context->context->cache().get(entry, key);
    if (!bytes)
      return Error{ErrorCode::NotFound, fmt::format("the store has no {} {}", kind, key)};
    callback(user, bytes->data(), bytes->size());
    return {};
  });
}

heddle_status heddle_store_put(heddle_context *context, const char *kind, const char *key,
                               const void *bytes, size_t size, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !kind || !key || (!bytes && size > 0))
      return nullPointer("the context, the kind, the key or the bytes");
    HEDDLE_TRY(entry, parseEntryKind(kind));
    return context->context->cache().put(entry, key, {static_cast<const char *>(bytes), size});
  });
}

heddle_status heddle_store_set_winner(heddle_context *context, const char *request_text,
                                      size_t size, const char *schedule, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    if (!context || !request_text || !schedule)
      return nullPointer("the context, the request or the schedule");
    HEDDLE_TRY(request, Request::parse({request_text, size}));
    HEDDLE_TRY(winner, parseScheduleText(schedule));
    return context->context->setWinner(request, winner);
  });
}
