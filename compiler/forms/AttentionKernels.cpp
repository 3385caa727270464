// The grids of attention. Many query rows: tiles of BM rows of one head. One query row: its heads
// that share a key head are the rows of a tile; where the pattern has one query only (decode), the
// keys are cut into ranges of SPLIT, and a second kernel joins the ranges' (m, l, O) in ascending
// order.
#include "compiler/forms/AttentionWriter.h"
#include "compiler/support/Names.h"

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

static constexpr int64_t kWhole = 1 << 30; ///< keys of the only range where SPLIT = 0

bool canPack(const MixProblem &problem) {
  return problem.G > 0 && !problem.entry && problem.Hq == problem.H &&
         problem.v.heads == problem.Hk;
}

/// Keys of a tile: no more than a list has, and no more than an entry.
static int64_t keysOf(const MixProblem &problem, int64_t keys) {
  if (problem.list.tensor.empty())
    return keys;
  constexpr int64_t kLanes = 16;
  int64_t most = problem.list.block > 1 ? problem.list.block : problem.list.count;
  return std::min(keys, (most + kLanes - 1) / kLanes * kLanes);
}

/// Heads of a group of G that are the rows of one tile. Where warps share a tile (GPUs) it has at
/// most BM rows, so that 128 heads on one latent head are 8 tiles of 16: the largest divisor.
static int64_t headsOfTile(int64_t G, const Schedule &schedule) {
  int64_t heads = schedule.count("WARPS") ? std::min(G, schedule.at("BM")) : G;
  while (G % heads != 0)
    --heads;
  return heads;
}

AttentionWriter::AttentionWriter(const MixProblem &problem, const Schedule &schedule,
                                 std::string suffix)
    : problem(problem), weights(weightsOf(problem)), keys(keysOf(problem, schedule.at("BN"))),
      rowsPerTile(schedule.at("BM")),
      split(schedule.at("SPLIT") > 0 ? schedule.at("SPLIT") : kWhole),
      grouped(canPack(problem) && !problem.list.perHead),
      packed(grouped ? headsOfTile(problem.G, schedule) : 1), suffix(std::move(suffix)) {}

void AttentionWriter::writeRows(ProgramWriter &program, tile::FormulaAttr factor) {
  auto formula = [&](const Extent &extent) { return program.formula(extent); };
  tile::FormulaAttr tiles = program.ratio(problem.Tq, rowsPerTile);
  if (factor)
    tiles = program.product(tiles, factor);
  bool descending = !problem.support.is(ExprKind::Bool);
  tile::KernelOp kernel = program.kernel(
      "attn" + suffix, {tiles, formula(problem.H), formula(problem.B)}, {descending, false, false},
      problem.notState.empty() ? "weights of all visible pairs, row by row"
                               : "weights of all visible pairs beside states: " + problem.notState);
  KernelWriter w(kernel);
  Value h = kernel.getGridIndex(1), b = kernel.getGridIndex(2);
  Value row0 = named(w.mul(kernel.getGridIndex(0), rowsPerTile), "row0");
  TileScope scope(w, problem);
  scope.uniform("b", b, problem.B);
  readLengths(w, scope);
  Value Tq = lengths.q, rows = named(w.sub(Tq, row0), "rows");
  Value off = offset(w), first = named(w.add(row0, off), "first_position");
  Value end = w.min(w.add(row0, w.constant(rowsPerTile)), Tq);
  Value place = problem.startQ ? w.add(lengths.startQ, row0) : row0;
  scope.uniform("h", h, problem.H);
  nameHeads(w, scope, h);
  // Positions of bottom-right rows may be negative.
  bool shifted = problem.lenQ || problem.lenK || (problem.bottomRight && problem.Tq != problem.Tk);
  Extent positions = shifted ? Extent() : problem.Tq;
  scope.axis("i", {"i", rowsPerTile, first, positions});
  scope.axis("row", {"i", rowsPerTile, row0, problem.Tq});
  RowTile tile;
  tile.rows = rowsPerTile;
  tile.first = first;
  tile.last = named(w.sub(w.add(end, off), w.constant(1)), "last_position");
  Value hq = headOf(w, h, problem.Hq);
  loadQueries(w, scope, tile, {b, {}, hq, {}}, {place, w.fixed(problem.q.first)}, rows);
  openKeys(w, tile, b, headOf(w, h, problem.Hk), headOf(w, h, problem.v.heads));
  tile.supportArgs = {tile.first, tile.last, b, h};
  tile.seenAt = {b, kernel.getGridIndex(0), h};
  Accumulators start = initial(w, scope, rowsPerTile, /*withSink=*/true);
  if (problem.entry)
    addEntry(w, scope, tile, start, b, h);
  Accumulators sums = loop(w, scope, tile, w.constant(0), lengths.k, start);
  Value o = finish(w, scope, sums, rowsPerTile);
  storeRows(w, problem.o, o, {b, {}, h, {}}, {place, w.fixed(problem.firstColumn)}, rows);
  if (!problem.lse.empty())
    storeRows(w, problem.lse, logSum(w, sums, rowsPerTile), {b, {}, h}, {place}, rows);
}

