// Thin wrappers over op creation, so that kernels read as arithmetic:
//   e.fma(k, q, acc)  ->  vector.fma %k, %q, %acc : vector<16xf32>
#include "compiler/targets/cpu/VectorBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

VectorBuilder::VectorBuilder(OpBuilder &builder, Location loc, const Isa &isa)
    : builder(builder), loc(loc), isa(isa),
      floats(VectorType::get({isa.lanes()}, builder.getF32Type())),
      ints(VectorType::get({isa.lanes()}, builder.getI32Type())),
      bits(VectorType::get({isa.lanes()}, builder.getI1Type())) {}

Value VectorBuilder::splat(double value) {
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(floats, static_cast<float>(value)));
}
Value VectorBuilder::splatInt(int64_t value) {
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(ints, static_cast<int32_t>(value)));
}
Value VectorBuilder::integer(int64_t value) {
  return arith::ConstantIndexOp::create(builder, loc, value);
}
Value VectorBuilder::scalar(double value) {
  return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(value));
}
Value VectorBuilder::iota() {
  SmallVector<int32_t> values(lanes());
  for (int64_t i = 0; i < lanes(); ++i)
    values[i] = i;
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(ints, ArrayRef<int32_t>(values)));
}
Value VectorBuilder::broadcast(Value scalar) {
  if (scalar.getType().isIndex())
    scalar = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), scalar);
  if (scalar.getType().isInteger(64))
    scalar = arith::TruncIOp::create(builder, loc, builder.getI32Type(), scalar);
  return vector::BroadcastOp::create(builder, loc, VectorType::get({lanes()}, scalar.getType()),
                                     scalar);
}

Value VectorBuilder::add(Value a, Value b) { return arith::AddFOp::create(builder, loc, a, b); }
Value VectorBuilder::sub(Value a, Value b) { return arith::SubFOp::create(builder, loc, a, b); }
Value VectorBuilder::mul(Value a, Value b) { return arith::MulFOp::create(builder, loc, a, b); }
Value VectorBuilder::div(Value a, Value b) { return arith::DivFOp::create(builder, loc, a, b); }
Value VectorBuilder::fma(Value a, Value b, Value c) {
  return vector::FMAOp::create(builder, loc, a, b, c);
}
Value VectorBuilder::less(Value a, Value b) {
  return arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OLT, a, b);
}
Value VectorBuilder::max(Value a, Value b) { return select(less(b, a), a, b); }
Value VectorBuilder::min(Value a, Value b) { return select(less(a, b), a, b); }
Value VectorBuilder::select(Value condition, Value yes, Value no) {
  return arith::SelectOp::create(builder, loc, condition, yes, no);
}
Value VectorBuilder::roundEven(Value a) { return math::RoundEvenOp::create(builder, loc, a); }
Value VectorBuilder::polynomial(Value x, ArrayRef<double> coefficients) {
  Value result = splat(coefficients.back());
  for (double c : llvm::reverse(coefficients.drop_back()))
    result = fma(result, x, splat(c));
  return result;
}

Value VectorBuilder::addInt(Value a, Value b) { return arith::AddIOp::create(builder, loc, a, b); }
Value VectorBuilder::subInt(Value a, Value b) { return arith::SubIOp::create(builder, loc, a, b); }
Value VectorBuilder::andInt(Value a, Value b) { return arith::AndIOp::create(builder, loc, a, b); }
Value VectorBuilder::orInt(Value a, Value b) { return arith::OrIOp::create(builder, loc, a, b); }
Value VectorBuilder::shiftLeft(Value a, int64_t count) {
  return arith::ShLIOp::create(builder, loc, a, splatInt(count));
}
Value VectorBuilder::shiftRight(Value a, int64_t count) {
  return arith::ShRSIOp::create(builder, loc, a, splatInt(count));
}
Value VectorBuilder::toBits(Value v) { return arith::BitcastOp::create(builder, loc, ints, v); }
Value VectorBuilder::fromBits(Value v) { return arith::BitcastOp::create(builder, loc, floats, v); }
Value VectorBuilder::toInts(Value v) { return arith::FPToSIOp::create(builder, loc, ints, v); }
Value VectorBuilder::toFloats(Value v) { return arith::SIToFPOp::create(builder, loc, floats, v); }

std::optional<int64_t> VectorBuilder::constantOf(Value value) {
  if (auto constant = value.getDefiningOp<arith::ConstantOp>())
    if (auto number = dyn_cast<IntegerAttr>(constant.getValue()))
      return number.getInt();
  return std::nullopt;
}
Value VectorBuilder::plus(Value a, Value b) {
  if (std::optional<int64_t> number = constantOf(b))
    return plus(a, *number);
  if (std::optional<int64_t> number = constantOf(a))
    return plus(b, *number);
  return arith::AddIOp::create(builder, loc, a, b, arith::IntegerOverflowFlags::nsw);
}
Value VectorBuilder::plus(Value a, int64_t b) {
  if (b == 0)
    return a;
  if (std::optional<int64_t> number = constantOf(a))
    return integer(*number + b);
  return arith::AddIOp::create(builder, loc, a, integer(b), arith::IntegerOverflowFlags::nsw);
}
Value VectorBuilder::times(Value a, Value b) {
  if (std::optional<int64_t> number = constantOf(b))
    return times(a, *number);
  if (std::optional<int64_t> number = constantOf(a))
    return times(b, *number);
  return arith::MulIOp::create(builder, loc, a, b, arith::IntegerOverflowFlags::nsw);
}
Value VectorBuilder::times(Value a, int64_t b) {
  if (b == 1)
    return a;
  if (std::optional<int64_t> number = constantOf(a))
    return integer(*number * b);
  return arith::MulIOp::create(builder, loc, a, integer(b), arith::IntegerOverflowFlags::nsw);
}
Value VectorBuilder::minIndex(Value a, Value b) {
  return arith::MinSIOp::create(builder, loc, a, b);
}
Value VectorBuilder::maxIndex(Value a, Value b) {
  return arith::MaxSIOp::create(builder, loc, a, b);
}

