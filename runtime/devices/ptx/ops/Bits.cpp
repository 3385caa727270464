// Bits: logic, shifts, fields, counts, permutations of bytes.
#include "runtime/devices/ptx/ops/Lanes.h"

#include <algorithm>

namespace heddle::ptx {

namespace {

struct And {
  template <class T> static T run(T a, T b) { return a & b; }
};
struct Or {
  template <class T> static T run(T a, T b) { return a | b; }
};
struct Xor {
  template <class T> static T run(T a, T b) { return a ^ b; }
};
struct Not {
  template <class T> static T run(T a) { return static_cast<T>(~a); }
};
struct CNot {
  template <class T> static T run(T a) { return a == 0; }
};
// Shift counts beyond the width are clamped to it.
struct Shl {
  template <class T> static T run(T a, uint32_t n) {
    return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(a << n);
  }
};
struct Shr {
  template <class T> static T run(T a, uint32_t n) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    if (std::is_signed_v<T>)
      return static_cast<T>(a >> std::min(n, kBits - 1));
    return n >= kBits ? T{0} : static_cast<T>(a >> n);
  }
};
uint64_t joined(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }
template <bool clamp> uint32_t funnel(uint32_t n) { return clamp ? std::min(n, 32u) : n & 31; }
template <bool clamp> struct FunnelLeft {
  static uint32_t run(uint32_t a, uint32_t b, uint32_t n) {
    return static_cast<uint32_t>(joined(a, b) << funnel<clamp>(n) >> 32);
  }
};
template <bool clamp> struct FunnelRight {
  static uint32_t run(uint32_t a, uint32_t b, uint32_t n) {
    return static_cast<uint32_t>(joined(a, b) >> funnel<clamp>(n));
  }
};
struct Popc {
  template <class T> static uint32_t run(T a) { return static_cast<uint32_t>(std::popcount(a)); }
};
struct Clz {
  template <class T> static uint32_t run(T a) { return static_cast<uint32_t>(std::countl_zero(a)); }
};
struct Brev {
  static uint32_t run(uint32_t a) { return __builtin_bitreverse32(a); }
  static uint64_t run(uint64_t a) { return __builtin_bitreverse64(a); }
};
/// Position of the highest bit that differs from the sign; -1 if there is none.
template <bool shift> struct Bfind {
  template <class T> static uint32_t run(T a) {
    using U = UnsignedOf<T>;
    const U bits = std::is_signed_v<T> && a < 0 ? static_cast<U>(~a) : static_cast<U>(a);
    if (bits == 0)
      return ~0u;
    const uint32_t zeros = static_cast<uint32_t>(std::countl_zero(bits));
    return shift ? zeros : static_cast<uint32_t>(8 * sizeof(T)) - 1 - zeros;
  }
};
/// A field of `length` bits from `start`, both modulo 256; beyond the end come copies of the sign.
struct Bfe {
  template <class T> static T run(T a, uint32_t start, uint32_t length) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    start &= 0xff, length &= 0xff;
    if (length == 0)
      return 0;
    const uint32_t signAt = std::min(start + length - 1, kBits - 1);
    const bool sign = std::is_signed_v<T> && (a >> signAt & 1);
    using U = UnsignedOf<T>;
    U field = start >= kBits ? U{0} : static_cast<U>(static_cast<U>(a) >> start);
    const uint32_t have = start >= kBits ? 0 : std::min(length, kBits - start);
    const U keep = have >= kBits ? ~U{0} : static_cast<U>((U{1} << have) - 1);
    return static_cast<T>(sign ? field | ~keep : field & keep);
  }
};
struct Bfi {
  template <class T> static T run(T field, T into, uint32_t start, uint32_t length) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    start &= 0xff, length &= 0xff;
    if (length == 0 || start >= kBits)
      return into;
    const T ones = length >= kBits ? ~T{0} : static_cast<T>((T{1} << length) - 1);
    const T mask = static_cast<T>(ones << start);
    return (into & ~mask) | (static_cast<T>(field << start) & mask);
  }
};
template <class T> void insertField(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]), *b = w.src<T>(i.ops[2]);
  const uint32_t *s = w.src<uint32_t>(i.ops[3]), *n = w.src<uint32_t>(i.ops[4]);
  forLanes(mask, [&](int l) { d[l] = Bfi::run(a[l], b[l], s[l], n[l]); });
}
template <bool clamp> struct Bmsk {
  static uint32_t run(uint32_t start, uint32_t length) {
    start = clamp ? std::min(start, 32u) : start & 31;
    length = clamp ? std::min(length, 32u) : length & 31;
    return static_cast<uint32_t>((((uint64_t{1} << length) - 1) << start));
  }
};

