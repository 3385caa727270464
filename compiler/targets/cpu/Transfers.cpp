// Tiles between memory and scratch or registers. Where the lanes run across memory's contiguous
// dimension, W x W blocks are read along memory, turned in registers and written along the lanes:
//
//   memory  q[i][d]: 16 rows x 16 columns  ->  16 shuffles x 4 steps  ->  scratch Q[d][i]
//
// Loops fill a block on the stack, a function of the module turns it (Shuffles.cpp), loops empty
// it.
#include "compiler/targets/cpu/Nests.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

void NestEmitter::forPieces(int64_t extent, int64_t step, function_ref<void(Value, int64_t)> body) {
  int64_t full = extent / step * step;
  if (full > 0)
    e.loop(e.integer(0), e.integer(full), step, {}, [&](Value index, ValueRange) -> Values {
      evaluator.pushScope();
      body(index, step);
      evaluator.popScope();
      return {};
    });
  if (full < extent) {
    evaluator.pushScope();
    body(e.integer(full), extent - full);
    evaluator.popScope();
  }
}

/// Turns W x W elements: `row` makes the rows, of which `present` are there (the last one stands
/// for the others), and `column` takes the first `count` columns.
void NestEmitter::turnBlock(Type element, int64_t present, int64_t count,
                            function_ref<Value(Value)> row,
                            function_ref<void(Value, Value)> column) {
  int64_t width = e.lanes();
  VectorType type = VectorType::get({width}, movedAs(element));
  Value block = e.stackArray(type, width);
  auto each = [&](int64_t extent, function_ref<void(Value, Value)> body) {
    e.loop(e.integer(0), e.integer(extent), 1, {}, [&](Value n, ValueRange) -> Values {
      evaluator.pushScope();
      body(n, e.address(block, type, n));
      evaluator.popScope();
      return {};
    });
  };
  each(width, [&](Value n, Value address) {
    Value there = present < width ? e.minIndex(n, e.integer(present - 1)) : n;
    e.store(asType(e, row(there), type.getElementType()), address);
  });
  callTranspose(e, type, block);
  each(count,
       [&](Value n, Value address) { column(n, asType(e, e.load(type, address), element)); });
}

/// Asks for the same columns of a later row: blocks walk memory in rows that are far apart. Rows
/// that are not there may be asked for.
static void askForLater(VectorBuilder &e, const GlobalPlace &source, const Coord &row,
                        const Coord &along, int64_t ahead) {
  if (source.view.access == tile::Access::Dense)
    e.prefetch(globalAddress(e, source, {Coord{e.plus(row.index, ahead)}, along}));
}

/// `source(point)` has lanes along dimension 1; the tile in scratch has them along dimension 0.
void NestEmitter::fillTransposed(Value result, const LocalPlace &place,
                                 function_ref<Value(ArrayRef<Coord>)> source) {
  int64_t width = e.lanes(), rows = typeOf(result).getDim(0), columns = typeOf(result).getDim(1);
  forPieces(rows, width, [&](Value first, int64_t present) {
    forPieces(columns, width, [&](Value column, int64_t count) {
      Coord along = evaluator.lanesFrom(column, -1, count == width);
      turnBlock(
          typeOf(result).getElementType(), present, count,
          [&](Value r) { return source({evaluator.element(e.plus(first, r)), along}); },
          [&](Value c, Value vector) {
            storeLocal(e, place, {evaluator.lanesFrom(first), evaluator.element(e.plus(column, c))},
                       vector);
          });
    });
  });
}

/// The same in 16 bits, two rows at a time: words of two neighbours are turned instead of elements.
void NestEmitter::fillTransposedPairs(const LocalPlace &place, Lines line) {
  int64_t width = e.lanes(), rows = place.type.getDim(0), columns = place.type.getDim(1);
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < width; ++i)
    order.append({i, width + i});
  forPieces(rows, 2 * width, [&](Value first, int64_t) {
    forPieces(columns, width, [&](Value column, int64_t count) {
      Coord along = evaluator.lanesFrom(column, -1, count == width);
      turnBlock(
          e.builder.getI32Type(), width, count,
          [&](Value pair) {
            Value even = e.plus(first, e.times(pair, 2));
            return joinPairs(e, line(evaluator.element(even), along),
                             line(evaluator.element(e.plus(even, 1)), along), order);
          },
          [&](Value c, Value words) {
            e.store(words,
                    localAddress(e, place,
                                 {evaluator.element(first), evaluator.element(e.plus(column, c))},
                                 place.type.getElementType()));
          });
    });
  });
}

