// Arithmetic that notices when int64 is not enough. Internal to ir/layout.
#pragma once

#include <cstdint>

namespace heddle::layout {

/// Sets `into` to a*b (a+b) and returns true, or returns false if the result leaves int64.
inline bool multiply(int64_t a, int64_t b, int64_t &into) {
  return !__builtin_mul_overflow(a, b, &into);
}
inline bool add(int64_t a, int64_t b, int64_t &into) {
  return !__builtin_add_overflow(a, b, &into);
}

} // namespace heddle::layout
