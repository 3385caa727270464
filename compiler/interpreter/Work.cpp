// Counts what there is to do: unmasked pairs exactly, by the supports, and flops from them.
// Example: causal with Tq = Tk = 4, B = 1, Hq = 2 has 2 * 10 pairs.
#include "compiler/Interpreter.h"
#include "compiler/interpreter/Graph.h"
#include "compiler/interpreter/Mix.h"
#include "ir/pattern/ExprUtils.h"

#include "llvm/ADT/SmallPtrSet.h"

namespace heddle::compiler {

namespace {

/// Pairs of one mix; counted once for all heads and batches if the support names neither.
Result<int64_t> countPairs(MixHead &head) {
  int64_t pairs = 0;
  bool byHead = head.supportUses(MixSlots::Head) || head.supportUses(MixSlots::KeyHead);
  bool byBatch = head.supportUses(MixSlots::Batch) ||
                 head.op.getLayout() != pattern::LayoutKind::dense || head.in.isTree();
  int64_t batches = byBatch ? head.in.sequences() : std::min<int64_t>(1, head.in.sequences());
  for (int64_t n = 0; n < batches; ++n)
    for (int64_t h = 0; h < (byHead ? head.in.heads : 1); ++h) {
      head.place(n, h);
      for (int64_t row = 0; row < head.s.lenQ; ++row)
        pairs += int64_t(head.visible(row).size());
    }
  return pairs * (byHead ? 1 : head.in.heads) * (byBatch ? 1 : head.in.sequences());
}

Status addMix(pattern::MixOp op, const Environment &environment, Work &work) {
  HEDDLE_TRY(head, MixHead::make(op, environment));
  HEDDLE_TRY(features, head.countFeatures());
  HEDDLE_TRY(pairs, countPairs(head));
  double width = double(features + head.in.widthV);
  double paired = double(pairs) * double(head.in.writes * head.in.readouts);
  double state = double(features) * double(head.in.widthV), tokens = 0, mapped = 0;
  for (int64_t n = 0; n < head.in.sequences(); ++n) {
    Sequence s = head.in.sequence(n);
    tokens += double(s.lenK * head.in.heads);
    mapped += double((s.lenK + s.lenQ) * head.in.heads) * width;
  }
  bool byPairs = !whyNotPair(op);
  work.pairs += pairs;
  work.flops += byPairs ? 2 * paired * width : (5 + 2.0 * double(head.in.writes)) * tokens * state;
  // The support runs over all keys of a row, the chain and the exponential over those it keeps.
  work.oracle += byPairs ? paired * (2 * width + 40) + mapped * 4 + tokens * double(head.s.lenQ) * 8
                         : 16 * tokens * state;
  return {};
}

/// Ops whose values decide which pairs count: those that a support reads, or that say where tokens
/// lie, and all that these are made of.
llvm::SmallPtrSet<mlir::Operation *, 8> decisiveOps(pattern::DefOp def) {
  llvm::SmallVector<mlir::Value> open;
  def.walk([&](pattern::MixOp mix) {
    for (const std::string &name : pattern::tensorsOf(mix.getSupportAttr()))
      open.push_back(mix.read(name));
    for (const char *role : {"cu_q", "cu_k", "table", "indptr", "len", "parent"})
      open.push_back(mix.input(role));
  });
  llvm::SmallPtrSet<mlir::Operation *, 8> ops;
  while (!open.empty()) {
    mlir::Value value = open.pop_back_val();
    mlir::Operation *op = value ? value.getDefiningOp() : nullptr;
    if (op && ops.insert(op).second)
      open.append(op->operand_begin(), op->operand_end());
  }
  return ops;
}

} // namespace

Result<Work> measureWork(pattern::DefOp def, const Bindings &bindings) {
  HEDDLE_TRY(environment, Environment::make(def, bindings));
  Work work;
  llvm::SmallPtrSet<mlir::Operation *, 8> decisive = decisiveOps(def);
  for (mlir::Operation &operation : def.getBody().front().without_terminator()) {
    if (auto mix = mlir::dyn_cast<pattern::MixOp>(operation))
      HEDDLE_CHECK(addMix(mix, environment, work));
    if (decisive.contains(&operation)) {
      HEDDLE_CHECK(runOp(operation, environment, {}, Evaluator::Auto));
      continue;
    }
    for (mlir::Value result : operation.getResults()) {
      HEDDLE_TRY(shape, environment.shapeOf(pattern::arrayType(result)));
      environment.define(result, Value::zeros(shape));
    }
  }
  return work;
}

} // namespace heddle::compiler