/// Queries as bf16 pairs along d: words are turned instead of elements.
void NestEmitter::fillQueryPairs(const LocalPlace &place, Lines line) {
  int64_t width = e.lanes(), rows = place.type.getDim(0), columns = place.type.getDim(1);
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, 2 * width));
  forPieces(rows, width, [&](Value first, int64_t present) {
    forPieces(columns, 2 * width, [&](Value column, int64_t count) {
      auto pairs = [&](Value r) {
        Coord row = evaluator.element(e.plus(first, r));
        Value low = line(row, evaluator.lanesFrom(column, -1, count >= width));
        Value high = low;
        if (count > width)
          high = line(row, evaluator.lanesFrom(e.plus(column, width), -1, count == 2 * width));
        return joinPairs(e, low, high, order);
      };
      turnBlock(e.builder.getI32Type(), present, (count + 1) / 2, pairs,
                [&](Value pair, Value words) {
                  storePairWords(e, place, first, e.plus(column, e.times(pair, 2)), words);
                });
    });
  });
}

/// Keys' rows j and j + 1 side by side; rows that are not there are zero.
void NestEmitter::fillKeyPairs(const LocalPlace &place, const GlobalPlace &source) {
  int64_t width = e.lanes(), rows = place.type.getDim(0), columns = place.type.getDim(1);
  ArrayRef<int64_t> shape = place.type.getShape();
  Value end = e.integer(rows);
  if (place.clip[0])
    end = e.minIndex(place.clip[0], end);
  e.loop(e.integer(0), end, 2, {}, [&](Value row, ValueRange) -> Values {
    for (int64_t first = 0; first < columns; first += width) {
      Coord along = evaluator.lanesFrom(e.integer(first), -1, first + width <= columns);
      Value even = loadGlobal(e, source, {evaluator.element(row), along}, shape);
      Value odd = loadGlobal(e, source, {evaluator.element(e.plus(row, 1)), along}, shape);
      storePairs(e, place, e.integer(first), row, even, odd);
    }
    return {};
  });
}

void NestEmitter::fillStraight(const LocalPlace &place, const GlobalPlace &source, bool inSupport) {
  int64_t width = e.lanes(), rank = place.type.getRank();
  int64_t columns = place.type.getDim(rank - 1);
  auto line = [&](Value row, ValueRange) -> Values {
    constexpr int64_t kAhead = 16; // rows; what is not there may be asked for
    if (inSupport && source.view.access == tile::Access::Dense)
      prefetchRow(e, source, e.plus(row, kAhead), columns);
    for (int64_t first = 0; first < columns; first += width) {
      Point point = {evaluator.element(row),
                     evaluator.lanesFrom(e.integer(first), -1, first + width <= columns)};
      storeLocal(e, place, point, loadGlobal(e, source, point, place.type.getShape()));
    }
    return {};
  };
  if (rank == 1) {
    forPieces(columns, width, [&](Value first, int64_t count) {
      Coord lane = evaluator.lanesFrom(first, -1, count == width);
      storeLocal(e, place, {lane}, loadGlobal(e, source, {lane}, place.type.getShape()));
    });
    return;
  }
  Value end = e.integer(place.type.getDim(0));
  if (place.clip[0])
    end = e.minIndex(place.clip[0], end);
  e.loop(e.integer(0), end, 1, {}, line);
}

