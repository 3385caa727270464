// Runs a tile.program's abstract kernels tile by tile in double, before any layout exists: the
// cheapest test of a form. A tile is an array of doubles, a kernel a loop over its grid.
//
// It is strict where a real device is not: what valid(..) leaves unspecified is NaN, grid points
// must not write the same element or read each other's, every access is checked against its view.
#pragma once

#include "ir/tile/TileDialect.h"
#include "runtime/Result.h"
#include "runtime/Tensor.h"

#include <map>
#include <string>

namespace heddle::compiler {

/// What a program is run on. Extents are taken from the tensors' shapes; `scalars` gives parameters
/// (by default, their default) and extents that no tensor has.
struct TileBindings {
  std::map<std::string, TensorView> tensors; ///< inputs and results, by name
  std::map<std::string, double> scalars;
};

/// In which order the grid points of a launch run. No result depends on it.
enum class GridOrder { Launch, Backward, Shuffled };

/// Runs all kernels in order and fills the result tensors.
/// InvalidArgument: a tensor is missing, or its rank, dtype or extents contradict the program.
/// CheckFailed: the program reads or writes outside a view, or breaks the rule of grid points.
/// Unsupported: a concrete kernel, or an arith or math op without a meaning.
Status walkProgram(tile::ProgramOp program, const TileBindings &bindings,
                   GridOrder order = GridOrder::Launch);

} // namespace heddle::compiler
