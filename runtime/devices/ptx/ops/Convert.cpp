// cvt in all its forms. The usual ones have a handler of their own; the others go lane by lane
// through an exact value: 128-bit integer or double.
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <algorithm>

namespace heddle::ptx {

namespace {

using Int = __int128;

struct Mode {
  Direction direction = Direction::Nearest;
  bool integral = false, ftz = false, sat = false, relu = false, finite = false;

  int64_t pack() const {
    return static_cast<int64_t>(direction) | integral << 4 | ftz << 5 | sat << 6 | relu << 7 |
           finite << 8;
  }
  static Mode unpack(int64_t v) {
    return {static_cast<Direction>(v & 15),
            (v >> 4 & 1) != 0,
            (v >> 5 & 1) != 0,
            (v >> 6 & 1) != 0,
            (v >> 7 & 1) != 0,
            (v >> 8 & 1) != 0};
  }
};

double readFloat(Type type, uint64_t bits) {
  switch (type) {
  case Type::F16:
    return widenF16(static_cast<uint16_t>(bits));
  case Type::BF16:
    return widenBF16(static_cast<uint16_t>(bits));
  case Type::F64:
    return std::bit_cast<double>(bits);
  default:
    return floatOfBits(static_cast<uint32_t>(bits));
  }
}

Int readInteger(Type type, uint64_t bits) {
  const int unused = 64 - bitsOf(type);
  if (isSigned(type))
    return static_cast<int64_t>(bits << unused) >> unused;
  return bits << unused >> unused;
}

bool anyFloat(Type t) {
  return t == Type::F16 || t == Type::BF16 || t == Type::F32 || t == Type::F64;
}

/// An integer rounded to `digits` significant bits, which a double holds.
double roundInteger(Int value, int digits, Direction direction) {
  const bool negative = value < 0;
  const auto size = static_cast<unsigned __int128>(negative ? -value : value);
  int width = 0;
  while (width < 127 && size >> width)
    ++width;
  const int shift = std::max(0, width - digits);
  auto kept = static_cast<uint64_t>(size >> shift);
  const auto rest = static_cast<uint64_t>(size - (static_cast<unsigned __int128>(kept) << shift));
  const uint64_t half = shift ? uint64_t{1} << (shift - 1) : 0;
  const bool up =
      rest != 0 && (direction == Direction::Nearest ? rest > half || (rest == half && (kept & 1))
                    : direction == Direction::Up    ? !negative
                    : direction == Direction::Down  ? negative
                                                    : false);
  const double result = std::ldexp(static_cast<double>(kept + up), shift);
  return negative ? -result : result;
}

Int integerOf(double x, Type to, Direction direction) {
  if (std::isnan(x))
    return 0;
  double rounded = direction == Direction::Nearest ? std::nearbyint(x)
                   : direction == Direction::Zero  ? std::trunc(x)
                   : direction == Direction::Down  ? std::floor(x)
                                                   : std::ceil(x);
  rounded = std::clamp(rounded, -0x1p100, 0x1p100);
  const int bits = bitsOf(to);
  const Int least = isSigned(to) ? -(Int{1} << (bits - 1)) : 0;
  const Int most = (Int{1} << (isSigned(to) ? bits - 1 : bits)) - 1;
  return std::clamp(static_cast<Int>(rounded), least, most);
}

uint64_t writeFloat(double x, Type to, const Mode &mode) {
  if (mode.relu && x <= 0)
    x = 0;
  if (mode.sat)
    x = saturate(x);
  switch (to) {
  case Type::F16:
    return encodeF16(x, mode.direction, mode.finite);
  case Type::BF16:
    return encodeBF16(x, mode.direction, mode.finite);
  case Type::TF32:
    return encodeTF32(static_cast<float>(x), mode.direction, mode.finite);
  case Type::F64:
    return std::bit_cast<uint64_t>(x);
  default: {
    if (std::isnan(x))
      return 0x7fffffff;
    const double rounded = roundTo(x, 23, -126, mode.direction);
    const bool over = std::fabs(rounded) > 0x1.fffffep127 && !std::isinf(x);
    const bool stays = over && (mode.direction == Direction::Zero ||
                                (mode.direction == Direction::Down && x > 0) ||
                                (mode.direction == Direction::Up && x < 0));
    const float f = stays ? std::copysign(0x1.fffffep127f, static_cast<float>(x > 0 ? 1 : -1))
                          : static_cast<float>(rounded);
    return bitsOfFloat(mode.ftz ? flush(f) : f);
  }
  }
}

uint64_t convertOne(uint64_t bits, Type from, Type to, const Mode &mode) {
  if (!anyFloat(from)) {
    const Int value = readInteger(from, bits);
    if (isInteger(to)) {
      if (!mode.sat)
        return static_cast<uint64_t>(value);
      const int width = bitsOf(to);
      const Int least = isSigned(to) ? -(Int{1} << (width - 1)) : 0;
      const Int most = (Int{1} << (isSigned(to) ? width - 1 : width)) - 1;
      return static_cast<uint64_t>(std::clamp(value, least, most));
    }
    const int digits = to == Type::F16 ? 11 : to == Type::BF16 ? 8 : to == Type::F32 ? 24 : 53;
    return writeFloat(roundInteger(value, digits, mode.direction), to, mode);
  }
  double x = readFloat(from, bits);
  if (mode.ftz && from == Type::F32)
    x = flush(static_cast<float>(x));
  if (isInteger(to))
    return static_cast<uint64_t>(integerOf(x, to, mode.direction));
  if (mode.integral && std::isfinite(x)) {
    const double rounded = mode.direction == Direction::Nearest ? std::nearbyint(x)
                           : mode.direction == Direction::Zero  ? std::trunc(x)
                           : mode.direction == Direction::Down  ? std::floor(x)
                                                                : std::ceil(x);
    x = std::copysign(rounded, x);
  }
  return writeFloat(x, to, mode);
}

/// Writes to a register, which may be wider than the type: sign or zero fills it.
void writeLane(Warp &w, const Operand &o, int l, uint64_t value, Type to) {
  if (isSigned(to)) {
    const int unused = 64 - bitsOf(to);
    value = static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused);
  } else if (bitsOf(to) < 64) {
    value &= (uint64_t{1} << bitsOf(to)) - 1;
  }
  if (o.bytes == 8)
    w.dst<uint64_t>(o)[l] = value;
  else if (o.bytes == 4)
    w.dst<uint32_t>(o)[l] = static_cast<uint32_t>(value);
  else
    w.dst<uint16_t>(o)[l] = static_cast<uint16_t>(value);
}

void convertAny(Warp &w, const Inst &i, uint32_t mask) {
  const Type to = static_cast<Type>(i.variant), from = static_cast<Type>(i.extra);
  const Mode mode = Mode::unpack(i.imm);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    writeLane(w, i.ops[0], l, convertOne(w.lane(i.ops[1], l), from, to, mode), to);
  }
}

