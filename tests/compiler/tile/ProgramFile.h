// Tile programs of tests/ir/tile, and tensors of double to run them on.
#pragma once

#include "compiler/TileWalker.h"
#include "tests/support/Paths.h"
#include "tests/support/Test.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <random>

namespace heddle::test {

/// A parsed module with its context.
struct ParsedProgram {
  /// A file of tests/ir/tile, or program text if `name` has more than one line.
  explicit ParsedProgram(const std::string &name) {
    context.disableMultithreading();
    context.loadDialect<tile::TileDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                        mlir::scf::SCFDialect>();
    if (name.find('\n') != std::string::npos)
      module = mlir::parseSourceString<mlir::ModuleOp>(name, &context);
    else
      module = mlir::parseSourceFile<mlir::ModuleOp>(
          std::string(kSourceDir) + "/tests/ir/tile/" + name, &context);
    REQUIRE(module);
  }
  tile::ProgramOp program() { return *module->getOps<tile::ProgramOp>().begin(); }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

/// A dense row-major tensor that owns its elements. T is double, int32_t or uint8_t.
template <typename T> struct Dense {
  explicit Dense(std::vector<int64_t> extents, T fill = {}) : extents(std::move(extents)) {
    int64_t count = 1;
    for (int64_t extent : this->extents)
      count *= extent;
    // One element more, so that an empty tensor has an address as well.
    elements.assign(count + 1, fill);
  }
  template <typename... Index> T &operator()(Index... index) {
    int64_t place = 0, dim = 0;
    ((place = place * extents[dim++] + index), ...);
    return elements[place];
  }
  TensorView view() {
    TensorView view;
    view.data = elements.data();
    view.dtype = std::is_same_v<T, double>    ? DType::F64
                 : std::is_same_v<T, int32_t> ? DType::I32
                                              : DType::U8;
    view.rank = static_cast<int>(extents.size());
    int64_t stride = 1;
    for (int d = view.rank - 1; d >= 0; --d) {
      view.shape[d] = extents[d];
      view.strides[d] = stride;
      stride *= extents[d];
    }
    return view;
  }
  std::vector<int64_t> extents;
  std::vector<T> elements;
};

/// Uniform in [low, high), the same numbers each run.
inline Dense<double> randomTensor(std::vector<int64_t> extents, uint64_t seed, double low = -1,
                                  double high = 1) {
  Dense<double> tensor(std::move(extents));
  std::mt19937_64 random(seed);
  for (double &element : tensor.elements)
    element = low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53;
  return tensor;
}

} // namespace heddle::test
