// A view of somebody's tensor: what kernels are launched with and the interpreter reads.
#pragma once

#include "runtime/DType.h"

#include <array>
#include <cstdint>

namespace heddle {

inline constexpr int kMaxRank = 8;

/// Non-owning strided view. Strides are in elements.
struct TensorView {
  void *data = nullptr;
  DType dtype = DType::F32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape = {};
  std::array<int64_t, kMaxRank> strides = {};

  int64_t elements() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d)
      n *= shape[d];
    return n;
  }
};

} // namespace heddle
