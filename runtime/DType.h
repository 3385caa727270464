// Element types of tensors, their sizes and names.
#pragma once

#include "runtime/Result.h"

#include <cstdint>
#include <string_view>

namespace heddle {

/// Element type. The values are part of the C ABI and of stored artifacts: append only.
enum class DType : uint8_t {
  F64 = 1,
  F32 = 2,
  BF16 = 3,
  F16 = 4,
  F8E4M3 = 5,
  F8E5M2 = 6,
  I64 = 7,
  I32 = 8,
  I8 = 9,
  U8 = 10,
};

/// Whether the value names a type: data from outside may hold any byte.
bool isValid(DType type);
/// Bytes of one element; 0 for a value that is no type.
int64_t sizeOf(DType type);
/// "f32", "bf16", ...
const char *toString(DType type);
/// The type of that name, or InvalidArgument with the list of names.
Result<DType> parseDType(std::string_view name);
bool isFloat(DType type);

/// One element read as, or rounded once (to nearest, ties to even) from, a double. Beyond the
/// range: f32, f16 and bf16 become infinite, fp8 and integers saturate (fp8 an infinity too); NaN
/// stays NaN, and is 0 as an integer. i64 is read to the 53 bits of a double.
double loadElement(DType type, const void *data, int64_t index);
void storeElement(DType type, void *data, int64_t index, double value);

} // namespace heddle
