// Looks names up in the artifact's argument table and emits the loads, e.g. the pointer of "k" is
// the 8 bytes at the offset of the argument (TensorPointer, index of k).
#include "compiler/targets/cpu/Arguments.h"

using namespace mlir;

namespace heddle::compiler::cpu {

Value Arguments::word(Argument::Kind kind, int32_t index, int32_t dim, Type type) {
  for (const Argument &argument : artifact.arguments)
    if (argument.kind == kind && argument.index == index && argument.dim == dim)
      return e.load(type, e.address(block, e.builder.getI8Type(), e.integer(argument.offset)));
  return {};
}

int64_t Arguments::tensorIndex(StringRef name) {
  for (auto [n, tensor] : llvm::enumerate(artifact.tensors))
    if (tensor.name == name)
      return n;
  return -1;
}

int64_t Arguments::bufferIndex(StringRef name) {
  int64_t n = 0;
  for (tile::BufferOp buffer : program.getBody().getOps<tile::BufferOp>()) {
    if (buffer.getName() == name)
      return n;
    ++n;
  }
  return -1;
}

ArrayAttr Arguments::shapeOf(StringRef name) {
  Operation *op = program.findTensor(name);
  if (auto tensor = dyn_cast_or_null<tile::TensorOp>(op))
    return tensor.getShape();
  return cast<tile::BufferOp>(op).getShape();
}

Value Arguments::pointer(StringRef name) {
  Type type = LLVM::LLVMPointerType::get(e.builder.getContext());
  if (int64_t buffer = bufferIndex(name); buffer >= 0)
    return word(Argument::WorkspacePointer, buffer, 0, type);
  return word(Argument::TensorPointer, tensorIndex(name), 0, type);
}

Value Arguments::stride(StringRef name, int64_t dim) {
  ArrayAttr shape = shapeOf(name);
  if (dim + 1 == static_cast<int64_t>(shape.size()))
    return e.integer(1);
  if (bufferIndex(name) >= 0)
    return e.times(stride(name, dim + 1), extent(name, dim + 1));
  Value stride = word(Argument::TensorStride, tensorIndex(name), dim, e.builder.getI64Type());
  if (!stride)
    return {};
  return arith::IndexCastOp::create(e.builder, e.loc, e.builder.getIndexType(), stride);
}

Value Arguments::extent(StringRef name, int64_t dim) {
  return formula(cast<tile::FormulaAttr>(shapeOf(name)[dim]));
}

Value Arguments::scalar(StringRef name, Type type) {
  for (auto [n, info] : llvm::enumerate(artifact.scalars)) {
    if (info.name != name)
      continue;
    if (info.kind != ScalarInfo::FloatParameter) {
      Value value = word(Argument::ScalarValue, n, 0, e.builder.getI64Type());
      if (!value)
        return {};
      if (type.isIndex())
        return arith::IndexCastOp::create(e.builder, e.loc, type, value);
      return arith::SIToFPOp::create(e.builder, e.loc, type, value);
    }
    Value value = word(Argument::ScalarValue, n, 0, e.builder.getF64Type());
    if (value && type.isF32())
      return arith::TruncFOp::create(e.builder, e.loc, type, value);
    return type.isF64() ? value : Value();
  }
  return {};
}

Value Arguments::formula(tile::FormulaAttr formula) {
  Values stack;
  auto pop = [&] { return stack.pop_back_val(); };
  for (const tile::FormulaStep &step : formula.getSteps()) {
    if (step.op == tile::FormulaOp::Constant) {
      stack.push_back(e.integer(step.value));
      continue;
    }
    if (step.op == tile::FormulaOp::Scalar) {
      stack.push_back(scalar(step.name.getValue(), e.builder.getIndexType()));
      if (!stack.back())
        return {};
      continue;
    }
    Value b = pop(), a = pop();
    switch (step.op) {
    case tile::FormulaOp::Add:
      stack.push_back(e.plus(a, b));
      break;
    case tile::FormulaOp::Sub:
      stack.push_back(arith::SubIOp::create(e.builder, e.loc, a, b));
      break;
    case tile::FormulaOp::Mul:
      stack.push_back(e.times(a, b));
      break;
    case tile::FormulaOp::CeilDiv:
      stack.push_back(arith::CeilDivSIOp::create(e.builder, e.loc, a, b));
      break;
    case tile::FormulaOp::FloorDiv:
      stack.push_back(arith::FloorDivSIOp::create(e.builder, e.loc, a, b));
      break;
    case tile::FormulaOp::Min:
      stack.push_back(e.minIndex(a, b));
      break;
    default:
      stack.push_back(e.maxIndex(a, b));
      break;
    }
  }
  return stack.back();
}

} // namespace heddle::compiler::cpu
