// The k best of a row's list and of n new candidates. Scores become integers of the same order; the
// k-th largest is found by bisection with a count over the row a step, so the time is linear in
// k + n; what is at least as good is then packed in order:
//
//   list 4 2 .   new 2 8 4 3, k = 3        t = 4: three are >= t        list 4 8 4
//
// Bisection stops at the first bound that exactly k candidates reach, and starts at the worst of a
// full list: a row whose list stays as it is takes one count. Ties go to small ids, by bisection
// over the ids of those that equal t.
#include "compiler/targets/cpu/Nests.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cstdint>
#include <limits>

using namespace mlir;

namespace heddle::compiler::cpu {

using tile::TileType;
using tile::typeOf;

namespace {

constexpr int64_t kNone = INT32_MIN; ///< the key of no candidate

/// One row: keys and ids side by side on the stack, list first.
class RowSelector {
public:
  RowSelector(Evaluator &evaluator, tile::TopkOp op)
      : evaluator(evaluator), e(evaluator.e), op(op), k(typeOf(op.getBestId()).getDim(1)),
        n(typeOf(op.getId()).getShape().back()), width(e.lanes()), listed(llvm::alignTo(k, width)),
        total(listed + llvm::alignTo(n, width)), none(e.splatInt(kNone)) {
    Type i32 = e.builder.getI32Type();
    keys = e.stackArray(i32, total);
    ids = e.stackArray(i32, total);
    // Packing may write a vector beyond what counts.
    bestKeys = e.stackArray(i32, total + width);
    bestIds = e.stackArray(i32, total + width);
  }

  void run(const Coord &row, const LocalPlace &scores, const LocalPlace &numbers) {
    Extremes list = collect(op.getBestScore(), op.getBestId(), row, 0, k);
    Extremes next = collect(op.getScore(), op.getId(), row, listed, n);
    Value start = e.maxIndex(list.worst, e.integer(kNone + 1));
    Value count = countOf([&](Value key, Value) { return atLeast(key, start); });
    Value above = e.plus(e.maxIndex(list.best, next.best), 1);
    Values found = bisectKeys(start, above, count);
    Value last = lastOfEquals(found[0], found[1]);
    Value packed = pack(found[0], last);
    write(row, packed, scores, numbers);
  }

private:
  struct Extremes {
    Value worst, best; ///< of the keys, by index; places beyond the tile do not count
  };
  using Condition = function_ref<Value(Value key, Value id)>;

  Value compare(arith::CmpIPredicate how, Value a, Value b) {
    return arith::CmpIOp::create(e.builder, e.loc, how, a, b);
  }
  Value atLeast(Value key, Value bound) {
    return compare(arith::CmpIPredicate::sge, key, e.broadcast(bound));
  }
  Value reduced(vector::CombiningKind kind, Value vector) {
    Value scalar = vector::ReductionOp::create(e.builder, e.loc, kind, vector);
    return arith::IndexCastOp::create(e.builder, e.loc, e.builder.getIndexType(), scalar);
  }
  Value place(Value array, Value index) { return e.address(array, e.builder.getI32Type(), index); }

  /// Bits of a float as an integer of the same order; its own inverse.
  Value ordered(Value bits) {
    Value mask = e.andInt(e.shiftRight(bits, 31), e.splatInt(0x7fffffff));
    return arith::XOrIOp::create(e.builder, e.loc, bits, mask);
  }

  Values overRow(Value from, Value to, ValueRange init,
                 function_ref<Values(Value, ValueRange)> body) {
    return e.loop(from, to, width, init, [&](Value index, ValueRange carried) {
      evaluator.pushScope();
      Values next = body(index, carried);
      evaluator.popScope();
      return next;
    });
  }

