// Kernels of maps. A map's tile runs along the first dim (rows) and the last one
// (columns, the lanes), everything else is fixed by the grid point:
//
//   y[b, t, h, e]  ->  grid (tiles of t x tiles of e, h, b), y' = tile of the expression, store
#include "compiler/forms/MapKernels.h"

#include "compiler/forms/Elementwise.h"
#include "compiler/forms/Terms.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <fmt/format.h>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

namespace {

constexpr int64_t kWidest = 128; ///< columns of a tile

bool isReal(Type type) { return isa<FloatType>(type); }

/// A number a sequence runs along the batch.
ProblemTensor alongBatch(ProblemTensor tensor) {
  tensor.batched &= tensor.rank() > 0;
  return tensor;
}

/// A tile of f32 in the element type of the tensor it is stored to.
Value narrowed(KernelWriter &w, Value tile, const Names &dims, Type element) {
  if (element.isF32())
    return tile;
  if (isReal(element))
    return steps::rounded(w, tile, dims, element);
  return steps::combine(w, {tile}, dims, storedElement(element),
                        [&](OpBuilder &builder, Location at, ValueRange x) {
                          return arith::FPToSIOp::create(builder, at, storedElement(element), x[0]);
                        });
}

class MapWriter {
public:
  MapWriter(ProgramWriter &program, const PatternProblem &problem,
            llvm::ArrayRef<const MapStage *> maps)
      : program(program), problem(problem), maps(maps), stage(*maps.front()),
        tensor(alongBatch(*problem.find(stage.name))) {}

  void run() {
    size_t rank = tensor.rank();
    const Extent &last = tensor.dim(rank - 1);
    bool hasRows = rank > 1;
    int64_t columns = last.fixed ? std::min(*last.fixed, kWidest) : 16;
    columns = std::max<int64_t>(columns, 1);
    int64_t rows = hasRows ? 4 : 1;
    Extent one{1, "", {}};
    tile::FormulaAttr columnTiles = program.ratio(last, columns), middle = program.formula(one);
    tile::FormulaAttr tiles = columnTiles;
    if (hasRows)
      tiles = program.product(program.ratio(tensor.dim(0), rows), columnTiles);
    for (size_t n = 1; n + 1 < rank; ++n)
      middle = program.product(middle, program.formula(tensor.dim(n)));
    if (stage.limit)
      tiles = program.product(tiles, program.negated(program.atLeast(stage.needed, stage.limit)));
    tile::FormulaAttr batch = program.formula(tensor.batched ? tensor.shape[0] : one);
    tile::KernelOp kernel = program.kernel(
        "map_" + stage.name, {tiles, middle, batch}, {false, false, false},
        stage.why.empty() ? "a map that no mix can compute where it reads" : stage.why);

    KernelWriter w(kernel);
    TileScope scope(w, problem);
    Value tileIndex = kernel.getGridIndex(0), rest = kernel.getGridIndex(1);
    Value count = w.quotient(w.add(w.extent(last), w.constant(columns - 1)), w.constant(columns));
    bool oneColumn = last.fixed && *last.fixed <= columns;
    Value column = oneColumn ? w.constant(0) : w.mul(w.remainder(tileIndex, count), columns);
    Value row = w.mul(oneColumn ? tileIndex : w.quotient(tileIndex, count), rows);
    llvm::SmallVector<Value> indices;
    if (tensor.batched) {
      scope.uniform("b", kernel.getGridIndex(2), tensor.shape[0]);
      indices.push_back(kernel.getGridIndex(2));
    }
    if (hasRows) {
      scope.axis(stage.vars[0], {"i", rows, row, tensor.dim(0)});
      indices.push_back({});
    }
    for (size_t n = 1; n + 1 < rank; ++n) {
      Value extent = w.extent(tensor.dim(n));
      bool lastMiddle = n + 2 == rank;
      Value index = lastMiddle ? rest : w.remainder(rest, extent);
      if (!lastMiddle)
        rest = w.quotient(rest, extent);
      scope.uniform(stage.vars[n], index, tensor.dim(n));
      indices.push_back(index);
    }
    scope.axis(stage.vars[rank - 1], {"j", columns, column, last});
    indices.push_back({});
    scope.start = w.builder.saveInsertionPoint();
    // Everything is computed where it stands: nothing here is inside a loop.
    Value columnsLeft = w.sub(w.extent(last), column);
    llvm::SmallVector<OpFoldResult> offsets;
    llvm::SmallVector<Value> valid;
    Names dims;
    llvm::SmallVector<int64_t> extents;
    if (hasRows) {
      offsets.push_back(row);
      valid.push_back(w.sub(w.extent(tensor.dim(0)), row));
      dims.push_back("i"), extents.push_back(rows);
    }
    offsets.push_back(column), valid.push_back(columnsLeft);
    dims.push_back("j"), extents.push_back(columns);
    scope.start = w.builder.saveInsertionPoint();
    llvm::SmallVector<Expr> at;
    for (const std::string &name : stage.vars)
      at.push_back(pattern::makeVar(problem.context, name));
    for (const MapStage *map : maps) {
      const ProblemTensor &target = *problem.find(map->name);
      llvm::StringMap<Expr> names;
      for (auto [name, here] : llvm::zip(map->vars, at))
        names[name] = here;
      Expr expr = pattern::substitute(map->expr, names);
      bool whole = target.element.isInteger(32);
      Value tile = whole ? scope.integerTile(expr, dims, extents)
                         : narrowed(w, scope.tile(expr, dims, extents), dims, target.element);
      w.store(tile, w.view(target.name, target.element, target.shape, indices), offsets, valid);
      // Later maps of this kernel read the tile, not the memory.
      scope.given(terms::read(map->name, at), tile, dims);
    }
  }

private:
  ProgramWriter &program;
  const PatternProblem &problem;
  llvm::ArrayRef<const MapStage *> maps;
  const MapStage &stage; ///< the first: its names are those of all
  const ProblemTensor tensor;
};

} // namespace

std::string refuseMap(const PatternProblem &problem, const MapStage &stage) {
  if (problem.find(stage.name)->shape.empty())
    return fmt::format("map {} has no dims of its own", stage.name);
  return TileScope::refuse(stage.expr, problem);
}

bool joins(const PatternProblem &problem, llvm::ArrayRef<const MapStage *> maps,
           const MapStage &next) {
  const ProblemTensor &first = *problem.find(maps.front()->name), &own = *problem.find(next.name);
  bool alike = first.batched == own.batched && first.shape == own.shape;
  if (!alike || next.limit || maps.front()->limit)
    return false;
  llvm::SmallVector<Expr> at;
  for (const std::string &name : next.vars)
    at.push_back(pattern::makeVar(problem.context, name));
  bool point = true;
  pattern::walk(next.expr, [&](Expr e) {
    Expr read = e.is(ExprKind::Member) ? e[1] : e;
    bool theirs = read.is(ExprKind::Read) && llvm::any_of(maps, [&](const MapStage *map) {
                    return map->name == read.getName();
                  });
    point &= !theirs || (e.is(ExprKind::Read) && e == terms::read(read.getName(), at));
    return point;
  });
  return point;
}

void writeMaps(ProgramWriter &program, const PatternProblem &problem,
               llvm::ArrayRef<const MapStage *> maps) {
  MapWriter(program, problem, maps).run();
}

} // namespace heddle::compiler
