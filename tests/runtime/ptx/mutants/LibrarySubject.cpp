// Compiles a pattern through the compiler library, as `heddle compile` does, and binds its
// arguments as the runtime does.
#include "tests/runtime/ptx/mutants/Subject.h"
#include "tools/heddle/Problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace heddle::test {
namespace {

double scalarValue(const tool::Problem &problem, const ScalarInfo &info) {
  if (info.kind == ScalarInfo::Extent)
    return static_cast<double>(problem.extents.at(info.name));
  const auto given = problem.parameters.find(info.name);
  return given == problem.parameters.end() ? info.defaultValue : given->second;
}

/// Which dim of a tensor is named by a letter and what follows: "T" -> "Tk"; or its rank.
size_t dimOf(const TensorInfo &info, char letter) {
  return static_cast<size_t>(
      std::find_if(info.shape.begin(), info.shape.end(),
                   [&](const std::string &dim) { return dim[0] == letter; }) -
      info.shape.begin());
}

/// The index of element `e` along dim `d`.
int64_t indexAt(const std::vector<int64_t> &shape, size_t d, int64_t e) {
  for (size_t inner = shape.size(); inner-- > d + 1;)
    e /= shape[inner];
  return e % shape[d];
}

/// Makes the numbers of an input what set `inputs` wants.
void changeInput(tool::HostTensor &tensor, const TensorInfo &info, int inputs, bool attention,
                 const LibraryKernel &kernel) {
  const std::vector<int64_t> shape = tensor.shape();
  const size_t time = dimOf(info, 'T'), heads = dimOf(info, 'H');
  if (time == shape.size())
    return;
  const bool keys = info.name == "k" || info.name == "v";
  const int64_t nanFrom = keys && kernel.nanFrom > 0 ? kernel.nanFrom : shape[time] - 1;
  int64_t row = 1; // elements of a token
  for (size_t d = time + 1; d < shape.size(); ++d)
    row *= shape[d];
  for (int64_t e = 0; e < tensor.elements(); ++e) {
    const int64_t token = indexAt(shape, time, e);
    const double value = loadElement(info.dtype, tensor.data(), e);
    const auto put = [&](double v) { storeElement(info.dtype, tensor.data(), e, v); };
    if (inputs == 1 && attention && (info.name == "q" || info.name == "k"))
      put(kernel.spread * value);
    else if (inputs == 1 && info.name == "k" && token > 0)
      put(0.25 * value + 0.75 * loadElement(info.dtype, tensor.data(), e - token * row));
    else if (inputs == 1 && info.name == "a")
      put(value - 5); // gates that forget slowly, so that chunks see earlier ones
    else if (inputs == 2 && token == 0)
      put(0);
    else if (inputs == 2 && (token >= nanFrom || (heads < shape.size() && shape[heads] > 1 &&
                                                  indexAt(shape, heads, e) == shape[heads] - 1)))
      put(std::numeric_limits<double>::quiet_NaN());
  }
}

Status addTensors(Subject &subject, const tool::Problem &problem, const Artifact &artifact,
                  const LibraryKernel &kernel) {
  for (int inputs = 0; inputs < kInputSets; ++inputs) {
    HEDDLE_TRY(tensors, makeTensors(problem, {}, static_cast<uint64_t>(inputs + 1)));
    for (size_t t = 0; t < tensors.size(); ++t) {
      const TensorInfo &info = artifact.tensors[t];
      if (inputs == 0)
        subject.tensors.push_back({info.name, info.dtype, info.isResult, tensors[t].bytes(), {}});
      if (info.isResult)
        continue;
      changeInput(tensors[t], info, inputs, artifact.form == "attention", kernel);
      std::vector<std::byte> &bytes = subject.tensors[t].bytes[inputs];
      bytes.resize(static_cast<size_t>(tensors[t].bytes()));
      std::memcpy(bytes.data(), tensors[t].data(), bytes.size());
    }
  }
  return {};
}

int64_t strideOf(const std::vector<int64_t> &shape, int32_t dim) {
  int64_t stride = 1;
  for (size_t d = static_cast<size_t>(dim) + 1; d < shape.size(); ++d)
    stride *= shape[d];
  return stride;
}

Status addSteps(Subject &subject, const tool::Problem &problem, const Artifact &artifact) {
  std::vector<int64_t> scalars;
  for (const ScalarInfo &info : artifact.scalars)
    scalars.push_back(static_cast<int64_t>(scalarValue(problem, info)));
  for (const Formula &formula : artifact.workspaceBytes) {
    HEDDLE_TRY(bytes, formula.evaluate(scalars));
    subject.tensors.push_back({"workspace", DType::F32, false, std::max<int64_t>(bytes, 1), {}});
  }
  for (const Launch &launch : artifact.launches) {
    Subject::Step step;
    step.entry = launch.entry;
    for (int axis = 0; axis < 3; ++axis) {
      HEDDLE_TRY(extent, launch.grid[axis].evaluate(scalars));
      step.config.grid[axis] = extent;
      step.config.block[axis] = launch.block[axis];
    }
    HEDDLE_TRY(shared, launch.sharedBytes.evaluate(scalars));
    step.config.sharedBytes = shared;
    if (step.config.grid[0] * step.config.grid[1] * step.config.grid[2] == 0)
      continue;
    HEDDLE_TRY(repeat, launch.repeat.evaluate(scalars));
    for (int64_t turn = 0; turn < repeat; ++turn) {
      step.params.assign(static_cast<size_t>(artifact.blockBytes), std::byte{});
      step.pointers.clear();
      for (const Argument &argument : artifact.arguments) {
        const size_t index = static_cast<size_t>(argument.index);
        const size_t offset = static_cast<size_t>(argument.offset);
        const auto put = [&](auto v) { std::memcpy(step.params.data() + offset, &v, 8); };
        switch (argument.kind) {
        case Argument::TensorPointer:
          step.pointers.push_back({offset, index, {}});
          break;
        case Argument::WorkspacePointer:
          step.pointers.push_back({offset, artifact.tensors.size() + index, {}});
          break;
        case Argument::TensorStride: {
          HEDDLE_TRY(shape,
                     problem.signature.shapeOf(problem.signature.tensors[index], problem.extents));
          put(strideOf(shape, argument.dim));
          break;
        }
        case Argument::ScalarValue:
          if (artifact.scalars[index].kind == ScalarInfo::FloatParameter)
            put(scalarValue(problem, artifact.scalars[index]));
          else
            put(scalars[index]);
          break;
        case Argument::RepeatIndex:
          put(turn);
          break;
        case Argument::TensorMap: // holds addresses, which are known when a mutant runs
          return Error{ErrorCode::Unsupported, "tensor maps are not made for mutants"};
        }
      }
      subject.steps.push_back(step);
    }
  }
  return {};
}

/// Compares the results of the first inputs with the pattern's definition.
Status checkNumbers(const Subject &subject, const tool::Problem &problem) {
  HEDDLE_TRY(tensors, makeTensors(problem, {}, 1));
  for (size_t t = 0; t < tensors.size(); ++t)
    for (size_t e = 0; e < subject.expected[0][t].size(); ++e)
      storeElement(tensors[t].dtype(), tensors[t].data(), static_cast<int64_t>(e),
                   subject.expected[0][t][e]);
  HEDDLE_TRY(checked, problem.context->compiler().check(problem.request,
                                                        namedTensors(problem.signature, tensors),
                                                        problem.parameters, {}));
  if (!nlohmann::json::parse(checked)["passed"])
    return Error{ErrorCode::Internal, "its numbers are wrong: " + checked};
  return {};
}

} // namespace

