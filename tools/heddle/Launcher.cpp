// Writes the program from the artifact's tables: scalars become variables,
// formulas C++ expressions over them, the argument table a struct.
//   {ScalarValue Tq, offset 48}  ->  int64_t Tq;   in struct Parameters, and
//   parameters.Tq = Tq;
#include "tools/heddle/Launcher.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>
#include <vector>

namespace heddle::tool {
namespace {

constexpr const char *kHead = R"(//
// It makes tensors of the given extents, fills the inputs with a pattern, launches, and prints the
// time and a checksum of each result. Take `launch` into your own code, with your own memory.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#if __has_include(<cuda.h>)
#include <cuda.h>
#else // what is used of the CUDA driver API
extern "C" {
typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef enum { CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 } CUfunction_attribute;
CUresult cuInit(unsigned flags);
CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes);
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes);
CUresult cuModuleLoad(CUmodule *module, const char *path);
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value);
CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                        unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                        CUstream stream, void **parameters, void **extra);
CUresult cuStreamSynchronize(CUstream stream);
CUresult cuGetErrorString(CUresult result, const char **text);
}
#define cuMemAlloc cuMemAlloc_v2
#define cuMemcpyHtoD cuMemcpyHtoD_v2
#define cuMemcpyDtoH cuMemcpyDtoH_v2
#endif

static void check(CUresult result, const char *what) {
  if (result == 0)
    return;
  const char *text = nullptr;
  cuGetErrorString(result, &text);
  std::fprintf(stderr, "%s: %s\n", what, text ? text : "unknown error");
  std::exit(1);
}

[[maybe_unused]] static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
[[maybe_unused]] static int64_t floordiv(int64_t a, int64_t b) { return a / b; }
[[maybe_unused]] static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
[[maybe_unused]] static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
)";

/// For kernels that load by TMA.
constexpr const char *kMapHead = R"(
#if !__has_include(<cuda.h>)
struct CUtensorMap {
  uint64_t opaque[16];
};
enum CUtensorMapDataType {
  CU_TENSOR_MAP_DATA_TYPE_FLOAT16 = 6,
  CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7,
  CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9
};
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle {
  CU_TENSOR_MAP_SWIZZLE_NONE = 0,
  CU_TENSOR_MAP_SWIZZLE_32B = 1,
  CU_TENSOR_MAP_SWIZZLE_64B = 2,
  CU_TENSOR_MAP_SWIZZLE_128B = 3
};
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };
extern "C" CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type,
                                           unsigned rank, void *address, const uint64_t *extents,
                                           const uint64_t *strides, const uint32_t *box,
                                           const uint32_t *elementStrides,
                                           CUtensorMapInterleave interleave,
                                           CUtensorMapSwizzle swizzle,
                                           CUtensorMapL2promotion promotion,
                                           CUtensorMapFloatOOBfill fill);
#endif

struct MapDim {
  int64_t extent, strideBytes, box; // the contiguous dimension first
};

static CUtensorMap mapOf(CUdeviceptr tensor, CUtensorMapDataType type, CUtensorMapSwizzle swizzle,
                         const std::vector<MapDim> &dims) {
  alignas(128) CUtensorMap map = {};
  uint64_t extents[5], strides[5];
  uint32_t box[5], every[5] = {1, 1, 1, 1, 1};
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d].extent == 0)
      return map; // nothing is copied of a tensor without elements
    extents[d] = dims[d].extent;
    strides[d] = dims[d].extent == 1 ? 16 : dims[d].strideBytes;
    box[d] = dims[d].box;
  }
  check(cuTensorMapEncodeTiled(&map, type, dims.size(), (void *)tensor, extents, strides + 1, box,
                               every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                               CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
        "cuTensorMapEncodeTiled");
  return map;
}
)";

