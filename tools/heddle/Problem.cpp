// From options to a request.
#include "tools/heddle/Problem.h"

#include "tools/heddle/Assignments.h"
#include "tools/heddle/Models.h"
#include "tools/heddle/RandomInputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <charconv>

namespace heddle::tool {
namespace {

/// What --model gives before --shape, --dtype and --param replace parts of it.
struct Preset {
  std::string pattern;
  Extents extents;
  std::map<std::string, double> parameters;
  std::string dtype = "bf16";
};

Result<Preset> readPreset(const ProblemOptions &options) {
  Preset preset;
  preset.pattern = options.pattern;
  if (options.model.empty()) {
    if (!options.layer.empty())
      return Error{ErrorCode::InvalidArgument, "found --layer without --model, expected both"};
    return preset;
  }
  HEDDLE_TRY(model, findModel(options.model));
  HEDDLE_TRY(layer, findLayer(model, options.layer));
  if (preset.pattern.empty())
    preset.pattern = layer.pattern;
  preset.extents = layer.dims;
  preset.extents.insert(layer.lengths.begin(), layer.lengths.end());
  preset.parameters = layer.params;
  preset.dtype = toString(model.dtype);
  return preset;
}

/// Replaces the preset's extents by those of --shape. "T" and "H" stand for every dim that begins
/// so, as Signature::completeExtents says, so the preset's own must go.
void replaceExtents(Extents &extents, const Extents &given) {
  for (const auto &[name, value] : given) {
    if (name == "T" || name == "H")
      std::erase_if(extents, [&](const auto &entry) { return entry.first.starts_with(name); });
    extents[name] = value;
  }
}

/// Adds the extents that the given tensors have; a dim with two extents is an error.
Status takeExtents(const Signature &signature, const std::map<std::string, HostTensor> &inputs,
                   Extents &extents) {
  std::map<std::string, std::string> saidBy;
  for (const auto &[name, value] : extents)
    saidBy[name] = "--shape";
  for (const auto &[name, tensor] : inputs) {
    auto entry =
        std::find_if(signature.tensors.begin(), signature.tensors.end(),
                     [&](const Signature::Tensor &t) { return t.name == name && !t.isResult; });
    if (entry == signature.tensors.end())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("--input: the pattern has no input '{}'", name)};
    std::vector<int64_t> shape = tensor.shape();
    if (shape.size() != entry->shape.size())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("--input: '{}' has shape {}, expected {} dimensions ({})", name,
                               heddle::tool::shapeText(shape), entry->shape.size(),
                               fmt::join(entry->shape, " x "))};
    for (size_t d = 0; d < shape.size(); ++d) {
      const std::string &dim = entry->shape[d];
      bool named = !dim.empty() && (std::isalpha(static_cast<unsigned char>(dim[0])) != 0) &&
                   dim.find_first_of(" +-*/(") == std::string::npos;
      if (!named)
        continue;
      auto [place, isNew] = extents.emplace(dim, shape[d]);
      if (isNew)
        saidBy[dim] = "'" + name + "'";
      else if (place->second != shape[d])
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("dimension {} of '{}' is {} = {}, but {} says {}", d, name, dim,
                                 shape[d], saidBy[dim], place->second)};
    }
  }
  return {};
}

Status checkParameters(const Signature &signature, const std::map<std::string, double> &given) {
  std::vector<std::string> known;
  for (const Signature::Parameter &parameter : signature.parameters)
    known.push_back(parameter.name);
  for (const auto &[name, value] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{ErrorCode::InvalidArgument,
                   known.empty()
                       ? fmt::format("--param: found '{}', but the pattern has no parameters", name)
                       : fmt::format("--param: found '{}', expected one of {}", name,
                                     fmt::join(known, ", "))};
  return {};
}

/// The error with the file's name in place of the one the compiler gives to texts.
Error withPath(Error error, const std::string &path) {
  constexpr std::string_view kUnnamed = "pattern.heddle";
  if (error.where.starts_with(kUnnamed))
    error.where.replace(0, kUnnamed.size(), path);
  for (std::string &note : error.notes)
    if (note.starts_with(kUnnamed))
      note.replace(0, kUnnamed.size(), path);
  if (error.where.empty())
    error.where = path;
  return error;
}

Result<std::map<std::string, int64_t>> scheduleOf(const ProblemOptions &options) {
  return parseIntegers("--schedule", options.schedule, 0);
}

} // namespace

