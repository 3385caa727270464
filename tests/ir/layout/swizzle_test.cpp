// Swizzles and padded rows: permutations of offsets, and columns without bank conflicts.
#include "ir/layout/Swizzle.h"
#include "tests/ir/layout/Layouts.h"

using namespace heddle::test;

namespace {

constexpr int64_t kChunk = 16;
constexpr int64_t kRowsAtOnce = 8; // 8 chunks of 16 bytes fill the 128 bytes of all banks

/// Bank groups met by 8 neighbouring rows' chunks of one column.
template <typename Offset> std::set<int64_t> groups(int64_t row, int64_t chunk, Offset offset) {
  std::set<int64_t> met;
  for (int64_t r = row; r < row + kRowsAtOnce; ++r)
    met.insert(offset(r, chunk * kChunk) / kChunk % kRowsAtOnce);
  return met;
}

} // namespace

TEST_CASE("a swizzle permutes each period and is its own inverse") {
  for (int64_t bits = 0; bits <= 3; ++bits)
    for (int64_t base = 0; base <= 3; ++base)
      for (int64_t shift = bits; shift <= 4; ++shift) {
        Swizzle swizzle = take(Swizzle::make(bits, base, shift));
        std::set<int64_t> met;
        int64_t period = swizzle.period();
        int64_t last = std::max<int64_t>(4 * period, 64);
        for (int64_t x = 0; x < last; ++x) {
          REQUIRE(swizzle(swizzle(x)) == x);
          REQUIRE(swizzle(x) / period == x / period);
          REQUIRE(swizzle(x) % (int64_t{1} << base) == x % (int64_t{1} << base));
          met.insert(swizzle(x));
        }
        REQUIRE(static_cast<int64_t>(met.size()) == last);
        if (bits == 0)
          REQUIRE(swizzle(41) == 41);
      }
}

TEST_CASE("S<3,4,3> exchanges chunks by the row modulo 8") {
  Swizzle swizzle = take(Swizzle::make(3, 4, 3));
  for (int64_t row = 0; row < 32; ++row)
    for (int64_t chunk = 0; chunk < 8; ++chunk)
      for (int64_t byte = 0; byte < 16; ++byte)
        REQUIRE(swizzle(row * 128 + chunk * 16 + byte) ==
                row * 128 + (chunk ^ (row % 8)) * 16 + byte);
}

TEST_CASE("swizzled rows of a power of two of chunks have no conflicts") {
  for (int64_t rowBytes : {16, 32, 64, 128, 256, 512, 1024}) {
    Swizzle swizzle = take(swizzleForRows(rowBytes));
    auto offset = [&](int64_t row, int64_t byte) { return swizzle(row * rowBytes + byte); };
    for (int64_t row = 0; row < 64; row += kRowsAtOnce)
      for (int64_t chunk = 0; chunk < rowBytes / kChunk; ++chunk)
        REQUIRE(groups(row, chunk, offset).size() == kRowsAtOnce);
  }
  CHECK(take(swizzleForRows(128)) == take(Swizzle::make(3, 4, 3)));
  CHECK(take(swizzleForRows(64)) == take(Swizzle::make(2, 4, 3)));
  CHECK(take(swizzleForRows(32)) == take(Swizzle::make(1, 4, 3)));
  CHECK(take(swizzleForRows(256)) == take(Swizzle::make(3, 4, 4)));
}

TEST_CASE("rows of other lengths cannot be swizzled but padded") {
  for (int64_t columns : {72, 80, 96, 112, 176, 192}) {
    Expected<Swizzle> swizzle = swizzleForRows(columns * 2);
    REQUIRE_FALSE(swizzle.ok());
    CHECK(swizzle.text().find("pad the rows") != std::string::npos);
  }
  CHECK_FALSE(swizzleForRows(0).ok());
  CHECK_FALSE(swizzleForRows(-128).ok());
  CHECK_FALSE(swizzleForRows(8).ok());
}

