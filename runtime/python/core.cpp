// The extension behind the package: contexts, patterns and calls over heddle.hpp. Tensors come in
// by DLPack or the buffer protocol and are never copied; results are 64-byte aligned memory that
// goes out as the caller's kind of tensor. The interpreter's lock is free while a kernel is looked
// for, compiled or running. On a GPU memory is the caller's business: results and workspace come
// from a function of Python's, and the launch goes into the caller's stream.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heddle.hpp"

namespace nb = nanobind;
namespace api = heddle::api;
using namespace nb::literals;

namespace {

// --- errors --------------------------------------------------------------------------------------

/// Raises heddle.Error with status and notes.
[[noreturn]] void raise(const api::Error &error) {
  nb::object type = nb::module_::import_("heddle._errors").attr("Error");
  nb::object raised = type(error.message(), static_cast<int>(error.status()), error.notes());
  PyErr_SetObject(type.ptr(), raised.ptr());
  throw nb::python_error();
}

[[noreturn]] void refuse(const std::string &message) {
  raise(api::Error(HEDDLE_INVALID_ARGUMENT, "invalid argument: " + message));
}

template <typename T> T unwrap(api::Result<T> result) {
  if (!result)
    raise(result.error());
  return std::move(*result);
}

// --- tensors -------------------------------------------------------------------------------------

struct DTypeRow {
  heddle_dtype dtype;
  uint8_t code; ///< DLPack's
  uint8_t bits;
  const char *name;
};
constexpr uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBrain = 4;
constexpr DTypeRow kDTypes[] = {
    {HEDDLE_F64, kFloat, 64, "f64"}, {HEDDLE_F32, kFloat, 32, "f32"},
    {HEDDLE_F16, kFloat, 16, "f16"}, {HEDDLE_BF16, kBrain, 16, "bf16"},
    {HEDDLE_I64, kInt, 64, "i64"},   {HEDDLE_I32, kInt, 32, "i32"},
    {HEDDLE_I8, kInt, 8, "i8"},      {HEDDLE_U8, kUInt, 8, "u8"},
};

const DTypeRow &rowOf(int32_t dtype) {
  for (const DTypeRow &row : kDTypes)
    if (row.dtype == dtype)
      return row;
  refuse("found an element type that Python cannot hold (fp8), expected another");
}

/// A tensor of the caller's; keeps it alive.
template <typename Array> struct Argument {
  Array array;
  heddle_tensor tensor = {};
};

const char *kindOf(nb::handle object) { return Py_TYPE(object.ptr())->tp_name; }

/// What DLPack calls the device of a context: the processor's memory, or a GPU's.
int memoryOf(const std::string &device) {
  return device.starts_with("cpu") ? nb::device::cpu::value : nb::device::cuda::value;
}

template <typename Array>
Argument<Array> argument(nb::handle object, const std::string &name, const std::string &device) {
  Argument<Array> argument;
  if (!nb::try_cast(object, argument.array, false)) {
    refuse("found " + std::string(kindOf(object)) + " for " + name +
           ", expected a tensor: numpy, torch or whatever has __dlpack__" +
           (std::is_same_v<Array, nb::ndarray<>> ? ", writable" : ""));
  }
  const Array &array = argument.array;
  if (array.device_type() != memoryOf(device))
    refuse("found " + name + " on another device, expected memory of " + device +
           ": move it there, or name its device in heddle.Context(device=...)");
  if (array.ndim() > HEDDLE_MAX_RANK)
    refuse("found " + name + " with " + std::to_string(array.ndim()) +
           " dimensions, expected at most 8");
  const nb::dlpack::dtype type = array.dtype();
  for (const DTypeRow &row : kDTypes)
    if (row.code == type.code && row.bits == type.bits && type.lanes == 1)
      argument.tensor.dtype = row.dtype;
  if (argument.tensor.dtype == 0)
    refuse("found an element type for " + name +
           " that kernels do not know, expected f64, f32, f16, bf16, i64, i32, i8 or u8");
  argument.tensor.data = const_cast<void *>(static_cast<const void *>(array.data()));
  argument.tensor.rank = static_cast<int32_t>(array.ndim());
  for (size_t d = 0; d < array.ndim(); ++d) {
    argument.tensor.shape[d] = static_cast<int64_t>(array.shape(d));
    argument.tensor.strides[d] = array.stride(d);
  }
  return argument;
}

/// New memory for a result of this shape; `tensor.data` points to it.
std::unique_ptr<void, decltype(&std::free)> allocate(heddle_tensor &tensor) {
  int64_t bytes = rowOf(tensor.dtype).bits / 8;
  for (int32_t d = 0; d < tensor.rank; ++d)
    if (__builtin_mul_overflow(bytes, tensor.shape[d], &bytes))
      refuse("found a result larger than any memory");
  std::unique_ptr<void, decltype(&std::free)> memory(
      std::aligned_alloc(64, (static_cast<size_t>(bytes) / 64 + 1) * 64), &std::free);
  if (!memory)
    throw std::bad_alloc();
  tensor.data = memory.get();
  return memory;
}

/// The result as numpy's array, torch's tensor, or an object with __dlpack__.
nb::object give(const heddle_tensor &tensor, nb::capsule owner, const std::string &framework) {
  const DTypeRow &row = rowOf(tensor.dtype);
  nb::dlpack::dtype type;
  type.code = row.code;
  type.bits = row.bits;
  type.lanes = 1;
  size_t shape[HEDDLE_MAX_RANK];
  for (int32_t d = 0; d < tensor.rank; ++d)
    shape[d] = static_cast<size_t>(tensor.shape[d]);
  const size_t rank = static_cast<size_t>(tensor.rank);
  if (framework == "torch")
    return nb::cast(
        nb::ndarray<nb::pytorch>(tensor.data, rank, shape, owner, tensor.strides, type));
  if (framework == "numpy" && row.code != kBrain)
    return nb::cast(nb::ndarray<nb::numpy>(tensor.data, rank, shape, owner, tensor.strides, type));
  return nb::cast(
      nb::ndarray<nb::array_api>(tensor.data, rank, shape, owner, tensor.strides, type));
}

// --- calls ---------------------------------------------------------------------------------------

using Values = std::map<std::string, double>;

std::vector<heddle_parameter> parametersOf(const Values &values) {
  std::vector<heddle_parameter> parameters;
  for (const auto &[name, value] : values)
    parameters.push_back({name.c_str(), value});
  return parameters;
}

/// How kernels are asked for; texts live here.
struct Options {
  std::optional<std::string> form, schedule, flags;
  int onMiss = HEDDLE_MISS_WAIT;
  int deadlineMs = 0;

