// Rows that products read from memory as they lie: what is asked for ahead.
//
//   few queries, a loop over tiles: each line is read once
//     K[t] is read, V[t] is asked for;  V[t] is read, K[t+1] is asked for
//     after the last tile, the first one of the next grid point: the next head
//   So memory has something to do whatever the loop does, and a tile comes from the second-level
//   cache: a distance in rows leaves the start of each tile, and what lies between heads, to
//   chance. The pages of a tile are asked for in turn (rows 0, 16, 32, 48, 1, 17, ..), since the
//   processor reads ahead some lines in each page that is walked, but never beyond its end.
//
//   the same where lines asked for too fast are dropped
//     a row is read; those 16, 12, 8 and 4 KiB further on are asked for, in the order in which rows
//     are read:  K[t] .. V[t] .. K[t+1] ..
//   So a line has four chances, and the processor that reads ahead sees rows in order.
//
//   many queries or tokens, a loop over tiles of 128 x 128
//     each register block of S = Q K[t] asks for 8 lines of K[t+1], each of O += P V[t] of V[t+1]
#include "compiler/targets/cpu/Evaluator.h"

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

namespace {

constexpr int64_t kLine = 64; ///< bytes

/// Results of few rows: what their products read of memory, they read once.
constexpr int64_t kFewRows = 8;

/// Elements of a tensor in a line of memory.
int64_t lineElements(const GlobalPlace &place) {
  return 8 * kLine / place.view.element.getIntOrFloatBitWidth();
}

Value divided(VectorBuilder &e, Value value, int64_t by) {
  return arith::DivUIOp::create(e.builder, e.loc, value, e.integer(by));
}

Value rest(VectorBuilder &e, Value value, int64_t by) {
  return arith::RemUIOp::create(e.builder, e.loc, value, e.integer(by));
}

/// How many pages a tile's rows fill that lie one after the other, as a power of two.
int64_t pagesOf(TileType type) {
  constexpr int64_t kPage = 4096;
  int64_t bytes = type.getNumElements() * type.getElementType().getIntOrFloatBitWidth() / 8;
  int64_t pages = llvm::bit_floor(static_cast<uint64_t>(std::max<int64_t>(bytes / kPage, 1)));
  return type.getDim(0) % pages ? 1 : pages;
}

/// A step of a loop: whether it is the last one, and rows to the next one (`forth`) and to the
/// first one (`back`, not above 0).
struct Turn {
  Value last, forth, back;
};

Turn turnOf(Evaluator &evaluator, tile::ForOp loop) {
  VectorBuilder &e = evaluator.e;
  Value index = evaluator.scalars.lookup(loop.getIndex()), step = e.integer(loop.getStep());
  Value begin = evaluator.scalars.lookup(loop.getBounds().front());
  Value end = evaluator.scalars.lookup(loop.getBounds().back());
  Value last =
      arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::sge, e.plus(index, step), end);
  return {last, step, arith::SubIOp::create(e.builder, e.loc, begin, index)};
}

/// How many rows further on to ask for rows, where lines that are asked for too fast are dropped:
/// each line several times, so that one that was dropped is asked for again.
SmallVector<int64_t> rowsAhead(const Later &later) {
  constexpr int64_t kTimes = 4, kBytesApart = 4096;
  int64_t row = std::max<int64_t>(later.columns * kLine / lineElements(later.asked()), 1);
  int64_t most = (static_cast<int64_t>(later.order.size()) - 1) * later.extent;
  SmallVector<int64_t> found;
  for (int64_t time = kTimes; time > 0; --time)
    found.push_back(std::clamp<int64_t>(time * kBytesApart / row, 1, most));
  return found;
}

/// The tile of a tensor that a product reads, through maps; null: another one.
Value streamOf(Evaluator &evaluator, Value tile) {
  if (evaluator.denseRows(tile))
    return tile;
  auto map = tile.getDefiningOp<tile::MapOp>();
  if (!map || evaluator.locals.count(tile))
    return {};
  for (Value input : map.getInputs())
    if (evaluator.denseRows(input) && typeOf(input).getShape() == typeOf(tile).getShape())
      return input;
  return {};
}

} // namespace

