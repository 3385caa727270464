// heddle.h for C++20: objects that give themselves back, and Result in place of status codes.
// Header only; nothing is thrown unless you call value() on a failure. The namespace is not heddle
// itself, so that a program may link the library's own objects too.
//
//   heddle::api::ContextOptions options;
//   options.threads = 8;
//   auto context = heddle::api::Context::create(options);
//   auto pattern = context->pattern(text);
//   auto kernel = pattern->kernel(tensors);          // inputs, or inputs and results
//   if (!kernel) { std::puts(kernel.error().message().c_str()); ... }
//   heddle::api::Workspace workspace;
//   heddle::api::Status done = kernel->launch(tensors, {}, workspace);   // grows the workspace
#ifndef HEDDLE_HPP
#define HEDDLE_HPP

#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "heddle.h" // beside this file, in the tree and where it is installed

namespace heddle::api {

/// What went wrong; see heddle_status for the kinds.
class Error {
public:
  Error(heddle_status status, std::string message) : kind(status), what(std::move(message)) {}
  /// Takes the object of a failed call.
  Error(heddle_status status, heddle_error *error)
      : kind(status), what(error ? heddle_error_message(error) : "out of memory") {
    for (size_t n = 0; n < heddle_error_note_count(error); ++n)
      all.emplace_back(heddle_error_note(error, n));
    heddle_error_destroy(error);
  }
  heddle_status status() const { return kind; }
  /// Place, kind, what was found, expected and to do, and the notes.
  const std::string &message() const { return what; }
  const std::vector<std::string> &notes() const { return all; }

private:
  heddle_status kind;
  std::string what;
  std::vector<std::string> all;
};

/// A value, or the Error that says why there is none.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::move(value)) {}
  Result(Error error) : state(std::move(error)) {}

  bool ok() const { return state.index() == 0; }
  explicit operator bool() const { return ok(); }
  const Error &error() const { return std::get<Error>(state); }
  T *operator->() { return &std::get<T>(state); }
  const T *operator->() const { return &std::get<T>(state); }
  T &operator*() & { return std::get<T>(state); }
  const T &operator*() const & { return std::get<T>(state); }
  T &&operator*() && { return std::get<T>(std::move(state)); }
  /// Throws std::runtime_error with the message if there is none.
  T &value() & {
    if (!ok())
      throw std::runtime_error(error().message());
    return std::get<T>(state);
  }
  T value() && {
    if (!ok())
      throw std::runtime_error(error().message());
    return std::get<T>(std::move(state));
  }

private:
  std::variant<T, Error> state;
};

using Status = Result<std::monostate>;

namespace detail {

template <auto destroy> struct Destroy {
  template <typename T> void operator()(T *object) const { destroy(object); }
};
template <typename T, auto destroy> using Owned = std::unique_ptr<T, Destroy<destroy>>;

/// Runs call(&error) and turns its status into a Status.
template <typename Call> Status checked(Call call) {
  heddle_error *error = nullptr;
  const heddle_status status = call(&error);
  if (status != HEDDLE_OK)
    return Error(status, error);
  return std::monostate{};
}

inline void append(void *user, const void *bytes, size_t size) {
  static_cast<std::string *>(user)->append(static_cast<const char *>(bytes), size);
}

} // namespace detail

/// 64-byte aligned memory for launches, one at a time. Grows, never shrinks.
class Workspace {
public:
  /// False if there is no memory.
  bool reserve(int64_t bytes) {
    if (bytes <= size)
      return true;
    const int64_t rounded = (bytes + 63) / 64 * 64;
    memory.reset(std::aligned_alloc(64, static_cast<size_t>(rounded)));
    size = memory ? rounded : 0;
    return memory != nullptr;
  }
  void *data() const { return memory.get(); }
  int64_t bytes() const { return size; }

private:
  struct Free {
    void operator()(void *pointer) const { std::free(pointer); }
  };
  std::unique_ptr<void, Free> memory;
  int64_t size = 0;
};

using Tensors = std::span<const heddle_tensor>;
using Parameters = std::span<const heddle_parameter>;

