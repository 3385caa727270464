// Prepares one head of a mix: maps keys, sums decays along the path, reads what enters.
// Example: g = (-0.1, -0.2, -0.3) gives b = (-0.1, -0.3, -0.6); in a tree whose node 2 has parent
// 0, b_2 = -0.1 - 0.3.
#include "compiler/interpreter/MixHead.h"

#include "ir/pattern/ExprUtils.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace heddle::compiler {

using pattern::DecayKind;
using pattern::ExprAttr;
using pattern::ExprKind;

namespace {

bool mentions(ExprAttr expr, llvm::StringRef name) {
  std::vector<std::string> free = pattern::freeVars(expr);
  return std::find(free.begin(), free.end(), name) != free.end();
}

bool linearIn(ExprAttr expr) {
  switch (expr.getKind()) {
  case ExprKind::Var:
    return nameOf(expr) == "s";
  case ExprKind::Neg:
    return linearIn(expr[0]);
  case ExprKind::Add:
  case ExprKind::Sub:
    return linearIn(expr[0]) && linearIn(expr[1]);
  case ExprKind::Mul:
    return (linearIn(expr[0]) && !mentions(expr[1], "s")) ||
           (linearIn(expr[1]) && !mentions(expr[0], "s"));
  case ExprKind::Div:
    return linearIn(expr[0]) && !mentions(expr[1], "s");
  default:
    return false;
  }
}

} // namespace

bool isLinearChain(ExprAttr score) {
  ExprAttr expanded = pattern::expandLets(score);
  return !mentions(expanded, "j") && linearIn(expanded);
}

Result<MixHead> MixHead::make(pattern::MixOp op, const Environment &environment) {
  HEDDLE_TRY(inputs, MixInputs::make(op, environment));
  MixHead head;
  head.op = op;
  head.in = std::move(inputs);
  HEDDLE_TRY(segments, Segments::make(head.in));
  head.segments = std::move(segments);
  HEDDLE_TRY(mapsQ, FeatureMaps::compile(op.getFeaturesQ(), head.in, false));
  HEDDLE_TRY(mapsK, FeatureMaps::compile(op.getFeaturesK(), head.in, true));
  head.mapsQ = std::move(mapsQ);
  head.mapsK = std::move(mapsK);
  auto compile = [&](ExprAttr expr, std::initializer_list<int> lanes,
                     std::optional<ExprProgram> &out) -> Status {
    if (!expr)
      return {};
    HEDDLE_TRY(program, ExprProgram::compile(expr, head.in.scope(lanes)));
    out = std::move(program);
    return {};
  };
  HEDDLE_CHECK(compile(op.getSupportAttr(), {MixSlots::Key}, head.support));
  HEDDLE_CHECK(compile(op.getScoreAttr(), {MixSlots::Key, MixSlots::Score}, head.score));
  HEDDLE_CHECK(compile(op.getDecayExprAttr(), {}, head.decayValue));
  HEDDLE_CHECK(compile(op.getSinkAttr(), {}, head.sink));
  HEDDLE_CHECK(compile(op.getNormArgAttr(), {}, head.normArgument));
  head.decayInput = head.in.tokens("decay", false);
  head.previousInput = head.in.tokens("tap_prev", false);
  head.hereInput = head.in.tokens("tap_here", false);
  return head;
}

void MixHead::place(int64_t sequence, int64_t newHead) {
  s = in.sequence(sequence);
  head = newHead;
  all.resize(s.lenK);
  std::iota(all.begin(), all.end(), 0.0);
}

Status MixHead::enter(int64_t sequence, int64_t newHead) {
  place(sequence, newHead);
  HEDDLE_CHECK(loadKeys());
  HEDDLE_CHECK(loadDecay());
  HEDDLE_CHECK(loadEntry());
  return segments.enter(in, s, head);
}

Result<int64_t> MixHead::countFeatures() {
  int64_t widthQ = mapsQ.width(in.widthQ), widthK = mapsK.width(in.widthK);
  if (widthQ != widthK)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("q has {} features after its maps, k has {}: expected as many", widthQ,
                             widthK)};
  return widthK;
}

/// Keys and values of the head; kept while the next head shares them.
Status MixHead::loadKeys() {
  int64_t keyHead = head * in.headsK / in.heads, valueHead = head * in.headsV / in.heads;
  bool same = loadedSequence == s.index && loadedKeyHead == keyHead &&
              loadedValueHead == valueHead && !mapsK.readsHead();
  if (same)
    return {};
  loadedSequence = s.index, loadedKeyHead = keyHead, loadedValueHead = valueHead;
  HEDDLE_TRY(mapped, countFeatures());
  features = mapped;
  std::vector<double> row;
  keys.resize(s.lenK * in.writes * features);
  values.resize(s.lenK * in.writes * in.widthV);
  for (int64_t j = 0; j < s.lenK; ++j)
    for (int64_t sub = 0; sub < in.writes; ++sub) {
      double *key = keys.data() + (j * in.writes + sub) * features;
      if (mapsK.empty()) {
        in.loadK(s, j, sub, head, key);
      } else {
        row.resize(in.widthK);
        in.loadK(s, j, sub, head, row.data());
        mapsK.apply(in, s, head, j, row);
        std::copy(row.begin(), row.end(), key);
      }
      in.loadV(s, j, sub, head, values.data() + (j * in.writes + sub) * in.widthV);
    }
  return {};
}