template <class Op> bool decodeLogic(Decoder &d) {
  const Type type = d.takeType();
  const bool predicates = type == Type::Pred;
  if (!sameTypes(d, type, 2))
    return false;
  d.inst.kind = predicates ? Class::Predicate : Class::Integer;
  d.inst.run = predicates ? [](Warp &w, const Inst &i, uint32_t mask) {
    w.setPredicate(i.ops[0], mask, Op::run(w.predicate(i.ops[1]), w.predicate(i.ops[2])));
  } : forWidth(type, []<class T>() -> Handler { return &binary<Op, T, T>; });
  return true;
}

bool decodeNot(Decoder &d) {
  const Type type = d.takeType();
  if (!sameTypes(d, type, 1))
    return false;
  d.inst.kind = type == Type::Pred ? Class::Predicate : Class::Integer;
  d.inst.run = type == Type::Pred
                   ? [](Warp &w, const Inst &i,
                        uint32_t mask) { w.setPredicate(i.ops[0], mask, ~w.predicate(i.ops[1])); }
                   : forWidth(type, []<class T>() -> Handler { return &unary<Not, T, T>; });
  return true;
}

bool decodeCNot(Decoder &d) {
  const Type type = d.takeType();
  d.inst.kind = Class::Integer;
  d.inst.run = forWidth(type, []<class T>() -> Handler { return &unary<CNot, T, T>; });
  return sameTypes(d, type, 1);
}

template <class Op> bool decodeShift(Decoder &d) {
  const Type type = d.takeType();
  if (!d.expectOperands(3, 3) || !d.result(0, type) || !d.source(1, type) ||
      !d.source(2, Type::U32))
    return false;
  d.inst.kind = Class::Integer;
  d.inst.run =
      isSigned(type)
          ? forInteger(type, []<class T>() -> Handler { return &binary<Op, T, T, uint32_t>; })
          : forWidth(type, []<class T>() -> Handler { return &binary<Op, T, T, uint32_t>; });
  return true;
}

bool decodeFunnel(Decoder &d) {
  const int side = d.takeOneOf({"l", "r"}), mode = d.takeOneOf({"clamp", "wrap"});
  if (side < 0 || mode < 0 || d.takeType() != Type::B32)
    return d.refuse("expected shf.l or shf.r with .clamp or .wrap and .b32");
  d.inst.kind = Class::Integer;
  const Handler left = mode == 0
                           ? &ternary<FunnelLeft<true>, uint32_t, uint32_t>
                           : static_cast<Handler>(&ternary<FunnelLeft<false>, uint32_t, uint32_t>);
  const Handler right =
      mode == 0 ? &ternary<FunnelRight<true>, uint32_t, uint32_t>
                : static_cast<Handler>(&ternary<FunnelRight<false>, uint32_t, uint32_t>);
  d.inst.run = side == 0 ? left : right;
  return sameTypes(d, Type::B32, 3);
}

/// The 8-bit table bit by bit of the three inputs: a chooses bit 2, b bit 1, c bit 0.
uint32_t logic3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (unsigned k = 0; k < 8; ++k)
    if (table >> k & 1)
      result |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
  return result;
}

void runLogic3(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  const uint32_t *a = w.src<uint32_t>(i.ops[1]), *b = w.src<uint32_t>(i.ops[2]),
                 *c = w.src<uint32_t>(i.ops[3]);
  const uint32_t table = static_cast<uint32_t>(i.imm);
  forLanes(mask, [&](int l) { d[l] = logic3(a[l], b[l], c[l], table); });
}

