// Ancestors in a tree whose parents come before their children, once for all queries:
//
//   for n: row[n] = row[parent[n]] and the bit n        no parent: the bit alone
//
// A grid point walks the nodes for 64 columns.
#include "compiler/forms/KernelWriter.h"
#include "compiler/forms/MapKernels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

void writeAncestors(ProgramWriter &program, const PatternProblem &problem,
                    const AncestorStage &stage) {
  constexpr int64_t kColumns = 64;
  const ProblemTensor &bits = *problem.find(stage.name), &parents = *problem.find(stage.parent);
  tile::KernelOp kernel = program.kernel(
      "tree_" + stage.name, {program.ratio(bits.dim(1), kColumns), program.formula(bits.shape[0])},
      {false, false}, "ancestors of each node: every tile of pairs reads them");
  KernelWriter w(kernel);
  Value column = w.mul(kernel.getGridIndex(0), kColumns), b = kernel.getGridIndex(1);
  Value view = w.view(bits.name, bits.element, bits.shape, {b, {}, {}});
  Value parent = w.view(parents.name, parents.element, parents.shape, {b, {}});
  Value left = w.sub(w.extent(bits.dim(1)), column), zero = w.constant(0), one = w.constant(1);
  tile::TileType type = w.tileType({1, kColumns}, bits.element);
  auto less = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::slt, x, y);
  };
  w.loop(zero, w.extent(bits.dim(0)), 1, {}, [&](Value n, ValueRange) -> llvm::SmallVector<Value> {
    Value from =
        tile::ReadOp::create(w.builder, w.location, parent, llvm::ArrayRef<OpFoldResult>{n});
    from = arith::IndexCastOp::create(w.builder, w.location, w.builder.getIndexType(), from);
    Value isRoot =
        arith::OrIOp::create(w.builder, w.location, less(from, zero), less(w.sub(n, one), from));
    auto unlessRoot = [&](Value x) -> Value {
      return arith::SelectOp::create(w.builder, w.location, isRoot, zero, x);
    };
    Value above = w.load(type, view, {OpFoldResult(unlessRoot(from)), OpFoldResult(column)},
                         {unlessRoot(one), left});
    Value self = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(), n);
    Names dims{"i", "j"};
    Value row = w.elementwise(
        {above, w.index(column, kColumns)}, {dims, Names{"j"}}, dims,
        [&](OpBuilder &builder, Location at, ValueRange x) -> Value {
          Value own = arith::CmpIOp::create(builder, at, arith::CmpIPredicate::eq, x[1], self);
          Value bit = arith::ExtUIOp::create(builder, at, bits.element, own);
          return arith::OrIOp::create(builder, at, x[0], bit);
        },
        bits.element);
    w.store(row, view, {OpFoldResult(n), OpFoldResult(column)}, {one, left});
    return {};
  });
}

} // namespace heddle::compiler
