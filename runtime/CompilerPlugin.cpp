// Finds, loads and calls libheddle-compiler through compiler/Plugin.h.
//   compile(request):  request text -> api->compile -> sink -> Artifact::parse
#include "runtime/CompilerPlugin.h"

#include "compiler/Plugin.h"
#include "runtime/BuildId.h"
#include "runtime/Version.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace heddle {
namespace {

constexpr const char *kFileName = "libheddle-compiler.so";

/// The folder libheddle itself was loaded from, or "." if the loader does not say.
std::string ownFolder() {
  Dl_info info;
  if (!::dladdr(reinterpret_cast<void *>(&ownFolder), &info) || !info.dli_fname)
    return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "." : path.substr(0, slash);
}

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

Result<std::string> CompilerPlugin::explain(const Request &request) {
  HEDDLE_TRY(boundary, api());
  const std::string text = request.serialize();
  return call(boundary->explain, bytes(text));
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
  std::vector<heddle_compiler_tensor> in, out;
  for (const NamedTensor &named : inputs)
    in.push_back(tensor(named));
  for (const NamedTensor &named : results)
    out.push_back(tensor(named));
  std::vector<heddle_compiler_parameter> values;
  for (const auto &[name, value] : parameters)
    values.push_back({bytes(name), value});
  const heddle_compiler_call work = {in.data(),
                                     in.size(),
                                     out.data(),
                                     out.size(),
                                     values.data(),
                                     values.size(),
                                     rows.empty() ? nullptr : rows[0].data(),
                                     rows.size()};
  const std::string text = request.serialize();
  HEDDLE_TRY(nothing, call(boundary->interpret, bytes(text), &work));
  return {};
}

} // namespace heddle
