// StageLoads: tiles that products read from shared memory are copied there ahead of time. Loads of
// loops become rings of `stages` slots, filled stages - 1 tiles ahead; the tiles of all loops of a
// kernel are numbered through, so that the pipeline does not run dry between edge and full tiles:
//
//   n = 0 ..         tile n begins at j(n) and ends with the interval it lies in
//   before the loops put j(0) .. j(stages - 2)
//   in the loops     K = take k ; if n + stages - 1 < total: put k j(n + stages - 1) ; S = Q K
//                    V = take v ; if ..                    : put v ..              ; O += P V
//
// A loop brings tiles of its own intervals and of later ones only; tiles of full loops are not
// clipped. One slot a ring (stages = 1): v is put while S is computed and k while P V is, each for
// the next use. Each take carries `tile.pending`: the groups of copies that may still be in flight
// then.
//
// Tiles that TMA copies are put before the take, those of all rings at the first take of a step.
//
// What does not fit the picture (loads in nested loops or branches, loops that read other tiles
// than the first one does) is put where it is read and waited for at once.
#include "compiler/passes/cuda/CudaPasses.h"
#include "compiler/passes/cuda/Dimensions.h"
#include "compiler/support/Emit.h"
#include "compiler/support/Names.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace heddle::compiler::cuda {
namespace {

using tile::Space;

bool goesToShared(tile::LoadOp load) { return load.getType().getSpace() == Space::Smem; }

/// What one ring carries: tiles of one view, the same in every loop.
struct Stream {
  Stream(tile::LoadOp load, Value index)
      : view(load.getView()), type(load.getType()), offsets(load.getStaticOffsetsAttr()),
        location(load.getLoc()) {
    // Rows begin at the loop's index, or at a number beyond it.
    if (load.getOffsets().size() == 1)
      if (auto sum = load.getOffsets()[0].getDefiningOp<arith::AddIOp>())
        base = sum.getLhs() == index   ? sum.getRhs()
               : sum.getRhs() == index ? sum.getLhs()
                                       : Value();
    byTensor = load->hasAttr(kTensorTile);
    for (Value count : llvm::drop_begin(load.getValid(), load.getValid().empty() ? 0 : 1)) {
      APInt value;
      constantCounts &= matchPattern(count, m_ConstantInt(&value));
      counts.push_back(constantCounts ? value.getSExtValue() : 0);
    }
  }
  bool operator==(const Stream &other) const {
    return view == other.view && type == other.type && offsets == other.offsets &&
           counts == other.counts && base == other.base;
  }

  Value view;
  tile::TileType type;
  DenseI64ArrayAttr offsets;
  SmallVector<int64_t> counts; ///< valid along the dimensions after the first
  bool constantCounts = true;
  Value base;            ///< added to the loop's index; null: nothing
  bool byTensor = false; ///< TMA copies the tiles
  Location location;
  Value ring;
};

class LoadStager {
public:
  LoadStager(tile::KernelOp kernel, int64_t stages)
      : kernel(kernel), stages(stages), builder(kernel.getContext()) {}

  void run() {
    findLoops();
    chooseStreams();
    stageInPlace();
    Operation *start = loops.empty() ? nullptr : loops.front().getOperation();
    SmallVector<tile::LoadOp> once;
    for (auto load : kernel.getBody().front().getOps<tile::LoadOp>())
      if (goesToShared(load))
        once.push_back(load);
    SmallVector<tile::TakeOp> takes;
    for (tile::LoadOp load : once)
      takes.push_back(stageOnce(load));
    if (loops.empty())
      return;
    builder.setInsertionPoint(start);
    numberTiles();
    fillRings();
    for (auto [n, take] : llvm::enumerate(takes)) {
      if (start->isBeforeInBlock(take) || isReadBefore(start, take))
        continue; // loaded after the loops, or wanted by others before
      // Copies of before the loops may stay in flight, and those of what is loaded once besides.
      int64_t later = streams[0].byTensor ? 0
                      : stages == 1       ? 1
                                          : (stages - 1) * int64_t(streams.size());
      later += llvm::count_if(llvm::drop_begin(takes, n + 1), [](tile::TakeOp other) {
        return !other.getRing().getDefiningOp()->hasAttr(kTensorTile);
      });
      moveBefore(take, start);
      setPending(take, later);
    }
    for (size_t n = 0; n < loops.size(); ++n)
      rebuild(n);
  }

private:
  // ---- what is there ----

