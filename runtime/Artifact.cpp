// Artifacts as bytes, and the checks that make a foreign artifact safe to launch.
//   "HDLA" | version u32 | sha-256 of the rest (32 bytes) | fields in the order of transfer()
// Adding, removing or reordering a field needs a new kVersion.
#include "runtime/Artifact.h"

#include "runtime/Bytes.h"
#include "runtime/Sha256.h"
#include "runtime/Tensor.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle {

// --- fields --------------------------------------------------------------------------------------

template <typename A> static void transfer(A &a, ScalarInfo &x) {
  a(x.name, x.kind, x.defaultValue);
}
template <typename A> static void transfer(A &a, TensorInfo &x) {
  a(x.name, x.dtype, x.isResult, x.shape);
}
template <typename A> static void transfer(A &a, TensorMapInfo::Dim &x) {
  a(x.dim, x.extent, x.stride, x.box);
}
template <typename A> static void transfer(A &a, TensorMapInfo &x) {
  a(x.tensor, x.dims, x.swizzleBytes);
}
template <typename A> static void transfer(A &a, Argument &x) {
  a(x.kind, x.index, x.dim, x.offset);
}
template <typename A> static void transfer(A &a, Launch &x) {
  a(x.entry, x.grid, x.block, x.sharedBytes, x.repeat, x.longestFirst);
}
template <typename A> static void transfer(A &a, Resources &x) {
  a(x.registers, x.stackBytes, x.spillStoreBytes, x.spillLoadBytes, x.sharedBytes, x.constantBytes);
}
template <typename A> static void transfer(A &a, ExtentClass &x) {
  int32_t bound = x.bound; // an enum must not hold what it does not name, not even for a moment
  a(bound, x.multipleOf16);
  const bool known = bound >= ExtentClass::One && bound <= ExtentClass::Any;
  a.require(known);
  x.bound = known ? static_cast<ExtentClass::Bound>(bound) : ExtentClass::Any;
}
template <typename A> static void transfer(A &a, ClassPredicate &x) { a(x.dim, x.extent); }
template <typename A> static void transfer(A &a, Artifact &x) {
  a(x.name, x.target, x.form, x.schedule, x.staticDims, x.requiredFeatures, x.scalars, x.tensors);
  a(x.tensorMaps, x.arguments, x.blockBytes, x.workspaceBytes, x.launches, x.predicates,
    x.constraints);
  a(x.valueRules, x.image, x.resources, x.sources, x.provenance, x.notes);
}

