// Checking a call against an artifact. make() turns names into indices once; bind() walks tensors
// and parameters, unifies dims and fills the scalars.
//   o[B=1, Tq=100, ...], q[B=1, Tq=100, ...]  ->  scalars {B: 1, Tq: 100, W: 4096}
#include "runtime/Binding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace heddle {
namespace {

constexpr int64_t kUnknown = -1;
constexpr double kMaxExact = 9007199254740992.0; ///< 2^53: integers a double holds exactly

Error wrong(std::string message) { return {ErrorCode::InvalidArgument, std::move(message)}; }

std::string shapeText(const TensorView &view) {
  return fmt::format("[{}]", fmt::join(view.shape.begin(), view.shape.begin() + view.rank, ", "));
}

/// First and one past the last byte that the view touches; empty views touch none.
struct Range {
  uintptr_t begin = 0, end = 0;
};
Range rangeOf(const TensorView &view) {
  int64_t last = 0;
  for (int d = 0; d < view.rank; ++d) {
    if (view.shape[d] == 0)
      return {};
    last += (view.shape[d] - 1) * view.strides[d];
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(view.data);
  return {begin, begin + (last + 1) * sizeOf(view.dtype)};
}

/// Whether two index tuples could name one element: each stride must step over all that smaller
/// strides span.
bool overlapsItself(const TensorView &view) {
  std::array<std::pair<int64_t, int64_t>, kMaxRank> modes;
  int count = 0;
  for (int d = 0; d < view.rank; ++d)
    if (view.shape[d] > 1)
      modes[count++] = {view.strides[d], view.shape[d]};
  std::sort(modes.begin(), modes.begin() + count);
  int64_t span = 1;
  for (int m = 0; m < count; ++m) {
    if (modes[m].first < span)
      return true;
    span = modes[m].first * (modes[m].second - 1) + span;
  }
  return false;
}

/// The view spans less than 2^62 bytes, so sums of its offsets cannot overflow.
bool spanFits(const TensorView &view) {
  int64_t elements = 1, span = 1;
  for (int d = 0; d < view.rank; ++d) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(elements, view.shape[d], &elements) ||
        __builtin_mul_overflow(std::max<int64_t>(view.shape[d] - 1, 0), view.strides[d], &reach) ||
        __builtin_add_overflow(span, reach, &span))
      return false;
  }
  constexpr int64_t kLimit = int64_t(1) << 58; // in elements of at most 8 bytes
  return elements < kLimit && span < kLimit;
}

} // namespace

// --- once per kernel -----------------------------------------------------------------------------

Result<Binding> Binding::make(const Artifact &artifact) {
  const auto tooMany = [](const char *what, size_t found, int limit) {
    return Error{
        ErrorCode::CorruptData,
        fmt::format("found an artifact with {} {}, expected at most {}", found, what, limit)};
  };
  if (artifact.scalars.size() > kMaxScalars)
    return tooMany("run-time scalars", artifact.scalars.size(), kMaxScalars);
  Binding binding;
  binding.artifact = &artifact;
  const auto dimIndex = [&](const std::string &name) {
    for (size_t d = 0; d < binding.dims.size(); ++d)
      if (binding.dims[d].name == name)
        return static_cast<int>(d);
    Dim dim;
    dim.name = name;
    const char *end = name.data() + name.size();
    int64_t literal = 0;
    const std::from_chars_result number = std::from_chars(name.data(), end, literal);
    if (number.ec == std::errc() && number.ptr == end)
      dim.fixed = literal;
    if (const auto fixed = artifact.staticDims.find(name); fixed != artifact.staticDims.end())
      dim.fixed = fixed->second;
    binding.dims.push_back(std::move(dim));
    return static_cast<int>(binding.dims.size() - 1);
  };
  for (const TensorInfo &tensor : artifact.tensors) {
    TensorRule rule{};
    for (size_t d = 0; d < tensor.shape.size(); ++d)
      rule.dims[d] = dimIndex(tensor.shape[d]);
    binding.rules.push_back(rule);
  }
  while (binding.firstResult < artifact.tensors.size() &&
         !artifact.tensors[binding.firstResult].isResult)
    ++binding.firstResult;
  const size_t fromTensors = binding.dims.size();
  for (size_t s = 0; s < artifact.scalars.size(); ++s) {
    if (artifact.scalars[s].kind != ScalarInfo::Extent)
      continue;
    const int dim = dimIndex(artifact.scalars[s].name);
    binding.dims[dim].scalar = static_cast<int>(s);
    if (static_cast<size_t>(dim) >= fromTensors && binding.dims[dim].fixed == kUnknown)
      return Error{ErrorCode::CorruptData,
                   fmt::format("found an artifact that needs the extent {}, which no tensor has",
                               artifact.scalars[s].name)};
  }
  for (const ClassPredicate &predicate : artifact.predicates)
    binding.dims[dimIndex(predicate.dim)].extent = predicate.extent;
  for (const Argument &argument : artifact.arguments)
    if (argument.kind == Argument::TensorStride &&
        argument.dim + 1 == static_cast<int>(artifact.tensors[argument.index].shape.size()))
      binding.rules[argument.index].innermostStrided = true;
  if (artifact.staticDims.count("G")) {
    binding.group = dimIndex("G");
    binding.queryHeads = dimIndex("Hq");
    binding.keyHeads = dimIndex("Hk");
  }
  if (binding.dims.size() > kMaxDims)
    return tooMany("dims", binding.dims.size(), kMaxDims);
  return binding;
}

