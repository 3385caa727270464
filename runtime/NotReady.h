// The one code beside ErrorCode's own: something is still being made. Only the doors of this
// library give it (HEDDLE_NOT_READY in C); compiler and devices never do.
#pragma once

#include "runtime/Error.h"

namespace heddle {

/// A deadline passed while the kernel was being compiled; ask again later.
inline constexpr ErrorCode kNotReady = static_cast<ErrorCode>(11);

} // namespace heddle
