// mma.sync, ldmatrix, stmatrix, movmatrix. The fragment maps are derived anew from their one rule:
// a 32-bit register holds w = 4 / (element bytes) consecutive k's starting at w q, and registers go
// by row half, then k half.
#include "tests/runtime/ptx/PtxKernel.h"

#include <bit>
#include <cmath>
#include <set>

using namespace heddle;
using namespace heddle::test;

namespace {

struct Place {
  int row, k;
};
Place placeOfA(int lane, int reg, int part, int w) {
  return {lane / 4 + 8 * (reg % 2), w * (lane % 4) + part + 4 * w * (reg / 2)};
}
Place placeOfB(int lane, int reg, int part, int w) { // row: the column n
  return {lane / 4, w * (lane % 4) + part + 4 * w * reg};
}
Place placeOfC(int lane, int i) { return {lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2}; }

struct Format {
  const char *name;
  int bits;
  uint32_t (*encode)(float);
  float (*decode)(uint32_t);
};

uint32_t encodeF16(float x) { return std::bit_cast<uint16_t>(static_cast<_Float16>(x)); }
float decodeF16(uint32_t b) {
  return static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(b)));
}
uint32_t encodeBF16(float x) { return std::bit_cast<uint32_t>(x) >> 16; }
float decodeBF16(uint32_t b) { return std::bit_cast<float>(b << 16); }
uint32_t encodeTF32(float x) { return std::bit_cast<uint32_t>(x); } // low bits are for the machine
float decodeTF32(uint32_t b) { return std::bit_cast<float>(b & 0xffffe000); }
uint32_t encodeS8(float x) { return static_cast<uint8_t>(static_cast<int8_t>(x)); }
float decodeS8(uint32_t b) { return static_cast<int8_t>(b); }
uint32_t encodeU8(float x) { return static_cast<uint8_t>(std::fabs(x)); }
float decodeU8(uint32_t b) { return static_cast<uint8_t>(b); }
/// e4m3 numbers 1.f * 2^e for a small pick of bits; decode is the format's definition.
uint32_t encodeE4M3(float x) { return static_cast<uint32_t>(static_cast<int>(x * 7) & 0xf7); }
float decodeE4M3(uint32_t b) {
  const int e = b >> 3 & 15, f = b & 7;
  const float size = e ? std::ldexp(1.0f + static_cast<float>(f) / 8, e - 7)
                       : std::ldexp(static_cast<float>(f), -9);
  return b & 0x80 ? -size : size;
}
uint32_t encodeE5M2(float x) { return static_cast<uint32_t>(static_cast<int>(x * 3) & 0xbb); }
float decodeE5M2(uint32_t b) { return decodeF16((b & 0xff) << 8); }

const Format kF16 = {"f16", 16, encodeF16, decodeF16}, kBF16 = {"bf16", 16, encodeBF16, decodeBF16},
             kTF32 = {"tf32", 32, encodeTF32, decodeTF32}, kS8 = {"s8", 8, encodeS8, decodeS8},
             kU8 = {"u8", 8, encodeU8, decodeU8}, kE4 = {"e4m3", 8, encodeE4M3, decodeE4M3},
             kE5 = {"e5m2", 8, encodeE5M2, decodeE5M2};

std::string registers(const char *name, int count) {
  std::string s = "{";
  for (int i = 0; i < count; ++i)
    s += fmt::format("{}%{}{}", i ? "," : "", name, i);
  return s + "}";
}

/// Loads `count` registers of each lane from argument `index`, or stores them.
std::string move(const char *name, int count, int index, bool load) {
  std::string s = fmt::format(".reg .b32 %{}<{}>; ", name, count);
  if (!load)
    s.clear();
  s += fmt::format("ld.param.u64 %q, [p{}]; mad.wide.u32 %q, %t, {}, %q;\n", index, 4 * count);
  for (int i = 0; i < count; ++i)
    s += load ? fmt::format("ld.global.b32 %{}{}, [%q+{}];\n", name, i, 4 * i)
              : fmt::format("st.global.b32 [%q+{}], %{}{};\n", 4 * i, name, i);
  return s;
}

struct Product {
  std::vector<uint32_t> d; // 4 registers a lane (2 for f16 results)
  double exact[16][8];     // in double
  double size[16][8];      // sum of absolute values
};

