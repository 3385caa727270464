// Value ops on tiles, each against a small case worked by hand or the definition in another order.
#include "compiler/TileValues.h"
#include "tests/support/Test.h"

#include <cmath>
#include <functional>

using namespace heddle::compiler;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

HostTile counted(Extents extents) {
  HostTile tile = {extents, {}};
  for (int64_t n = 0; n < elementCount(extents); ++n)
    tile.elements.push_back(static_cast<double>(n));
  return tile;
}

} // namespace

TEST_CASE("offsets follow row-major order of the extents", "[tile]") {
  REQUIRE(rowMajorStrides({2, 3, 4}) == Extents{12, 4, 1});
  REQUIRE(offsetsOf({2, 3}, {10, 1}) == std::vector<int64_t>{0, 1, 2, 10, 11, 12});
  REQUIRE(offsetsOf({}, {}) == std::vector<int64_t>{0});
  REQUIRE(stridesAlong({4, 5}, {2, 0}, 3) == Extents{1, 0, 5});
}

TEST_CASE("multiply sums over what the result lacks", "[tile]") {
  // c[i, j] = 100 + sum over d of a[i, d] * b[d, j]; dims i = 0, j = 1, d = 2.
  HostTile a = counted({2, 3}), b = counted({3, 2}), c = {{2, 2}, {100, 100, 100, 100}};
  HostTile result = multiply(a, {0, 2}, b, {2, 1}, c, {2, 2, 3});
  REQUIRE(result.elements == std::vector<double>{110, 113, 128, 140});
  // A result of rank 0 that contracts both dimensions.
  HostTile dot = multiply(a, {0, 1}, a, {0, 1}, {{}, {0}}, {2, 3});
  REQUIRE(dot.elements == std::vector<double>{55});
}

TEST_CASE("reduce and scan run along one dimension", "[tile]") {
  HostTile tile = {{2, 3}, {1, 5, 2, 7, 3, 4}};
  auto sum = [](double a, double b) { return a + b; };
  auto largest = [](double a, double b) { return std::max(a, b); };
  REQUIRE(reduce(tile, 1, {{2}, {10, 20}}, sum).elements == std::vector<double>{18, 34});
  REQUIRE(reduce(tile, 0, {{3}, {0, 0, 3}}, largest).elements == std::vector<double>{7, 5, 4});
  REQUIRE(scan(tile, 1, false, false, 0, sum).elements == std::vector<double>{1, 6, 8, 7, 10, 14});
  REQUIRE(scan(tile, 1, true, false, 0, sum).elements == std::vector<double>{0, 1, 6, 0, 7, 10});
  REQUIRE(scan(tile, 1, false, true, 0, sum).elements == std::vector<double>{8, 7, 2, 14, 7, 4});
  REQUIRE(scan(tile, 1, true, true, -kInf, largest).elements ==
          std::vector<double>{5, 2, -kInf, 4, 4, -kInf});
  REQUIRE(scan(tile, 0, false, false, 0, sum).elements == std::vector<double>{1, 5, 2, 8, 8, 6});
}

TEST_CASE("solveUnitLower inverts a unit lower matrix and ignores the rest", "[tile]") {
  int64_t n = 5, columns = 3;
  HostTile lower = counted({n, n}), x = counted({n, columns}), rhs = x;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < columns; ++c) {
      double sum = x.elements[i * columns + c];
      for (int64_t j = 0; j < i; ++j)
        sum += lower.elements[i * n + j] * x.elements[j * columns + c];
      rhs.elements[i * columns + c] = sum;
    }
  REQUIRE(solveUnitLower(lower, rhs).elements == x.elements);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j)
      lower.elements[i * n + j] = kUnspecifiedReal;
  REQUIRE(solveUnitLower(lower, rhs).elements == x.elements);
}

