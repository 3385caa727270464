// Reads names, types and scalars off a pattern.def.
//   %k: seq<Tk x Hk x D>  ->  tensor k [B, Tk, Hk, D]; D static, Tk and Hk run-time
#include "compiler/PluginSignature.h"

#include "compiler/Conditions.h"
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
    signature.conditions = conditionsOf(def, [&](const std::string &name) { return named(name); });
    linkStates();
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
    pattern::walk(dim, [&](ExprAttr part) {
      if (part.is(ExprKind::Dim) && part.getName().starts_with("H"))
        counted.insert(part.getName().str());
      return true;
    });
    std::string text = dim.str();
    if (!signature.derived.count(text)) {
      HEDDLE_TRY(formula,
                 formulaOf(def, dim, [&](const std::string &name) { return named(name); }));
      signature.derived[text] = std::move(formula);
    }
    return text;
  }

  /// A scalar of formulas; those of dims come from their tensors, G from Hq and Hk.
  Result<Formula> named(const std::string &text) {
    if (text == "G")
      return scalar("Hq").combine(Formula::FloorDiv, scalar("Hk"));
    return scalar(text);
  }

  Formula scalar(const std::string &text) {
    std::vector<std::string> &names = signature.derivedNames;
    auto place = std::find(names.begin(), names.end(), text);
    int64_t index = place - names.begin();
    if (place == names.end())
      names.push_back(text);
    return Formula::scalar(index);
  }

  /// The state that a run takes is that which the run before gave.
  void linkStates() {
    for (auto mix : def.getBody().front().getOps<pattern::MixOp>())
      for (mlir::Attribute role : mix.getRoles()) {
        llvm::StringRef name = mlir::cast<mlir::StringAttr>(role).getValue();
        if (!name.consume_front("in_"))
          continue;
        auto start = mlir::dyn_cast<mlir::BlockArgument>(mix.input(("in_" + name).str()));
        mlir::Value end = mix.output(name);
        auto results = def.returned().getResults();
        auto place = llvm::find(results, end);
        if (start && end && place != results.end())
          signature.tensors[start.getArgNumber()].next =
              static_cast<int32_t>(def.numArguments() + (place - results.begin()));
      }
  }

  void sortDims() {
    const auto runTime = [&](const std::string &dim) {
      return dim == "B" || dim[0] == 'T' || (dim[0] == 'H' && !counted.count(dim)) ||
             !inner.count(dim);
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
  std::set<std::string> counted;      ///< heads that an extent counts, as H + Hr: code is for them
  bool sharedHead = false;            ///< a sequence has one head, as keys that all queries share
};

} // namespace

Result<Signature> signatureOf(pattern::DefOp def) { return SignatureReader(def).read(); }

} // namespace heddle::compiler
