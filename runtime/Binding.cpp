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

/// Whether two index tuples could name one element: each stride must step over all that smaller
/// strides span.
bool overlapsItself(const TensorView &view) {
  int64_t span = 1;
  int d = view.rank - 1;
  while (d >= 0 && (view.shape[d] <= 1 || view.strides[d] >= span)) {
    span += view.shape[d] > 1 ? view.strides[d] * (view.shape[d] - 1) : 0;
    --d;
  }
  if (d < 0)
    return false; // strides fall from the first dimension to the last, as nearly always
  std::array<std::pair<int64_t, int64_t>, kMaxRank> modes;
  int count = 0;
  for (d = 0; d < view.rank; ++d)
    if (view.shape[d] > 1)
      modes[count++] = {view.strides[d], view.shape[d]};
  std::sort(modes.begin(), modes.begin() + count);
  span = 1;
  for (int m = 0; m < count; ++m) {
    if (modes[m].first < span)
      return true;
    span = modes[m].first * (modes[m].second - 1) + span;
  }
  return false;
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
  if (artifact.tensors.size() > kMaxTensors)
    return tooMany("tensors", artifact.tensors.size(), kMaxTensors);
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
    rule.rank = static_cast<int>(tensor.shape.size());
    rule.dtype = tensor.dtype;
    rule.elementBytes = sizeOf(tensor.dtype);
    rule.isResult = tensor.isResult;
    // GPU kernels read 8 elements of 8 and 16 bits at once where the code knows that rows are
    // whole.
    if (artifact.target.starts_with("sm_") && rule.elementBytes <= 2 && rule.rank >= 2 &&
        binding.dims[rule.dims[rule.rank - 1]].fixed % 8 == 0)
      rule.rowAlignment = 8 * rule.elementBytes;
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
  for (const Dim &dim : binding.dims)
    binding.fixedExtents.push_back(dim.fixed);
  for (size_t d = 0; d < binding.dims.size(); ++d) {
    const Dim &dim = binding.dims[d];
    const bool any = dim.extent == ExtentClass{};
    if (dim.scalar >= 0 || !any)
      binding.usedDims.push_back({static_cast<int>(d), dim.scalar, any});
  }
  for (const Constraint &constraint : artifact.constraints)
    binding.constraints.push_back(
        {FoldedFormula(constraint.left), FoldedFormula(constraint.right)});
  binding.defaults.count = static_cast<int>(artifact.scalars.size());
  for (size_t s = 0; s < artifact.scalars.size(); ++s) {
    const ScalarInfo &scalar = artifact.scalars[s];
    binding.defaults.integers[s] =
        scalar.kind == ScalarInfo::IntParameter ? static_cast<int64_t>(scalar.defaultValue) : 0;
    binding.defaults.floats[s] =
        scalar.kind == ScalarInfo::FloatParameter ? scalar.defaultValue : 0;
  }
  return binding;
}

// --- one tensor ----------------------------------------------------------------------------------

/// The extents and strides of a tensor one by one: what is wrong with them, or how many elements
/// lie from its first to its last (0: it has none).
Binding::Fault Binding::measure(const TensorView &view, int64_t &span) {
  int64_t elements = 1, reach = 0;
  bool empty = false, huge = false;
  span = 1;
  for (int d = 0; d < view.rank; ++d) {
    const int64_t extent = view.shape[d], stride = view.strides[d];
    if (extent < 0)
      return {Fault::Negative, d};
    if (stride < 0 && extent > 1)
      return {Fault::Backwards, d};
    empty |= extent == 0;
    huge |= __builtin_mul_overflow(elements, extent, &elements);
    huge |= extent > 1 && (__builtin_mul_overflow(extent - 1, stride, &reach) ||
                           __builtin_add_overflow(span, reach, &span));
  }
  // Less than 2^62 bytes, so that sums of offsets cannot overflow.
  constexpr int64_t kLimit = int64_t(1) << 58; // in elements of at most 8 bytes
  if (empty)
    span = 0;
  else if (huge || elements >= kLimit || span >= kLimit)
    return {Fault::TooLarge};
  return {};
}

