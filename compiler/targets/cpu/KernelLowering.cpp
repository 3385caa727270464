// Walks a kernel in order. Ops whose tiles are made where they are read emit nothing; sinks (local
// results, reductions) gather in a pending group as long as they can share one nest; all else
// first flushes the group:
//
//   %s = map, %M = reduce max   -> one nest with the product %S on its registers
//   %r = map (rows)             -> row vectors, at once
//   %P = map, %L = reduce sum   -> one sweep
//   %O = mma                    -> a nest of its own
#include "compiler/targets/cpu/KernelLowering.h"

#include "compiler/targets/cpu/MapLowering.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::Space;
using tile::TileType;
using tile::typeOf;

static bool isTile(Value value) { return isa<TileType>(value.getType()); }
LogicalResult KernelLowering::lower(ValueRange indices) {
  for (auto [argument, index] : llvm::zip(kernel.getBody().getArguments(), indices))
    evaluator.scalars.map(argument, index);
  bool amx = hasAmxProduct(kernel);
  if (amx)
    nests.configureAmx();
  lowerBlock(kernel.getBody().front());
  if (amx)
    nests.releaseAmx();
  return failure(evaluator.failed);
}

void KernelLowering::lowerBlock(Block &block) {
  for (Operation &op : block.without_terminator()) {
    lowerOp(&op);
    if (evaluator.failed)
      return;
  }
  flush();
}

void KernelLowering::flush() {
  NestGroup group = std::exchange(pending, {});
  nests.emit(group);
}

void KernelLowering::registerLocals(Operation *op) {
  auto offsets = op->getAttrOfType<DenseI64ArrayAttr>("tile.offset");
  for (auto [n, result] : llvm::enumerate(op->getResults()))
    if (isTile(result) && typeOf(result).getSpace() == Space::Local) {
      if (!offsets || typeOf(result).getRank() > 2) {
        evaluator.reportUnsupported(op, "a tile in scratch without an offset, or of rank above 2");
        return;
      }
      LocalPlace &place = evaluator.locals[result] =
          makeLocal(e, scratch, typeOf(result), offsets[n], inPanels);
      // Each group of rows writes over that of the one before, which is in the caches.
      auto carried = op->getParentOp()->getAttrOfType<DenseI64ArrayAttr>("tile.offset");
      if (!evaluator.firstRow)
        continue;
      if (llvm::is_contained(carried.asArrayRef(), offsets[n]))
        stayInPanel(place);
      else
        place.pointer = e.address(place.pointer, typeOf(result).getElementType(),
                                  e.times(evaluator.firstRow, -1));
      place.panel = 0;
    }
}

/// The rows that a loop's body is done for are those of one panel, which is all that is addressed.
void KernelLowering::stayInPanel(LocalPlace &place) {
  if (place.panel)
    place.pointer = e.address(place.pointer, place.type.getElementType(),
                              toPanel(e, place, evaluator.firstRow));
  place.panel = 0;
}

void KernelLowering::addSink(Operation *op) {
  if (!nests.joins(pending, op))
    flush();
  pending.sinks.push_back(op);
}