/// Two values, the first in the upper half: f16x2, bf16x2, e4m3x2, e5m2x2 from f32.
void convertPair(Warp &w, const Inst &i, uint32_t mask) {
  const Type to = static_cast<Type>(i.variant);
  const Mode mode = Mode::unpack(i.imm);
  const float *a = w.src<float>(i.ops[1]), *b = w.src<float>(i.ops[2]);
  const auto one = [&](float x) -> uint32_t {
    if (mode.relu && x <= 0)
      x = 0;
    switch (to) {
    case Type::F16x2:
      return encodeF16(x, mode.direction, mode.finite);
    case Type::BF16x2:
      return encodeBF16(x, mode.direction, mode.finite);
    case Type::E4M3x2:
      return encodeE4M3(x);
    default:
      return encodeE5M2(x);
    }
  };
  const int shift = bitsOf(to) / 2;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const uint32_t value = one(a[l]) << shift | one(b[l]);
    if (shift == 16)
      w.dst<uint32_t>(i.ops[0])[l] = value;
    else
      w.dst<uint16_t>(i.ops[0])[l] = static_cast<uint16_t>(value);
  }
}

/// e4m3x2 or e5m2x2 <-> f16x2.
void convertBytes(Warp &w, const Inst &i, uint32_t mask) {
  const Type to = static_cast<Type>(i.variant), from = static_cast<Type>(i.extra);
  const Mode mode = Mode::unpack(i.imm);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    uint32_t result = 0;
    for (int half = 0; half < 2; ++half) {
      if (to == Type::F16x2) {
        const auto byte = static_cast<uint8_t>(w.src<uint16_t>(i.ops[1])[l] >> (8 * half));
        float x = from == Type::E4M3x2 ? decodeE4M3(byte) : decodeE5M2(byte);
        x = mode.relu && x <= 0 ? 0.0f : x;
        result |= static_cast<uint32_t>(narrowF16(x)) << (16 * half);
      } else {
        float x = widenF16(static_cast<uint16_t>(w.src<uint32_t>(i.ops[1])[l] >> (16 * half)));
        x = mode.relu && x <= 0 ? 0.0f : x;
        result |= static_cast<uint32_t>(to == Type::E4M3x2 ? encodeE4M3(x) : encodeE5M2(x))
                  << (8 * half);
      }
    }
    if (to == Type::F16x2)
      w.dst<uint32_t>(i.ops[0])[l] = result;
    else
      w.dst<uint16_t>(i.ops[0])[l] = static_cast<uint16_t>(result);
  }
}