Binding::Fault Binding::look(const TensorRule &rule, const TensorView &view, Range &range) {
  if (view.rank != rule.rank)
    return {Fault::Rank};
  if (view.dtype != rule.dtype)
    return {Fault::Type};
  // Where every number is below 2^29, and so is every product but the last, nothing can overflow;
  // a negative one has its upper bits set.
  const int last = rule.rank - 1;
  int64_t elements = 1, span = 1, size = 0, rowStrides = 0;
  for (int d = 0; d <= last; ++d) {
    const int64_t extent = view.shape[d], stride = extent > 1 ? view.strides[d] : 0;
    size |= extent | stride | elements;
    elements = static_cast<int64_t>(static_cast<uint64_t>(elements) * extent);
    span = static_cast<int64_t>(static_cast<uint64_t>(span) +
                                (static_cast<uint64_t>(extent) - 1) * stride);
    rowStrides |= d < last ? stride : 0;
  }
  if (static_cast<uint64_t>(size) >> 29 != 0) {
    if (const Fault fault = measure(view, span); fault.kind != Fault::None)
      return fault;
  } else if (elements == 0) {
    span = 0;
  }
  range = {0, 0};
  if (span == 0)
    return {};
  const uintptr_t begin = reinterpret_cast<uintptr_t>(view.data);
  if (!begin)
    return {Fault::NoMemory};
  if (view.strides[last] != 1 && view.shape[last] > 1 && !rule.innermostStrided)
    return {Fault::Strided, last};
  if (begin & (rule.elementBytes - 1)) // a power of two
    return {Fault::Misaligned};
  if (((static_cast<uint64_t>(rowStrides) * rule.elementBytes) | begin) & (rule.rowAlignment - 1))
    return {Fault::UnalignedRows};
  if (rule.isResult && overlapsItself(view))
    return {Fault::WritesTwice};
  range = {begin, begin + static_cast<uint64_t>(span) * rule.elementBytes};
  return {};
}

Binding::Fault Binding::unify(const TensorRule &rule, const TensorView &view, Known &known) {
  for (int d = 0; d < rule.rank; ++d) {
    int64_t &extent = known[rule.dims[d]];
    if (extent == kUnknown)
      extent = view.shape[d];
    else if (extent != view.shape[d])
      return {Fault::Extent, d};
  }
  return {};
}

/// The fault in words.
[[gnu::cold]] Error Binding::tell(Fault fault, int index, const TensorView &view,
                                  const Known &known) const {
  const TensorInfo &info = artifact->tensors[index];
  const int d = fault.dim;
  switch (fault.kind) {
  case Fault::Rank:
    return wrong(fmt::format("found {} with {} dimensions, expected {}: [{}]", info.name, view.rank,
                             info.shape.size(), fmt::join(info.shape, ", ")));
  case Fault::Type:
    return wrong(fmt::format("found {} of type {}, expected {}; convert it, or ask for a kernel of "
                             "that type",
                             info.name, toString(view.dtype), toString(info.dtype)));
  case Fault::Negative:
    return wrong(fmt::format("found {} of shape {}, expected no negative extent", info.name,
                             shapeText(view)));
  case Fault::Backwards:
    return wrong(fmt::format("found stride {} in dimension {} of {}, expected none below 0; copy "
                             "the tensor",
                             view.strides[d], d, info.name));
  case Fault::TooLarge:
    return wrong(fmt::format("found {} of shape {}, which is larger than any memory", info.name,
                             shapeText(view)));
  case Fault::NoMemory:
    return wrong(fmt::format("found a null pointer for {}, expected {} of shape {}", info.name,
                             toString(info.dtype), shapeText(view)));
  case Fault::Strided:
    return wrong(fmt::format("found stride {} in the innermost dimension ({}) of {}, expected 1; "
                             "copy the tensor",
                             view.strides[d], info.shape[d], info.name));
  case Fault::Misaligned:
    return wrong(fmt::format("found {} at an address that is no multiple of the {} bytes of {}",
                             info.name, sizeOf(view.dtype), toString(view.dtype)));
  case Fault::UnalignedRows:
    return wrong(fmt::format("found {} with rows that do not start at multiples of {} bytes, as "
                             "the copies of this kernel need; copy the tensor",
                             info.name, rules[index].rowAlignment));
  case Fault::WritesTwice:
    return wrong(
        fmt::format("found the result {} with strides that write one element twice", info.name));
  case Fault::Extent:
  case Fault::None:
    break;
  }
  const Dim &dim = dims[rules[index].dims[d]];
  if (dim.fixed != kUnknown)
    return wrong(fmt::format("found {} = {} in {} of shape {}, expected {}, which is built into "
                             "this kernel; ask for one with {} = {}",
                             dim.name, view.shape[d], info.name, shapeText(view), dim.fixed,
                             dim.name, view.shape[d]));
  return wrong(fmt::format("found {} = {} in {} of shape {}, expected {} as in the tensors "
                           "before it",
                           dim.name, view.shape[d], info.name, shapeText(view),
                           known[rules[index].dims[d]]));
}

