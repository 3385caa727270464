// What buckets of keys hold, kept once every `refresh` keys. One grid point walks the keys for four
// buckets; a bucket keeps its most salient keys, of equals the newer ones:
//
//   for t: store held;  held = topk((bucket of key == m ? salience : -inf), held)
//
// Ids count down from kNewest, so that the smaller id is the newer key.
#include "compiler/forms/ChooseKernels.h"
#include "compiler/forms/KernelWriter.h"
#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

constexpr int64_t kNewest = int64_t(1) << 29, kBuckets = 4;
class BucketWriter {
public:
  BucketWriter(const PatternProblem &problem, const BucketStage &stage, tile::KernelOp kernel)
      : problem(problem), stage(stage), kept(*problem.find(stage.name)),
        capacity(*kept.shape.back().fixed), w(kernel),
        first(w.mul(kernel.getGridIndex(0), kBuckets)), b(kernel.getGridIndex(1)) {}

  void run() {
    Value scores = w.fill(w.f32({kBuckets, capacity}), -steps::kInfinity);
    Value ids = w.fill(w.tileType({kBuckets, capacity}, w.builder.getI32Type()), -1);
    w.loop(w.constant(0), w.extent(kept.dim(0)), 1, {scores, ids},
           [&](Value t, ValueRange held) -> llvm::SmallVector<Value> {
             store(t, held[1]);
             return merge(w.mul(t, stage.refresh), held);
           });
  }

private:
  Value integer(OpBuilder &builder, int64_t value) {
    return arith::ConstantIntOp::create(builder, w.location, value, 32);
  }

  /// Ids as keys; free places stay -1.
  void store(Value t, Value ids) {
    Names dims{"i", "j"};
    Value keys = w.elementwise(
        {ids}, {dims}, dims,
        [&](OpBuilder &builder, Location at, ValueRange x) -> Value {
          Value free = arith::CmpIOp::create(builder, at, arith::CmpIPredicate::slt, x[0],
                                             integer(builder, 0));
          Value key = arith::SubIOp::create(builder, at, integer(builder, kNewest), x[0]);
          return arith::SelectOp::create(builder, at, free, x[0], key);
        },
        w.builder.getI32Type());
    Value view = w.view(kept.name, kept.element, kept.shape, {b, t, {}, {}});
    w.store(keys, view, {OpFoldResult(first), w.fixed(0)}, {w.sub(w.extent(kept.dim(1)), first)});
  }

  /// Column 0 of a tensor of one number a key, from key j on.
  Value column(const std::string &name, Value j) {
    const ProblemTensor &tensor = *problem.find(name);
    Value view = w.view(tensor.name, tensor.element, tensor.shape, {b, {}, w.constant(0)});
    return w.load(w.tileType({stage.refresh}, tensor.element), view, {OpFoldResult(j)},
                  {w.sub(w.extent(stage.keys), j)});
  }

  llvm::SmallVector<Value> merge(Value j, ValueRange held) {
    Value buckets = column(stage.bucket, j), saliences = column(stage.salience, j);
    Value limit = arith::IndexCastOp::create(w.builder, w.location, w.builder.getI32Type(),
                                             w.extent(stage.keys));
    Names dims{"i", "j"};
    Value key = w.index(j, stage.refresh), bucket = w.index(first, kBuckets);
    auto compare = [&](OpBuilder &builder, arith::CmpIPredicate how, Value x, Value y) -> Value {
      return arith::CmpIOp::create(builder, w.location, how, x, y);
    };
    Value scores = w.elementwise(
        {saliences, buckets, bucket, key}, {Names{"j"}, Names{"j"}, Names{"i"}, Names{"j"}}, dims,
        [&](OpBuilder &builder, Location at, ValueRange x) -> Value {
          Value own = compare(builder, arith::CmpIPredicate::eq, x[1], x[2]);
          Value there = compare(builder, arith::CmpIPredicate::slt, x[3], limit);
          Value counts = arith::AndIOp::create(builder, at, own, there);
          return arith::SelectOp::create(builder, at, counts, x[0],
                                         steps::real(builder, at, -steps::kInfinity));
        });
    Value ids = w.elementwise(
        {key, bucket}, {Names{"j"}, Names{"i"}}, dims,
        [&](OpBuilder &builder, Location at, ValueRange x) -> Value {
          return arith::SubIOp::create(builder, at, integer(builder, kNewest), x[0]);
        },
        w.builder.getI32Type());
    auto best = tile::TopkOp::create(w.builder, w.location, held[0].getType(), held[1].getType(),
                                     scores, ids, held[0], held[1]);
    return {best.getResultScore(), best.getResultId()};
  }

  const PatternProblem &problem;
  const BucketStage &stage;
  const ProblemTensor &kept;
  int64_t capacity;
  KernelWriter w;
  Value first, b;
};

} // namespace

void writeBuckets(ProgramWriter &program, const PatternProblem &problem, const BucketStage &stage) {
  const ProblemTensor &kept = *problem.find(stage.name);
  tile::KernelOp kernel = program.kernel(
      "keep_" + stage.name, {program.ratio(kept.dim(1), kBuckets), program.formula(kept.shape[0])},
      {false, false}, "what buckets hold, as each query may know it: key by key");
  BucketWriter(problem, stage, kernel).run();
}

} // namespace heddle::compiler
