// Decides for the CPU where each tile lives and which of its dimensions runs along the SIMD lanes:
//
//   %Q = load (64x128)      -> local, lanes along i: transposed once
//   %K = load (128x128)     -> global: elements are broadcast from memory as they lie there
//   %S = mma %Q, %K         -> reg: accumulators, consumed where they are made
//   %s = map %S             -> local, lanes along i      %m, %r (64) -> reg: four vectors
//   %O = mma %P, %V         -> local, lanes along i
//
// Steps: orient each product; spread the lane dimension through maps and reductions; choose spaces;
// then write the types.
#include "compiler/passes/CpuPasses.h"
#include "compiler/support/Names.h"
#include "ir/tile/TileDialect.h"
#include "ir/tile/TileLayouts.h"

#include "llvm/ADT/EquivalenceClasses.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

#include <map>

using namespace mlir;

namespace heddle::compiler {
namespace {

using tile::Space;
using tile::TileType;
using tile::tileType;

/// How a product uses an operand.
struct Product {
  tile::MmaOp op;
  enum Kind { Outer, Dot } kind = Outer; ///< lanes along a result dimension, or along the sum
  int64_t lanes = 0;                     ///< dimension of the result along the lanes
  bool lanesFromA = true;                ///< which operand has it
  bool pairs = false;                    ///< dot products of bf16 pairs
  bool amx = false;                      ///< .. of whole tiles, by a matrix unit
  int64_t sumA = 0, sumB = 0, freeA = 0, freeB = 0; ///< dimensions of the operands

  Value lanesOperand() { return lanesFromA ? op.getA() : op.getB(); }
  Value scalarOperand() { return lanesFromA ? op.getB() : op.getA(); }
};

class LayoutAssigner {
public:
  LayoutAssigner(tile::KernelOp kernel, const CpuLayoutOptions &options)
      : kernel(kernel), options(options), builder(kernel.getContext()) {}

  LogicalResult run() {
    if (failed(orientProducts()))
      return failure();
    widenOperands();
    spreadLanes();
    chooseSpaces();
    matchOperands();
    carryInPlace();
    kernel.setStage(tile::Stage::Concrete);
    return success();
  }

private:
  // Step 1.
  LogicalResult orientProducts();
  LogicalResult orient(Product &product);
  bool fitsAmx(Product &product);
  void chooseAtoms();
  void padSums(Product &product);
  void separateUses();
  // Step 2: operands that are not f32 become f32, but for dot products of pairs.
  void widenOperands();
  void widen(Product &product, OpOperand &operand);
  // Step 3.
  void spreadLanes();
  int64_t hardLanesOf(Value value);
  int64_t wishedLanesOf(Value value);
  int64_t lanesOf(Value value);
  void join(Value a, int64_t dimA, Value b, int64_t dimB);
  // Tiles of one dimension follow the matrices they meet.
  void joinRows();
  void meet(Value row, Value matrix, int64_t dim);
  bool inMemory(Value row);
  int64_t rowsOfUnit(Value value);
  bool isTurned(Value value);
  // Step 4.
  void chooseSpaces();
  void placeLoad(tile::LoadOp load);
  void placeMap(tile::MapOp map);
  void placeLoop(tile::ForOp loop);
  void place(Value value, Attribute layout, Space space) {
    value.setType(tileType(value).withPlace(layout, space));
  }
  void placeLanes(Value value, int64_t dim, Space space) {
    int64_t width = dim < 0 ? 1 : options.lanes;
    place(value, tile::LanesAttr::get(kernel.getContext(), std::max<int64_t>(dim, 0), width),
          space);
  }
  /// Along its lanes, or the last dimension of a matrix without.
  void placeInOrder(Value value, Space space) {
    int64_t lanes = lanesOf(value);
    placeLanes(value,
               lanes < 0 && tileType(value).getRank() > 1 ? tileType(value).getRank() - 1 : lanes,
               space);
  }
  void placePairs(Value value, int64_t lanes, int64_t packed) {
    place(value, tile::PairsAttr::get(kernel.getContext(), lanes, options.lanes, packed, 2),
          Space::Local);
  }
  void placeGlobal(Value value) {
    place(value, tile::StridedAttr::get(kernel.getContext()), Space::Global);
  }
  bool needsMemory(Value value);
  bool readByColumns(Value value);
  std::optional<std::pair<int64_t, int64_t>> pairsFor(Value value);
  // Step 5.
  void matchOperands();
  void match(OpOperand &operand, Type type);
  void carryInPlace();

