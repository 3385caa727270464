// Attention kernels in tile IR, compiled and run on every instruction set of this machine, against
// loops in double.
#include "tests/support/Test.h"

#include <sys/mman.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "CpuAttention.h"
#include "CpuKernel.h"

using namespace heddle::compiler::cpu;
using heddle::DType;

namespace {

struct Shape {
  int64_t b = 1, tq = 50, tk = 70, hq = 2, hk = 1;
};

/// A tensor that ends where a page begins that nobody may touch; rounds as the dtype stores.
struct Data {
  DType type;
  int64_t count;
  char *pages, *bytes;
  size_t size;

  Data(DType type, int64_t count) : type(type), count(count) {
    size_t used = count * heddle::sizeOf(type);
    size = (used + 4095) / 4096 * 4096 + 4096;
    pages = static_cast<char *>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(pages + size - 4096, 4096, PROT_NONE);
    bytes = pages + size - 4096 - used;
  }
  ~Data() { munmap(pages, size); }
  Data(const Data &) = delete;
  Data &operator=(const Data &) = delete;
  double get(int64_t i) const { return heddle::loadElement(type, bytes, i); }
  void set(int64_t i, double value) { heddle::storeElement(type, bytes, i, value); }
};

/// Largest |o - exact| and |lse - exact| over all elements; infinities must agree.
std::pair<double, double> errors(const AttentionText &a, const Shape &s, const Isa &isa,
                                 Blocking blocking = {}, std::string program = "") {
  DType type = *heddle::parseDType(a.element);
  CpuKernel kernel(program.empty() ? attentionProgram(a) : program, isa, blocking);
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  Data q(type, s.b * s.tq * s.hq * a.d), k(type, s.b * s.tk * s.hk * a.d),
      v(type, s.b * s.tk * s.hk * a.dv), o(type, s.b * s.tq * s.hq * a.dv);
  for (Data *data : {&q, &k, &v})
    for (int64_t i = 0; i < data->count; ++i)
      data->set(i, normal(random));
  std::vector<float> lse(s.b * s.tq * s.hq, NAN);
  auto strides = [](int64_t t, int64_t h, int64_t d) {
    return std::vector<int64_t>{t * h * d, h * d, d, 1};
  };
  kernel.run({{"B", s.b}, {"Tq", s.tq}, {"Tk", s.tk}, {"Hq", s.hq}, {"Hk", s.hk}},
             {{"q", {q.bytes, strides(s.tq, s.hq, a.d)}},
              {"k", {k.bytes, strides(s.tk, s.hk, a.d)}},
              {"v", {v.bytes, strides(s.tk, s.hk, a.dv)}},
              {"o", {o.bytes, strides(s.tq, s.hq, a.dv)}},
              {"lse", {lse.data(), {s.tq * s.hq, s.hq, 1}}}});
  double worstO = 0, worstLse = 0;
  std::vector<double> score(s.tk), sum(a.dv);
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t i = 0; i < s.tq; ++i)
      for (int64_t h = 0; h < s.hq; ++h) {
        double top = -INFINITY, weight = 0;
        for (int64_t j = 0; j < s.tk; ++j) {
          double dot = 0;
          for (int64_t d = 0; d < a.d; ++d)
            dot += q.get(((b * s.tq + i) * s.hq + h) * a.d + d) *
                   k.get(((b * s.tk + j) * s.hk + h / a.group) * a.d + d);
          dot /= std::sqrt(double(a.d));
          if (a.softcap)
            dot = 5.0 * std::tanh(dot / 5.0);
          score[j] = a.causal && j > i + s.tk - s.tq ? -INFINITY : dot;
          top = std::max(top, score[j]);
        }
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t j = 0; j < s.tk; ++j) {
          double w = top == -INFINITY ? 0 : std::exp(score[j] - top);
          weight += w;
          for (int64_t d = 0; d < a.dv; ++d)
            sum[d] += w * v.get(((b * s.tk + j) * s.hk + h / a.group) * a.dv + d);
        }
        int64_t row = (b * s.tq + i) * s.hq + h;
        for (int64_t d = 0; d < a.dv; ++d) {
          double want = weight > 0 ? sum[d] / weight : 0, got = o.get(row * a.dv + d);
          worstO = std::max(worstO, std::isnan(got) ? INFINITY : std::abs(got - want));
        }
        double want = weight > 0 ? top + std::log(weight) : -INFINITY, got = lse[row];
        if (want != got)
          worstLse = std::max(worstLse, std::isnan(got) ? INFINITY : std::abs(got - want));
      }
  return {worstO, worstLse};
}

} // namespace

TEST_CASE("f32 attention in full tiles", "[cpu]") {
  for (const Isa &isa : hostIsas()) {
    AttentionText text;
    text.bm = 32, text.bn = 16, text.d = 32, text.dv = 32;
    auto [o, lse] = errors(text, {1, 64, 48, 2, 2}, isa);
    INFO(isa.name());
    CHECK(o < 2e-6);
    CHECK(lse < 2e-6);
  }
}

