// f32 and f64 arithmetic rounded toward zero, down or up: the processor's own rounding mode is set
// for the 32 lanes. Compiled with -frounding-math.
#include "runtime/devices/ptx/ops/Float.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <cfenv>

namespace heddle::ptx {

namespace {

template <class T> T apply(DirectedOp op, T a, T b, T c) {
  switch (op) {
  case DirectedOp::Add:
    return a + b;
  case DirectedOp::Sub:
    return a - b;
  case DirectedOp::Mul:
    return a * b;
  case DirectedOp::Fma:
    return std::fma(a, b, c);
  case DirectedOp::Div:
    return a / b;
  case DirectedOp::Sqrt:
    return std::sqrt(a);
  default:
    return T{1} / a;
  }
}

template <class T, DirectedOp op> void directed(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]);
  const T *b = i.sources > 1 ? w.src<T>(i.ops[2]) : a;
  const T *c = i.sources > 2 ? w.src<T>(i.ops[3]) : a;
  constexpr int kModes[] = {FE_TONEAREST, FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  const int before = std::fegetround();
  std::fesetround(kModes[i.variant]);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    if constexpr (sizeof(T) == 4) {
      const bool ftz = i.extra & 1;
      const float result = ftz ? flush(apply(op, flush(a[l]), flush(b[l]), flush(c[l])))
                               : apply(op, a[l], b[l], c[l]);
      d[l] = i.extra & 2 ? saturate(result) : result;
    } else {
      d[l] = apply(op, a[l], b[l], c[l]);
    }
  }
  std::fesetround(before);
}

template <class T> Handler handlerOf(DirectedOp op) {
  constexpr Handler kHandlers[] = {&directed<T, DirectedOp::Add>, &directed<T, DirectedOp::Sub>,
                                   &directed<T, DirectedOp::Mul>, &directed<T, DirectedOp::Fma>,
                                   &directed<T, DirectedOp::Div>, &directed<T, DirectedOp::Sqrt>,
                                   &directed<T, DirectedOp::Rcp>};
  return kHandlers[static_cast<int>(op)];
}

} // namespace

Handler directedHandler(DirectedOp op, Type type) {
  return type == Type::F64 ? handlerOf<double>(op) : handlerOf<float>(op);
}

} // namespace heddle::ptx
