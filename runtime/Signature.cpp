// Signatures: extents by name, unification over the tensors of a call, the request that follows,
// and the record in the store.
//   {T: 100, H: 8, D: 64} of gqa(q: B Tq Hq D, k: B Tk Hk D, ...)  ->  {B: 1, Tq: 100, Tk: 100,
//   ...}
#include "runtime/Signature.h"

#include "runtime/Bytes.h"
#include "runtime/Sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

namespace heddle {

template <typename A> static void transfer(A &a, Signature::Tensor &x) {
  a(x.name, x.isResult, x.fixedDtype, x.dtype, x.shape, x.next);
}
template <typename A> static void transfer(A &a, Signature::Parameter &x) {
  a(x.name, x.isInteger, x.isConstant, x.required, x.defaultValue);
}
template <typename A> static void transfer(A &a, Signature &x) {
  a(x.name, x.tensors, x.parameters, x.valueRules, x.staticDims, x.classDims, x.notes, x.derived);
  a(x.derivedNames, x.conditions);
}

namespace {

constexpr std::string_view kMagic = "HDLS";
constexpr uint32_t kVersion = 3;

Error wrong(std::string message) { return {ErrorCode::InvalidArgument, std::move(message)}; }

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const char *end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end)
    return std::nullopt;
  return value;
}

/// "T" stands for every dim that begins with T, "H" for every one that begins with H.
bool isFamily(std::string_view name) { return name == "T" || name == "H"; }

/// Gives `dim` the extent that `given` names for it or its family, else the one of `fallback`.
std::optional<int64_t> lookUp(const Extents &given, const std::string &dim) {
  if (const auto found = given.find(dim); found != given.end())
    return found->second;
  const auto family = given.find(dim.substr(0, 1));
  if (family != given.end() && isFamily(family->first))
    return family->second;
  if (dim == "B")
    return 1;
  return std::nullopt;
}

Status checkHeads(const Extents &extents) {
  const auto queries = extents.find("Hq"), keys = extents.find("Hk");
  if (queries == extents.end() || keys == extents.end() || keys->second == 0 ||
      queries->second % keys->second == 0)
    return {};
  return wrong(fmt::format("found {} query heads (Hq) for {} key heads (Hk), expected a multiple; "
                           "each key head serves a whole group of query heads",
                           queries->second, keys->second));
}

} // namespace

std::vector<std::string> Signature::dims() const {
  std::set<std::string> names;
  for (const Tensor &tensor : tensors)
    for (const std::string &dim : tensor.shape)
      if (!number(dim) && !derived.count(dim))
        names.insert(dim);
  for (const std::string &dim : staticDims)
    names.insert(dim);
  names.erase("G");
  return {names.begin(), names.end()};
}

/// Extents that a condition gives, the other side being known; in as many rounds as one needs
/// another.
void Signature::deriveExtents(Extents &extents, const std::map<std::string, double> &values) const {
  const auto isKnown = [&](const Formula::Step &step) {
    if (step.op != Formula::Scalar || static_cast<size_t>(step.value) >= derivedNames.size())
      return true; // evaluation refuses what names no scalar
    const std::string &name = derivedNames[step.value];
    return extents.count(name) ||
           std::any_of(parameters.begin(), parameters.end(), [&](const Parameter &parameter) {
             return parameter.name == name && (!parameter.required || values.count(name));
           });
  };
  const auto derive = [&](const Formula &side, const Formula &other) {
    if (side.steps.size() != 1 || isKnown(side.steps[0]) ||
        !std::all_of(other.steps.begin(), other.steps.end(), isKnown))
      return false;
    const Result<int64_t> extent = other.evaluate(scalarsOf(extents, values));
    if (!extent.ok() || *extent < 0)
      return false;
    extents[derivedNames[side.steps[0].value]] = *extent;
    return true;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (const Constraint &condition : conditions)
      if (condition.kind == Constraint::Equal)
        changed |=
            derive(condition.left, condition.right) || derive(condition.right, condition.left);
  }
}

