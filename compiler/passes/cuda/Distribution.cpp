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

bool sameDistribution(const Layout &a, const Layout &b) {
  return layout::coalesceModes(a) == layout::coalesceModes(b);
}

Layout elementwise(llvm::ArrayRef<int64_t> shape, int64_t threads) {
  int64_t rows = 1, columns = shape.empty() ? 1 : shape.back();
  for (size_t dim = 0; dim + 1 < shape.size(); ++dim)
    rows *= shape[dim];
  int64_t along = threads;
  while (columns % along != 0)
    along /= 2;
  std::vector<Leaf> parts[2] = {{{along, rows}, {threads / along, 0}},
                                {{columns / along, along * rows}, {rows, 1}}};
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