  api::KernelOptions given() const {
    api::KernelOptions options;
    options.onMiss = static_cast<heddle_miss>(onMiss);
    options.deadlineMs = deadlineMs;
    options.form = form ? form->c_str() : nullptr;
    options.schedule = schedule ? schedule->c_str() : nullptr;
    options.flags = flags ? flags->c_str() : nullptr;
    return options;
  }
};

struct TensorRow {
  std::string name;
  std::string dtype; ///< "": the call's
  int rank;
  bool isResult;
};

/// A pattern with what the calls need of it, and the tensors of one call.
class Pattern {
public:
  Pattern(api::Pattern given, std::string onDevice)
      : pattern(std::move(given)), device(std::move(onDevice)) {
    for (const heddle_tensor_info &info : pattern.tensors()) {
      rows.push_back(
          {info.name, info.dtype ? rowOf32(info.dtype) : "", info.rank, info.is_result != 0});
      inputs += !info.is_result;
    }
    for (const heddle_parameter_info &info : pattern.parameters())
      (info.is_constant ? constants : runtime).push_back(info.name);
  }

  struct Call {
    std::vector<Argument<nb::ndarray<nb::ro>>> given;
    std::vector<Argument<nb::ndarray<>>> written;
    std::vector<nb::object> results; ///< those that were given or made by Python; else null
    std::vector<std::unique_ptr<void, decltype(&std::free)>> fresh;
    std::vector<heddle_tensor> tensors;
    std::vector<heddle_parameter> parameters;
    std::vector<heddle_parameter> launchParameters; ///< constants are in the code
  };

