// Makes a case ready: pattern file -> signature -> request -> kernel; tensors in their dense
// row-major shapes [B, T, H, D]; a check of sampled rows against the interpreter.
#include "bench/Problem.h"

#include "compiler/Tolerance.h"
#include "tests/support/Paths.h"

#include <fmt/format.h>

#include <fstream>
#include <random>
#include <sstream>

namespace heddle::bench {

namespace {

Result<std::string> readPattern(const std::string &name) {
  std::string path = std::string(test::kSourceDir) + "/patterns/" + name + ".heddle";
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty())
    return Error{ErrorCode::NotFound, fmt::format("no pattern file {}", path)};
  return text.str();
}

/// A dense row-major view of that shape over memory of its own.
Result<TensorView> allocateTensor(DType dtype, const std::vector<int64_t> &shape,
                                  std::vector<AlignedBuffer> &memory) {
  TensorView view;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  int64_t below = 1;
  for (int d = view.rank - 1; d >= 0; --d) {
    view.shape[static_cast<size_t>(d)] = shape[static_cast<size_t>(d)];
    view.strides[static_cast<size_t>(d)] = below;
    below *= shape[static_cast<size_t>(d)];
  }
  HEDDLE_TRY(buffer, AlignedBuffer::allocate(below * sizeOf(dtype)));
  view.data = buffer.data();
  memory.push_back(std::move(buffer));
  return view;
}

void fillRandom(const TensorView &view, uint32_t seed) {
  std::minstd_rand engine(seed);
  for (int64_t i = 0; i < view.elements(); ++i)
    storeElement(view.dtype, view.data, i, static_cast<double>(engine() % 65536) / 32768.0 - 1.0);
}

/// First, middle and last row of the first and the last head.
RowList sampleRows(const Case &problem) {
  RowList rows;
  for (int64_t head : {int64_t{0}, problem.Hq - 1})
    for (int64_t row : {int64_t{0}, problem.Tq / 2, problem.Tq - 1})
      rows.push_back({problem.B - 1, head, row});
  return rows;
}

/// The elements of row (b, h, row) of a tensor [B, Tq, Hq] or [B, Tq, Hq, Dv].
void appendRow(const TensorView &view, const std::array<int64_t, 3> &row,
               std::vector<double> &into) {
  int64_t start = row[0] * view.strides[0] + row[2] * view.strides[1] + row[1] * view.strides[2];
  int64_t count = view.rank == 4 ? view.shape[3] : 1;
  for (int64_t i = 0; i < count; ++i)
    into.push_back(loadElement(view.dtype, view.data, start + i));
}

} // namespace

Result<Problem> Problem::make(Context &context, const Case &problem, DType dtype,
                              const std::map<std::string, int64_t> &schedule) {
  HEDDLE_TRY(text, readPattern(problem.pattern));
  Problem made;
  made.what = &problem;
  made.dtype = dtype;
  HEDDLE_TRY(signature, context.signature(text));
  made.signature = std::move(signature);
  HEDDLE_TRY(extents, made.signature.completeExtents(problem.extents()));
  made.extents = std::move(extents);
  made.parameters = problem.parameters();
  for (const auto &[name, value] : made.parameters)
    made.parameterValues.push_back({name, value});
  HEDDLE_TRY(request, made.signature.request(text, made.extents, dtype, made.parameters));
  request.schedule = schedule;
  HEDDLE_TRY(completed, context.complete(std::move(request)));
  made.request = std::move(completed);
  HEDDLE_TRY(kernel, context.kernel(made.request));
  made.loaded = std::move(kernel);
  for (int64_t copy = 0; copy < problem.copies; ++copy)
    HEDDLE_CHECK(made.allocateSet());
  HEDDLE_TRY(bytes, made.loaded->workspaceBytes(made.sets[0].views, made.parameterValues));
  HEDDLE_TRY(workspace, AlignedBuffer::allocate(bytes));
  made.workspace = std::move(workspace);
  return made;
}

Status Problem::allocateSet() {
  TensorSet set;
  uint32_t seed = static_cast<uint32_t>(17 + 10 * sets.size());
  for (const Signature::Tensor &tensor : signature.tensors) {
    HEDDLE_TRY(shape, signature.shapeOf(tensor, extents));
    HEDDLE_TRY(view, allocateTensor(signature.dtypeOf(tensor, dtype), shape, set.memory));
    if (!tensor.isResult)
      fillRandom(view, seed++);
    set.views.push_back(view);
  }
  sets.push_back(std::move(set));
  return {};
}

Status Problem::launch() {
  current = (current + 1) % sets.size();
  return loaded->launch(sets[current].views, parameterValues, workspace.workspace());
}

Status Problem::checkResult(size_t index, const TensorView &expected, const RowList &rows) const {
  std::vector<double> found;
  std::vector<double> wanted;
  for (const std::array<int64_t, 3> &row : rows) {
    appendRow(sets[current].views[index], row, found);
    appendRow(expected, row, wanted);
  }
  compiler::Arithmetic arithmetic = compiler::arithmeticOf(dtype);
  int64_t count = static_cast<int64_t>(found.size());
  compiler::Comparison result = expected.rank == 4
                                    ? compiler::compareValues(found.data(), wanted.data(), count,
                                                              compiler::rmsLimit(arithmetic))
                                    : compiler::compareLse(found.data(), wanted.data(), count,
                                                           compiler::lseLimit(arithmetic));
  if (result.pass)
    return {};
  return Error{ErrorCode::CheckFailed,
               fmt::format("{} is off by {:.3g} at most, rms {:.3g}", signature.tensors[index].name,
                           result.maxAbs, result.rms)};
}

Status Problem::check(Context &context) const {
  RowList rows = sampleRows(*what);
  std::vector<AlignedBuffer> memory;
  std::vector<NamedTensor> inputs;
  std::vector<NamedTensor> results;
  std::vector<size_t> indices;
  for (size_t k = 0; k < signature.tensors.size(); ++k) {
    const Signature::Tensor &tensor = signature.tensors[k];
    if (!tensor.isResult) {
      inputs.push_back({tensor.name, sets[current].views[k]});
      continue;
    }
    HEDDLE_TRY(shape, signature.shapeOf(tensor, extents));
    HEDDLE_TRY(view, allocateTensor(DType::F64, shape, memory));
    results.push_back({tensor.name, view});
    indices.push_back(k);
  }
  HEDDLE_CHECK(context.compiler().interpret(request, inputs, parameters, rows, results));
  for (size_t k = 0; k < results.size(); ++k)
    HEDDLE_CHECK(checkResult(indices[k], results[k].view, rows));
  return {};
}

} // namespace heddle::bench
