// DeferSums: a row sum that loops carry stays in 4 shares a row, one for each thread that holds a
// part of the row, and is added up once, after the last loop.
//
//   l1 = for .. iter(l = l0) { reduce sum P dim(1) init (l r) }            : rows
//     ->
//   p1 = for .. iter(p = [l0, 0, 0, 0]) { reduce sum P dim(1) init (p r) } : rows x 4
//   l1 = reduce sum p1 dim(1) init 0
//
// Kernels that carry a state are left alone: there the rows of a sum lie as their product wants
// them, in any number of threads.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

constexpr int64_t kShares = 4; ///< threads that hold parts of a row, in every layout of mma.sync

/// The carried sum number `n` of `loop`, or null: reduce with init l, or with init map(l, ..).
tile::ReduceOp carriedSum(tile::ForOp loop, unsigned n) {
  auto reduce = loop.getYield().getValues()[n].getDefiningOp<tile::ReduceOp>();
  Value carried = loop.getIterArgs()[n];
  if (!reduce || reduce.getKind() != tile::Reduction::Sum || reduce->getParentOp() != loop ||
      !reduce->hasOneUse() || !carried.hasOneUse() || tileType(carried).getRank() != 1 ||
      reduce.getDim() != 1)
    return {};
  Operation *user = *carried.user_begin();
  if (user == reduce)
    return reduce.getInit() == carried ? reduce : tile::ReduceOp();
  auto map = dyn_cast<tile::MapOp>(user);
  bool feeds = map && map.getNumResults() == 1 && map.getResult(0).hasOneUse() &&
               reduce.getInit() == map.getResult(0);
  return feeds ? reduce : tile::ReduceOp();
}

class SumDeferrer {
public:
  explicit SumDeferrer(tile::KernelOp kernel) : kernel(kernel) {}

  void run() {
    SmallVector<tile::ForOp> loops;
    kernel.walk([&](tile::ForOp loop) { loops.push_back(loop); });
    for (tile::ForOp loop : loops)
      for (unsigned n = 0; n < loop.getNumResults(); ++n)
        if (tileType(loop.getResult(n)))
          if (tile::ReduceOp reduce = carriedSum(loop, n))
            defer(loop, n, reduce);
  }

private:
  void defer(tile::ForOp loop, unsigned n, tile::ReduceOp reduce) {
    tile::TileType rows = tileType(loop.getResult(n));
    tile::TileType shares = rows.withShape({rows.getDim(0), kShares});
    OpBuilder builder(loop);
    loop.getInitsMutable()[n].set(sharesOf(builder, loop.getInits()[n], shares));
    loop.getIterArgs()[n].setType(shares);
    if (auto map = reduce.getInit().getDefiningOp<tile::MapOp>())
      reduce.getInitMutable().set(widened(map, loop.getIterArgs()[n], shares));
    reduce.getResult().setType(shares);
    Value result = loop.getResult(n);
    result.setType(shares);
    builder.setInsertionPointAfter(loop);
    Value zero = tile::FillOp::create(builder, loop.getLoc(), rows, 0.0);
    auto sum =
        tile::ReduceOp::create(builder, loop.getLoc(), tile::Reduction::Sum, result, 1, zero);
    result.replaceAllUsesExcept(sum, sum);
  }

  /// Shares whose sum is `sum`: those of an earlier loop, zeros, or all in the first.
  Value sharesOf(OpBuilder &builder, Value sum, tile::TileType shares) {
    Location at = sum.getLoc();
    if (auto earlier = sum.getDefiningOp<tile::ReduceOp>();
        earlier && earlier->hasOneUse() && earlier.getTile().getType() == shares) {
      Value parts = earlier.getTile();
      dead.push_back(earlier);
      return parts;
    }
    if (auto fill = sum.getDefiningOp<tile::FillOp>(); fill && fill.getValue().isZero())
      return tile::FillOp::create(builder, at, shares, 0.0);
    auto numbers = tile::TileType::get({kShares}, builder.getI32Type());
    Value start = arith::ConstantIndexOp::create(builder, at, 0);
    Value number = tile::IndexOp::create(builder, at, numbers, start);
    SmallVector<SmallVector<StringRef>> names{{"i"}, {"share"}};
    return tile::MapOp::create(
               builder, at, TypeRange{shares}, ValueRange{sum, number}, names,
               ArrayRef<StringRef>{"i", "share"},
               [&](OpBuilder &b, Location loc, ValueRange x) {
                 Value zero = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(0));
                 Value first = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
                 Value isFirst =
                     arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x[1], first);
                 Value share = arith::SelectOp::create(b, loc, isFirst, x[0], zero);
                 tile::YieldOp::create(b, loc, share);
               })
        .getResult(0);
  }

  /// map(l[i], r[i]) as map(p[i, share], r[i]).
  Value widened(tile::MapOp map, Value carried, tile::TileType shares) {
    OpBuilder builder(map);
    Attribute row = map.getDims()[0], share = builder.getStringAttr("share");
    SmallVector<Attribute> dims;
    for (Value input : map.getInputs())
      dims.push_back(input == carried ? builder.getArrayAttr({row, share})
                                      : builder.getArrayAttr({row}));
    auto wide = tile::MapOp::create(builder, map.getLoc(), TypeRange{shares}, map.getInputs(),
                                    builder.getArrayAttr(dims), builder.getArrayAttr({row, share}));
    wide.getBody().takeBody(map.getBody());
    dead.push_back(map);
    return wide.getResult(0);
  }

public:
  void clean() {
    for (Operation *op : dead) {
      op->dropAllUses();
      op->erase();
    }
  }

private:
  tile::KernelOp kernel;
  SmallVector<Operation *> dead;
};

class DeferSumsPass : public PassWrapper<DeferSumsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(DeferSumsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect>();
  }
  StringRef getArgument() const override { return "cuda-defer-sums"; }
  StringRef getDescription() const override { return "carried row sums stay in shares"; }
  void runOnOperation() override {
    if (carriesState(getOperation()))
      return;
    SumDeferrer deferrer(getOperation());
    deferrer.run();
    deferrer.clean();
  }
};

} // namespace

std::unique_ptr<Pass> createDeferSumsPass() { return std::make_unique<DeferSumsPass>(); }

} // namespace heddle::compiler::cuda