  tile::KernelOp kernel;
  const CpuLayoutOptions &options;
  OpBuilder builder;
  SmallVector<Product> products;
  llvm::EquivalenceClasses<std::pair<void *, int64_t>> classes;
  DenseSet<std::pair<void *, int64_t>> lanesLeaders, wishes;
  llvm::EquivalenceClasses<void *> rowClasses;
  /// How matrices read the tiles of a class: along their lanes, across them, or in both ways.
  struct Meetings {
    bool along = false, across = false, memory = false;
  };
  DenseMap<void *, Meetings> meetings;
};

//===------------------------------------------------------------------------------------------===//
// Step 1: orientation
//===------------------------------------------------------------------------------------------===//

/// Whether the tile is a load (possibly widened) whose last dimension is `dim`: contiguous memory.
bool contiguousLoad(Value value, int64_t dim) {
  if (tile::MapOp map = value.getDefiningOp<tile::MapOp>())
    return map.getInputs().size() == 1 && contiguousLoad(map.getInputs()[0], dim);
  return value.getDefiningOp<tile::LoadOp>() && dim == tileType(value).getRank() - 1;
}

/// The same, or a tile that a map makes: in scratch with that dimension contiguous.
bool contiguous(Value value, int64_t dim) {
  return value.getDefiningOp<tile::MapOp>() ? dim == tileType(value).getRank() - 1
                                            : contiguousLoad(value, dim);
}

LogicalResult LayoutAssigner::orient(Product &product) {
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
bool LayoutAssigner::fitsAmx(Product &product) {
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

LogicalResult LayoutAssigner::orientProducts() {
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
void LayoutAssigner::chooseAtoms() {
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

/// The matrix unit reads a tile as pairs or in rows, along either dimension: what is read in two
/// ways, or by other ops too, is made once for each.
void LayoutAssigner::separateUses() {
  std::map<std::tuple<void *, bool, int64_t>, Value> copies;
  auto separate = [&](OpOperand &operand, bool first, int64_t sum) {
    auto tile = cast<OpResult>(operand.get());
    auto readAlike = [&](Operation *user) {
      return llvm::any_of(products, [&](Product &other) {
        return other.amx && other.op == user &&
               (first ? other.op.getA() : other.op.getB()) == tile &&
               (first ? other.sumA : other.sumB) == sum;
      });
    };
    auto [copy, isNew] = copies.try_emplace({tile.getAsOpaquePointer(), first, sum}, tile);
    if (isNew && !llvm::all_of(tile.getUsers(), readAlike)) {
      builder.setInsertionPointAfter(tile.getOwner());
      copy->second = builder.clone(*tile.getOwner())->getResult(tile.getResultNumber());
    }
    operand.set(copy->second);
  };
  for (Product &product : products)
    if (product.amx) {
      separate(product.op.getAMutable(), true, product.sumA);
      separate(product.op.getBMutable(), false, product.sumB);
    }
}

/// Rows of zeros up to a multiple of what the matrix unit sums by an instruction:
///
///   load <?x80> -> <256x80>   becomes   load valid(n, 80) fill 0.0 : <?x80> -> <256x96>
void LayoutAssigner::padSums(Product &product) {
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

//===------------------------------------------------------------------------------------------===//
// Step 2: widening
//===------------------------------------------------------------------------------------------===//

void LayoutAssigner::widen(Product &product, OpOperand &operand) {
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

void LayoutAssigner::widenOperands() {
  for (Product &product : products) {
    if (product.pairs)
      continue;
    widen(product, product.op.getAMutable());
    widen(product, product.op.getBMutable());
    product.op.setPrecision(tile::Precision::F32);
  }
}

//===------------------------------------------------------------------------------------------===//
// Step 3: lanes
//===------------------------------------------------------------------------------------------===//

int64_t rankOf(Value value) { return tileType(value) ? tileType(value).getRank() : -1; }

/// Coordinates and constants are made anew for each reader, whatever its lanes.
bool madeAnew(Value value) {
  return isa_and_nonnull<tile::IndexOp, tile::FillOp>(value.getDefiningOp());
}

void LayoutAssigner::join(Value a, int64_t dimA, Value b, int64_t dimB) {
  if (rankOf(a) >= 2 && rankOf(b) >= 2 && !madeAnew(a) && !madeAnew(b))
    classes.unionSets({a.getAsOpaquePointer(), dimA}, {b.getAsOpaquePointer(), dimB});
}

void LayoutAssigner::spreadLanes() {
  auto joinAll = [&](Value a, Value b) {
    for (int64_t dim = 0; tileType(a) && dim < tileType(a).getRank(); ++dim)
      join(a, dim, b, dim);
  };
  kernel.walk([&](Operation *op) {
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      for (Value result : map.getResults())
        joinAll(map.getResult(0), result);
      for (auto [n, input] : llvm::enumerate(map.getInputs())) {
        for (auto [dim, target] : llvm::enumerate(map.getInputPositions(n)))
          join(input, dim, map.getResult(0), target);
      }
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      for (int64_t dim = 0, out = 0; dim < tileType(reduce.getTile()).getRank(); ++dim)
        if (dim != static_cast<int64_t>(reduce.getDim()))
          join(reduce.getTile(), dim, reduce.getResult(), out++);
    } else if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      joinAll(mma.getInit(), mma.getResult());
    } else if (auto scan = dyn_cast<tile::ScanOp>(op)) {
      joinAll(scan.getTile(), scan.getResult());
    } else if (auto solve = dyn_cast<tile::SolveUnitLowerOp>(op)) {
      joinAll(solve.getRhs(), solve.getResult());
    } else if (auto topk = dyn_cast<tile::TopkOp>(op)) {
      joinAll(topk.getBestScore(), topk.getResultScore());
      joinAll(topk.getBestId(), topk.getResultId());
    } else if (auto loop = dyn_cast<tile::ForOp>(op)) {
      for (auto [n, init] : llvm::enumerate(loop.getInits())) {
        joinAll(loop.getIterArgs()[n], init);
        joinAll(loop.getIterArgs()[n], loop.getResult(n));
        joinAll(loop.getIterArgs()[n], loop.getYield().getValues()[n]);
      }
    }
  });
  auto leader = [&](Value value, int64_t dim) {
    return classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim});
  };
  // Without products vectors run along the memory that matrices go to.
  if (products.empty())
    kernel.walk([&](tile::StoreOp store) {
      if (rankOf(store.getTile()) == 2)
        lanesLeaders.insert(leader(store.getTile(), 1));
    });
  for (Product &product : products) {
    lanesLeaders.insert(leader(product.op.getResult(), product.lanes));
    if (product.kind == Product::Outer && !product.amx)
      wishes.insert(
          leader(product.lanesOperand(), product.lanesFromA ? product.freeA : product.freeB));
  }
  joinRows();
}

/// The dimension of a matrix along the lanes because a product writes it so, or -1.
int64_t LayoutAssigner::hardLanesOf(Value value) {
  for (int64_t dim = 0; dim < tileType(value).getRank(); ++dim)
    if (lanesLeaders.count(classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim})))
      return dim;
  return -1;
}

/// The dimension along which some product reads what is made of the matrix by lanes, or -1.
int64_t LayoutAssigner::wishedLanesOf(Value value) {
  for (int64_t dim = 0; dim < tileType(value).getRank(); ++dim)
    if (wishes.count(classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim})))
      return dim;
  return -1;
}

