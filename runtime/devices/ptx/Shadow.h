// What the checker knows of each byte of a buffer.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace heddle::ptx {

/// Initialised bytes of a buffer, a bit a byte.
struct Shadow {
  explicit Shadow(uint64_t bytes, bool initialised)
      : bits((bytes + 63) / 64, initialised ? ~uint64_t{0} : 0) {}
  bool initialised(uint64_t offset, uint64_t bytes) const {
    for (uint64_t i = offset; i < offset + bytes; ++i)
      if (!(std::atomic_ref(bits[i / 64]).load(std::memory_order_relaxed) >> (i % 64) & 1))
        return false;
    return true;
  }
  /// Bytes count as written from now on; blocks on several threads of the host
  /// may call it.
  void set(uint64_t offset, uint64_t bytes) {
    for (uint64_t i = offset, end = offset + bytes; i < end;) {
      const uint64_t first = i % 64, count = std::min(64 - first, end - i);
      const uint64_t ones = count == 64 ? ~uint64_t{0} : ((uint64_t{1} << count) - 1) << first;
      std::atomic_ref(bits[i / 64]).fetch_or(ones, std::memory_order_relaxed);
      i += count;
    }
  }
  mutable std::vector<uint64_t> bits;
};

} // namespace heddle::ptx