// --- one tensor ----------------------------------------------------------------------------------

Status Binding::checkTensor(int index, const TensorView &view) const {
  const TensorInfo &info = artifact->tensors[index];
  const int rank = static_cast<int>(info.shape.size());
  if (view.rank != rank)
    return wrong(fmt::format("found {} with {} dimensions, expected {}: [{}]", info.name, view.rank,
                             rank, fmt::join(info.shape, ", ")));
  if (view.dtype != info.dtype)
    return wrong(fmt::format("found {} of type {}, expected {}; convert it, or ask for a kernel of "
                             "that type",
                             info.name, toString(view.dtype), toString(info.dtype)));
  bool empty = false;
  for (int d = 0; d < rank; ++d) {
    if (view.shape[d] < 0)
      return wrong(fmt::format("found {} of shape {}, expected no negative extent", info.name,
                               shapeText(view)));
    if (view.strides[d] < 0 && view.shape[d] > 1)
      return wrong(fmt::format("found stride {} in dimension {} of {}, expected none below 0; copy "
                               "the tensor",
                               view.strides[d], d, info.name));
    empty |= view.shape[d] == 0;
  }
  if (empty)
    return {};
  if (!spanFits(view))
    return wrong(fmt::format("found {} of shape {}, which is larger than any memory", info.name,
                             shapeText(view)));
  if (!view.data)
    return wrong(fmt::format("found a null pointer for {}, expected {} of shape {}", info.name,
                             toString(info.dtype), shapeText(view)));
  if (view.shape[rank - 1] > 1 && view.strides[rank - 1] != 1 && !rules[index].innermostStrided)
    return wrong(fmt::format("found stride {} in the innermost dimension ({}) of {}, expected 1; "
                             "copy the tensor",
                             view.strides[rank - 1], info.shape[rank - 1], info.name));
  if (reinterpret_cast<uintptr_t>(view.data) % sizeOf(view.dtype) != 0)
    return wrong(fmt::format("found {} at an address that is no multiple of the {} bytes of {}",
                             info.name, sizeOf(view.dtype), toString(view.dtype)));
  if (artifact->alignedPointers && rank >= 4) {
    bool aligned = reinterpret_cast<uintptr_t>(view.data) % 64 == 0;
    for (int d = 0; d + 1 < rank; ++d)
      aligned &= view.shape[d] <= 1 || view.strides[d] * sizeOf(view.dtype) % 64 == 0;
    if (!aligned)
      return wrong(
          fmt::format("found {} with rows that do not start at multiples of 64 bytes, which "
                      "this kernel assumes; ask for one with alignedPointers = false",
                      info.name));
  }
  if (info.isResult && overlapsItself(view))
    return wrong(
        fmt::format("found the result {} with strides that write one element twice", info.name));
  return {};
}

Status Binding::unify(int index, const TensorView &view, Known &known) const {
  const TensorInfo &info = artifact->tensors[index];
  for (int d = 0; d < view.rank; ++d) {
    const Dim &dim = dims[rules[index].dims[d]];
    int64_t &extent = known[rules[index].dims[d]];
    if (dim.fixed != kUnknown && view.shape[d] != dim.fixed)
      return wrong(fmt::format("found {} = {} in {} of shape {}, expected {}, which is built into "
                               "this kernel; ask for one with {} = {}",
                               dim.name, view.shape[d], info.name, shapeText(view), dim.fixed,
                               dim.name, view.shape[d]));
    if (extent != kUnknown && extent != view.shape[d])
      return wrong(fmt::format("found {} = {} in {} of shape {}, expected {} as in the tensors "
                               "before it",
                               dim.name, view.shape[d], info.name, shapeText(view), extent));
    extent = view.shape[d];
  }
  return {};
}

Status Binding::checkOverlap(std::span<const TensorView> tensors) const {
  // Results come last: each is compared with all before it.
  for (size_t r = firstResult; r < tensors.size(); ++r) {
    const Range result = rangeOf(tensors[r]);
    for (size_t t = 0; t < r; ++t) {
      const Range other = rangeOf(tensors[t]);
      if (result.begin >= other.end || other.begin >= result.end)
        continue;
      const bool both = artifact->tensors[t].isResult;
      return wrong(fmt::format("found the result {} in memory that {} lies in, expected memory of "
                               "its own; write to another buffer",
                               artifact->tensors[both ? t : r].name,
                               artifact->tensors[both ? r : t].name));
    }
  }
  return {};
}

// --- the call ------------------------------------------------------------------------------------

