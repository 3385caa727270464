// Inputs that nobody gave: random numbers that depend on the seed alone, and keep what the pattern
// takes for granted of them.
#pragma once

#include "runtime/Signature.h"
#include "tools/heddle/HostTensor.h"

#include <vector>

namespace heddle::tool {

/// Fills tensor `index` of `tensors` (all of them allocated, in the order of the signature).
/// Floats are normal, log-decays negative, rates between 0 and 1 and small enough for the width of
/// what they are applied to; offsets, lengths, pages, parents and lists are legal and uneven; codes
/// are random bytes. Fails for integers whose meaning the pattern does not say.
Status fillRandom(const Signature &signature, std::vector<HostTensor> &tensors, size_t index,
                  uint64_t seed);

} // namespace heddle::tool
