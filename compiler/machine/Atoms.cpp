// The table of atoms, and an atom's layout repeated over a tile: each leaf's stride is split into
// steps of rows and columns, which mean the same in the larger tile.
#include "compiler/machine/Atoms.h"

#include <cassert>

namespace heddle::compiler {

using layout::IntTuple;
using layout::Layout;

namespace {

constexpr std::string_view kA = "((4,8),(2,2,2)):((32,1),(16,8,128))";
constexpr std::string_view kB = "((4,8),(2,2)):((16,1),(8,64))";
constexpr std::string_view kC = "((4,8),(2,2)):((32,1),(16,8))";

constexpr MmaAtom kWarpAtoms[] = {
    {"m16n8k16", DType::BF16, 16, 8, 16, kA, kB, kC},
    {"m16n8k16", DType::F16, 16, 8, 16, kA, kB, kC},
};

} // namespace

std::span<const MmaAtom> warpAtoms() { return kWarpAtoms; }

const MmaAtom *warpAtomFor(DType operand) {
  for (const MmaAtom &atom : kWarpAtoms)
    if (atom.operand == operand)
      return &atom;
  return nullptr;
}

Layout tiledLayout(std::string_view text, int64_t atomRows, int64_t atomColumns, int64_t rows,
                   int64_t columns, int64_t warps) {
  assert(rows % (atomRows * warps) == 0 && columns % atomColumns == 0 &&
         "a tile is whole atoms for each warp");
  const Layout atom = *layout::parseLayout(text);
  std::vector<IntTuple> shapes[2], strides[2]; // of threads, of values
  for (int part = 0; part < 2; ++part) {
    const Layout mode = atom.mode(part);
    for (const layout::Leaf &leaf : mode.leaves()) {
      shapes[part].push_back(leaf.extent);
      strides[part].push_back(leaf.stride % atomRows + leaf.stride / atomRows * rows);
    }
  }
  const auto repeat = [&](int part, int64_t extent, int64_t stride) {
    if (extent == 1)
      return;
    shapes[part].push_back(extent);
    strides[part].push_back(stride);
  };
  repeat(0, warps, rows / warps);
  repeat(1, columns / atomColumns, atomColumns * rows);
  repeat(1, rows / warps / atomRows, atomRows);
  return *Layout::make(IntTuple::tuple({IntTuple::tuple(shapes[0]), IntTuple::tuple(shapes[1])}),
                       IntTuple::tuple({IntTuple::tuple(strides[0]), IntTuple::tuple(strides[1])}));
}

} // namespace heddle::compiler
