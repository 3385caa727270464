// Puts the parts of an emitted file together. The parameter block is one struct of 8-byte fields in
// the order of the artifact's argument table, passed by value.
#include "compiler/targets/cuda/CudaText.h"

#include "compiler/targets/cuda/KernelEmitter.h"
#include "compiler/targets/cuda/Prelude.h"
#include "compiler/targets/cuda/Scalars.h"

#include <fmt/ranges.h>

#include <cctype>

namespace heddle::compiler::cuda {
namespace {

std::string elementText(DType type, bool result) {
  std::string text;
  switch (type) {
  case DType::BF16:
  case DType::F16:
    text = "u16";
    break;
  case DType::F64:
    text = "double";
    break;
  case DType::F32:
    text = "float";
    break;
  case DType::I64:
    text = "long long";
    break;
  case DType::I32:
    text = "int";
    break;
  case DType::I8:
    text = "signed char";
    break;
  default:
    text = "unsigned char";
    break;
  }
  return (result ? "" : "const ") + text;
}

/// Field and its type for one argument of the block.
std::pair<std::string, std::string> fieldOf(const Artifact &artifact, const Argument &argument,
                                            llvm::ArrayRef<tile::BufferOp> buffers,
                                            const TensorMaps &maps) {
  switch (argument.kind) {
  case Argument::ScalarValue: {
    const ScalarInfo &scalar = artifact.scalars[argument.index];
    return {scalar.kind == ScalarInfo::FloatParameter ? "double" : "long long", scalar.name};
  }
  case Argument::TensorPointer: {
    const TensorInfo &tensor = artifact.tensors[argument.index];
    return {elementText(tensor.dtype, tensor.isResult) + " *", tensor.name};
  }
  case Argument::TensorStride:
    return {"long long",
            fmt::format("{}_stride{}", artifact.tensors[argument.index].name, argument.dim)};
  case Argument::WorkspacePointer:
    return {typeText(tile::BufferOp(buffers[argument.index]).getElementType()) + " *",
            tile::BufferOp(buffers[argument.index]).getName().str()};
  case Argument::TensorMap:
    return {"TensorMap", maps.name(argument.index)};
  default:
    return {"long long", "repetition"};
  }
}

/// "k in boxes of 16 x 64 x 5 x 1 x 1 of 16 x Tk x 5 x Hk x B, swizzle of 32 bytes".
std::string describe(const TensorMapInfo &map, const Artifact &artifact) {
  const TensorInfo &tensor = artifact.tensors[map.tensor];
  std::vector<std::string> box, extents;
  for (const TensorMapInfo::Dim &dim : map.dims) {
    box.push_back(std::to_string(dim.box));
    extents.push_back(dim.dim < 0 ? std::to_string(dim.extent) : tensor.shape[dim.dim]);
  }
  return fmt::format("{} in boxes of {} out of {}, {}", tensor.name, fmt::join(box, " x "),
                     fmt::join(extents, " x "),
                     map.swizzleBytes == 0 ? "no swizzle"
                                           : fmt::format("swizzle of {} bytes", map.swizzleBytes));
}

class TextWriter {
public:
  TextWriter(tile::ProgramOp program, Artifact &artifact)
      : program(program), artifact(artifact), maps(artifact) {
    for (auto buffer : program.getBody().getOps<tile::BufferOp>())
      buffers.push_back(buffer);
    for (const ScalarInfo &scalar : artifact.scalars)
      scalarNames.push_back(scalar.name);
  }

  Result<std::string> run() {
    std::string kernels;
    size_t n = 0;
    for (auto kernel : program.getBody().getOps<tile::KernelOp>()) {
      KernelEmitter emitter(program, kernel, maps);
      HEDDLE_TRY(body, emitter.run());
      Launch &launch = artifact.launches[n++];
      launch.block[0] = 32 * emitter.warps();
      launch.sharedBytes = Formula::constant(emitter.sharedBytes());
      kernels += fmt::format("\nextern \"C\" __global__ void __launch_bounds__({}) {}("
                             "const __grid_constant__ Parameters p) {{\n{}}}\n",
                             launch.block[0], launch.entry, body);
    }
    maps.addTo(artifact);
    std::string block = parameterBlock();
    std::string prelude = preludeFor(block + kernels);
    return header() + "\n" + prelude + "\n" + block + kernels;
  }

private:
  std::string header() {
    std::string text;
    const auto line = [&](const std::string &words) { text += "// " + words + "\n"; };
    std::vector<std::string> dims, knobs;
    for (const auto &[name, value] : artifact.staticDims)
      dims.push_back(fmt::format("{}={}", name, value));
    for (const auto &[name, value] : artifact.schedule)
      knobs.push_back(fmt::format("{}={}", name, value));
    line(fmt::format("{}: form {}, {}", artifact.name, artifact.form, artifact.target));
    line(fmt::format("problem   {}", fmt::join(dims, " ")));
    for (const TensorInfo &tensor : artifact.tensors)
      line(fmt::format("          {} {}: {}[{}]", tensor.isResult ? "out" : "in ", tensor.name,
                       toString(tensor.dtype), fmt::join(tensor.shape, ", ")));
    line(fmt::format("schedule  {}", fmt::join(knobs, " ")));
    for (const Launch &launch : artifact.launches)
      line(fmt::format("launch    {}: grid ({}, {}, {}), block {}, dynamic shared memory {} bytes",
                       launch.entry, launch.grid[0].toString(scalarNames),
                       launch.grid[1].toString(scalarNames), launch.grid[2].toString(scalarNames),
                       launch.block[0], launch.sharedBytes.toString(scalarNames)));
    for (size_t n = 0; n < buffers.size(); ++n)
      line(fmt::format("workspace {}: {} bytes", buffers[n].getName().str(),
                       artifact.workspaceBytes[n].toString(scalarNames)));
    line(fmt::format("argument  one struct of {} bytes by value, see Parameters; strides count "
                     "elements, the last dimension is contiguous",
                     artifact.blockBytes));
    for (size_t n = 0; n < artifact.tensorMaps.size(); ++n)
      line(fmt::format("          {}: tensor map (cuTensorMapEncodeTiled) of {}", maps.name(n),
                       describe(artifact.tensorMaps[n], artifact)));
    line("assumes   pointers and strides of 16-bit tensors are multiples of 16 bytes");
    if (llvm::any_of(artifact.tensors, [](const TensorInfo &t) { return sizeOf(t.dtype) == 1; }))
      line("          and those of 8-bit tensors of 8");
    return text;
  }

  std::string parameterBlock() {
    std::string text = "struct Parameters {\n";
    for (const Argument &argument : artifact.arguments) {
      auto [type, name] = fieldOf(artifact, argument, buffers, maps);
      std::string field = fmt::format("  {}{}{};", type, type.ends_with('*') ? "" : " ", name);
      text += fmt::format("{:<32} // {}\n", field, argument.offset);
    }
    return text + "};\n";
  }

  tile::ProgramOp program;
  Artifact &artifact;
  std::vector<tile::BufferOp> buffers;
  std::vector<std::string> scalarNames;
  TensorMaps maps;
};

} // namespace

Result<std::string> emitText(tile::ProgramOp program, Artifact &artifact) {
  return TextWriter(program, artifact).run();
}

} // namespace heddle::compiler::cuda
