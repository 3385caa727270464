// RoundProducts, for CPUs with a matrix unit or dot products of bf16 that pay: forms multiply f32
// tiles where an operand is one; in kernels that carry a state over bf16 tensors such products
// become products of bf16, while sums and the state stay f32.
//
//   %k = map extf(%K) ; %A = mma %q, %k     ->   %A = mma %K, %q16
//   %O = mma %S, %q                         ->   %S16 = map truncf(%S) ; %O = mma %S16, %q16
//
// The first operand is read as pairs by lanes, the other one in rows along the sum: operands change
// places where the product's result is such rows of another one (weights, with keys along the
// lanes).
#include "compiler/passes/Passes.h"
#include "compiler/passes/cpu/CpuPasses.h"
#include "compiler/support/Names.h"
#include "ir/tile/TileDialect.h"
#include "ir/tile/TileLayouts.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;

namespace heddle::compiler {

using tile::TileType;
using tile::tileType;

namespace {

class RoundProductsPass : public PassWrapper<RoundProductsPass, OperationPass<tile::KernelOp>> {
public:
  RoundProductsPass() = default;
  explicit RoundProductsPass(const CpuLayoutOptions &options) { dots = !options.amx; }
  RoundProductsPass(const RoundProductsPass &other) : PassWrapper(other) {}
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RoundProductsPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect>();
  }
  StringRef getArgument() const override { return "round-products"; }
  StringRef getDescription() const override {
    return "products of a state's kernel in bf16, for the matrix unit or dot products of pairs";
  }

  void runOnOperation() override {
    tile::KernelOp kernel = getOperation();
    auto program = kernel->getParentOfType<tile::ProgramOp>();
    bool bf16 = llvm::any_of(program.getBody().getOps<tile::TensorOp>(), [](tile::TensorOp tensor) {
      return tensor.getElementType().isBF16();
    });
    if (!bf16 || !kernel->hasAttr("tile.state") || amplifies())
      return;
    SmallVector<tile::MmaOp> products;
    kernel.walk([&](tile::MmaOp op) { products.push_back(op); });
    DenseMap<Value, Value> copies;
    for (tile::MmaOp op : products)
      if (fits(op))
        round(op, copies);
    OpPassManager simplify(kernel->getName().getIdentifier());
    simplify.addPass(createSimplifyMapsPass()); // rounding joins what is rounded
    if (!copies.empty() && failed(runPipeline(simplify, kernel)))
      signalPassFailure();
  }

private:
  /// Whether rounding would grow: where a delta rule writes more tokens at once than its state has
  /// rows, what they write cancels; a system of other products than keys with themselves need not
  /// contract.
  bool amplifies() {
    bool found = false;
    getOperation().walk([&](tile::SolveUnitLowerOp solve) {
      found |= isOfTwo(solve.getLower());
      auto loop = solve->getParentOfType<tile::ForOp>();
      for (Value carried : loop ? ValueRange(loop.getInits()) : ValueRange())
        if (TileType state = tileType(carried); state && state.getRank() == 2)
          found |= tileType(solve.getRhs()).getDim(0) > state.getDim(0);
    });
    return found;
  }

  /// Whether maps make the tile of a product of two different tiles.
  static bool isOfTwo(Value tile) {
    if (auto mma = tile.getDefiningOp<tile::MmaOp>())
      return mma.getA() != mma.getB();
    auto map = tile.getDefiningOp<tile::MapOp>();
    return map && llvm::any_of(map.getInputs(), isOfTwo);
  }

  struct Operand {
    Value tile;
    ArrayAttr dims;
    int64_t sum; ///< which of them
  };
  static std::pair<Operand, Operand> operandsOf(tile::MmaOp op) {
    StringRef name = op.getContracted()[0];
    Operand a{op.getA(), op.getADims(), positionOf(op.getADims(), name)};
    Operand b{op.getB(), op.getBDims(), positionOf(op.getBDims(), name)};
    if (isReadInRows(op.getResult()))
      std::swap(a, b);
    return {a, b};
  }

