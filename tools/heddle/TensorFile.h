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
/// .npy has no bf16: it is written as f32, which holds every bf16 exactly. `madeBy` is kept in
/// .safetensors only.
Status writeTensor(const std::string &path, const HostTensor &tensor, const std::string &name);

/// A .npy file as it lies: any element type of fixed size, row-major.
struct NpyArray {
  std::string descr; ///< "<f4", "|u1", ...
  int64_t itemBytes = 0;
  std::vector<int64_t> shape;
  std::string data;
};
/// Fails as readTensor does; Unsupported for big-endian numbers, objects and records.
Result<NpyArray> readNpyArray(const std::string &path);
Result<NpyArray> parseNpyArray(std::string_view bytes);
Status writeNpyArray(const std::string &path, const NpyArray &array);

/// A file as it lies. NotFound if it cannot be opened, IoError if it cannot be read.
Result<std::string> readFile(const std::string &path);

/// The parsers, on bytes in memory (what the fuzz tests call).
Result<HostTensor> parseNpy(std::string_view bytes);
Result<HostTensor> parseSafetensors(std::string_view bytes, const std::string &name);

} // namespace heddle::tool
