// Kernels and launches through the C interface. A warm launch is here: pointers checked, the
// caller's arrays copied to the stack, then Kernel::launch.
#include "runtime/capi/Handles.h"

#include <fmt/ranges.h>

using namespace heddle;
using namespace heddle::capi;

namespace {

heddle_kernel *makeHandle(Found found) {
  Pattern::Entry entry;
  entry.found = std::move(found);
  return new heddle_kernel(std::make_shared<const Pattern::Entry>(std::move(entry)));
}

/// The call as this version of the interface knows it, its tensors and parameters in `arrays`.
Status take(const heddle_call *call, heddle_call &known, Arrays &arrays) {
  HEDDLE_CHECK(sized(call, "the call", known));
  return arrays.fill(known.tensors, known.tensor_count, known.parameters, known.parameter_count);
}

} // namespace

heddle_status heddle_kernel_get_by_text(heddle_context *context, const char *request, size_t size,
                                        heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!kernel || !request)
      return nullPointer("the request or the place of the kernel");
    *kernel = nullptr;
    HEDDLE_TRY(full, Request::parse({request, size}));
    HEDDLE_TRY(found, (*context->object)->find(full));
    *kernel = makeHandle(std::move(found));
    return {};
  });
}

heddle_status heddle_kernel_from_artifact(heddle_context *context, const void *bytes, size_t size,
                                          heddle_kernel **kernel, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(context, "the context"));
    if (!kernel || !bytes)
      return nullPointer("the bytes or the place of the kernel");
    *kernel = nullptr;
    HEDDLE_TRY(loaded,
               (*context->object)->kernelFromBytes({static_cast<const char *>(bytes), size}));
    *kernel = makeHandle({loaded, Request(), nullptr});
    return {};
  });
}

void heddle_kernel_release(heddle_kernel *kernel) { giveBack(kernel); }

void heddle_kernel_artifact(const heddle_kernel *kernel, heddle_bytes_callback callback,
                            void *user) {
  if (!alive(kernel, "").ok() || !callback)
    return;
  const std::string bytes = kernel->kernel().artifact().serialize();
  callback(user, bytes.data(), bytes.size());
}

void heddle_kernel_request_text(const heddle_kernel *kernel, heddle_bytes_callback callback,
                                void *user) {
  if (!alive(kernel, "").ok() || !callback)
    return;
  const bool asked = kernel->kernel().origin().source != KernelOrigin::Bytes;
  const std::string text = asked ? (*kernel->object)->found.request.serialize() : "";
  callback(user, text.data(), text.size());
}

heddle_status heddle_kernel_describe(const heddle_kernel *kernel, heddle_kernel_info *info,
                                     heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(kernel, "the kernel"));
    heddle_kernel_info known = {};
    HEDDLE_CHECK(sized(info, "the kernel's description", known));
    const Kernel &code = kernel->kernel();
    const KernelOrigin &origin = code.origin();
    constexpr heddle_source kSources[] = {HEDDLE_COMPILED, HEDDLE_FROM_STORE, HEDDLE_FROM_BYTES,
                                          HEDDLE_FROM_BUNDLE};
    known.source = kSources[origin.source];
    known.is_tuned = origin.tuned;
    known.is_stand_in = (*kernel->object)->found.better != nullptr;
    known.compile_ms = origin.compileMs;
    known.load_ms = origin.loadMs;
    known.name = code.artifact().name.c_str();
    known.target = code.artifact().target.c_str();
    known.form = code.artifact().form.c_str();
    known.schedule = code.scheduleText().c_str();
    known.notes = code.notesText().c_str();
    known.key = origin.key.c_str();
    giveSized(known, info);
    return {};
  });
}

size_t heddle_kernel_tensor_count(const heddle_kernel *kernel) {
  return alive(kernel, "").ok() ? kernel->kernel().artifact().tensors.size() : 0;
}

heddle_status heddle_kernel_tensor(const heddle_kernel *kernel, size_t index,
                                   heddle_tensor_info *info, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(kernel, "the kernel"));
    heddle_tensor_info known = {};
    HEDDLE_CHECK(sized(info, "the tensor's description", known));
    const std::vector<TensorInfo> &tensors = kernel->kernel().artifact().tensors;
    if (index >= tensors.size())
      return wrong(fmt::format("found tensor {}, expected one of {}", index, tensors.size()));
    const TensorInfo &tensor = tensors[index];
    known.name = tensor.name.c_str();
    known.dtype = static_cast<int32_t>(tensor.dtype);
    known.rank = static_cast<int32_t>(tensor.shape.size());
    known.is_result = tensor.isResult;
    known.next = -1;
    giveSized(known, info);
    return {};
  });
}

// --- launches ------------------------------------------------------------------------------------

heddle_status heddle_kernel_workspace(const heddle_kernel *kernel, const heddle_call *call,
                                      int64_t *bytes, heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(kernel, "the kernel"));
    if (!bytes)
      return nullPointer("the place of the size");
    heddle_call known;
    Arrays arrays;
    HEDDLE_CHECK(take(call, known, arrays));
    HEDDLE_TRY(needed,
               kernel->kernel().workspaceBytes(arrays.tensors.span(), arrays.parameters.span()));
    *bytes = needed;
    return {};
  });
}

heddle_status heddle_kernel_check(const heddle_kernel *kernel, const heddle_call *call,
                                  heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(kernel, "the kernel"));
    heddle_call known;
    Arrays arrays;
    HEDDLE_CHECK(take(call, known, arrays));
    return kernel->kernel().checkValuesOf(arrays.tensors.span());
  });
}

heddle_status heddle_kernel_launch(const heddle_kernel *kernel, const heddle_call *call,
                                   heddle_error **error) {
  return guarded(error, [&]() -> Status {
    HEDDLE_CHECK(alive(kernel, "the kernel"));
    heddle_call known;
    Arrays arrays;
    HEDDLE_CHECK(take(call, known, arrays));
    const Workspace workspace{known.workspace, known.workspace_bytes};
    if (known.stream)
      return kernel->kernel().enqueue(arrays.tensors.span(), arrays.parameters.span(), workspace,
                                      known.stream);
    return kernel->kernel().launch(arrays.tensors.span(), arrays.parameters.span(), workspace);
  });
}