void NestEmitter::askForNext(tile::LoadOp load, const GlobalPlace &source) {
  TileType type = typeOf(load.getResult());
  auto loop = dyn_cast<tile::ForOp>(load->getParentOp());
  if (type.getRank() != 2 || !loop || loop.getKind() != tile::LoopKind::Any ||
      static_cast<int64_t>(loop.getStep()) != type.getDim(0) || type.getDim(0) < e.lanes() ||
      source.view.access != tile::Access::Dense)
    return;
  for (Operation *user : load.getView().getUsers())
    if (user->getBlock() == load->getBlock() && user->isBeforeInBlock(load))
      return; // has asked
  e.loop(e.integer(0), e.integer(type.getDim(0)), 1, {}, [&](Value row, ValueRange) -> Values {
    prefetchRow(e, source, e.plus(row, type.getDim(0)), type.getDim(1));
    return {};
  });
}

void NestEmitter::emitLoad(tile::LoadOp load, const GlobalPlace &given) {
  LocalPlace &place = evaluator.locals.find(load.getResult())->second;
  GlobalPlace source = given;
  int64_t rank = place.type.getRank();
  if (source.clipped && !source.valid.empty())
    place.clip[0] = source.valid[0];
  bool rowsAlongLanes = place.pairs ? place.pairs.getLanes() == 0 : lanesDimOf(place.type) == 0;
  // Outside of loops: rows that are walked over are summed over too, and must all be there.
  if (rank == 2 && rowsAlongLanes && !source.valid.empty() && !load->getParentOfType<tile::ForOp>())
    place.lanesEnd = source.valid[0];
  if (place.pairs) {
    bool queries = place.pairs.getLanes() == 0;
    source.clipped = false; // the odd half of the last pair must be zero
    if (!queries && place.type.getDim(0) % 2) {
      Value rows = e.integer(place.type.getDim(0));
      if (source.valid.empty())
        source.valid.assign(rank, Value());
      source.valid[0] = source.valid[0] ? e.minIndex(source.valid[0], rows) : rows;
    }
    auto line = [&](const Coord &row, const Coord &along) {
      if (queries)
        askForLater(e, source, row, along, e.lanes());
      return loadGlobal(e, source, {row, along}, place.type.getShape());
    };
    return queries ? fillQueryPairs(place, line) : fillKeyPairs(place, source);
  }
  if (rank == 2 && lanesDimOf(place.type) == 0 && place.type.getElementType().isBF16() &&
      place.type.getDim(0) % (2 * e.lanes()) == 0) {
    source.clipped = false; // a sum over whole tiles reads all rows
    return fillTransposedPairs(place, [&](const Coord &row, const Coord &along) {
      askForLater(e, source, row, along, 2 * e.lanes());
      return loadGlobal(e, source, {row, along}, place.type.getShape());
    });
  }
  if (rank == 2 && lanesDimOf(place.type) == 0)
    return fillTransposed(load.getResult(), place, [&](ArrayRef<Coord> point) {
      askForLater(e, source, point[0], point[1], e.lanes());
      return loadGlobal(e, source, point, place.type.getShape());
    });
  auto loop = load->getParentOfType<tile::ForOp>();
  fillStraight(place, source, loop && loop.getKind() != tile::LoopKind::Any);
}

//===------------------------------------------------------------------------------------------===//
// Stores
//===------------------------------------------------------------------------------------------===//

void NestEmitter::storeTransposed(tile::StoreOp store, const GlobalPlace &target) {
  Value tile = store.getTile();
  ArrayRef<int64_t> shape = typeOf(tile).getShape();
  int64_t width = e.lanes(), rows = shape[0], columns = shape[1];
  auto strip = [&](Value first, int64_t present, int64_t number) {
    forPieces(columns, width, [&](Value column, int64_t count) {
      Coord lane = evaluator.lanesFrom(first, number, present == width);
      Coord along = evaluator.lanesFrom(column, -1, count == width);
      turnBlock(
          typeOf(tile).getElementType(), count, present,
          [&](Value c) { return evaluator.at(tile, {lane, evaluator.element(e.plus(column, c))}); },
          [&](Value r, Value vector) {
            Coord row = evaluator.element(e.plus(first, r));
            askForLater(e, target, row, along, width);
            storeGlobal(e, target, {row, along}, shape, vector);
          });
    });
  };
  if (evaluator.keepInMemory(tile)) {
    forPieces(rows, width, [&](Value first, int64_t present) { strip(first, present, -1); });
    return;
  }
  for (int64_t first = 0; first < rows; first += width)
    strip(e.integer(first), std::min(width, rows - first), first / width);
}

