// Applies feature maps to a tile:
//
//   features k [silu, l2norm]  ->  x = silu(x);  n = sum_d x x;  x * rsqrt(n + eps)
#include "compiler/forms/ScanFeatures.h"

#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <fmt/format.h>

#include <numbers>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

static Expr argument(const PatternProblem &problem, pattern::FeatureAttr feature,
                     llvm::StringRef name) {
  for (NamedAttribute argument : feature.getArguments())
    if (argument.getName() == name)
      return problem.specialise(dyn_cast<pattern::ExprAttr>(argument.getValue()));
  return {};
}

static constexpr llvm::StringRef kElementwise[] = {"id", "silu", "relu", "elu1", "exp", "scale"};

std::string refuseFeatures(const PatternProblem &problem, ArrayAttr features) {
  for (auto feature : features.getAsRange<pattern::FeatureAttr>()) {
    llvm::StringRef name = feature.getName();
    if (!llvm::is_contained(kElementwise, name) && name != "l2norm" && name != "append")
      return fmt::format("{} is not lowered yet", name.str());
    for (const char *given : {"by", "eps", "value"}) {
      Expr expr = argument(problem, feature, given);
      if (!expr)
        continue;
      if (std::string reason = TileScope::refuse(expr, problem); !reason.empty())
        return reason;
      for (const std::string &used : pattern::freeVars(expr))
        if (used == "i" || used == "j" || used == "row")
          return fmt::format("{} of {} changes with the token", given, name.str());
    }
  }
  return "";
}

int64_t featureWidth(int64_t given, ArrayAttr features) {
  for (auto feature : features.getAsRange<pattern::FeatureAttr>())
    given += feature.getName() == "append";
  return given;
}

bool keepsZero(ArrayAttr features) {
  for (auto feature : features.getAsRange<pattern::FeatureAttr>())
    if (llvm::is_contained({"elu1", "exp", "append"}, feature.getName()))
      return false;
  return true;
}

bool appendsColumn(ArrayAttr features) {
  return llvm::any_of(features.getAsRange<pattern::FeatureAttr>(),
                      [](pattern::FeatureAttr f) { return f.getName() == "append"; });
}

bool hasCostlyFeature(ArrayAttr features) {
  return llvm::any_of(features.getAsRange<pattern::FeatureAttr>(), [](pattern::FeatureAttr f) {
    return llvm::is_contained({"elu1", "exp", "silu", "l2norm"}, f.getName());
  });
}

/// One element of an elementwise map.
static Value element(OpBuilder &b, Location at, llvm::StringRef name, Value x, Value factor) {
  auto exp = [&](Value y) {
    Value scaled = arith::MulFOp::create(b, at, y, steps::real(b, at, std::numbers::log2e));
    return Value(math::Exp2Op::create(b, at, scaled));
  };
  Value zero = steps::real(b, at, 0), one = steps::real(b, at, 1);
  if (name == "scale")
    return arith::MulFOp::create(b, at, x, factor);
  if (name == "relu")
    return arith::MaximumFOp::create(b, at, x, zero);
  if (name == "exp")
    return exp(x);
  if (name == "silu") { // a product, so that 0 plainly stays 0
    Value e = exp(arith::NegFOp::create(b, at, x));
    Value part = arith::DivFOp::create(b, at, one, arith::AddFOp::create(b, at, one, e));
    return arith::MulFOp::create(b, at, x, part);
  }
  if (name == "elu1") { // both branches are finite: exp of min(x, 0)
    Value low = exp(arith::MinimumFOp::create(b, at, x, zero));
    Value high = arith::AddFOp::create(b, at, x, one);
    Value positive = arith::CmpFOp::create(b, at, arith::CmpFPredicate::OGT, x, zero);
    return arith::SelectOp::create(b, at, positive, high, low);
  }
  return x;
}

Value mapFeatures(KernelWriter &w, TileScope &scope, const PatternProblem &problem,
                  ArrayAttr features, int64_t width, Value x) {
  auto type = cast<tile::TileType>(x.getType());
  Names all = type.getRank() == 2 ? Names{"i", "d"} : Names{"d"};
  Names outer(all.begin(), all.end() - 1);
  auto real = [&](Expr expr) {
    Value value = scope.uniformValue(expr);
    OpBuilder::InsertionGuard guard(w.builder);
    w.builder.restoreInsertionPoint(scope.start);
    return value.getType().isIndex() ? w.asReal(value) : value;
  };
  for (auto feature : features.getAsRange<pattern::FeatureAttr>()) {
    llvm::StringRef name = feature.getName();
    if (name == "id")
      continue;
    if (name == "l2norm") {
      Expr given = argument(problem, feature, "eps");
      Value eps = given ? real(given) : Value();
      Value squares = w.elementwise({x}, {all}, all, [&](OpBuilder &b, Location at, ValueRange v) {
        return arith::MulFOp::create(b, at, v[0], v[0]);
      });
      Value zero = w.fill(w.f32(type.getShape().drop_back()), 0);
      Value sum = w.reduce(tile::Reduction::Sum, squares, type.getRank() - 1, zero);
      x = w.elementwise({x, sum}, {all, outer}, all, [&](OpBuilder &b, Location at, ValueRange v) {
        Value floor = eps ? eps : steps::real(b, at, 1e-6);
        Value total = arith::AddFOp::create(b, at, v[1], floor);
        return arith::MulFOp::create(b, at, v[0], math::RsqrtOp::create(b, at, total));
      });
      continue;
    }
    if (name == "append") {
      Expr given = argument(problem, feature, "value");
      Value value = given ? real(given) : Value();
      Value columns = w.index(w.constant(0), type.getShape().back());
      int64_t here = width++;
      x = w.elementwise(
          {x, columns}, {all, Names{"d"}}, all, [&](OpBuilder &b, Location at, ValueRange v) {
            Value number = arith::ConstantOp::create(b, at, b.getI32IntegerAttr(here));
            Value same = arith::CmpIOp::create(b, at, arith::CmpIPredicate::eq, v[1], number);
            Value one = value ? value : steps::real(b, at, 1);
            return arith::SelectOp::create(b, at, same, one, v[0]);
          });
      continue;
    }
    Expr given = argument(problem, feature, "by");
    Value factor = given ? real(given) : Value();
    x = w.elementwise({x}, {all}, all, [&](OpBuilder &b, Location at, ValueRange v) {
      return element(b, at, name, v[0], factor);
    });
  }
  return x;
}

} // namespace heddle::compiler
