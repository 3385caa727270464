// Counts what there is to do: unmasked pairs exactly, by the supports, and flops from them.
// Example: causal with Tq = Tk = 4, B = 1, Hq = 2 has 2 * 10 pairs.
#include "compiler/Interpreter.h"
#include "compiler/interpreter/Graph.h"
#include "compiler/interpreter/Mix.h"
#include "ir/pattern/ExprUtils.h"

#include "llvm/ADT/SmallPtrSet.h"

#include <algorithm>

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

/// Pairs if every row sees all keys up to its own, or all keys.
bool seesPrefixes(const MixHead &head, int64_t pairs) {
  int64_t causal = 0, full = 0;
  for (int64_t n = 0; n < head.in.sequences(); ++n) {
    Sequence s = head.in.sequence(n);
    full += s.lenQ * s.lenK * head.in.heads;
    for (int64_t row = 0; row < s.lenQ; ++row)
      causal += std::clamp<int64_t>(row + s.shift + 1, 0, s.lenK) * head.in.heads;
  }
  return pairs == causal || pairs == full;
}

/// The useful work of a mix, and what each form does for it.
void addUseful(pattern::MixOp op, const MixHead &head, int64_t features, int64_t pairs,
               Work &work) {
  const MixInputs &in = head.in;
  double given = double(in.widthK), V = double(in.widthV);
  double paired = double(pairs) * double(in.writes * in.readouts) * 2 * (given + V);
  bool prefixes = seesPrefixes(head, pairs);
  if (whyNotScan(op) || !(prefixes || in.isTree() || whyNotPair(op))) {
    for (double *sum : {&work.flops, &work.inPairs, &work.inSteps})
      *sum += paired;
    return;
  }
  bool delta = op.getUpdate() == pattern::UpdateKind::delta;
  bool dplr = op.getUpdate() == pattern::UpdateKind::dplr;
  double reads = 0, writes = 0;
  for (int64_t n = 0; n < in.sequences(); ++n) {
    Sequence s = in.sequence(n);
    reads += double(s.lenQ * in.heads * in.readouts);
    writes += double(s.lenK * in.headsOfStates * in.writes);
  }
  double state = double(features) * V, K = double(features);
  double useful = 2 * state * (reads + writes * (1 + delta + 2 * dplr));
  bool widened = features > in.widthK + 1;
  work.flops += widened && !whyNotPair(op) ? std::min(paired, useful) : useful;
  work.inPairs += whyNotPair(op) ? useful : paired;
  double decays = op.getDecay() == pattern::DecayKind::None ? 0 : writes / double(in.writes);
  work.inSteps += useful + state * decays;
  // Half of each chunk x chunk square: q k', its product with what is written; delta and dplr also
  // k k' and the solve, dplr two more of each.
  work.inChunk += reads * (K + V) + writes * (delta * (K + V) + dplr * (3 * K + 2 * V));
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
  addUseful(op, head, features, pairs, work);
  // The support runs over all keys of a row, the chain and the exponential over those it keeps.
  work.oracle += byPairs ? paired * (2 * width + 40) + mapped * 4 + tokens * double(head.s.lenQ) * 8
                         : 16 * tokens * state;
  if (!byPairs)
    work.scans += 16 * tokens * state;
  for (const char *role : {"state", "z", "bank", "k_last"})
    work.finals |= bool(op.output(role));
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

double Work::formFlops(const std::string &form, int64_t chunk) const {
  if (form == "attention")
    return inPairs;
  return inSteps + (form == "chunked" ? inChunk * double(chunk + 1) : 0);
}

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
