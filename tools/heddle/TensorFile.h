// Tensors on disk: NumPy .npy (versions 1.0 to 3.0) and .safetensors, read and written.
// Every size in a file is checked against the bytes that are there before anything is allocated.
#pragma once

#include "tools/heddle/HostTensor.h"

#include <string>
#include <string_view>

namespace heddle::tool {

/// Reads `path`, or one tensor of a .safetensors file as `path:name` (the name may be left out if
/// the file holds a single tensor). Fortran order is turned into row-major order. Errors: NotFound,
/// CorruptData (cut short, damaged header), Unsupported (element type, byte order).
Result<HostTensor> readTensor(const std::string &path);

/// Writes .npy or .safetensors by the name's ending; beside the target first, then renamed.
/// .npy has no bf16: it is written as f32, which holds every bf16 exactly.
Status writeTensor(const std::string &path, const HostTensor &tensor, const std::string &name);

/// The parsers, on bytes in memory (what the fuzz tests call).
Result<HostTensor> parseNpy(std::string_view bytes);
Result<HostTensor> parseSafetensors(std::string_view bytes, const std::string &name);

} // namespace heddle::tool