TEST_CASE("topk prefers scores, then small ids, and skips what is no candidate", "[tile]") {
  HostTile bestScore = {{1, 3}, {4, 2, -kInf}}, bestId = {{1, 3}, {9, 5, -1}};
  HostTile score = {{1, 5}, {2, -kInf, 4, kInf, 8}}, id = {{5}, {1, 2, 3, 7, -1}};
  mergeTopk(score, id, bestScore, bestId);
  REQUIRE(bestScore.elements == std::vector<double>{4, 4, kInf}); // in the order they came
  REQUIRE(bestId.elements == std::vector<double>{9, 3, 7});

  // Merging halves gives the list of the whole; free places stay (-inf, -1).
  HostTile free = {{2, 2}, {-kInf, -kInf, -kInf, -kInf}}, none = {{2, 2}, {-1, -1, -1, -1}};
  mergeTopk({{2, 1}, {3, -kInf}}, {{2, 1}, {6, 4}}, free, none);
  REQUIRE(free.elements == std::vector<double>{3, -kInf, -kInf, -kInf});
  REQUIRE(none.elements == std::vector<double>{6, -1, -1, -1});
}

TEST_CASE("sortIds puts free places last", "[tile]") {
  REQUIRE(sortIds({{2, 3}, {5, -1, 2, -1, -1, 0}}).elements ==
          std::vector<double>{2, 5, -1, 0, -1, -1});
}

TEST_CASE("slice and reshape rename elements", "[tile]") {
  HostTile tile = counted({3, 4});
  REQUIRE(slice(tile, {1, 2}, {2, 2}).elements == std::vector<double>{6, 7, 10, 11});
  REQUIRE(reshape(tile, {}, {2, 6}).elements == tile.elements);
  HostTile turned = reshape(tile, {1, 0}, {2, 2, 3});
  REQUIRE(turned.extents == Extents{2, 2, 3});
  REQUIRE(turned.elements == std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  // Dimension n of the result is dimension permute[n] of the source.
  HostTile cube = counted({2, 3, 4});
  HostTile cycled = reshape(cube, {2, 0, 1}, {4, 2, 3});
  for (int64_t x = 0; x < 2; ++x)
    for (int64_t y = 0; y < 3; ++y)
      for (int64_t z = 0; z < 4; ++z)
        REQUIRE(cycled.elements[(z * 2 + x) * 3 + y] == cube.elements[(x * 3 + y) * 4 + z]);
}

TEST_CASE("decode unpacks low bits first and applies groups", "[tile]") {
  HostTile bytes = {{1, 2}, {0x21, static_cast<double>(static_cast<int8_t>(0xf4))}};
  REQUIRE(decode(bytes, 4, false, nullptr, nullptr, nullptr).elements ==
          std::vector<double>{1, 2, 4, 15});
  REQUIRE(decode(bytes, 2, false, nullptr, nullptr, nullptr).elements ==
          std::vector<double>{1, 0, 2, 0, 0, 1, 3, 3});
  REQUIRE(decode({{1, 1}, {0xb1}}, 1, false, nullptr, nullptr, nullptr).elements ==
          std::vector<double>{1, 0, 0, 0, 1, 1, 0, 1});
  REQUIRE(decode(bytes, 8, true, nullptr, nullptr, nullptr).elements ==
          std::vector<double>{33, -12});
  REQUIRE(decode(bytes, 8, false, nullptr, nullptr, nullptr).elements ==
          std::vector<double>{33, 244});
  HostTile scale = {{1, 2}, {10, 100}}, zero = {{1, 1}, {1}};
  REQUIRE(decode(bytes, 4, false, &scale, &zero, nullptr).elements ==
          std::vector<double>{0, 10, 300, 1400});
  HostTile table = {{4}, {-3, -1, 1, 3}};
  REQUIRE(decode(bytes, 2, false, nullptr, nullptr, &table).elements ==
          std::vector<double>{-1, -3, 1, -3, -3, -1, 3, 3});
}
