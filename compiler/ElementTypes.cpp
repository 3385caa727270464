// Element types of tensors, both ways.
#include "compiler/ElementTypes.h"

#include "mlir/IR/BuiltinTypes.h"

namespace heddle::compiler {

using namespace mlir;

Type elementOf(MLIRContext *context, DType type) {
  switch (type) {
  case DType::F64:
    return Float64Type::get(context);
  case DType::F32:
    return Float32Type::get(context);
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F16:
    return Float16Type::get(context);
  case DType::F8E4M3:
    return Float8E4M3FNType::get(context);
  case DType::F8E5M2:
    return Float8E5M2Type::get(context);
  case DType::I64:
    return IntegerType::get(context, 64);
  case DType::I32:
    return IntegerType::get(context, 32);
  case DType::I8:
    return IntegerType::get(context, 8);
  case DType::U8:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  }
  return Float32Type::get(context);
}

std::optional<DType> dtypeOf(Type type) {
  for (DType dtype : {DType::F64, DType::F32, DType::BF16, DType::F16, DType::F8E4M3, DType::F8E5M2,
                      DType::I64, DType::I32, DType::I8, DType::U8})
    if (type == elementOf(type.getContext(), dtype))
      return dtype;
  return std::nullopt;
}

} // namespace heddle::compiler
