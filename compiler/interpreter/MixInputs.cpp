// Finds the row of a token in whatever layout its tensor has, and decodes it.
// Example, paged: key 37 of sequence b with pages of 16 is slot 5 of page table[b, 2]; its stored
// codes pass through the codec's expression, e.g. (x - zero[j, hk]) * scale[j, hk].
#include "compiler/interpreter/MixInputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <numeric>

namespace heddle::compiler {

using pattern::LayoutKind;

namespace {

bool batchedValue(mlir::Value value) { return pattern::arrayType(value).getBatched(); }

} // namespace

Result<MixInputs> MixInputs::make(pattern::MixOp op, const Environment &environment) {
  MixInputs in;
  in.op = op;
  in.environment = &environment;
  if (op.getWritesAttr()) {
    HEDDLE_TRY(writes, environment.extent(op.getWritesAttr()));
    in.writes = writes;
  }
  if (op.getReadoutsAttr()) {
    HEDDLE_TRY(readouts, environment.extent(op.getReadoutsAttr()));
    in.readouts = readouts;
  }
  bool paged = op.getLayout() == LayoutKind::paged;
  in.parents = in.tokens("parent", false);
  HEDDLE_CHECK(in.describe(in.q, op.getQ(), op.hasReadAxis(), false, op.getCodecQAttr()));
  HEDDLE_CHECK(in.describe(in.k, op.getK(), op.hasWriteAxis(), paged, op.getCodecKAttr()));
  if (op.getV()) {
    HEDDLE_CHECK(in.describe(in.v, op.getV(), op.hasWriteAxis(), paged, op.getCodecVAttr()));
  } else {
    HEDDLE_TRY(first, environment.extent(op.getAliasFirstAttr()));
    HEDDLE_TRY(size, environment.extent(op.getAliasSizeAttr()));
    if (first + size > in.k.width)
      return invalid(fmt::format("v is features [{}, {}) of k, which has {}", first, first + size,
                                 in.k.width));
    in.aliased = true;
    in.aliasFirst = first;
    in.v.heads = in.k.heads;
    in.v.width = size;
  }
  in.headsQ = in.q.heads, in.headsK = in.k.heads, in.headsV = in.v.heads;
  in.widthQ = in.q.width, in.widthK = in.k.width, in.widthV = in.v.width;
  in.heads = std::max({in.headsQ, in.headsK, in.headsV});
  for (int64_t operand : {in.headsQ, in.headsK, in.headsV})
    if (operand <= 0 || in.heads % operand != 0)
      return invalid(fmt::format("{} heads of q, {} of k, {} of v: each must divide the largest",
                                 in.headsQ, in.headsK, in.headsV));
  HEDDLE_TRY(states, environment.extent(op.stateHeads()));
  in.headsOfStates = states;
  HEDDLE_CHECK(in.checkLayout());
  if (op.getLayout() == LayoutKind::varlen)
    in.sequenceCount = environment.value(op.input("cu_q")).extent(0) - 1;
  else
    in.sequenceCount = in.q.batched ? in.q.value.extent(0) : environment.batch();
  if (op.getLayout() == LayoutKind::ring) {
    in.ringSize = in.k.value.extent(in.k.batched ? 1 : 0);
    if (op.getRingKeepAttr()) {
      HEDDLE_TRY(keep, environment.extent(op.getRingKeepAttr()));
      in.ringKeep = keep;
    }
    if (in.ringKeep >= in.ringSize)
      return invalid(
          fmt::format("a ring of {} slots cannot keep {} keys", in.ringSize, in.ringKeep));
  }
  return in;
}

Status MixInputs::describe(Rows &rows, mlir::Value value, bool subAxis, bool pooled,
                           pattern::ExprAttr codec) {
  rows.value = environment->value(value);
  rows.batched = batchedValue(value);
  rows.subAxis = subAxis;
  rows.pooled = pooled;
  int rank = rows.value.rank();
  bool headsFirst = pooled && op.getPageOrder() == pattern::PageOrder::hnd;
  rows.heads = rows.value.extent(headsFirst ? rank - 3 : rank - 2);
  rows.width = rows.value.extent(rank - 1);
  if (codec) {
    HEDDLE_TRY(program, ExprProgram::compile(codec, scope({MixSlots::X, MixSlots::D})));
    rows.codec = std::move(program);
  }
  return {};
}

/// Lengths are not negative and every page that holds a key lies in the pool.
Status MixInputs::checkPages() const {
  pattern::MixOp mix = op;
  bool dense = !mix.input("indptr");
  int64_t size = k.value.extent(mix.getPageOrder() == pattern::PageOrder::hnd ? 2 : 1);
  const Value &table = environment->value(mix.input("table"));
  for (int64_t n = 0; n < environment->value(mix.input("len")).extent(0); ++n) {
    int64_t length = integerOf("len", n), first = dense ? 0 : integerOf("indptr", n);
    int64_t room = dense ? table.extent(1) : table.extent(0) - first;
    int64_t pages = (length + size - 1) / size;
    if (length < 0 || first < 0 || pages > room)
      return invalid(fmt::format("sequence {} has {} keys, expected 0 to {}: its table has {} "
                                 "pages of {}",
                                 n, length, room * size, room, size));
    for (int64_t p = 0; p < pages; ++p) {
      int64_t page = dense ? integerOf("table", n, p) : integerOf("table", first + p);
      if (page < 0 || page >= k.value.extent(0))
        return invalid(fmt::format("page {} of sequence {} is {}, expected 0 to {}", p, n, page,
                                   k.value.extent(0) - 1));
    }
  }
  return {};
}

/// Offsets of packed tokens ascend and stay inside; lengths and pages are inside their tensors.
Status MixInputs::checkLayout() const {
  if (op.getLayout() == LayoutKind::paged)
    HEDDLE_CHECK(checkPages());
  if (op.getLayout() == LayoutKind::varlen) {
    for (const auto &[role, rows] : {std::pair{"cu_q", &q}, std::pair{"cu_k", &k}}) {
      const Value &cu = environment->value(op.input(role));
      int64_t count = cu.extent(0), last = 0;
      if (count == 0 || cu.load(0) != 0)
        return invalid(fmt::format("{}: expected at least one offset, the first 0", role));
      for (int64_t n = 0; n < count; ++n, last = integerOf(role, n - 1))
        if (integerOf(role, n) < last)
          return invalid(fmt::format("{}: offset {} is {}, less than the one before, {}", role, n,
                                     integerOf(role, n), last));
      if (integerOf(role, count - 1) > rows->value.extent(0))
        return invalid(fmt::format("{}: the last offset is {}, but there are {} tokens", role,
                                   integerOf(role, count - 1), rows->value.extent(0)));
    }
    if (environment->value(op.input("cu_q")).extent(0) !=
        environment->value(op.input("cu_k")).extent(0))
      return invalid("cu_q and cu_k have different numbers of sequences");
  }
  return {};
}

int64_t MixInputs::integerOf(llvm::StringRef role, int64_t first, int64_t second) const {
  const Value &value = environment->value(op.input(role));
  int64_t offset = first * value.stride(0);
  if (second >= 0)
    offset += second * value.stride(1);
  return static_cast<int64_t>(value.load(offset));
}

Sequence MixInputs::sequence(int64_t index) const {
  Sequence s;
  s.index = index;
  int length = q.batched ? 1 : 0;
  if (op.getLayout() == LayoutKind::varlen) {
    s.firstQ = integerOf("cu_q", index);
    s.firstK = integerOf("cu_k", index);
    s.lenQ = integerOf("cu_q", index + 1) - s.firstQ;
    s.lenK = integerOf("cu_k", index + 1) - s.firstK;
  } else {
    s.lenQ = q.value.extent(length);
    s.lenK = op.input("len") ? integerOf("len", index) : k.value.extent(k.batched ? 1 : 0);
  }
  s.shift = op.getAlign() == pattern::Align::bottom_right ? s.lenK - s.lenQ : 0;
  return s;
}

int64_t MixInputs::positionOf(const Sequence &s, int64_t row) const {
  if (!isTree())
    return keyOf(s, row);
  int64_t prefix = s.lenK - s.lenQ, depth = 0;
  for (int64_t key = before(s, prefix + row); key >= prefix; key = before(s, key))
    ++depth;
  return prefix + depth;
}

int64_t MixInputs::before(const Sequence &s, int64_t key) const {
  int64_t prefix = s.lenK - s.lenQ;
  if (!isTree() || key < prefix)
    return key - 1;
  double parent = -1;
  load(parents, s, key - prefix, 0, 0, &parent);
  bool isNode = parent >= 0 && parent < static_cast<double>(key - prefix);
  return prefix + (isNode ? static_cast<int64_t>(parent) : -1);
}

bool MixInputs::holds(const Sequence &s, int64_t key) const {
  return ringSize == 0 || key < ringKeep || key >= s.lenK - (ringSize - ringKeep);
}

int64_t MixInputs::pageOffset(const Rows &rows, const Sequence &s, int64_t key,
                              int64_t head) const {
  bool headsFirst = op.getPageOrder() == pattern::PageOrder::hnd;
  int slotDim = headsFirst ? 2 : 1, headDim = headsFirst ? 1 : 2;
  int64_t size = rows.value.extent(slotDim);
  int64_t page = op.input("indptr") ? integerOf("table", integerOf("indptr", s.index) + key / size)
                                    : integerOf("table", s.index, key / size);
  assert(page >= 0 && page < rows.value.extent(0) && "a page is outside the pool");
  return page * rows.value.stride(0) + key % size * rows.value.stride(slotDim) +
         head * rows.value.stride(headDim);
}

int64_t MixInputs::offsetOf(const Rows &rows, const Sequence &s, int64_t token, int64_t packed,
                            int64_t sub, int64_t head) const {
  if (rows.pooled)
    return pageOffset(rows, s, token, head);
  int dim = 0;
  int64_t offset = 0;
  if (rows.batched)
    offset += s.index * rows.value.stride(dim++);
  offset += (packed + token) * rows.value.stride(dim++);
  if (rows.subAxis)
    offset += sub * rows.value.stride(dim++);
  return offset + head * rows.value.stride(dim);
}

void MixInputs::decode(Rows &rows, const Sequence &s, int64_t token, int64_t head, int64_t codeHead,
                       int64_t offset, double *out) {
  int64_t step = rows.value.stride(rows.value.rank() - 1);
  if (!rows.codec) {
    rows.value.gather(offset, step, rows.width, out);
    return;
  }
  buffer.resize(rows.width);
  index.resize(rows.width);
  rows.value.gather(offset, step, rows.width, buffer.data());
  std::iota(index.begin(), index.end(), 0.0);
  setHead(*rows.codec, s, head);
  rows.codec->set(MixSlots::KeyHead, static_cast<double>(codeHead));
  rows.codec->set(MixSlots::Key, static_cast<double>(token));
  rows.codec->set(MixSlots::Row, static_cast<double>(token));
  LaneInput lanes[] = {{MixSlots::X, buffer.data()}, {MixSlots::D, index.data()}};
  rows.codec->run(lanes, rows.width, out);
}

void MixInputs::loadQ(const Sequence &s, int64_t row, int64_t sub, int64_t head, double *out) {
  int64_t own = head * headsQ / heads;
  decode(q, s, row, own, head * headsK / heads, offsetOf(q, s, row, s.firstQ, sub, own), out);
}

void MixInputs::loadK(const Sequence &s, int64_t key, int64_t sub, int64_t head, double *out) {
  int64_t own = head * headsK / heads;
  int64_t slot = key;
  if (ringSize > 0 && key >= ringKeep)
    slot = ringKeep + (key - ringKeep) % (ringSize - ringKeep);
  decode(k, s, key, head, own, offsetOf(k, s, slot, s.firstK, sub, own), out);
}

void MixInputs::loadV(const Sequence &s, int64_t key, int64_t sub, int64_t head, double *out) {
  if (aliased) {
    std::vector<double> row(widthK);
    loadK(s, key, sub, head, row.data());
    std::copy_n(row.begin() + aliasFirst, widthV, out);
    return;
  }
  int64_t own = head * headsV / heads;
  int64_t slot = key;
  if (ringSize > 0 && key >= ringKeep)
    slot = ringKeep + (key - ringKeep) % (ringSize - ringKeep);
  decode(v, s, key, head, own, offsetOf(v, s, slot, s.firstK, sub, own), out);
}

TokenTensor MixInputs::tokens(llvm::StringRef role, bool subAxis) const {
  TokenTensor tensor;
  mlir::Value value = pattern::MixOp(op).input(role);
  if (!value)
    return tensor;
  tensor.value = environment->value(value);
  tensor.present = true;
  tensor.batched = batchedValue(value);
  tensor.subAxis = subAxis;
  pattern::MixOp mix = op;
  tensor.querySide = pattern::arrayType(value).dim(0) == mix.queryLength();
  int first = (tensor.batched ? 1 : 0) + 1 + (subAxis ? 1 : 0);
  if (first < tensor.value.rank())
    tensor.heads = tensor.value.extent(first);
  for (int d = first + 1; d < tensor.value.rank(); ++d)
    tensor.width *= tensor.value.extent(d);
  return tensor;
}

void MixInputs::load(const TokenTensor &tensor, const Sequence &s, int64_t token, int64_t sub,
                     int64_t head, double *out) const {
  const Value &value = tensor.value;
  int dim = 0;
  int64_t offset = 0;
  if (tensor.batched)
    offset += s.index * value.stride(dim++);
  offset += (token + (tensor.querySide ? s.firstQ : s.firstK)) * value.stride(dim++);
  if (tensor.subAxis)
    offset += sub * value.stride(dim++);
  if (dim < value.rank())
    offset += head * tensor.heads / heads * value.stride(dim++);
  if (dim + 1 < value.rank()) { // two trailing dims: a row of rows
    int64_t inner = value.extent(dim + 1);
    for (int64_t n = 0; n < value.extent(dim); ++n)
      value.gather(offset + n * value.stride(dim), value.stride(dim + 1), inner, out + n * inner);
    return;
  }
  value.gather(offset, dim < value.rank() ? value.stride(dim) : 1, tensor.width, out);
}

int MixInputs::leadOf(llvm::StringRef part) const {
  bool last = part == "k_last" || part == "v_last";
  return part == "bank" || part == "pool" || (last && op.hasWriteAxis()) ? 1 : 0;
}

std::vector<double> MixInputs::loadHead(const Value &value, bool perSequence, int lead,
                                        const Sequence &s, int64_t head) const {
  int first = perSequence ? 1 : 0, heads0 = first + lead;
  std::vector<int64_t> index(value.rank(), 0);
  if (perSequence)
    index[0] = s.index;
  index[heads0] = head * value.extent(heads0) / heads;
  int64_t count = 1;
  for (int d = first; d < value.rank(); ++d)
    count *= d == heads0 ? 1 : value.extent(d);
  std::vector<double> out;
  while (int64_t(out.size()) < count) {
    out.push_back(value.at(index));
    for (int d = value.rank() - 1; d >= first; --d) {
      if (d == heads0)
        continue;
      if (++index[d] < value.extent(d))
        break;
      index[d] = 0;
    }
  }
  return out;
}

ExprScope MixInputs::scope(std::initializer_list<int> lanes) const {
  pattern::MixOp mix = op;
  ExprScope scope = environment->scope(mix.getReads(), mix.getReadNames());
  const char *const names[] = {"row",   "i",     "j", "b", "h", "hk",
                               "len_q", "len_k", "s", "x", "d", "f"};
  for (int slot = 0; slot < MixSlots::Count; ++slot)
    scope.variables.push_back(
        {names[slot], std::find(lanes.begin(), lanes.end(), slot) != lanes.end()});
  if (parents.present)
    scope.parents = ExprScope::Tensor{parents.value, parents.batched};
  return scope;
}

void MixInputs::setHead(ExprProgram &program, const Sequence &s, int64_t head) const {
  program.set(MixSlots::Batch, static_cast<double>(s.index));
  program.set(MixSlots::Head, static_cast<double>(head));
  program.set(MixSlots::KeyHead, static_cast<double>(head * headsK / heads));
  program.set(MixSlots::LenQ, static_cast<double>(s.lenQ));
  program.set(MixSlots::LenK, static_cast<double>(s.lenK));
}

void MixInputs::setRow(ExprProgram &program, const Sequence &s, int64_t row) const {
  program.set(MixSlots::Row, static_cast<double>(row));
  program.set(MixSlots::Position, static_cast<double>(positionOf(s, row)));
}

} // namespace heddle::compiler