Status Binding::checkOverlap(std::span<const Range> ranges) const {
  // Results come last: each is compared with all before it.
  for (size_t r = firstResult; r < ranges.size(); ++r)
    for (size_t t = 0; t < r; ++t) {
      if (ranges[r].begin >= ranges[t].end || ranges[t].begin >= ranges[r].end)
        continue;
      const bool both = artifact->tensors[t].isResult;
      return wrong(fmt::format("found the result {} in memory that {} lies in, expected memory of "
                               "its own; write to another buffer",
                               artifact->tensors[both ? t : r].name,
                               artifact->tensors[both ? r : t].name));
    }
  return {};
}

// --- the call ------------------------------------------------------------------------------------

Binding::Known Binding::nothingKnown() const {
  Known known;
  std::copy(fixedExtents.begin(), fixedExtents.end(), known.begin());
  return known;
}

Status Binding::bind(std::span<const TensorView> tensors,
                     std::span<const ParameterValue> parameters, ScalarValues &values) const {
  if (tensors.size() != rules.size()) {
    std::vector<std::string> names;
    for (const TensorInfo &tensor : artifact->tensors)
      names.push_back(tensor.name);
    return wrong(fmt::format("found {} tensors, expected {}: {}", tensors.size(), rules.size(),
                             fmt::join(names, ", ")));
  }
  Known known = nothingKnown();
  std::array<Range, kMaxTensors> ranges;
  for (size_t t = 0; t < tensors.size(); ++t) {
    Fault fault = look(rules[t], tensors[t], ranges[t]);
    if (fault.kind == Fault::None)
      fault = unify(rules[t], tensors[t], known);
    if (fault.kind != Fault::None)
      return tell(fault, static_cast<int>(t), tensors[t], known);
  }
  HEDDLE_CHECK(checkOverlap({ranges.data(), tensors.size()}));
  return finish(known, parameters, values);
}

Status Binding::bindExtents(const std::map<std::string, int64_t> &extents,
                            std::span<const ParameterValue> parameters,
                            ScalarValues &values) const {
  Known known = nothingKnown();
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
  for (const auto &[d, scalar, any] : usedDims) {
    const int64_t extent = known[d];
    if (extent == kUnknown && scalar < 0)
      continue;
    if (extent == kUnknown)
      return wrong(fmt::format("found no extent for {}, expected one", dims[d].name));
    if (!any && !dims[d].extent.admits(extent))
      return wrong(fmt::format("found {} = {}, expected {}, which this kernel assumes; ask for one "
                               "whose class admits it",
                               dims[d].name, extent, toString(dims[d].extent)));
    if (scalar >= 0)
      values.integers[scalar] = extent;
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
  values.count = defaults.count;
  std::copy_n(defaults.integers.begin(), defaults.count, values.integers.begin());
  std::copy_n(defaults.floats.begin(), defaults.count, values.floats.begin());
  HEDDLE_CHECK(setExtents(known, values));
  for (const ParameterValue &parameter : parameters)
    HEDDLE_CHECK(setParameter(parameter, values));
  for (size_t c = 0; c < constraints.size(); ++c) {
    int64_t left = 0, right = 0;
    if (!constraints[c].left.evaluate(values.span(), left))
      return constraints[c].left.reason(values.span());
    if (!constraints[c].right.evaluate(values.span(), right))
      return constraints[c].right.reason(values.span());
    const Constraint &constraint = artifact->constraints[c];
    if (constraint.kind == Constraint::Equal ? left != right : left > right)
      return wrong(fmt::format("found {} and {}, expected {}, which this kernel assumes", left,
                               right, constraint.text));
  }
  return {};
}

} // namespace heddle