Product multiply(const Format &a, const Format &b, int k, const std::string &to,
                 const std::string &target, ptx::Numbers numbers, uint64_t seed,
                 bool large = false) {
  const int w = 32 / a.bits, nb = k / (4 * w), na = 2 * nb, nc = to == "f16" ? 2 : 4;
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-4, 4);
  std::vector<uint32_t> fa(static_cast<size_t>(32 * na)), fb(static_cast<size_t>(32 * nb)),
      fc(static_cast<size_t>(32 * nc));
  std::vector<std::vector<double>> ma(16, std::vector<double>(static_cast<size_t>(k))),
      mb(8, std::vector<double>(static_cast<size_t>(k)));
  std::set<std::pair<int, int>> seen;
  const auto fill = [&](std::vector<uint32_t> &regs, int count, const Format &f, bool isA) {
    seen.clear();
    for (int lane = 0; lane < 32; ++lane)
      for (int r = 0; r < count; ++r)
        for (int e = 0; e < w; ++e) {
          const Place p = isA ? placeOfA(lane, r, e, w) : placeOfB(lane, r, e, w);
          const uint32_t bits = f.encode(uniform(random) * (large ? 30.0f : 1.0f));
          regs[static_cast<size_t>(lane * count + r)] |= bits << (e * (f.bits % 32));
          (isA ? ma : mb)[static_cast<size_t>(p.row)][static_cast<size_t>(p.k)] = f.decode(bits);
          seen.insert({p.row, p.k});
        }
    REQUIRE(seen.size() == static_cast<size_t>((isA ? 16 : 8) * k)); // the map is one to one
  };
  fill(fa, na, a, true);
  fill(fb, nb, b, false);
  Product product;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const Place p = placeOfC(lane, i);
      const float c =
          to == "s32" ? std::floor(uniform(random) * 100) : decodeF16(encodeF16(uniform(random)));
      if (to == "f16")
        fc[static_cast<size_t>(lane * 2 + i / 2)] |= encodeF16(c) << (16 * (i % 2));
      else
        fc[static_cast<size_t>(lane * 4 + i)] = to == "s32"
                                                    ? static_cast<uint32_t>(static_cast<int32_t>(c))
                                                    : std::bit_cast<uint32_t>(c);
      double sum = c, size = std::fabs(c);
      for (int j = 0; j < k; ++j) {
        const double term = ma[static_cast<size_t>(p.row)][static_cast<size_t>(j)] *
                            mb[static_cast<size_t>(p.k)][static_cast<size_t>(j)];
        sum += term;
        size += std::fabs(term);
      }
      product.exact[p.row][p.k] = sum;
      product.size[p.row][p.k] = size;
    }
  const std::string body =
      ".reg .b32 %t; .reg .b64 %q; mov.u32 %t, %tid.x;\n" + move("a", na, 0, true) +
      move("b", nb, 1, true) + move("c", nc, 2, true) + fmt::format(".reg .b32 %d<{}>;\n", nc) +
      fmt::format("mma.sync.aligned.m16n8k{}.row.col.{}.{}.{}.{} {}, {}, {}, {};\n", k, to, a.name,
                  b.name, to, registers("d", nc), registers("a", na), registers("b", nb),
                  registers("c", nc)) +
      move("d", nc, 3, false);
  std::vector<Bytes> buffers = {bytesOf(fa), bytesOf(fb), bytesOf(fc),
                                Bytes(static_cast<size_t>(32 * nc) * 4)};
  PtxLaunch launch;
  launch.options.numbers = numbers;
  const auto report = runPtx(
      ptxModule(".param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3", body, target),
      buffers, launch);
  if (!report.ok())
    FAIL(report.error().toString());
  product.d = valuesOf<uint32_t>(buffers[3]);
  return product;
}

float resultOf(const Product &p, const std::string &to, int lane, int i) {
  if (to == "f16")
    return decodeF16(p.d[static_cast<size_t>(lane * 2 + i / 2)] >> (16 * (i % 2)) & 0xffff);
  const uint32_t bits = p.d[static_cast<size_t>(lane * 4 + i)];
  return to == "s32" ? static_cast<float>(static_cast<int32_t>(bits)) : std::bit_cast<float>(bits);
}

} // namespace

