// Fuzzes the readers of what lies on disk: tensors (.npy, .safetensors), requests, signatures and
// artifacts. The first byte chooses the reader. Any bytes are read or refused with a reason; what
// is accepted is written back the same.
// Build with `cmake --preset fuzz && ninja -C build-fuzz reader_fuzz`, run with
// `build-fuzz/bin/reader_fuzz -max_total_time=600 CORPUS`.
#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Signature.h"
#include "tools/heddle/TensorFile.h"

#include <cstdlib>
#include <string_view>

using namespace heddle;

namespace {

template <typename T> void mustExplain(const Result<T> &result) {
  if (!result.ok() && result.error().message.empty())
    std::abort(); // refused without a reason
}

void readBack(const Result<tool::HostTensor> &tensor) {
  mustExplain(tensor);
  if (!tensor.ok())
    return;
  double sum = 0; // touches every element that the file promised
  for (int64_t i = 0; i < tensor->elements(); ++i)
    sum += loadElement(tensor->dtype(), tensor->data(), i);
  if (sum != sum && std::getenv("HEDDLE_FUZZ_SUMS")) // keeps the loop
    std::abort();
}

template <typename T> void roundTrip(std::string_view bytes) {
  Result<T> value = T::parse(bytes);
  mustExplain(value);
  if (value.ok() && value->serialize() != bytes)
    std::abort(); // accepted what it would not have written
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  const std::string_view bytes(reinterpret_cast<const char *>(data + 1), size - 1);
  switch (data[0] % 5) {
  case 0:
    readBack(tool::parseNpy(bytes));
    break;
  case 1:
    readBack(tool::parseSafetensors(bytes, ""));
    break;
  case 2:
    roundTrip<Request>(bytes);
    break;
  case 3:
    roundTrip<Signature>(bytes);
    break;
  case 4:
    mustExplain(Artifact::parse(bytes));
    break;
  }
  return 0;
}