constexpr const char *kMain = R"(
int main(int count, char **arguments) {
  std::map<std::string, double> given;
  for (int n = 1; n < count; ++n)
    if (const char *equals = std::strchr(arguments[n], '='))
      given[std::string(arguments[n], equals - arguments[n])] = std::atof(equals + 1);
  Problem p;
@READ@
  CUdevice device;
  CUcontext context;
  CUmodule module;
  check(cuInit(0), "cuInit");
  check(cuDeviceGet(&device, 0), "cuDeviceGet");
  check(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  check(cuModuleLoad(&module, "@IMAGE@"), "loading @IMAGE@");
@TENSORS@
  CUdeviceptr workspace = 0;
  check(cuMemAlloc(&workspace, max(workspaceBytes(p), 1)), "cuMemAlloc");
  launch(module, p, workspace, nullptr); // the first loads the code
  check(cuStreamSynchronize(nullptr), "the kernel");
  const auto start = std::chrono::steady_clock::now();
  launch(module, p, workspace, nullptr);
  check(cuStreamSynchronize(nullptr), "the kernel");
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::printf("%.3f ms\n", time.count());
@RESULTS@
  return 0;
}
)";

bool isFloat(const ScalarInfo &scalar) { return scalar.kind == ScalarInfo::FloatParameter; }

class LauncherWriter {
public:
  LauncherWriter(const Artifact &artifact, const std::string &image)
      : artifact(artifact), image(image) {
    for (const ScalarInfo &scalar : artifact.scalars)
      scalars.push_back("p." + scalar.name);
  }

  std::string text() {
    add("// Launches {}: form {}, {}.", artifact.name, artifact.form, artifact.target);
    add("//   c++ -std=c++17 launch.cpp -lcuda -o launch && ./launch {}", exampleArguments());
    body += kHead;
    if (!artifact.tensorMaps.empty())
      body += kMapHead;
    writeParameters();
    writeProblem();
    writeWorkspace();
    writeLaunch();
    writeMain();
    return body;
  }

private:
  template <typename... A> void add(fmt::format_string<A...> format, A &&...arguments) {
    body += fmt::format(format, std::forward<A>(arguments)...) + "\n";
  }

  std::string exampleArguments() const {
    std::vector<std::string> words;
    for (const ScalarInfo &scalar : artifact.scalars)
      if (scalar.kind == ScalarInfo::Extent) {
        const auto fixed = artifact.staticDims.find(scalar.name);
        words.push_back(fmt::format("{}={}", scalar.name,
                                    fixed != artifact.staticDims.end() ? fixed->second
                                    : scalar.name.starts_with("T")     ? 1024
                                                                       : 1));
      }
    return fmt::format("{}", fmt::join(words, " "));
  }

  std::string fieldOf(const Argument &argument) const {
    switch (argument.kind) {
    case Argument::TensorPointer:
      return artifact.tensors[argument.index].name;
    case Argument::TensorStride:
      return fmt::format("{}_stride{}", artifact.tensors[argument.index].name, argument.dim);
    case Argument::ScalarValue:
      return artifact.scalars[argument.index].name;
    case Argument::WorkspacePointer:
      return fmt::format("workspace{}", argument.index);
    case Argument::RepeatIndex:
      return "repetition";
    case Argument::TensorMap:
      return fmt::format("map{}", argument.index);
    }
    return "";
  }

  std::string typeOf(const Argument &argument) const {
    if (argument.kind == Argument::TensorPointer || argument.kind == Argument::WorkspacePointer)
      return "CUdeviceptr";
    if (argument.kind == Argument::TensorMap)
      return "alignas(128) CUtensorMap";
    return argument.kind == Argument::ScalarValue && isFloat(artifact.scalars[argument.index])
               ? "double"
               : "int64_t";
  }

  /// The extent of a dimension: a run-time one, a fixed one, or a number.
  std::string extentText(const std::string &dim) const {
    for (const ScalarInfo &scalar : artifact.scalars)
      if (scalar.name == dim)
        return "p." + dim;
    const auto fixed = artifact.staticDims.find(dim);
    return fixed == artifact.staticDims.end() ? dim : std::to_string(fixed->second);
  }

  /// Product of extents from `first` on: of a dense tensor, the stride of the
  /// one before.
  std::string productText(const TensorInfo &tensor, size_t first) const {
    std::string text = "1";
    for (size_t d = first; d < tensor.shape.size(); ++d)
      text = (text == "1" ? "" : text + " * ") + extentText(tensor.shape[d]);
    return text;
  }