TEST_CASE("mma.sync equals the matrix product, in every shape and type", "[ptx]") {
  struct Case {
    const Format &a, &b;
    int k;
    const char *to;
  };
  const Case cases[] = {
      {kF16, kF16, 8, "f32"},   {kF16, kF16, 16, "f32"},   {kF16, kF16, 16, "f16"},
      {kBF16, kBF16, 8, "f32"}, {kBF16, kBF16, 16, "f32"}, {kTF32, kTF32, 4, "f32"},
      {kTF32, kTF32, 8, "f32"}, {kS8, kS8, 16, "s32"},     {kS8, kU8, 32, "s32"},
      {kU8, kS8, 32, "s32"},    {kE4, kE4, 32, "f32"},     {kE5, kE4, 16, "f32"},
      {kE4, kE5, 32, "f32"}};
  for (const Case &c : cases)
    for (const ptx::Numbers numbers : {ptx::Numbers::Fast, ptx::Numbers::Faithful})
      for (const char *target : {"sm_80", "sm_89", "sm_90", "sm_120"}) {
        const Product p = multiply(c.a, c.b, c.k, c.to, target, numbers, 11, c.a.bits == 8);
        const bool eight = std::string(c.a.name).starts_with("e");
        // One unit of the result, and the truncation of each step (gpu arithmetic: 2^-13 for fp8 on
        // sm_89, 2^-23 else).
        const double unit = std::string(c.to) == "s32"                ? 0
                            : std::string(c.to) == "f16"              ? 0x1p-10
                            : eight && std::string(target) == "sm_89" ? 0x1p-8
                                                                      : 0x1p-19;
        for (int lane = 0; lane < 32; ++lane)
          for (int i = 0; i < 4; ++i) {
            const Place at = placeOfC(lane, i);
            INFO(c.a.name << " " << c.b.name << " k" << c.k << " " << target << " lane " << lane);
            REQUIRE(std::fabs(resultOf(p, c.to, lane, i) - p.exact[at.row][at.k]) <=
                    unit * p.size[at.row][at.k]);
          }
      }
}

namespace {

/// One row of A against one column of B, everything else zero; element (0, 0) of D.
float oneDot(const std::vector<float> &a, const std::vector<float> &b, float c,
             const std::string &target) {
  std::vector<uint32_t> fa(32 * 4), fb(32 * 2), fc(32 * 4);
  for (int lane = 0; lane < 32; ++lane)
    for (int r = 0; r < 4; ++r)
      for (int e = 0; e < 2; ++e) {
        const Place p = placeOfA(lane, r, e, 2), n = placeOfB(lane, r % 2, e, 2);
        if (p.row == 0 && static_cast<size_t>(p.k) < a.size())
          fa[static_cast<size_t>(4 * lane + r)] |= encodeF16(a[static_cast<size_t>(p.k)])
                                                   << (16 * e);
        if (r < 2 && n.row == 0 && static_cast<size_t>(n.k) < b.size())
          fb[static_cast<size_t>(2 * lane + r)] |= encodeF16(b[static_cast<size_t>(n.k)])
                                                   << (16 * e);
      }
  fc[0] = std::bit_cast<uint32_t>(c);
  const std::string body =
      ".reg .b32 %t; .reg .b64 %q; mov.u32 %t, %tid.x;\n" + move("a", 4, 0, true) +
      move("b", 2, 1, true) + move("c", 4, 2, true) +
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%c0,%c1,%c2,%c3}, {%a0,%a1,%a2,%a3}, "
      "{%b0,%b1}, {%c0,%c1,%c2,%c3};\n" +
      move("c", 4, 2, false);
  std::vector<Bytes> buffers = {bytesOf(fa), bytesOf(fb), bytesOf(fc)};
  PtxLaunch launch;
  launch.options.numbers = ptx::Numbers::Faithful;
  const auto report = runPtx(
      ptxModule(".param .u64 p0, .param .u64 p1, .param .u64 p2", body, target), buffers, launch);
  if (!report.ok())
    FAIL(report.error().toString());
  return valuesOf<float>(buffers[2])[0];
}

} // namespace

