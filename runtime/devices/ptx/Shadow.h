// What the checker knows of each byte of a buffer.
#pragma once

#include <cstdint>
#include <vector>

namespace heddle::ptx {

/// Initialised bytes of a buffer, a bit a byte.
struct Shadow {
  explicit Shadow(uint64_t bytes, bool initialised)
      : bits((bytes + 63) / 64, initialised ? ~uint64_t{0} : 0) {}
  bool initialised(uint64_t offset, uint64_t bytes) const {
    for (uint64_t i = offset; i < offset + bytes; ++i)
      if (!(bits[i / 64] >> (i % 64) & 1))
        return false;
    return true;
  }
  void set(uint64_t offset, uint64_t bytes, bool value) {
    for (uint64_t i = offset; i < offset + bytes; ++i)
      bits[i / 64] = value ? bits[i / 64] | uint64_t{1} << (i % 64)
                           : bits[i / 64] & ~(uint64_t{1} << (i % 64));
  }
  std::vector<uint64_t> bits;
};

} // namespace heddle::ptx