void KernelLowering::lowerOp(Operation *op) {
  if (!isa<tile::TileDialect>(op->getDialect()))
    return isa<scf::IfOp>(op) ? lowerIf(op) : lowerScalarOp(op);
  if (auto scalar = dyn_cast<tile::ScalarOp>(op)) {
    Value value = arguments.scalar(scalar.getName(), scalar.getType());
    if (!value)
      return void(evaluator.reportUnsupported(op, "the artifact has no such scalar of this type"));
    evaluator.scalars.map(scalar.getResult(), value);
    return;
  }
  if (auto view = dyn_cast<tile::ViewOp>(op))
    return lowerView(view);
  if (auto read = dyn_cast<tile::ReadOp>(op))
    return lowerRead(read);
  if (auto loop = dyn_cast<tile::ForOp>(op))
    return lowerFor(loop);
  if (auto store = dyn_cast<tile::StoreOp>(op))
    return lowerStore(store);
  if (isa<tile::FillOp, tile::IndexOp>(op))
    return;
  registerLocals(op);
  if (auto load = dyn_cast<tile::LoadOp>(op))
    return lowerLoad(load);
  if (auto mma = dyn_cast<tile::MmaOp>(op); mma && isAmxProduct(mma)) {
    flush();
    lowerScalarsBefore(mma, maskOf(mma));
    return nests.emitAmxProduct(mma);
  }
  auto map = dyn_cast<tile::MapOp>(op);
  bool local =
      llvm::any_of(op->getResults(), [&](Value result) { return evaluator.locals.count(result); });
  if (lowerThroughScratch(op, local))
    return;
  if (map && !local && typeOf(map.getResult(0)).getRank() == 1) {
    // Row vectors; a vector along another dimension than the lanes stays where it is read.
    auto layout = cast<tile::LanesAttr>(typeOf(map.getResult(0)).getLayout());
    if (layout.getWidth() == 1 && !readsReplicated(evaluator, map.getResult(0)))
      return;
    if (nests.dependsOn(pending, map.getResult(0)))
      flush();
    // What is only stored is made by the store's loop, not all vectors side by side.
    bool onlyStored = llvm::all_of(map->getUsers(), llvm::IsaPred<tile::StoreOp>);
    return onlyStored ? void() : nests.emitRows(map);
  }
  if (isa<tile::ReduceOp>(op) || (local && isa<tile::MapOp, tile::MmaOp, tile::ConvertOp>(op)))
    return addSink(op);
  if (map)
    evaluator.keepWidened(map);
  else if (!isa<tile::MmaOp>(op))
    evaluator.reportUnsupported(op, "this op has no lowering");
}

/// The scalars that a mask compares with: a product that it cuts needs them before their turn.
void KernelLowering::lowerScalarsBefore(Operation *op, Operation *mask) {
  for (op = mask ? op->getNextNode() : nullptr; op && op != mask; op = op->getNextNode())
    if (isa<arith::ArithDialect>(op->getDialect()) &&
        llvm::all_of(op->getOperands(),
                     [&](Value operand) { return evaluator.scalars.contains(operand); }))
      lowerScalarOp(op);
}

/// Ops that no nest of points makes: see Scans.cpp and Topk.cpp.
bool KernelLowering::lowerThroughScratch(Operation *op, bool local) {
  int64_t rank = typeOf(op->getResult(0)).getRank();
  auto reduce = dyn_cast<tile::ReduceOp>(op);
  bool sums = reduce && (local || rank == 0);
  bool vector = isa<tile::MapOp, tile::ConvertOp>(op) && (rank == 0 || (local && rank == 1));
  if (!sums && !vector && !isa<tile::ScanOp, tile::SolveUnitLowerOp, tile::TopkOp>(op))
    return false;
  flush();
  if (reduce)
    nests.emitSum(reduce);
  else if (auto scan = dyn_cast<tile::ScanOp>(op))
    nests.emitScan(scan);
  else if (auto solve = dyn_cast<tile::SolveUnitLowerOp>(op))
    nests.emitSolve(solve);
  else if (auto topk = dyn_cast<tile::TopkOp>(op))
    nests.emitTopk(topk);
  else if (rank == 0)
    for (Value result : op->getResults())
      nests.emitOne(result);
  else
    nests.emitVector(op);
  return true;
}

void KernelLowering::lowerScalarOp(Operation *op) {
  if (op->getNumRegions() || llvm::any_of(op->getOperands(), [&](Value operand) {
        return !evaluator.scalars.contains(operand);
      }))
    return void(evaluator.reportUnsupported(op, "an operand of this scalar op was not lowered"));
  Values operands;
  for (Value operand : op->getOperands())
    operands.push_back(evaluator.scalars.lookup(operand));
  if (Value value = lowerScalarFunction(e, op, operands))
    return evaluator.scalars.map(op->getResult(0), value);
  e.builder.clone(*op, evaluator.scalars);
}

//===------------------------------------------------------------------------------------------===//
// Memory
//===------------------------------------------------------------------------------------------===//

/// Elements to what the next grid point reads of a dimension it walks; 0 at the end of that.
Value KernelLowering::toNextPoint(Value at, Value extent, Value stride) {
  Value more = arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::slt,
                                     e.plus(at, e.integer(1)), extent);
  return e.select(more, stride, e.integer(0));
}