/// The dimension along the lanes, or -1. A tile that only feeds a product is as that reads it.
int64_t LayoutAssigner::lanesOf(Value value) {
  if (tileType(value).getRank() < 2) {
    Meetings met = meetings.lookup(rowClasses.getOrInsertLeaderValue(value.getAsOpaquePointer()));
    return met.along || inMemory(value) ? 0 : -1;
  }
  if (int64_t lanes = hardLanesOf(value); lanes >= 0)
    return lanes;
  for (Product &product : products)
    if (product.kind == Product::Outer && value == product.lanesOperand())
      return product.lanesFromA ? product.freeA : product.freeB;
  return wishedLanesOf(value);
}

/// Notes that `row` runs along dimension `dim` of a matrix.
void LayoutAssigner::meet(Value row, Value matrix, int64_t dim) {
  int64_t lanes = lanesOf(matrix);
  Meetings &met = meetings[rowClasses.getOrInsertLeaderValue(row.getAsOpaquePointer())];
  // Lanes of a matrix that no product orders are its last dimension; rows do not depend on that.
  (dim == lanes || (lanes < 0 && dim == tileType(matrix).getRank() - 1) ? met.along : met.across) =
      true;
}

/// Whether a tile of one dimension lies in scratch, where it is read along and across the lanes.
bool LayoutAssigner::inMemory(Value row) {
  if (rankOf(row) != 1)
    return false;
  Meetings met = meetings.lookup(rowClasses.getOrInsertLeaderValue(row.getAsOpaquePointer()));
  constexpr int64_t kUnrolled = 16; // more splat vectors would be too much code
  bool many = tileType(row).getDim(0) > kUnrolled;
  return met.memory || (met.along && met.across) || (!met.along && many);
}

