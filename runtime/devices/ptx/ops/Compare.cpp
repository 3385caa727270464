// Comparisons and choices: setp, set, selp, slct.
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

namespace heddle::ptx {

namespace {

// The unordered ones (…u, nan) come after the ordered ones; lo, ls, hi, hs are lt, le, gt, ge.
enum Cmp : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan };

template <Cmp cmp, class T> bool holds(T a, T b) {
  switch (cmp) {
  case Eq:
    return a == b;
  case Ne: // ordered: false for NaN
    return a < b || a > b;
  case Lt:
    return a < b;
  case Le:
    return a <= b;
  case Gt:
    return a > b;
  case Ge:
    return a >= b;
  case Equ:
    return !(a < b || a > b);
  case Neu:
    return !(a == b);
  case Ltu:
    return !(a >= b);
  case Leu:
    return !(a > b);
  case Gtu:
    return !(a <= b);
  case Geu:
    return !(a < b);
  case Num:
    return a == a && b == b;
  case Nan:
    return !(a == a && b == b);
  }
  return false;
}

struct WideF16 {
  uint16_t bits;
  operator float() const { return widenF16(bits); }
};
struct WideBF16 {
  uint16_t bits;
  operator float() const { return widenBF16(bits); }
};
struct FlushedF32 {
  float value;
  operator float() const { return flush(value); }
};

template <class T> struct Valued {
  using Type = T;
};
template <> struct Valued<WideF16> {
  using Type = float;
};
template <> struct Valued<WideBF16> {
  using Type = float;
};
template <> struct Valued<FlushedF32> {
  using Type = float;
};

template <Cmp cmp, class T> uint32_t compareLanes(Warp &w, const Operand &x, const Operand &y) {
  using V = typename Valued<T>::Type;
  const T *a = w.src<T>(x), *b = w.src<T>(y);
  uint32_t result = 0;
  for (int l = 0; l < kLanes; ++l)
    result |= static_cast<uint32_t>(holds<cmp, V>(a[l], b[l])) << l;
  return result;
}

uint32_t combine(Warp &w, const Inst &i, uint32_t result, size_t third) {
  switch (i.variant) {
  case 1:
    return result & w.predicate(i.ops[third]);
  case 2:
    return result | w.predicate(i.ops[third]);
  case 3:
    return result ^ w.predicate(i.ops[third]);
  default:
    return result;
  }
}

template <Cmp cmp, class T> void runSetp(Warp &w, const Inst &i, uint32_t mask) {
  const Operand *from = i.ops + i.results;
  const uint32_t result = compareLanes<cmp, T>(w, from[0], from[1]);
  const uint32_t first = combine(w, i, result, i.results + 2u);
  if (i.results == 2) {
    const uint32_t second = combine(w, i, ~result, i.results + 2u);
    w.setPredicate(i.ops[1], mask, second);
  }
  w.setPredicate(i.ops[0], mask, first);
}

/// set: the result is `imm` or 0, of the register's width.
template <Cmp cmp, class T> void runSet(Warp &w, const Inst &i, uint32_t mask) {
  const uint32_t result = combine(w, i, compareLanes<cmp, T>(w, i.ops[1], i.ops[2]), 3);
  if (i.ops[0].bytes == 2) {
    uint16_t *d = w.dst<uint16_t>(i.ops[0]);
    forLanes(mask, [&](int l) { d[l] = result >> l & 1 ? static_cast<uint16_t>(i.imm) : 0; });
  } else {
    uint32_t *d = w.dst<uint32_t>(i.ops[0]);
    forLanes(mask, [&](int l) { d[l] = result >> l & 1 ? static_cast<uint32_t>(i.imm) : 0; });
  }
}

template <bool set, class T> Handler handlerOf(int cmp, bool floating) {
#define HEDDLE_COMPARE(c)                                                                          \
  case c:                                                                                          \
    return set ? &runSet<c, T> : &runSetp<c, T>;
  switch (cmp) {
    HEDDLE_COMPARE(Eq)
    HEDDLE_COMPARE(Ne)
    HEDDLE_COMPARE(Lt)
    HEDDLE_COMPARE(Le)
    HEDDLE_COMPARE(Gt)
    HEDDLE_COMPARE(Ge)
  default:
    break;
  }
  if constexpr (std::is_floating_point_v<typename Valued<T>::Type>) {
    switch (cmp) {
      HEDDLE_COMPARE(Equ)
      HEDDLE_COMPARE(Neu)
      HEDDLE_COMPARE(Ltu)
      HEDDLE_COMPARE(Leu)
      HEDDLE_COMPARE(Gtu)
      HEDDLE_COMPARE(Geu)
      HEDDLE_COMPARE(Num)
      HEDDLE_COMPARE(Nan)
    default:
      break;
    }
  }
#undef HEDDLE_COMPARE
  return nullptr;
}

template <bool set> Handler handlerFor(Type type, int cmp, bool ftz) {
  switch (type) {
  case Type::F32:
    return ftz ? handlerOf<set, FlushedF32>(cmp, true) : handlerOf<set, float>(cmp, true);
  case Type::F64:
    return handlerOf<set, double>(cmp, true);
  case Type::F16:
    return handlerOf<set, WideF16>(cmp, true);
  case Type::BF16:
    return handlerOf<set, WideBF16>(cmp, true);
  case Type::B16:
    return handlerOf<set, uint16_t>(cmp, false);
  case Type::B32:
    return handlerOf<set, uint32_t>(cmp, false);
  case Type::B64:
    return handlerOf<set, uint64_t>(cmp, false);
  default:
    return forInteger(type, [&]<class T>() -> Handler { return handlerOf<set, T>(cmp, false); });
  }
}

int takeComparison(Decoder &d) {
  const int plain = d.takeOneOf(
      {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
  if (plain >= 0)
    return plain;
  const int unsignedOne = d.takeOneOf({"lo", "ls", "hi", "hs"});
  return unsignedOne < 0 ? -1 : Lt + unsignedOne;
}

bool decodeSetp(Decoder &d) {
  const int cmp = takeComparison(d);
  const int combination = d.takeOneOf({"and", "or", "xor"});
  const bool ftz = d.take("ftz");
  const Type type = d.takeType();
  if (cmp < 0 || type == Type::None || !d.expectOperands(3, 4))
    return d.refuse("expected setp.<comparison>.<type> p, a, b");
  if (type == Type::F16x2 || type == Type::BF16x2)
    return d.refuse("comparisons of pairs are not supported");
  const bool both = d.operand(0).kind == OperandSyntax::Kind::Vector;
  if (!d.results(0, Type::Pred, both ? 2 : 1) || !d.source(1, type) || !d.source(2, type))
    return false;
  if ((combination >= 0) != (d.operandCount() == 4))
    return d.refuse("a third predicate and .and, .or or .xor belong together");
  if (combination >= 0 && !d.source(3, Type::Pred))
    return false;
  d.inst.variant = static_cast<uint8_t>(combination + 1);
  d.inst.kind = Class::Predicate;
  d.inst.run = handlerFor<false>(type, cmp, ftz);
  return true;
}

bool decodeSet(Decoder &d) {
  const int cmp = takeComparison(d);
  const int combination = d.takeOneOf({"and", "or", "xor"});
  const bool ftz = d.take("ftz");
  const Type to = d.takeType(), type = d.takeType();
  if (cmp < 0 || type == Type::None || !d.expectOperands(3, 4))
    return d.refuse("expected set.<comparison>.<type>.<type> d, a, b");
  if (!d.result(0, to) || !d.source(1, type) || !d.source(2, type))
    return false;
  if ((combination >= 0) != (d.operandCount() == 4) ||
      (combination >= 0 && !d.source(3, Type::Pred)))
    return d.refuse("a third predicate and .and, .or or .xor belong together");
  d.inst.variant = static_cast<uint8_t>(combination + 1);
  d.inst.kind = Class::Predicate;
  d.inst.imm = to == Type::F32                      ? 0x3f800000
               : to == Type::F16                    ? 0x3c00
               : to == Type::BF16                   ? 0x3f80
               : to == Type::U32 || to == Type::S32 ? 0xffffffff
               : to == Type::U16 || to == Type::S16 ? 0xffff
                                                    : 0;
  if (d.inst.imm == 0)
    return d.refuse("no result of this type");
  d.inst.run = handlerFor<true>(type, cmp, ftz);
  return true;
}

template <class T> void runSelect(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]), *b = w.src<T>(i.ops[2]);
  const uint32_t p = w.predicate(i.ops[3]);
  forLanes(mask, [&](int l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
}

bool decodeSelp(Decoder &d) {
  const Type type = d.takeType();
  if (!d.expectOperands(4, 4) || !d.result(0, type) || !d.source(1, type) || !d.source(2, type) ||
      !d.source(3, Type::Pred))
    return false;
  d.inst.kind = Class::Move;
  d.inst.run = type == Type::Pred
                   ? nullptr
                   : forWidth(type, []<class T>() -> Handler { return &runSelect<T>; });
  return true;
}

template <class T, class C> void runSlct(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]), *b = w.src<T>(i.ops[2]);
  const C *c = w.src<C>(i.ops[3]);
  const bool ftz = i.variant;
  forLanes(mask, [&](int l) {
    const bool first =
        ftz && std::is_same_v<C, float> ? flush(static_cast<float>(c[l])) >= 0 : c[l] >= 0;
    d[l] = first ? a[l] : b[l];
  });
}

bool decodeSlct(Decoder &d) {
  d.inst.variant = d.take("ftz");
  const Type type = d.takeType(), by = d.takeType();
  if ((by != Type::S32 && by != Type::F32) || !d.expectOperands(4, 4) || !d.result(0, type) ||
      !d.source(1, type) || !d.source(2, type) || !d.source(3, by))
    return d.refuse("expected slct.<type>.s32 or .f32 d, a, b, c");
  d.inst.kind = Class::Move;
  d.inst.run = forWidth(type, [&]<class T>() -> Handler {
    return by == Type::S32 ? &runSlct<T, int32_t> : &runSlct<T, float>;
  });
  return true;
}

constexpr Opcode kOpcodes[] = {
    {"setp", decodeSetp}, {"set", decodeSet}, {"selp", decodeSelp}, {"slct", decodeSlct}};

} // namespace

std::span<const Opcode> compareOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
