// Binds a pattern's names to tensors and numbers, and says what does not fit.
// Example: q [2, 7, 8, 64] and k [2, 9, 2, 32] for seq<Tq x Hq x D>, seq<Tk x Hk x D> is refused:
// "k: dim D is 32, but q has D = 64".
#include "compiler/interpreter/Environment.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace heddle::compiler {

using pattern::ArrayType;
using pattern::ExprAttr;
using pattern::ExprKind;

namespace {

std::string shapeText(const TensorView &view) {
  std::string text = "[";
  for (int d = 0; d < view.rank; ++d)
    text += fmt::format("{}{}", d ? ", " : "", view.shape[d]);
  return text + "]";
}

} // namespace

Result<Environment> Environment::make(pattern::DefOp def, const Bindings &bindings) {
  Environment environment;
  HEDDLE_CHECK(environment.bindTensors(def, bindings));
  HEDDLE_CHECK(environment.bindScalars(def, bindings));
  HEDDLE_CHECK(environment.checkExtents(def, bindings));
  HEDDLE_CHECK(environment.checkConditions(def));
  return environment;
}

Status Environment::bindDim(const std::string &tensor, const std::string &dim, int64_t found) {
  auto [entry, isNew] = dims.try_emplace(dim, found);
  if (isNew) {
    fixedBy[dim] = tensor;
    return {};
  }
  if (entry->second == found)
    return {};
  return invalid(fmt::format("{}: dim {} is {}, but {} has {} = {}", tensor, dim, found,
                             fixedBy[dim], dim, entry->second));
}

/// Takes the extents that a tensor states by a bare name, checks ranks, and keeps the views.
Status Environment::bindTensors(pattern::DefOp def, const Bindings &bindings) {
  for (const auto &[dim, extent] : bindings.dims) {
    if (extent < 0)
      return invalid(fmt::format("dim {} is {}, expected 0 or more", dim, extent));
    HEDDLE_CHECK(bindDim("the caller", dim, extent));
  }
  for (const auto &[name, view] : bindings.tensors)
    if (def.argumentIndex(name) < 0)
      return invalid(
          fmt::format("{}: pattern {} has no such tensor", name, def.getSymName().str()));
  for (size_t n = 0; n < def.numArguments(); ++n) {
    std::string name = def.argumentName(n).str();
    ArrayType type = def.argumentType(n);
    auto found = bindings.tensors.find(name);
    if (found == bindings.tensors.end())
      return invalid(fmt::format("{}: the tensor is missing, expected {}", name, type.str()));
    const TensorView &view = found->second;
    int lead = type.getBatched() ? 1 : 0;
    int rank = static_cast<int>(type.rank()) + lead;
    if (view.rank != rank)
      return invalid(fmt::format("{}: found rank {}, shape {}; expected rank {} for {}{}", name,
                                 view.rank, shapeText(view), rank, type.str(),
                                 lead ? " with the batch first" : ""));
    for (int d = 0; d < rank; ++d)
      if (view.shape[d] < 0)
        return invalid(fmt::format("{}: extent {} of dim {} is negative", name, view.shape[d], d));
    if (lead)
      HEDDLE_CHECK(bindDim(name, "B", view.shape[0]));
    for (int d = lead; d < rank; ++d)
      if (type.dim(d - lead).is(ExprKind::Dim))
        HEDDLE_CHECK(bindDim(name, nameOf(type.dim(d - lead)).str(), view.shape[d]));
    define(def.argument(name), Value::borrow(view));
  }
  dims.try_emplace("B", 1);
  if (dims.count("Hq") && dims.count("Hk")) {
    int64_t queries = dims["Hq"], keys = dims["Hk"];
    if (keys == 0 || queries % keys != 0)
      return invalid(fmt::format("Hq = {} is not a multiple of Hk = {}", queries, keys));
    dims["G"] = queries / keys;
  }
  return {};
}