TEST_CASE("faithful sums lose what each generation loses", "[ptx]") {
  const std::vector<float> ones(16, 1.0f);
  // Sixteen ones onto 2^25: 24 fraction bits drop them all, 25 keep them.
  CHECK(oneDot(ones, ones, 0x1p25f, "sm_80") == 0x1p25f);
  CHECK(oneDot(ones, ones, 0x1p25f, "sm_90") == 0x1p25f + 16);
  CHECK(oneDot(ones, ones, 0x1p24f, "sm_80") == 0x1p24f + 16);
  // A small term beside large ones that cancel is truncated at the scale of the large ones.
  const std::vector<float> a = {1024, -1024, 1}, b = {1024, 1024, 0x1p-10f};
  CHECK(oneDot(a, b, 0, "sm_80") == 0);
  CHECK(oneDot({1, 1}, {1, 0x1p-10f}, 0, "sm_80") == 1 + 0x1p-10f);
  // Rounded toward zero: 1 + 2^-24 + 2^-24 in one step is exact up to 24 bits, then cut to 23.
  CHECK(oneDot({1, 0x1p-12f}, {1, 0x1.8p-12f}, 0, "sm_80") == 1);
  CHECK(std::bit_cast<uint32_t>(oneDot({INFINITY, -INFINITY}, {1, 1}, 0, "sm_80")) == 0x7fffffff);
}

TEST_CASE("ldmatrix, stmatrix and movmatrix follow one map", "[ptx]") {
  // Four 8x8 matrices with rows in a shuffled order of addresses.
  std::vector<uint16_t> memory(4 * 64);
  for (size_t i = 0; i < memory.size(); ++i)
    memory[i] = static_cast<uint16_t>(i * 7919);
  const std::string body = R"(
.shared .align 16 .b8 s[1024]; .reg .b32 %t, %s, %a, %x; .reg .b64 %q; mov.u32 %t, %tid.x; mov.u32 %s, s;
)" + move("m", 4, 0, true) +
                           R"(
mad.lo.u32 %a, %t, 16, %s; st.shared.v4.b32 [%a], {%m0, %m1, %m2, %m3}; bar.sync 0;
xor.b32 %x, %t, 5; mad.lo.u32 %a, %x, 16, %s;
.reg .b32 %d<4>, %e<4>; .reg .b32 %f;
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%d0,%d1,%d2,%d3}, [%a];
ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%e0,%e1,%e2,%e3}, [%a];
movmatrix.sync.aligned.m8n8.trans.b16 %f, %d2;
add.u32 %a, %a, 512;
stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%a], {%e0,%e1,%e2,%e3}; bar.sync 0;
ld.shared.v4.b32 {%m0,%m1,%m2,%m3}, [%a];
)" + move("d", 4, 1, false) +
                           move("e", 4, 2, false) + move("m", 4, 3, false) + move("f", 1, 4, false);
  std::string text = body;
  for (size_t at; (at = text.find("%f0")) != std::string::npos;)
    text.replace(at, 3, "%f");
  std::vector<Bytes> buffers = {bytesOf(memory), Bytes(512), Bytes(512), Bytes(512), Bytes(128)};
  const auto report = runPtx(
      ptxModule(".param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3, .param .u64 p4",
                text),
      buffers);
  INFO((report.ok() ? "" : report.error().toString()));
  REQUIRE(report.ok());
  const auto plain = valuesOf<uint32_t>(buffers[1]), trans = valuesOf<uint32_t>(buffers[2]),
             moved = valuesOf<uint32_t>(buffers[4]);
  const auto stored = valuesOf<uint16_t>(buffers[3]);
  const auto at = [&](int matrix, int row, int col) -> uint32_t {
    return memory[static_cast<size_t>(((matrix * 8 + row) ^ 5) * 8 + col)];
  };
  for (int lane = 0; lane < 32; ++lane)
    for (int j = 0; j < 4; ++j) {
      const int g = lane / 4, c = 2 * (lane % 4);
      CHECK(plain[static_cast<size_t>(lane * 4 + j)] == (at(j, g, c) | at(j, g, c + 1) << 16));
      CHECK(trans[static_cast<size_t>(lane * 4 + j)] == (at(j, c, g) | at(j, c + 1, g) << 16));
      CHECK(moved[static_cast<size_t>(lane)] == (at(2, c, g) | at(2, c + 1, g) << 16));
      for (int e = 0; e < 8; ++e) // stmatrix after ldmatrix is the identity
        CHECK(stored[static_cast<size_t>(lane * 8 + e)] == at(lane / 8, lane % 8, e));
    }
}