void addJsonOption(CLI::App &command, bool &json) {
  command.add_flag("--json", json, "print one JSON value on stdout instead of text");
}

void addProblemOptions(CLI::App &command, ProblemOptions &options) {
  command.add_option(
      "pattern", options.pattern,
      "library name (`heddle patterns`) or path of a .heddle file; may be left out with --model");
  command.add_option("--model", options.model,
                     "take pattern and sizes of a published model (`heddle models`)");
  command.add_option("--layer", options.layer,
                     "which kind of layer of the model (default: its first)");
  command.add_option(
      "--shape", options.shape,
      "sizes by name, e.g. B=1,Hq=32,Hk=8,Tq=1,Tk=4096,D=128,Dv=128; T sets all lengths, "
      "H all head counts; defaults: B=1, Hk=Hq, Dv=D");
  command.add_option("--dtype", options.dtype, "bf16, f16 or f32 (default: the model's, else f32)");
  command.add_option("--param", options.parameters,
                     "parameters of the pattern, e.g. W=1024,cap=50");
  command.add_option("--form", options.form, "auto, attention, recurrent or chunked")
      ->capture_default_str();
  command.add_option("--schedule", options.schedule,
                     "knobs, e.g. BM=64,BN=128; others by default (`heddle explain` shows them)");
  command.add_option("--target", options.target,
                     "cpu, or a GPU's architecture, e.g. sm_80, sm_90; needs no GPU but for run "
                     "and bench (default: what --device runs)");
  command.add_option("--machine", options.machine,
                     "chip to make code for (`heddle machines`), e.g. rtx4090 for sm_89 (default: "
                     "this computer's, or the first of the target)");
  command
      .add_option("--device", options.device,
                  "where kernels run: cpu, cuda[:N], or ptx[:SM], the PTX machine")
      ->capture_default_str();
  command.add_option("--threads", options.threads, "threads to use (default: all cores)")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--no-store", options.noStore,
                   "neither read nor write the store of compiled kernels");
  command.add_flag("--quiet", options.quiet, "no progress and no notes on stderr");
  addJsonOption(command, options.json);
}

std::vector<ParameterValue> Problem::launchParameters() const {
  std::vector<ParameterValue> values;
  for (const Signature::Parameter &parameter : signature.parameters) {
    auto given = parameters.find(parameter.name);
    if (!parameter.isConstant && given != parameters.end())
      values.push_back({given->first, given->second});
  }
  return values;
}

int Problem::threads() const {
  if (int given = context->options().threads; given > 0)
    return given;
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

std::string Problem::shapeText() const {
  std::string text;
  for (const auto &[name, extent] : extents)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, extent);
  return text;
}

Result<std::shared_ptr<Context>> openContext(const ProblemOptions &options) {
  ContextOptions context;
  context.device = options.device;
  context.threads = options.threads;
  context.useStore = !options.noStore;
  if (!options.quiet)
    context.log = [](LogLevel level, std::string_view message) {
      fmt::print(stderr, "heddle: {}: {}\n", level == LogLevel::Warning ? "warning" : "note",
                 message);
    };
  return Context::create(std::move(context));
}

Result<Problem> resolveProblem(const ProblemOptions &options,
                               const std::map<std::string, HostTensor> &inputs) {
  HEDDLE_TRY(preset, readPreset(options));
  if (preset.pattern.empty())
    return Error{ErrorCode::InvalidArgument,
                 "found neither PATTERN nor --model, expected one of them"};
  HEDDLE_TRY(given, parseIntegers("--shape", options.shape, 0));
  HEDDLE_TRY(parameters, parseNumbers("--param", options.parameters));
  HEDDLE_TRY(schedule, scheduleOf(options));

  Problem problem;
  HEDDLE_TRY(pattern, findPattern(preset.pattern));
  problem.pattern = std::move(pattern);
  std::string fallback = options.model.empty() ? "f32" : preset.dtype;
  HEDDLE_TRY(dtype, parseDType(options.dtype.empty() ? fallback : options.dtype));
  if (dtype != DType::F32 && dtype != DType::BF16 && dtype != DType::F16)
    return Error{ErrorCode::Unsupported,
                 fmt::format("--dtype: found {}, expected bf16, f16 or f32", toString(dtype))};
  problem.dtype = dtype;

  HEDDLE_TRY(context, openContext(options));
  problem.context = std::move(context);
  Result<Signature> signature = problem.context->signature(problem.pattern.text);
  if (!signature.ok()) { // the compiler knows no file name
    return withPath(signature.error(), problem.pattern.path);
  }
  problem.signature = std::move(*signature);

  HEDDLE_CHECK(checkParameters(problem.signature, parameters));
  problem.parameters = std::move(preset.parameters);
  std::erase_if(problem.parameters, [&](const auto &entry) {
    return !checkParameters(problem.signature, {entry}).ok(); // a preset may serve several patterns
  });
  for (const auto &[name, value] : parameters)
    problem.parameters[name] = value;

  Extents extents = std::move(preset.extents);
  replaceExtents(extents, given);
  HEDDLE_CHECK(takeExtents(problem.signature, inputs, extents));
  HEDDLE_TRY(complete, problem.signature.completeExtents(extents, problem.parameters));
  problem.extents = std::move(complete);

  HEDDLE_TRY(request, problem.signature.request(problem.pattern.text, problem.extents,
                                                problem.dtype, problem.parameters));
  request.form = options.form;
  request.schedule = std::move(schedule);
  request.target = options.target;
  request.machine = options.machine;
  HEDDLE_TRY(completed, problem.context->complete(std::move(request), &problem.tuned));
  problem.request = std::move(completed);
  return problem;
}