  /// Writes keys and ids of a tile's row from `first` on.
  Extremes collect(Value scoreTile, Value idTile, const Coord &row, int64_t first, int64_t extent) {
    Values start = {e.splatInt(INT32_MAX), none};
    Values ends = overRow(e.integer(0), e.integer(extent), start, [&](Value at, ValueRange now) {
      Coord lanes = evaluator.lanesFrom(at, -1, extent % width == 0);
      Value score = e.add(evaluator.at(scoreTile, {row, lanes}), e.splat(0)); // -0 is 0
      bool shared = typeOf(idTile).getRank() == 1;
      Value id = shared ? evaluator.at(idTile, {lanes}) : evaluator.at(idTile, {row, lanes});
      Value lowest = e.splat(-std::numeric_limits<double>::infinity());
      Value some = arith::AndIOp::create(e.builder, e.loc, e.less(lowest, score),
                                         compare(arith::CmpIPredicate::sge, id, e.splatInt(0)));
      Value inside = laneMask(e, at, e.integer(extent));
      if (inside)
        some = arith::AndIOp::create(e.builder, e.loc, some, inside);
      Value key = e.select(some, ordered(e.toBits(score)), none);
      e.store(key, place(keys, e.plus(at, first)));
      e.store(id, place(ids, e.plus(at, first)));
      Value low = inside ? e.select(inside, key, e.splatInt(INT32_MAX)) : key;
      return Values{arith::MinSIOp::create(e.builder, e.loc, now[0], low),
                    arith::MaxSIOp::create(e.builder, e.loc, now[1], key)};
    });
    return {reduced(vector::CombiningKind::MINSI, ends[0]),
            reduced(vector::CombiningKind::MAXSI, ends[1])};
  }

  /// How many places meet a condition; `skipped` (may be null): 0 without a look.
  Value countOf(Condition condition, Value skipped = {}) {
    Value end = e.integer(total);
    if (skipped)
      end = e.select(skipped, e.integer(0), end);
    Values sums = overRow(e.integer(0), end, e.splatInt(0), [&](Value at, ValueRange now) {
      Value key = e.load(e.ints, place(keys, at)), id = e.load(e.ints, place(ids, at));
      return Values{e.addInt(now[0], e.select(condition(key, id), e.splatInt(1), e.splatInt(0)))};
    });
    return reduced(vector::CombiningKind::ADD, sums[0]);
  }

  Value middle(Value lo, Value hi) { // of numbers of either sign, rounded down
    return arith::ShRSIOp::create(e.builder, e.loc, e.plus(lo, hi), e.integer(1));
  }

  /// The largest bound that at least k keys reach (`lo`, which `count` reach, if fewer than k do),
  /// and how many reach it.
  Values bisectKeys(Value lo, Value hi, Value count) {
    constexpr int64_t kSteps = 33; // keys lie within 2^32
    return e.loop(e.integer(0), e.integer(kSteps), 1, {lo, count, hi}, [&](Value, ValueRange now) {
      Value exact = compare(arith::CmpIPredicate::sle, now[1], e.integer(k));
      Value narrow = compare(arith::CmpIPredicate::sle, e.plus(now[2], -1), now[0]);
      Value done = arith::OrIOp::create(e.builder, e.loc, exact, narrow);
      Value bound = middle(now[0], now[2]);
      Value some = countOf([&](Value key, Value) { return atLeast(key, bound); }, done);
      Value enough = compare(arith::CmpIPredicate::sge, some, e.integer(k));
      auto choose = [&](Value yes, Value no, Value old) {
        return e.select(done, old, e.select(enough, yes, no));
      };
      return Values{choose(bound, now[0], now[0]), choose(some, now[1], now[1]),
                    choose(now[2], bound, now[2])};
    });
  }

