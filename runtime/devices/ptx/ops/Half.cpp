// Arithmetic of f16 and bf16, single and in pairs: each operation is exact in a wider format and
// rounded once (sums and products of f16 and bf16 in f32 round as if at once, since 24 bits are
// more than twice their own; fused products go through fusedOdd).
#include "runtime/devices/ptx/ops/Float.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

namespace heddle::ptx {

namespace {

// Bits of Inst::variant.
enum Flag : uint8_t { Ftz = 1, Sat = 2, Relu = 4, NaN = 8, XorSign = 16 };

struct F16 {
  static constexpr uint16_t kExponent = 0x7c00;
  static float widen(uint16_t x) { return widenF16(x); }
  static uint16_t narrow(float x) { return narrowF16(x); }
};
struct BF16 {
  static constexpr uint16_t kExponent = 0x7f80;
  static float widen(uint16_t x) { return widenBF16(x); }
  static uint16_t narrow(float x) { return narrowBF16(x); }
};

/// A double whose last bit tells of inexactness, as a float that does the same.
float narrowOdd(double x) {
  const float f = static_cast<float>(x);
  const double back = f;
  if (back == x || f != f || (bitsOfFloat(f) & 1) || std::isinf(f))
    return f;
  const bool larger = std::abs(back) < std::abs(x);
  return floatOfBits(larger ? bitsOfFloat(f) + 1 : bitsOfFloat(f) - 1);
}

template <class T> uint16_t flushHalf(uint16_t x) {
  return x & T::kExponent ? x : static_cast<uint16_t>(x & 0x8000);
}

template <class T, HalfOp op> uint16_t one(uint16_t a, uint16_t b, uint16_t c, uint8_t flags) {
  if (op == HalfOp::Neg)
    return a ^ 0x8000;
  if (op == HalfOp::Abs)
    return a & 0x7fff;
  if (flags & Ftz)
    a = flushHalf<T>(a), b = flushHalf<T>(b), c = flushHalf<T>(c);
  const float x = T::widen(a), y = T::widen(b), z = T::widen(c);
  float result = 0;
  switch (op) {
  case HalfOp::Add:
    result = x + y;
    break;
  case HalfOp::Sub:
    result = x - y;
    break;
  case HalfOp::Mul:
    result = x * y;
    break;
  case HalfOp::Fma:
    result = narrowOdd(fusedOdd(x, y, z));
    break;
  case HalfOp::Ex2:
    result = approximateEx2(x);
    break;
  case HalfOp::Tanh:
    result = approximateTanh(x);
    break;
  default: {
    const float p = flags & XorSign ? std::fabs(x) : x, q = flags & XorSign ? std::fabs(y) : y;
    const bool less = p < q || (p == q && std::signbit(p) && !std::signbit(q));
    result = (op == HalfOp::Min) == less ? p : q;
    if (p != p || q != q)
      result = (flags & NaN) || (p != p && q != q) ? kNaN32 : p != p ? q : p;
    if (flags & XorSign)
      result = (a ^ b) & 0x8000 ? -result : result;
  }
  }
  if (flags & Relu && result <= 0)
    result = 0;
  if (flags & Sat)
    result = saturate(result);
  const uint16_t bits = T::narrow(result);
  return flags & Ftz ? flushHalf<T>(bits) : bits;
}

template <class T, HalfOp op, class Reg> void run(Warp &w, const Inst &i, uint32_t mask) {
  Reg *d = w.dst<Reg>(i.ops[0]);
  const Reg *a = w.src<Reg>(i.ops[1]);
  const Reg *b = i.sources > 1 ? w.src<Reg>(i.ops[2]) : a;
  const Reg *c = i.sources > 2 ? w.src<Reg>(i.ops[3]) : a;
  const uint8_t flags = i.variant;
  forLanes(mask, [&](int l) {
    const uint16_t low = one<T, op>(static_cast<uint16_t>(a[l]), static_cast<uint16_t>(b[l]),
                                    static_cast<uint16_t>(c[l]), flags);
    if constexpr (sizeof(Reg) == 4) {
      const uint16_t high =
          one<T, op>(static_cast<uint16_t>(a[l] >> 16), static_cast<uint16_t>(b[l] >> 16),
                     static_cast<uint16_t>(c[l] >> 16), flags);
      d[l] = low | static_cast<uint32_t>(high) << 16;
    } else {
      d[l] = low;
    }
  });
}

template <HalfOp op> Handler handlerFor(Type type) {
  switch (type) {
  case Type::F16:
    return &run<F16, op, uint16_t>;
  case Type::F16x2:
    return &run<F16, op, uint32_t>;
  case Type::BF16:
    return &run<BF16, op, uint16_t>;
  default:
    return &run<BF16, op, uint32_t>;
  }
}

Handler handlerFor(HalfOp op, Type type) {
  switch (op) {
  case HalfOp::Add:
    return handlerFor<HalfOp::Add>(type);
  case HalfOp::Sub:
    return handlerFor<HalfOp::Sub>(type);
  case HalfOp::Mul:
    return handlerFor<HalfOp::Mul>(type);
  case HalfOp::Fma:
    return handlerFor<HalfOp::Fma>(type);
  case HalfOp::Min:
    return handlerFor<HalfOp::Min>(type);
  case HalfOp::Max:
    return handlerFor<HalfOp::Max>(type);
  case HalfOp::Abs:
    return handlerFor<HalfOp::Abs>(type);
  case HalfOp::Neg:
    return handlerFor<HalfOp::Neg>(type);
  case HalfOp::Ex2:
    return handlerFor<HalfOp::Ex2>(type);
  default:
    return handlerFor<HalfOp::Tanh>(type);
  }
}

} // namespace

bool decodeHalf(Decoder &d, HalfOp op) {
  uint8_t flags = 0;
  const auto flag = [&](const char *name, Flag bit) { flags |= d.take(name) ? bit : 0; };
  flag("ftz", Ftz);
  flag("sat", Sat);
  flag("relu", Relu);
  flag("NaN", NaN);
  if (d.take("xorsign"))
    flags |= d.take("abs") ? XorSign : 0;
  const Rounding rounding = d.takeRounding();
  const Type type = d.takeType();
  if (rounding > Rounding::Nearest)
    return d.refuse("arithmetic of 16 bits rounds to nearest only");
  const size_t sources = op == HalfOp::Fma ? 3 : op <= HalfOp::Max ? 2 : 1;
  d.inst.variant = flags;
  d.inst.kind = Class::Half;
  d.inst.run = handlerFor(op, type);
  return sameTypes(d, type, sources);
}

} // namespace heddle::ptx
