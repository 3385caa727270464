// Floating-point arithmetic of f32 and f64: add, sub, mul, fma, div, sqrt, rcp, min, max, abs, neg,
// copysign, testp. To nearest here; the other roundings are in Directed.cpp, f16 and bf16 in
// Half.cpp. IEEE in all but .ftz (subnormals are zero) and .sat.
#include "runtime/devices/ptx/ops/Float.h"

#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <cmath>

namespace heddle::ptx {

namespace {

struct Add {
  template <class T> static T run(T a, T b) { return a + b; }
};
struct Sub {
  template <class T> static T run(T a, T b) { return a - b; }
};
struct Mul {
  template <class T> static T run(T a, T b) { return a * b; }
};
struct Div {
  template <class T> static T run(T a, T b) { return a / b; }
};
struct Fma {
  static float run(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static double run(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
struct Sqrt {
  static float run(float a) { return __builtin_sqrtf(a); }
  static double run(double a) { return __builtin_sqrt(a); }
};
struct Rcp {
  template <class T> static T run(T a) { return T{1} / a; }
};

template <class T> T flushIf(T x) { return x; }
template <> float flushIf(float x) { return flush(x); }

/// Op with .ftz and .sat around it.
template <class Op, bool ftz, bool sat> struct With {
  template <class... T> static auto run(T... args) {
    auto result = ftz ? flushIf(Op::run(flushIf(args)...)) : Op::run(args...);
    return sat ? saturate(result) : result;
  }
};

template <class Op, size_t n, class T> Handler plain() {
  if constexpr (n == 1)
    return &unary<Op, T, T>;
  else if constexpr (n == 2)
    return &binary<Op, T, T>;
  else
    return &ternary<Op, T, T>;
}

template <class Op, size_t n> Handler nearest(Type type, bool ftz, bool sat) {
  if (type == Type::F64)
    return ftz || sat ? nullptr : plain<Op, n, double>();
  if (ftz)
    return sat ? plain<With<Op, true, true>, n, float>() : plain<With<Op, true, false>, n, float>();
  return sat ? plain<With<Op, false, true>, n, float>() : plain<Op, n, float>();
}

Class classOf(Type type) { return type == Type::F64 ? Class::Double : Class::Float; }

/// F32x2: two f32 in 64 bits, each with Op.
template <class Op, size_t n> struct Pairs {
  static float low(uint64_t v) { return floatOfBits(static_cast<uint32_t>(v)); }
  static float high(uint64_t v) { return floatOfBits(static_cast<uint32_t>(v >> 32)); }
  template <class... T> static uint64_t run(T... v) {
    return bitsOfFloat(Op::run(low(v)...)) | static_cast<uint64_t>(bitsOfFloat(Op::run(high(v)...)))
                                                 << 32;
  }
};

template <class Op, size_t n> bool decodeArithmetic(Decoder &d, DirectedOp directed) {
  const bool ftz = d.take("ftz"), sat = d.take("sat");
  const Rounding rounding = d.takeRounding();
  const Type type = d.takeType();
  d.inst.kind = classOf(type);
  if (!sameTypes(d, type, n))
    return false;
  if (type == Type::F32x2) {
    if (rounding > Rounding::Nearest || sat)
      return d.refuse("f32x2 is known with .rn only");
    d.inst.run = ftz ? plain<Pairs<With<Op, true, false>, n>, n, uint64_t>()
                     : plain<Pairs<Op, n>, n, uint64_t>();
    return true;
  }
  if (!isFloat(type))
    return d.refuse("no arithmetic of this type");
  if (rounding == Rounding::None || rounding == Rounding::Nearest) {
    d.inst.run = nearest<Op, n>(type, ftz, sat);
    return true;
  }
  if (sat && type == Type::F64)
    return d.refuse(".sat is for f32");
  d.inst.variant = static_cast<uint8_t>(rounding);
  d.inst.extra = static_cast<uint8_t>(ftz | sat << 1);
  d.inst.run = directedHandler(directed, type);
  return true;
}

bool decodeAdd(Decoder &d) {
  const Type type = d.peekType();
  if (isHalf(type))
    return decodeHalf(d, HalfOp::Add);
  return isFloat(type) || type == Type::F32x2 ? decodeArithmetic<Add, 2>(d, DirectedOp::Add)
                                              : decodeIntegerAdd(d);
}
bool decodeSub(Decoder &d) {
  const Type type = d.peekType();
  if (isHalf(type))
    return decodeHalf(d, HalfOp::Sub);
  return isFloat(type) || type == Type::F32x2 ? decodeArithmetic<Sub, 2>(d, DirectedOp::Sub)
                                              : decodeIntegerSub(d);
}
bool decodeMul(Decoder &d) {
  const Type type = d.peekType();
  if (isHalf(type))
    return decodeHalf(d, HalfOp::Mul);
  return isFloat(type) || type == Type::F32x2 ? decodeArithmetic<Mul, 2>(d, DirectedOp::Mul)
                                              : decodeIntegerMul(d);
}
bool decodeFma(Decoder &d) {
  return isHalf(d.peekType()) ? decodeHalf(d, HalfOp::Fma)
                              : decodeArithmetic<Fma, 3>(d, DirectedOp::Fma);
}
bool decodeMad(Decoder &d) { return isFloat(d.peekType()) ? decodeFma(d) : decodeIntegerMad(d); }

/// .approx and .full: a times the reciprocal, which is zero for a divisor beyond 2^126.
template <bool ftz> struct DivApprox {
  static float run(float a, float b) {
    if (ftz)
      a = flush(a), b = flush(b);
    const float inverse = 1.0f / b;
    const float result = a * (ftz || std::fabs(b) > 0x1p126f ? flush(inverse) : inverse);
    return ftz ? flush(result) : result;
  }
};
template <bool ftz> struct DivFull {
  static float run(float a, float b) { return ftz ? flush(flush(a) / flush(b)) : a / b; }
};

bool decodeDiv(Decoder &d) {
  if (!isFloat(d.peekType()))
    return decodeIntegerDiv(d);
  const bool approx = d.take("approx"), full = d.take("full");
  if (!approx && !full)
    return decodeArithmetic<Div, 2>(d, DirectedOp::Div);
  const bool ftz = d.take("ftz");
  if (d.takeType() != Type::F32 || !sameTypes(d, Type::F32, 2))
    return d.refuse(".approx and .full are for .f32");
  d.inst.kind = Class::Float;
  d.inst.run = approx ? (ftz ? &binary<DivApprox<true>, float, float>
                             : static_cast<Handler>(&binary<DivApprox<false>, float, float>))
                      : (ftz ? &binary<DivFull<true>, float, float>
                             : static_cast<Handler>(&binary<DivFull<false>, float, float>));
  return true;
}

// ---- min and max: the number beats NaN, and -0 is below +0 ----

template <bool max, bool nan, class T> T extreme(T a, T b) {
  using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const U quiet = sizeof(T) == 4 ? static_cast<U>(0x7fffffff) : static_cast<U>(0x7ff8000000000000);
  const U x = std::bit_cast<U>(a), y = std::bit_cast<U>(b);
  const U equal = max ? x & y : x | y; // of zeros with other signs; else the same bits
  const bool first = max ? a > b : a < b;
  U result = first ? x : a == b ? equal : y;
  result = a != a ? (nan || b != b ? quiet : y) : b != b ? (nan ? quiet : x) : result;
  return std::bit_cast<T>(result);
}
template <bool max, bool nan, bool ftz> struct Extreme {
  static float run(float a, float b) {
    return ftz ? extreme<max, nan>(flush(a), flush(b)) : extreme<max, nan>(a, b);
  }
  static float run(float a, float b, float c) { return run(run(a, b), c); }
  static double run(double a, double b) { return extreme<max, nan>(a, b); }
};
/// The sign is the product's, the size the extreme of the sizes.
template <bool max, bool nan, bool ftz> struct ExtremeXorSign {
  static float run(float a, float b) {
    const float size = Extreme<max, nan, ftz>::run(std::fabs(a), std::fabs(b));
    if (size != size)
      return size;
    return floatOfBits(bitsOfFloat(size) | ((bitsOfFloat(a) ^ bitsOfFloat(b)) & 0x80000000));
  }
};
template <bool max, bool nan, bool ftz> struct ExtremeAbs3 {
  static float run(float a, float b, float c) {
    return Extreme<max, nan, ftz>::run(std::fabs(a), std::fabs(b), std::fabs(c));
  }
};

template <bool max, bool nan, bool ftz>
Handler extremeHandler(size_t sources, bool xorsign, bool abs) {
  if (sources == 3)
    return abs ? &ternary<ExtremeAbs3<max, nan, ftz>, float, float>
               : static_cast<Handler>(&ternary<Extreme<max, nan, ftz>, float, float>);
  return xorsign ? &binary<ExtremeXorSign<max, nan, ftz>, float, float>
                 : static_cast<Handler>(&binary<Extreme<max, nan, ftz>, float, float>);
}

template <bool max> bool decodeExtreme(Decoder &d) {
  const Type peeked = d.peekType();
  if (isHalf(peeked))
    return decodeHalf(d, max ? HalfOp::Max : HalfOp::Min);
  if (!isFloat(peeked))
    return max ? decodeIntegerMax(d) : decodeIntegerMin(d);
  const bool ftz = d.take("ftz"), nan = d.take("NaN"), xorsign = d.take("xorsign"),
             abs = d.take("abs");
  const Type type = d.takeType();
  const size_t sources = type == Type::F32 && d.operandCount() == 4 ? 3 : 2;
  d.inst.kind = classOf(type);
  if (!sameTypes(d, type, sources))
    return false;
  if (type == Type::F64) {
    if (ftz || nan || xorsign || abs)
      return d.refuse("this form is for .f32");
    d.inst.run = &binary<Extreme<max, false, false>, double, double>;
    return true;
  }
  d.inst.run = nan ? (ftz ? extremeHandler<max, true, true>(sources, xorsign, abs)
                          : extremeHandler<max, true, false>(sources, xorsign, abs))
                   : (ftz ? extremeHandler<max, false, true>(sources, xorsign, abs)
                          : extremeHandler<max, false, false>(sources, xorsign, abs));
  return true;
}

// ---- signs and classes ----

struct Abs {
  static float run(float a) { return __builtin_fabsf(a); }
  static double run(double a) { return __builtin_fabs(a); }
};
struct Neg {
  template <class T> static T run(T a) { return -a; }
};
struct CopySign {
  static float run(float a, float b) { return __builtin_copysignf(b, a); }
  static double run(double a, double b) { return __builtin_copysign(b, a); }
};

template <class Op, HalfOp half> bool decodeSign(Decoder &d) {
  const Type peeked = d.peekType();
  if (isHalf(peeked))
    return decodeHalf(d, half);
  if (!isFloat(peeked))
    return half == HalfOp::Abs ? decodeIntegerAbs(d) : decodeIntegerNeg(d);
  const bool ftz = d.take("ftz");
  const Type type = d.takeType();
  d.inst.kind = classOf(type);
  d.inst.run = nearest<Op, 1>(type, ftz, false);
  return sameTypes(d, type, 1);
}

bool decodeCopySign(Decoder &d) {
  const Type type = d.takeType();
  d.inst.kind = classOf(type);
  d.inst.run = isFloat(type) ? nearest<CopySign, 2>(type, false, false) : nullptr;
  return sameTypes(d, type, 2);
}

template <class Op> bool decodeRoot(Decoder &d, DirectedOp directed) {
  if (d.has("approx"))
    return decodeApproximate(d);
  return decodeArithmetic<Op, 1>(d, directed);
}
bool decodeSqrt(Decoder &d) { return decodeRoot<Sqrt>(d, DirectedOp::Sqrt); }
bool decodeRcp(Decoder &d) { return decodeRoot<Rcp>(d, DirectedOp::Rcp); }

enum class Kind : uint8_t { Finite, Infinite, Number, NotANumber, Normal, Subnormal };

template <class T> bool isKind(T x, int kind) {
  switch (static_cast<Kind>(kind)) {
  case Kind::Finite:
    return std::isfinite(x);
  case Kind::Infinite:
    return std::isinf(x);
  case Kind::Number:
    return !std::isnan(x);
  case Kind::NotANumber:
    return std::isnan(x);
  case Kind::Normal:
    return std::isnormal(x);
  default:
    return std::fpclassify(x) == FP_SUBNORMAL;
  }
}

template <class T> void testKind(Warp &w, const Inst &i, uint32_t mask) {
  const T *a = w.src<T>(i.ops[1]);
  uint32_t result = 0;
  for (int l = 0; l < kLanes; ++l)
    result |= static_cast<uint32_t>(isKind(a[l], i.variant)) << l;
  w.setPredicate(i.ops[0], mask, result);
}

bool decodeTestp(Decoder &d) {
  const int kind =
      d.takeOneOf({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  const Type type = d.takeType();
  if (kind < 0 || !isFloat(type) || !d.expectOperands(2, 2) || !d.result(0, Type::Pred) ||
      !d.source(1, type))
    return d.refuse("expected testp.<class>.f32 or .f64");
  d.inst.variant = static_cast<uint8_t>(kind);
  d.inst.kind = Class::Predicate;
  d.inst.run = type == Type::F32 ? &testKind<float> : &testKind<double>;
  return true;
}

constexpr Opcode kOpcodes[] = {{"add", decodeAdd},
                               {"sub", decodeSub},
                               {"mul", decodeMul},
                               {"fma", decodeFma},
                               {"mad", decodeMad},
                               {"div", decodeDiv},
                               {"min", decodeExtreme<false>},
                               {"max", decodeExtreme<true>},
                               {"abs", decodeSign<Abs, HalfOp::Abs>},
                               {"neg", decodeSign<Neg, HalfOp::Neg>},
                               {"copysign", decodeCopySign},
                               {"sqrt", decodeSqrt},
                               {"rcp", decodeRcp},
                               {"testp", decodeTestp}};

} // namespace

std::span<const Opcode> floatOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
