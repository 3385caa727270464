// Scalars and tensors of a pattern: parameters, constants and lets by name, arguments and results
// with their element types and extents, workspace of stages.
#include "compiler/ElementTypes.h"
#include "compiler/forms/GraphReader.h"
#include "compiler/forms/Program.h"

#include <cmath>

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

Expr GraphReader::numberExpr(double value, bool integer) {
  return integer ? makeInteger(context, int64_t(value)) : pattern::makeFloat(context, value);
}

Status GraphReader::readScalars() {
  using pattern::ExprType;
  for (auto [name, extent] : request.request.dims)
    graph.statics[name] = makeInteger(context, extent);
  for (Attribute attribute : def.getParams()) {
    auto param = cast<pattern::ParamAttr>(attribute);
    std::string name = param.getName().str();
    if (!param.getConstant()) {
      graph.params.push_back({name, param.getInteger(), param.required() ? 0.0 : param.number()});
      graph.scope.names[name] = param.getInteger() ? ExprType::Integer : ExprType::Real;
      continue;
    }
    auto given = request.request.constants.find(name);
    if (given == request.request.constants.end() && param.required())
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("constant {} has no value and no default, give one", name)};
    double value = given == request.request.constants.end() ? param.number() : given->second;
    if (!std::isfinite(value))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("constant {} is {}, expected a finite number", name, value)};
    graph.statics[name] = numberExpr(value, param.getInteger());
  }
  for (Attribute attribute : def.getLets()) {
    auto let = cast<pattern::LetAttr>(attribute);
    graph.statics[let.getName()] = graph.specialise(let.getExpr());
  }
  for (const char *name : {"i", "j", "row", "b", "h", "hk", "hq", "hv", "d"})
    graph.scope.names[name] = ExprType::Integer;
  graph.scope.names["s"] = ExprType::Real;
  return {};
}

/// An extent of an argument or a result: its dims become known.
Result<Extent> GraphReader::declaredExtent(Expr dim) {
  Extent extent = graph.extentOf(dim);
  if (extent.formula)
    return unsupported("extent {} of an argument or result changes with what is given at run "
                       "time, expected a name or a number: let the request fix its dims",
                       extent.formula.str());
  if (!extent.fixed && !llvm::is_contained(graph.extents, extent.name)) {
    graph.extents.push_back(extent.name);
    graph.scope.names[extent.name] = pattern::ExprType::Integer;
  }
  return extent;
}

// ---- tensors ----

Type GraphReader::requested(llvm::StringRef name) {
  const auto &dtypes = request.request.dtypes;
  auto found = dtypes.contains(name.str()) ? dtypes.find(name.str()) : dtypes.find("*");
  return elementOf(context, found == dtypes.end() ? DType::F32 : found->second);
}

Result<ProblemTensor> GraphReader::declared(llvm::StringRef name, pattern::ArrayType type) {
  ProblemTensor tensor;
  tensor.name = name.str();
  tensor.batched = type.getBatched();
  tensor.element = type.getElement() ? type.getElement() : requested(name);
  if (tensor.batched) {
    HEDDLE_TRY(batch, declaredExtent(pattern::makeDim(context, "B")));
    tensor.shape.push_back(batch);
  }
  for (size_t n = 0; n < type.rank(); ++n) {
    HEDDLE_TRY(extent, declaredExtent(type.dim(n)));
    tensor.shape.push_back(extent);
  }
  return tensor;
}

Status GraphReader::readSignature() {
  for (size_t n = 0; n < def.numArguments(); ++n) {
    HEDDLE_TRY(tensor, declared(def.argumentName(n), def.argumentType(n)));
    graph.add(std::move(tensor));
  }
  for (Value value : def.returned().getResults()) {
    if (!value.getDefiningOp())
      return unsupported("the pattern returns its argument {}", pattern::valueName(value).str());
    HEDDLE_TRY(tensor, declared(pattern::valueName(value), pattern::arrayType(value)));
    tensor.isResult = true;
    graph.add(std::move(tensor));
  }
  return {};
}

Status GraphReader::addBuffer(std::string name, bool batched, std::vector<Extent> shape,
                              Type element) {
  ProblemTensor tensor{std::move(name), element, batched, false, true, {}};
  if (batched)
    tensor.shape.push_back({std::nullopt, "B", {}});
  if (batched)
    if (auto fixed = graph.statics.find("B"); fixed != graph.statics.end())
      tensor.shape[0] = graph.extentOf(fixed->second);
  tensor.shape.insert(tensor.shape.end(), shape.begin(), shape.end());
  for (const Extent &extent : tensor.shape)
    if (std::string reason = refuseExtent(graph, extent); !reason.empty())
      return unsupported("{}", reason);
  graph.add(std::move(tensor));
  return {};
}

/// The tensor of a value of the pattern: a result, or workspace made for it.
Status GraphReader::ensureTensor(Value value, Type element) {
  std::string name = pattern::valueName(value).str();
  if (graph.find(name))
    return {};
  pattern::ArrayType type = pattern::arrayType(value);
  std::vector<Extent> shape;
  for (size_t n = 0; n < type.rank(); ++n)
    shape.push_back(graph.extentOf(type.dim(n)));
  return addBuffer(name, type.getBatched(), shape, element);
}

std::string GraphReader::freshName(std::string name) {
  while (graph.find(name))
    name += "_";
  return name;
}

Status GraphReader::fixed(const char *what, const Extent &extent, int64_t &value) {
  if (!extent.fixed)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("{} {} is not fixed by the request, give it as a static dim", what,
                             graph.lengthExpr(extent).str())};
  value = *extent.fixed;
  return {};
}

} // namespace heddle::compiler
