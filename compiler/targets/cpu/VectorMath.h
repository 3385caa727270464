// Elementary functions on vectors of f32, made of arithmetic alone: no libm; and what else
// processors have no vector instruction for. Errors are in units
// in the last place of f32 against the exact value, tested over the whole range.
//
//   exp2 3   exp 2   expm1 3   log 2   log2 3   log1p 3   tanh 4   sin, cos 3 for |x| <= 1e4
//
// Infinities, zeros and NaN give what C's functions give. Results below 2^-126 may be flushed to 0
// by exp2 on AVX2; everywhere else they are right.
#pragma once

#include "compiler/targets/cpu/VectorBuilder.h"

namespace heddle::compiler::cpu {

Value emitExp2(VectorBuilder &e, Value x);
Value emitExp(VectorBuilder &e, Value x);
Value emitExpm1(VectorBuilder &e, Value x);
Value emitLog(VectorBuilder &e, Value x);
Value emitLog2(VectorBuilder &e, Value x);
Value emitLog1p(VectorBuilder &e, Value x);
Value emitTanh(VectorBuilder &e, Value x);
Value emitSin(VectorBuilder &e, Value x);
Value emitCos(VectorBuilder &e, Value x);
/// x^y as exp2(y log2 x) for x >= 0; relative error about 1e-7 (1 + |y log2 x|). NaN for x < 0.
Value emitPow(VectorBuilder &e, Value x, Value y);

/// x / y of a vector of 64-bit integers and another one or a number, rounded towards zero, y != 0.
/// Right for |x| < kMostDividend.
inline constexpr double kMostDividend = 0x1p51;
Value emitDivide(VectorBuilder &e, Value x, Value y);

} // namespace heddle::compiler::cpu