// ---- the usual ones ----

template <class D> struct CastTo {
  template <class A> static D run(A a) { return static_cast<D>(a); }
};
struct FromF16 {
  static float run(uint16_t a) { return widenF16(a); }
};
struct FromBF16 {
  static float run(uint16_t a) { return widenBF16(a); }
};
struct ToF16 {
  static uint16_t run(float a) { return narrowF16(a); }
};
struct ToBF16 {
  static uint16_t run(float a) { return narrowBF16(a); }
};
struct ToF16x2 {
  static uint32_t run(float high, float low) {
    return static_cast<uint32_t>(narrowF16(high)) << 16 | narrowF16(low);
  }
};
struct ToBF16x2 {
  static uint32_t run(float high, float low) {
    return static_cast<uint32_t>(narrowBF16(high)) << 16 | narrowBF16(low);
  }
};
template <Direction direction> struct ToInt {
  static int32_t run(float x) {
    const float r = direction == Direction::Zero   ? __builtin_truncf(x)
                    : direction == Direction::Down ? __builtin_floorf(x)
                    : direction == Direction::Up   ? __builtin_ceilf(x)
                                                   : __builtin_rintf(x);
    const float low = r < -0x1p31f ? -0x1p31f : r;
    const int32_t inside = static_cast<int32_t>(low < 0x1p31f ? low : 0.0f);
    return r != r ? 0 : r >= 0x1p31f ? INT32_MAX : inside;
  }
};

Handler usual(Type to, Type from, const Mode &m) {
  if (m.relu || m.finite || m.sat)
    return nullptr;
  if (isInteger(to) && isInteger(from) && bitsOf(to) >= 16 && bitsOf(from) >= 16)
    return forInteger(to, [&]<class D>() -> Handler {
      return forInteger(from, []<class A>() -> Handler { return &unary<CastTo<D>, D, A>; });
    });
  const bool nearest = m.direction == Direction::Nearest;
  if (m.ftz)
    return nullptr;
  if (to == Type::F32 && from == Type::F16)
    return &unary<FromF16, float, uint16_t>;
  if (to == Type::F32 && from == Type::BF16)
    return &unary<FromBF16, float, uint16_t>;
  if (to == Type::F64 && from == Type::F32)
    return &unary<CastTo<double>, double, float>;
  if (to == Type::S32 && from == Type::F32)
    return nearest ? &unary<ToInt<Direction::Nearest>, int32_t, float>
           : m.direction == Direction::Zero
               ? static_cast<Handler>(&unary<ToInt<Direction::Zero>, int32_t, float>)
           : m.direction == Direction::Down ? &unary<ToInt<Direction::Down>, int32_t, float>
                                            : &unary<ToInt<Direction::Up>, int32_t, float>;
  if (!nearest || m.integral)
    return nullptr;
  if (to == Type::F32 && from == Type::S32)
    return &unary<CastTo<float>, float, int32_t>;
  if (to == Type::F32 && from == Type::U32)
    return &unary<CastTo<float>, float, uint32_t>;
  if (to == Type::F16 && from == Type::F32)
    return &unary<ToF16, uint16_t, float>;
  if (to == Type::BF16 && from == Type::F32)
    return &unary<ToBF16, uint16_t, float>;
  return nullptr;
}

