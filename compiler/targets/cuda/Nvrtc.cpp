// Calls NVRTC by the names of its functions:
//   text -> nvrtcCompileProgram(--gpu-architecture=sm_80, ptxas -v) -> PTX, cubin, log
//   log "Used 127 registers, ... 8 bytes spill stores" -> Resources
// Options: the text declares no host code (-default-device), C++17 as nvcc takes by default.
#include "compiler/targets/cuda/Nvrtc.h"

#include "runtime/CudaFiles.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace heddle::compiler::cuda {
namespace {

// --- the log -------------------------------------------------------------------------------------

std::vector<std::string_view> linesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(lines.back().size() + 1, text.size()));
  }
  return lines;
}

/// The number right before ` unit` in a line: numberBefore("8 bytes spill stores", "bytes spill
/// stores") = 8. Leaves `value` alone where the line has none.
void readNumber(std::string_view line, std::string_view unit, int64_t &value) {
  const size_t at = line.find(fmt::format(" {}", unit));
  if (at == line.npos)
    return;
  size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9')
    --begin;
  std::from_chars(line.data() + begin, line.data() + at, value);
}

/// The first text in quotes after `prefix`, or empty.
std::string quotedAfter(std::string_view line, std::string_view prefix) {
  size_t begin = line.find(prefix);
  if (begin == line.npos)
    return "";
  begin += prefix.size();
  return std::string(line.substr(begin, line.find('\'', begin) - begin));
}

/// The first line that says error, or the first line.
std::string firstError(std::string_view log) {
  const std::vector<std::string_view> lines = linesOf(log);
  for (std::string_view line : lines)
    if (line.find("error") != line.npos)
      return std::string(line);
  return lines.empty() ? "it gives no message" : std::string(lines.front());
}

// --- failures ------------------------------------------------------------------------------------

/// Saves text and log where whoever looks into a bug finds them; the path of the text, or empty
/// where nothing can be written.
std::string saveFailure(const std::string &text, const std::string &name, const std::string &log) {
  std::error_code failure;
  std::string folder = (std::filesystem::temp_directory_path(failure) / "heddle-cuda-XXXXXX");
  if (failure || !::mkdtemp(folder.data()))
    return "";
  const std::string path = folder + "/" + std::filesystem::path(name).filename().string();
  std::ofstream(path, std::ios::binary) << text;
  std::ofstream(folder + "/log.txt", std::ios::binary) << log;
  return path;
}

Error refusal(const std::string &version, const std::string &arch, const std::string &text,
              const std::string &name, const std::string &log) {
  Error error{ErrorCode::CompilerFailure,
              fmt::format("NVRTC {} does not compile the text that was made for {}: {}; this is a "
                          "bug of heddle: please report it with the text and its log",
                          version, arch, firstError(log))};
  error.where = saveFailure(text, name, log);
  constexpr size_t kMostLines = 8;
  for (std::string_view line : linesOf(log))
    if (!line.empty() && error.notes.size() < kMostLines)
      error.notes.emplace_back(line);
  if (error.where.empty())
    error.notes.push_back("the text could not be saved in the folder for temporary files");
  return error;
}

/// A program of NVRTC, destroyed at the end.
struct Program {
  void *handle = nullptr;
  int (*destroy)(void **);
  ~Program() {
    if (handle)
      destroy(&handle);
  }
};

} // namespace

std::map<std::string, Resources> readPtxasLog(const std::string &log) {
  std::map<std::string, Resources> entries;
  Resources *entry = nullptr;
  for (std::string_view line : linesOf(log)) {
    if (const std::string name = quotedAfter(line, "Compiling entry function '"); !name.empty())
      entry = &entries[name];
    if (!entry)
      continue;
    readNumber(line, "bytes stack frame", entry->stackBytes);
    readNumber(line, "bytes spill stores", entry->spillStoreBytes);
    readNumber(line, "bytes spill loads", entry->spillLoadBytes);
    readNumber(line, "registers", entry->registers);
    readNumber(line, "bytes smem", entry->sharedBytes);
    readNumber(line, "bytes cmem[0]", entry->constantBytes);
  }
  return entries;
}

int64_t architectureNumber(const std::string &arch) {
  int64_t number = 0;
  const bool good = arch.starts_with("sm_") && arch.size() > 3;
  const char *end = arch.data() + arch.size();
  const char *stop = good ? std::from_chars(arch.data() + 3, end, number).ptr : end;
  const bool suffix = end - stop == 1 && (*stop == 'a' || *stop == 'f');
  return good && (stop == end || suffix) ? number : 0;
}

std::string Nvrtc::version() const { return fmt::format("{}.{}", major, minor); }