std::pair<Value, int64_t> VectorBuilder::splitIndex(Value index) {
  if (std::optional<int64_t> number = constantOf(index))
    return {Value(), *number};
  if (auto sum = index.getDefiningOp<arith::AddIOp>()) {
    auto [a, x] = splitIndex(sum.getLhs());
    auto [b, y] = splitIndex(sum.getRhs());
    if (x == 0 && y == 0)
      return {index, 0};
    return {a && b ? plus(a, b) : a ? a : b, x + y};
  }
  if (auto product = index.getDefiningOp<arith::MulIOp>())
    if (std::optional<int64_t> factor = constantOf(product.getRhs())) {
      auto [a, x] = splitIndex(product.getLhs());
      if (x != 0)
        return {a ? times(a, *factor) : a, x * *factor};
    }
  return {index, 0};
}

Value VectorBuilder::address(Value pointer, Type element, Value index) {
  if (llvm::isa<mlir::FloatType>(element) &&
      element.getIntOrFloatBitWidth() == 8) // LLVM has no such type
    element = builder.getI8Type();
  auto from = [&](Value base, Value elements) -> Value {
    return LLVM::GEPOp::create(
        builder, loc, LLVM::LLVMPointerType::get(builder.getContext()), element, base,
        ValueRange{arith::IndexCastOp::create(builder, loc, builder.getI64Type(), elements)});
  };
  auto [moving, fixed] = splitIndex(index);
  Value base = moving ? from(pointer, moving) : pointer;
  return fixed != 0 ? from(base, integer(fixed)) : base;
}
/// Bytes of one element: all that is known of an address's alignment.
static unsigned alignmentOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? std::max<unsigned>(element.getIntOrFloatBitWidth() / 8, 1) : 8;
}
Value VectorBuilder::load(Type type, Value address) {
  return LLVM::LoadOp::create(builder, loc, type, address, alignmentOf(type));
}
void VectorBuilder::store(Value value, Value address) {
  LLVM::StoreOp::create(builder, loc, value, address, alignmentOf(value.getType()));
}

void VectorBuilder::storePastCaches(Value value, Value address) {
  auto type = llvm::cast<VectorType>(value.getType());
  unsigned bytes = type.getNumElements() * alignmentOf(type);
  LLVM::StoreOp::create(builder, loc, value, address, bytes, /*isVolatile=*/false,
                        /*isNonTemporal=*/true);
}
void VectorBuilder::orderStores() { instruction("llvm.x86.sse.sfence", {}); }

Value VectorBuilder::stackArray(Type element, int64_t count) {
  OpBuilder::InsertionGuard guard(builder);
  Region *function = builder.getBlock()->getParent();
  while (!llvm::isa<func::FuncOp>(function->getParentOp()))
    function = function->getParentRegion();
  builder.setInsertionPointToStart(&function->front());
  Value size = LLVM::ConstantOp::create(builder, loc, builder.getI64IntegerAttr(count));
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  return LLVM::AllocaOp::create(builder, loc, pointer, element, size, /*alignment=*/64);
}

void VectorBuilder::prefetch(Value address, bool near) {
  constexpr int read = 0, data = 1;
  LLVM::Prefetch::create(builder, loc, address, read, near ? 3 : 2, data);
}

Value VectorBuilder::intrinsic(const char *name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(builder, loc, result, builder.getStringAttr(name), operands)
      .getResult(0);
}

void VectorBuilder::instruction(const char *name, ValueRange operands) {
  LLVM::CallIntrinsicOp::create(builder, loc, builder.getStringAttr(name), operands);
}

Values VectorBuilder::loop(Value lo, Value hi, int64_t step, ValueRange init,
                           function_ref<Values(Value, ValueRange)> body) {
  scf::ForOp loop = scf::ForOp::create(builder, loc, lo, hi, integer(step), init);
  OpBuilder::InsertionGuard guard(builder);
  if (init.empty())
    builder.setInsertionPoint(loop.getBody()->getTerminator());
  else
    builder.setInsertionPointToEnd(loop.getBody());
  Values results = body(loop.getInductionVar(), loop.getRegionIterArgs());
  if (!init.empty())
    scf::YieldOp::create(builder, loc, results);
  return Values(loop.getResults().begin(), loop.getResults().end());
}

Values VectorBuilder::branch(Value condition, TypeRange types, function_ref<Values()> yes,
                             function_ref<Values()> no) {
  scf::IfOp branch = scf::IfOp::create(builder, loc, types, condition, /*addThenBlock=*/true,
                                       /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  auto fill = [&](Block &block, function_ref<Values()> make) {
    builder.setInsertionPointToEnd(&block);
    scf::YieldOp::create(builder, loc, make());
  };
  fill(branch.getThenRegion().front(), yes);
  fill(branch.getElseRegion().front(), no);
  return Values(branch.getResults().begin(), branch.getResults().end());
}

} // namespace heddle::compiler::cpu