namespace {

/// A tensor from a file in the type that the pattern wants. Numbers are rounded from float to float
/// alone; a state only from f64, in which definitions write theirs, and it must be a state of this
/// pattern, as far as its file says.
Result<HostTensor> inTypeOf(const Signature &signature, const Signature::Tensor &info,
                            HostTensor tensor, DType dtype) {
  const bool isState = info.next >= 0;
  if (isState && !tensor.madeBy.empty()) {
    const std::string expected = signature.name + " " + signature.tensors[info.next].name;
    if (tensor.madeBy != expected)
      return Error{
          ErrorCode::InvalidArgument,
          fmt::format("--input: found the result '{}' for {}, expected '{}': states of two "
                      "patterns mean different things (an .npy file says nothing of its "
                      "pattern)",
                      tensor.madeBy, info.name, expected)};
  }
  const DType given = tensor.dtype();
  if (given == dtype)
    return tensor;
  const bool narrowed = isState && given != DType::F64 && sizeOf(given) >= sizeOf(dtype);
  if (isFloat(given) != isFloat(dtype) || narrowed)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("--input: found {} of type {}, expected {}; convert it", info.name,
                             toString(given), toString(dtype))};
  HEDDLE_TRY(converted, tensor.convertedTo(dtype));
  for (int64_t n = 0; !isFloat(given) && n < tensor.elements(); ++n)
    if (double x = loadElement(given, tensor.data(), n);
        loadElement(dtype, converted.data(), n) != x)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("--input: found {} in {}, which {} does not hold", x, info.name,
                               toString(dtype))};
  return converted;
}

} // namespace

Result<std::vector<HostTensor>>
makeTensors(const Problem &problem, std::map<std::string, HostTensor> given, uint64_t seed) {
  std::vector<HostTensor> tensors;
  std::vector<size_t> missing; ///< to be made up once all shapes are there
  for (const Signature::Tensor &info : problem.signature.tensors) {
    DType dtype = problem.signature.dtypeOf(info, problem.dtype);
    HEDDLE_TRY(shape, problem.signature.shapeOf(info, problem.extents));
    auto read = given.find(info.name);
    if (read != given.end() && !info.isResult) {
      HEDDLE_TRY(tensor, inTypeOf(problem.signature, info, std::move(read->second), dtype));
      tensors.push_back(std::move(tensor));
      continue;
    }
    HEDDLE_TRY(tensor, HostTensor::allocate(dtype, shape));
    tensors.push_back(std::move(tensor));
    if (!info.isResult)
      missing.push_back(tensors.size() - 1);
  }
  for (size_t index : missing)
    HEDDLE_CHECK(fillRandom(problem.signature, tensors, index, seed));
  return tensors;
}

std::vector<NamedTensor> namedTensors(const Signature &signature,
                                      const std::vector<HostTensor> &tensors) {
  std::vector<NamedTensor> named;
  for (size_t n = 0; n < tensors.size(); ++n)
    named.push_back({signature.tensors[n].name, tensors[n].view()});
  return named;
}

std::vector<TensorView> viewsOf(const std::vector<HostTensor> &tensors) {
  std::vector<TensorView> views;
  for (const HostTensor &tensor : tensors)
    views.push_back(tensor.view());
  return views;
}

} // namespace heddle::tool