  Call bind(const std::vector<nb::object> &tensors, const Values &values,
            const std::optional<std::vector<nb::object>> &out, const nb::object &allocator) const {
    if (tensors.size() != inputs)
      refuse("found " + std::to_string(tensors.size()) + " inputs for " +
             std::string(pattern.name()) + ", expected " + std::to_string(inputs) + ": " +
             names(false));
    if (out && out->size() != rows.size() - inputs)
      refuse("found " + std::to_string(out->size()) + " results in out, expected " +
             std::to_string(rows.size() - inputs) + ": " + names(true));
    Call call;
    for (size_t n = 0; n < inputs; ++n) {
      call.given.push_back(argument<nb::ndarray<nb::ro>>(tensors[n], rows[n].name, device));
      call.tensors.push_back(call.given.back().tensor);
    }
    call.parameters = parametersOf(values);
    for (const heddle_parameter &parameter : call.parameters)
      if (std::find(constants.begin(), constants.end(), parameter.name) == constants.end())
        call.launchParameters.push_back(parameter);
    const std::vector<heddle_tensor> givenTensors = call.tensors;
    for (size_t n = inputs; n < rows.size(); ++n) {
      nb::object result = out ? (*out)[n - inputs] : nb::none();
      if (result.is_none()) {
        heddle_tensor shape = unwrap(pattern.shape(n, givenTensors, call.parameters));
        if (allocator.is_none()) {
          call.fresh.push_back(allocate(shape));
          call.tensors.push_back(shape);
          call.results.emplace_back();
          continue;
        }
        result = made(allocator, shape);
      }
      call.written.push_back(argument<nb::ndarray<>>(result, rows[n].name, device));
      call.tensors.push_back(call.written.back().tensor);
      call.fresh.emplace_back(nullptr, &std::free);
      call.results.push_back(std::move(result));
    }
    return call;
  }

  nb::tuple run(const std::vector<nb::object> &tensors, const Values &values,
                const std::optional<std::vector<nb::object>> &out, const std::string &framework,
                const Options &options, const nb::object &allocator,
                std::optional<uint64_t> stream) const {
    Call call = bind(tensors, values, out, allocator);
    if (allocator.is_none())
      runHere(call, options, stream);
    else
      runThere(call, options, allocator, stream);
    nb::list results;
    for (size_t n = inputs; n < rows.size(); ++n) {
      std::unique_ptr<void, decltype(&std::free)> &memory = call.fresh[n - inputs];
      if (!memory) {
        results.append(call.results[n - inputs]);
        continue;
      }
      nb::capsule owner(memory.release(), [](void *data) noexcept { std::free(data); });
      results.append(give(call.tensors[n], owner, framework));
    }
    return nb::tuple(results);
  }

  nb::dict info(const std::vector<nb::object> &tensors, const Values &values,
                const Options &options, const nb::object &allocator) const {
    Call call = bind(tensors, values, std::nullopt, allocator);
    api::Result<api::Kernel> kernel = [&] {
      const nb::gil_scoped_release unlocked;
      return pattern.kernel(call.tensors, call.parameters, options.given());
    }();
    const api::Kernel found = unwrap(std::move(kernel));
    const heddle_kernel_info known = unwrap(found.info());
    constexpr const char *kSources[] = {"", "compiled", "store", "bundle", "bytes"};
    nb::dict info;
    info["source"] = kSources[known.source];
    info["tuned"] = known.is_tuned != 0;
    info["stand_in"] = known.is_stand_in != 0;
    info["compile_ms"] = known.compile_ms;
    info["load_ms"] = known.load_ms;
    info["target"] = known.target;
    info["form"] = known.form;
    info["schedule"] = known.schedule;
    info["notes"] = known.notes;
    info["key"] = known.key;
    return info;
  }