/// Code of more operations is there once, in a loop.
constexpr int64_t kMuch = 64;

/// Operations that make a vector of the tile where it is read; a function counts as many.
static int64_t workOf(Evaluator &evaluator, Value tile) {
  auto map = tile.getDefiningOp<tile::MapOp>();
  if (!map || evaluator.locals.count(tile) || evaluator.globals.count(tile) ||
      evaluator.rows.count(tile))
    return 0;
  constexpr int64_t kFunction = 12;
  int64_t work = 0;
  for (Operation &op : map.getBody().front())
    work += isa<math::MathDialect>(op.getDialect()) ? kFunction : 1;
  for (Value input : map.getInputs())
    work += workOf(evaluator, input);
  return work;
}

void NestEmitter::storeStraight(tile::StoreOp store, const GlobalPlace &target) {
  Value tile = store.getTile();
  ArrayRef<int64_t> shape = typeOf(tile).getShape();
  int64_t width = e.lanes(), rank = shape.size(), columns = shape[rank - 1];
  // What takes much code is there once, in a loop over a row's vectors.
  bool replicated = rank == 2 && readsReplicated(evaluator, tile); // else rows are a loop anyway
  int64_t copies = columns / width * (replicated ? shape[0] : 1);
  bool loops = rank == 2 && workOf(evaluator, tile) * copies > kMuch &&
               evaluator.keepInMemory(tile, /*splatsToo=*/true);
  auto line = [&](Value row, int64_t number) {
    evaluator.pushScope();
    if (loops) {
      Coord there = evaluator.element(row);
      forPieces(columns, width, [&](Value first, int64_t count) {
        Point point = {there, evaluator.lanesFrom(first, -1, count == width)};
        storeGlobal(e, target, point, shape, evaluator.at(tile, point));
      });
      return evaluator.popScope();
    }
    for (int64_t first = 0; first < columns; first += width) {
      Point point;
      if (rank == 2)
        point.push_back(evaluator.element(row, number));
      point.push_back(
          evaluator.lanesFrom(e.integer(first), first / width, first + width <= columns));
      storeGlobal(e, target, point, shape, evaluator.at(tile, point));
    }
    evaluator.popScope();
  };
  if (rank == 1 && columns > width && evaluator.keepInMemory(tile)) {
    forPieces(columns, width, [&](Value first, int64_t present) {
      Coord lane = evaluator.lanesFrom(first, -1, present == width);
      storeGlobal(e, target, {lane}, shape, evaluator.at(tile, {lane}));
    });
  } else if (rank == 1) {
    line(Value(), -1);
  } else if (!loops && replicated) {
    for (int64_t row = 0; row < shape[0]; ++row)
      line(e.integer(row), row);
  } else {
    e.loop(e.integer(0), e.integer(shape[0]), 1, {}, [&](Value row, ValueRange) -> Values {
      line(row, -1);
      return {};
    });
  }
}

void NestEmitter::emitStore(tile::StoreOp store, const GlobalPlace &target) {
  Value tile = store.getTile();
  TileType type = typeOf(tile);
  if (type.getRank() > 2) {
    evaluator.reportUnsupported(store, "stores have one or two dimensions");
  } else if (type.getRank() == 1 && readsReplicated(evaluator, tile)) {
    int64_t rows = type.getDim(0);
    auto one = [&](Value index, int64_t number) -> Values {
      evaluator.pushScope();
      Coord coord = evaluator.element(index, number);
      storeGlobal(e, target, {coord}, type.getShape(), evaluator.at(tile, {coord}));
      evaluator.popScope();
      return {};
    };
    if (workOf(evaluator, tile) * rows > kMuch && evaluator.keepInMemory(tile, /*splatsToo=*/true))
      e.loop(e.integer(0), e.integer(rows), 1, {},
             [&](Value index, ValueRange) { return one(index, -1); });
    else
      for (int64_t row = 0; row < rows; ++row)
        one(e.integer(row), row);
  } else if (type.getRank() == 2 && lanesDimOf(type) == 0) {
    storeTransposed(store, target);
  } else {
    storeStraight(store, target);
  }
}

} // namespace heddle::compiler::cpu