std::string LibraryKernel::toString() const {
  return fmt::format("{} {} {} {}{}{} {}", pattern, shape, dtype, target,
                     std::string(form) == "auto" ? "" : " ",
                     std::string(form) == "auto" ? "" : form, schedule);
}

Result<Subject> librarySubject(const LibraryKernel &kernel) {
  tool::ProblemOptions options;
  options.pattern = kernel.pattern;
  options.shape = kernel.shape;
  options.dtype = kernel.dtype;
  options.target = kernel.target;
  options.form = kernel.form;
  options.schedule = kernel.schedule;
  options.noStore = options.quiet = true;
  HEDDLE_TRY(problem, tool::resolveProblem(options));
  HEDDLE_TRY(artifact, problem.context->compiler().compile(problem.request));
  Subject subject;
  subject.name = kernel.toString();
  subject.ptx = artifact.sources.at("ptx");
  HEDDLE_CHECK(addTensors(subject, problem, artifact, kernel));
  HEDDLE_CHECK(addSteps(subject, problem, artifact));
  if (const std::string why = subject.prove(); !why.empty())
    return Error{ErrorCode::Internal, "accused as it is: " + why};
  HEDDLE_CHECK(checkNumbers(subject, problem));
  return subject;
}

} // namespace heddle::test