Mode takeMode(Decoder &d) {
  Mode mode;
  constexpr Direction kDirections[] = {Direction::Zero, Direction::Nearest, Direction::Zero,
                                       Direction::Down, Direction::Up,      Direction::Away};
  Rounding r = d.takeRounding(true);
  mode.integral = r != Rounding::None;
  if (!mode.integral)
    r = d.takeRounding();
  mode.direction = kDirections[static_cast<int>(r)];
  if (r == Rounding::None)
    mode.direction = Direction::Nearest;
  mode.ftz = d.take("ftz");
  mode.sat = d.take("sat");
  mode.relu = d.take("relu");
  mode.finite = d.take("satfinite");
  return mode;
}

/// cvt.pack.sat.u8.s32.b32 d, a, b, c: both saturated; a above b, and c above them.
void packSaturated(Warp &w, const Inst &i, uint32_t mask) {
  const Type to = static_cast<Type>(i.variant), from = static_cast<Type>(i.extra);
  const int width = bitsOf(to);
  Mode mode;
  mode.sat = true;
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    const auto part = [&](int k) {
      return static_cast<uint32_t>(convertOne(w.lane(i.ops[k], l), from, to, mode)) &
             ((1u << width) - 1);
    };
    const uint32_t above = i.sources == 3 ? w.src<uint32_t>(i.ops[3])[l] << (2 * width) : 0;
    d[l] = above | part(1) << width | part(2);
  }
}

bool decodePack(Decoder &d) {
  const bool sat = d.take("sat");
  const Type to = d.takeType(), from = d.takeType(), third = d.takeType();
  if (!sat || bitsOf(to) > 16 || !isInteger(to) || bitsOf(from) != 32 ||
      (bitsOf(to) == 8) != (third == Type::B32) ||
      !d.expectOperands(bitsOf(to) == 8 ? 4 : 3, bitsOf(to) == 8 ? 4 : 3))
    return d.refuse("expected cvt.pack.sat to 16 bits, or to 8 bits with .b32 and a third operand");
  d.inst.variant = static_cast<uint8_t>(to);
  d.inst.extra = static_cast<uint8_t>(from);
  d.inst.run = &packSaturated;
  d.inst.kind = Class::Convert;
  return d.result(0, Type::B32) && d.source(1, from) && d.source(2, from) &&
         (d.operandCount() == 3 || d.source(3, Type::B32));
}

bool decodeCvt(Decoder &d) {
  if (d.take("pack"))
    return decodePack(d);
  const Mode mode = takeMode(d);
  const Type to = d.takeType(), from = d.takeType();
  d.inst.variant = static_cast<uint8_t>(to);
  d.inst.extra = static_cast<uint8_t>(from);
  d.inst.imm = mode.pack();
  d.inst.kind = Class::Convert;
  const bool bytes = to == Type::E4M3x2 || to == Type::E5M2x2;
  const bool pair = to == Type::F16x2 || to == Type::BF16x2 || bytes;
  if (pair && from == Type::F32) {
    if (!d.expectOperands(3, 3) || !d.result(0, to) || !d.source(1, from) || !d.source(2, from))
      return false;
    const bool plain = mode.direction == Direction::Nearest && !mode.relu && !mode.finite;
    d.inst.run = plain && to == Type::F16x2 ? &binary<ToF16x2, uint32_t, float>
                 : plain && to == Type::BF16x2
                     ? static_cast<Handler>(&binary<ToBF16x2, uint32_t, float>)
                     : &convertPair;
    return true;
  }
  if (!d.expectOperands(2, 2))
    return false;
  if ((bytes && from == Type::F16x2) ||
      (to == Type::F16x2 && (from == Type::E4M3x2 || from == Type::E5M2x2))) {
    d.inst.run = &convertBytes;
    return d.result(0, to) && d.source(1, from);
  }
  const bool known =
      (isInteger(to) || anyFloat(to) || to == Type::TF32) && (isInteger(from) || anyFloat(from));
  if (!known || !d.result(0, to, true) || !d.source(1, from, true))
    return d.refuse("no conversion between these types is known");
  const bool exact = laneBytes(to) == d.operandBytes(0) && laneBytes(from) == d.operandBytes(1);
  const Handler quick = exact ? usual(to, from, mode) : nullptr;
  d.inst.run = quick ? quick : &convertAny;
  return true;
}

constexpr Opcode kOpcodes[] = {{"cvt", decodeCvt}};

} // namespace

std::span<const Opcode> convertOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