void LayoutAssigner::joinRows() {
  auto unite = [&](Value a, Value b) {
    if (rankOf(a) == 1 && rankOf(b) == 1 && !madeAnew(a) && !madeAnew(b))
      rowClasses.unionSets(a.getAsOpaquePointer(), b.getAsOpaquePointer());
  };
  kernel.walk([&](Operation *op) {
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      for (Value result : map.getResults())
        for (Value input : map.getInputs())
          unite(result, input);
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      unite(reduce.getInit(), reduce.getResult());
    } else if (auto scan = dyn_cast<tile::ScanOp>(op)) {
      unite(scan.getTile(), scan.getResult());
    } else if (auto loop = dyn_cast<tile::ForOp>(op)) {
      for (auto [n, result] : llvm::enumerate(loop.getResults()))
        for (Value same : {Value(loop.getIterArgs()[n]), Value(loop.getInits()[n]),
                           Value(loop.getYield().getValues()[n])})
          unite(result, same);
    }
  });
  kernel.walk([&](Operation *op) {
    if (auto map = dyn_cast<tile::MapOp>(op)) {
      for (auto [n, input] : llvm::enumerate(map.getInputs()))
        if (rankOf(input) == 1 && rankOf(map.getResult(0)) >= 2) {
          meet(input, map.getResult(0), map.getInputPositions(n)[0]);
          if (isTurned(map.getResult(0))) // row by row in a loop
            meetings[rowClasses.getOrInsertLeaderValue(input.getAsOpaquePointer())].memory = true;
        }
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      if (rankOf(reduce.getResult()) == 1)
        meet(reduce.getResult(), reduce.getTile(), reduce.getDim() == 0 ? 1 : 0);
    }
    // Running sums and sums of rows go through memory, and sums along lanes that are not all there.
    Value row = isa<tile::ScanOp, tile::ReduceOp>(op) ? op->getOperand(0) : Value();
    if (auto reduce = dyn_cast<tile::ReduceOp>(op); reduce && rankOf(row) == 2) {
      int64_t lanes = lanesOf(row), dim = reduce.getDim();
      bool along = dim == (lanes < 0 ? 1 : lanes);
      row = along && tileType(row).getDim(dim) % options.lanes ? reduce.getResult() : Value();
    }
    if (row && rankOf(row) == 1)
      meetings[rowClasses.getOrInsertLeaderValue(row.getAsOpaquePointer())].memory = true;
  });
}

//===------------------------------------------------------------------------------------------===//
// Step 4: spaces
//===------------------------------------------------------------------------------------------===//