TEST_CASE("padded rows have no conflicts and lose less than two chunks") {
  for (int64_t elementBytes : {1, 2, 4, 8})
    for (int64_t columns : {1, 8, 40, 64, 72, 80, 96, 112, 128, 576}) {
      Layout rows = take(paddedRows(16, columns, elementBytes));
      int64_t pitch = rows.leaves()[0].stride * elementBytes;
      REQUIRE(isInjective(rows));
      REQUIRE(pitch % (2 * kChunk) == kChunk);
      REQUIRE(pitch >= columns * elementBytes);
      REQUIRE(pitch < columns * elementBytes + 2 * kChunk);
      auto offset = [&](int64_t row, int64_t byte) { return row * pitch + byte; };
      for (int64_t row = 0; row <= 8; ++row)
        for (int64_t chunk = 0; chunk < pitch / kChunk; ++chunk)
          REQUIRE(groups(row, chunk, offset).size() == kRowsAtOnce);
    }
  CHECK(print(take(paddedRows(64, 72, 2))) == "(64,72):(72,1)");
  CHECK(print(take(paddedRows(64, 80, 2))) == "(64,80):(88,1)");
  CHECK(print(take(paddedRows(64, 96, 2))) == "(64,96):(104,1)");
  CHECK_FALSE(paddedRows(64, 72, 3).ok());
  CHECK_FALSE(paddedRows(0, 72, 2).ok());
  CHECK_FALSE(paddedRows(8, -72, 2).ok());
  CHECK_FALSE(paddedRows(8, INT64_MAX / 2, 4).ok());
  CHECK_FALSE(paddedPitch(INT64_MAX).ok());
}

TEST_CASE("composing a swizzled layout swizzles the composition") {
  SwizzledLayout a{take(Swizzle::make(3, 3, 3)), L("(8,64):(64,1)")};
  RandomLayouts random(12);
  int answered = 0;
  for (int round = 0; round < 500; ++round) {
    Layout b = random.next(128);
    Expected<SwizzledLayout> r = compose(a, b);
    REQUIRE(r.ok() == compose(a.layout, b).ok());
    if (!r.ok())
      continue;
    ++answered;
    for (int64_t i = 0; i < b.size(); ++i)
      REQUIRE((*r)(i) == a(b(i)));
  }
  CHECK(answered > 50);
}

TEST_CASE("the span of a swizzled layout holds all values") {
  RandomLayouts random(13);
  Swizzle swizzle = take(Swizzle::make(2, 1, 2));
  for (int round = 0; round < 300; ++round) {
    SwizzledLayout layout{swizzle, random.next()};
    int64_t span = take(layout.span());
    REQUIRE(span % swizzle.period() == 0);
    REQUIRE(span < layout.layout.cosize() + swizzle.period());
    for (int64_t i = 0; i < layout.layout.size(); ++i)
      REQUIRE(layout(i) < span);
  }
  CHECK_FALSE((SwizzledLayout{swizzle, L("2:9223372036854775806")}).span().ok());
}

TEST_CASE("swizzle text and its limits") {
  for (const char *text : {"S<3,4,3> o (8,128):(128,1)", "(4,8):(8,1)", "S<1,0,1> o 4:1"})
    CHECK(print(take(parseSwizzledLayout(text))) == text);
  CHECK(take(parseSwizzledLayout("S<3,3,3> o (8,64):(64,1)").value().at({1, 0})) == 72);
  CHECK_FALSE(parseSwizzledLayout("S<3,4> o 4:1").ok());
  CHECK_FALSE(parseSwizzledLayout("S<3,4,2> o 4:1").ok()); // bits would overlap
  CHECK_FALSE(parseSwizzledLayout("S<3,4,3> 4:1").ok());
  CHECK_FALSE(parseSwizzledLayout("S<-1,4,3> o 4:1").ok());
  CHECK_FALSE(Swizzle::make(20, 30, 20).ok());
  CHECK_FALSE(Swizzle::make(1, INT64_MAX, 1).ok());
}