bool decodeLogic3(Decoder &d) {
  if (d.takeType() != Type::B32 || !d.expectOperands(5, 5) ||
      d.operand(4).kind != OperandSyntax::Kind::Integer)
    return d.refuse("expected lop3.b32 d, a, b, c, table");
  d.inst.imm = d.operand(4).integer & 0xff;
  d.inst.kind = Class::Integer;
  d.inst.run = &runLogic3;
  return d.result(0, Type::B32) && d.source(1, Type::B32) && d.source(2, Type::B32) &&
         d.source(3, Type::B32);
}

template <class Op> bool decodeCount(Decoder &d) {
  const Type type = d.takeType();
  if (!d.expectOperands(2, 2) || !d.result(0, Type::U32) || !d.source(1, type))
    return false;
  d.inst.kind = Class::Integer;
  d.inst.run = bitsOf(type) == 32   ? &unary<Op, uint32_t, uint32_t>
               : bitsOf(type) == 64 ? static_cast<Handler>(&unary<Op, uint32_t, uint64_t>)
                                    : nullptr;
  return true;
}

bool decodeBrev(Decoder &d) {
  const Type type = d.takeType();
  d.inst.kind = Class::Integer;
  d.inst.run = bitsOf(type) == 32   ? &unary<Brev, uint32_t, uint32_t>
               : bitsOf(type) == 64 ? static_cast<Handler>(&unary<Brev, uint64_t, uint64_t>)
                                    : nullptr;
  return sameTypes(d, type, 1);
}

bool decodeBfind(Decoder &d) {
  const bool shift = d.take("shiftamt");
  const Type type = d.takeType();
  if (bitsOf(type) < 32 || !d.expectOperands(2, 2) || !d.result(0, Type::U32) || !d.source(1, type))
    return d.refuse("bfind takes operands of 32 or 64 bits");
  d.inst.kind = Class::Integer;
  d.inst.run = forInteger(type, [&]<class T>() -> Handler {
    return shift ? &unary<Bfind<true>, uint32_t, T> : &unary<Bfind<false>, uint32_t, T>;
  });
  return true;
}

bool decodeBfe(Decoder &d) {
  const Type type = d.takeType();
  if (!d.expectOperands(4, 4) || !d.result(0, type) || !d.source(1, type) ||
      !d.source(2, Type::U32) || !d.source(3, Type::U32))
    return false;
  d.inst.kind = Class::Integer;
  d.inst.run = forInteger(
      type, []<class T>() -> Handler { return &ternary<Bfe, T, T, uint32_t, uint32_t>; });
  return true;
}

bool decodeBfi(Decoder &d) {
  const Type type = d.takeType();
  if (bitsOf(type) < 32 || !d.expectOperands(5, 5) || !d.result(0, type) || !d.source(1, type) ||
      !d.source(2, type) || !d.source(3, Type::U32) || !d.source(4, Type::U32))
    return d.refuse("expected bfi.b32 or bfi.b64 d, a, b, start, length");
  d.inst.kind = Class::Integer;
  d.inst.run = bitsOf(type) == 32 ? &insertField<uint32_t> : &insertField<uint64_t>;
  return true;
}

bool decodeBmsk(Decoder &d) {
  const int mode = d.takeOneOf({"clamp", "wrap"});
  d.inst.kind = Class::Integer;
  d.inst.run = mode == 0 ? &binary<Bmsk<true>, uint32_t, uint32_t>
                         : static_cast<Handler>(&binary<Bmsk<false>, uint32_t, uint32_t>);
  return mode >= 0 && sameTypes(d, d.takeType(), 2);
}

/// prmt: each nibble of c picks one of the 8 bytes of {b, a}; its high bit asks for the sign.
uint32_t permuteBytes(uint32_t a, uint32_t b, uint32_t c) {
  const uint64_t bytes = joined(a, b);
  uint32_t result = 0;
  for (unsigned k = 0; k < 4; ++k) {
    const uint32_t pick = c >> (4 * k) & 0xf;
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (pick & 7))) & 0xff;
    byte = pick & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte;
    result |= byte << (8 * k);
  }
  return result;
}