TEST_CASE("denormal numbers count as zero, and the caller keeps its modes", "[cpu]") {
  AttentionText text;
  text.bm = 32, text.bn = 16, text.d = 16, text.dv = 16;
  CpuKernel kernel(attentionProgram(text), hostIsas()[0], {});
  std::vector<float> q(32 * 16, 0.0f), k = q, v(32 * 16, 1e-39f), o(32 * 16, NAN), lse(32);
  const unsigned modes = _mm_getcsr();
  std::vector<int64_t> strides = {32 * 16, 16, 16, 1};
  kernel.run({{"B", 1}, {"Tq", 32}, {"Tk", 32}, {"Hq", 1}, {"Hk", 1}},
             {{"q", {q.data(), strides}},
              {"k", {k.data(), strides}},
              {"v", {v.data(), strides}},
              {"o", {o.data(), strides}},
              {"lse", {lse.data(), {32, 1, 1}}}});
  CHECK(_mm_getcsr() == modes);
  CHECK(std::count(o.begin(), o.end(), 0.0f) == 32 * 16);
}

TEST_CASE("f32 attention of irregular shapes", "[cpu]") {
  struct One {
    AttentionText text;
    Shape shape;
  };
  const One cases[] = {
      {{.bm = 32, .bn = 16, .d = 80, .dv = 72, .group = 2, .causal = true}, {2, 50, 70, 4, 2}},
      {{.bm = 64, .bn = 32, .d = 17, .dv = 5, .group = 1, .causal = false}, {1, 33, 1, 1, 1}},
      {{.bm = 48, .bn = 24, .d = 1, .dv = 33, .group = 3, .causal = true}, {1, 100, 61, 3, 1}},
      {{.bm = 16, .bn = 32, .d = 64, .dv = 64, .group = 1, .causal = true, .softcap = true},
       {1, 37, 129, 1, 1}},
      // Four vectors of rows: edge tiles are cut short by pairs of vectors.
      {{.bm = 64, .bn = 48, .d = 24, .dv = 20, .group = 1, .causal = true}, {1, 130, 151, 1, 1}},
      {{.bm = 64, .bn = 64, .d = 96, .dv = 128, .group = 1, .causal = false}, {1, 1, 200, 1, 1}},
      // Eight vectors of rows: values are copied, and groups of rows that are not there skipped.
      {{.bm = 128, .bn = 32, .d = 64, .dv = 128, .group = 1, .causal = true}, {1, 50, 90, 2, 2}},
      {{.bm = 128, .bn = 48, .d = 40, .dv = 72, .group = 2, .causal = true}, {1, 130, 131, 2, 1}},
      // More than eight: full tiles are done for some rows after the other.
      {{.bm = 192, .bn = 32, .d = 24, .dv = 20, .group = 2, .causal = true, .softcap = true},
       {1, 300, 310, 2, 1}},
      {{.bm = 256, .bn = 32, .d = 16, .dv = 40, .group = 1, .causal = false}, {1, 290, 130, 1, 1}},
  };
  for (const Isa &isa : hostIsas())
    for (const One &one : cases) {
      Blocking blocking = isa.level == Isa::Avx512 ? Blocking{4, 6} : Blocking{2, 6};
      auto [o, lse] = errors(one.text, one.shape, isa, blocking);
      INFO(isa.name() << " D=" << one.text.d << " Dv=" << one.text.dv << " Tq=" << one.shape.tq
                      << " Tk=" << one.shape.tk);
      CHECK(o < 4e-6);
      CHECK(lse < 4e-6);
    }
}

TEST_CASE("maxima and sums of rows in scratch end where an edge tile does", "[cpu]") {
  AttentionText text{.bm = 64, .bn = 64, .d = 24, .dv = 20, .group = 1, .causal = true};
  std::string program = attentionProgram(text);
  const auto replaceAll = [&](const std::string &old, const std::string &with) {
    int found = 0;
    for (size_t at = 0; (at = program.find(old, at)) != program.npos; at += with.size(), ++found)
      program.replace(at, old.size(), with);
    CHECK(found == 2); // edge and full
  };
  // Read along both dimensions, which changes nothing but where they lie.
  replaceAll("%P = tile.map (%x = %s[i, j], %y = %base[i]) -> [i, j] : (!S, !R) -> !S {",
             "%P = tile.map (%x = %s[i, j], %y = %base[i], %w = %base[j]) -> [i, j] "
             ": (!S, !R, !R) -> !S {\n%none = arith.mulf %w, %zero : f32");
  replaceAll("%e = math.exp2 %z : f32\n        tile.yield %e : f32\n      }\n      %lr",
             "%u = arith.addf %z, %none : f32\n        %e = math.exp2 %u : f32\n"
             "        tile.yield %e : f32\n      }\n      %lr");
  for (const Isa &isa : hostIsas())
    for (const Shape &shape : {Shape{1, 70, 75, 1, 1}, Shape{1, 64, 1, 1, 1}}) {
      INFO(isa.name() << " Tk=" << shape.tk);
      auto [o, lse] = errors(text, shape, isa, Blocking{4, 4}, program);
      CHECK(o < 4e-6);
      CHECK(lse < 4e-6);
    }
}