void KernelLowering::lowerView(tile::ViewOp op) {
  ViewPlace place;
  StringRef name = op.getName();
  Value pointer = pointers.lookup(name);
  place.element = op.getType().getElementType();
  place.access = op.getType().getAccess();
  place.block = op.getType().getBlock();
  Value offset = e.integer(0);
  SmallVector<int64_t> kept;
  auto index = op.getIndices().begin();
  for (auto [dim, keep] : llvm::enumerate(op.getKept())) {
    if (keep) {
      kept.push_back(dim);
      continue;
    }
    Value stride = arguments.stride(name, dim);
    if (!stride)
      return void(evaluator.reportUnsupported(op, "the artifact has no stride of this dimension"));
    Value fixed = *index++, at = evaluator.scalars.lookup(fixed);
    offset = e.plus(offset, e.times(at, stride));
    if (fixed == kernel.getGridIndex(0))
      place.toNextPoint = toNextPoint(at, arguments.extent(name, dim), stride);
  }
  for (int64_t dim : kept) {
    place.strides.push_back(arguments.stride(name, dim));
    if (!pointer || !place.strides.back())
      return void(evaluator.reportUnsupported(op, "the artifact lacks a pointer or stride"));
  }
  place.pointer = e.address(pointer, place.element, offset);
  if (place.access == tile::Access::Wrap || place.access == tile::Access::Paged)
    place.wrapExtent = arguments.extent(name, kept[0]);
  if (op.getTable()) {
    tables.push_back(std::make_unique<ViewPlace>(evaluator.views.lookup(op.getTable())));
    place.table = tables.back().get();
  }
  if (place.access == tile::Access::Paged) { // page and slot are one dimension of the view
    place.slotStride = place.strides[1];
    place.strides.erase(place.strides.begin() + 1);
  }
  if (llvm::any_of(op->getUsers(), llvm::IsaPred<tile::GatherOp>))
    for (int64_t dim : kept)
      place.extents.push_back(arguments.extent(name, dim));
  evaluator.views[op.getResult()] = place;
}

GlobalPlace KernelLowering::placeOf(Value view, ArrayRef<OpFoldResult> offsets, ValueRange valid) {
  GlobalPlace place;
  place.view = evaluator.views.lookup(view);
  for (OpFoldResult offset : offsets)
    place.offsets.push_back(isa<Value>(offset)
                                ? evaluator.scalars.lookup(cast<Value>(offset))
                                : e.integer(cast<IntegerAttr>(cast<Attribute>(offset)).getInt()));
  for (Value count : valid)
    place.valid.push_back(evaluator.scalars.lookup(count));
  if (!place.valid.empty())
    place.valid.resize(offsets.size());
  return place;
}

void KernelLowering::lowerLoad(tile::LoadOp op) {
  GlobalPlace place = placeOf(op.getView(), op.getMixedOffsets(), op.getValid());
  auto loop = op->getParentOfType<tile::ForOp>();
  place.clipped = loop && loop.getKind() != tile::LoopKind::Any && !place.valid.empty();
  if (op.getFill())
    place.fill = op.getFill()->convertToDouble();
  Value tile = op.getResult();
  TileType type = typeOf(tile);
  if (type.getRank() == 2 && place.view.access == tile::Access::Dense)
    evaluator.transfers[op] = place;
  if (hasAmxProduct(kernel)) // others read rows one by one, and longer
    nests.askForNext(op, place);
  if (type.getSpace() == Space::Global) {
    evaluator.globals[tile] = place;
  } else if (type.getSpace() == Space::Local) {
    flush();
    nests.emitLoad(op, place);
  } else if (type.getRank() == 0) { // one number
    RowsPlace rows;
    rows.replicated = true;
    rows.vectors.push_back(loadGlobal(e, place, {}, {}));
    evaluator.rows[tile] = rows;
  } else { // row vectors
    RowsPlace rows;
    auto layout = cast<tile::LanesAttr>(type.getLayout());
    rows.replicated = layout.getWidth() == 1;
    int64_t width = rows.replicated ? 1 : e.lanes();
    if (livesOnStack(e, type)) {
      rows.memory = e.stackArray(movedAs(type.getElementType()), type.getDim(0));
      e.loop(e.integer(0), e.integer(type.getDim(0)), width, {}, [&](Value first, ValueRange) {
        Coord coord = evaluator.lanesFrom(first, -1, true);
        storeRow(e, rows.memory, first, loadGlobal(e, place, {coord}, type.getShape()));
        return Values();
      });
    }
    for (int64_t first = 0; first < type.getDim(0) && !rows.memory; first += width) {
      Coord coord = rows.replicated ? evaluator.element(e.integer(first))
                                    : evaluator.lanesFrom(e.integer(first), -1,
                                                          first + width <= type.getDim(0));
      rows.vectors.push_back(loadGlobal(e, place, {coord}, type.getShape()));
    }
    evaluator.rows[tile] = rows;
  }
}