/// A product's operand that must lie in memory as bf16 pairs: (lanes, packed).
std::optional<std::pair<int64_t, int64_t>> LayoutAssigner::pairsFor(Value value) {
  for (Product &product : products) {
    if (!product.pairs || product.kind == Product::Dot)
      continue;
    bool isA = product.op.getA() == value, isB = product.op.getB() == value;
    if (!isA && !isB)
      continue;
    int64_t sum = isA ? product.sumA : product.sumB, free = 1 - sum;
    bool readByLanes = value == product.lanesOperand();
    if (product.amx && !readByLanes)
      continue;
    if (readByLanes || sum == 0 || !value.getDefiningOp<tile::LoadOp>())
      return std::make_pair(free, sum);
  }
  return std::nullopt;
}

/// The dimension that lies side by side in what the matrix unit reads in rows; -1 for other tiles.
int64_t LayoutAssigner::rowsOfUnit(Value value) {
  for (Product &product : products)
    if (product.amx && value == product.scalarOperand())
      return product.sumB;
  return -1;
}

/// Whether a map for the matrix unit, or one that is made of the tile, has the rows of what it is
/// made of along the lanes.
bool LayoutAssigner::isTurned(Value value) {
  auto pairs = pairsFor(value);
  bool across = rowsOfUnit(value) == 0 || (pairs && pairs->first == 0 && pairs->second == 1);
  return (across && hardLanesOf(value) != 0) ||
         llvm::any_of(value.getUsers(), [&](Operation *user) {
           return isa<tile::MapOp>(user) && rankOf(user->getResult(0)) == 2 &&
                  isTurned(user->getResult(0));
         });
}

/// Inside a loop over the tiles of a support nothing beyond `valid` counts, so it is never read.
bool clippedByLoop(Operation *op) {
  auto loop = op->getParentOfType<tile::ForOp>();
  return loop && loop.getKind() != tile::LoopKind::Any;
}

/// Whether a product of many rows reads the tile a few columns at a time, each down all rows. Rows
/// of a tensor lie far apart, with those of other heads between: such columns fall into a few sets
/// of the caches. A copy pays where several register blocks of rows share it.
bool LayoutAssigner::readByColumns(Value value) {
  return llvm::any_of(products, [&](Product &product) {
    int64_t sum = product.lanesFromA ? product.sumB : product.sumA;
    int64_t free = product.lanesFromA ? product.freeA : product.freeB;
    return product.kind == Product::Outer && value == product.scalarOperand() && sum == 0 &&
           tileType(product.lanesOperand()).getDim(free) > 4 * options.lanes;
  });
}

/// Whether the load's kernel stores to the tensor it loads from.
bool isWritten(tile::LoadOp load) {
  auto view = load.getView().getDefiningOp<tile::ViewOp>();
  return view && load->getParentOfType<tile::KernelOp>()
                     .walk([&](tile::StoreOp store) {
                       auto target = store.getView().getDefiningOp<tile::ViewOp>();
                       bool same = target && target.getName() == view.getName();
                       return same ? WalkResult::interrupt() : WalkResult::advance();
                     })
                     .wasInterrupted();
}

