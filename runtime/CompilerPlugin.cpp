// Finds, loads and calls libheddle-compiler through compiler/Plugin.h.
//   compile(request):  request text -> api->compile -> sink -> Artifact::parse
#include "runtime/CompilerPlugin.h"

#include "compiler/Plugin.h"
#include "runtime/BuildId.h"
#include "runtime/OwnFolder.h"
#include "runtime/Version.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace heddle {
namespace {

constexpr const char *kFileName = "libheddle-compiler.so";

std::string findLibrary(const std::string &given) {
  if (!given.empty())
    return given;
  if (const char *path = std::getenv("HEDDLE_COMPILER"); path && *path)
    return path;
  const std::string beside = ownFolder() + "/" + kFileName;
  const std::string inLib = ownFolder() + "/../lib/" + kFileName;
  return ::access(beside.c_str(), R_OK) != 0 && ::access(inLib.c_str(), R_OK) == 0 ? inLib : beside;
}

Error noCompiler(const std::string &path, const std::string &reason) {
  return {ErrorCode::NotFound,
          fmt::format("found no compiler library ({}), expected one at {}; set HEDDLE_COMPILER to "
                      "where libheddle-compiler.so is, or use a store that holds the kernel",
                      reason, path)};
}

heddle_bytes bytes(std::string_view text) { return {text.data(), text.size()}; }

void append(void *user, const char *data, size_t size) {
  static_cast<std::string *>(user)->append(data, size);
}

/// Calls one function of the boundary: its result's bytes, or its error.
template <typename Function, typename... Arguments>
Result<std::string> call(Function function, Arguments... arguments) {
  std::string result;
  if (function(arguments..., append, &result) != 0)
    return Error::parse(result);
  return result;
}

heddle_compiler_tensor tensor(const NamedTensor &named) {
  heddle_compiler_tensor out = {};
  out.name = bytes(named.name);
  out.data = named.view.data;
  out.dtype = static_cast<int32_t>(named.view.dtype);
  out.rank = named.view.rank;
  for (int d = 0; d < named.view.rank; ++d) {
    out.shape[d] = named.view.shape[d];
    out.strides[d] = named.view.strides[d];
  }
  return out;
}

/// A call of the pattern as it crosses the boundary; views into what it was made from.
struct CallRecord {
  explicit CallRecord(const std::map<std::string, double> &given) {
    for (const auto &[name, value] : given)
      parameters.push_back({bytes(name), value});
  }
  void addExtents(const Extents &given) {
    for (const auto &[name, value] : given)
      extents.push_back({bytes(name), value});
  }
  /// The compiler sorts out by name which are inputs and which results.
  void addTensors(const std::vector<NamedTensor> &given) {
    for (const NamedTensor &named : given)
      inputs.push_back(tensor(named));
  }
  heddle_compiler_call call() const {
    return {inputs.data(),     inputs.size(),  results.data(), results.size(), parameters.data(),
            parameters.size(), extents.data(), extents.size(), nullptr,        0};
  }

  std::vector<heddle_compiler_tensor> inputs, results;
  std::vector<heddle_compiler_parameter> parameters;
  std::vector<heddle_compiler_extent> extents;
};

heddle_compiler_check checkOptions(const CheckSettings &settings) {
  return {settings.budget, settings.mostRows, settings.seed};
}

/// Views into the settings.
heddle_compiler_sweep sweepOptions(const TuneSettings &settings) {
  heddle_compiler_sweep options = {};
  options.budget = settings.budget;
  options.threads = settings.threads;
  options.store_directory = bytes(settings.storeDirectory);
  options.check = checkOptions(settings.check);
  options.progress = [](void *user, int64_t done, int64_t total, heddle_bytes note) -> int {
    const auto &progress = *static_cast<const SweepProgress *>(user);
    return !progress || progress(done, total, {note.data, note.size});
  };
  options.progress_user = const_cast<SweepProgress *>(&settings.progress);
  return options;
}

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    found.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return found;
}

} // namespace

static_assert(HEDDLE_COMPILER_MAX_RANK == kMaxRank);

CompilerPlugin::CompilerPlugin(std::string path) : file(findLibrary(path)) {}

bool CompilerPlugin::loaded() const {
  const std::lock_guard lock(mutex);
  return table != nullptr;
}

Result<std::string> CompilerPlugin::buildId() const {
  const std::lock_guard lock(mutex);
  if (build.empty()) {
    Result<std::string> found = buildIdOf(file);
    if (!found.ok())
      return noCompiler(file, found.error().message);
    build = *found;
  }
  return build;
}