TEST_CASE("bf16 and f16 attention", "[cpu]") {
  for (Isa isa : hostIsas())
    for (bool dot : {true, false}) {
      if (dot && !isa.bf16Dot)
        continue;
      isa.bf16Dot = dot;
      isa.amx = false; // has a test of its own
      for (const char *element : {"bf16", "f16"}) {
        if (dot && std::string(element) == "f16")
          continue;
        AttentionText text{.bm = 64, .bn = 32, .d = 72, .dv = 80, .group = 2, .causal = true};
        text.element = element;
        INFO(isa.name() << " " << dot << " " << element);
        auto [o, lse] = errors(text, {1, 50, 77, 2, 1}, isa, Blocking{2, 4});
        CHECK(o < (text.element == "bf16" ? 2e-2 : 3e-3));
        CHECK(lse < 2e-5);
      }
    }
}

TEST_CASE("bf16 attention by the matrix unit", "[cpu]") {
  const Isa isa = hostIsas()[0];
  if (!isa.amx)
    HEDDLE_SKIP("the processor has no amx_bf16");
  struct One {
    AttentionText text;
    Shape shape;
  };
  const One cases[] = {
      // Last tiles of keys with an odd, an even and no rest; a single tile of columns.
      {{.bm = 64, .bn = 64, .d = 64, .dv = 80, .group = 2, .causal = true}, {2, 130, 147, 4, 2}},
      {{.bm = 32, .bn = 32, .d = 96, .dv = 64, .group = 1, .causal = false}, {1, 33, 70, 1, 1}},
      {{.bm = 256, .bn = 128, .d = 128, .dv = 128, .group = 1, .causal = true},
       {1, 256, 256, 1, 1}},
      {{.bm = 16, .bn = 32, .d = 32, .dv = 16, .group = 1, .causal = true, .softcap = true},
       {1, 19, 1, 1, 1}},
      // Values narrower than a tile are multiplied in f32: masks must not leave parts unwritten.
      {{.bm = 64, .bn = 64, .d = 80, .dv = 8, .group = 1, .causal = true}, {1, 150, 150, 1, 1}},
      // Keys padded to 32 columns, last tiles of values that reach back, in one and in two rows.
      {{.bm = 64, .bn = 64, .d = 1, .dv = 17, .group = 1, .causal = true}, {1, 65, 97, 1, 1}},
      {{.bm = 64, .bn = 32, .d = 7, .dv = 31, .group = 2, .causal = false}, {2, 7, 33, 2, 1}},
      {{.bm = 32, .bn = 64, .d = 72, .dv = 72, .group = 1, .causal = true}, {1, 77, 77, 1, 1}},
      {{.bm = 64, .bn = 64, .d = 112, .dv = 100, .group = 1, .causal = true, .softcap = true},
       {1, 130, 131, 1, 1}},
  };
  for (One one : cases) {
    one.text.element = "bf16";
    INFO("D=" << one.text.d << " Dv=" << one.text.dv << " Tq=" << one.shape.tq
              << " Tk=" << one.shape.tk);
    CHECK(CpuKernel(attentionProgram(one.text), isa, Blocking{4, 4}).vectorText.find("tdpbf16ps") !=
          std::string::npos);
    auto [o, lse] = errors(one.text, one.shape, isa, Blocking{4, 4});
    CHECK(o < 2e-2);
    CHECK(lse < 2e-5);
  }
}

TEST_CASE("one query row: keys in ranges, then merged", "[cpu]") {
  struct One {
    DecodeText text;
    Shape shape;
  };
  const One cases[] = {
      {{.group = 4, .d = 64, .dv = 64, .bn = 32, .split = 64}, {2, 1, 200, 8, 2}},
      {{.group = 1, .d = 72, .dv = 40, .bn = 16, .split = 48}, {1, 1, 101, 2, 2}},
      {{.group = 7, .d = 72, .dv = 40, .bn = 16, .split = 48}, {1, 1, 101, 7, 1}},
      {{.group = 16, .d = 80, .dv = 96, .bn = 32, .split = 96}, {1, 1, 97, 16, 1}},
  };
  for (const Isa &isa : hostIsas())
    for (const One &one : cases)
      for (const char *element : {"f32", "bf16"}) {
        DecodeText text = one.text;
        text.element = element;
        AttentionText same;
        same.d = text.d, same.dv = text.dv, same.group = text.group, same.element = element;
        INFO(isa.name() << " G=" << text.group << " " << element);
        Blocking blocking = isa.level == Isa::Avx512 ? Blocking{4, 6} : Blocking{2, 6};
        auto [o, lse] = errors(same, one.shape, isa, blocking, decodeProgram(text));
        CHECK(o < (text.element == "f32" ? 4e-6 : 2e-2));
        CHECK(lse < (text.element == "f32" ? 4e-6 : 2e-5));
      }
}
