// The text of `--arg-tensormap` as a tensor map of the PTX machine.
#pragma once

#include "runtime/devices/ptx/Memory.h"
#include "runtime/devices/ptx/TensorMap.h"
#include "tools/heddle/PtxArguments.h"

namespace heddle::tool {

/// `fields`: "dims=64x128,strides=128,box=64x64,swizzle=128,elementstrides=1x1,fill=zero|nan".
/// Dimension 0 is the contiguous one; strides are bytes of dimensions 1 and up. Left out: dims from
/// the array's shape (last one first), strides packed, box = dims, no swizzle, element strides 1,
/// fill zero.
Result<ptx::TensorMapImage> parseTensorMap(const std::string &fields, const PtxType &type,
                                           const std::vector<int64_t> &shape,
                                           const ptx::Buffer &buffer);

} // namespace heddle::tool
