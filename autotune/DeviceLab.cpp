// prepare(schedule): compile -> artifact -> kernel -> one launch -> oracle -> a subject to time.
#include "autotune/DeviceLab.h"

#include "compiler/Compiler.h"
#include "runtime/Artifact.h"
#include "runtime/Sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace heddle::autotune {
namespace {

/// The error object of a failed call of the C interface, as an Error.
Error takeError(heddle_error *error, const char *what) {
  Error taken{ErrorCode::Internal, what};
  if (!error)
    return taken;
  taken.code = static_cast<ErrorCode>(heddle_error_status(error));
  taken.message = heddle_error_message(error);
  heddle_error_destroy(error);
  return taken;
}

heddle_tensor toC(const TensorView &view) {
  heddle_tensor tensor = {};
  tensor.data = view.data;
  tensor.dtype = static_cast<int32_t>(view.dtype);
  tensor.rank = view.rank;
  std::copy_n(view.shape.begin(), view.rank, tensor.shape);
  std::copy_n(view.strides.begin(), view.rank, tensor.strides);
  return tensor;
}

/// A loaded candidate with its workspace; one launch at a time.
struct Loaded {
  heddle_kernel *kernel = nullptr;
  std::vector<heddle_tensor> tensors;
  std::vector<heddle_parameter> parameters;
  void *workspace = nullptr;
  int64_t workspaceBytes = 0;

  Loaded() = default;
  Loaded(const Loaded &) = delete;
  Loaded &operator=(const Loaded &) = delete;
  ~Loaded() {
    heddle_kernel_release(kernel);
    std::free(workspace);
  }

  heddle_call call() const {
    heddle_call call = {};
    call.size = sizeof call;
    call.tensors = tensors.data();
    call.tensor_count = tensors.size();
    call.parameters = parameters.data();
    call.parameter_count = parameters.size();
    call.workspace = workspace;
    call.workspace_bytes = workspaceBytes;
    return call;
  }

  Status makeWorkspace() {
    heddle_error *error = nullptr;
    const heddle_call sized = call();
    if (heddle_kernel_workspace(kernel, &sized, &workspaceBytes, &error))
      return takeError(error, "the workspace cannot be sized");
    size_t rounded = (static_cast<size_t>(workspaceBytes) + 127) / 64 * 64;
    workspace = std::aligned_alloc(64, rounded);
    if (!workspace)
      return Error{ErrorCode::ResourceExhausted,
                   fmt::format("no memory for a workspace of {} bytes", workspaceBytes)};
    return {};
  }

  Status launch() const {
    heddle_error *error = nullptr;
    const heddle_call work = call();
    if (heddle_kernel_launch(kernel, &work, &error))
      return takeError(error, "the launch failed");
    return {};
  }
};

} // namespace

DeviceLab::DeviceLab(DeviceProblem given, compiler::Oracle oracle)
    : problem(std::move(given)), oracle(std::move(oracle)) {
  for (const auto &[name, value] : problem.parameters)
    if (!problem.request.constants.contains(name))
      parameters.push_back({name.c_str(), value});
}

DeviceLab::~DeviceLab() { heddle_context_destroy(context); }

Result<std::unique_ptr<DeviceLab>> DeviceLab::open(DeviceProblem problem) {
  HEDDLE_TRY(oracle, compiler::Oracle::make(problem.oracle));
  std::unique_ptr<DeviceLab> lab(new DeviceLab(std::move(problem), std::move(oracle)));
  heddle_context_options options = {};
  options.size = sizeof options;
  options.flags = HEDDLE_NO_STORE;
  options.threads = lab->problem.threads;
  heddle_error *error = nullptr;
  if (heddle_context_create(&options, &lab->context, &error))
    return takeError(error, "the device cannot be opened");
  return lab;
}

Result<std::vector<heddle_tensor>> DeviceLab::tensorsOf(const heddle_kernel *kernel) const {
  std::vector<heddle_tensor> tensors;
  for (size_t n = 0; n < heddle_kernel_tensor_count(kernel); ++n) {
    heddle_tensor_info info = {};
    info.size = sizeof info;
    heddle_error *error = nullptr;
    if (heddle_kernel_tensor(kernel, n, &info, &error))
      return takeError(error, "the kernel does not name its tensors");
    auto found = problem.tensors.find(info.name);
    if (found == problem.tensors.end())
      return Error{ErrorCode::InvalidArgument, fmt::format("found no tensor '{}'", info.name)};
    tensors.push_back(toC(found->second));
  }
  return tensors;
}

Result<Subject> DeviceLab::prepare(const Schedule &schedule) {
  Request request = problem.request;
  request.schedule = schedule;
  HEDDLE_TRY(artifact, compiler::compile(request));
  std::string bytes = artifact.serialize();

  auto loaded = std::make_shared<Loaded>();
  heddle_error *error = nullptr;
  if (heddle_kernel_from_artifact(context, bytes.data(), bytes.size(), &loaded->kernel, &error))
    return takeError(error, "the kernel cannot be loaded");
  HEDDLE_TRY(tensors, tensorsOf(loaded->kernel));
  loaded->tensors = std::move(tensors);
  loaded->parameters = parameters;
  HEDDLE_CHECK(loaded->makeWorkspace());
  HEDDLE_CHECK(loaded->launch());
  HEDDLE_TRY(report, oracle.compare(problem.tensors));
  if (!report.passed)
    return Error{ErrorCode::CheckFailed, "its result is wrong: " + report.toString()};

  return Subject([loaded](int64_t count) -> Result<double> {
    auto start = std::chrono::steady_clock::now();
    for (int64_t n = 0; n < count; ++n)
      HEDDLE_CHECK(loaded->launch());
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
  });
}

//===------------------------------------------------------------------------------------------===//

StoreRecords::StoreRecords(const std::string &directory) {
  if (directory.empty())
    return;
  heddle_context_options options = {};
  options.size = sizeof options;
  options.store_directory = directory.c_str();
  options.threads = 1;
  if (heddle_context_create(&options, &context, nullptr))
    context = nullptr;
}

StoreRecords::~StoreRecords() { heddle_context_destroy(context); }

std::optional<std::string> StoreRecords::get(const std::string &key) {
  std::string value;
  auto append = [](void *user, const void *bytes, size_t size) {
    static_cast<std::string *>(user)->append(static_cast<const char *>(bytes), size);
  };
  if (!context ||
      heddle_store_get(context, "measurement", sha256Hex(key).c_str(), append, &value, nullptr))
    return std::nullopt;
  return value;
}

void StoreRecords::put(const std::string &key, const std::string &value) {
  if (context) // a record that cannot be kept is measured again next time
    (void)heddle_store_put(context, "measurement", sha256Hex(key).c_str(), value.data(),
                           value.size(), nullptr);
}

} // namespace heddle::autotune