void LayoutAssigner::placeLoad(tile::LoadOp load) {
  Value value = load.getResult();
  TileType type = tileType(value);
  int64_t last = type.getRank() - 1;
  if (type.getRank() == 0)
    return placeLanes(value, -1, Space::Reg);
  if (type.getRank() == 1) {
    bool carried = llvm::any_of(value.getUsers(), llvm::IsaPred<tile::ForOp>);
    if (!inMemory(value) && (lanesOf(value) == 0 || carried)) // as the loop has it
      return placeLanes(value, lanesOf(value), Space::Reg);
    return load.getValid().empty() || clippedByLoop(load) ? placeGlobal(value)
                                                          : placeLanes(value, 0, Space::Local);
  }
  if (auto pairs = pairsFor(value))
    return placePairs(value, pairs->first, pairs->second);
  if (int64_t lanes = rowsOfUnit(value); lanes >= 0)
    return placeLanes(value, lanes, Space::Local);
  // What a product starts from lies as its result does. What the kernel also writes is read at
  // once: later it may be another value.
  if (isWritten(load))
    return placeInOrder(value, Space::Local);
  for (Operation *user : value.getUsers())
    if (auto mma = dyn_cast<tile::MmaOp>(user); mma && mma.getInit() == value)
      return placeInOrder(value, Space::Local);
  int64_t lanes = hardLanesOf(value);
  bool multiplied = false;
  for (Product &product : products) {
    if (product.kind == Product::Dot || (product.op.getA() != value && product.op.getB() != value))
      continue;
    if (value == product.lanesOperand())
      lanes = product.lanesFromA ? product.freeA : product.freeB;
    multiplied = true;
  }
  // Read more than once across memory, it is turned once; maps that read it once turn it
  // themselves.
  if (lanes < 0 && !value.hasOneUse())
    lanes = wishedLanesOf(value);
  if (lanes >= 0 && lanes != last)
    return placeLanes(value, lanes, Space::Local);
  if (readByColumns(value))
    return placeLanes(value, last, Space::Local);
  // What a product reads again and again must not be masked each time.
  if (multiplied && !load.getValid().empty() && !clippedByLoop(load))
    return placeLanes(value, last, Space::Local);
  placeGlobal(value);
}

/// How many reductions and products lie between the kernel's loads and the value, counted inside
/// the value's block: what is used after a reduction over it must be kept in memory.
int64_t level(Value value, Block *block, DenseMap<Value, int64_t> &memo) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != block || isa<tile::ForOp>(op))
    return 0;
  auto found = memo.find(value);
  if (found != memo.end())
    return found->second;
  int64_t highest = 0;
  for (Value operand : op->getOperands())
    if (tileType(operand))
      highest = std::max(highest, level(operand, block, memo));
  if (isa<tile::ReduceOp, tile::MmaOp>(op))
    ++highest;
  return memo[value] = highest;
}

/// Whether a store reads the tile, through maps made where they are read.
bool isStored(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<tile::StoreOp>(user) || (isa<tile::MapOp>(user) && isStored(user->getResult(0)));
  });
}

/// Whether some use reads the tile other than point by point in the nest that makes it.
bool LayoutAssigner::needsMemory(Value value) {
  DenseMap<Value, int64_t> memo;
  Block *block = value.getParentBlock();
  int64_t own = level(value, block, memo);
  if (value.getDefiningOp<tile::MmaOp>() && isStored(value))
    return true; // stores go line by line, products in blocks
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (user->getBlock() != block || isa<tile::ForOp, tile::YieldOp>(user))
      return true;
    if (auto mma = dyn_cast<tile::MmaOp>(user)) {
      if (value != mma.getInit())
        return true;
    } else if (auto map = dyn_cast<tile::MapOp>(user)) {
      if (rankOf(map.getResult(0)) > rankOf(value) && rankOf(value) > 1)
        return true; // would be made again for each point of the third dimension
      for (Value operand : map.getInputs())
        if (level(operand, block, memo) > own)
          return true;
    } else if (!isa<tile::ReduceOp, tile::StoreOp>(user)) {
      return true;
    }
  }
  return false;
}

void LayoutAssigner::placeMap(tile::MapOp map) {
  for (Value result : map.getResults()) {
    int64_t lanes = lanesOf(result);
    if (tileType(result).getRank() < 2) {
      placeLanes(result, lanes, inMemory(result) ? Space::Local : Space::Reg);
      continue;
    }
    bool widened = map.getInputs().size() == 1 && hardLanesOf(result) < 0;
    if (lanes < 0)
      lanes = tileType(result).getRank() - 1;
    bool readAsItLies =
        widened && contiguousLoad(result, lanes) && llvm::none_of(products, [&](Product &product) {
          return product.kind == Product::Outer && result == product.scalarOperand();
        });
    if (auto pairs = pairsFor(result))
      placePairs(result, pairs->first, pairs->second);
    else if (int64_t rows = rowsOfUnit(result); rows >= 0)
      placeLanes(result, rows, Space::Local);
    else
      placeLanes(result, lanes, needsMemory(result) && !readAsItLies ? Space::Local : Space::Reg);
  }
}

