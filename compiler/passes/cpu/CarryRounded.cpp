// CarryRounded, for dot products of bf16 pairs: what a loop rounds of the tile that it carries is
// rounded where a product makes that, in registers, and carried too.
//
//   for iter(%S = %S0) {                         %R = map truncf(%S0)
//     %S16 = map truncf(%S)              ->      for iter(%S = %S0, %S16 = %R) {
//     .. ; %T = mma .. init %S                     .. ; %T = mma .. init %S ; %T16 = map truncf(%T)
//     yield %T                                     yield %T, %T16
//
// A state that fills the first-level cache is else read once more in each step, from the second.
#include "compiler/passes/Passes.h"
#include "compiler/passes/cpu/CpuPasses.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;

namespace {

/// The map of the loop's own that rounds the tile, or null.
tile::MapOp roundingOf(Value carried) {
  for (Operation *user : carried.getUsers())
    if (user->getBlock() == carried.getParentBlock() && isNarrowing(user))
      return cast<tile::MapOp>(user);
  return {};
}

/// The loop with one more carried tile, that starts as `init` and goes on as `next`; that is all
/// uses of `now`.
void carryToo(tile::ForOp loop, Value init, Value now, Value next) {
  OpBuilder builder(loop);
  SmallVector<Value> inits(loop.getInits());
  inits.push_back(init);
  auto wider = tile::ForOp::create(builder, loop.getLoc(), loop.getBounds(), loop.getStep(), inits,
                                   loop.getKind());
  wider->setDiscardableAttrs(loop->getDiscardableAttrDictionary());
  Block &body = wider.getBody().front(), &old = loop.getBody().front();
  if (body.mightHaveTerminator())
    body.getTerminator()->erase();
  for (auto [from, to] : llvm::zip(old.getArguments(), body.getArguments()))
    from.replaceAllUsesWith(to);
  body.getOperations().splice(body.end(), old.getOperations());
  now.replaceAllUsesWith(body.getArguments().back());
  wider.getYield().getValuesMutable().append(next);
  for (auto [from, to] : llvm::zip(loop.getResults(), wider.getResults()))
    from.replaceAllUsesWith(to);
  loop.erase();
}

/// A loop carries one state.
void carryRounded(tile::ForOp loop) {
  for (auto [n, carried] : llvm::enumerate(loop.getIterArgs())) {
    Value next = loop.getYield().getValues()[n];
    auto product = next.getDefiningOp<tile::MmaOp>();
    tile::MapOp map = roundingOf(carried);
    if (!map || !product || product->getBlock() != carried.getParentBlock())
      continue;
    Type type = tileType(map.getResult(0)).getElementType();
    carryToo(loop, narrowed(loop.getInits()[n], type), map.getResult(0), narrowed(next, type));
    map.erase();
    return;
  }
}

class CarryRoundedPass : public PassWrapper<CarryRoundedPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CarryRoundedPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "carry-rounded"; }
  StringRef getDescription() const override {
    return "what a loop rounds of a tile it carries is rounded where that is made";
  }

  void runOnOperation() override {
    SmallVector<tile::ForOp> loops;
    getOperation().walk([&](tile::ForOp loop) { loops.push_back(loop); });
    for (tile::ForOp loop : loops)
      carryRounded(loop);
  }
};

} // namespace

std::unique_ptr<Pass> createCarryRoundedPass() { return std::make_unique<CarryRoundedPass>(); }

} // namespace heddle::compiler
