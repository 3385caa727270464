// Emits bounds of supports as arith ops on index values. Constants fold on the way, so that the
// bounds of `j <= i` come out as one max and one min.
#include "compiler/support/Emit.h"

#include "compiler/support/Names.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

namespace heddle::compiler {

using namespace mlir;

static std::optional<int64_t> constantOf(Value value) {
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

Value ArithAlgebra::constant(int64_t value) {
  return arith::ConstantIndexOp::create(builder, location, value);
}

Value ArithAlgebra::add(Value x, Value y) {
  return builder.createOrFold<arith::AddIOp>(location, x, y);
}

Value ArithAlgebra::sub(Value x, Value y) {
  return builder.createOrFold<arith::SubIOp>(location, x, y);
}

Value ArithAlgebra::mul(Value x, Value y) {
  return builder.createOrFold<arith::MulIOp>(location, x, y);
}

// Rounds towards -inf with the truncating division that every target has. For a constant c > 0:
// (x - (x < 0 ? c - 1 : 0)) / c.
Value ArithAlgebra::floorDiv(Value x, Value y) {
  std::optional<int64_t> divisor = constantOf(y), dividend = constantOf(x);
  if (divisor == 1)
    return x;
  if (divisor == 0)
    return constant(0);
  if (divisor && dividend)
    return constant(*dividend / *divisor -
                    (*dividend % *divisor != 0 && (*dividend < 0) != (*divisor < 0)));
  Value zero = constant(0);
  if (divisor && *divisor > 0) {
    Value shift = select(negate(lessEqual(zero, x)), constant(*divisor - 1), zero);
    return builder.createOrFold<arith::DivSIOp>(location, sub(x, shift), y);
  }
  Bool isZero = equal(y, zero);
  Value safe = select(isZero, constant(1), y);
  Value quotient = builder.createOrFold<arith::DivSIOp>(location, x, safe);
  Value rest = sub(x, mul(quotient, safe));
  Bool inexact = negate(equal(rest, zero));
  Bool signsDiffer = negate(equal(lessEqual(zero, rest), lessEqual(zero, safe)));
  quotient = select(both(inexact, signsDiffer), sub(quotient, constant(1)), quotient);
  return select(isZero, zero, quotient);
}

Value ArithAlgebra::mod(Value x, Value y) {
  Value rest = sub(x, mul(y, floorDiv(x, y)));
  return select(equal(y, constant(0)), constant(0), rest);
}

Value ArithAlgebra::min(Value x, Value y) {
  return builder.createOrFold<arith::MinSIOp>(location, x, y);
}

Value ArithAlgebra::max(Value x, Value y) {
  return builder.createOrFold<arith::MaxSIOp>(location, x, y);
}

Value ArithAlgebra::select(Bool c, Value x, Value y) {
  return x == y ? x : builder.createOrFold<arith::SelectOp>(location, c, x, y);
}

Value ArithAlgebra::lessEqual(Value x, Value y) {
  return builder.createOrFold<arith::CmpIOp>(location, arith::CmpIPredicate::sle, x, y);
}

Value ArithAlgebra::equal(Value x, Value y) {
  return builder.createOrFold<arith::CmpIOp>(location, arith::CmpIPredicate::eq, x, y);
}

Value ArithAlgebra::both(Bool x, Bool y) {
  return builder.createOrFold<arith::AndIOp>(location, x, y);
}

Value ArithAlgebra::either(Bool x, Bool y) {
  return builder.createOrFold<arith::OrIOp>(location, x, y);
}

Value ArithAlgebra::negate(Bool x) {
  return builder.createOrFold<arith::XOrIOp>(location, x, truth(true));
}

Value ArithAlgebra::truth(bool value) {
  return arith::ConstantIntOp::create(builder, location, value, 1);
}

Value ArithAlgebra::scalar(llvm::StringRef name) {
  auto variable = variables.find(name);
  if (variable != variables.end())
    return variable->second;
  return tile::ScalarOp::create(builder, location, builder.getIndexType(), name);
}

// An index outside the tensor reads 0: the index is clamped, and the element is dropped. Extents of
// 0 are safe because then no grid point or no key exists that asks.
// The batch that a read leaves out is b.
Value ArithAlgebra::read(llvm::StringRef tensor, llvm::ArrayRef<Value> given) {
  auto declaration = cast<tile::TensorOp>(program.findTensor(tensor));
  llvm::SmallVector<Value> indices(given);
  if (indices.size() + 1 == declaration.getShape().size())
    indices.insert(indices.begin(), scalar("b"));
  Bool inside = truth(true);
  llvm::SmallVector<Value> at;
  for (auto [index, attribute] : llvm::zip(indices, declaration.getShape())) {
    auto formula = cast<tile::FormulaAttr>(attribute);
    std::optional<int64_t> fixed = formula.asConstant();
    Value extent = fixed ? constant(*fixed) : scalar(*formula.asScalar());
    Value last = sub(extent, constant(1));
    inside = both(inside, both(lessEqual(constant(0), index), lessEqual(index, last)));
    at.push_back(max(min(index, last), constant(0)));
  }
  Type element = declaration.getElementType();
  if (auto integer = dyn_cast<IntegerType>(element))
    element = IntegerType::get(element.getContext(), integer.getWidth());
  Value view =
      tile::ViewOp::create(builder, location, tile::ViewType::get({}, element), tensor, at);
  Value value = tile::ReadOp::create(builder, location, view, llvm::ArrayRef<OpFoldResult>());
  bool isUnsigned = declaration.getElementType().isUnsignedInteger();
  value = isUnsigned
              ? arith::IndexCastUIOp::create(builder, location, builder.getIndexType(), value)
                    .getResult()
              : arith::IndexCastOp::create(builder, location, builder.getIndexType(), value)
                    .getResult();
  return select(inside, value, constant(0));
}

SupportNames namesOf(tile::ProgramOp program, bool perHead) {
  SupportNames names;
  if (!perHead)
    names.invariant = {"b"};
  for (Operation &op : program.getBody().front()) {
    if (auto param = dyn_cast<tile::ParamOp>(op))
      if (isa<FloatType>(param.getValue().getType()))
        names.reals.push_back(param.getName().str());
    // A shape with a formula has no extent to check an index against.
    if (auto tensor = dyn_cast<tile::TensorOp>(op))
      if (isa<IntegerType>(tensor.getElementType()) &&
          llvm::all_of(tensor.getShape().getAsRange<tile::FormulaAttr>(),
                       [](auto dim) { return dim.asConstant() || dim.asScalar(); }))
        names.integers.push_back(tensor.getName().str());
  }
  return names;
}

Support supportOf(tile::ForOp loop) {
  bool perHead = loop.getSupportArgs().size() > SupportArgument::Head;
  return analyseSupport(cast<Expr>(*loop.getSupport()),
                        namesOf(loop->getParentOfType<tile::ProgramOp>(), perHead));
}

ArithAlgebra algebraFor(OpBuilder &builder, tile::ForOp loop) {
  llvm::StringMap<Value> variables;
  variables["b"] = loop.getSupportArgs()[SupportArgument::Batch];
  if (loop.getSupportArgs().size() > SupportArgument::Head)
    variables["h"] = loop.getSupportArgs()[SupportArgument::Head];
  return ArithAlgebra(builder, loop.getLoc(), loop->getParentOfType<tile::ProgramOp>(), variables);
}

KeyValues emitTouchedKeys(OpBuilder &builder, tile::ForOp loop, Value first, Value last,
                          Value firstKey, Value endKey) {
  if (!loop.getSupport())
    return {firstKey, endKey};
  ArithAlgebra algebra = algebraFor(builder, loop);
  Support support = supportOf(loop);
  KeyRange<ArithAlgebra> hull = touchedHull(algebra, support, first, last, {firstKey, endKey});
  return {hull.begin, hull.end};
}

bool isEmptyInterval(Value begin, Value end) {
  APInt a, b;
  return begin == end || (matchPattern(begin, m_ConstantInt(&a)) &&
                          matchPattern(end, m_ConstantInt(&b)) && a.sge(b));
}

Value intervalEnd(OpBuilder &builder, Location location, Value index, ValueRange bounds) {
  if (bounds.size() == 2)
    return bounds[1];
  if (isEmptyInterval(bounds[0], bounds[1]))
    return bounds[3];
  Value inFirst =
      arith::CmpIOp::create(builder, location, arith::CmpIPredicate::slt, index, bounds[1]);
  return named(arith::SelectOp::create(builder, location, inFirst, bounds[1], bounds[3]), "end");
}

} // namespace heddle::compiler