void LayoutAssigner::placeLoop(tile::ForOp loop) {
  for (auto [n, result] : llvm::enumerate(loop.getResults())) {
    if (!tileType(result))
      continue;
    bool registers = tileType(result).getRank() < 2 && !inMemory(result);
    Space space = registers ? Space::Reg : Space::Local;
    int64_t lanes = lanesOf(result);
    if (space == Space::Local && lanes < 0)
      lanes = tileType(result).getRank() - 1;
    placeLanes(result, lanes, space);
    placeLanes(loop.getIterArgs()[n], lanes, space);
  }
}

void LayoutAssigner::chooseSpaces() {
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (auto load = dyn_cast<tile::LoadOp>(op)) {
      placeLoad(load);
    } else if (auto map = dyn_cast<tile::MapOp>(op)) {
      placeMap(map);
    } else if (auto loop = dyn_cast<tile::ForOp>(op)) {
      placeLoop(loop);
    } else if (isa<tile::FillOp, tile::IndexOp>(op)) {
      placeInOrder(op->getResult(0), Space::Reg);
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      Value result = reduce.getResult();
      bool memory = inMemory(result) || rankOf(result) == 2;
      placeInOrder(result, memory ? Space::Local : Space::Reg);
    } else if (isa<tile::ScanOp, tile::SolveUnitLowerOp, tile::TopkOp>(op)) {
      for (Value result : op->getResults())
        placeInOrder(result, Space::Local);
    } else if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      placeLanes(mma.getResult(), lanesOf(mma.getResult()),
                 needsMemory(mma.getResult()) || mma->hasAttr(tile::kAtomAttr) ? Space::Local
                                                                               : Space::Reg);
    }
  });
}

//===------------------------------------------------------------------------------------------===//
// Step 5: loop-carried tiles stay in one place
//===------------------------------------------------------------------------------------------===//

/// Whether an op that reads `read` needs one point of it for a point of what it makes.
bool readsPoints(Operation *op, Value read) {
  if (auto mma = dyn_cast<tile::MmaOp>(op))
    return mma.getA() != read && mma.getB() != read;
  auto map = dyn_cast<tile::MapOp>(op);
  for (unsigned n = 0; map && n < map.getInputs().size(); ++n) {
    SmallVector<int64_t> positions = map.getInputPositions(n);
    if (map.getInputs()[n] == read &&
        (positions.size() != map.getExtents().size() ||
         !llvm::equal(positions, llvm::seq<int64_t>(0, positions.size()))))
      return false;
  }
  return bool(map);
}

/// Whether `user` has read `read` before `op` writes over it, or point by point with it. What is
/// made in registers is made where that is read.
bool readsInTime(Operation *user, Value read, Operation *op, bool points = true) {
  points = points && readsPoints(user, read);
  if (user == op)
    return points;
  if (user->getBlock() != op->getBlock() || !user->isBeforeInBlock(op))
    return false;
  return llvm::all_of(user->getResults(), [&](Value result) {
    TileType type = tileType(result);
    bool streamed = type && type.getSpace() == Space::Reg && isa<tile::MapOp, tile::MmaOp>(user);
    return !streamed || llvm::all_of(result.getUsers(), [&](Operation *next) {
      return readsInTime(next, result, op, points);
    });
  });
}

/// Whether `value`, yielded for iter argument `carried`, may be written where `carried` lies: its
/// op is the last reader of the old value and reads it point by point.
bool madeInPlace(Value value, Value carried) {
  Operation *op = value.getDefiningOp();
  return op && op->getBlock() == carried.getParentBlock() && tileType(value) == tileType(carried) &&
         value.hasOneUse() && isa<tile::MmaOp, tile::MapOp>(op) &&
         llvm::all_of(carried.getUsers(),
                      [&](Operation *user) { return readsInTime(user, carried, op); });
}

