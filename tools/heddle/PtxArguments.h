// The arguments of `heddle ptx run`: text and files on one side, the machine's buffers and the
// bytes of a launch on the other.
#pragma once

#include "runtime/devices/ptx/Machine.h"

#include <string>
#include <string_view>
#include <vector>

namespace heddle::tool {

/// Element types by the names that `FILE:DTYPE` and scalars use.
struct PtxType {
  std::string_view name;
  int64_t bytes;
  char kind;            ///< 'f' a number that is rounded, 'i' 'u' an integer
  std::string_view npy; ///< how it is written; types that NumPy lacks are written as float32
};
const PtxType *findPtxType(std::string_view name);

class PtxArguments {
public:
  explicit PtxArguments(ptx::Machine &machine) : machine(machine) {}

  /// The next argument: `FILE[:DTYPE]`, `1537i32`, `0.125f32`, `null`, `zeros:BYTES[:DTYPE]`,
  /// `empty:BYTES[:DTYPE]` (memory that nobody wrote).
  Status addValue(const std::string &text);
  /// A value of any size: `BLOB`, or `BLOB@OFF=POINTER@OFF=POINTER..`, which puts the address of a
  /// buffer at each offset.
  Status addBytes(const std::string &text);
  /// `FILE:DTYPE,dims=64x128,strides=128,box=64x64,swizzle=128[,..]`: dimension 0 is contiguous.
  Status addTensorMap(const std::string &text);

  size_t count() const { return arguments.size(); }
  /// Sets every argument of the kernel; fails, naming the signature, if they do not fit it.
  Status set(ptx::ParamBlock &params, const ptx::Program &program);
  /// `I=FILE`, `I@OFF=FILE`, each with `:DTYPE` to read the bytes differently: writes the buffer of
  /// argument I (at offset OFF of a struct) as .npy, or as raw bytes under another ending.
  Status write(const std::string &text) const;
  /// The same without writing: is there such a buffer? For failing before the launch.
  Status checkOutput(const std::string &text) const;

private:
  struct Held {
    size_t argument;
    int64_t offset; // in the argument's bytes
    const ptx::Buffer *buffer;
    const PtxType *type;
    std::vector<int64_t> shape;
  };
  struct Argument {
    std::string text;
    std::vector<std::byte> bytes;
    bool tensorMap = false;
  };
  struct Output;

  Result<uint64_t> addPointer(const std::string &text, int64_t offset);
  Result<const ptx::Buffer *> hold(const std::string &name, std::string_view data, int64_t bytes,
                                   const PtxType *type, std::vector<int64_t> shape, int64_t offset);
  Result<Output> parseOutput(const std::string &text) const;

  ptx::Machine &machine;
  std::vector<Argument> arguments;
  std::vector<Held> buffers;
};

} // namespace heddle::tool