  void writeParameters() {
    add("\n// What the kernels take, by value: {} bytes.", artifact.blockBytes);
    add("struct Parameters {{");
    for (const Argument &argument : artifact.arguments)
      add("  {} {};", typeOf(argument), fieldOf(argument));
    add("}};\nstatic_assert(sizeof(Parameters) == {});", artifact.blockBytes);
  }

  void writeProblem() {
    add("\n// One call: extents, parameters and the addresses of dense tensors "
        "on the GPU.");
    add("struct Problem {{");
    for (const ScalarInfo &scalar : artifact.scalars) {
      const auto fixed = artifact.staticDims.find(scalar.name);
      const double value = scalar.kind != ScalarInfo::Extent ? scalar.defaultValue
                           : fixed == artifact.staticDims.end()
                               ? 1
                               : static_cast<double>(fixed->second);
      add("  {} {} = {};", isFloat(scalar) ? "double" : "int64_t", scalar.name, value);
    }
    for (const TensorInfo &tensor : artifact.tensors)
      add("  CUdeviceptr {} = 0; // {} [{}]", tensor.name, toString(tensor.dtype),
          fmt::join(tensor.shape, ", "));
    add("}};");
  }

  void writeWorkspace() {
    std::vector<std::string> sums;
    for (const Formula &bytes : artifact.workspaceBytes)
      sums.push_back(fmt::format("ceildiv({}, 64) * 64", bytes.toString(scalars)));
    add("\nstatic int64_t workspaceBytes([[maybe_unused]] const Problem &p) {{ "
        "return {}; }}",
        sums.empty() ? "0" : fmt::format("{}", fmt::join(sums, " + ")));
  }

  std::string mapText(const TensorMapInfo &map) const {
    const TensorInfo &tensor = artifact.tensors[map.tensor];
    const int64_t bytes = sizeOf(tensor.dtype);
    std::vector<std::string> dims;
    for (const TensorMapInfo::Dim &dim : map.dims)
      dims.push_back(dim.dim < 0
                         ? fmt::format("{{{}, {}, {}}}", dim.extent, dim.stride * bytes, dim.box)
                         : fmt::format("{{{}, {} * {}, {}}}", extentText(tensor.shape[dim.dim]),
                                       productText(tensor, static_cast<size_t>(dim.dim) + 1), bytes,
                                       dim.box));
    return fmt::format("mapOf(p.{}, CU_TENSOR_MAP_DATA_TYPE_{}, CU_TENSOR_MAP_SWIZZLE_{},\n"
                       "                          {{{}}})",
                       tensor.name,
                       tensor.dtype == DType::F32   ? "FLOAT32"
                       : tensor.dtype == DType::F16 ? "FLOAT16"
                                                    : "BFLOAT16",
                       map.swizzleBytes == 0 ? "NONE" : fmt::format("{}B", map.swizzleBytes),
                       fmt::join(dims, ", "));
  }

  std::string valueOf(const Argument &argument) const {
    if (argument.kind == Argument::TensorMap)
      return mapText(artifact.tensorMaps[argument.index]);
    const bool tensor = argument.kind == Argument::TensorStride;
    if (tensor)
      return productText(artifact.tensors[argument.index], static_cast<size_t>(argument.dim) + 1);
    if (argument.kind == Argument::WorkspacePointer) {
      std::string offset = "workspace";
      for (int32_t n = 0; n < argument.index; ++n)
        offset +=
            fmt::format(" + ceildiv({}, 64) * 64", artifact.workspaceBytes[n].toString(scalars));
      return offset;
    }
    return argument.kind == Argument::RepeatIndex ? "0" : "p." + fieldOf(argument);
  }

  void writeLaunch() {
    add("\n// Puts every launch into the stream; `workspace` has "
        "workspaceBytes(p) bytes.");
    add("static void launch(CUmodule module, const Problem &p, "
        "[[maybe_unused]] CUdeviceptr "
        "workspace, CUstream stream) {{");
    add("  Parameters parameters;");
    for (const Argument &argument : artifact.arguments)
      add("  parameters.{} = {};", fieldOf(argument), valueOf(argument));
    add("  size_t bytes = sizeof parameters;");
    add("  void *extra[] = {{(void *)1, &parameters, (void *)2, &bytes, "
        "nullptr}};");
    add("  CUfunction function;");
    for (const Launch &launch : artifact.launches)
      writeLaunch(launch);
    add("}}");
  }