  void findLoops() {
    for (auto loop : kernel.getBody().front().getOps<tile::ForOp>())
      if (llvm::any_of(loop.getBody().front().getOps<tile::LoadOp>(), goesToShared))
        loops.push_back(loop);
  }

  /// The loads of a loop in the order in which their tiles are first read.
  SmallVector<tile::LoadOp> loadsOf(tile::ForOp loop) {
    SmallVector<std::pair<Operation *, tile::LoadOp>> readers;
    Block &body = loop.getBody().front();
    for (auto load : body.getOps<tile::LoadOp>()) {
      if (!goesToShared(load))
        continue;
      Operation *first = nullptr;
      for (Operation *user : load->getUsers()) {
        Operation *here = body.findAncestorOpInBlock(*user);
        if (!first || here->isBeforeInBlock(first))
          first = here;
      }
      readers.push_back({first, load});
    }
    llvm::sort(readers, [](auto &x, auto &y) {
      return x.first != y.first ? x.first->isBeforeInBlock(y.first)
                                : x.second->isBeforeInBlock(y.second);
    });
    SmallVector<tile::LoadOp> loads;
    for (auto &[reader, load] : readers)
      loads.push_back(load);
    return loads;
  }

  SmallVector<Stream> streamsOf(tile::ForOp loop) {
    SmallVector<Stream> found;
    for (tile::LoadOp load : loadsOf(loop))
      found.push_back(Stream(load, loop.getIndex()));
    return found;
  }

  /// Keeps the loops that read the same tiles as the first that can be staged.
  void chooseStreams() {
    SmallVector<tile::ForOp> staged;
    for (tile::ForOp loop : loops) {
      if (!canStage(loop, staged.empty() ? loop : staged.front()))
        continue;
      SmallVector<Stream> found = streamsOf(loop);
      if (staged.empty())
        streams = found;
      if (llvm::equal(found, streams) &&
          loop.getStep() == (staged.empty() ? loop : staged.front()).getStep())
        staged.push_back(loop);
    }
    loops = staged;
    // One slot a ring alternates between two tiles.
    auto alternate = [&](tile::ForOp loop) { return alternates(loop); };
    if (stages == 1 && !llvm::all_of(loops, alternate))
      loops.clear();
  }

  /// Whether a loop has two tiles, and has read the first for good before it reads the second: the
  /// next first tile is then put into the slot of the one before.
  bool alternates(tile::ForOp loop) {
    SmallVector<tile::LoadOp> loads = loadsOf(loop);
    if (loads.size() != 2)
      return false;
    Block &body = loop.getBody().front();
    return llvm::all_of(loads[0]->getUsers(), [&](Operation *early) {
      return llvm::all_of(loads[1]->getUsers(), [&](Operation *late) {
        return body.findAncestorOpInBlock(*early)->isBeforeInBlock(
            body.findAncestorOpInBlock(*late));
      });
    });
  }

  bool canStage(tile::ForOp loop, tile::ForOp first) {
    DominanceInfo dominance(kernel);
    const auto isKnown = [&](Value value) { return dominance.properlyDominates(value, first); };
    if (!llvm::all_of(loop.getBounds(), isKnown))
      return false;
    return llvm::all_of(loadsOf(loop), [&](tile::LoadOp load) {
      Stream stream(load, loop.getIndex());
      bool byRows = load.getOffsets().size() == 1 &&
                    ShapedType::isDynamic(load.getStaticOffsets()[0]) &&
                    (stream.base ? isKnown(stream.base) : load.getOffsets()[0] == loop.getIndex());
      return byRows && stream.constantCounts && isKnown(stream.view) && countsToEnd(load, loop);
    });
  }

  /// The first count is the loop's end less its index, or no count is needed.
  bool countsToEnd(tile::LoadOp load, tile::ForOp loop) {
    if (load.getValid().empty() || matchPattern(load.getValid()[0], m_Constant()))
      return true;
    auto count = load.getValid()[0].getDefiningOp<arith::SubIOp>();
    return count && count.getRhs() == loop.getIndex();
  }

