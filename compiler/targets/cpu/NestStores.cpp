// Stores of a nest: where nothing reads a result again its lines go past the caches.
#include "compiler/targets/cpu/Nest.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::typeOf;

/// Whether the store leaves a result that nothing in the program reads: workspace is read later,
/// and so are the states of a bank or of a tree's nodes.
static bool leavesResult(tile::StoreOp store) {
  auto view = store.getView().getDefiningOp<tile::ViewOp>();
  auto program = store->getParentOfType<tile::ProgramOp>();
  if (!view || !program)
    return false;
  bool isResult = llvm::any_of(program.getOps<tile::TensorOp>(), [&](tile::TensorOp tensor) {
    return tensor.getResult() && tensor.getName() == view.getName();
  });
  return isResult && !isRead(program, view.getName());
}

/// Whether the lines that a store writes are neither read before nor after: then they need not pass
/// through the caches, which read a line before they write to it. That is so for a result that is
/// left, where vectors start at multiples of their size, and the tile is not made from the very
/// memory it goes to. Null: never.
Value NestEmitter::Nest::goesPastCaches(tile::StoreOp store) {
  const GlobalPlace &target = group.targets.find(store)->second;
  if (!target.view.element.isF32() || lanes != 1 || type.getDim(1) % e.lanes() != 0 ||
      target.view.access != tile::Access::Dense || !target.valid.empty() ||
      VectorBuilder::constantOf(target.view.strides[1]) != 1 || !leavesResult(store))
    return {};
  Type i64 = e.builder.getI64Type();
  auto number = [&](Value pointer) {
    return Value(LLVM::PtrToIntOp::create(e.builder, e.loc, i64, pointer));
  };
  auto compare = [&](arith::CmpIPredicate predicate, Value a, Value b) {
    return Value(arith::CmpIOp::create(e.builder, e.loc, predicate, a, b));
  };
  auto constant = [&](int64_t value) {
    return Value(LLVM::ConstantOp::create(e.builder, e.loc, e.builder.getI64IntegerAttr(value)));
  };
  Value zero = e.integer(0);
  Value first = number(globalAddress(e, target, {Coord{zero}, Coord{zero}}));
  Value stride = arith::IndexCastOp::create(e.builder, e.loc, i64, target.view.strides[0]);
  Value bytes = arith::MulIOp::create(e.builder, e.loc, stride, constant(sizeof(float)));
  Value low =
      arith::AndIOp::create(e.builder, e.loc, arith::OrIOp::create(e.builder, e.loc, first, bytes),
                            constant(e.lanes() * static_cast<int64_t>(sizeof(float)) - 1));
  Value past = compare(arith::CmpIPredicate::eq, low, constant(0));
  store->getParentOfType<tile::KernelOp>().walk([&](tile::LoadOp load) {
    auto source = evaluator.globals.find(load.getResult());
    bool before =
        load->getBlock()->findAncestorOpInBlock(*store); // so that its pointer is known here
    if (before && source != evaluator.globals.end() &&
        typeOf(load.getResult()).getShape() == type.getShape())
      past = arith::AndIOp::create(e.builder, e.loc, past,
                                   compare(arith::CmpIPredicate::ne,
                                           number(source->second.view.pointer),
                                           number(target.view.pointer)));
  });
  return past;
}

void NestEmitter::Nest::storeBlock(tile::StoreOp store, ArrayRef<Coord> laneCoords,
                                   ArrayRef<Coord> otherCoords) {
  const GlobalPlace &target = group.targets.find(store)->second;
  SmallVector<std::pair<Point, Value>> block;
  for (const Coord &other : otherCoords)
    for (const Coord &lane : laneCoords) {
      Point point = pointOf(lane, other);
      block.emplace_back(point, evaluator.at(store.getTile(), point));
    }
  auto storeAll = [&](bool past) -> Values {
    for (auto &[point, vector] : block)
      if (past)
        e.storePastCaches(vector, globalAddress(e, target, point));
      else
        storeGlobal(e, target, point, type.getShape(), vector);
    return {};
  };
  Value past = pastCaches.lookup(store);
  if (past)
    e.branch(past, {}, [&] { return storeAll(true); }, [&] { return storeAll(false); });
  else
    storeAll(false);
}

} // namespace heddle::compiler::cpu