Result<const heddle_compiler_api *> CompilerPlugin::api() {
  const std::lock_guard lock(mutex);
  if (table)
    return table;
  // Local: libMLIR's and libLLVM's symbols carry no versions and must not meet another copy's.
  void *library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *reason = ::dlerror();
    return noCompiler(file, reason ? reason : "it cannot be loaded");
  }
  using GetApi = const heddle_compiler_api *(*)(uint32_t);
  const GetApi get = reinterpret_cast<GetApi>(::dlsym(library, "heddle_compiler_get_api"));
  const heddle_compiler_api *found = get ? get(HEDDLE_COMPILER_API_VERSION) : nullptr;
  if (!found || found->version != HEDDLE_COMPILER_API_VERSION || found->size < sizeof(*found)) {
    const std::string other = found ? found->heddle_version : "unknown";
    ::dlclose(library);
    return Error{
        ErrorCode::Unsupported,
        fmt::format("found a compiler library of another version ({}) at {}, expected one of "
                    "heddle {}; install both from the same build",
                    other, file, kVersion)};
  }
  return table = found;
}

Result<Artifact> CompilerPlugin::compile(const Request &request) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  HEDDLE_TRY(artifact, call(boundary->compile, bytes(text)));
  return Artifact::parse(artifact);
}

Result<Signature> CompilerPlugin::describe(std::string_view patternText,
                                           std::string_view patternName) {
  HEDDLE_TRY(boundary, api());
  HEDDLE_TRY(signature, call(boundary->describe, bytes(patternText), bytes(patternName)));
  return Signature::parse(signature);
}

Result<std::string> CompilerPlugin::show(const Request &request, std::string_view station) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  return call(boundary->show, bytes(text), bytes(station));
}

Result<std::vector<std::string>> CompilerPlugin::stations() {
  HEDDLE_TRY(text, show(Request(), ""));
  return lines(text);
}

Result<std::vector<std::map<std::string, int64_t>>>
CompilerPlugin::enumerate(const Request &request) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  HEDDLE_TRY(listing, call(boundary->enumerate, bytes(text)));
  std::vector<std::map<std::string, int64_t>> schedules;
  for (const std::string &line : lines(listing)) {
    HEDDLE_TRY(schedule, parseScheduleText(line));
    schedules.push_back(std::move(schedule));
  }
  return schedules;
}

Result<std::string> CompilerPlugin::explain(const Request &request, const Extents &extents,
                                            const std::map<std::string, double> &parameters) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  CallRecord record(parameters);
  record.addExtents(extents);
  const heddle_compiler_call work = record.call();
  return call(boundary->explain, bytes(text), &work);
}

Result<std::string> CompilerPlugin::knobs() {
  HEDDLE_TRY(boundary, api());
  return call(boundary->knobs);
}

Result<std::string> CompilerPlugin::machines() {
  HEDDLE_TRY(boundary, api());
  return call(boundary->machines);
}

Status CompilerPlugin::interpret(const Request &request, const std::vector<NamedTensor> &inputs,
                                 const std::map<std::string, double> &parameters,
                                 const RowList &rows, const std::vector<NamedTensor> &results) {
  HEDDLE_TRY(boundary, api());
  CallRecord record(parameters);
  for (const NamedTensor &named : inputs)
    record.inputs.push_back(tensor(named));
  for (const NamedTensor &named : results)
    record.results.push_back(tensor(named));
  heddle_compiler_call work = record.call();
  work.rows = rows.empty() ? nullptr : rows[0].data();
  work.row_count = rows.size();
  const std::string text = request.serialize();
  HEDDLE_TRY(nothing, call(boundary->interpret, bytes(text), &work));
  return {};
}

Result<std::string> CompilerPlugin::check(const Request &request,
                                          const std::vector<NamedTensor> &tensors,
                                          const std::map<std::string, double> &parameters,
                                          const CheckSettings &settings) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  CallRecord record(parameters);
  record.addTensors(tensors);
  const heddle_compiler_call work = record.call();
  const heddle_compiler_check options = checkOptions(settings);
  return call(boundary->check, bytes(text), &work, &options);
}

Result<std::string> CompilerPlugin::tune(const Request &request,
                                         const std::vector<NamedTensor> &tensors,
                                         const std::map<std::string, double> &parameters,
                                         const TuneSettings &settings) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  CallRecord record(parameters);
  record.addTensors(tensors);
  const heddle_compiler_call work = record.call();
  const heddle_compiler_sweep options = sweepOptions(settings);
  return call(boundary->tune, bytes(text), &work, &options);
}

Result<std::string> CompilerPlugin::inspect(const Request &request, const Artifact &artifact,
                                            bool sass, const std::string &counts) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize(), code = artifact.serialize();
  return call(boundary->inspect, bytes(text), bytes(code), static_cast<int32_t>(sass),
              bytes(counts));
}

Result<std::string> CompilerPlugin::estimate(const Request &request, const Extents &extents,
                                             const std::map<std::string, double> &parameters,
                                             const TuneSettings &settings) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  CallRecord record(parameters);
  record.addExtents(extents);
  const heddle_compiler_call work = record.call();
  const heddle_compiler_sweep options = sweepOptions(settings);
  return call(boundary->estimate, bytes(text), &work, &options);
}

} // namespace heddle