  /// Loads that no ring brings ahead of time: a slot of their own, filled and waited for on the
  /// spot.
  void stageInPlace() {
    SmallVector<tile::LoadOp> loads;
    kernel.walk([&](tile::LoadOp load) {
      Operation *parent = load->getParentOp();
      if (goesToShared(load) && parent != kernel && !llvm::is_contained(loops, parent))
        loads.push_back(load);
    });
    for (tile::LoadOp load : loads) {
      builder.setInsertionPoint(load);
      Value ring = ringFor(Stream(load, Value()), 1);
      auto put = tile::PutOp::create(builder, load.getLoc(), load.getView(), load.getOffsets(),
                                     load.getStaticOffsetsAttr(), load.getValid(),
                                     load.getFillAttr(), ring);
      put->setAttr("tile.reused", builder.getUnitAttr());
      tile::TakeOp taken = take(load, ring);
      setPending(taken, 0);
      load.replaceAllUsesWith(taken.getResult());
      load.erase();
      releaseAtEnd(taken, ring);
    }
  }

  // ---- numbers of tiles ----

  Value constant(int64_t value) {
    return arith::ConstantIndexOp::create(builder, kernel.getLoc(), value);
  }
  template <typename Op> Value make(Value a, Value b) {
    return builder.createOrFold<Op>(kernel.getLoc(), a, b);
  }
  Value choose(Value condition, Value a, Value b) {
    return builder.createOrFold<arith::SelectOp>(kernel.getLoc(), condition, a, b);
  }
  Value less(Value a, Value b) {
    return builder.createOrFold<arith::CmpIOp>(kernel.getLoc(), arith::CmpIPredicate::slt, a, b);
  }

  /// An interval of tiles: those with numbers below `count` (and in no earlier interval) begin at
  /// base + n * step and end at `end`.
  struct Interval {
    Value base, end, count;
    size_t loop; ///< that visits it
    bool full;   ///< tiles are whole: no row lies beyond `end`
  };

  void numberTiles() {
    step = loops.front().getStep(); // the loops are rewritten one by one
    total = constant(0);
    for (auto [which, loop] : llvm::enumerate(loops)) {
      OperandRange bounds = loop.getBounds();
      for (size_t n = 0; n < bounds.size(); n += 2) {
        Value begin = bounds[n], end = bounds[n + 1];
        if (isEmptyInterval(begin, end))
          continue;
        const bool full = loop.getKind() == tile::LoopKind::Full;
        named(begin, full ? "full_begin" : "edge_begin");
        named(end, full ? "full_end" : "edge_end");
        Value length = make<arith::AddIOp>(make<arith::SubIOp>(end, begin), constant(step - 1));
        Value tiles =
            make<arith::MaxSIOp>(make<arith::DivSIOp>(length, constant(step)), constant(0));
        Value base = make<arith::SubIOp>(begin, make<arith::MulIOp>(total, constant(step)));
        named(base, full ? "full_origin" : "edge_origin");
        total = named(make<arith::AddIOp>(total, tiles), full ? "tiles" : "edge_tiles");
        intervals.push_back({base, end, total, which, full});
      }
    }
  }

  /// Puts tile `n`, which loop `from` or a later one visits, into the ring of a stream.
  void put(const Stream &stream, Value n, size_t from) {
    ArrayRef<Interval> coming = intervals;
    while (coming.size() > 1 && coming.front().loop < from)
      coming = coming.drop_front();
    Value base = coming.back().base, end = coming.back().end;
    for (const Interval &interval : llvm::drop_begin(llvm::reverse(coming))) {
      Value here = named(less(n, interval.count), interval.full ? "in_full" : "in_edge");
      base = choose(here, interval.base, base);
      end = choose(here, interval.end, end);
    }
    Value j = named(make<arith::AddIOp>(make<arith::MulIOp>(n, constant(step)), base), "next_key");
    // TMA copies whole tiles: what lies beyond the tensor comes as zeros.
    const bool whole = stream.byTensor ||
                       llvm::all_of(coming, [](const Interval &interval) { return interval.full; });
    SmallVector<Value> valid{whole ? constant(step) : make<arith::SubIOp>(end, j)};
    if (stream.base)
      j = make<arith::AddIOp>(j, stream.base);
    for (int64_t count : stream.counts)
      valid.push_back(constant(count));
    tile::PutOp::create(builder, stream.location, stream.view, ValueRange{j}, stream.offsets, valid,
                        builder.getF64FloatAttr(0.0), stream.ring);
  }