  std::string tune(const std::vector<nb::object> &tensors, const Values &values, int64_t budget,
                   const nb::object &progress, const nb::object &allocator) const {
    Call call = bind(tensors, values, std::nullopt, allocator);
    heddle_tune_options options = {};
    options.size = sizeof options;
    options.budget = budget;
    if (!progress.is_none()) {
      options.progress_user = const_cast<nb::object *>(&progress);
      options.progress = [](void *user, int64_t done, int64_t total, const char *note) -> int {
        const nb::gil_scoped_acquire locked;
        try {
          const nb::object said = (*static_cast<nb::object *>(user))(done, total, note);
          return said.is_none() || nb::cast<bool>(said);
        } catch (nb::python_error &error) {
          error.discard_as_unraisable("the progress callback of heddle.tune");
          return 0;
        }
      };
    }
    api::Result<std::string> report = [&] {
      const nb::gil_scoped_release unlocked;
      return pattern.tune(call.tensors, call.parameters, &options);
    }();
    return unwrap(std::move(report));
  }

  std::string name() const { return std::string(pattern.name()); }
  const std::vector<TensorRow> &tensors() const { return rows; }
  const std::vector<std::string> &constantNames() const { return constants; }
  const std::vector<std::string> &runtimeNames() const { return runtime; }

private:
  /// A tensor of Python's for this shape and element type.
  static nb::object made(const nb::object &allocator, const heddle_tensor &like) {
    nb::list shape;
    for (int32_t d = 0; d < like.rank; ++d)
      shape.append(like.shape[d]);
    return allocator(nb::tuple(shape), rowOf(like.dtype).name);
  }

  /// In the process's own memory, with a workspace that the thread keeps.
  void runHere(const Call &call, const Options &options, std::optional<uint64_t> stream) const {
    const api::Status done = [&]() -> api::Status {
      const nb::gil_scoped_release unlocked;
      thread_local api::Workspace workspace;
      const api::Result<api::Kernel> kernel =
          pattern.kernel(call.tensors, call.parameters, options.given());
      if (!kernel)
        return kernel.error();
      return kernel->launch(call.tensors, call.launchParameters, workspace, handle(stream));
    }();
    if (!done)
      raise(done.error());
  }

  /// On a device with memory of its own. The workspace is let go once the launch is in the stream,
  /// as torch's allocator expects; without a stream once the work is done.
  void runThere(const Call &call, const Options &options, const nb::object &allocator,
                std::optional<uint64_t> stream) const {
    api::Result<api::Kernel> found = [&] {
      const nb::gil_scoped_release unlocked;
      return pattern.kernel(call.tensors, call.parameters, options.given());
    }();
    const api::Kernel kernel = unwrap(std::move(found));
    heddle_tensor like = {};
    like.dtype = HEDDLE_U8;
    like.rank = 1;
    like.shape[0] = unwrap(kernel.workspaceBytes(call.tensors, call.launchParameters));
    Argument<nb::ndarray<>> workspace;
    if (like.shape[0] > 0)
      workspace = argument<nb::ndarray<>>(made(allocator, like), "the workspace", device);
    const api::Status done = [&] {
      const nb::gil_scoped_release unlocked;
      return kernel.launch(call.tensors, call.launchParameters, workspace.tensor.data,
                           like.shape[0], handle(stream));
    }();
    if (!done)
      raise(done.error());
  }

  static void *handle(std::optional<uint64_t> stream) {
    return stream ? reinterpret_cast<void *>(*stream) : nullptr;
  }

  static std::string rowOf32(int32_t dtype) {
    for (const DTypeRow &row : kDTypes)
      if (row.dtype == dtype)
        return row.name;
    return "fp8";
  }
  std::string names(bool results) const {
    std::string text;
    for (const TensorRow &row : rows)
      if (row.isResult == results)
        text += (text.empty() ? "" : ", ") + row.name;
    return text;
  }