namespace {

constexpr std::string_view kMagic = "HDLA";
constexpr uint32_t kVersion = 4;
constexpr size_t kHeaderBytes = 4 + 4 + 32;
constexpr int64_t kMaxBlockBytes = 4096; ///< what CUDA takes as one kernel parameter
constexpr size_t kMaxSteps = 1024;

// --- validation ----------------------------------------------------------------------------------

Error invalid(std::string what) {
  return {ErrorCode::Internal,
          fmt::format("found an artifact with {}; the compiler that wrote it has a bug, or the "
                      "bytes are not its own",
                      what)};
}

bool within(int64_t index, size_t size) { return index >= 0 && index < static_cast<int64_t>(size); }

/// The steps leave one value, never run dry or over the stack, and read no float parameter.
bool isWellFormed(const Formula &formula, const std::vector<ScalarInfo> &scalars) {
  int depth = 0;
  for (const Formula::Step &step : formula.steps) {
    if (step.op > Formula::Max)
      return false;
    if (step.op == Formula::Scalar && (!within(step.value, scalars.size()) ||
                                       scalars[step.value].kind == ScalarInfo::FloatParameter))
      return false;
    const bool leaf = step.op == Formula::Constant || step.op == Formula::Scalar;
    if (!leaf && depth < 2)
      return false;
    depth += leaf ? 1 : -1;
    if (depth > Formula::kMaxDepth)
      return false;
  }
  return depth == 1 && formula.steps.size() <= kMaxSteps;
}

Status checkFormulas(const Artifact &artifact) {
  const auto check = [&](const Formula &formula, std::string_view what) -> Status {
    if (isWellFormed(formula, artifact.scalars))
      return {};
    return invalid(fmt::format("a malformed formula for {}", what));
  };
  for (const Launch &launch : artifact.launches) {
    for (const Formula &extent : launch.grid)
      HEDDLE_CHECK(check(extent, "the grid of " + launch.entry));
    HEDDLE_CHECK(check(launch.sharedBytes, "the shared bytes of " + launch.entry));
    HEDDLE_CHECK(check(launch.repeat, "the repetitions of " + launch.entry));
  }
  for (const Formula &bytes : artifact.workspaceBytes)
    HEDDLE_CHECK(check(bytes, "the workspace"));
  for (const Constraint &constraint : artifact.constraints) {
    if (constraint.kind > Constraint::AtMost)
      return invalid("a constraint of unknown kind");
    HEDDLE_CHECK(check(constraint.left, constraint.text));
    HEDDLE_CHECK(check(constraint.right, constraint.text));
  }
  return {};
}

Status checkTensors(const Artifact &artifact) {
  bool results = false;
  for (const TensorInfo &tensor : artifact.tensors) {
    if (!isValid(tensor.dtype))
      return invalid(fmt::format("an unknown element type for {}", tensor.name));
    if (tensor.shape.empty() || tensor.shape.size() > kMaxRank)
      return invalid(fmt::format("{} dimensions for {} (1 to {} are possible)", tensor.shape.size(),
                                 tensor.name, kMaxRank));
    if (results && !tensor.isResult)
      return invalid(fmt::format("the input {} after a result", tensor.name));
    results = tensor.isResult;
  }
  return {};
}

/// The limits of the driver's manual, "Tensor Map Object Management".
Status checkTensorMap(const Artifact &artifact, const TensorMapInfo &map) {
  const auto refuse = [](std::string_view what) {
    return invalid(fmt::format("a tensor map whose {} out of range", what));
  };
  if (!within(map.tensor, artifact.tensors.size()))
    return refuse("tensor is");
  const TensorInfo &tensor = artifact.tensors[map.tensor];
  const int64_t bytes = sizeOf(tensor.dtype);
  if (map.dims.empty() || map.dims.size() > TensorMapInfo::kMaxDims)
    return refuse("rank is");
  const int64_t swizzle = map.swizzleBytes;
  if (swizzle != 0 && swizzle != 32 && swizzle != 64 && swizzle != 128)
    return refuse("swizzle is");
  constexpr int64_t kMostExtent = int64_t(1) << 32, kMostStride = int64_t(1) << 40, kMostBox = 256;
  for (const TensorMapInfo::Dim &dim : map.dims)
    if (dim.box < 1 || dim.box > kMostBox || dim.extent < 1 || dim.extent > kMostExtent ||
        dim.stride < 1 || dim.stride >= kMostStride / bytes || dim.dim < -1 ||
        dim.dim >= static_cast<int64_t>(tensor.shape.size()))
      return refuse("dimensions are");
  const int64_t row = map.dims[0].box * bytes;
  if (row % 16 != 0 || (swizzle != 0 && row > swizzle))
    return refuse("rows are");
  return {};
}

Status checkArgument(const Artifact &artifact, const Argument &argument) {
  const bool map = argument.kind == Argument::TensorMap;
  const int64_t bytes = map ? 128 : 8, alignment = map ? 64 : 8;
  if (argument.offset < 0 || argument.offset % alignment != 0 ||
      argument.offset > artifact.blockBytes - bytes)
    return invalid(fmt::format("an argument at byte {} of a block of {}", argument.offset,
                               artifact.blockBytes));
  const auto inside = [&](size_t size) { return within(argument.index, size); };
  switch (argument.kind) {
  case Argument::TensorPointer:
    if (inside(artifact.tensors.size()))
      return {};
    break;
  case Argument::TensorStride:
    if (inside(artifact.tensors.size()) &&
        within(argument.dim, artifact.tensors[argument.index].shape.size()))
      return {};
    break;
  case Argument::ScalarValue:
    if (inside(artifact.scalars.size()))
      return {};
    break;
  case Argument::WorkspacePointer:
    if (inside(artifact.workspaceBytes.size()))
      return {};
    break;
  case Argument::RepeatIndex:
    return {};
  case Argument::TensorMap:
    if (inside(artifact.tensorMaps.size()))
      return {};
    break;
  }
  return invalid(fmt::format("an argument of kind {} with index {} out of range",
                             static_cast<int>(argument.kind), argument.index));
}

/// Tensors and dimensions that the rule names exist.
bool isInside(const ValueRule &rule, const std::vector<TensorInfo> &tensors) {
  const auto has = [&](int32_t tensor, int64_t dim) {
    return within(tensor, tensors.size()) && within(dim, tensors[tensor].shape.size());
  };
  const bool limited = rule.limitOf >= 0;
  bool inside = rule.kind <= ValueRule::Segments && has(rule.tensor, 0) && rule.limitDivisor > 0 &&
                (!limited || has(rule.limitOf, rule.limitDim));
  if (rule.kind == ValueRule::Segments)
    inside = inside && limited && has(rule.lengths, rule.slotDim);
  if (rule.kind == ValueRule::Pages) {
    inside = inside && limited && has(rule.limitOf, rule.slotDim) && has(rule.lengths, 0);
    inside = inside && (rule.starts < 0 ? has(rule.tensor, 1) : has(rule.starts, 0));
  }
  return inside;
}

} // namespace