void KernelLowering::lowerStore(tile::StoreOp op) {
  GlobalPlace place = placeOf(op.getView(), op.getMixedOffsets(), op.getValid());
  if (nests.storesInNest(op)) {
    addSink(op);
    pending.targets[op] = place;
    return;
  }
  flush();
  if (typeOf(op.getTile()).getRank() == 2 && place.view.access == tile::Access::Dense)
    evaluator.transfers[op] = place;
  nests.emitStore(op, place);
}

void KernelLowering::lowerRead(tile::ReadOp op) {
  GlobalPlace place = placeOf(op.getView(), op.getMixedOffsets(), {});
  Point point(place.offsets.size(), evaluator.element(e.integer(0)));
  evaluator.scalars.map(op.getResult(), e.load(op.getType(), globalAddress(e, place, point)));
}

//===------------------------------------------------------------------------------------------===//
// Control
//===------------------------------------------------------------------------------------------===//

/// For each tile that a loop carries on the stack its place there, null for the others.
Values KernelLowering::rowArrays(tile::ForOp loop) {
  Values arrays(loop.getNumResults());
  ValueRange next = loop.getYield().getValues();
  for (auto [n, result] : llvm::enumerate(loop.getResults()))
    if (isTile(result) && llvm::is_contained(loop.getIterArgs(), next[n]) &&
        next[n] != loop.getIterArgs()[n])
      return arrays; // tiles change places
  for (auto [n, result] : llvm::enumerate(loop.getResults()))
    if (isTile(result) && livesOnStack(e, typeOf(result)))
      arrays[n] = e.stackArray(movedAs(typeOf(result).getElementType()), typeOf(result).getDim(0));
  return arrays;
}

/// Writes the tiles to the places where the loop carries them.
void KernelLowering::storeRows(ValueRange tiles, const Values &arrays) {
  for (auto [tile, array] : llvm::zip(tiles, arrays)) {
    auto rows = evaluator.rows.find(tile);
    if (!array || (rows != evaluator.rows.end() && rows->second.memory == array))
      continue;
    int64_t extent = typeOf(tile).getDim(0);
    if (!evaluator.keepInMemory(tile)) {
      for (int64_t first = 0; first < extent; first += e.lanes()) {
        Coord coord = evaluator.lanesFrom(e.integer(first), first / e.lanes(), true);
        storeRow(e, array, coord.index, evaluator.at(tile, {coord}));
      }
      continue;
    }
    e.loop(e.integer(0), e.integer(extent), e.lanes(), {}, [&](Value first, ValueRange) -> Values {
      evaluator.pushScope();
      Coord coord = evaluator.lanesFrom(first, -1, true);
      storeRow(e, array, first, evaluator.at(tile, {coord}));
      evaluator.popScope();
      return {};
    });
  }
}

/// Scalars and vectors of the row tiles in registers among `tiles`, in order.
Values KernelLowering::rowsOf(tile::ForOp loop, ValueRange tiles, const Values &arrays) {
  Values vectors;
  for (auto [result, tile, array] : llvm::zip(loop.getResults(), tiles, arrays)) {
    if (array)
      continue;
    if (!isTile(result)) {
      vectors.push_back(evaluator.scalars.lookup(tile));
      continue;
    }
    TileType type = typeOf(result);
    if (type.getSpace() != Space::Reg)
      continue;
    auto layout = cast<tile::LanesAttr>(type.getLayout());
    int64_t width = layout.getWidth() == 1 ? 1 : e.lanes();
    for (int64_t first = 0; first < type.getDim(0); first += width) {
      Coord coord = layout.getWidth() == 1 ? evaluator.element(e.integer(first), first)
                                           : evaluator.lanesFrom(e.integer(first), first / width);
      vectors.push_back(evaluator.at(tile, {coord}));
    }
  }
  return vectors;
}