  void putIfThere(llvm::ArrayRef<Stream> these, Value n, size_t from) {
    auto branch = scf::IfOp::create(builder, kernel.getLoc(), named(less(n, total), "more"), false);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&branch.getThenRegion().front());
    for (const Stream &stream : these)
      put(stream, n, from);
  }

  // ---- writing ----

  Value ringFor(const Stream &stream, int64_t slots) {
    StringRef name = stream.view.getDefiningOp<tile::ViewOp>().getName();
    auto type = tile::RingType::get(kernel.getContext(), slots, stream.type);
    auto ring = tile::RingOp::create(builder, stream.location, type, name);
    if (stream.byTensor)
      ring->setAttr(kTensorTile, builder.getUnitAttr());
    return ring;
  }

  tile::TakeOp take(tile::LoadOp load, Value ring) {
    return tile::TakeOp::create(builder, load.getLoc(), load.getType(), ring);
  }

  void setPending(tile::TakeOp take, int64_t groups) {
    take->setAttr("tile.pending", builder.getI64IntegerAttr(groups));
  }

  /// A tile that is loaded before the loops, or in a kernel without loops.
  tile::TakeOp stageOnce(tile::LoadOp load) {
    builder.setInsertionPoint(load);
    Value ring = ringFor(Stream(load, Value()), 1);
    SmallVector<Value> valid(load.getValid());
    tile::PutOp::create(builder, load.getLoc(), load.getView(), load.getOffsets(),
                        load.getStaticOffsetsAttr(), valid, load.getFillAttr(), ring);
    tile::TakeOp taken = take(load, ring);
    setPending(taken, 0);
    load.replaceAllUsesWith(taken.getResult());
    load.erase();
    releaseAtEnd(taken, ring);
    return taken;
  }

  /// Whether more than converts reads the tile before `op`.
  static bool isReadBefore(Operation *op, tile::TakeOp taken) {
    Block *block = op->getBlock();
    const auto isBefore = [&](Operation *reader) {
      return block->findAncestorOpInBlock(*reader)->isBeforeInBlock(op);
    };
    return llvm::any_of(taken->getUsers(), [&](Operation *user) {
      const bool converts = isa<tile::ConvertOp>(user) && user->getBlock() == block;
      return converts ? llvm::any_of(user->getUsers(), isBefore) : isBefore(user);
    });
  }

  void releaseAtEnd(tile::TakeOp taken, Value ring) {
    Operation *last = taken;
    Block *block = taken->getBlock();
    for (Operation *user : taken->getUsers()) {
      Operation *here = block->findAncestorOpInBlock(*user);
      if (last->isBeforeInBlock(here))
        last = here;
    }
    builder.setInsertionPointAfter(last);
    tile::ReleaseOp::create(builder, taken.getLoc(), ring);
  }

  /// The take, and what converts the tile right after it, go in front of `op`.
  void moveBefore(tile::TakeOp taken, Operation *op) {
    SmallVector<Operation *> group{taken};
    for (Operation *user : taken->getUsers())
      if (isa<tile::ConvertOp>(user) && user->getBlock() == op->getBlock())
        group.push_back(user);
    for (Operation *user : taken->getOperand(0).getUsers())
      if (isa<tile::ReleaseOp>(user) && user->isBeforeInBlock(op))
        group.push_back(user);
    for (Operation *member : group)
      member->moveBefore(op);
  }

  void fillRings() {
    for (Stream &stream : streams)
      stream.ring = ringFor(stream, stages);
    if (stages == 1)
      putIfThere(streams[0], constant(0), 0);
    for (int64_t n = 0; n + 1 < stages; ++n) {
      if (streams[0].byTensor)
        putIfThere(streams, constant(n), 0);
      else
        for (const Stream &stream : streams)
          putIfThere(stream, constant(n), 0);
    }
  }

