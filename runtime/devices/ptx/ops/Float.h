// What the files of floating-point arithmetic offer each other.
#pragma once

#include "runtime/devices/ptx/Decoder.h"

namespace heddle::ptx {

/// Arithmetic of f32 and f64 in the rounding Inst::variant; extra: bit 0 .ftz, bit 1 .sat.
enum class DirectedOp : uint8_t { Add, Sub, Mul, Fma, Div, Sqrt, Rcp };
Handler directedHandler(DirectedOp op, Type type);

enum class HalfOp : uint8_t { Add, Sub, Mul, Fma, Min, Max, Abs, Neg, Ex2, Tanh };
constexpr bool isHalf(Type t) { return t >= Type::F16 && t <= Type::BF16x2; }
/// Arithmetic of f16, f16x2, bf16 and bf16x2.
bool decodeHalf(Decoder &d, HalfOp op);

/// rcp, rsqrt, sqrt, sin, cos, lg2, ex2 and tanh with .approx.
bool decodeApproximate(Decoder &d);
float approximateEx2(float x);
float approximateTanh(float x);

} // namespace heddle::ptx
