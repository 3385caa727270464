// Reads names, types and scalars off a pattern.def.
//   %k: seq<Tk x Hk x D>  ->  tensor k [B, Tk, Hk, D]; D static, Tk and Hk run-time
#include "compiler/PluginSignature.h"

#include "compiler/ElementTypes.h"
#include "compiler/ValueRules.h"
#include "ir/pattern/Expr.h"
#include "ir/pattern/ExprUtils.h"

#include "mlir/IR/BuiltinTypes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace heddle::compiler {
namespace {

using pattern::ArrayType;
using pattern::ExprAttr;
using pattern::ExprKind;

/// Collects the signature of one pattern.
class SignatureReader {
public:
  explicit SignatureReader(pattern::DefOp def) : def(def) {}

  Result<Signature> read() {
    signature.name = def.getSymName().str();
    readParameters();
    for (size_t n = 0; n < def.numArguments(); ++n)
      HEDDLE_CHECK(addTensor(def.argumentName(n).str(), def.argumentType(n), false));
    for (mlir::Value value : def.returned().getResults())
      HEDDLE_CHECK(
          addTensor(pattern::valueName(value).str(), mlir::cast<ArrayType>(value.getType()), true));
    sortDims();
    signature.valueRules = valueRulesOf(def);
    return signature;
  }

private:
  void readParameters() {
    for (mlir::Attribute attribute : def.getParams()) {
      auto param = mlir::cast<pattern::ParamAttr>(attribute);
      Signature::Parameter parameter;
      parameter.name = param.getName().str();
      parameter.isInteger = param.getInteger();
      parameter.isConstant = param.getConstant();
      parameter.required = param.required();
      parameter.defaultValue = param.required() ? 0 : param.number();
      signature.parameters.push_back(std::move(parameter));
    }
  }

  Status addTensor(std::string name, ArrayType type, bool isResult) {
    Signature::Tensor tensor;
    tensor.name = std::move(name);
    tensor.isResult = isResult;
    if (mlir::Type element = type.getElement()) {
      std::optional<DType> dtype = dtypeOf(element);
      if (!dtype)
        return Error{ErrorCode::Unsupported,
                     fmt::format("{} has elements that no tensor of heddle has", tensor.name)};
      tensor.fixedDtype = true;
      tensor.dtype = *dtype;
    }
    if (type.getBatched())
      tensor.shape.push_back("B");
    for (size_t d = 0; d < type.rank(); ++d) {
      HEDDLE_TRY(text, dimText(type.dim(d)));
      if (type.dim(d).is(ExprKind::Dim))
        (d > 0 ? inner : outer).insert(text);
      sharedHead |= type.getBatched() && d == 1 && text == "1";
      tensor.shape.push_back(text);
    }
    signature.tensors.push_back(std::move(tensor));
    return {};
  }

  /// The name, the number, or the text of an expression that is then listed among the derived.
  Result<std::string> dimText(ExprAttr dim) {
    if (dim.is(ExprKind::Dim))
      return dim.getName().str();
    if (dim.is(ExprKind::Integer))
      return std::to_string(dim.integer());
    std::string text = dim.str();
    if (!signature.derived.count(text)) {
      HEDDLE_TRY(formula, formulaOf(dim));
      signature.derived[text] = std::move(formula);
    }
    return text;
  }

  Formula name(llvm::StringRef text) {
    std::vector<std::string> &names = signature.derivedNames;
    auto place = std::find(names.begin(), names.end(), text.str());
    int64_t index = place - names.begin();
    if (place == names.end())
      names.push_back(text.str());
    return Formula::scalar(index);
  }

  Result<Formula> binary(ExprAttr expr, Formula::Op op) {
    HEDDLE_TRY(left, formulaOf(expr[0]));
    HEDDLE_TRY(right, formulaOf(expr[1]));
    return left.combine(op, right);
  }

  static bool isSmall(ExprAttr expr) {
    ExprAttr known = pattern::simplify(expr);
    return known.is(ExprKind::Integer) && known.integer() >= 0 && known.integer() <= 4;
  }

  /// n (n - 1) .. (n - k + 1) / k!
  Result<Formula> choices(ExprAttr n, int64_t k) {
    HEDDLE_TRY(count, formulaOf(n));
    Formula product = Formula::constant(1);
    int64_t factorial = 1;
    for (int64_t x = 0; x < k; ++x) {
      product = product.combine(Formula::Mul, count.combine(Formula::Sub, Formula::constant(x)));
      factorial *= x + 1;
    }
    return product.combine(Formula::FloorDiv, Formula::constant(factorial));
  }

  Result<Formula> formulaOf(ExprAttr expr) {
    switch (expr.getKind()) {
    case ExprKind::Integer:
      return Formula::constant(expr.integer());
    case ExprKind::Dim:
      if (expr.getName() == "G")
        return name("Hq").combine(Formula::FloorDiv, name("Hk"));
      return name(expr.getName());
    case ExprKind::Param:
    case ExprKind::Var:
      if (pattern::LetAttr let = def.let(expr.getName()))
        return formulaOf(let.getExpr());
      return name(expr.getName());
    case ExprKind::Add:
      return binary(expr, Formula::Add);
    case ExprKind::Sub:
      return binary(expr, Formula::Sub);
    case ExprKind::Mul:
      return binary(expr, Formula::Mul);
    case ExprKind::FloorDiv:
      return binary(expr, Formula::FloorDiv);
    case ExprKind::Call:
      if (expr.size() == 2 && expr.getName() == "cdiv")
        return binary(expr, Formula::CeilDiv);
      if (expr.size() == 2 && expr.getName() == "min")
        return binary(expr, Formula::Min);
      if (expr.size() == 2 && expr.getName() == "max")
        return binary(expr, Formula::Max);
      if (expr.getName() == "binom" && isSmall(expr[1]))
        return choices(expr[0], pattern::simplify(expr[1]).integer());
      break;
    default:
      break;
    }
    return Error{ErrorCode::Unsupported,
                 fmt::format("the extent '{}' uses more than + - * div cdiv min max", expr.str())};
  }

  void sortDims() {
    const auto runTime = [&](const std::string &dim) {
      return dim == "B" || dim[0] == 'T' || dim[0] == 'H' || !inner.count(dim);
    };
    bool groups = false;
    inner.erase("B");
    outer.insert(inner.begin(), inner.end());
    for (const std::string &dim : outer) {
      if (!runTime(dim))
        signature.staticDims.push_back(dim);
      else if (dim[0] == 'T')
        signature.classDims.push_back(dim);
      groups |= dim == "Hk";
    }
    if (!outer.count("Hq"))
      return;
    if (groups)
      signature.staticDims.push_back("G");
    else if (sharedHead) // all heads are one group
      signature.staticDims.push_back("Hq");
  }

  pattern::DefOp def;
  Signature signature;
  std::set<std::string> inner, outer; ///< dims seen at another than the first place, and at it
  bool sharedHead = false;            ///< a sequence has one head, as keys that all queries share
};

} // namespace

Result<Signature> signatureOf(pattern::DefOp def) { return SignatureReader(def).read(); }

} // namespace heddle::compiler
