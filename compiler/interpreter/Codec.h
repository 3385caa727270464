// Quantisers of keys and values: how codes and scales are made from numbers, and back. All rounding
// is to nearest, ties to even; a decoded value is (code - zero) * scale. Patterns decode with these
// same formulas; tests and tools use the encoders to make inputs.
#pragma once

#include "runtime/DType.h"

#include <cstdint>
#include <span>
#include <vector>

namespace heddle::compiler {

/// amax is floored at this, so that a group of zeros has a scale.
inline constexpr double kSmallestAmax = 1e-4;

/// One scale (and for int4 one zero point) of a group of values.
struct GroupCode {
  double scale = 1;
  double zero = 0;
  std::vector<int> codes;
  double decode(size_t n) const { return (codes[n] - zero) * scale; }
};

/// Symmetric int8: scale = amax / 127, codes in [-127, 127].
GroupCode encodeInt8(std::span<const double> group);
/// Asymmetric int4: scale = (max - min) / 15, codes in [0, 15].
GroupCode encodeInt4(std::span<const double> group);
/// Two codes a byte, the low nibble is the even index.
std::vector<uint8_t> packNibbles(std::span<const int> codes);
int unpackNibble(std::span<const uint8_t> bytes, int64_t index);

/// Scale of an fp8 group: amax / 448 (e4m3) or amax / 57344 (e5m2).
double scaleOfFp8(DType type, std::span<const double> group);
/// The value of that dtype nearest to x.
double roundTo(DType type, double x);

/// TurboQuant (arXiv 2504.19874): a vector as its norm and one codebook index for each rotated
/// coordinate. `rotation` is orthonormal, [d, d] row-major: y = rotation x / |x|.
struct TurboCode {
  double norm = 0;
  std::vector<int> indices;
  double residualNorm = 0;   ///< of x / |x| minus its decoded self; inner-product codec only
  std::vector<double> signs; ///< of projection * residual; inner-product codec only
};

/// The 2^bits centroids of the best scalar quantiser of N(0, 1 / d), ascending.
std::vector<double> turboCodebook(int bits, int64_t d);
TurboCode encodeTurbo(std::span<const double> x, std::span<const double> rotation,
                      std::span<const double> codebook);
/// norm * rotation^T codebook[indices].
std::vector<double> decodeTurbo(const TurboCode &code, std::span<const double> rotation,
                                std::span<const double> codebook);
/// The unbiased codec: adds the signs of `projection` [d, d] (iid N(0, 1)) times the residual.
TurboCode encodeTurboProduct(std::span<const double> x, std::span<const double> rotation,
                             std::span<const double> codebook, std::span<const double> projection);
/// norm * (decoded + sqrt(pi / 2) / d * residualNorm * projection^T signs).
std::vector<double> decodeTurboProduct(const TurboCode &code, std::span<const double> rotation,
                                       std::span<const double> codebook,
                                       std::span<const double> projection);

} // namespace heddle::compiler