  /// The loop with the tile's number carried besides, takes in place of loads, and puts.
  void rebuild(size_t which) {
    tile::ForOp loop = loops[which];
    builder.setInsertionPoint(loop);
    SmallVector<Value> inits(loop.getInits());
    inits.push_back(number ? number : constant(0));
    auto staged = tile::ForOp::create(builder, loop.getLoc(), loop.getBounds(), loop.getStep(),
                                      inits, loop.getKind());
    staged->setDiscardableAttrs(loop->getDiscardableAttrDictionary());
    Block &body = staged.getBody().front(), &old = loop.getBody().front();
    if (body.mightHaveTerminator())
      body.getTerminator()->erase();
    for (auto [from, to] : llvm::zip(old.getArguments(), body.getArguments()))
      from.replaceAllUsesWith(to);
    body.getOperations().splice(body.end(), old.getOperations());
    Value n = body.getArguments().back();
    // The next tile's number comes first: every put of this step shares it.
    builder.setInsertionPointToStart(&body);
    Value next = named(make<arith::AddIOp>(n, constant(1)), "next_tile");
    Value ahead = stages == 1 ? next : make<arith::AddIOp>(n, constant(stages - 1));
    SmallVector<tile::LoadOp> loads = loadsOf(staged);
    for (auto [at, load] : llvm::enumerate(loads))
      stage(load, at, n, ahead, which);
    auto yield = cast<tile::YieldOp>(body.back());
    yield.getValuesMutable().append(next);
    for (auto [from, to] : llvm::zip(loop.getResults(), staged.getResults()))
      from.replaceAllUsesWith(to);
    number = staged.getResults().back();
    loop.erase();
  }

  /// What is put where tile `at` of a step is taken. cp.async: after the take's barrier, which
  /// frees the slot of the step before. TMA: all rings at once, so that one barrier a step frees
  /// all their slots, and before the take, whose wait needs no barrier.
  void putNext(size_t at, Value n, Value ahead, size_t loop) {
    if (stages == 1 && at + 1 < streams.size())
      put(streams[at + 1], n, loop);
    else if (stages == 1)
      putIfThere(streams[0], ahead, loop);
    else if (!streams[at].byTensor)
      putIfThere(streams[at], ahead, loop);
    else if (at == 0)
      putIfThere(streams, ahead, loop);
  }

  void stage(tile::LoadOp load, size_t at, Value n, Value ahead, size_t loop) {
    Operation *reader = nullptr;
    for (Operation *user : load->getUsers()) {
      Operation *here = load->getBlock()->findAncestorOpInBlock(*user);
      if (!reader || here->isBeforeInBlock(reader))
        reader = here;
    }
    builder.setInsertionPoint(reader);
    Stream &stream = streams[at];
    if (stream.byTensor)
      putNext(at, n, ahead, loop);
    tile::TakeOp taken = take(load, stream.ring);
    setPending(taken, stages == 1 ? 0 : (stages - 1) * int64_t(streams.size()) - 1);
    if (!stream.byTensor)
      putNext(at, n, ahead, loop);
    load.replaceAllUsesWith(taken.getResult());
    releaseAtEnd(taken, stream.ring);
    load.erase();
  }

private:
  tile::KernelOp kernel;
  int64_t stages, step = 0;
  OpBuilder builder;
  SmallVector<tile::ForOp> loops;
  SmallVector<Stream> streams;
  SmallVector<Interval> intervals;
  Value total, number;
};

class StageLoadsPass : public PassWrapper<StageLoadsPass, OperationPass<tile::KernelOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(StageLoadsPass)
  explicit StageLoadsPass(const LayoutOptions &options) : stages(options.stages) {}
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, scf::SCFDialect>();
  }
  StringRef getArgument() const override { return "cuda-stage-loads"; }
  StringRef getDescription() const override { return "loads into shared memory become rings"; }

  void runOnOperation() override { LoadStager(getOperation(), stages).run(); }

private:
  int64_t stages;
};

} // namespace

std::unique_ptr<Pass> createStageLoadsPass(const LayoutOptions &options) {
  return std::make_unique<StageLoadsPass>(options);
}

} // namespace heddle::compiler::cuda