  api::Pattern pattern;
  std::string device;
  std::vector<TensorRow> rows;
  size_t inputs = 0;
  std::vector<std::string> constants, runtime;
};

api::Context makeContext(const std::string &device, int threads,
                         const std::optional<std::string> &store, bool useStore, bool compile,
                         bool trustShared, bool winners, const std::vector<std::string> &bundles,
                         int64_t storeBytes, int compileThreads, int64_t compileBytes,
                         const std::optional<std::string> &compiler) {
  api::ContextOptions options;
  options.device = device.c_str();
  options.threads = threads;
  options.store_directory = store ? store->c_str() : nullptr;
  options.compiler = compiler ? compiler->c_str() : nullptr;
  options.flags = (useStore ? 0U : HEDDLE_NO_STORE) | (compile ? 0U : HEDDLE_NO_COMPILE) |
                  (trustShared ? HEDDLE_TRUST_SHARED_STORE : 0U) |
                  (winners ? 0U : HEDDLE_NO_WINNERS);
  options.store_bytes = storeBytes;
  options.compile_threads = compileThreads;
  options.compile_bytes = compileBytes;
  std::vector<const char *> paths;
  for (const std::string &path : bundles)
    paths.push_back(path.c_str());
  options.bundles = paths.data();
  options.bundle_count = paths.size();
  return unwrap(api::Context::create(options));
}

} // namespace

NB_MODULE(_core, module) {
  module.doc() = "What heddle's Python package is made over; use the package.";
  module.def("version", [] { return std::string(heddle_version_string()); });
  nb::class_<TensorRow>(module, "Tensor")
      .def_ro("name", &TensorRow::name)
      .def_ro("dtype", &TensorRow::dtype)
      .def_ro("rank", &TensorRow::rank)
      .def_ro("is_result", &TensorRow::isResult);
  nb::class_<Options>(module, "Options")
      .def(nb::init<>())
      .def_rw("form", &Options::form)
      .def_rw("schedule", &Options::schedule)
      .def_rw("flags", &Options::flags)
      .def_rw("on_miss", &Options::onMiss)
      .def_rw("deadline_ms", &Options::deadlineMs);
  nb::class_<Pattern>(module, "Pattern")
      .def_prop_ro("name", &Pattern::name)
      .def_prop_ro("tensors", &Pattern::tensors)
      .def_prop_ro("constants", &Pattern::constantNames)
      .def_prop_ro("parameters", &Pattern::runtimeNames)
      // allocator(shape, dtype) gives a tensor of the device; None on the CPU.
      .def("run", &Pattern::run, "tensors"_a, "values"_a, "out"_a.none(), "framework"_a,
           "options"_a, "allocator"_a.none(), "stream"_a.none())
      .def("info", &Pattern::info, "tensors"_a, "values"_a, "options"_a, "allocator"_a.none())
      .def("tune", &Pattern::tune, "tensors"_a, "values"_a, "budget"_a, "progress"_a.none(),
           "allocator"_a.none());
  nb::class_<api::Context>(module, "Context")
      .def_static("create", &makeContext, "device"_a, "threads"_a, "store"_a.none(), "use_store"_a,
                  "compile"_a, "trust_shared"_a, "winners"_a, "bundles"_a, "store_bytes"_a,
                  "compile_threads"_a, "compile_bytes"_a, "compiler"_a.none())
      .def(
          "pattern",
          [](const api::Context &context, const std::string &text,
             const std::optional<std::string> &name, const std::string &device) {
            api::Result<api::Pattern> pattern = [&] {
              const nb::gil_scoped_release unlocked;
              return context.pattern(text, name ? name->c_str() : nullptr);
            }();
            return Pattern(unwrap(std::move(pattern)), device);
          },
          "text"_a, "name"_a.none(), "device"_a);
}
