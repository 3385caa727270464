// The arithmetic of tensor cores: D = A B + C for one 16 x 8 tile, fast or as the hardware rounds.
#pragma once

#include "runtime/devices/ptx/Types.h"

#include <cstdint>
#include <string>

namespace heddle::ptx {

/// One hardware step: products of `terms` k's and C, aligned to the largest exponent, each
/// truncated to `fraction` bits below it, added exactly, rounded once. Source: MMA-Sim (arXiv
/// 2511.10909), Khattak and Mikaitis (arXiv 2512.07004).
struct StepRule {
  int terms = 8;
  int fraction = 24;
  int kept = 23;            // fraction bits of an f32 result (13: fp8 on Ada)
  bool interleaved = false; // first the k's with k % 4 < 2, then the others (fp8 by f16 steps)
};

/// The rule of `sm` (80, 89, 90, ...) for inputs of a type.
StepRule stepRule(int sm, Type input);

/// c + sum of a[k] * b[k], k < count, in hardware steps of `rule`; f16 results round to nearest in
/// every step, f32 ones toward zero.
float dotFaithful(const float *a, const float *b, int stride, int count, float c,
                  const StepRule &rule, bool halfResult);

class Decoder;
/// wmma.load, wmma.mma and wmma.store (Wmma.cpp).
bool decodeWmma(Decoder &d);

/// "sm_90a" -> 90.
int smNumber(const std::string &target);

} // namespace heddle::ptx
