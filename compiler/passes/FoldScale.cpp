// FoldScale: a positive constant factor of the scores moves past the row maximum.
//
//   s = map(S) { S c }                            M0 = reduce max S init -inf
//   M = reduce max s init m              ->       M  = map(M0, m) { max(M0 c, m) }
//   P = map(s, b) { exp2(s - b) }                 P  = map(S, b) { exp2(S c - b) }
//
// so that an element costs one multiply-add and one comparison. In an edge body
// select(k, S c, -inf) becomes select(k, S, -inf), which is the same since c > 0.
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

#include <limits>

using namespace mlir;

namespace heddle::compiler {
namespace {

using tile::tileType;

/// x * c with a constant c > 0 in the map's region.
struct Scaled {
  arith::MulFOp product;
  Value rest, factor;
};
std::optional<Scaled> scaled(Value value) {
  auto product = value.getDefiningOp<arith::MulFOp>();
  if (!product || !product->hasOneUse())
    return std::nullopt;
  for (auto [rest, factor] : {std::pair(product.getLhs(), product.getRhs()),
                              std::pair(product.getRhs(), product.getLhs())})
    if (std::optional<double> c = floatConstant(factor); c && *c > 0)
      return Scaled{product, rest, factor};
  return std::nullopt;
}

/// The product that the map yields, plain or where a mask holds and -inf elsewhere.
std::optional<Scaled> scaledResult(tile::MapOp map) {
  Value result = map.getYield().getValues()[0];
  if (auto select = result.getDefiningOp<arith::SelectOp>();
      select && select->hasOneUse() &&
      floatConstant(select.getFalseValue()) == -std::numeric_limits<double>::infinity())
    result = select.getTrueValue();
  return scaled(result);
}

/// Whether every reader can apply the factor itself: maps, and maxima along a dimension.
bool canMove(tile::MapOp map) {
  bool hasMaximum = false;
  for (Operation *user : map.getResult(0).getUsers()) {
    auto reduce = dyn_cast<tile::ReduceOp>(user);
    if (reduce && reduce.getKind() == tile::Reduction::Max && reduce.getTile() == map.getResult(0))
      hasMaximum = true;
    else if (!isa<tile::MapOp>(user))
      return false;
  }
  return hasMaximum;
}

void scaleMaximum(tile::ReduceOp reduce, Value factor) {
  OpBuilder builder(reduce);
  Location at = reduce.getLoc();
  Value init = reduce.getInit();
  Value lowest =
      tile::FillOp::create(builder, at, tileType(init), -std::numeric_limits<double>::infinity());
  auto bare = tile::ReduceOp::create(builder, at, tile::Reduction::Max, reduce.getTile(),
                                     reduce.getDim(), lowest);
  SmallVector<SmallVector<StringRef>> names(2, {"i"});
  auto joined =
      tile::MapOp::create(builder, at, TypeRange{init.getType()}, ValueRange{bare, init}, names,
                          ArrayRef<StringRef>{"i"}, [&](OpBuilder &b, Location loc, ValueRange x) {
                            Value product = arith::MulFOp::create(b, loc, x[0], factor);
                            Value larger = arith::MaximumFOp::create(b, loc, product, x[1]);
                            tile::YieldOp::create(b, loc, larger);
                          });
  reduce.replaceAllUsesWith(joined.getResult(0));
  reduce.erase();
}

void scaleOperand(tile::MapOp map, unsigned operand, Value factor) {
  Block &body = map.getBody().front();
  OpBuilder builder = OpBuilder::atBlockBegin(&body);
  Value argument = body.getArgument(operand);
  auto product = arith::MulFOp::create(builder, map.getLoc(), argument, factor);
  argument.replaceAllUsesExcept(product, product);
}

void moveFactor(tile::MapOp map, Scaled scaled) {
  Value factor = scaled.factor;
  if (Operation *op = factor.getDefiningOp(); op && map->isAncestor(op)) {
    OpBuilder before(map);
    factor = before.clone(*op)->getResult(0);
  }
  scaled.product.replaceAllUsesWith(scaled.rest);
  scaled.product.erase();
  for (OpOperand &use : llvm::make_early_inc_range(map.getResult(0).getUses()))
    if (auto reduce = dyn_cast<tile::ReduceOp>(use.getOwner()))
      scaleMaximum(reduce, factor);
    else
      scaleOperand(cast<tile::MapOp>(use.getOwner()), use.getOperandNumber(), factor);
  // What is left of a full body's map may be the identity.
  auto argument = dyn_cast<BlockArgument>(map.getYield().getValues()[0]);
  if (!argument || argument.getOwner() != &map.getBody().front() || map.getInputs().size() != 1 ||
      map.getInputDims()[0] != map.getDims())
    return;
  map.getResult(0).replaceAllUsesWith(map.getInputs()[0]);
  map.erase();
}

class FoldScalePass : public PassWrapper<FoldScalePass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FoldScalePass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "fold-scale"; }
  StringRef getDescription() const override {
    return "a positive factor of the scores moves past the row maximum";
  }

  void runOnOperation() override {
    SmallVector<tile::MapOp> maps;
    getOperation().walk([&](tile::MapOp map) {
      if (map.getNumResults() == 1 && tileType(map.getResult(0)).getRank() == 2)
        maps.push_back(map);
    });
    for (tile::MapOp map : maps)
      if (canMove(map))
        if (std::optional<Scaled> found = scaledResult(map))
          moveFactor(map, *found);
  }
};

} // namespace

std::unique_ptr<Pass> createFoldScalePass() { return std::make_unique<FoldScalePass>(); }

} // namespace heddle::compiler
