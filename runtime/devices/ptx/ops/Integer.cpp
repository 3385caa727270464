// Integer arithmetic: add, sub, mul, mad, div, rem, min, max, abs, neg, sad, dot products, and the
// forms with carry. Everything wraps, as PTX says; division by zero gives all ones.
#include "runtime/devices/ptx/ops/Lanes.h"

#include <algorithm>
#include <limits>

namespace heddle::ptx {

namespace {

// The arithmetic is done unsigned, where overflow has a meaning.
struct Add {
  template <class T> static T run(T a, T b) {
    return static_cast<T>(static_cast<UnsignedOf<T>>(a) + static_cast<UnsignedOf<T>>(b));
  }
};
struct Sub {
  template <class T> static T run(T a, T b) {
    return static_cast<T>(static_cast<UnsignedOf<T>>(a) - static_cast<UnsignedOf<T>>(b));
  }
};
struct AddSat {
  static int32_t run(int32_t a, int32_t b) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b, INT32_MIN, INT32_MAX));
  }
};
struct SubSat {
  static int32_t run(int32_t a, int32_t b) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} - b, INT32_MIN, INT32_MAX));
  }
};
struct MulLo {
  template <class T> static T run(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
struct MulHi {
  template <class T> static T run(T a, T b) {
    return static_cast<T>((static_cast<Wider<T>>(a) * static_cast<Wider<T>>(b)) >> (8 * sizeof(T)));
  }
};
struct MulWide {
  template <class T> static Wider<T> run(T a, T b) {
    return static_cast<Wider<T>>(a) * static_cast<Wider<T>>(b);
  }
};
struct MadLo {
  template <class T> static T run(T a, T b, T c) { return Add::run(MulLo::run(a, b), c); }
};
struct MadHi {
  template <class T> static T run(T a, T b, T c) { return Add::run(MulHi::run(a, b), c); }
};
struct MadHiSat {
  static int32_t run(int32_t a, int32_t b, int32_t c) { return AddSat::run(MulHi::run(a, b), c); }
};
struct MadWide {
  template <class T> static Wider<T> run(T a, T b, Wider<T> c) {
    return Add::run(MulWide::run(a, b), c);
  }
};
template <class T> T low24(T a) {
  return static_cast<T>(static_cast<T>(static_cast<UnsignedOf<T>>(a) << 8) >> 8);
}
struct Mul24Lo {
  template <class T> static T run(T a, T b) {
    return static_cast<T>(static_cast<Wider<T>>(low24(a)) * low24(b));
  }
};
struct Mul24Hi {
  template <class T> static T run(T a, T b) {
    return static_cast<T>((static_cast<Wider<T>>(low24(a)) * low24(b)) >> 16);
  }
};
struct Mad24Lo {
  template <class T> static T run(T a, T b, T c) { return Add::run(Mul24Lo::run(a, b), c); }
};
struct Mad24Hi {
  template <class T> static T run(T a, T b, T c) { return Add::run(Mul24Hi::run(a, b), c); }
};
struct Div {
  template <class T> static T run(T a, T b) {
    if (b == 0)
      return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return Sub::run(T{0}, a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T> static T run(T a, T b) {
    if (b == 0)
      return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T> static T run(T a, T b) { return b < a ? b : a; }
};
struct Max {
  template <class T> static T run(T a, T b) { return a < b ? b : a; }
};
template <class Op> struct Relu {
  template <class T> static T run(T a, T b) { return std::max<T>(Op::run(a, b), 0); }
};
struct Abs {
  template <class T> static T run(T a) { return a < 0 ? Sub::run(T{0}, a) : a; }
};
struct Neg {
  template <class T> static T run(T a) { return Sub::run(T{0}, a); }
};
struct Sad {
  template <class T> static T run(T a, T b, T c) {
    return Add::run(c, a < b ? Sub::run(b, a) : Sub::run(a, b));
  }
};

/// Op on the two halves of 32 bits.
template <class Op, class T> struct Halves {
  static uint32_t run(uint32_t a, uint32_t b) {
    const T low = Op::template run<T>(static_cast<T>(a), static_cast<T>(b));
    const T high = Op::template run<T>(static_cast<T>(a >> 16), static_cast<T>(b >> 16));
    return static_cast<uint16_t>(low) | static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16;
  }
};

template <class Op> Handler binaryOf(Type type) {
  return forInteger(type, []<class T>() -> Handler { return &binary<Op, T, T>; });
}
template <class Op> Handler ternaryOf(Type type) {
  return forInteger(type, []<class T>() -> Handler { return &ternary<Op, T, T>; });
}

template <class Op> Handler halvesOf(Type type) {
  if (type == Type::U16x2)
    return &binary<Halves<Op, uint16_t>, uint32_t, uint32_t>;
  return type == Type::S16x2 ? &binary<Halves<Op, int16_t>, uint32_t, uint32_t> : nullptr;
}

// ---- with carry: ops[last result] is the flag written, ops[last source] the one read ----

enum class CarryOp : uint8_t { Add, Sub, MadLo, MadHi };

template <class U, CarryOp op, bool in, bool out>
void withCarry(Warp &w, const Inst &i, uint32_t mask) {
  constexpr bool kMad = op == CarryOp::MadLo || op == CarryOp::MadHi;
  U *d = w.dst<U>(i.ops[0]);
  const Operand *from = i.ops + i.results;
  const U *a = w.src<U>(from[0]), *b = w.src<U>(from[1]);
  const U *c = kMad ? w.src<U>(from[2]) : nullptr;
  const uint32_t carryIn = in ? w.predicate(from[kMad ? 3 : 2]) : 0;
  uint32_t carryOut = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const unsigned carry = in ? carryIn >> l & 1 : op == CarryOp::Sub;
    using W = Wider<U>;
    W sum = 0;
    if constexpr (op == CarryOp::Sub) {
      // a + ~b + 1: the flag is set where nothing is borrowed, as compiled code relies on when it
      // reads the flag of a subtraction by addc.
      sum = static_cast<W>(a[l]) + static_cast<U>(~b[l]) + carry;
    } else if constexpr (op == CarryOp::Add) {
      sum = static_cast<W>(a[l]) + b[l] + carry;
    } else {
      U part = static_cast<U>(a[l] * b[l]);
      if constexpr (op == CarryOp::MadHi)
        part = i.variant ? static_cast<U>(MulHi::run(static_cast<std::make_signed_t<U>>(a[l]),
                                                     static_cast<std::make_signed_t<U>>(b[l])))
                         : MulHi::run(a[l], b[l]);
      sum = static_cast<W>(part) + c[l] + carry;
    }
    d[l] = static_cast<U>(sum);
    carryOut |= static_cast<uint32_t>(sum >> (8 * sizeof(U)) & 1) << l;
  }
  if (out)
    w.setPredicate(i.ops[1], mask, carryOut);
}

template <CarryOp op> bool decodeCarry(Decoder &d, Type type, bool in, bool out) {
  constexpr size_t kSources = op == CarryOp::MadLo || op == CarryOp::MadHi ? 3 : 2;
  if (bitsOf(type) != 32 && bitsOf(type) != 64)
    return d.refuse("a carry needs 32 or 64 bits");
  if (!d.expectOperands(kSources + 1, kSources + 1) || !d.result(0, type))
    return false;
  if (out)
    d.carryResult();
  for (size_t i = 1; i <= kSources; ++i)
    if (!d.source(i, type))
      return false;
  if (in)
    d.carrySource();
  d.inst.variant = isSigned(type);
  const auto pick = [&]<class U>() -> Handler {
    if (in && out)
      return &withCarry<U, op, true, true>;
    return in ? &withCarry<U, op, true, false> : &withCarry<U, op, false, true>;
  };
  d.inst.run = bitsOf(type) == 32 ? pick.template operator()<uint32_t>()
                                  : pick.template operator()<uint64_t>();
  d.inst.kind = Class::Integer;
  return true;
}

// ---- decoders ----

bool setInteger(Decoder &d, Handler handler) {
  d.inst.run = handler;
  d.inst.kind = Class::Integer;
  return true;
}

/// add and sub of floating point are decoded by the family of floats.
template <class Op, class Sat, CarryOp carry> bool decodeSum(Decoder &d, bool carryIn) {
  const bool sat = d.take("sat"), carryOut = d.take("cc");
  const Type type = d.takeType();
  if (carryIn || carryOut)
    return decodeCarry<carry>(d, type, carryIn, carryOut);
  if (!sameTypes(d, type, 2))
    return false;
  if (sat && type != Type::S32)
    return d.refuse(".sat of integers is for .s32");
  if (Handler halves = halvesOf<Op>(type))
    return setInteger(d, halves);
  return setInteger(d, sat ? static_cast<Handler>(&binary<Sat, int32_t, int32_t>)
                           : binaryOf<Op>(type));
}

bool decodeAddCarry(Decoder &d) { return decodeSum<Add, AddSat, CarryOp::Add>(d, true); }
bool decodeSubCarry(Decoder &d) { return decodeSum<Sub, SubSat, CarryOp::Sub>(d, true); }

bool decodeMad(Decoder &d, bool carryIn) {
  const int part = d.takeOneOf({"lo", "hi", "wide"});
  const bool sat = d.take("sat"), carryOut = d.take("cc");
  const Type type = d.takeType();
  if (part == 2) {
    const Type wide = bitsOf(type) == 16 ? (isSigned(type) ? Type::S32 : Type::U32)
                                         : (isSigned(type) ? Type::S64 : Type::U64);
    if (bitsOf(type) > 32 || !d.expectOperands(4, 4) || !d.result(0, wide) || !d.source(1, type) ||
        !d.source(2, type) || !d.source(3, wide))
      return d.refuse("mad.wide takes operands of 16 or 32 bits");
    return setInteger(
        d, type == Type::U16   ? &ternary<MadWide, uint32_t, uint16_t, uint16_t, uint32_t>
           : type == Type::S16 ? &ternary<MadWide, int32_t, int16_t, int16_t, int32_t>
           : type == Type::U32 ? &ternary<MadWide, uint64_t, uint32_t, uint32_t, uint64_t>
           : type == Type::S32 ? &ternary<MadWide, int64_t, int32_t, int32_t, int64_t>
                               : nullptr);
  }
  if (part < 0)
    return d.refuse("expected .lo, .hi or .wide");
  if (carryIn || carryOut)
    return part == 0 ? decodeCarry<CarryOp::MadLo>(d, type, carryIn, carryOut)
                     : decodeCarry<CarryOp::MadHi>(d, type, carryIn, carryOut);
  if (!sameTypes(d, type, 3))
    return false;
  if (sat && (part != 1 || type != Type::S32))
    return d.refuse(".sat is for mad.hi.s32");
  return setInteger(d, sat         ? static_cast<Handler>(&ternary<MadHiSat, int32_t, int32_t>)
                       : part == 0 ? ternaryOf<MadLo>(type)
                                   : ternaryOf<MadHi>(type));
}

bool decodeMadCarry(Decoder &d) { return decodeMad(d, true); }

bool decodeMul24(Decoder &d) {
  const int part = d.takeOneOf({"lo", "hi"});
  const Type type = d.takeType();
  if (part < 0 || !sameTypes(d, type, 2) || (type != Type::U32 && type != Type::S32))
    return d.refuse("mul24 takes .lo or .hi, and .u32 or .s32");
  const bool s = type == Type::S32;
  return setInteger(d, part == 0
                           ? (s ? &binary<Mul24Lo, int32_t, int32_t>
                                : static_cast<Handler>(&binary<Mul24Lo, uint32_t, uint32_t>))
                           : (s ? &binary<Mul24Hi, int32_t, int32_t>
                                : static_cast<Handler>(&binary<Mul24Hi, uint32_t, uint32_t>)));
}

bool decodeMad24(Decoder &d) {
  const int part = d.takeOneOf({"lo", "hi"});
  const Type type = d.takeType();
  if (part < 0 || !sameTypes(d, type, 3) || (type != Type::U32 && type != Type::S32))
    return d.refuse("mad24 takes .lo or .hi, and .u32 or .s32");
  const bool s = type == Type::S32;
  return setInteger(d, part == 0
                           ? (s ? &ternary<Mad24Lo, int32_t, int32_t>
                                : static_cast<Handler>(&ternary<Mad24Lo, uint32_t, uint32_t>))
                           : (s ? &ternary<Mad24Hi, int32_t, int32_t>
                                : static_cast<Handler>(&ternary<Mad24Hi, uint32_t, uint32_t>)));
}

bool decodeRem(Decoder &d) {
  const Type type = d.takeType();
  return sameTypes(d, type, 2) && setInteger(d, binaryOf<Rem>(type));
}

bool decodeSad(Decoder &d) {
  const Type type = d.takeType();
  return sameTypes(d, type, 3) && setInteger(d, ternaryOf<Sad>(type));
}

/// dp4a, dp2a: products of bytes (or of halves by bytes) added to c. variant: bit 0 a signed,
/// bit 1 b signed; extra: 4 for dp4a, else the first byte of b.
void dotProduct(Warp &w, const Inst &i, uint32_t mask) {
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  const uint32_t *a = w.src<uint32_t>(i.ops[1]), *b = w.src<uint32_t>(i.ops[2]),
                 *c = w.src<uint32_t>(i.ops[3]);
  const bool four = i.extra == 4;
  const auto part = [](uint32_t value, int bits, int index, bool withSign) {
    const uint32_t field = value >> (bits * index) & ((1u << bits) - 1);
    return withSign ? static_cast<int32_t>(field << (32 - bits)) >> (32 - bits)
                    : static_cast<int32_t>(field);
  };
  forLanes(mask, [&](int l) {
    uint32_t sum = c[l];
    for (int k = 0; k < (four ? 4 : 2); ++k)
      sum += static_cast<uint32_t>(part(a[l], four ? 8 : 16, k, i.variant & 1)) *
             static_cast<uint32_t>(part(b[l], 8, four ? k : k + i.extra, i.variant & 2));
    d[l] = sum;
  });
}

bool decodeDot(Decoder &d) {
  const bool four = d.syntax().opcode == "dp4a";
  const int half = four ? 0 : d.takeOneOf({"lo", "hi"});
  const Type a = d.takeType(), b = d.takeType();
  if (bitsOf(a) != 32 || bitsOf(b) != 32 || half < 0)
    return d.refuse("expected two types of .u32 or .s32 (and .lo or .hi for dp2a)");
  d.inst.variant = static_cast<uint8_t>(isSigned(a) | isSigned(b) << 1);
  d.inst.extra = static_cast<uint8_t>(four ? 4 : 2 * half);
  return sameTypes(d, Type::B32, 3) && setInteger(d, &dotProduct);
}

/// vadd4 and the like: the bytes or halves of a register by themselves; with .add their sum, on top
/// of c. variant: the operation; extra: bits of a part, and bit 6 signed, bit 7 .add.
enum PartOp : uint8_t { PartAdd, PartSub, PartAverage, PartAbsDiff, PartMin, PartMax };

void runParts(Warp &w, const Inst &i, uint32_t mask) {
  const int bits = i.extra & 63;
  const bool withSign = i.extra & 64, adds = i.extra & 128;
  const auto part = [&](uint32_t word, int at) {
    const uint32_t moved = word << (32 - bits - at);
    return withSign ? int64_t{static_cast<int32_t>(moved) >> (32 - bits)}
                    : static_cast<int64_t>(moved >> (32 - bits));
  };
  const uint32_t *a = w.src<uint32_t>(i.ops[1]), *b = w.src<uint32_t>(i.ops[2]);
  const uint32_t *c = w.src<uint32_t>(i.ops[3]);
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    uint32_t whole = 0, sum = c[l];
    for (int at = 0; at < 32; at += bits) {
      const int64_t x = part(a[l], at), y = part(b[l], at);
      const int64_t result = i.variant == PartAdd       ? x + y
                             : i.variant == PartSub     ? x - y
                             : i.variant == PartAverage ? (x + y + (x + y >= 0)) >> 1
                             : i.variant == PartAbsDiff ? (x < y ? y - x : x - y)
                             : i.variant == PartMin     ? std::min(x, y)
                                                        : std::max(x, y);
      whole |= (static_cast<uint32_t>(result) & ((uint32_t{1} << bits) - 1)) << at;
      sum += static_cast<uint32_t>(result);
    }
    d[l] = adds ? sum : whole;
  }
}

bool decodeParts(Decoder &d) {
  constexpr std::string_view kNames[] = {"vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"};
  const std::string &opcode = d.syntax().opcode;
  const Type to = d.takeType(), a = d.takeType(), b = d.takeType();
  const bool adds = d.take("add");
  if (bitsOf(to) != 32 || a != b || bitsOf(a) != 32 || !isInteger(a) || !d.expectOperands(4, 4))
    return d.refuse("only forms with one type of 32 bits for a and b are supported");
  for (size_t op = 0; op < std::size(kNames); ++op)
    if (opcode.substr(0, opcode.size() - 1) == kNames[op])
      d.inst.variant = static_cast<uint8_t>(op);
  d.inst.extra = static_cast<uint8_t>((opcode.back() == '4' ? 8 : 16) | (isSigned(a) ? 64 : 0) |
                                      (adds ? 128 : 0));
  d.inst.run = &runParts;
  return d.result(0, to) && d.source(1, a) && d.source(2, b) && d.source(3, to);
}

constexpr Opcode kOpcodes[] = {
    {"vadd2", decodeParts},   {"vadd4", decodeParts},     {"vsub2", decodeParts},
    {"vsub4", decodeParts},   {"vavrg2", decodeParts},    {"vavrg4", decodeParts},
    {"vmin2", decodeParts},   {"vmin4", decodeParts},     {"vmax2", decodeParts},
    {"vmax4", decodeParts},   {"vabsdiff2", decodeParts}, {"vabsdiff4", decodeParts},
    {"addc", decodeAddCarry}, {"subc", decodeSubCarry},   {"madc", decodeMadCarry},
    {"mul24", decodeMul24},   {"mad24", decodeMad24},     {"rem", decodeRem},
    {"sad", decodeSad},       {"dp4a", decodeDot},        {"dp2a", decodeDot}};

} // namespace

// Shared with floating point, which has the same opcodes; called once no type of it is found.
bool decodeIntegerAdd(Decoder &d) { return decodeSum<Add, AddSat, CarryOp::Add>(d, false); }
bool decodeIntegerSub(Decoder &d) { return decodeSum<Sub, SubSat, CarryOp::Sub>(d, false); }
bool decodeIntegerMad(Decoder &d) { return decodeMad(d, false); }

bool decodeIntegerMul(Decoder &d) {
  const int part = d.takeOneOf({"lo", "hi", "wide"});
  const Type type = d.takeType();
  if (part < 0)
    return d.refuse("expected .lo, .hi or .wide");
  if (part < 2)
    return sameTypes(d, type, 2) &&
           setInteger(d, part == 0 ? binaryOf<MulLo>(type) : binaryOf<MulHi>(type));
  const Type wide = bitsOf(type) == 16 ? (isSigned(type) ? Type::S32 : Type::U32)
                                       : (isSigned(type) ? Type::S64 : Type::U64);
  if (bitsOf(type) > 32)
    return d.refuse("mul.wide takes operands of 16 or 32 bits");
  if (!d.expectOperands(3, 3) || !d.result(0, wide) || !d.source(1, type) || !d.source(2, type))
    return false;
  return setInteger(d, type == Type::U16   ? &binary<MulWide, uint32_t, uint16_t>
                       : type == Type::S16 ? &binary<MulWide, int32_t, int16_t>
                       : type == Type::U32 ? &binary<MulWide, uint64_t, uint32_t>
                       : type == Type::S32 ? &binary<MulWide, int64_t, int32_t>
                                           : nullptr);
}

bool decodeIntegerDiv(Decoder &d) {
  const Type type = d.takeType();
  return sameTypes(d, type, 2) && setInteger(d, binaryOf<Div>(type));
}

template <class Op> static bool decodeExtreme(Decoder &d) {
  const bool relu = d.take("relu");
  const Type type = d.takeType();
  if (!sameTypes(d, type, 2))
    return false;
  if (relu && type != Type::S32 && type != Type::S16x2)
    return d.refuse(".relu is for .s32 and .s16x2");
  if (Handler halves = relu ? halvesOf<Relu<Op>>(type) : halvesOf<Op>(type))
    return setInteger(d, halves);
  return setInteger(d, relu ? static_cast<Handler>(&binary<Relu<Op>, int32_t, int32_t>)
                            : binaryOf<Op>(type));
}
bool decodeIntegerMin(Decoder &d) { return decodeExtreme<Min>(d); }
bool decodeIntegerMax(Decoder &d) { return decodeExtreme<Max>(d); }

bool decodeIntegerAbs(Decoder &d) {
  const Type type = d.takeType();
  return sameTypes(d, type, 1) && isSigned(type) &&
         setInteger(d, forInteger(type, []<class T>() -> Handler { return &unary<Abs, T, T>; }));
}
bool decodeIntegerNeg(Decoder &d) {
  const Type type = d.takeType();
  return sameTypes(d, type, 1) &&
         setInteger(d, forInteger(type, []<class T>() -> Handler { return &unary<Neg, T, T>; }));
}

std::span<const Opcode> integerOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
