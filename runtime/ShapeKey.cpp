// Keys of calls. What stands in a key is what Signature::request reads of a call: static extents,
// class and length bucket of the others, element type, constants.
#include "runtime/ShapeKey.h"

#include <algorithm>
#include <bit>

namespace heddle {
namespace {

constexpr int64_t kUnknown = -1;
constexpr std::string_view kFamilies[] = {"T", "H"};

int64_t indexOf(const std::vector<std::string> &names, const std::string &name) {
  return std::find(names.begin(), names.end(), name) - names.begin();
}
bool contains(const std::vector<std::string> &names, const std::string &name) {
  return indexOf(names, name) < static_cast<int64_t>(names.size());
}

} // namespace

uint64_t ShapeKey::hash() const {
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int n = 0; n < count; ++n)
    state = std::rotl((state ^ words[n]) * 0xbf58476d1ce4e5b9, 29);
  return state ^ (state >> 32);
}

bool ShapeKey::operator==(const ShapeKey &other) const {
  return count == other.count &&
         std::equal(words.begin(), words.begin() + count, other.words.begin());
}

ShapeKeys::ShapeKeys(const Signature &signature) : signature(signature) {
  const std::vector<std::string> names = signature.dims();
  for (const std::string &name : names)
    dims.push_back(
        {name, contains(signature.staticDims, name), contains(signature.classDims, name)});
  const auto find = [&](const std::string &name) {
    const int64_t at = indexOf(names, name);
    return at < static_cast<int64_t>(names.size()) ? static_cast<int>(at) : -1;
  };
  constexpr std::pair<const char *, const char *> kFallbacks[] = {
      {"Dv", "D"}, {"Hk", "Hq"}, {"V", "K"}};
  for (Dim &dim : dims) {
    for (int family = 0; family < 2; ++family)
      if (dim.name.starts_with(kFamilies[family]))
        dim.family = family;
    for (const auto &[name, other] : kFallbacks)
      if (dim.name == name)
        dim.fallback = find(other);
  }
  for (const Signature::Tensor &tensor : signature.tensors) {
    std::array<int, kMaxRank> &shape = shapes.emplace_back();
    for (size_t d = 0; d < tensor.shape.size(); ++d)
      shape[d] = find(tensor.shape[d]);
    inputs += !tensor.isResult;
  }
  queryHeads = find("Hq");
  keyHeads = find("Hk");
  grouped = contains(signature.staticDims, "G") && queryHeads >= 0 && keyHeads >= 0;
  fits = dims.size() + signature.parameters.size() + 2 <= ShapeKey::kMaxWords;
}

std::optional<ShapeKey> ShapeKeys::of(std::span<const TensorView> tensors,
                                      std::span<const ParameterValue> parameters) const {
  if (!fits || (tensors.size() != inputs && tensors.size() != shapes.size()))
    return std::nullopt;
  Known known;
  std::fill_n(known.begin(), dims.size(), kUnknown);
  const DType unset = static_cast<DType>(0);
  DType dtype = unset;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const Signature::Tensor &info = signature.tensors[t];
    const TensorView &view = tensors[t];
    if (view.rank != static_cast<int>(info.shape.size()))
      return std::nullopt;
    DType &expected = dtype;
    if (info.fixedDtype ? view.dtype != info.dtype : expected != unset && view.dtype != expected)
      return std::nullopt;
    if (!info.fixedDtype)
      dtype = view.dtype;
    for (int d = 0; d < view.rank; ++d) {
      const int dim = shapes[t][d];
      if (dim < 0)
        continue;
      if (view.shape[d] < 0 || (known[dim] != kUnknown && known[dim] != view.shape[d]))
        return std::nullopt;
      known[dim] = view.shape[d];
    }
  }
  return finish(known, dtype, parameters);
}

/// As Signature::completeExtents; false where that fails.
bool ShapeKeys::complete(std::span<const NamedExtent> extents, Known &known) const {
  std::fill_n(known.begin(), dims.size(), kUnknown);
  int64_t families[] = {kUnknown, kUnknown};
  for (const NamedExtent &given : extents) {
    bool isKnown = given.name == "B";
    for (int family = 0; family < 2; ++family)
      if (given.name == kFamilies[family]) {
        families[family] = given.value;
        isKnown = true;
      }
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d].name == given.name) {
        known[d] = given.value;
        isKnown = true;
      }
    if (!isKnown || given.value < 0)
      return false;
  }
  for (size_t d = 0; d < dims.size(); ++d) {
    if (known[d] == kUnknown && dims[d].family >= 0)
      known[d] = families[dims[d].family];
    if (known[d] == kUnknown && dims[d].name == "B")
      known[d] = 1;
  }
  for (size_t d = 0; d < dims.size(); ++d) {
    if (known[d] == kUnknown && dims[d].fallback >= 0)
      known[d] = known[dims[d].fallback];
    if (known[d] == kUnknown)
      return false;
  }
  return true;
}

std::optional<ShapeKey> ShapeKeys::of(std::span<const NamedExtent> extents, DType dtype,
                                      std::span<const ParameterValue> parameters) const {
  Known known;
  if (!fits || !complete(extents, known))
    return std::nullopt;
  return finish(known, dtype, parameters);
}

std::optional<ShapeKey> ShapeKeys::finish(const Known &known, DType dtype,
                                          std::span<const ParameterValue> parameters) const {
  std::optional<ShapeKey> place;
  ShapeKey &key = place.emplace();
  for (size_t d = 0; d < dims.size(); ++d) {
    const int64_t extent = known[d];
    if (extent == kUnknown)
      return std::nullopt;
    if (dims[d].isStatic) {
      key.add(extent);
      continue;
    }
    const ExtentClass extents = dims[d].isClass ? ExtentClass::of(extent) : ExtentClass{};
    key.add(extents.bound << 1 | extents.multipleOf16 | lengthBucket(extent) << 8);
  }
  if (grouped) {
    const int64_t queries = known[queryHeads], keys = known[keyHeads];
    if (keys > 0 && queries % keys != 0)
      return std::nullopt;
    key.add(keys > 0 ? queries / keys : 1);
  }
  key.add(static_cast<uint64_t>(dtype));
  for (const Signature::Parameter &parameter : signature.parameters) {
    if (!parameter.isConstant)
      continue;
    const auto given =
        std::find_if(parameters.begin(), parameters.end(),
                     [&](const ParameterValue &value) { return value.name == parameter.name; });
    if (given == parameters.end() && parameter.required)
      return std::nullopt;
    key.add(
        std::bit_cast<uint64_t>(given == parameters.end() ? parameter.defaultValue : given->value));
  }
  return place;
}

} // namespace heddle
