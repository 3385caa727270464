// Layouts leaf by leaf: each leaf of a (thread, value) layout moves along one dimension of the
// tile, by stride / (product of the extents before it).
#include "compiler/passes/cuda/Distribution.h"

namespace heddle::compiler::cuda {

using layout::IntTuple;
using layout::Layout;
using layout::Leaf;

namespace {

/// A leaf as a step along one dimension; dim -1: copies.
struct Step {
  int64_t extent, dim, step;
};

Step stepOf(const Leaf &leaf, llvm::ArrayRef<int64_t> shape) {
  if (leaf.stride == 0)
    return {leaf.extent, -1, 0};
  int64_t stride = leaf.stride;
  for (int64_t dim = 0; dim + 1 < int64_t(shape.size()); ++dim) {
    if (stride < shape[dim])
      return {leaf.extent, dim, stride};
    stride /= shape[dim];
  }
  return {leaf.extent, int64_t(shape.size()) - 1, stride};
}

/// Threads and values made of leaves; an empty list is one leaf of extent 1.
Layout join(std::vector<Leaf> parts[2]) {
  std::vector<IntTuple> shapes, strides;
  for (int part = 0; part < 2; ++part) {
    std::vector<IntTuple> shape, stride;
    for (const Leaf &leaf : parts[part]) {
      shape.push_back(leaf.extent);
      stride.push_back(leaf.stride);
    }
    if (shape.empty()) {
      shape.push_back(1);
      stride.push_back(0);
    }
    shapes.push_back(IntTuple::tuple(shape));
    strides.push_back(IntTuple::tuple(stride));
  }
  return *Layout::make(IntTuple::tuple(shapes), IntTuple::tuple(strides));
}

} // namespace

Layout project(const Layout &from, llvm::ArrayRef<int64_t> shape,
               llvm::ArrayRef<int64_t> positions) {
  std::vector<Leaf> parts[2];
  for (int part = 0; part < 2; ++part) {
    const Layout mode = from.mode(part);
    for (const Leaf &leaf : mode.leaves()) {
      Step step = stepOf(leaf, shape);
      int64_t stride = 0, before = 1;
      for (int64_t position : positions) {
        if (position == step.dim)
          stride = step.step * before;
        before *= shape[position];
      }
      if (part == 0 || stride != 0)
        parts[part].push_back({leaf.extent, stride});
    }
  }
  return join(parts);
}

Layout sharesOf(const Layout &from, llvm::ArrayRef<int64_t> shape, int64_t dim) {
  int64_t before = 1;
  for (int64_t d = 0; d < dim; ++d)
    before *= shape[d];
  std::vector<Leaf> parts[2];
  int64_t shares = 1;
  for (int part = 0; part < 2; ++part) {
    const Layout mode = from.mode(part);
    for (const Leaf &leaf : mode.leaves()) {
      Step step = stepOf(leaf, shape);
      if (step.dim != dim) {
        parts[part].push_back(leaf);
      } else if (part == 0) {
        parts[part].push_back({leaf.extent, shares * before});
        shares *= leaf.extent;
      }
    }
  }
  return join(parts);
}

// ---- tiles of kernels that carry a state ----

/// Warps along the rows: as many as have 16 each.
static int64_t warpsAlongRows(int64_t rows, int64_t warps) {
  while (rows % (16 * warps) != 0)
    warps /= 2;
  return warps;
}

/// `layout` of rows x columns, held by more warps: each of them steps by `stride`.
static Layout withWarps(const Layout &layout, int64_t warps, int64_t stride) {
  std::vector<Leaf> parts[2];
  for (int part = 0; part < 2; ++part) {
    const Layout mode = layout.mode(part);
    for (const Leaf &leaf : mode.leaves())
      parts[part].push_back(leaf);
  }
  if (warps > 1)
    parts[0].push_back({warps, stride});
  return join(parts);
}

static Layout turned(const Layout &layout, int64_t rows, int64_t columns, int64_t rowsDim) {
  const int64_t shape[] = {rows, columns}, positions[] = {1, 0};
  return rowsDim == 0 ? layout : project(layout, shape, positions);
}

Layout accumulators(const MmaAtom &atom, int64_t rows, int64_t columns, int64_t warps,
                    int64_t rowsDim) {
  const int64_t along = warpsAlongRows(rows, warps), across = warps / along;
  const bool split = columns % (8 * across) == 0;
  const int64_t mine = split ? columns / across : columns;
  Layout layout = tiledLayout(atom.c, atom.rows, atom.columns, rows, mine, along);
  return turned(withWarps(layout, across, split ? rows * mine : 0), rows, columns, rowsDim);
}

Layout operandA(const MmaAtom &atom, int64_t rows, int64_t sum, int64_t warps, int64_t rowsDim) {
  const int64_t along = warpsAlongRows(rows, warps);
  // The order of sums where it is the same: what a product made needs no renaming.
  Layout own = tiledLayout(atom.a, atom.rows, atom.sum, rows, sum, along);
  Layout sums = tiledLayout(atom.c, atom.rows, atom.columns, rows, sum, along);
  Layout layout = sameDistribution(own, sums) ? sums : own;
  return turned(withWarps(layout, warps / along, 0), rows, sum, rowsDim);
}

/// The largest power of two that divides n and is at most `most`.
static int64_t powerIn(int64_t n, int64_t most) {
  int64_t power = 1;
  while (2 * power <= most && n % (2 * power) == 0)
    power *= 2;
  return power;
}

Layout alongLanes(int64_t extent, int64_t warps) {
  const int64_t lanes = powerIn(extent, 32), each = extent / lanes;
  std::vector<Leaf> parts[2] = {{{lanes, each}, {32 * warps / lanes, 0}}, {{each, 1}}};
  return join(parts);
}

Layout spread(llvm::ArrayRef<int64_t> shape, int64_t threads, int64_t whole) {
  std::vector<Leaf> parts[2];
  int64_t stride = 1, used = 1;
  for (int64_t extent : shape)
    stride *= extent;
  for (int64_t dim = int64_t(shape.size()) - 1; dim >= 0; --dim) {
    stride /= shape[dim];
    const int64_t along = dim == whole ? 1 : powerIn(shape[dim], threads);
    threads /= along;
    // Lanes of a warp and warps apart, since they exchange in different ways.
    const int64_t lanes = used < 32 ? std::min(along, 32 / used) : 1;
    if (lanes > 1)
      parts[0].push_back({lanes, stride});
    if (along > lanes)
      parts[0].push_back({along / lanes, stride * lanes});
    used *= along;
    if (shape[dim] > along)
      parts[1].push_back({shape[dim] / along, stride * along});
  }
  if (threads > 1)
    parts[0].push_back({threads, 0});
  return join(parts);
}

Layout inChunks(llvm::ArrayRef<int64_t> shape, int64_t threads) {
  const int64_t rows = shape[0], chunks = shape[1] / 8;
  const int64_t lanes = powerIn(chunks, 8), along = powerIn(rows, threads / lanes);
  const int64_t near = std::min(along, 32 / lanes); // rows of a warp
  std::vector<Leaf> parts[2] = {{{lanes, 8 * rows}, {near, 1}}, {{2, rows}, {4, 2 * rows}}};
  if (along > near)
    parts[0].push_back({along / near, near});
  if (threads > lanes * along)
    parts[0].push_back({threads / lanes / along, 0});
  if (chunks > lanes)
    parts[1].push_back({chunks / lanes, 8 * lanes * rows});
  if (rows > along)
    parts[1].push_back({rows / along, along});
  return join(parts);
}

bool sameDistribution(const Layout &a, const Layout &b) {
  return layout::coalesceModes(a) == layout::coalesceModes(b);
}

Layout elementwise(llvm::ArrayRef<int64_t> shape, int64_t threads) {
  std::vector<Leaf> parts[2];
  int64_t before = 1, left = threads;
  for (int64_t extent : shape)
    before *= extent;
  for (size_t dim = shape.size(); dim-- > 0;) {
    before /= shape[dim];
    bool last = dim + 1 == shape.size(); // a warp at most, so that sums stay within it
    int64_t taken = powerIn(shape[dim], last ? std::min<int64_t>(left, 32) : left);
    if (taken > 1)
      parts[0].push_back({taken, before});
    if (shape[dim] > taken)
      parts[1].push_back({shape[dim] / taken, before * taken});
    left /= taken;
  }
  if (left > 1)
    parts[0].push_back({left, 0});
  return join(parts);
}

layout::SwizzledLayout sharedLayout(llvm::ArrayRef<int64_t> shape, int64_t elementBytes) {
  int64_t rows = shape[0], columns = shape[1], rowBytes = columns * elementBytes;
  if (layout::Expected<layout::Swizzle> bytes = layout::swizzleForRows(rowBytes)) {
    int64_t log = elementBytes == 1 ? 0 : elementBytes == 2 ? 1 : 2;
    return {*layout::Swizzle::make(bytes->bits(), bytes->base() - log, bytes->shift()),
            *layout::rowMajor(IntTuple{rows, columns})};
  }
  return {layout::Swizzle(), *layout::paddedRows(rows, columns, elementBytes)};
}

} // namespace heddle::compiler::cuda
