// Step 1 of AssignLayouts: the orientation of each product, and what its unit asks of the operands.
#include "compiler/passes/cpu/Layouts.h"
#include "compiler/support/Names.h"

#include "llvm/ADT/SetVector.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

#include <map>

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;
using tile::TileType;

bool contiguousLoad(Value value, int64_t dim) {
  if (tile::MapOp map = value.getDefiningOp<tile::MapOp>())
    return map.getInputs().size() == 1 && contiguousLoad(map.getInputs()[0], dim);
  return value.getDefiningOp<tile::LoadOp>() && dim == tileType(value).getRank() - 1;
}

namespace {

class ProductOrienter {
public:
  ProductOrienter(tile::KernelOp kernel, const CpuLayoutOptions &options)
      : kernel(kernel), options(options), builder(kernel.getContext()) {}

  FailureOr<SmallVector<Product>> run() {
    if (failed(orientProducts()))
      return failure();
    widenOperands();
    return std::move(products);
  }

private:
  LogicalResult orientProducts();
  LogicalResult orient(Product &product);
  bool fitsAmx(Product &product);
  void chooseAtoms();
  void padSums(Product &product);
  void separateUses();
  void widenOperands();
  void widen(Product &product, OpOperand &operand);

  tile::KernelOp kernel;
  const CpuLayoutOptions &options;
  OpBuilder builder;
  SmallVector<Product> products;
};

/// The same, or a tile that a map makes: in scratch with that dimension contiguous.
bool contiguous(Value value, int64_t dim) {
  return value.getDefiningOp<tile::MapOp>() ? dim == tileType(value).getRank() - 1
                                            : contiguousLoad(value, dim);
}

LogicalResult ProductOrienter::orient(Product &product) {
  tile::MmaOp op = product.op;
  bool forUnit = op->hasAttr(tile::kAtomAttr); // by RoundProducts
  SmallVector<StringRef> sums = op.getContracted();
  if (sums.size() != 1 || tileType(op.getA()).getRank() != 2 || tileType(op.getB()).getRank() != 2)
    return op.emitError("the CPU target multiplies tiles of two dimensions, contracting one");
  product.sumA = positionOf(op.getADims(), sums[0]);
  product.sumB = positionOf(op.getBDims(), sums[0]);
  product.freeA = 1 - product.sumA;
  product.freeB = 1 - product.sumB;
  StringRef nameA = cast<StringAttr>(op.getADims()[product.freeA]).getValue();
  int64_t fromA = positionOf(op.getCDims(), nameA);
  int64_t rows = tileType(op.getA()).getDim(product.freeA);
  bool bf16 = tileType(op.getA()).getElementType().isBF16() &&
              tileType(op.getB()).getElementType().isBF16();
  // Rows along the lanes leave most of them idle; of bf16 they want a copy of the keys in f32 too.
  bool fewRows = !forUnit && (bf16 ? rows < options.lanes : rows * 2 <= options.lanes);
  if (fewRows && contiguous(op.getA(), product.sumA) && contiguous(op.getB(), product.sumB)) {
    product.kind = Product::Dot;
    product.lanesFromA = false;
  } else {
    product.lanesFromA = !fewRows;
  }
  product.lanes = product.lanesFromA ? fromA : 1 - fromA;
  bool even = tileType(op.getA()).getDim(product.sumA) % 2 == 0;
  bool inMemory =
      op.getA().getDefiningOp<tile::LoadOp>() && op.getB().getDefiningOp<tile::LoadOp>();
  product.pairs = options.bf16Dot && bf16 && even &&
                  (product.kind == Product::Dot ? inMemory : product.lanesFromA);
  product.amx = forUnit || (options.amx && bf16 && fitsAmx(product));
  return success();
}

/// Whether columns of zeros can follow the tile's own: it is a copy of rows of a tensor.
bool canPad(Value tile, int64_t dim) {
  auto load = tile.getDefiningOp<tile::LoadOp>();
  return load && dim == tileType(tile).getRank() - 1 &&
         load.getFill().value_or(APFloat(0.0)).isZero();
}

/// Sums of 16 x 16 over 32: pairs of the operand along the lanes, and a copy of the other with the
/// sum contiguous. Both must be there for products of this kind alone. Sums that are no multiple of
/// 32 are padded; the last rows of a result that are fewer than 16 share a tile with those before.
bool ProductOrienter::fitsAmx(Product &product) {
  auto extent = [](Value operand, int64_t dim) { return tileType(operand).getDim(dim); };
  tile::MmaOp op = product.op;
  bool multipliedAlike = llvm::all_of(op.getA().getUsers(), [&](Operation *user) {
    auto mma = dyn_cast<tile::MmaOp>(user);
    return mma && mma.getA() == op.getA() && mma.getB() != op.getA() &&
           mma.getInit() != op.getA() && mma.getADims() == op.getADims();
  });
  return product.kind == Product::Outer && product.lanesFromA && options.lanes == 16 &&
         extent(op.getA(), product.freeA) % tile::kAmxSide == 0 &&
         extent(op.getB(), product.freeB) >= tile::kAmxSide &&
         (extent(op.getA(), product.sumA) % tile::kAmxDepth == 0 ||
          (canPad(op.getA(), product.sumA) && canPad(op.getB(), product.sumB))) &&
         multipliedAlike && op.getB().getDefiningOp<tile::LoadOp>() && op.getB().hasOneUse();
}

LogicalResult ProductOrienter::orientProducts() {
  WalkResult result = kernel.walk([&](tile::MmaOp op) {
    Product product;
    product.op = op;
    if (failed(orient(product)))
      return WalkResult::interrupt();
    products.push_back(product);
    return WalkResult::advance();
  });
  chooseAtoms();
  return failure(result.wasInterrupted());
}

/// Products that share an operand are all of the matrix unit or none: its pairs suit no others.
void ProductOrienter::chooseAtoms() {
  auto sharesWithOthers = [&](Product &product) {
    return llvm::any_of(products, [&](Product &other) {
      return !other.amx && other.op.getA() == product.op.getA();
    });
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (Product &product : products)
      if (product.amx && sharesWithOthers(product)) {
        product.amx = false;
        changed = true;
      }
  }
  for (Product &product : products)
    if (product.amx) {
      product.pairs = true;
      product.op->setAttr(tile::kAtomAttr, builder.getStringAttr(tile::kAmxAtom));
      padSums(product);
    }
  separateUses();
}

/// Products of pairs read a tile as pairs or in rows, along either dimension: what is read in two
/// ways (keys that are the values), or by other ops too, is made once for each. Rows that dot
/// products read suit all others.
void ProductOrienter::separateUses() {
  std::map<std::tuple<void *, bool, int64_t>, Value> copies;
  auto asPairs = [](const Product &product, bool first) {
    return first || (!product.amx && product.sumB == 0);
  };
  auto separate = [&](const Product &product, bool first) {
    OpOperand &operand =
        first ? tile::MmaOp(product.op).getAMutable() : tile::MmaOp(product.op).getBMutable();
    auto tile = dyn_cast<OpResult>(operand.get());
    bool pairs = asPairs(product, first);
    int64_t sum = first ? product.sumA : product.sumB;
    if (!tile || !(pairs || product.amx))
      return;
    auto readAlike = [&](OpOperand &use) {
      return llvm::any_of(products, [&](const Product &other) {
        bool asFirst = use.getOperandNumber() == 0;
        return other.pairs && other.kind == Product::Outer && other.op == use.getOwner() &&
               use.getOperandNumber() < 2 && asPairs(other, asFirst) == pairs &&
               (asFirst ? other.sumA : other.sumB) == sum;
      });
    };
    auto [copy, isNew] = copies.try_emplace({tile.getAsOpaquePointer(), pairs, sum}, tile);
    if (isNew && !llvm::all_of(tile.getUses(), readAlike)) {
      builder.setInsertionPointAfter(tile.getOwner());
      copy->second = builder.clone(*tile.getOwner())->getResult(tile.getResultNumber());
    }
    operand.set(copy->second);
  };
  llvm::SetVector<Operation *> made;
  for (const Product &product : products)
    if (product.pairs && product.kind == Product::Outer)
      for (bool first : {true, false}) {
        if (Operation *op = (first ? product.a() : product.b()).getDefiningOp())
          made.insert(op);
        separate(product, first);
      }
  for (Operation *op : made)
    if (op->use_empty())
      op->erase();
}

/// Rows of zeros up to a multiple of what the matrix unit sums by an instruction:
///
///   load <?x80> -> <256x80>   becomes   load valid(n, 80) fill 0.0 : <?x80> -> <256x96>
void ProductOrienter::padSums(Product &product) {
  for (auto [operand, dim] :
       {std::pair(product.op.getA(), product.sumA), std::pair(product.op.getB(), product.sumB)}) {
    TileType type = tileType(operand);
    int64_t padded = llvm::alignTo(type.getDim(dim), tile::kAmxDepth);
    if (padded == type.getDim(dim))
      continue;
    auto load = operand.getDefiningOp<tile::LoadOp>();
    builder.setInsertionPoint(load);
    SmallVector<Value> valid(load.getValid());
    for (int64_t d = valid.size(); d < type.getRank(); ++d)
      valid.push_back(arith::ConstantIndexOp::create(builder, load.getLoc(), type.getDim(d)));
    load.getValidMutable().assign(valid);
    load.setFill(APFloat(0.0));
    SmallVector<int64_t> shape(type.getShape());
    shape[dim] = padded;
    operand.setType(type.withShape(shape));
  }
}

void ProductOrienter::widen(Product &product, OpOperand &operand) {
  TileType type = tileType(operand.get());
  if (type.getElementType().isF32())
    return;
  builder.setInsertionPointAfterValue(operand.get());
  SmallVector<StringRef> dims = {"r", "c"};
  Type wide = type.withElementType(builder.getF32Type());
  auto map = tile::MapOp::create(
      builder, operand.getOwner()->getLoc(), TypeRange{wide}, ValueRange{operand.get()},
      ArrayRef<SmallVector<StringRef>>{dims}, ArrayRef<StringRef>(dims),
      [&](OpBuilder &b, Location loc, ValueRange elements) {
        Value element = arith::ExtFOp::create(b, loc, b.getF32Type(), elements[0]);
        tile::YieldOp::create(b, loc, element);
      });
  operand.set(map.getResult(0));
}

void ProductOrienter::widenOperands() {
  for (Product &product : products) {
    if (product.pairs)
      continue;
    widen(product, product.op.getAMutable());
    widen(product, product.op.getBMutable());
    product.op.setPrecision(tile::Precision::F32);
  }
}

} // namespace

FailureOr<SmallVector<Product>> orientProducts(tile::KernelOp kernel,
                                               const CpuLayoutOptions &options) {
  return ProductOrienter(kernel, options).run();
}

} // namespace heddle::compiler
