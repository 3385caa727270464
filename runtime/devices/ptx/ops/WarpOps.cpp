// Between the lanes of a warp: shfl, vote, match, redux, activemask, elect. The last source is the
// member mask; the scheduler runs them once all members are there.
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::ptx {

namespace {

/// The lanes of `mask` that share lane l's member mask, and are in it.
uint32_t groupOf(Warp &w, const Inst &i, uint32_t mask, int l) {
  const uint32_t *members = w.src<uint32_t>(i.ops[i.results + i.sources - 1]);
  uint32_t group = 0;
  for (uint32_t rest = mask & members[l]; rest; rest &= rest - 1)
    if (members[std::countr_zero(rest)] == members[l])
      group |= rest & -rest;
  return group;
}

/// Calls f(group) for each set of lanes with one member mask. False after an error.
template <class F> bool forGroups(Warp &w, const Inst &i, uint32_t mask, F f) {
  for (uint32_t rest = mask; rest;) {
    const int l = std::countr_zero(rest);
    const uint32_t group = groupOf(w, i, mask, l);
    if (!(group >> l & 1)) {
      w.fail(i, uint32_t{1} << l, "a lane executes it that its member mask does not name");
      return false;
    }
    f(group);
    rest &= ~group;
  }
  return true;
}

enum ShuffleMode : uint8_t { Up, Down, Bfly, Idx };

struct Source {
  int lane;
  bool ok;
};

/// Which lane's value lane l gets: b = distance or index, c = clamp and segment mask.
Source shuffleSource(ShuffleMode mode, int l, uint32_t b, uint32_t c) {
  const int by = static_cast<int>(b & 31), clamp = static_cast<int>(c & 31);
  const int segment = static_cast<int>(c >> 8 & 31);
  const int low = l & segment, high = low | (clamp & ~segment);
  int from = 0;
  bool ok = false;
  switch (mode) {
  case Up:
    from = l - by;
    ok = from >= high;
    break;
  case Down:
    from = l + by;
    ok = from <= high;
    break;
  case Bfly:
    from = l ^ by;
    ok = from <= high;
    break;
  case Idx:
    from = low | (by & ~segment);
    ok = from <= high;
    break;
  }
  return {ok ? from : l, ok};
}

/// ops: d [, p], a, b, c, member mask
void runShuffle(Warp &w, const Inst &i, uint32_t mask) {
  const Operand *from = i.ops + i.results;
  const uint32_t *a = w.src<uint32_t>(from[0]), *b = w.src<uint32_t>(from[1]),
                 *c = w.src<uint32_t>(from[2]), *members = w.src<uint32_t>(from[3]);
  uint32_t result[kLanes] = {}, valid = 0, lost = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const Source s = shuffleSource(static_cast<ShuffleMode>(i.variant), l, b[l], c[l]);
    lost |= !(members[l] >> l & 1) || !(mask & members[l]) || !(mask >> s.lane & 1) ||
                    !(members[l] >> s.lane & 1)
                ? uint32_t{1} << l
                : 0;
    result[l] = a[s.lane];
    valid |= static_cast<uint32_t>(s.ok) << l;
  }
  if (lost) {
    w.fail(i, lost, "shfl reads a lane that does not take part in it");
    return;
  }
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  forLanes(mask, [&](int l) { d[l] = result[l]; });
  if (i.results == 2)
    w.setPredicate(i.ops[1], mask, valid);
}

bool decodeShfl(Decoder &d) {
  if (!d.take("sync"))
    return d.refuse("shfl without .sync is not part of PTX for sm_70 and later");
  d.inst.variant = static_cast<uint8_t>(d.takeOneOf({"up", "down", "bfly", "idx"}));
  if (d.inst.variant > Idx || d.takeType() != Type::B32 || !d.expectOperands(5, 5))
    return d.refuse("expected shfl.sync.<mode>.b32 d, a, b, c, mask");
  d.inst.flow = Flow::Collective;
  d.inst.kind = Class::Shuffle;
  d.inst.run = &runShuffle;
  const OperandSyntax &to = d.operand(0);
  const bool both = to.kind == OperandSyntax::Kind::Vector;
  if (both && (to.parts.size() != 2 || !d.result(to.parts[0], Type::B32) ||
               !d.result(to.parts[1], Type::Pred)))
    return d.refuse("expected d|p");
  if (!both && !d.result(0, Type::B32))
    return false;
  return d.source(1, Type::B32) && d.source(2, Type::B32) && d.source(3, Type::B32) &&
         d.source(4, Type::B32);
}

enum VoteMode : uint8_t { All, Any, Uniform, Ballot };

void runVote(Warp &w, const Inst &i, uint32_t mask) {
  const uint32_t p = w.predicate(i.ops[1]);
  uint32_t holds = 0, ballots[kLanes] = {};
  const bool fine = forGroups(w, i, mask, [&](uint32_t group) {
    const uint32_t yes = p & group;
    const bool result = i.variant == All   ? yes == group
                        : i.variant == Any ? yes != 0
                                           : yes == 0 || yes == group;
    holds |= result ? group : 0;
    for (uint32_t rest = group; rest; rest &= rest - 1)
      ballots[std::countr_zero(rest)] = yes;
  });
  if (!fine)
    return;
  if (i.variant == Ballot)
    forLanes(mask, [&](int l) { w.dst<uint32_t>(i.ops[0])[l] = ballots[l]; });
  else
    w.setPredicate(i.ops[0], mask, holds);
}

bool decodeVote(Decoder &d) {
  if (!d.take("sync"))
    return d.refuse("vote without .sync is not part of PTX for sm_70 and later");
  d.inst.variant = static_cast<uint8_t>(d.takeOneOf({"all", "any", "uni", "ballot"}));
  d.takeType();
  if (d.inst.variant > Ballot || !d.expectOperands(3, 3))
    return d.refuse("expected vote.sync.<mode> d, p, mask");
  d.inst.flow = Flow::Collective;
  d.inst.kind = Class::Shuffle;
  d.inst.run = &runVote;
  return d.result(0, d.inst.variant == Ballot ? Type::B32 : Type::Pred) &&
         d.source(1, Type::Pred) && d.source(2, Type::B32);
}

/// match.any: the lanes with the same value. match.all: the group if all agree, else 0, and
/// whether.
void runMatch(Warp &w, const Inst &i, uint32_t mask) {
  const Operand &a = i.ops[i.results];
  uint32_t result[kLanes] = {}, agreed = 0;
  const bool fine = forGroups(w, i, mask, [&](uint32_t group) {
    const uint64_t first = w.lane(a, std::countr_zero(group));
    bool same = true;
    for (uint32_t rest = group; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      same = same && w.lane(a, l) == first;
      for (uint32_t others = group; others; others &= others - 1)
        if (w.lane(a, std::countr_zero(others)) == w.lane(a, l))
          result[l] |= others & -others;
    }
    if (i.variant == 1)
      for (uint32_t rest = group; rest; rest &= rest - 1)
        result[std::countr_zero(rest)] = same ? group : 0;
    agreed |= same ? group : 0;
  });
  if (!fine)
    return;
  forLanes(mask, [&](int l) { w.dst<uint32_t>(i.ops[0])[l] = result[l]; });
  if (i.results == 2)
    w.setPredicate(i.ops[1], mask, agreed);
}

bool decodeMatch(Decoder &d) {
  const bool sync = d.take("sync");
  d.inst.variant = static_cast<uint8_t>(d.takeOneOf({"any", "all"}));
  const Type type = d.takeType();
  if (!sync || d.inst.variant > 1 || bitsOf(type) < 32 || !d.expectOperands(3, 3))
    return d.refuse("expected match.any.sync or match.all.sync with .b32 or .b64");
  d.inst.flow = Flow::Collective;
  d.inst.kind = Class::Shuffle;
  d.inst.run = &runMatch;
  const OperandSyntax &to = d.operand(0);
  const bool both = to.kind == OperandSyntax::Kind::Vector;
  if (both && (to.parts.size() != 2 || !d.result(to.parts[0], Type::B32) ||
               !d.result(to.parts[1], Type::Pred)))
    return d.refuse("expected d|p");
  if (!both && !d.result(0, Type::B32))
    return false;
  return d.source(1, type) && d.source(2, Type::B32);
}

enum Reduction : uint8_t { Sum, Min, Max, BitAnd, BitOr, BitXor };

uint32_t reduceTwo(Reduction op, bool withSign, uint32_t a, uint32_t b) {
  const bool less = withSign ? static_cast<int32_t>(a) < static_cast<int32_t>(b) : a < b;
  switch (op) {
  case Sum:
    return a + b;
  case Min:
    return less ? a : b;
  case Max:
    return less ? b : a;
  case BitAnd:
    return a & b;
  case BitOr:
    return a | b;
  default:
    return a ^ b;
  }
}

float reduceFloats(Reduction op, bool abs, bool nan, float a, float b) {
  if (abs)
    a = std::abs(a), b = std::abs(b);
  if (a != a || b != b)
    return nan ? std::bit_cast<float>(0x7fffffff) : a != a ? b : a;
  return op == Min ? std::min(a, b) : std::max(a, b);
}

/// extra: bit 0 signed, bit 1 f32, bit 2 .abs, bit 3 .NaN
void runRedux(Warp &w, const Inst &i, uint32_t mask) {
  const uint32_t *a = w.src<uint32_t>(i.ops[1]);
  const auto op = static_cast<Reduction>(i.variant);
  uint32_t result[kLanes] = {};
  const bool fine = forGroups(w, i, mask, [&](uint32_t group) {
    uint32_t total = a[std::countr_zero(group)];
    if ((i.extra & 6) == 6)
      total &= 0x7fffffff;
    for (uint32_t rest = group & (group - 1); rest; rest &= rest - 1) {
      const uint32_t next = a[std::countr_zero(rest)];
      total = i.extra & 2 ? std::bit_cast<uint32_t>(reduceFloats(op, i.extra & 4, i.extra & 8,
                                                                 std::bit_cast<float>(total),
                                                                 std::bit_cast<float>(next)))
                          : reduceTwo(op, i.extra & 1, total, next);
    }
    for (uint32_t rest = group; rest; rest &= rest - 1)
      result[std::countr_zero(rest)] = total;
  });
  if (fine)
    forLanes(mask, [&](int l) { w.dst<uint32_t>(i.ops[0])[l] = result[l]; });
}

bool decodeRedux(Decoder &d) {
  const bool sync = d.take("sync"), abs = d.take("abs"), nan = d.take("NaN");
  d.inst.variant = static_cast<uint8_t>(d.takeOneOf({"add", "min", "max", "and", "or", "xor"}));
  const Type type = d.takeType();
  const bool floats = type == Type::F32;
  if (!sync || d.inst.variant > BitXor || bitsOf(type) != 32 || !d.expectOperands(3, 3) ||
      (floats && d.inst.variant != Min && d.inst.variant != Max) || (!floats && (abs || nan)))
    return d.refuse("expected redux.sync.<operation>.<32-bit type> d, a, mask");
  d.inst.extra = static_cast<uint8_t>(isSigned(type) | floats << 1 | abs << 2 | nan << 3);
  d.inst.flow = Flow::Collective;
  d.inst.kind = Class::Shuffle;
  d.inst.run = &runRedux;
  return d.result(0, type) && d.source(1, type) && d.source(2, Type::B32);
}

void readActive(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  forLanes(mask, [&](int l) { d[l] = mask; });
}

bool decodeActivemask(Decoder &d) {
  d.takeType();
  d.inst.kind = Class::Shuffle;
  d.inst.run = &readActive;
  return d.expectOperands(1, 1) && d.result(0, Type::B32);
}

/// elect.sync d|p, mask: one lane of the group is chosen, the lowest as hardware seems to do.
void runElect(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t elected = 0, leader[kLanes] = {};
  const bool fine = forGroups(w, i, mask, [&](uint32_t group) {
    elected |= group & -group;
    for (uint32_t rest = group; rest; rest &= rest - 1)
      leader[std::countr_zero(rest)] = static_cast<uint32_t>(std::countr_zero(group));
  });
  if (!fine)
    return;
  forLanes(mask, [&](int l) { w.dst<uint32_t>(i.ops[0])[l] = leader[l]; });
  w.setPredicate(i.ops[1], mask, elected);
}

bool decodeElect(Decoder &d) {
  if (!d.take("sync") || !d.expectOperands(2, 2) ||
      d.operand(0).kind != OperandSyntax::Kind::Vector || d.operand(0).parts.size() != 2)
    return d.refuse("expected elect.sync d|p, mask");
  d.inst.flow = Flow::Collective;
  d.inst.kind = Class::Shuffle;
  d.inst.run = &runElect;
  return d.result(d.operand(0).parts[0], Type::B32) &&
         d.result(d.operand(0).parts[1], Type::Pred) && d.source(1, Type::B32);
}

constexpr Opcode kOpcodes[] = {{"shfl", decodeShfl},   {"vote", decodeVote},
                               {"match", decodeMatch}, {"redux", decodeRedux},
                               {"elect", decodeElect}, {"activemask", decodeActivemask}};

} // namespace

std::span<const Opcode> warpOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