Status Binding::bind(std::span<const TensorView> tensors,
                     std::span<const ParameterValue> parameters, ScalarValues &values) const {
  if (tensors.size() != rules.size()) {
    std::vector<std::string> names;
    for (const TensorInfo &tensor : artifact->tensors)
      names.push_back(tensor.name);
    return wrong(fmt::format("found {} tensors, expected {}: {}", tensors.size(), rules.size(),
                             fmt::join(names, ", ")));
  }
  Known known;
  known.fill(kUnknown);
  for (size_t t = 0; t < tensors.size(); ++t) {
    HEDDLE_CHECK(checkTensor(static_cast<int>(t), tensors[t]));
    HEDDLE_CHECK(unify(static_cast<int>(t), tensors[t], known));
  }
  HEDDLE_CHECK(checkOverlap(tensors));
  return finish(known, parameters, values);
}

Status Binding::bindExtents(const std::map<std::string, int64_t> &extents,
                            std::span<const ParameterValue> parameters,
                            ScalarValues &values) const {
  Known known;
  known.fill(kUnknown);
  for (size_t d = 0; d < dims.size(); ++d) {
    const auto found = extents.find(dims[d].name);
    if (found == extents.end())
      continue;
    if (found->second < 0 || (dims[d].fixed != kUnknown && dims[d].fixed != found->second))
      return wrong(
          fmt::format("found {} = {}, expected {}", dims[d].name, found->second,
                      dims[d].fixed != kUnknown
                          ? fmt::format("{}, which is built into this kernel", dims[d].fixed)
                          : "an extent of 0 or more"));
    known[d] = found->second;
  }
  return finish(known, parameters, values);
}

Status Binding::setExtents(const Known &known, ScalarValues &values) const {
  for (size_t d = 0; d < dims.size(); ++d) {
    const Dim &dim = dims[d];
    const int64_t extent = known[d] != kUnknown ? known[d] : dim.fixed;
    if (extent == kUnknown && dim.scalar < 0)
      continue;
    if (extent == kUnknown)
      return wrong(fmt::format("found no extent for {}, expected one", dim.name));
    if (!dim.extent.admits(extent))
      return wrong(fmt::format("found {} = {}, expected {}, which this kernel assumes; ask for one "
                               "whose class admits it",
                               dim.name, extent, toString(dim.extent)));
    if (dim.scalar >= 0)
      values.integers[dim.scalar] = extent;
  }
  if (group >= 0 && known[queryHeads] != kUnknown && known[keyHeads] != kUnknown &&
      known[queryHeads] != known[keyHeads] * dims[group].fixed)
    return wrong(
        fmt::format("found Hq = {} and Hk = {}, expected Hq = {} * Hk, which is built into "
                    "this kernel",
                    known[queryHeads], known[keyHeads], dims[group].fixed));
  return {};
}

Status Binding::setParameter(const ParameterValue &parameter, ScalarValues &values) const {
  const std::vector<ScalarInfo> &scalars = artifact->scalars;
  size_t s = 0;
  while (s < scalars.size() &&
         (scalars[s].name != parameter.name || scalars[s].kind == ScalarInfo::Extent))
    ++s;
  if (s == scalars.size())
    return wrong(fmt::format("found the parameter '{}', which this kernel has not; it may be "
                             "misspelt, or fixed at compile time",
                             parameter.name));
  if (!std::isfinite(parameter.value))
    return wrong(
        fmt::format("found {} = {}, expected a finite number", parameter.name, parameter.value));
  if (scalars[s].kind == ScalarInfo::FloatParameter) {
    values.floats[s] = parameter.value;
    return {};
  }
  if (parameter.value != std::floor(parameter.value) || std::fabs(parameter.value) > kMaxExact)
    return wrong(fmt::format("found {} = {}, expected an integer of at most 2^53 in size",
                             parameter.name, parameter.value));
  values.integers[s] = static_cast<int64_t>(parameter.value);
  return {};
}

Status Binding::finish(const Known &known, std::span<const ParameterValue> parameters,
                       ScalarValues &values) const {
  values.count = static_cast<int>(artifact->scalars.size());
  for (int s = 0; s < values.count; ++s) {
    const ScalarInfo &scalar = artifact->scalars[s];
    values.integers[s] = 0;
    values.floats[s] = 0;
    if (scalar.kind == ScalarInfo::IntParameter)
      values.integers[s] = static_cast<int64_t>(scalar.defaultValue);
    else if (scalar.kind == ScalarInfo::FloatParameter)
      values.floats[s] = scalar.defaultValue;
  }
  HEDDLE_CHECK(setExtents(known, values));
  for (const ParameterValue &parameter : parameters)
    HEDDLE_CHECK(setParameter(parameter, values));
  for (const Constraint &constraint : artifact->constraints) {
    HEDDLE_TRY(left, constraint.left.evaluate(values.span()));
    HEDDLE_TRY(right, constraint.right.evaluate(values.span()));
    if (constraint.kind == Constraint::Equal ? left != right : left > right)
      return wrong(fmt::format("found {} and {}, expected {}, which this kernel assumes", left,
                               right, constraint.text));
  }
  return {};
}

} // namespace heddle
