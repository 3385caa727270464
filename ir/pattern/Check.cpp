// Checks that every op's verifier makes, on IR that may not have come from our parser.
#include "ir/pattern/Check.h"

#include "ir/pattern/OpText.h"

#include "llvm/ADT/StringExtras.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace heddle::pattern {

TypeScope scopeOfOp(DefOp def, ValueRange reads, ArrayAttr readNames, ArrayRef<ContextName> names) {
  TypeScope scope;
  for (const std::string &dim : def.dimNames())
    scope.names[dim] = ExprType::Integer;
  scope.names["B"] = ExprType::Integer;
  if (scope.names.contains("Hq") && scope.names.contains("Hk"))
    scope.names["G"] = ExprType::Integer;
  for (auto param : def.getParams().getAsRange<ParamAttr>())
    scope.names[param.getName().getValue()] =
        param.getInteger() ? ExprType::Integer : ExprType::Real;
  for (auto let : def.getLets().getAsRange<LetAttr>())
    if (TypeResult type = typeOf(let.getExpr(), scope); type.type)
      scope.names[let.getName().getValue()] = *type.type;
  for (const ContextName &name : names)
    scope.names[name.name] = name.type;
  for (size_t n = 0; n < reads.size() && n < readNames.size(); ++n) {
    ArrayType type = arrayType(reads[n]);
    scope.tensors[stringAt(readNames, n)] = {int64_t(type.rank()), type.getBatched(),
                                             type.holdsIntegers()};
  }
  return scope;
}

ExprAttr canonicalExtent(DefOp def, ExprAttr extent) {
  return canonicalExtent(SmallVector<LetAttr>(def.getLets().getAsRange<LetAttr>()), extent);
}

ExprAttr canonicalExtent(ArrayRef<LetAttr> lets, ExprAttr extent) {
  // A let may use those before it: replace them from the last to the first.
  for (LetAttr let : llvm::reverse(lets)) {
    llvm::StringMap<ExprAttr> map;
    map[let.getName().getValue()] = let.getExpr();
    extent = substitute(extent, map);
  }
  return simplify(extent);
}

LogicalResult checkExpr(Operation *op, const TypeScope &scope, ExprAttr expr, ExprType type,
                        const Twine &what) {
  if (depthOf(expr) > kMaxDepth)
    return op->emitError() << what << " is nested deeper than " << kMaxDepth << " levels";
  TypeResult found = typeOf(expr, scope);
  if (!found.type)
    return op->emitError() << what << ": " << found.mistake;
  if (*found.type == type || (type == ExprType::Real && *found.type == ExprType::Integer))
    return success();
  return op->emitError() << what << " is " << toString(*found.type) << ", expected "
                         << toString(type);
}

LogicalResult checkNames(Operation *op, ArrayAttr names, size_t results) {
  if (names.size() != results)
    return op->emitError() << names.size() << " names for " << results << " results";
  for (size_t n = 0; n < names.size(); ++n) {
    StringRef name = stringAt(names, n);
    if (name.empty() || !(llvm::isAlpha(name[0]) || name[0] == '_') ||
        !llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_'; }) ||
        isReductionWord(name))
      return op->emitError() << "'" << name << "' cannot name a value: letters, digits and _ can, "
                             << "but no reduction's word";
  }
  return success();
}

} // namespace heddle::pattern