/// A dense row-major tensor.
inline heddle_tensor dense(void *data, heddle_dtype dtype, std::initializer_list<int64_t> shape) {
  heddle_tensor tensor = {};
  tensor.data = data;
  tensor.dtype = dtype;
  for (const int64_t extent : shape)
    if (tensor.rank < HEDDLE_MAX_RANK)
      tensor.shape[tensor.rank++] = extent;
  int64_t stride = 1;
  for (int32_t d = tensor.rank - 1; d >= 0; --d) {
    tensor.strides[d] = stride;
    stride *= tensor.shape[d] > 0 ? tensor.shape[d] : 1;
  }
  return tensor;
}

/// A loaded kernel. May be launched by several threads at once, each with a workspace of its own.
class Kernel {
public:
  explicit Kernel(heddle_kernel *handle) : owned(handle) {}
  heddle_kernel *handle() const { return owned.get(); }

  Result<heddle_kernel_info> info() const {
    heddle_kernel_info info = {};
    info.size = sizeof info;
    const Status done = detail::checked(
        [&](heddle_error **error) { return heddle_kernel_describe(owned.get(), &info, error); });
    if (!done)
      return done.error();
    return info;
  }
  /// The artifact's bytes, for Context::kernel.
  std::string artifact() const {
    std::string bytes;
    heddle_kernel_artifact(owned.get(), detail::append, &bytes);
    return bytes;
  }
  Result<int64_t> workspaceBytes(Tensors tensors, Parameters parameters = {}) const {
    const heddle_call work = call(tensors, parameters);
    int64_t bytes = 0;
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_kernel_workspace(owned.get(), &work, &bytes, error);
    });
    if (!done)
      return done.error();
    return bytes;
  }
  /// On memory of the caller's: nothing is allocated.
  /// The numbers in tensors of host memory, as heddle_kernel_check.
  Status check(Tensors tensors) const {
    heddle_call work = {};
    work.size = sizeof work;
    work.tensors = tensors.data();
    work.tensor_count = tensors.size();
    return detail::checked(
        [&](heddle_error **error) { return heddle_kernel_check(owned.get(), &work, error); });
  }
  Status launch(Tensors tensors, Parameters parameters, void *workspace, int64_t bytes,
                void *stream = nullptr) const {
    heddle_call work = call(tensors, parameters);
    work.workspace = workspace;
    work.workspace_bytes = bytes;
    work.stream = stream;
    return detail::checked(
        [&](heddle_error **error) { return heddle_kernel_launch(owned.get(), &work, error); });
  }
  /// The same with a workspace that grows if it is too small.
  Status launch(Tensors tensors, Parameters parameters, Workspace &workspace,
                void *stream = nullptr) const {
    const Result<int64_t> bytes = workspaceBytes(tensors, parameters);
    if (!bytes)
      return bytes.error();
    if (!workspace.reserve(*bytes))
      return Error(HEDDLE_RESOURCE_EXHAUSTED, "no memory for the workspace");
    return launch(tensors, parameters, workspace.data(), workspace.bytes(), stream);
  }

private:
  static heddle_call call(Tensors tensors, Parameters parameters) {
    heddle_call work = {};
    work.size = sizeof work;
    work.tensors = tensors.data();
    work.tensor_count = tensors.size();
    work.parameters = parameters.data();
    work.parameter_count = parameters.size();
    return work;
  }
  detail::Owned<heddle_kernel, heddle_kernel_release> owned;
};

/// What is asked for besides tensors and parameters; see heddle_request.
struct KernelOptions {
  heddle_miss onMiss = HEDDLE_MISS_WAIT;
  int32_t deadlineMs = 0;
  const char *form = nullptr;
  const char *schedule = nullptr;
  const char *flags = nullptr;
};

/// A pattern registered with a context, which it keeps alive.
class Pattern {
public:
  explicit Pattern(heddle_pattern *handle) : owned(handle) {}
  heddle_pattern *handle() const { return owned.get(); }
  std::string_view name() const { return heddle_pattern_name(owned.get()); }