/// The place of rows that are read from memory as they lie; null if the tile is elsewhere.
const GlobalPlace *Evaluator::denseRows(Value tile) {
  auto place = globals.find(tile);
  return place != globals.end() && place->second.view.access == tile::Access::Dense ? &place->second
                                                                                    : nullptr;
}

/// Shares out among a loop's products of many rows, by their work, the tiles of memory that the
/// loop reads or writes where its index says.
void Evaluator::planAsking(tile::ForOp loop) {
  struct Asking {
    tile::MmaOp product;
    double work = 0, elements = 0;
  };
  SmallVector<Asking> askings;
  for (auto product : loop.getBody().getOps<tile::MmaOp>()) {
    TileType type = typeOf(product.getResult());
    auto lanes = dyn_cast<tile::LanesAttr>(type.getLayout());
    if (!lanes || isAmxProduct(product) || isDotProduct(product) ||
        type.getDim(1 - lanes.getDim()) <= kFewRows)
      continue;
    Roles roles = rolesOf(product, lanes.getDim());
    int64_t summed = typeOf(roles.lanes).getDim(roles.lanesSum);
    askings.push_back({product, static_cast<double>(type.getNumElements() * summed)});
  }
  auto share = [&](auto transfer, Value tile) {
    if (typeOf(tile).getRank() != 2 ||
        transfer.getMixedOffsets()[0] != OpFoldResult(Value(loop.getIndex())))
      return;
    double elements = static_cast<double>(typeOf(tile).getNumElements());
    Asking *least = nullptr;
    auto load = [&](const Asking &asking) { return (asking.elements + elements) / asking.work; };
    for (Asking &asking : askings)
      if (transfer->isBeforeInBlock(asking.product) && (!least || load(asking) < load(*least)))
        least = &asking;
    if (!least)
      return;
    least->elements += elements;
    asked[least->product].push_back(transfer);
  };
  for (auto store : loop.getBody().getOps<tile::StoreOp>())
    share(store, store.getTile());
  for (auto load : loop.getBody().getOps<tile::LoadOp>())
    share(load, load.getResult());
}

/// What a register block asks for of the tiles that the loop's next step reads and writes; in the
/// last step of the first one's, where the next grid point may begin. Each block asks for a few
/// lines, so that the product's blocks together ask for whole tiles: they come while multipliers
/// work. Many lines at once would fill the first-level cache's list of misses, and all other loads
/// would wait, or lines be dropped.
std::vector<Evaluator::Share> Evaluator::sharesOfNext(tile::MmaOp op) {
  auto loop = dyn_cast<tile::ForOp>(op->getParentOp());
  if (!asks || !loop || loop.getKind() == tile::LoopKind::Edge)
    return {};
  if (planned.insert(loop).second)
    planAsking(loop);
  std::vector<Share> shares;
  for (Operation *transfer : asked.lookup(op))
    if (auto found = transfers.find(transfer); found != transfers.end())
      shares.push_back(shareOf(found->second,
                               isa<tile::LoadOp>(transfer)
                                   ? typeOf(transfer->getResult(0))
                                   : typeOf(cast<tile::StoreOp>(transfer).getTile()),
                               op));
  return shares;
}

/// The register block's share of a tile's lines: whole rows, or a part of one.
Evaluator::Share Evaluator::shareOf(const GlobalPlace &place, TileType type, tile::MmaOp op) {
  TileType result = typeOf(op.getResult());
  int64_t count = block.others.size(), width = e.lanes() * block.lanes.size();
  int64_t blocks = llvm::divideCeil(result.getDim(1 - block.lanesDim), count);
  int64_t groups = llvm::divideCeil(result.getDim(block.lanesDim), width);
  Value number = e.plus(e.times(divided(e, block.lanes[0].index, width), blocks),
                        divided(e, block.others[0].index, count));
  int64_t elements = lineElements(place);
  int64_t lines = llvm::divideCeil(type.getDim(1), elements); // of a row
  int64_t share = llvm::divideCeil(type.getDim(0) * lines, blocks * groups);
  share = share > lines ? llvm::alignTo(share, lines) : share;
  while (share < lines && lines % share)
    ++share;
  Value first = e.times(number, share);
  Value row = e.minIndex(divided(e, first, lines), e.integer(type.getDim(0) - 1));
  Value line = rest(e, first, lines);
  auto [last, forth, back] = turnOf(*this, cast<tile::ForOp>(op->getParentOp()));
  return {place, e.plus(row, e.select(last, back, forth)), line, share, lines};
}

