// Layouts of mma.sync against the formulas of the PTX manual, over all threads and values; rows in
// shared memory free of bank conflicts for head sizes of every kind.
#include "compiler/machine/Atoms.h"
#include "compiler/passes/cuda/Distribution.h"
#include "tests/support/Test.h"

#include <set>

using namespace heddle;
using namespace heddle::compiler;

TEST_CASE("fragments of m16n8k16 are those of the PTX manual") {
  for (const MmaAtom &atom : warpAtoms()) {
    const layout::Layout a = *layout::parseLayout(atom.a), b = *layout::parseLayout(atom.b),
                         c = *layout::parseLayout(atom.c);
    REQUIRE((layout::isBijective(a) && layout::isBijective(b) && layout::isBijective(c)));
    for (int64_t t = 0; t < 32; ++t) {
      const int64_t group = t / 4, quad = t % 4;
      for (int64_t i = 0; i < 8; ++i)
        CHECK(a(t + 32 * i) == group + 8 * (i / 2 % 2) + 16 * (2 * quad + i % 2 + 8 * (i / 4)));
      for (int64_t i = 0; i < 4; ++i) {
        CHECK(b(t + 32 * i) == group + 8 * (2 * quad + i % 2 + 8 * (i / 2)));
        CHECK(c(t + 32 * i) == group + 8 * (i / 2) + 16 * (2 * quad + i % 2));
      }
    }
  }
}

TEST_CASE("tiles repeat the atom, rows shared out over warps") {
  const MmaAtom &atom = warpAtoms()[0];
  for (int64_t rows : {64, 128})
    for (int64_t columns : {8, 72, 96})
      for (int64_t warps : {1, 2, 4}) {
        const layout::Layout tile = tiledLayout(atom.c, 16, 8, rows, columns, warps);
        REQUIRE(layout::isBijective(tile));
        const int64_t threads = 32 * warps, blocks = rows / warps / 16;
        for (int64_t t = 0; t < threads; ++t)
          for (int64_t v = 0; v < tile.size() / threads; ++v) {
            const int64_t c = v % 2, half = v / 2 % 2, n = v / 4 % (columns / 8),
                          m = v / 4 / (columns / 8);
            const int64_t row = t / 32 * 16 * blocks + m * 16 + half * 8 + t % 32 / 4;
            const int64_t column = 8 * n + 2 * (t % 4) + c;
            REQUIRE(tile(t + threads * v) == row + rows * column);
          }
      }
}

TEST_CASE("what a product leaves in registers is operand a of the next") {
  const MmaAtom &atom = warpAtoms()[0];
  for (int64_t columns : {16, 48, 128})
    CHECK(cuda::sameDistribution(tiledLayout(atom.a, 16, 16, 64, columns, 4),
                                 tiledLayout(atom.c, 16, 8, 64, columns, 4)));
}

TEST_CASE("eight rows of a chunk lie in different banks") {
  for (int64_t columns : {16, 32, 64, 72, 80, 96, 112, 128, 192, 256, 576}) {
    const layout::SwizzledLayout rows = cuda::sharedLayout({64, columns}, 2);
    for (int64_t row = 0; row < 64; row += 8)
      for (int64_t chunk = 0; chunk < columns / 8; ++chunk) {
        std::set<int64_t> banks;
        for (int64_t r = row; r < row + 8; ++r)
          banks.insert(rows.at(layout::IntTuple{r, chunk * 8}).value() * 2 % 128 / 16);
        INFO("columns " << columns << ", row " << row << ", chunk " << chunk);
        REQUIRE(banks.size() == 8);
      }
  }
}
