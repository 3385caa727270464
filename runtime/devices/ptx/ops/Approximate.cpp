// The approximations of the special function unit. PTX bounds their errors and does not say how
// they are made; here they are the correctly rounded value, or within a few thousandths of a unit
// in the last place of it, so they are inside every bound.
#include "runtime/devices/ptx/ops/Float.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <algorithm>

namespace heddle::ptx {

namespace {

/// 2^x for |x| < 1000 in double by a polynomial of 2^f, |f| <= 1/2 (error below 2^-36); the loop
/// over lanes is turned into vector code, unlike a call.
double exp2Polynomial(double x) {
  const double n = __builtin_rint(x);
  const double f = (x - n) * 0.6931471805599453;
  double p = 1.0 / 362880;
  p = p * f + 1.0 / 40320;
  p = p * f + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  // Adding 1.5 * 2^52 leaves n in the low bits of the significand.
  const uint64_t shifted = std::bit_cast<uint64_t>(n + 0x1.8p52);
  return p * std::bit_cast<double>((shifted + 1023) << 52);
}

template <bool ftz> struct Ex2 {
  static float run(float x) {
    if (ftz)
      x = flush(x);
    const double clamped = x < -1000.0f ? -1000.0 : x > 1000.0f ? 1000.0 : static_cast<double>(x);
    const float result = static_cast<float>(exp2Polynomial(clamped));
    return x != x ? kNaN32 : ftz ? flush(result) : result;
  }
};
template <bool ftz> struct Lg2 {
  static float run(float x) {
    const float result = static_cast<float>(std::log2(static_cast<double>(ftz ? flush(x) : x)));
    return ftz ? flush(result) : result;
  }
};
/// 1 - 2 / (1 + e^(2x)), in double; exact enough at small x, where tanh(x) is about x.
struct Tanh {
  static float run(float x) {
    const double y = std::clamp(static_cast<double>(x), -20.0, 20.0);
    const double e = exp2Polynomial(y * 2.885390081777927);
    const double t = (e - 1.0) / (e + 1.0);
    return x != x ? kNaN32 : std::fabs(x) < 0x1p-12f ? x : static_cast<float>(t);
  }
};
template <bool ftz> struct Rcp {
  static float run(float x) { return ftz ? flush(1.0f / flush(x)) : 1.0f / x; }
};
template <bool ftz> struct Sqrt {
  static float run(float x) { return ftz ? flush(__builtin_sqrtf(flush(x))) : __builtin_sqrtf(x); }
};
template <bool ftz> struct Rsqrt {
  static float run(float x) {
    if (ftz)
      x = flush(x);
    return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(x)));
  }
};
template <bool ftz> struct Sin {
  static float run(float x) {
    const float result = static_cast<float>(std::sin(static_cast<double>(ftz ? flush(x) : x)));
    return ftz ? flush(result) : result;
  }
};
template <bool ftz> struct Cos {
  static float run(float x) {
    return static_cast<float>(std::cos(static_cast<double>(ftz ? flush(x) : x)));
  }
};

/// rcp and rsqrt of f64 give the upper 32 bits of the result; what comes after corrects them.
double upperHalf(double x) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(x) & 0xffffffff00000000);
}
double flushDouble(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  return std::bit_cast<double>(bits & 0x7ff0000000000000 ? bits : bits & 0x8000000000000000);
}
struct RcpDouble {
  static double run(double x) { return flushDouble(upperHalf(1.0 / flushDouble(x))); }
};
struct RsqrtDouble {
  static double run(double x) { return upperHalf(1.0 / std::sqrt(flushDouble(x))); }
};

template <template <bool> class Op> Handler single(bool ftz) {
  return ftz ? &unary<Op<true>, float, float>
             : static_cast<Handler>(&unary<Op<false>, float, float>);
}

} // namespace

float approximateEx2(float x) { return Ex2<false>::run(x); }
float approximateTanh(float x) { return Tanh::run(x); }

bool decodeApproximate(Decoder &d) {
  const std::string &opcode = d.syntax().opcode;
  if (!d.take("approx"))
    return d.refuse("expected .approx");
  if (isHalf(d.peekType())) {
    if (opcode != "ex2" && opcode != "tanh")
      return d.refuse("this opcode has no form of 16 bits");
    if (!decodeHalf(d, opcode == "ex2" ? HalfOp::Ex2 : HalfOp::Tanh))
      return false;
    d.inst.kind = Class::Special;
    return true;
  }
  const bool ftz = d.take("ftz");
  const Type type = d.takeType();
  d.inst.kind = Class::Special;
  if (!sameTypes(d, type, 1))
    return false;
  if (type == Type::F64) {
    d.inst.run = opcode == "rcp"     ? &unary<RcpDouble, double, double>
                 : opcode == "rsqrt" ? static_cast<Handler>(&unary<RsqrtDouble, double, double>)
                                     : nullptr;
    return true;
  }
  if (type != Type::F32)
    return d.refuse("expected .f32");
  d.inst.run = opcode == "rcp"     ? single<Rcp>(ftz)
               : opcode == "rsqrt" ? single<Rsqrt>(ftz)
               : opcode == "sqrt"  ? single<Sqrt>(ftz)
               : opcode == "sin"   ? single<Sin>(ftz)
               : opcode == "cos"   ? single<Cos>(ftz)
               : opcode == "lg2"   ? single<Lg2>(ftz)
               : opcode == "ex2"   ? single<Ex2>(ftz)
               : opcode == "tanh"  ? static_cast<Handler>(&unary<Tanh, float, float>)
                                   : nullptr;
  return true;
}

std::span<const Opcode> approximateOpcodes() {
  static constexpr Opcode kOpcodes[] = {{"rsqrt", decodeApproximate}, {"sin", decodeApproximate},
                                        {"cos", decodeApproximate},   {"lg2", decodeApproximate},
                                        {"ex2", decodeApproximate},   {"tanh", decodeApproximate}};
  return kOpcodes;
}

} // namespace heddle::ptx