/// Gives the loop's iter arguments or results their places.
void KernelLowering::bindCarried(tile::ForOp loop, ValueRange tiles, ValueRange vectors,
                                 const Values &arrays) {
  auto offsets = loop->getAttrOfType<DenseI64ArrayAttr>("tile.offset");
  const Value *next = nullptr;
  Values flat(vectors.begin(), vectors.end());
  next = flat.begin();
  for (auto [n, tile] : llvm::enumerate(tiles)) {
    if (!isTile(tile)) {
      evaluator.scalars.map(tile, *next++);
      continue;
    }
    TileType type = typeOf(tile);
    if (type.getSpace() == Space::Local) {
      evaluator.locals[tile] = makeLocal(e, scratch, type, offsets[n], inPanels);
      continue;
    }
    RowsPlace rows;
    rows.memory = arrays[n];
    rows.replicated = cast<tile::LanesAttr>(type.getLayout()).getWidth() == 1;
    int64_t width = rows.replicated ? 1 : e.lanes();
    for (int64_t first = 0; first < type.getDim(0) && !rows.memory; first += width)
      rows.vectors.push_back(*next++);
    evaluator.rows[tile] = rows;
  }
}

/// Whether a loop's body may be done for some rows after the other: whole tiles of many rows, all
/// along the lanes, and what is read of memory has no rows. Vectors of rows are on the stack.
bool KernelLowering::goesByRows(tile::ForOp op) {
  Block &body = op.getBody().front();
  auto products = body.getOps<tile::MmaOp>();
  if (op.getKind() != tile::LoopKind::Full || products.empty() || kRowVectors % blocking.vectors)
    return false;
  int64_t rows = typeOf((*products.begin()).getResult()).getDim(0);
  if (rows % (kRowVectors * e.lanes()))
    return false;
  auto alongLanes = [&](Value tile) {
    TileType type = typeOf(tile);
    auto lanes = dyn_cast<tile::LanesAttr>(type.getLayout());
    return type.getRank() <= 2 && type.getRank() > 0 && type.getDim(0) == rows && lanes &&
           lanes.getDim() == 0 && lanes.getWidth() == e.lanes() && type.getElementType().isF32() &&
           (type.getRank() == 2 || (type.getSpace() == Space::Reg && livesOnStack(e, type)));
  };
  auto isFound = [&](Value operand) {
    Operation *made = operand.getDefiningOp();
    return !isTile(operand) || (made && made->getBlock() == &body) ||
           evaluator.keepInMemory(operand);
  };
  return llvm::all_of(body.without_terminator(), [&](Operation &inner) {
    if (!llvm::all_of(inner.getOperands(), isFound))
      return false;
    if (auto load = dyn_cast<tile::LoadOp>(inner)) {
      TileType type = typeOf(load.getResult());
      return type.getDim(0) != rows && (type.getRank() == 2 || type.getSpace() == Space::Global);
    }
    if (auto mma = dyn_cast<tile::MmaOp>(inner))
      return alongLanes(mma.getResult()) && !isAmxProduct(mma) && !isDotProduct(mma);
    if (isa<tile::MapOp, tile::ReduceOp>(inner))
      return llvm::all_of(inner.getResults(), alongLanes);
    return !isa<tile::TileDialect>(inner.getDialect())
               ? inner.getNumRegions() == 0
               : isa<tile::FillOp, tile::IndexOp, tile::ViewOp, tile::ScalarOp, tile::ReadOp>(
                     inner);
  });
}

