// heddle compile: the code of a kernel and its description, into a folder.
#include "tools/heddle/Certificate.h"
#include "tools/heddle/Kernels.h"
#include "tools/heddle/Launcher.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace fs = std::filesystem;

namespace heddle::tool {
namespace {

Status writeText(const fs::path &path, const std::string &text) {
  fs::path beside = path.string() + ".partial";
  std::ofstream file(beside, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  std::error_code problem;
  if (file)
    fs::rename(beside, path, problem);
  if (!file || problem)
    return Error{ErrorCode::IoError,
                 fmt::format("cannot write '{}': {}", path.string(),
                             problem ? problem.message() : std::strerror(errno))};
  return {};
}

std::vector<std::string> scalarNames(const Artifact &artifact) {
  std::vector<std::string> names;
  for (const ScalarInfo &scalar : artifact.scalars)
    names.push_back(scalar.name);
  return names;
}

const char *kindName(Argument::Kind kind) {
  switch (kind) {
  case Argument::TensorPointer:
    return "tensor pointer";
  case Argument::TensorStride:
    return "tensor stride";
  case Argument::ScalarValue:
    return "scalar";
  case Argument::WorkspacePointer:
    return "workspace pointer";
  case Argument::RepeatIndex:
    return "repeat index";
  case Argument::TensorMap:
    return "tensor map";
  }
  return "unknown";
}

/// What cuTensorMapEncodeTiled is told, without the address: a dimension of the tensor, or extent
/// and stride in elements.
nlohmann::json tensorMapJson(const Artifact &artifact, const TensorMapInfo &map) {
  const TensorInfo &tensor = artifact.tensors[map.tensor];
  nlohmann::json dims = nlohmann::json::array();
  for (const TensorMapInfo::Dim &dim : map.dims) {
    nlohmann::json json = {{"box", dim.box}};
    if (dim.dim >= 0)
      json.update({{"dimension", dim.dim}, {"extent", tensor.shape[dim.dim]}});
    else
      json.update({{"extent", dim.extent}, {"stride", dim.stride}});
    dims.push_back(std::move(json));
  }
  return {{"tensor", tensor.name}, {"dims", dims}, {"swizzle_bytes", map.swizzleBytes}};
}

nlohmann::json argumentJson(const Artifact &artifact, const Argument &argument) {
  nlohmann::json json = {{"kind", kindName(argument.kind)}, {"offset", argument.offset}};
  if (argument.kind == Argument::TensorPointer || argument.kind == Argument::TensorStride)
    json["tensor"] = artifact.tensors[argument.index].name;
  if (argument.kind == Argument::TensorStride)
    json["dimension"] = argument.dim;
  if (argument.kind == Argument::ScalarValue)
    json["scalar"] = artifact.scalars[argument.index].name;
  if (argument.kind == Argument::WorkspacePointer)
    json["buffer"] = argument.index;
  if (argument.kind == Argument::TensorMap)
    json["map"] = argument.index;
  return json;
}

/// Everything a launcher needs that is not the code itself.
nlohmann::json kernelJson(const Artifact &artifact, const std::string &image) {
  std::vector<std::string> names = scalarNames(artifact);
  nlohmann::json tensors = nlohmann::json::array(), arguments = tensors, launches = tensors,
                 workspace = tensors, scalars = tensors, maps = tensors;
  for (const TensorInfo &tensor : artifact.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"dtype", toString(tensor.dtype)},
                       {"result", tensor.isResult},
                       {"shape", tensor.shape}});
  for (const ScalarInfo &scalar : artifact.scalars)
    scalars.push_back({{"name", scalar.name},
                       {"kind", scalar.kind == ScalarInfo::Extent         ? "extent"
                                : scalar.kind == ScalarInfo::IntParameter ? "int parameter"
                                                                          : "float parameter"},
                       {"default", scalar.defaultValue}});
  for (const TensorMapInfo &map : artifact.tensorMaps)
    maps.push_back(tensorMapJson(artifact, map));
  for (const Argument &argument : artifact.arguments)
    arguments.push_back(argumentJson(artifact, argument));
  for (const Launch &launch : artifact.launches)
    launches.push_back({{"entry", launch.entry},
                        {"grid",
                         {launch.grid[0].toString(names), launch.grid[1].toString(names),
                          launch.grid[2].toString(names)}},
                        {"block", {launch.block[0], launch.block[1], launch.block[2]}},
                        {"shared_bytes", launch.sharedBytes.toString(names)},
                        {"repeat", launch.repeat.toString(names)}});
  for (const Formula &bytes : artifact.workspaceBytes)
    workspace.push_back(bytes.toString(names));
  return {{"name", artifact.name},
          {"target", artifact.target},
          {"form", artifact.form},
          {"schedule", artifact.schedule},
          {"static_dims", artifact.staticDims},
          {"required_features", artifact.requiredFeatures},
          {"image", image},
          {"scalars", scalars},
          {"tensors", tensors},
          {"tensor_maps", maps},
          {"arguments", arguments},
          {"block_bytes", artifact.blockBytes},
          {"launches", launches},
          {"workspace_bytes", workspace},
          {"provenance", artifact.provenance},
          {"notes", artifact.notes}};
}

/// The same kernel on the PTX machine: what is proved goes to the store and into kernel.json.
Result<nlohmann::json> certify(const ProblemOptions &given) {
  HEDDLE_TRY(options, onPtxMachine(given));
  HEDDLE_TRY(problem, resolveProblem(options));
  HEDDLE_TRY(report, verifyKernel(problem, {}));
  HEDDLE_TRY(certificate, storeCertificate(problem, report));
  if (isProved(report))
    return certificate;
  Error error{ErrorCode::CheckFailed,
              fmt::format("the kernel is not proved: verdict {}, numbers {}",
                          report["verdict"].get<std::string>(),
                          report["check"]["passed"] ? "right" : "wrong")};
  error.notes.push_back("`heddle verify` with the same options says more");
  return error;
}

Result<int> run(const ProblemOptions &options, const std::string &folder, bool launcher,
                bool verifies) {
  HEDDLE_TRY(problem, resolveProblem(options));
  HEDDLE_TRY(artifact, problem.context->compiler().compile(problem.request));
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    return Error{ErrorCode::IoError,
                 fmt::format("cannot make folder '{}': {}", folder, failed.message())};
  fs::path out(folder);
  std::string image = artifact.name + (artifact.target == "cpu" ? ".so" : ".cubin");
  nlohmann::json description = kernelJson(artifact, image);
  const bool gpu = artifact.target != "cpu";
  if (launcher && !gpu)
    return Error{ErrorCode::InvalidArgument,
                 "found --emit-launcher for target cpu, expected a GPU's, e.g. --target sm_90"};
  if (gpu) {
    HEDDLE_TRY(facts, problem.context->compiler().inspect(problem.request, artifact, false));
    description["resources"] = nlohmann::json::parse(facts);
  }
  if (verifies) {
    HEDDLE_TRY(certificate, certify(options));
    description["certificate"] = std::move(certificate);
  }
  if (launcher)
    HEDDLE_CHECK(writeText(out / "launch.cpp", launcherText(artifact, image)));
  HEDDLE_CHECK(writeText(out / image, artifact.image));
  HEDDLE_CHECK(writeText(out / "kernel.json", description.dump(1) + "\n"));
  for (const auto &[kind, text] : artifact.sources)
    HEDDLE_CHECK(writeText(out / (artifact.name + "." + kind), text));
  if (artifact.target == "cpu") {
    HEDDLE_TRY(assembly, problem.context->compiler().show(problem.request, "asm"));
    HEDDLE_CHECK(writeText(out / (artifact.name + ".s"), assembly));
  }
  if (options.json)
    fmt::print("{}\n", description.dump(1));
  else
    fmt::print("{}: {} of code, {} launch{}, in {}\n", artifact.name,
               bytesText(static_cast<double>(artifact.image.size())), artifact.launches.size(),
               artifact.launches.size() == 1 ? "" : "es",
               fs::absolute(out).lexically_normal().string());
  return 0;
}

} // namespace

void addCompileCommand(CLI::App &app, Action &action) {
  auto *command =
      app.add_subcommand("compile", "write a kernel's code and its description to a folder");
  auto options = std::make_shared<ProblemOptions>();
  auto folder = std::make_shared<std::string>();
  auto launcher = std::make_shared<bool>(false);
  addProblemOptions(*command, *options);
  command->add_flag("--emit-launcher", *launcher,
                    "also write launch.cpp, a host program that launches the kernel through the "
                    "CUDA driver API alone");
  auto verifies = std::make_shared<bool>(false);
  command->add_flag(
      "--verify", *verifies,
      "for a GPU target: prove the kernel on the PTX machine first; what was proved is "
      "kept in the store and stands in kernel.json");
  command->add_option("-o,--output", *folder, "folder for the code, its assembly and kernel.json")
      ->required();
  command->callback(
      [=, &action] { action = [=] { return run(*options, *folder, *launcher, *verifies); }; });
}

} // namespace heddle::tool
