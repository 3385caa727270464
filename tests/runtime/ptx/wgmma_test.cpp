// wgmma against a plain product: descriptors of both majors with every swizzle, A in registers, and
// what the checker asks of fences and waits.
#include "runtime/devices/ptx/TensorMap.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "tests/runtime/ptx/PtxKernel.h"

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr int kColumns = 64, kDepth = 16;

/// A matrix of `rows` x 16 bf16 as a tile of shared memory at a multiple of 1024 bytes.
struct Tile {
  ptx::Swizzle swizzle;
  bool transposed; // rows are contiguous
  int rows;
  uint64_t width() const { return uint64_t{16} << static_cast<int>(swizzle); }
  /// Bytes from one group of 8 (rows, or k's where transposed) to the next, and between blocks of
  /// the contiguous dimension.
  uint64_t stride() const {
    if (swizzle == ptx::Swizzle::None)
      return transposed ? 256 : 128;
    return 8 * width();
  }
  uint64_t leading() const {
    if (swizzle == ptx::Swizzle::None)
      return transposed ? 128 : static_cast<uint64_t>(rows) * 16;
    return transposed ? 16 * width() : 16;
  }
  /// Element (r, k), from the definitions of the layouts and not from the machine's code.
  uint64_t place(uint64_t r, uint64_t k) const {
    if (swizzle == ptx::Swizzle::None) // 8 x 16 bytes, each contiguous
      return transposed ? r / 8 * stride() + k / 8 * leading() + k % 8 * 16 + r % 8 * 2
                        : r / 8 * stride() + k / 8 * leading() + r % 8 * 16 + k % 8 * 2;
    const uint64_t line = width() / 2; // elements
    const uint64_t plain =
        transposed ? r / line * leading() + k / 8 * stride() + k % 8 * width() + r % line * 2
                   : r / 8 * stride() + r % 8 * width() + k * 2;
    const uint64_t rows8 = plain / 128 % (uint64_t{1} << static_cast<int>(swizzle));
    return plain ^ rows8 << 4; // chunk c of 128-byte line i stands at c ^ i
  }
  uint64_t bytes() const { return 16384; }
  uint64_t descriptor(uint64_t address) const {
    constexpr uint64_t kModes[] = {0, 3, 2, 1};
    return (address >> 4) | leading() >> 4 << 16 | stride() >> 4 << 32 |
           kModes[static_cast<int>(swizzle)] << 62;
  }
};

const std::string kCopyIn = R"(
.shared .align 1024 .b8 s[32768]; .reg .b32 %t, %i, %a, %v; .reg .b64 %q, %o, %k, %x, %y; .reg .pred %p, %add;
.reg .f32 %d<32>; .reg .b32 %f<4>;
mov.u32 %t, %tid.x; ld.param.u64 %q, [p0]; ld.param.u64 %o, [p1]; ld.param.u64 %x, [p2]; ld.param.u64 %y, [p3];
mov.u32 %i, %t;
L: mad.wide.u32 %k, %i, 4, %q; ld.global.u32 %v, [%k]; mov.u32 %a, s; mad.lo.u32 %a, %i, 4, %a;
st.shared.u32 [%a], %v; add.u32 %i, %i, 128; setp.lt.u32 %p, %i, 8192; @%p bra L;
fence.proxy.async; bar.sync 0;
)";

std::string accumulators(const char *format) {
  std::string all;
  for (int i = 0; i < 32; ++i)
    all += fmt::format(fmt::runtime(format), i);
  return all;
}

std::string products(const std::string &a, const std::string &flags) {
  std::string list = accumulators("%d{},");
  list.pop_back();
  const std::string one = "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" + list + "}, " +
                          a + ", %y, {}, 1, 1" + flags + ";\n";
  std::string text = accumulators("mov.f32 %d{}, 0f3F800000;\n") + "wgmma.fence.sync.aligned;\n";
  // Once without what the registers hold, once on top of it.
  for (const char *add : {"0", "1"}) {
    std::string product = one;
    product.replace(product.find(", {}, 1"), 7, ", %add, 1");
    text += fmt::format("setp.ne.u32 %add, {}, 0;\n", add) + product;
  }
  text += "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
  text += "mad.wide.u32 %o, %t, 128, %o;\n";
  for (int i = 0; i < 32; ++i)
    text += fmt::format("st.global.f32 [%o+{0}], %d{1};\n", 4 * i, i);
  return text;
}

uint16_t bf16At(const std::vector<uint16_t> &m, uint64_t r, uint64_t k) {
  return m[r * kDepth + k];
}

std::vector<uint16_t> matrix(int rows, uint64_t seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<uint16_t> values(static_cast<size_t>(rows * kDepth));
  for (uint16_t &v : values)
    v = ptx::narrowBF16(static_cast<float>(static_cast<int>(random() % 17) - 8));
  return values;
}

struct Run {
  std::string verdict;
  std::vector<float> d;
};