/// One query row: the rows of the tile are the `packed` query heads from h0 on.
AttentionWriter::PackedRow AttentionWriter::namePackedRow(KernelWriter &w, TileScope &scope,
                                                          Value b, Value group, Value row) {
  scope.fewRows = true;
  scope.uniform("b", b, problem.B);
  readLengths(w, scope);
  PackedRow at{b, row, named(w.mul(group, packed), "head0"), {}, group, group};
  at.hq = headOf(w, at.h0, problem.Hq);
  if (!grouped || packed != problem.G) {
    at.hk = headOf(w, at.h0, problem.Hk);
    at.hv = headOf(w, at.h0, problem.v.heads);
  }
  scope.uniform("i", w.add(row, offset(w)));
  scope.uniform("row", row, problem.Tq);
  if (packed == 1) {
    scope.uniform("h", at.h0, problem.H);
    scope.uniform("hq", at.hq, problem.Hq);
  } else {
    for (const char *name : {"h", "hq"})
      scope.axis(name, {"i", packed, at.h0, problem.H});
  }
  scope.uniform("hk", at.hk, problem.Hk);
  scope.uniform("hv", at.hv, problem.v.heads);
  return at;
}

RowTile AttentionWriter::openPackedRow(KernelWriter &w, TileScope &scope, const PackedRow &at) {
  RowTile tile;
  tile.rows = packed;
  tile.first = tile.last = w.add(at.row, offset(w));
  loadQueries(w, scope, tile, {at.b, at.row, {}, {}}, {at.hq, w.fixed(problem.q.first)}, {});
  if (!problem.list.tensor.empty()) {
    tile.list = listRow(w, at);
    if (problem.list.block == 1)
      lengths.entries = countEntries(w, tile.list);
  }
  openKeys(w, tile, at.b, at.hk, at.hv);
  tile.supportArgs = {tile.first, tile.last, at.b};
  if (packed == 1)
    tile.supportArgs.push_back(at.h0);
  tile.seenAt = {at.b, at.row, at.hk};
  return tile;
}

void AttentionWriter::storePackedRow(KernelWriter &w, TileScope &scope, const Accumulators &sums,
                                     const PackedRow &at) {
  Value o = finish(w, scope, sums, packed);
  storeRows(w, problem.o, o, {at.b, at.row, {}, {}}, {at.h0, w.fixed(problem.firstColumn)}, {});
  if (!problem.lse.empty())
    storeRows(w, problem.lse, logSum(w, sums, packed), {at.b, at.row, {}}, {at.h0}, {});
}

void AttentionWriter::writeQueries(ProgramWriter &program, AttentionWriter *others,
                                   tile::FormulaAttr factor) {
  tile::FormulaAttr rows = program.formula(problem.Tq);
  if (factor)
    rows = program.product(rows, factor);
  tile::KernelOp kernel =
      program.kernel("queries" + suffix, {rows, headTiles(program), program.formula(problem.B)},
                     {false, false, false}, "one query at a time over the keys of its list");
  KernelWriter w(kernel);
  TileScope scope(w, problem);
  PackedRow at = namePackedRow(w, scope, kernel.getGridIndex(2), kernel.getGridIndex(1),
                               kernel.getGridIndex(0));
  RowTile tile = openPackedRow(w, scope, at);
  Accumulators sums = initial(w, scope, packed, /*withSink=*/true);
  sums = problem.list.block > 1 ? loopOverBlocks(w, scope, tile, sums)
                                : loop(w, scope, tile, w.constant(0), lengths.ofLoop(), sums);
  if (others) {
    others->readLengths(w, scope);
    others->openKeys(w, tile, at.b, at.hk, at.hv);
    sums = others->loop(w, scope, tile, w.constant(0), others->lengths.k, sums);
  }
  storePackedRow(w, scope, sums, at);
}

void AttentionWriter::writeSplit(ProgramWriter &program) {
  tile::FormulaAttr ranges = program.ratio(loopExtent(), split);
  declarePartials(program, ranges);
  tile::KernelOp kernel = program.kernel(
      "split" + suffix, {headTiles(program), ranges, program.formula(problem.B)},
      {false, false, false}, "one query row: a range of keys each, so that all threads have work");
  KernelWriter w(kernel);
  // Heads first: rows of a token's heads lie side by side, so their pages are read together.
  Value s = kernel.getGridIndex(1);
  TileScope scope(w, problem);
  PackedRow at =
      namePackedRow(w, scope, kernel.getGridIndex(2), kernel.getGridIndex(0), w.constant(0));
  RowTile tile = openPackedRow(w, scope, at);
  Value lo = named(w.mul(s, split), "first_key");
  Value hi = named(w.min(w.add(lo, w.constant(split)), lengths.ofLoop()), "last_key");
  Accumulators start = initial(w, scope, packed, /*withSink=*/false);
  Accumulators sums = loop(w, scope, tile, lo, hi, start);
  for (auto [name, value] : llvm::zip(partialNames(), sums)) {
    llvm::SmallVector<OpFoldResult> offsets{OpFoldResult(at.h0)};
    if (cast<tile::TileType>(value.getType()).getRank() == 2)
      offsets.push_back(w.fixed(0));
    w.store(value, partialView(w, name, at.b, s), offsets, {});
  }
}

void AttentionWriter::writeMerge(ProgramWriter &program) {
  tile::KernelOp kernel =
      program.kernel("merge" + suffix, {headTiles(program), program.formula(problem.B)},
                     {false, false}, "joins the ranges in ascending order");
  KernelWriter w(kernel);
  TileScope scope(w, problem);
  PackedRow at =
      namePackedRow(w, scope, kernel.getGridIndex(1), kernel.getGridIndex(0), w.constant(0));
  Accumulators start = initial(w, scope, packed, /*withSink=*/true);
  Value keys = problem.list.tensor.empty() ? lengths.k : w.extent(loopExtent());
  Value ranges = named(w.divide(w.add(keys, w.constant(split - 1)), split), "ranges");
  storePackedRow(w, scope, mergeLoop(w, at.b, at.h0, ranges, start), at);
}

} // namespace heddle::compiler
