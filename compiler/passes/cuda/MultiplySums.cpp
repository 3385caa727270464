// MultiplySums, for kernels that carry a state: a sum over a tile that a product reads as operand b
// becomes a product with a vector, since the tile lies in shared memory as products want it, and
// sums across threads and warps would be exchanged.
//
//   l[i] = reduce sum map(Q[i, d], z[d]) { q z }   ->   l[i] = mma z[d], Q[i, d]      a normaliser
//   l[i] = reduce sum A[i, j] dim(1)               ->   l[i] = mma ones[j], A[i, j]
//   z[d] = reduce sum K[j, d] dim(0)               ->   z[d] = mma ones[j], K[j, d]
//
// The sum is over what the product multiplies, rounded alike: a normaliser fits its numerator.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "ir/tile/TilePadding.h"

#include "llvm/ADT/StringSet.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

/// Whether a product of two tiles of two dimensions has `tile` as operand b.
bool isMultiplied(Value tile) {
  return llvm::any_of(tile.getUsers(), [&](Operation *user) {
    auto product = dyn_cast<tile::MmaOp>(user);
    std::optional<ProductDims> dims = product ? dimsOf(product) : std::nullopt;
    return dims && !dims->isVector() && product.getB() == tile;
  });
}

/// Whether what lies beyond the rows that are there may be summed: products ask that of both
/// operands, a sum of their product only.
bool isHarmless(Value tile, int64_t dim) {
  const tile::Padding::Kind kind = tile::paddingOf(tile, dim).kind;
  return kind != tile::Padding::Filled && kind != tile::Padding::Unspecified;
}

/// The terms of a sum over `dim` as a tile times a vector along it.
struct Terms {
  Value tile, vector; ///< vector null: ones
};

std::optional<Terms> termsOf(Value value, int64_t dim) {
  if (isMultiplied(value))
    return Terms{value, {}};
  auto map = value.getDefiningOp<tile::MapOp>();
  if (!map || map.getNumResults() != 1 || map.getInputs().size() != 2)
    return std::nullopt;
  auto product = map.getYield().getValues()[0].getDefiningOp<arith::MulFOp>();
  Block &body = map.getBody().front();
  if (!product || &body.front() != product || product.getLhs() == product.getRhs() ||
      !llvm::all_of(product->getOperands(), [](Value x) { return isa<BlockArgument>(x); }))
    return std::nullopt;
  for (unsigned n : {0, 1})
    if (map.getInputPositions(n) == SmallVector<int64_t>{0, 1} &&
        map.getInputPositions(1 - n) == SmallVector<int64_t>{dim} &&
        isMultiplied(map.getInputs()[n]))
      return Terms{map.getInputs()[n], map.getInputs()[1 - n]};
  return std::nullopt;
}

class MultiplySumsPass : public PassWrapper<MultiplySumsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MultiplySumsPass)
  StringRef getArgument() const override { return "cuda-multiply-sums"; }
  StringRef getDescription() const override {
    return "sums over operands of products become products with a vector";
  }

  void runOnOperation() override {
    if (!carriesState(getOperation()) || keepsStateInMemory())
      return;
    SmallVector<tile::ReduceOp> sums;
    getOperation().walk([&](tile::ReduceOp op) { sums.push_back(op); });
    for (tile::ReduceOp op : sums)
      multiply(op);
  }

private:
  /// Whether the kernel reads what it writes: a state of power features, a bank.
  bool keepsStateInMemory() {
    llvm::StringSet<> stored;
    getOperation().walk([&](tile::StoreOp op) { stored.insert(nameOf(op.getView())); });
    bool reads = false;
    getOperation().walk([&](tile::LoadOp op) { reads |= stored.contains(nameOf(op.getView())); });
    return reads;
  }

  static StringRef nameOf(Value view) { return view.getDefiningOp<tile::ViewOp>().getName(); }

  static void multiply(tile::ReduceOp op) {
    tile::TileType type = op.getTile().getType();
    const int64_t dim = op.getDim();
    if (op.getKind() != tile::Reduction::Sum || type.getRank() != 2 ||
        op.getInit().getType().getRank() != 1 || !type.getElementType().isF32())
      return;
    std::optional<Terms> terms = termsOf(op.getTile(), dim);
    Value vector = terms ? terms->vector : Value();
    if (!terms || !isHarmless(terms->tile, dim) || (vector && !isHarmless(vector, 0)))
      return;
    OpBuilder builder(op);
    if (!vector)
      vector = tile::FillOp::create(builder, op.getLoc(), type.withShape({type.getDim(dim)}), 1.0);
    const StringRef names[] = {"r", "c"};
    Value sum = tile::MmaOp::create(builder, op.getLoc(), vector, names[dim], terms->tile, names,
                                    op.getInit(), names[1 - dim])
                    .getResult();
    op.getResult().replaceAllUsesWith(sum);
    op.erase();
  }
};

} // namespace

std::unique_ptr<Pass> createMultiplySumsPass() { return std::make_unique<MultiplySumsPass>(); }

} // namespace heddle::compiler::cuda