Result<Extents>
Signature::completeExtents(const Extents &given,
                           const std::map<std::string, double> &parameterValues) const {
  const std::vector<std::string> names = dims();
  for (const auto &[name, extent] : given) {
    const bool known =
        isFamily(name) || name == "B" || std::count(names.begin(), names.end(), name);
    if (!known)
      return wrong(fmt::format("found the dim '{}', which pattern {} has not; its dims are {}",
                               name, this->name, fmt::join(names, ", ")));
    if (extent < 0)
      return wrong(fmt::format("found {} = {}, expected an extent of 0 or more", name, extent));
  }
  Extents all;
  for (const std::string &name : names)
    if (const std::optional<int64_t> extent = lookUp(given, name))
      all[name] = *extent;
  const std::pair<const char *, const char *> fallbacks[] = {{"Dv", "D"}, {"Hk", "Hq"}, {"V", "K"}};
  for (const auto &[dim, other] : fallbacks)
    if (std::count(names.begin(), names.end(), dim) && !all.count(dim) && all.count(other))
      all[dim] = all[other];
  deriveExtents(all, parameterValues);
  for (const std::string &name : names)
    if (!all.count(name))
      return wrong(fmt::format("found no extent for {}, expected one for each of {} (T sets every "
                               "length, H every head count)",
                               name, fmt::join(names, ", ")));
  HEDDLE_CHECK(checkHeads(all));
  return all;
}

Result<Extents> Signature::extentsOf(std::span<const TensorView> views) const {
  const size_t inputs = std::count_if(tensors.begin(), tensors.end(),
                                      [](const Tensor &tensor) { return !tensor.isResult; });
  if (views.size() != tensors.size() && views.size() != inputs)
    return wrong(fmt::format("found {} tensors, expected the {} of pattern {}: inputs, then "
                             "results; or the {} inputs alone",
                             views.size(), tensors.size(), name, inputs));
  Extents extents;
  std::map<std::string, std::string> origin;
  for (size_t i = 0; i < views.size(); ++i) {
    const Tensor &tensor = tensors[i];
    if (views[i].rank != static_cast<int>(tensor.shape.size()))
      return wrong(fmt::format("found {} with {} dimensions, expected {}: [{}]", tensor.name,
                               views[i].rank, tensor.shape.size(), fmt::join(tensor.shape, ", ")));
    for (int d = 0; d < views[i].rank; ++d) {
      const std::string &dim = tensor.shape[d];
      const int64_t extent = views[i].shape[d];
      if (derived.count(dim))
        continue;
      if (const std::optional<int64_t> fixed = number(dim)) {
        if (extent != *fixed)
          return wrong(fmt::format("found extent {} in dimension {} of {}, expected {}", extent, d,
                                   tensor.name, *fixed));
        continue;
      }
      const auto [known, isNew] = extents.emplace(dim, extent);
      if (isNew)
        origin[dim] = tensor.name;
      else if (known->second != extent)
        return wrong(fmt::format("found {} = {} in {} but {} = {} in {}, expected the same", dim,
                                 known->second, origin[dim], dim, extent, tensor.name));
    }
  }
  HEDDLE_CHECK(checkHeads(extents));
  return extents;
}

Result<DType> Signature::openDType(std::span<const TensorView> views) const {
  const Tensor *first = nullptr;
  DType open = DType::F32;
  for (size_t t = 0; t < views.size(); ++t) {
    const Tensor &tensor = tensors[t];
    const DType expected = tensor.fixedDtype ? tensor.dtype : first ? open : views[t].dtype;
    if (views[t].dtype != expected)
      return wrong(fmt::format("found {} of type {}, expected {}{}", tensor.name,
                               toString(views[t].dtype), toString(expected),
                               tensor.fixedDtype ? "" : " as " + first->name));
    if (!tensor.fixedDtype && !first) {
      first = &tensor;
      open = expected;
    }
  }
  return open;
}

std::vector<int64_t> Signature::scalarsOf(const Extents &extents,
                                          const std::map<std::string, double> &values) const {
  std::vector<int64_t> scalars;
  for (const std::string &name : derivedNames) {
    const auto extent = extents.find(name);
    const auto value = values.find(name);
    int64_t scalar = 0;
    for (const Parameter &parameter : parameters)
      if (parameter.name == name)
        scalar = static_cast<int64_t>(parameter.defaultValue);
    if (value != values.end())
      scalar = static_cast<int64_t>(value->second);
    scalars.push_back(extent != extents.end() ? extent->second : scalar);
  }
  return scalars;
}

Status Signature::checkConditions(const Extents &extents,
                                  const std::map<std::string, double> &values) const {
  if (conditions.empty())
    return {};
  const std::vector<int64_t> scalars = scalarsOf(extents, values);
  for (const Constraint &condition : conditions)
    HEDDLE_CHECK(checkCondition(condition, scalars, name));
  return {};
}