  void writeLaunch(const Launch &launch) {
    const std::string shared = launch.sharedBytes.toString(scalars);
    const bool repeats = !(launch.repeat == Formula::constant(1));
    add("\n  check(cuModuleGetFunction(&function, module, \"{0}\"), \"finding "
        "{0}\");",
        launch.entry);
    add("  check(cuFuncSetAttribute(function, "
        "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, {}), "
        "\"shared memory\");",
        shared);
    if (repeats)
      add("  for (int64_t n = 0; n < {}; ++n) {{", launch.repeat.toString(scalars));
    for (const Argument &argument : artifact.arguments)
      if (repeats && argument.kind == Argument::RepeatIndex)
        add("  parameters.repetition = n;");
    add("  check(cuLaunchKernel(function, {}, {}, {}, {}, {}, {}, {}, stream, "
        "nullptr, extra), "
        "\"launching {}\");",
        launch.grid[0].toString(scalars), launch.grid[1].toString(scalars),
        launch.grid[2].toString(scalars), launch.block[0], launch.block[1], launch.block[2], shared,
        launch.entry);
    if (repeats)
      add("  }}");
  }

  static void replace(std::string &text, std::string_view mark, const std::string &by) {
    for (size_t at; (at = text.find(mark)) != text.npos;)
      text.replace(at, mark.size(), by);
  }

  void writeMain() {
    std::string read, tensors, results;
    for (const ScalarInfo &scalar : artifact.scalars)
      read += fmt::format("  if (given.count(\"{0}\"))\n    p.{0} = ({1})given[\"{0}\"];\n",
                          scalar.name, isFloat(scalar) ? "double" : "int64_t");
    for (const TensorInfo &tensor : artifact.tensors) {
      const std::string bytes =
          fmt::format("{} * {}", productText(tensor, 0), sizeOf(tensor.dtype));
      tensors += fmt::format("  std::vector<unsigned char> host_{0}({1});\n", tensor.name, bytes);
      if (!tensor.isResult) // small numbers in any floating-point type
        tensors += fmt::format("  for (size_t n = 0; n < host_{0}.size(); ++n)\n"
                               "    host_{0}[n] = n % {1} == {2} ? 0x3c : 0;\n",
                               tensor.name, sizeOf(tensor.dtype), sizeOf(tensor.dtype) - 1);
      tensors += fmt::format("  check(cuMemAlloc(&p.{0}, max(host_{0}.size(), 1)), "
                             "\"cuMemAlloc\");\n"
                             "  check(cuMemcpyHtoD(p.{0}, host_{0}.data(), host_{0}.size()), "
                             "\"cuMemcpyHtoD\");\n",
                             tensor.name);
      if (tensor.isResult)
        results += fmt::format("  check(cuMemcpyDtoH(host_{0}.data(), p.{0}, "
                               "host_{0}.size()), \"cuMemcpyDtoH\");\n"
                               "  unsigned {0}_sum = 0;\n"
                               "  for (unsigned char byte : host_{0})\n"
                               "    {0}_sum = {0}_sum * 31 + byte;\n"
                               "  std::printf(\"{0}: %zu bytes, checksum "
                               "%08x\\n\", host_{0}.size(), {0}_sum);\n",
                               tensor.name);
    }
    std::string text = kMain;
    replace(text, "@READ@", read);
    replace(text, "@TENSORS@", tensors);
    replace(text, "@RESULTS@", results);
    replace(text, "@IMAGE@", image);
    body += text;
  }

  const Artifact &artifact;
  const std::string &image;
  std::vector<std::string> scalars;
  std::string body;
};

} // namespace

std::string launcherText(const Artifact &artifact, const std::string &image) {
  return LauncherWriter(artifact, image).text();
}

} // namespace heddle::tool
