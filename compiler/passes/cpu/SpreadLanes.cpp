// Step 2 of AssignLayouts: which dimension of each tile runs along the lanes.
#include "compiler/passes/cpu/Layouts.h"

using namespace mlir;

namespace heddle::compiler {

using tile::tileType;
using tile::TileType;

Lanes::Lanes(tile::KernelOp kernel, const CpuLayoutOptions &options, ArrayRef<Product> products)
    : options(options), products(products) {
  spread(kernel);
  joinRows(kernel);
}

Lanes::Meetings &Lanes::meetingsOf(Value row) {
  return meetings[rowClasses.getOrInsertLeaderValue(row.getAsOpaquePointer())];
}

/// Coordinates and constants are made anew for each reader, whatever its lanes.
static bool madeAnew(Value value) {
  return isa_and_nonnull<tile::IndexOp, tile::FillOp>(value.getDefiningOp());
}

void Lanes::join(Value a, int64_t dimA, Value b, int64_t dimB) {
  if (rankOf(a) >= 2 && rankOf(b) >= 2 && !madeAnew(a) && !madeAnew(b))
    classes.unionSets({a.getAsOpaquePointer(), dimA}, {b.getAsOpaquePointer(), dimB});
}

void Lanes::spread(tile::KernelOp kernel) {
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
        written.insert(leader(store.getTile(), 1));
    });
  for (const Product &product : products) {
    written.insert(leader(tile::MmaOp(product.op).getResult(), product.lanes));
    if (product.kind == Product::Outer && !product.pairs)
      wishes.insert(
          leader(product.lanesOperand(), product.lanesFromA ? product.freeA : product.freeB));
  }
}

int64_t Lanes::writtenOf(Value value) {
  for (int64_t dim = 0; dim < tileType(value).getRank(); ++dim)
    if (written.count(classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim})))
      return dim;
  return -1;
}

int64_t Lanes::wishedOf(Value value) {
  for (int64_t dim = 0; dim < tileType(value).getRank(); ++dim)
    if (wishes.count(classes.getOrInsertLeaderValue({value.getAsOpaquePointer(), dim})))
      return dim;
  return -1;
}

int64_t Lanes::of(Value value) {
  if (tileType(value).getRank() < 2) {
    Meetings met = meetingsOf(value);
    bool alone = rankOf(value) == 1 && !met.across; // no matrix wants an element in every lane
    return met.along || alone || inMemory(value) ? 0 : -1;
  }
  if (auto pairs = pairsFor(value))
    return pairs->first;
  if (int64_t rows = rowsOfPairs(value); rows >= 0)
    return rows;
  if (int64_t lanes = writtenOf(value); lanes >= 0)
    return lanes;
  for (const Product &product : products)
    if (product.kind == Product::Outer && value == product.lanesOperand())
      return product.lanesFromA ? product.freeA : product.freeB;
  return wishedOf(value);
}

/// Notes that `row` runs along dimension `dim` of a matrix.
void Lanes::meet(Value row, Value matrix, int64_t dim) {
  int64_t lanes = of(matrix);
  Meetings &met = meetingsOf(row);
  // Lanes of a matrix that no product orders are its last dimension; rows do not depend on that.
  (dim == lanes || (lanes < 0 && dim == tileType(matrix).getRank() - 1) ? met.along : met.across) =
      true;
}

bool Lanes::inMemory(Value row) {
  if (rankOf(row) != 1)
    return false;
  Meetings met = meetingsOf(row);
  constexpr int64_t kUnrolled = 16; // more splat vectors would be too much code
  bool many = tileType(row).getDim(0) > kUnrolled;
  return met.memory || (met.along && met.across) || (!met.along && many);
}

void Lanes::joinRows(tile::KernelOp kernel) {
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
            meetingsOf(input).memory = true;
        }
    } else if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
      if (rankOf(reduce.getResult()) == 1)
        meet(reduce.getResult(), reduce.getTile(), reduce.getDim() == 0 ? 1 : 0);
    }
    // Running sums and sums of rows go through memory, and sums along lanes that are not all there.
    Value row = isa<tile::ScanOp, tile::ReduceOp>(op) ? op->getOperand(0) : Value();
    if (auto reduce = dyn_cast<tile::ReduceOp>(op); reduce && rankOf(row) == 2) {
      int64_t lanes = of(row), dim = reduce.getDim();
      bool along = dim == (lanes < 0 ? 1 : lanes);
      row = along && tileType(row).getDim(dim) % options.lanes ? reduce.getResult() : Value();
    }
    if (row && rankOf(row) == 1)
      meetingsOf(row).memory = true;
  });
}

/// The argument as which a loop carries the tile, or the tile itself.
static Value asCarried(Value value) {
  if (auto loop = value.getDefiningOp<tile::ForOp>())
    return loop.getIterArgs()[cast<OpResult>(value).getResultNumber()];
  for (OpOperand &use : value.getUses()) {
    auto loop = dyn_cast<tile::ForOp>(use.getOwner());
    if (loop && llvm::is_contained(loop.getInits(), value))
      return loop.getIterArgs()[use.getOperandNumber() - loop.getBounds().size()];
    loop = dyn_cast<tile::ForOp>(use.getOwner()->getParentOp());
    if (loop && isa<tile::YieldOp>(use.getOwner()))
      return loop.getIterArgs()[use.getOperandNumber()];
  }
  return value;
}

std::optional<std::pair<int64_t, int64_t>> Lanes::pairsFor(Value value) {
  value = asCarried(value);
  for (const Product &product : products) {
    if (!product.pairs || product.kind == Product::Dot)
      continue;
    bool isA = product.a() == value, isB = product.b() == value;
    if (!isA && !isB)
      continue;
    int64_t sum = isA ? product.sumA : product.sumB, free = 1 - sum;
    bool readByLanes = value == product.lanesOperand();
    if (product.amx && !readByLanes)
      continue;
    if (readByLanes || sum == 0 || !liesInRows(value))
      return std::make_pair(free, sum);
  }
  return std::nullopt;
}

/// Whether pairs along the last dimension lie side by side anyway: in a tensor, or in what no
/// product writes by columns.
bool Lanes::liesInRows(Value value) {
  return value.getDefiningOp<tile::LoadOp>() ||
         (value.getDefiningOp<tile::MapOp>() && writtenOf(value) != 0);
}

int64_t Lanes::rowsOfPairs(Value value) {
  for (const Product &product : products) {
    bool isB = product.kind == Product::Outer && value == product.scalarOperand();
    bool made = value.getDefiningOp<tile::MapOp>() && liesInRows(value);
    if (isB && (product.amx || (product.pairs && product.sumB == 1 && made)))
      return product.sumB;
  }
  return -1;
}

/// Whether a map for the matrix unit, or one that is made of the tile, has the rows of what it is
/// made of along the lanes.
bool Lanes::isTurned(Value value) {
  auto pairs = pairsFor(value);
  bool across = rowsOfPairs(value) == 0 || (pairs && pairs->first == 0 && pairs->second == 1);
  return (across && writtenOf(value) != 0) || llvm::any_of(value.getUsers(), [&](Operation *user) {
           return isa<tile::MapOp>(user) && rankOf(user->getResult(0)) == 2 &&
                  isTurned(user->getResult(0));
         });
}

} // namespace heddle::compiler
