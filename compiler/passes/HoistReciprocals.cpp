// HoistReciprocals: a quotient by a number of the row becomes a product, so that a row is divided
// once and not once an element.
//
//   o = map(O[i, e], l[i]) { O / l }   ->   r = map(l[i]) { 1 / l } ; o = map(O[i, e], r[i]) { O r
//   }
//
// Kernels that carry a state compare there too: select(l != 0, O / l, 0) is O select(l != 0, 1 / l,
// 0).
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler {
namespace {

/// The operand of `map` that the divisor is an element of, if it has fewer dimensions.
std::optional<unsigned> rowOperand(tile::MapOp map, Value divisor) {
  auto argument = dyn_cast<BlockArgument>(divisor);
  if (!argument || argument.getOwner() != &map.getBody().front())
    return std::nullopt;
  unsigned n = argument.getArgNumber();
  return cast<ArrayAttr>(map.getInputDims()[n]).size() < map.getDims().size() ? std::optional(n)
                                                                              : std::nullopt;
}

/// select(divisor != 0, quotient, 0), if that is all that becomes of the quotient.
arith::SelectOp guardOf(arith::DivFOp quotient) {
  auto select =
      quotient->hasOneUse() ? dyn_cast<arith::SelectOp>(*quotient->user_begin()) : nullptr;
  if (!select || select.getTrueValue() != quotient.getResult() ||
      !matchPattern(select.getFalseValue(), m_AnyZeroFloat()))
    return {};
  auto unequal = select.getCondition().getDefiningOp<arith::CmpFOp>();
  const bool guards = unequal && unequal.getPredicate() == arith::CmpFPredicate::UNE &&
                      unequal.getLhs() == quotient.getRhs() &&
                      matchPattern(unequal.getRhs(), m_AnyZeroFloat());
  return guards ? select : arith::SelectOp();
}

Value reciprocalOf(OpBuilder &builder, Value tile, ArrayAttr dims, bool guarded) {
  SmallVector<StringRef> names(dims.getAsValueRange<StringAttr>());
  SmallVector<SmallVector<StringRef>> inputs{names};
  return tile::MapOp::create(
             builder, tile.getLoc(), TypeRange{tile.getType()}, ValueRange{tile}, inputs,
             ArrayRef<StringRef>(names),
             [&](OpBuilder &b, Location loc, ValueRange x) {
               Value one = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(1));
               Value result = arith::DivFOp::create(b, loc, one, x[0]);
               if (guarded) {
                 Value zero = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(0));
                 Value there = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, x[0], zero);
                 result = arith::SelectOp::create(b, loc, there, result, zero);
               }
               tile::YieldOp::create(b, loc, result);
             })
      .getResult(0);
}

/// `map` with the reciprocals of operand `n` as one more operand in the quotients by it.
void multiplyInstead(tile::MapOp map, unsigned n, llvm::ArrayRef<arith::DivFOp> quotients) {
  OpBuilder builder(map);
  auto dims = cast<ArrayAttr>(map.getInputDims()[n]);
  const bool guarded = map->getParentOfType<tile::KernelOp>()->hasAttr("tile.state") &&
                       llvm::all_of(quotients, guardOf);
  Value reciprocal;
  {
    OpBuilder::InsertionGuard guard(builder);
    reciprocal = reciprocalOf(builder, map.getInputs()[n], dims, guarded);
  }
  SmallVector<Value> inputs(map.getInputs());
  SmallVector<Attribute> names(map.getInputDims().begin(), map.getInputDims().end());
  inputs.push_back(reciprocal);
  names.push_back(dims);
  auto rebuilt = tile::MapOp::create(builder, map.getLoc(), map.getResultTypes(), inputs,
                                     builder.getArrayAttr(names), map.getDims());
  rebuilt.setMask(map.getMask());
  rebuilt.getBody().takeBody(map.getBody());
  Value element = rebuilt.getBody().front().addArgument(builder.getF32Type(), map.getLoc());
  for (arith::DivFOp quotient : quotients) {
    OpBuilder inside(quotient);
    Value product = arith::MulFOp::create(inside, quotient.getLoc(), quotient.getLhs(), element);
    if (arith::SelectOp guard = guarded ? guardOf(quotient) : arith::SelectOp()) {
      Operation *condition = guard.getCondition().getDefiningOp();
      guard.replaceAllUsesWith(product);
      guard.erase();
      if (isOpTriviallyDead(condition))
        condition->erase();
    }
    quotient.replaceAllUsesWith(product);
    quotient.erase();
  }
  map.replaceAllUsesWith(rebuilt);
  map.erase();
  if (guarded && rebuilt.getBody().front().getArgument(n).use_empty()) {
    names.erase(names.begin() + n);
    rebuilt.getBody().front().eraseArgument(n);
    rebuilt.getInputsMutable().erase(n);
    rebuilt.setInputDimsAttr(builder.getArrayAttr(names));
  }
}

class HoistReciprocalsPass
    : public PassWrapper<HoistReciprocalsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(HoistReciprocalsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "hoist-reciprocals"; }
  StringRef getDescription() const override { return "rows are divided once"; }

  void runOnOperation() override {
    SmallVector<tile::MapOp> maps;
    getOperation().walk([&](tile::MapOp map) { maps.push_back(map); });
    for (tile::MapOp map : maps) {
      llvm::MapVector<unsigned, SmallVector<arith::DivFOp>> quotients;
      for (auto quotient : map.getBody().front().getOps<arith::DivFOp>())
        if (std::optional<unsigned> n = rowOperand(map, quotient.getRhs());
            n && quotient.getType().isF32())
          quotients[*n].push_back(quotient);
      if (!quotients.empty())
        multiplyInstead(map, quotients.front().first, quotients.front().second);
    }
  }
};

} // namespace

std::unique_ptr<Pass> createHoistReciprocalsPass() {
  return std::make_unique<HoistReciprocalsPass>();
}

} // namespace heddle::compiler