Status Artifact::validate() const {
  if (blockBytes < 0 || blockBytes > kMaxBlockBytes)
    return invalid(
        fmt::format("a parameter block of {} bytes (at most {})", blockBytes, kMaxBlockBytes));
  if (launches.empty() || launches.size() > kMaxLaunches)
    return invalid(
        fmt::format("{} launches (1 to {} are possible)", launches.size(), kMaxLaunches));
  if (workspaceBytes.size() > kMaxBuffers)
    return invalid(
        fmt::format("{} workspace buffers (at most {})", workspaceBytes.size(), kMaxBuffers));
  for (const ScalarInfo &scalar : scalars)
    if (scalar.kind > ScalarInfo::FloatParameter)
      return invalid(fmt::format("an unknown kind for the scalar {}", scalar.name));
  HEDDLE_CHECK(checkTensors(*this));
  for (const ValueRule &rule : valueRules)
    if (!isInside(rule, tensors))
      return invalid("a rule on values of a tensor that is not there");
  for (const TensorMapInfo &map : tensorMaps)
    HEDDLE_CHECK(checkTensorMap(*this, map));
  for (const Argument &argument : arguments)
    HEDDLE_CHECK(checkArgument(*this, argument));
  return checkFormulas(*this);
}

Status checkCondition(const Constraint &condition, std::span<const int64_t> scalars,
                      std::string_view pattern) {
  const Result<int64_t> left = condition.left.evaluate(scalars);
  const Result<int64_t> right = condition.right.evaluate(scalars);
  const bool holds = left.ok() && right.ok() &&
                     (condition.kind == Constraint::Equal ? *left == *right : *left <= *right);
  if (holds)
    return {};
  return Error{ErrorCode::InvalidArgument,
               fmt::format("found extents or constants that break {}, which pattern {} asks for",
                           condition.text, pattern)};
}

// --- bytes ---------------------------------------------------------------------------------------

std::string Artifact::serialize() const {
  ByteWriter body;
  body(*this);
  const std::string bytes = body.take();
  std::string text(kMagic);
  text.append(reinterpret_cast<const char *>(&kVersion), sizeof(kVersion));
  return text + sha256(bytes) + bytes;
}

Result<Artifact> Artifact::parse(std::string_view bytes) {
  const auto corrupt = [](std::string what) {
    return Error{ErrorCode::CorruptData,
                 fmt::format("found {}, expected a heddle artifact of version {}; compile it again",
                             what, kVersion)};
  };
  if (bytes.size() < kHeaderBytes || !bytes.starts_with(kMagic))
    return corrupt("bytes that are no artifact");
  uint32_t version = 0;
  std::memcpy(&version, bytes.data() + kMagic.size(), sizeof(version));
  if (version != kVersion)
    return corrupt(fmt::format("an artifact of version {}", version));
  if (sha256(bytes.substr(kHeaderBytes)) != bytes.substr(8, 32))
    return corrupt("an artifact that is cut short or changed");
  Artifact artifact;
  ByteReader reader(bytes.substr(kHeaderBytes));
  reader(artifact);
  if (!reader.atEnd())
    return corrupt("an artifact whose fields do not add up");
  Status valid = artifact.validate();
  if (!valid.ok())
    return Error{ErrorCode::CorruptData, valid.error().message};
  return artifact;
}

} // namespace heddle