/// Products, running sums, sums and triangular systems have one type for what they start from and
/// what they write.
void LayoutAssigner::matchOperands() {
  kernel.walk([&](Operation *op) {
    if (auto loop = dyn_cast<tile::ForOp>(op)) {
      // What is made where it is read starts a loop in any layout.
      for (auto [init, result] : llvm::zip(loop.getInitsMutable(), loop.getResults()))
        if (auto fill = init.get().getDefiningOp<tile::FillOp>();
            fill && tileType(result).getSpace() == Space::Reg &&
            result.getType() != fill.getType()) {
          builder.setInsertionPoint(op);
          init.set(tile::FillOp::create(builder, op->getLoc(), tileType(result),
                                        fill.getValue().convertToDouble()));
        }
      return;
    }
    if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      TileType type = tileType(mma.getResult());
      if (mma.getInit().getDefiningOp<tile::FillOp>())
        match(mma.getInitMutable(), type.withPlace(type.getLayout(), Space::Reg));
    } else if (auto topk = dyn_cast<tile::TopkOp>(op)) {
      match(topk.getBestScoreMutable(), topk.getResultScore().getType());
      match(topk.getBestIdMutable(), topk.getResultId().getType());
    } else if (isa<tile::ScanOp, tile::SolveUnitLowerOp, tile::ReduceOp>(op)) {
      match(op->getOpOperand(isa<tile::ScanOp>(op) ? 0 : 1), op->getResult(0).getType());
    }
  });
}

/// Makes the operand of that type.
void LayoutAssigner::match(OpOperand &operand, Type type) {
  Operation *op = operand.getOwner();
  if (operand.get().getType() == type)
    return;
  builder.setInsertionPoint(op);
  if (auto fill = operand.get().getDefiningOp<tile::FillOp>()) // made where it is read
    operand.set(tile::FillOp::create(builder, op->getLoc(), cast<TileType>(type),
                                     fill.getValue().convertToDouble()));
  else
    operand.set(tile::ConvertOp::create(builder, op->getLoc(), type, operand.get(), UnitAttr()));
}

void LayoutAssigner::carryInPlace() {
  SmallVector<tile::ForOp> loops;
  kernel.walk([&](tile::ForOp loop) { loops.push_back(loop); });
  for (tile::ForOp loop : loops)
    for (auto [n, result] : llvm::enumerate(loop.getResults())) {
      TileType type = tileType(result);
      if (!type || type.getSpace() != Space::Local)
        continue;
      Value init = loop.getInits()[n];
      bool fromLoop = init.getDefiningOp<tile::ForOp>() && init.hasOneUse();
      if (!fromLoop) {
        builder.setInsertionPoint(loop);
        loop.getInitsMutable()[n].set(
            tile::ConvertOp::create(builder, loop.getLoc(), type, init, UnitAttr()));
      }
      tile::YieldOp yield = loop.getYield();
      Value next = yield.getValues()[n];
      if (next != loop.getIterArgs()[n] && !madeInPlace(next, loop.getIterArgs()[n])) {
        builder.setInsertionPoint(yield);
        yield->setOperand(n,
                          tile::ConvertOp::create(builder, loop.getLoc(), type, next, UnitAttr()));
      }
    }
}

class AssignLayoutsPass : public PassWrapper<AssignLayoutsPass, OperationPass<tile::KernelOp>> {
public:
  explicit AssignLayoutsPass(const CpuLayoutOptions &options) : options(options) {}
  StringRef getArgument() const override { return "assign-layouts-cpu"; }
  StringRef getDescription() const override {
    return "layout and space of every tile, for the CPU";
  }

  void runOnOperation() override {
    if (getOperation().getStage() == tile::Stage::Concrete)
      return;
    if (failed(LayoutAssigner(getOperation(), options).run()))
      signalPassFailure();
  }

private:
  CpuLayoutOptions options;
};

} // namespace

std::unique_ptr<Pass> createAssignLayoutsPass(const CpuLayoutOptions &options) {
  return std::make_unique<AssignLayoutsPass>(options);
}

} // namespace heddle::compiler