Result<std::vector<int64_t>> Signature::shapeOf(const Tensor &tensor, const Extents &extents,
                                                const std::map<std::string, double> &values) const {
  const std::vector<int64_t> scalars = scalarsOf(extents, values);
  std::vector<int64_t> shape;
  for (const std::string &dim : tensor.shape) {
    const auto extent = extents.find(dim);
    const auto formula = derived.find(dim);
    if (extent != extents.end()) {
      shape.push_back(extent->second);
    } else if (const std::optional<int64_t> fixed = number(dim)) {
      shape.push_back(*fixed);
    } else if (formula != derived.end()) {
      HEDDLE_TRY(value, formula->second.evaluate(scalars));
      shape.push_back(value);
    } else {
      return wrong(fmt::format("found no extent for {} of {}; complete the extents first", dim,
                               tensor.name));
    }
  }
  return shape;
}

DType Signature::dtypeOf(const Tensor &tensor, DType requested) const {
  return tensor.fixedDtype ? tensor.dtype : requested;
}

Result<Request> Signature::request(std::string patternText, const Extents &extents, DType dtype,
                                   const std::map<std::string, double> &values) const {
  Request request;
  request.patternText = std::move(patternText);
  request.patternName = name;
  request.dtypes["*"] = dtype;
  for (const auto &[key, value] : values) {
    const auto known = std::find_if(parameters.begin(), parameters.end(),
                                    [&key = key](const Parameter &p) { return p.name == key; });
    if (known == parameters.end())
      return wrong(fmt::format("found the parameter '{}', which pattern {} has not", key, name));
    if (!std::isfinite(value))
      return wrong(fmt::format("found {} = {}, expected a finite number", key, value));
    if (known->isInteger && value != std::floor(value))
      return wrong(fmt::format("found {} = {}, expected an integer", key, value));
    if (known->isConstant && (known->required || value != known->defaultValue))
      request.constants[key] = value;
  }
  for (const Parameter &parameter : parameters)
    if (parameter.required && !values.count(parameter.name))
      return wrong(fmt::format("found no value for {}, which pattern {} has no default for",
                               parameter.name, name));
  Extents known = extents;
  if (extents.count("Hq") && extents.count("Hk"))
    known["G"] = extents.at("Hk") ? extents.at("Hq") / extents.at("Hk") : 1;
  for (const std::string &dim : staticDims) {
    if (!known.count(dim))
      return wrong(fmt::format("found no extent for {}; complete the extents first", dim));
    request.dims[dim] = known[dim];
  }
  HEDDLE_CHECK(checkConditions(extents, values));
  for (const auto &[dim, extent] : extents) {
    const bool isClass = std::count(classDims.begin(), classDims.end(), dim);
    if (request.dims.count(dim))
      continue;
    request.extents[dim] = isClass ? ExtentClass::of(extent) : ExtentClass{};
    request.buckets[dim] = lengthBucket(extent);
  }
  for (const Tensor &tensor : tensors)
    if (const Result<std::vector<int64_t>> shape = shapeOf(tensor, extents, values); !shape.ok())
      return shape.error();
  return request;
}

std::string Signature::serialize() const {
  ByteWriter body;
  body(*this);
  const std::string bytes = body.take();
  std::string text(kMagic);
  text.append(reinterpret_cast<const char *>(&kVersion), sizeof(kVersion));
  return text + sha256(bytes) + bytes;
}

Result<Signature> Signature::parse(std::string_view bytes) {
  const Error corrupt{
      ErrorCode::CorruptData,
      "found bytes that are no signature of this version, or were changed; they are "
      "made anew from the pattern"};
  uint32_t version = 0;
  if (bytes.size() < 40 || !bytes.starts_with(kMagic))
    return corrupt;
  std::memcpy(&version, bytes.data() + kMagic.size(), sizeof(version));
  if (version != kVersion || sha256(bytes.substr(40)) != bytes.substr(8, 32))
    return corrupt;
  Signature signature;
  ByteReader reader(bytes.substr(40));
  reader(signature);
  for (const Tensor &tensor : signature.tensors)
    if (!isValid(tensor.dtype) || tensor.shape.empty() || tensor.shape.size() > kMaxRank)
      return corrupt;
  const auto known = [&](int32_t tensor) {
    return tensor >= 0 && static_cast<size_t>(tensor) < signature.tensors.size();
  };
  for (const ValueRule &rule : signature.valueRules)
    if (rule.kind > ValueRule::Segments || !known(rule.tensor) ||
        (rule.limitOf >= 0 && !known(rule.limitOf)) || rule.limitDivisor < 1)
      return corrupt;
  if (!reader.atEnd())
    return corrupt;
  return signature;
}

} // namespace heddle