  /// The largest id that is taken of the keys that equal `bound`.
  Value lastOfEquals(Value bound, Value count) {
    Value most = e.integer(INT32_MAX);
    Value tied = compare(arith::CmpIPredicate::sgt, count, e.integer(k));
    Value greater =
        countOf([&](Value key,
                    Value) { return compare(arith::CmpIPredicate::sgt, key, e.broadcast(bound)); },
                compare(arith::CmpIPredicate::sle, count, e.integer(k)));
    Value wanted = arith::SubIOp::create(e.builder, e.loc, e.integer(k), greater);
    constexpr int64_t kSteps = 32; // ids lie in [0, 2^31)
    Value steps = e.select(tied, e.integer(kSteps), e.integer(0));
    return e.loop(e.integer(0), steps, 1, {e.integer(-1), most}, [&](Value, ValueRange now) {
      Value id = middle(now[0], now[1]);
      Value some = countOf([&](Value key, Value other) {
        Value equal = compare(arith::CmpIPredicate::eq, key, e.broadcast(bound));
        Value small = compare(arith::CmpIPredicate::sle, other, e.broadcast(id));
        return arith::AndIOp::create(e.builder, e.loc, equal, small).getResult();
      });
      Value enough = compare(arith::CmpIPredicate::sge, some, wanted);
      return Values{e.select(enough, now[0], id), e.select(enough, id, now[1])};
    })[1];
  }

  /// Packs what is chosen, in order; how many there are.
  Value pack(Value bound, Value lastId) {
    Type bits = e.builder.getIntegerType(width);
    return overRow(e.integer(0), e.integer(total), e.integer(0), [&](Value at, ValueRange now) {
      Value key = e.load(e.ints, place(keys, at)), id = e.load(e.ints, place(ids, at));
      Value above = compare(arith::CmpIPredicate::sgt, key, e.broadcast(bound));
      Value equal = compare(arith::CmpIPredicate::eq, key, e.broadcast(bound));
      Value small = compare(arith::CmpIPredicate::sle, id, e.broadcast(lastId));
      Value taken = arith::OrIOp::create(e.builder, e.loc, above,
                                         arith::AndIOp::create(e.builder, e.loc, equal, small));
      LLVM::masked_compressstore::create(e.builder, e.loc, key, place(bestKeys, now[0]), taken);
      LLVM::masked_compressstore::create(e.builder, e.loc, id, place(bestIds, now[0]), taken);
      Value word = vector::BitCastOp::create(e.builder, e.loc, VectorType::get({1}, bits), taken);
      Value ones = LLVM::CtPopOp::create(
          e.builder, e.loc, bits, vector::ExtractOp::create(e.builder, e.loc, word, int64_t(0)));
      return Values{e.plus(
          now[0], arith::IndexCastUIOp::create(e.builder, e.loc, e.builder.getIndexType(), ones))};
    })[0];
  }

  /// The list from the packed places, free ones last.
  void write(const Coord &row, Value count, const LocalPlace &scores, const LocalPlace &numbers) {
    overRow(e.integer(0), e.integer(k), {}, [&](Value at, ValueRange) {
      Value left = arith::SubIOp::create(e.builder, e.loc, count, at);
      Value there = compare(arith::CmpIPredicate::slt, e.iota(), e.broadcast(left));
      Value score = e.fromBits(ordered(e.load(e.ints, place(bestKeys, at))));
      score = e.select(there, score, e.splat(-std::numeric_limits<double>::infinity()));
      Value id = e.select(there, e.load(e.ints, place(bestIds, at)), e.splatInt(-1));
      Coord lanes = evaluator.lanesFrom(at, -1, k % width == 0);
      storeLocal(e, scores, {row, lanes}, score);
      storeLocal(e, numbers, {row, lanes}, id);
      return Values();
    });
  }

  Evaluator &evaluator;
  VectorBuilder &e;
  tile::TopkOp op;
  int64_t k, n, width, listed, total;
  Value none, keys, ids, bestKeys, bestIds;
};

} // namespace

void NestEmitter::emitTopk(tile::TopkOp topk) {
  const LocalPlace scores = evaluator.locals.find(topk.getResultScore())->second;
  const LocalPlace numbers = evaluator.locals.find(topk.getResultId())->second;
  RowSelector selector(evaluator, topk);
  overIndices(typeOf(topk.getScore()).getDim(0),
              [&](Value row) { selector.run(evaluator.element(row), scores, numbers); });
}

} // namespace heddle::compiler::cpu
