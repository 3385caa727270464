// Registration of the dialect, and the small readers of its attributes.
#include "ir/pattern/PatternDialect.h"

#include "ir/pattern/ExprUtils.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;

#include "ir/pattern/PatternDialect.cpp.inc"
#include "ir/pattern/PatternEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/pattern/PatternAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "ir/pattern/PatternTypes.cpp.inc"

#define GET_OP_CLASSES
#include "ir/pattern/PatternOps.cpp.inc"

namespace heddle::pattern {

void PatternDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/pattern/PatternAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "ir/pattern/PatternTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/pattern/PatternOps.cpp.inc"
      >();
}

ExprAttr FeatureAttr::expr(StringRef argument) const {
  return getArguments().getAs<ExprAttr>(argument);
}

StringRef FeatureAttr::word(StringRef argument) const {
  StringAttr word = getArguments().getAs<StringAttr>(argument);
  return word ? word.getValue() : StringRef();
}

double ParamAttr::number() const {
  if (auto integer = dyn_cast<IntegerAttr>(getInitial()))
    return double(integer.getInt());
  return cast<FloatAttr>(getInitial()).getValueAsDouble();
}

StringRef valueName(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto def = dyn_cast_or_null<DefOp>(argument.getOwner()->getParentOp());
    return def ? def.argumentName(argument.getArgNumber()) : StringRef();
  }
  auto names = value.getDefiningOp()->getAttrOfType<ArrayAttr>("names");
  size_t number = cast<OpResult>(value).getResultNumber();
  if (!names || number >= names.size() || !isa<StringAttr>(names[number]))
    return {};
  return cast<StringAttr>(names[number]).getValue();
}

} // namespace heddle::pattern