Status MixHead::loadDecay() {
  DecayKind kind = op.getDecay();
  decay.width = kind == DecayKind::None ? 0 : kind == DecayKind::constant ? 1 : decayInput.width;
  int64_t expected = kind == DecayKind::None      ? 0
                     : kind == DecayKind::diag    ? features
                     : kind == DecayKind::channel ? features * in.widthV
                                                  : 1;
  if (decay.width != expected)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("the decay has {} entries a token and head, expected {}", decay.width,
                             expected)};
  decay.sums.assign((s.lenK + 1) * decay.width, 0.0);
  for (int64_t j = 0; decay.width && j < s.lenK; ++j) {
    double *sum = decay.sums.data() + (j + 1) * decay.width;
    if (kind == DecayKind::constant) {
      in.setHead(*decayValue, s, head);
      *sum = decayValue->scalar();
    } else {
      in.load(decayInput, s, j, 0, head, sum);
    }
    const double *before = decay.at(in.before(s, j));
    for (int64_t d = 0; d < decay.width; ++d)
      sum[d] += before[d];
  }
  return {};
}

/// States on entry, the bonus and the taps.
Status MixHead::loadEntry() {
  auto entry = [&](llvm::StringRef role, std::vector<double> &out, int64_t size) -> Status {
    mlir::Value value = op.input(role);
    if (!value)
      return {};
    bool packed = op.getLayout() == pattern::LayoutKind::varlen;
    llvm::StringRef part = role;
    bool enters = part.consume_front("in_"); // one a sequence, even if sequences are packed
    bool perSequence = pattern::arrayType(value).getBatched() || (enters && packed);
    out = in.loadHead(in.environment->value(value), perSequence, in.leadOf(part), s, head);
    int64_t found = int64_t(out.size());
    if (part == "bank" ? found % size != 0 : found != size)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} has {} entries a head, expected {}", role.str(), found, size)};
    return {};
  };
  HEDDLE_CHECK(entry("in_state", state, features * in.widthV));
  HEDDLE_CHECK(entry("in_z", sums, features));
  HEDDLE_CHECK(entry("in_bank", bank, std::max<int64_t>(1, features * in.widthV)));
  HEDDLE_CHECK(entry("bonus", bonus, features));
  HEDDLE_CHECK(entry("in_k_last", lastKey, in.writes * features));
  HEDDLE_CHECK(entry("in_v_last", lastValue, in.writes * in.widthV));
  if (previousInput.present) {
    tapPrevious.resize(s.lenK);
    tapHere.resize(s.lenK);
    for (int64_t j = 0; j < s.lenK; ++j) {
      in.load(previousInput, s, j, 0, head, &tapPrevious[j]);
      in.load(hereInput, s, j, 0, head, &tapHere[j]);
    }
  }
  return {};
}

std::vector<double> MixHead::query(int64_t row, int64_t sub) {
  std::vector<double> q(in.widthQ);
  in.loadQ(s, row, sub, head, q.data());
  mapsQ.apply(in, s, head, row, q);
  return q;
}

const std::vector<double> &MixHead::visible(int64_t row) {
  in.setHead(*support, s, head);
  in.setRow(*support, s, row);
  seen.clear();
  mask.resize(s.lenK);
  if (support->varies()) {
    LaneInput lanes[] = {{MixSlots::Key, all.data()}};
    support->run(lanes, s.lenK, mask.data());
  } else {
    std::fill(mask.begin(), mask.end(), support->scalar());
  }
  for (int64_t j = 0; j < s.lenK; ++j)
    if (mask[j] != 0 && in.holds(s, j))
      seen.push_back(static_cast<double>(j));
  return seen;
}

void MixHead::chain(int64_t row, const double *j, double *values, int64_t count) {
  in.setHead(*score, s, head);
  in.setRow(*score, s, row);
  if (!score->varies()) {
    std::fill_n(values, count, score->scalar());
    return;
  }
  LaneInput lanes[] = {{MixSlots::Key, j}, {MixSlots::Score, values}};
  score->run(lanes, count, values);
}

double MixHead::factor(int64_t row) {
  double j = 0, one = 1;
  chain(row, &j, &one, 1);
  return one;
}

double MixHead::at(std::optional<ExprProgram> &program, int64_t row, double otherwise) {
  if (!program)
    return otherwise;
  in.setHead(*program, s, head);
  in.setRow(*program, s, row);
  return program->scalar();
}

} // namespace heddle::compiler
