// Makes codes and scales from numbers, and numbers from codes.
// Example, int8: the group (1, -2.54, 0) has scale 2.54 / 127 = 0.02 and codes (50, -127, 0).
#include "compiler/interpreter/Codec.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace heddle::compiler {

namespace {

double amaxOf(std::span<const double> group) {
  double amax = 0;
  for (double x : group)
    amax = std::max(amax, std::fabs(x));
  return std::max(amax, kSmallestAmax);
}

int clampedCode(double x, int low, int high) {
  return static_cast<int>(std::clamp(std::nearbyint(x), double(low), double(high)));
}

double normOf(std::span<const double> x) {
  double sum = 0;
  for (double e : x)
    sum += e * e;
  return std::sqrt(sum);
}

/// matrix [n, n] row-major times x.
std::vector<double> product(std::span<const double> matrix, std::span<const double> x) {
  std::vector<double> y(x.size(), 0.0);
  for (size_t r = 0; r < x.size(); ++r)
    for (size_t c = 0; c < x.size(); ++c)
      y[r] += matrix[r * x.size() + c] * x[c];
  return y;
}

std::vector<double> transposedProduct(std::span<const double> matrix, std::span<const double> x) {
  std::vector<double> y(x.size(), 0.0);
  for (size_t r = 0; r < x.size(); ++r)
    for (size_t c = 0; c < x.size(); ++c)
      y[c] += matrix[r * x.size() + c] * x[r];
  return y;
}

double density(double x) {
  return std::isinf(x) ? 0 : std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}
double cumulative(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

int nearest(std::span<const double> codebook, double y) {
  size_t best = 0;
  for (size_t c = 1; c < codebook.size(); ++c)
    if (std::fabs(y - codebook[c]) < std::fabs(y - codebook[best]))
      best = c;
  return static_cast<int>(best);
}

/// rotation^T codebook[indices]: the decoded direction.
std::vector<double> direction(const TurboCode &code, std::span<const double> rotation,
                              std::span<const double> codebook) {
  std::vector<double> y(code.indices.size());
  for (size_t n = 0; n < y.size(); ++n)
    y[n] = codebook[code.indices[n]];
  return transposedProduct(rotation, y);
}

} // namespace

GroupCode encodeInt8(std::span<const double> group) {
  GroupCode code;
  code.scale = amaxOf(group) / 127;
  for (double x : group)
    code.codes.push_back(clampedCode(x / code.scale, -127, 127));
  return code;
}

GroupCode encodeInt4(std::span<const double> group) {
  assert(!group.empty() && "an int4 group has at least one value");
  GroupCode code;
  auto [low, high] = std::minmax_element(group.begin(), group.end());
  code.scale = std::max(*high - *low, kSmallestAmax) / 15;
  code.zero = std::nearbyint(-*low / code.scale);
  for (double x : group)
    code.codes.push_back(clampedCode(std::nearbyint(x / code.scale) + code.zero, 0, 15));
  return code;
}

std::vector<uint8_t> packNibbles(std::span<const int> codes) {
  std::vector<uint8_t> bytes((codes.size() + 1) / 2, 0);
  for (size_t n = 0; n < codes.size(); ++n)
    bytes[n / 2] |= static_cast<uint8_t>(codes[n] << (n % 2 * 4));
  return bytes;
}

int unpackNibble(std::span<const uint8_t> bytes, int64_t index) {
  return (bytes[index / 2] >> (index % 2 * 4)) & 15;
}

double scaleOfFp8(DType type, std::span<const double> group) {
  return amaxOf(group) / (type == DType::F8E4M3 ? 448.0 : 57344.0);
}

double roundTo(DType type, double x) {
  alignas(8) std::byte storage[8];
  storeElement(type, storage, 0, x);
  return loadElement(type, storage, 0);
}

std::vector<double> turboCodebook(int bits, int64_t d) {
  // Lloyd's iteration: each centroid is the mean of its cell, each cell ends half-way between two.
  int64_t count = int64_t(1) << bits;
  std::vector<double> centroids(count);
  for (int64_t c = 0; c < count; ++c)
    centroids[c] = 4.0 * (c + 0.5) / count - 2.0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<double> means(count);
    for (int64_t c = 0; c < count; ++c) {
      double low = c == 0 ? -INFINITY : (centroids[c - 1] + centroids[c]) / 2;
      double high = c == count - 1 ? INFINITY : (centroids[c] + centroids[c + 1]) / 2;
      means[c] = (density(low) - density(high)) / (cumulative(high) - cumulative(low));
    }
    centroids = means;
  }
  for (double &c : centroids)
    c /= std::sqrt(double(d));
  return centroids;
}

TurboCode encodeTurbo(std::span<const double> x, std::span<const double> rotation,
                      std::span<const double> codebook) {
  TurboCode code;
  code.norm = normOf(x);
  for (double y : product(rotation, x))
    code.indices.push_back(nearest(codebook, code.norm > 0 ? y / code.norm : 0));
  return code;
}

std::vector<double> decodeTurbo(const TurboCode &code, std::span<const double> rotation,
                                std::span<const double> codebook) {
  std::vector<double> x = direction(code, rotation, codebook);
  for (double &e : x)
    e *= code.norm;
  return x;
}

TurboCode encodeTurboProduct(std::span<const double> x, std::span<const double> rotation,
                             std::span<const double> codebook, std::span<const double> projection) {
  TurboCode code = encodeTurbo(x, rotation, codebook);
  std::vector<double> residual = direction(code, rotation, codebook);
  for (size_t n = 0; n < x.size(); ++n)
    residual[n] = (code.norm > 0 ? x[n] / code.norm : 0) - residual[n];
  code.residualNorm = normOf(residual);
  for (double y : product(projection, residual))
    code.signs.push_back(y < 0 ? -1 : 1);
  return code;
}

std::vector<double> decodeTurboProduct(const TurboCode &code, std::span<const double> rotation,
                                       std::span<const double> codebook,
                                       std::span<const double> projection) {
  std::vector<double> x = direction(code, rotation, codebook);
  std::vector<double> correction = transposedProduct(projection, code.signs);
  double weight = std::sqrt(std::numbers::pi / 2) / double(x.size()) * code.residualNorm;
  for (size_t n = 0; n < x.size(); ++n)
    x[n] = code.norm * (x[n] + weight * correction[n]);
  return x;
}

} // namespace heddle::compiler