/// Asks for a line of a row of the share's tile.
static void askForLine(VectorBuilder &e, const GlobalPlace &place, Value row, Value line) {
  Value column = e.times(line, lineElements(place));
  e.prefetch(globalAddress(e, place, {Coord{row}, Coord{column}}), /*near=*/false);
}

void Evaluator::askForAll(const Share &share) {
  for (int64_t n = 0; n < share.count; ++n)
    askForLine(e, share.place, e.plus(share.row, n / share.lines),
               e.plus(share.line, n % share.lines));
}

void Evaluator::askForSome(const Share &share, Value done, int64_t width, int64_t extent) {
  Value number = divided(e, e.times(done, share.count), extent);
  const int64_t some = llvm::divideCeil(share.count * width, extent);
  for (int64_t n = 0; n < some; ++n) {
    Value own = e.plus(number, n);
    askForLine(e, share.place, e.plus(share.row, divided(e, own, share.lines)),
               e.plus(share.line, rest(e, own, share.lines)));
  }
}

/// Asks for the first lines of the rows that the next register block reads, into the first-level
/// cache: they wait for its list of pages as well. What is not there may be asked for.
void Evaluator::askForRows(tile::MmaOp op, const GlobalPlace &place, int64_t columns) {
  auto loop = dyn_cast<tile::ForOp>(op->getParentOp());
  if (!asks || (loop && loop.getKind() == tile::LoopKind::Edge))
    return;                     // few tiles, and code of its own
  constexpr int64_t kLines = 2; // all of them would leave too few buffers to other loads
  int64_t elements = lineElements(place);
  int64_t count = block.others.size();
  for (int64_t column = 0; column < std::min(columns, kLines * elements); column += elements)
    for (const Coord &other : block.others)
      e.prefetch(
          globalAddress(e, place, {Coord{e.plus(other.index, count)}, Coord{e.integer(column)}}));
}

bool Evaluator::isReadOnce(tile::MmaOp op) {
  return typeOf(op.getResult()).getDim(1 - block.lanesDim) <= kFewRows;
}

/// A tile of the loop in its next step; after the last one, in the first step of the next grid
/// point, if that is known.
Reading Evaluator::inNextStep(Value tile, tile::ForOp loop) {
  Reading next{globals.find(tile)->second, e.integer(loop.getStep())};
  ViewPlace &view = next.place.view;
  if (!view.toNextPoint)
    return next;
  auto [last, forth, back] = turnOf(*this, loop);
  Value zero = e.integer(0);
  Value known =
      arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::ne, view.toNextPoint, zero);
  Value leaves = arith::AndIOp::create(e.builder, e.loc, last, known);
  next.rows = e.select(leaves, back, forth);
  view.pointer = e.address(view.pointer, view.element, e.select(leaves, view.toNextPoint, zero));
  return next;
}

Later Evaluator::readAfter(Value tile) {
  Value stream = streamOf(*this, tile);
  if (!stream)
    return {};
  auto load = stream.getDefiningOp<tile::LoadOp>();
  auto loop = load ? dyn_cast<tile::ForOp>(load->getParentOp()) : tile::ForOp();
  Later later;
  TileType type = typeOf(stream);
  later.columns = type.getDim(1);
  later.extent = type.getDim(0);
  later.order.push_back({*denseRows(stream), e.integer(0)});
  if (!loop) {
    later.order[0].rows = e.integer(kRowsAhead);
    later.ahead = {0};
    return later;
  }
  SmallVector<Value> tiles; // in the order in which a step reads them
  for (auto other : loop.getBody().getOps<tile::LoadOp>())
    if (denseRows(other.getResult()) && typeOf(other.getResult()).getRank() == 2)
      tiles.push_back(other.getResult());
  auto isAlike = [&](Value other) {
    return typeOf(other).getShape() == type.getShape() &&
           lineElements(*denseRows(other)) == lineElements(*denseRows(stream));
  };
  size_t at = llvm::find(tiles, stream) - tiles.begin();
  Value next = tiles[(at + 1) % tiles.size()];
  for (size_t n = at + 1; n <= at + std::min<size_t>(tiles.size(), 2); ++n)
    if (Value other = tiles[n % tiles.size()]; other == next || isAlike(other))
      later.order.push_back(n < tiles.size() ? Reading{*denseRows(other), e.integer(0)}
                                             : inNextStep(other, loop));
  later.columns = typeOf(next).getDim(1);
  later.ahead = {later.extent};
  if (loop.getKind() != tile::LoopKind::Full)
    return later;
  if (e.isa.dropsAsked && isAlike(next))
    later.ahead = rowsAhead(later);
  if (!e.isa.dropsAsked && typeOf(next).getDim(0) == later.extent)
    later.pages = pagesOf(typeOf(next));
  return later;
}