  /// Inputs, then results.
  std::vector<heddle_tensor_info> tensors() const {
    std::vector<heddle_tensor_info> all(heddle_pattern_tensor_count(owned.get()));
    for (size_t n = 0; n < all.size(); ++n) {
      all[n].size = sizeof all[n];
      (void)heddle_pattern_tensor(owned.get(), n, &all[n], nullptr);
    }
    return all;
  }
  std::vector<heddle_parameter_info> parameters() const {
    std::vector<heddle_parameter_info> all(heddle_pattern_parameter_count(owned.get()));
    for (size_t n = 0; n < all.size(); ++n) {
      all[n].size = sizeof all[n];
      (void)heddle_pattern_parameter(owned.get(), n, &all[n], nullptr);
    }
    return all;
  }
  /// Shape, dtype and dense strides of tensor `index` in a call on these tensors.
  Result<heddle_tensor> shape(size_t index, Tensors tensors, Parameters parameters = {}) const {
    const heddle_request asked = request(tensors, parameters, {});
    heddle_tensor tensor = {};
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_pattern_shape(owned.get(), &asked, index, &tensor, error);
    });
    if (!done)
      return done.error();
    return tensor;
  }
  /// The kernel for these tensors: the pattern's inputs, or all of its tensors.
  Result<Kernel> kernel(Tensors tensors, Parameters parameters = {},
                        const KernelOptions &options = {}) const {
    return get(request(tensors, parameters, options));
  }
  /// The kernel for dense tensors of these extents.
  Result<Kernel> kernel(std::span<const heddle_extent> extents, heddle_dtype dtype,
                        Parameters parameters = {}, const KernelOptions &options = {}) const {
    heddle_request asked = request({}, parameters, options);
    asked.extents = extents.data();
    asked.extent_count = extents.size();
    asked.dtype = dtype;
    return get(asked);
  }
  /// Sweeps schedules on these tensors (all of them; results are overwritten) and keeps the winner.
  /// A JSON object.
  Result<std::string> tune(Tensors tensors, Parameters parameters = {},
                           const heddle_tune_options *options = nullptr) const {
    const heddle_request asked = request(tensors, parameters, {});
    heddle_call work = {};
    work.size = sizeof work;
    work.tensors = tensors.data();
    work.tensor_count = tensors.size();
    work.parameters = parameters.data();
    work.parameter_count = parameters.size();
    std::string report;
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_pattern_tune(owned.get(), &asked, &work, options, detail::append, &report,
                                 error);
    });
    if (!done)
      return done.error();
    return report;
  }

private:
  static heddle_request request(Tensors tensors, Parameters parameters,
                                const KernelOptions &options) {
    heddle_request asked = {};
    asked.size = sizeof asked;
    asked.tensors = tensors.data();
    asked.tensor_count = tensors.size();
    asked.parameters = parameters.data();
    asked.parameter_count = parameters.size();
    asked.on_miss = options.onMiss;
    asked.deadline_ms = options.deadlineMs;
    asked.form = options.form;
    asked.schedule = options.schedule;
    asked.flags = options.flags;
    return asked;
  }
  Result<Kernel> get(const heddle_request &asked) const {
    heddle_kernel *kernel = nullptr;
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_kernel_get(owned.get(), &asked, &kernel, error);
    });
    if (!done)
      return done.error();
    return Kernel(kernel);
  }
  detail::Owned<heddle_pattern, heddle_pattern_destroy> owned;
};

/// Options as in heddle_context_options, with the size filled in.
struct ContextOptions : heddle_context_options {
  ContextOptions() : heddle_context_options{} { size = sizeof(heddle_context_options); }
};

class Context {
public:
  static Result<Context> create(const ContextOptions &options = {}) {
    heddle_context *context = nullptr;
    const Status done = detail::checked(
        [&](heddle_error **error) { return heddle_context_create(&options, &context, error); });
    if (!done)
      return done.error();
    return Context(context);
  }
  explicit Context(heddle_context *handle) : owned(handle) {}
  heddle_context *handle() const { return owned.get(); }

  /// `name`: which pattern of the text; null: the only one.
  Result<Pattern> pattern(const std::string &text, const char *name = nullptr) const {
    heddle_pattern *pattern = nullptr;
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_pattern_create(owned.get(), text.c_str(), name, &pattern, error);
    });
    if (!done)
      return done.error();
    return Pattern(pattern);
  }
  /// A kernel from the bytes of Kernel::artifact.
  Result<Kernel> kernel(std::string_view artifact) const {
    heddle_kernel *kernel = nullptr;
    const Status done = detail::checked([&](heddle_error **error) {
      return heddle_kernel_from_artifact(owned.get(), artifact.data(), artifact.size(), &kernel,
                                         error);
    });
    if (!done)
      return done.error();
    return Kernel(kernel);
  }

private:
  detail::Owned<heddle_context, heddle_context_destroy> owned;
};

} // namespace heddle::api

#endif