/// Scores that the first product leaves in the first-level cache are read by the sweep, and weights
/// by the second product.
void KernelLowering::lowerByRows(tile::ForOp op) {
  Block &body = op.getBody().front();
  auto ofRows = llvm::IsaPred<tile::MmaOp, tile::MapOp, tile::ReduceOp>;
  int64_t rows = 0;
  for (Operation &inner : body.without_terminator()) {
    if (!ofRows(&inner))
      lowerOp(&inner);
    else if (auto mma = dyn_cast<tile::MmaOp>(inner))
      rows = typeOf(mma.getResult()).getDim(0);
  }
  flush();
  int64_t step = kRowVectors * e.lanes();
  e.loop(e.integer(0), e.integer(rows), step, {}, [&](Value first, ValueRange) -> Values {
    evaluator.pushScope();
    evaluator.firstRow = first;
    evaluator.endRow = e.plus(first, step);
    auto outside = evaluator.locals;
    for (Operation &inner : body.without_terminator()) {
      if (!ofRows(&inner) || evaluator.failed)
        continue;
      for (Value operand : inner.getOperands())
        if (auto found = evaluator.locals.find(operand); found != evaluator.locals.end())
          stayInPanel(found->second);
      lowerOp(&inner);
    }
    flush();
    evaluator.locals = outside;
    evaluator.firstRow = evaluator.endRow = Value();
    evaluator.popScope();
    return {};
  });
}

void KernelLowering::lowerFor(tile::ForOp op) {
  flush();
  Values bounds;
  for (Value bound : op.getBounds())
    bounds.push_back(evaluator.scalars.lookup(bound));
  int64_t step = op.getStep();
  auto emptyByConstants = [](Value lo, Value hi) {
    return lo == hi || (VectorBuilder::constantOf(lo) &&
                        VectorBuilder::constantOf(lo) == VectorBuilder::constantOf(hi));
  };
  if (bounds.size() == 4 && emptyByConstants(bounds[0], bounds[1]))
    bounds.erase(bounds.begin(), bounds.begin() + 2);
  else if (bounds.size() == 4 && emptyByConstants(bounds[2], bounds[3]))
    bounds.resize(2);
  Values arrays = rowArrays(op);
  auto body = [&](Value index, ValueRange carried) {
    evaluator.pushScope();
    evaluator.scalars.map(op.getIndex(), index);
    bindCarried(op, ValueRange(op.getIterArgs()), carried, arrays);
    if (goesByRows(op))
      lowerByRows(op);
    else
      lowerBlock(op.getBody().front());
    Values next(carried.begin(), carried.end());
    if (!evaluator.failed) {
      next = rowsOf(op, op.getYield().getValues(), arrays);
      storeRows(op.getYield().getValues(), arrays);
    }
    evaluator.popScope();
    return next;
  };
  storeRows(op.getInits(), arrays);
  Values start = rowsOf(op, op.getInits(), arrays), results;
  if (bounds.size() == 2) {
    results = e.loop(bounds[0], bounds[1], step, start, body);
  } else {
    // One loop over the trips of both intervals, so that the body is there once.
    auto tripsOf = [&](Value lo, Value hi) {
      Value length = e.maxIndex(arith::SubIOp::create(e.builder, e.loc, hi, lo), e.integer(0));
      return Value(arith::CeilDivUIOp::create(e.builder, e.loc, length, e.integer(step)));
    };
    Value left = tripsOf(bounds[0], bounds[1]), right = tripsOf(bounds[2], bounds[3]);
    results =
        e.loop(e.integer(0), e.plus(left, right), 1, start, [&](Value trip, ValueRange carried) {
          Value inLeft =
              arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::slt, trip, left);
          Value inRight = arith::SubIOp::create(e.builder, e.loc, trip, left);
          Value index = e.select(inLeft, e.plus(bounds[0], e.times(trip, step)),
                                 e.plus(bounds[2], e.times(inRight, step)));
          return body(index, carried);
        });
  }
  bindCarried(op, op.getResults(), results, arrays);
}

void KernelLowering::lowerIf(Operation *op) {
  flush();
  auto branch = cast<scf::IfOp>(op);
  if (branch.getNumResults())
    return void(evaluator.reportUnsupported(op, "a branch with results"));
  Value condition = evaluator.scalars.lookup(branch.getCondition());
  auto region = [&](Region &region) {
    return [&]() -> Values {
      evaluator.pushScope();
      if (!region.empty())
        lowerBlock(region.front());
      evaluator.popScope();
      return {};
    };
  };
  e.branch(condition, {}, region(branch.getThenRegion()), region(branch.getElseRegion()));
}

} // namespace heddle::compiler::cpu