/// The other modes as selectors of the plain one: f4e, b4e, rc8, ecl, ecr, rc16, by c & 3.
uint32_t permuteSelector(int mode, uint32_t c) {
  constexpr uint16_t kSelectors[6][4] = {
      {0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
      {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
      {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
  return mode < 0 ? c : kSelectors[mode][c & 3];
}

void runPermute(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  const uint32_t *a = w.src<uint32_t>(i.ops[1]), *b = w.src<uint32_t>(i.ops[2]),
                 *c = w.src<uint32_t>(i.ops[3]);
  const int mode = i.variant - 1;
  forLanes(mask, [&](int l) { d[l] = permuteBytes(a[l], b[l], permuteSelector(mode, c[l])); });
}

bool decodePermute(Decoder &d) {
  d.takeType();
  d.inst.variant =
      static_cast<uint8_t>(d.takeOneOf({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"}) + 1);
  d.inst.kind = Class::Integer;
  d.inst.run = &runPermute;
  return sameTypes(d, Type::B32, 3);
}

/// szext: a's low b bits, extended.
template <class T> struct Extend {
  template <bool clamp> static T widen(T a, uint32_t n) {
    n = clamp ? std::min(n, 32u) : n & 31;
    return n == 0 ? T{0} : Bfe::run<T>(a, 0, n);
  }
};
template <class T, bool clamp> struct SzExt {
  static T run(T a, uint32_t n) { return Extend<T>::template widen<clamp>(a, n); }
};

bool decodeSzExt(Decoder &d) {
  const int mode = d.takeOneOf({"clamp", "wrap"});
  const Type type = d.takeType();
  if (mode < 0 || bitsOf(type) != 32 || !d.expectOperands(3, 3) || !d.result(0, type) ||
      !d.source(1, type) || !d.source(2, Type::U32))
    return d.refuse("expected szext.clamp or .wrap with .u32 or .s32");
  d.inst.kind = Class::Integer;
  const bool s = isSigned(type);
  d.inst.run =
      mode == 0
          ? (s ? &binary<SzExt<int32_t, true>, int32_t, int32_t, uint32_t>
               : static_cast<Handler>(&binary<SzExt<uint32_t, true>, uint32_t, uint32_t, uint32_t>))
          : (s ? &binary<SzExt<int32_t, false>, int32_t, int32_t, uint32_t>
               : static_cast<Handler>(
                     &binary<SzExt<uint32_t, false>, uint32_t, uint32_t, uint32_t>));
  return true;
}

/// fns: the place of the n-th set bit of `mask` from `base` on (n < 0: downwards); -1 if none.
uint32_t nthSet(uint32_t mask, uint32_t base, int32_t n) {
  if (n == 0)
    return base < 32 && (mask >> base & 1) ? base : ~0u;
  const int step = n > 0 ? 1 : -1;
  int64_t left = n > 0 ? n : -int64_t{n};
  for (int64_t at = static_cast<int64_t>(base); at >= 0 && at < 32; at += step)
    if ((mask >> at & 1) && --left == 0)
      return static_cast<uint32_t>(at);
  return ~0u;
}

void runNthSet(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  const uint32_t *m = w.src<uint32_t>(i.ops[1]), *b = w.src<uint32_t>(i.ops[2]);
  const int32_t *n = w.src<int32_t>(i.ops[3]);
  forLanes(mask, [&](int l) { d[l] = nthSet(m[l], b[l], n[l]); });
}

bool decodeFns(Decoder &d) {
  d.inst.kind = Class::Integer;
  d.inst.run = &runNthSet;
  return sameTypes(d, d.takeType(), 3);
}

constexpr Opcode kOpcodes[] = {
    {"and", decodeLogic<And>},   {"or", decodeLogic<Or>},   {"xor", decodeLogic<Xor>},
    {"not", decodeNot},          {"cnot", decodeCNot},      {"shl", decodeShift<Shl>},
    {"shr", decodeShift<Shr>},   {"shf", decodeFunnel},     {"lop3", decodeLogic3},
    {"popc", decodeCount<Popc>}, {"clz", decodeCount<Clz>}, {"brev", decodeBrev},
    {"bfind", decodeBfind},      {"bfe", decodeBfe},        {"bfi", decodeBfi},
    {"bmsk", decodeBmsk},        {"prmt", decodePermute},   {"szext", decodeSzExt},
    {"fns", decodeFns}};

} // namespace

std::span<const Opcode> bitOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