Value Evaluator::rowToAskFor(const Later &later, Value number, int64_t ahead) {
  if (later.pages > 1) { // the pages' first rows, their second ones, ..
    Value page = rest(e, number, later.pages);
    number = e.plus(e.times(page, later.extent / later.pages), divided(e, number, later.pages));
  }
  int64_t first = ahead / later.extent;
  auto at = [&](int64_t tile) {
    const Reading &reading = later.order[tile];
    Value row = e.plus(e.plus(number, ahead - tile * later.extent), reading.rows);
    return globalAddress(e, reading.place, {Coord{row}, Coord{e.integer(0)}});
  };
  if (ahead % later.extent == 0)
    return at(first);
  Value inFirst = arith::CmpIOp::create(e.builder, e.loc, arith::CmpIPredicate::slt, number,
                                        e.integer((first + 1) * later.extent - ahead));
  return e.select(inFirst, at(first), at(first + 1));
}

void Evaluator::askFor(const Later &later, Value row, Value column) {
  const ViewPlace &view = later.asked().view;
  e.prefetch(e.address(row, view.element, e.times(column, view.strides[1])),
             /*near=*/e.isa.dropsAsked);
}

bool Evaluator::askForLines(const Later &later, Value row, Value column, int64_t count) {
  int64_t elements = lineElements(later.asked()), lines = later.columns / elements;
  if (!e.isa.dropsAsked || later.columns % elements || (lines % count && count % lines))
    return false;
  Value turn = divided(e, column, elements), first = e.integer(0);
  if (count < lines) { // a row in several turns
    int64_t turns = lines / count;
    row = e.plus(row, divided(e, turn, turns));
    turn = rest(e, turn, turns);
    first = e.times(turn, count * elements);
  } else {
    row = e.plus(row, e.times(turn, count / lines));
  }
  for (int64_t ahead : later.ahead)
    for (int64_t n = 0; n < count; n += lines) {
      Value address = rowToAskFor(later, e.plus(row, n / lines), ahead);
      for (int64_t line = 0; line < std::min(lines, count - n); ++line)
        askFor(later, address, e.plus(first, line * elements));
    }
  return true;
}

void Evaluator::askForPart(const Later &later, Value row, int64_t part, int64_t parts) {
  int64_t elements = lineElements(later.asked());
  int64_t lines = llvm::divideCeil(later.columns, elements);
  if (lines % parts) { // the first part asks for all
    lines = part == 0 ? lines : 0;
    parts = 1;
  }
  int64_t count = lines / parts;
  Value first = e.integer(part * count * elements);
  if ((later.pages > 1 || e.isa.dropsAsked) && parts > 1 &&
      later.extent % parts == 0) { // whole rows, in several turns each
    Value number = e.plus(row, part * later.extent), turns = e.integer(parts);
    row = arith::DivUIOp::create(e.builder, e.loc, number, turns);
    first = e.times(arith::RemUIOp::create(e.builder, e.loc, number, turns), count * elements);
  }
  for (int64_t ahead : later.ahead) {
    Value address = rowToAskFor(later, row, ahead);
    for (int64_t line = 0; line < count; ++line)
      askFor(later, address, e.plus(first, line * elements));
  }
}

} // namespace heddle::compiler::cpu
