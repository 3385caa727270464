// Between the structs of C and the runtime's own types.
#include "runtime/capi/Handles.h"

namespace heddle::capi {

static_assert(HEDDLE_MAX_RANK == kMaxRank);
static_assert(int(HEDDLE_NOT_READY) == int(kNotReady) &&
              int(HEDDLE_NOT_FOUND) == int(ErrorCode::NotFound));
static_assert(int(HEDDLE_U8) == int(DType::U8) && int(HEDDLE_BF16) == int(DType::BF16));
static_assert(int(HEDDLE_COMPILE_FAILED) == int(CompileEvent::Failed));

heddle_status report(const Error &error, heddle_error **out) {
  if (out)
    *out = new (std::nothrow) heddle_error{error, error.toString()};
  return static_cast<heddle_status>(error.code);
}

Result<DType> dtypeOf(int32_t value) {
  const DType type = static_cast<DType>(value);
  if (value < 0 || value > 255 || !isValid(type))
    return wrong(fmt::format("found element type {}, expected a heddle_dtype", value));
  return type;
}

[[gnu::cold]] static Error wrongTensor(const heddle_tensor &given, size_t index) {
  if (given.rank < 0 || given.rank > kMaxRank)
    return wrong(fmt::format("found tensor {} with {} dimensions, expected at most {}", index,
                             given.rank, kMaxRank));
  return dtypeOf(given.dtype).error();
}

static bool isSound(const heddle_tensor &given) {
  return given.rank >= 0 && given.rank <= kMaxRank && given.dtype >= HEDDLE_F64 &&
         given.dtype <= HEDDLE_U8;
}

static void copyTensor(TensorView &view, const heddle_tensor &given) {
  view.data = given.data;
  view.dtype = static_cast<DType>(given.dtype);
  view.rank = given.rank;
  std::copy_n(given.shape, kMaxRank, view.shape.begin());
  std::copy_n(given.strides, kMaxRank, view.strides.begin());
}

Status Arrays::fill(const heddle_tensor *given, size_t count, const heddle_parameter *values,
                    size_t valueCount) {
  if ((count > 0 && !given) || (valueCount > 0 && !values))
    return nullPointer(given || count == 0 ? "the parameters" : "the tensors");
  TensorView *views = tensors.room(count);
  for (size_t n = 0; n < count; ++n) {
    if (!isSound(given[n]))
      return wrongTensor(given[n], n);
    copyTensor(*new (views + n) TensorView, given[n]);
  }
  ParameterValue *named = parameters.room(valueCount);
  for (size_t n = 0; n < valueCount; ++n) {
    if (!values[n].name)
      return nullPointer("the name of a parameter");
    new (named + n) ParameterValue{values[n].name, values[n].value};
  }
  return {};
}

Status fill(NamedExtents &extents, const heddle_extent *given, size_t count) {
  if (count > 0 && !given)
    return nullPointer("the extents");
  NamedExtent *named = extents.room(count);
  for (size_t n = 0; n < count; ++n) {
    if (!given[n].name)
      return nullPointer("the name of an extent");
    new (named + n) NamedExtent{given[n].name, given[n].value};
  }
  return {};
}

} // namespace heddle::capi