Result<Nvrtc> Nvrtc::load(const std::string &path) {
  Nvrtc nvrtc;
  nvrtc.file = path;
  if (path.empty()) {
    HEDDLE_TRY(found, findNvrtc());
    nvrtc.file = found;
  }
  void *library = ::dlopen(nvrtc.file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *reason = ::dlerror();
    return Error{ErrorCode::NotFound,
                 fmt::format("cannot load NVRTC from {}: {}; set HEDDLE_NVRTC to a libnvrtc.so of "
                             "CUDA 12 or newer",
                             nvrtc.file, reason ? reason : "the loader gives no reason")};
  }
  const char *missing = nullptr;
#define HEDDLE_NVRTC_FUNCTION(name, type)                                                          \
  nvrtc.call.name = reinterpret_cast<type>(::dlsym(library, "nvrtc" #name));                       \
  if (!nvrtc.call.name)                                                                            \
    missing = "nvrtc" #name;
#include "compiler/targets/cuda/Nvrtc.def"
#undef HEDDLE_NVRTC_FUNCTION
  if (missing)
    return Error{ErrorCode::Unsupported,
                 fmt::format("found a libnvrtc without {} at {}, expected one of CUDA 12 or newer",
                             missing, nvrtc.file)};
  int major = 0, minor = 0, count = 0;
  nvrtc.call.Version(&major, &minor);
  nvrtc.call.GetNumSupportedArchs(&count);
  std::vector<int> archs(static_cast<size_t>(std::max(count, 0)));
  nvrtc.call.GetSupportedArchs(archs.data());
  nvrtc.major = major;
  nvrtc.minor = minor;
  nvrtc.known.assign(archs.begin(), archs.end());
  return nvrtc;
}

Status Nvrtc::checkArchitecture(const std::string &arch) const {
  if (std::find(known.begin(), known.end(), architectureNumber(arch)) != known.end())
    return {};
  return Error{ErrorCode::NotFound,
               fmt::format("found the architecture '{}', which NVRTC {} ({}) does not know; "
                           "expected one of sm_{}, some with the suffix a or f",
                           arch, version(), file, fmt::join(known, ", sm_"))};
}

/// A text of a program: its size (with the closing zero where it is a C string), then its bytes.
Result<std::string> Nvrtc::text(void *program, int (*size)(void *, size_t *),
                                int (*get)(void *, char *)) const {
  size_t bytes = 0;
  int result = size(program, &bytes);
  std::string text(bytes, '\0');
  if (result == 0)
    result = get(program, text.data());
  if (result != 0)
    return Error{ErrorCode::CompilerFailure, fmt::format("NVRTC does not hand over its result: {}",
                                                         call.GetErrorString(result))};
  return text;
}

Result<CudaCode> Nvrtc::compile(const std::string &source, const std::string &name,
                                const std::string &arch, Output output, Effort effort) const {
  HEDDLE_CHECK(checkArchitecture(arch));
  Program program{nullptr, call.DestroyProgram};
  if (const int result =
          call.CreateProgram(&program.handle, source.c_str(), name.c_str(), 0, nullptr, nullptr))
    return Error{ErrorCode::ResourceExhausted,
                 fmt::format("NVRTC makes no program: {}", call.GetErrorString(result))};
  const std::string real = "--gpu-architecture=" + arch;
  const std::string toPtx = "--gpu-architecture=compute_" + arch.substr(3);
  std::vector<const char *> options = {output == Ptx ? toPtx.c_str() : real.c_str(),
                                       "-default-device", "-std=c++17"};
  if (output != Ptx)
    options.push_back("--ptxas-options=-v");
  if (major >= 13)
    options.push_back("--minimal"); // without textures and surfaces; a tenth of a small kernel
  if (major >= 13 && effort != Full)
    options.push_back(effort == Quick ? "--Ofast-compile=min" : "--Ofast-compile=max");
  const int compiled =
      call.CompileProgram(program.handle, static_cast<int>(options.size()), options.data());
  CudaCode code;
  HEDDLE_TRY(log, text(program.handle, call.GetProgramLogSize, call.GetProgramLog));
  code.log = log.c_str(); // without the closing zero
  // 90 is known, sm_90a is; 80 is known, sm_80a is not: only a compile tells, in one of two ways.
  if (compiled != 0 && (code.log.find("value for --gpu-architecture") != code.log.npos ||
                        code.log.find("specified with --nv_arch") != code.log.npos))
    return Error{ErrorCode::NotFound,
                 fmt::format("found the architecture '{}', which NVRTC {} ({}) does not know; it "
                             "knows the number without the suffix, or with another one",
                             arch, version(), file)};
  if (compiled != 0)
    return refusal(version(), arch, source, name, code.log);
  HEDDLE_TRY(ptx, text(program.handle, call.GetPTXSize, call.GetPTX));
  code.ptx = ptx.c_str();
  if (output == Ptx)
    return code;
  HEDDLE_TRY(cubin, text(program.handle, call.GetCUBINSize, call.GetCUBIN));
  code.cubin = std::move(cubin);
  code.entries = readPtxasLog(code.log);
  return code;
}

} // namespace heddle::compiler::cuda