Status Environment::bindScalars(pattern::DefOp def, const Bindings &bindings) {
  scalars["pi"] = std::numbers::pi;
  for (const auto &[name, extent] : dims)
    scalars[name] = static_cast<double>(extent);
  for (const auto &[name, value] : bindings.params)
    if (!def.param(name))
      return invalid(
          fmt::format("{}: pattern {} has no such parameter", name, def.getSymName().str()));
  for (mlir::Attribute attribute : def.getParams()) {
    auto param = mlir::cast<pattern::ParamAttr>(attribute);
    std::string name = param.getName().str();
    auto given = bindings.params.find(name);
    if (given == bindings.params.end() && param.required())
      return invalid(fmt::format("parameter {} has no default: give its value", name));
    double value = given == bindings.params.end() ? param.number() : given->second;
    if (!std::isfinite(value))
      return invalid(fmt::format("parameter {} is {}, expected a finite number", name, value));
    if (param.getInteger() && value != std::floor(value))
      return invalid(fmt::format("parameter {} is {}, expected an integer", name, value));
    scalars[name] = value;
  }
  for (mlir::Attribute attribute : def.getLets()) {
    auto let = mlir::cast<pattern::LetAttr>(attribute);
    HEDDLE_TRY(value, number(let.getExpr()));
    scalars[let.getName().str()] = value;
  }
  return {};
}

/// Checks extents that are integers or expressions, now that names have values.
Status Environment::checkExtents(pattern::DefOp def, const Bindings &bindings) {
  for (size_t n = 0; n < def.numArguments(); ++n) {
    std::string name = def.argumentName(n).str();
    ArrayType type = def.argumentType(n);
    const TensorView &view = bindings.tensors.at(name);
    int lead = type.getBatched() ? 1 : 0;
    for (int d = lead; d < view.rank; ++d) {
      ExprAttr dim = type.dim(d - lead);
      HEDDLE_TRY(expected, extent(dim));
      if (expected != view.shape[d])
        return invalid(
            fmt::format("{}: dim {} is {}, expected {}", name, dim.str(), view.shape[d], expected));
    }
  }
  return {};
}

Status Environment::checkConditions(pattern::DefOp def) {
  for (mlir::Attribute attribute : def.getConditions()) {
    auto condition = mlir::cast<ExprAttr>(attribute);
    HEDDLE_TRY(holds, number(condition));
    if (holds == 0)
      return invalid(fmt::format("pattern {} requires {}, which these dims and constants break",
                                 def.getSymName().str(), condition.str()));
  }
  return {};
}

Result<double> Environment::number(ExprAttr expr) const {
  ExprScope scope;
  scope.scalars = scalars;
  HEDDLE_TRY(program, ExprProgram::compile(expr, scope));
  return program.scalar();
}

Result<int64_t> Environment::extent(ExprAttr expr) const {
  HEDDLE_TRY(value, number(expr));
  if (!(value >= 0 && value < 0x1p53) || value != std::floor(value))
    return invalid(
        fmt::format("extent {} is {}, expected an integer of 0 or more", expr.str(), value));
  return static_cast<int64_t>(value);
}

Result<std::vector<int64_t>> Environment::shapeOf(ArrayType type) const {
  std::vector<int64_t> shape;
  if (type.getBatched())
    shape.push_back(batch());
  for (size_t d = 0; d < type.rank(); ++d) {
    HEDDLE_TRY(size, extent(type.dim(d)));
    shape.push_back(size);
  }
  return shape;
}

std::vector<std::string> Environment::dimNames(ArrayType type) {
  std::vector<std::string> names;
  if (type.getBatched())
    names.push_back("B");
  for (size_t d = 0; d < type.rank(); ++d)
    names.push_back(type.dim(d).str());
  return names;
}

ExprScope Environment::scope(mlir::ValueRange reads, mlir::ArrayAttr names) const {
  ExprScope scope;
  scope.scalars = scalars;
  for (auto [read, name] : llvm::zip_equal(reads, names))
    scope.tensors[mlir::cast<mlir::StringAttr>(name).str()] = {
        value(read), pattern::arrayType(read).getBatched()};
  return scope;
}

} // namespace heddle::compiler
