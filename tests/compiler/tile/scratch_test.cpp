// How tiles lie in scratch: every element has a place of its own inside the bytes, and rows that
// are walked in pieces spread over the sets of a first-level cache.
#include "ir/tile/TileLayouts.h"
#include "tests/support/Test.h"

#include <set>

using namespace heddle;
using namespace heddle::tile;

namespace {

struct Types {
  Types() { context.loadDialect<TileDialect>(); }
  mlir::MLIRContext context;

  TileType lanes(int64_t rows, int64_t columns, int64_t dim) {
    mlir::Type f32 = mlir::Float32Type::get(&context);
    return TileType::get({rows, columns}, f32)
        .withPlace(LanesAttr::get(&context, dim, 16), Space::Local);
  }
};

} // namespace

TEST_CASE("elements of a tile in scratch do not overlap") {
  Types types;
  for (int64_t dim : {0, 1})
    for (auto [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {5, 17}, {64, 64}, {20, 128}}) {
      INFO(rows << " x " << columns << ", lanes along " << dim);
      ScratchShape shape = scratchShapeOf(types.lanes(rows, columns, dim));
      CHECK(shape.strides[dim] == 1);
      std::set<int64_t> places;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          places.insert(r * shape.strides[0] + c * shape.strides[1]);
      CHECK(places.size() == static_cast<size_t>(rows * columns));
      CHECK((*places.rbegin() + 1) * 4 <= shape.bytes);
    }
}

TEST_CASE("columns of a tile in scratch fall into many sets of the cache") {
  constexpr int64_t kSets = 64;
  Types types;
  for (int64_t columns : {64, 128, 256}) {
    ScratchShape shape = scratchShapeOf(types.lanes(128, columns, 1));
    std::set<int64_t> sets;
    for (int64_t row = 0; row < 128; ++row)
      sets.insert(row * shape.strides[0] * 4 / 64 % kSets);
    INFO(columns << " columns");
    CHECK(sets.size() == kSets);
  }
  // A panel of four vectors that is walked whole stays without gaps.
  CHECK(scratchShapeOf(types.lanes(64, 32, 0)).strides[1] == 64);
}