  /// Whether a product sums over the last dimension of what is made of the tile, as operand b.
  static bool isReadInRows(Value tile) {
    return llvm::any_of(tile.getUsers(), [&](Operation *user) {
      if (auto map = dyn_cast<tile::MapOp>(user))
        return map->getNumResults() == 1 && isReadInRows(map.getResult(0));
      auto mma = dyn_cast<tile::MmaOp>(user);
      return mma && mma.getB() == tile && positionOf(mma.getBDims(), mma.getContracted()[0]) == 1;
    });
  }

  /// Whether maps make the tile of products for the unit alone, if of any: others are made block by
  /// block in registers, where only their own lanes can be read.
  static bool isMadeByUnit(Value tile) {
    if (auto mma = tile.getDefiningOp<tile::MmaOp>())
      return mma->hasAttr(tile::kAtomAttr);
    auto map = tile.getDefiningOp<tile::MapOp>();
    return !map || llvm::all_of(map.getInputs(), isMadeByUnit);
  }

  /// Whether the lanes of a product run along the dimension of what maps make of it: of pairs made
  /// there both would be in one vector.
  static bool hasLanesAlong(Value tile, int64_t dim) {
    if (auto mma = tile.getDefiningOp<tile::MmaOp>()) // of few rows lanes may run along either
      return positionOf(mma.getADims(), mma.getCDims()[dim]) >= 0 ||
             tileType(tile).getDim(1 - dim) < kLanes;
    auto map = tile.getDefiningOp<tile::MapOp>();
    for (int64_t n = 0; map && n < static_cast<int64_t>(map.getInputs().size()); ++n)
      for (auto [inner, position] : llvm::enumerate(map.getInputPositions(n)))
        if (position == dim && hasLanesAlong(map.getInputs()[n], inner))
          return true;
    return false;
  }

  /// Whether the tiles are whole ones of the unit, or make pairs by vectors; see AssignLayouts.
  bool fits(tile::MmaOp op) {
    if (op.getContracted().size() != 1 || !tileType(op.getA()).getElementType().isF32() ||
        tileType(op.getA()).getRank() != 2 || tileType(op.getB()).getRank() != 2)
      return false;
    auto [a, b] = operandsOf(op);
    int64_t sums = tileType(a.tile).getDim(a.sum), rows = tileType(a.tile).getDim(1 - a.sum);
    if (dots)
      return sums % 2 == 0 && rows >= kLanes && !hasLanesAlong(a.tile, a.sum);
    return sums % tile::kAmxDepth == 0 && rows % tile::kAmxSide == 0 &&
           tileType(b.tile).getDim(1 - b.sum) >= tile::kAmxSide && isMadeByUnit(a.tile) &&
           isMadeByUnit(b.tile);
  }

  void round(tile::MmaOp op, DenseMap<Value, Value> &copies) {
    auto [a, b] = operandsOf(op);
    for (Value tile : {a.tile, b.tile})
      if (!copies.count(tile))
        copies[tile] = rounded(tile);
    op.getAMutable().set(copies[a.tile]);
    op.getBMutable().set(copies[b.tile]);
    op.setADimsAttr(a.dims);
    op.setBDimsAttr(b.dims);
    op.setPrecision(tile::Precision::BF16);
    if (!dots)
      op->setAttr(tile::kAtomAttr, StringAttr::get(op.getContext(), tile::kAmxAtom));
  }

  static Value rounded(Value tile) {
    Type type = BFloat16Type::get(tile.getContext());
    if (Value narrow = unwidened(tile, type); narrow && narrow.getDefiningOp())
      return narrow;
    return narrowed(tile, type);
  }

  static constexpr int64_t kLanes = 16; ///< f32 of the vectors that have dot products of bf16
  Option<bool> dots{*this, "dots", llvm::cl::desc("for dot products of pairs, without a unit")};
};

} // namespace

std::unique_ptr<Pass> createRoundProductsPass(const CpuLayoutOptions &options) {
  return std::make_unique<RoundProductsPass>(options);
}

} // namespace heddle::compiler