Run run(const std::string &body, const std::vector<uint8_t> &image, uint64_t x, uint64_t y) {
  ptx::Machine machine;
  const std::string params = ".param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3";
  auto module = machine.load(ptxModule(params, body, "sm_90a"), "test.ptx");
  if (!module.ok())
    FAIL(module.error().toString());
  auto kernel = (*module)->kernel("kernel");
  if (!kernel.ok())
    FAIL(kernel.error().toString());
  auto in = machine.memory.allocate(image.size(), ""), out = machine.memory.allocate(128 * 128, "");
  REQUIRE((in.ok() && out.ok()));
  REQUIRE(machine.memory.write((*in)->address, std::as_bytes(std::span(image))).ok());
  ptx::ParamBlock params4(**kernel);
  const uint64_t values[] = {(*in)->address, (*out)->address, x, y};
  for (size_t i = 0; i < 4; ++i)
    REQUIRE(params4.set(i, values[i]).ok());
  ptx::LaunchConfig config;
  config.block[0] = 128;
  config.params = params4.bytes();
  ptx::LaunchOptions options;
  options.check = true;
  const auto report = machine.launch(**kernel, config, options);
  if (!report.ok())
    FAIL(report.error().toString());
  Run result{report->findings.empty() ? report->verdict() : report->findings[0].kind,
             std::vector<float>(128 * 32)};
  REQUIRE(machine.memory.read((*out)->address, std::as_writable_bytes(std::span(result.d))).ok());
  return result;
}

float expected(const std::vector<uint16_t> &a, const std::vector<uint16_t> &b, int row,
               int column) {
  float sum = 0;
  for (uint64_t k = 0; k < kDepth; ++k)
    sum += ptx::widenBF16(bf16At(a, static_cast<uint64_t>(row), k)) *
           ptx::widenBF16(bf16At(b, static_cast<uint64_t>(column), k));
  return 2 * sum;
}

void compare(const Run &r, const std::vector<uint16_t> &a, const std::vector<uint16_t> &b) {
  for (int t = 0; t < 128; ++t)
    for (int i = 0; i < 32; ++i) {
      const int row = 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2),
                column = 8 * (i / 4) + 2 * (t % 4) + i % 2;
      REQUIRE(r.d[static_cast<size_t>(32 * t + i)] == expected(a, b, row, column));
    }
}

} // namespace

TEST_CASE("wgmma reads tiles of both majors and all swizzles", "[ptx]") {
  const auto a = matrix(64, 1), b = matrix(kColumns, 2);
  constexpr ptx::Swizzle kAll[] = {ptx::Swizzle::None, ptx::Swizzle::B32, ptx::Swizzle::B64,
                                   ptx::Swizzle::B128};
  for (const ptx::Swizzle swizzle : kAll)
    for (const bool transA : {false, true})
      for (const bool transB : {false, true}) {
        const Tile ta{swizzle, transA, 64}, tb{swizzle, transB, kColumns};
        std::vector<uint8_t> image(32768);
        const auto fill = [&](const Tile &tile, const std::vector<uint16_t> &m, uint64_t base) {
          for (uint64_t r = 0; r < static_cast<uint64_t>(tile.rows); ++r)
            for (uint64_t k = 0; k < kDepth; ++k) {
              const uint16_t v = bf16At(m, r, k);
              std::memcpy(&image[base + tile.place(r, k)], &v, 2);
            }
        };
        fill(ta, a, 0);
        fill(tb, b, tb.bytes());
        const std::string flags =
            fmt::format(", {}, {}", static_cast<int>(transA), static_cast<int>(transB));
        INFO("swizzle " << static_cast<int>(swizzle) << flags);
        const Run r = run(kCopyIn + products("%x", flags), image, ta.descriptor(1024),
                          tb.descriptor(1024 + tb.bytes()));
        CHECK(r.verdict == "clean");
        compare(r, a, b);
      }
}

TEST_CASE("wgmma takes A from registers, and misses neither fence nor wait", "[ptx]") {
  const auto a = matrix(64, 3), b = matrix(kColumns, 4);
  const Tile tb{ptx::Swizzle::B128, false, kColumns};
  std::vector<uint8_t> image(32768);
  std::memcpy(image.data(), a.data(), a.size() * 2);
  for (uint64_t r = 0; r < kColumns; ++r)
    for (uint64_t k = 0; k < kDepth; ++k) {
      const uint16_t v = bf16At(b, r, k);
      std::memcpy(&image[16384 + tb.place(r, k)], &v, 2);
    }
  // Register j: row t / 4 + 8 (j % 2) of the warp's 16, elements 2 (t % 4) + 8 (j / 2) and the
  // next.
  std::string body =
      kCopyIn +
      "shr.u32 %i, %t, 5; shl.b32 %i, %i, 9; and.b32 %v, %t, 31;\n"
      "shr.u32 %a, %v, 2; mad.lo.u32 %i, %a, 32, %i; and.b32 %v, %t, 3; mad.lo.u32 %i, %v, 4, %i;\n"
      "mov.u32 %a, s; add.u32 %a, %a, %i;\n"
      "ld.shared.u32 %f0, [%a]; ld.shared.u32 %f1, [%a+256]; ld.shared.u32 %f2, [%a+16];\n"
      "ld.shared.u32 %f3, [%a+272];\n" +
      products("{%f0, %f1, %f2, %f3}", ", 0");
  const uint64_t descriptor = tb.descriptor(1024 + 16384);
  const Run r = run(body, image, 0, descriptor);
  CHECK(r.verdict == "clean");
  compare(r, a, b);
  const auto without = [&](const std::string &what) {
    std::string text = body;
    return run(text.erase(text.find(what), what.size()), image, 0, descriptor).verdict;
  };
  CHECK(without("fence.proxy.async;") == "missing proxy fence");
  CHECK(without("wgmma.wait_group.sync.aligned 0;") == "missing wait");
  CHECK(without("wgmma.commit_group.sync.aligned;") == "missing wait");
}