TEST_CASE("matrix instructions need all lanes", "[ptx]") {
  std::vector<Bytes> buffers = {Bytes(128)};
  PtxLaunch launch;
  launch.block[0] = 16;
  const auto report = runPtx(
      ptxModule(".param .u64 p0", ".reg .b32 %x; movmatrix.sync.aligned.m8n8.trans.b16 %x, 0;"),
      buffers, launch);
  REQUIRE(!report.ok());
  CHECK(report.error().message.find("all 32 lanes") != std::string::npos);
}

TEST_CASE("wmma multiplies what it loads, whatever the order in memory", "[ptx]") {
  struct Case {
    const char *shape;
    int m, n, k;
    const char *aOrder, *bOrder;
  };
  const Case cases[] = {{"m16n16k16", 16, 16, 16, "row", "col"},
                        {"m32n8k16", 32, 8, 16, "col", "row"},
                        {"m8n32k16", 8, 32, 16, "row", "row"}};
  for (const Case &c : cases) {
    const bool aRows = std::string(c.aOrder) == "row", bRows = std::string(c.bOrder) == "row";
    const int aStride = (aRows ? c.k : c.m) + 8, bStride = (bRows ? c.n : c.k) + 8;
    std::vector<uint16_t> a(static_cast<size_t>(32 * 48)), b(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint16_t>(encodeF16(static_cast<float>(static_cast<int>(i * 7 % 13) - 6)));
      b[i] = static_cast<uint16_t>(encodeF16(static_cast<float>(static_cast<int>(i * 5 % 11) - 5)));
    }
    const std::string body =
        fmt::format(".reg .b32 %a<8>, %b<8>; .reg .f32 %c<8>; .reg .b64 %p, %q, %r;\n"
                    "ld.param.u64 %p, [p0]; ld.param.u64 %q, [p1]; ld.param.u64 %r, [p2];\n"
                    "wmma.load.a.sync.aligned.{0}.{2}.global.f16 {3}, [%p], {5};\n"
                    "wmma.load.b.sync.aligned.{1}.{2}.global.f16 {4}, [%q], {6};\n"
                    "wmma.load.c.sync.aligned.row.{2}.global.f32 {7}, [%r];\n"
                    "wmma.mma.sync.aligned.{0}.{1}.{2}.f32.f32 {7}, {3}, {4}, {7};\n"
                    "wmma.store.d.sync.aligned.row.{2}.global.f32 [%r], {7}, {8};\n",
                    c.aOrder, c.bOrder, c.shape, registers("a", 8), registers("b", 8), aStride,
                    bStride, registers("c", 8), c.n);
    std::vector<float> before(static_cast<size_t>(c.m * c.n));
    for (size_t i = 0; i < before.size(); ++i)
      before[i] = static_cast<float>(i);
    std::vector<Bytes> buffers = {bytesOf(a), bytesOf(b), bytesOf(before)};
    PtxLaunch launch;
    launch.options.check = true;
    const auto result =
        runPtx(ptxModule(".param .u64 p0, .param .u64 p1, .param .u64 p2", body), buffers, launch);
    INFO((result.ok() ? "" : result.error().toString()));
    REQUIRE(result.ok());
    CHECK(result->findings.empty());
    const auto got = valuesOf<float>(buffers[2]);
    for (int row = 0; row < c.m; ++row)
      for (int col = 0; col < c.n; ++col) {
        float sum = before[static_cast<size_t>(row * c.n + col)];
        for (int k = 0; k < c.k; ++k)
          sum += decodeF16(a[static_cast<size_t>(aRows ? row * aStride + k : k * aStride + row)]) *
                 decodeF16(b[static_cast<size_t>(bRows ? k * bStride + col : col * bStride + k)]);
        REQUIRE(got[static_cast<size_t>(row * c.n + col)] == sum);
      }
  }
}
