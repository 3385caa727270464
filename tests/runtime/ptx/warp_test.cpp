// Lanes that talk: shuffles, votes, matches, reductions, against the rules written out by lane.
#include "tests/runtime/ptx/PtxKernel.h"

#include <bit>
#include <numeric>

using namespace heddle::test;

namespace {

std::vector<uint32_t> lanes(uint64_t seed) { return samples<uint32_t>(64, seed); }

} // namespace

TEST_CASE("shuffles of every mode and segment", "[ptx]") {
  const auto a = lanes(3);
  struct Mode {
    const char *name;
    int (*from)(int lane, int by);
    uint32_t clamp;
  };
  const Mode modes[] = {{"up", [](int l, int by) { return l - by; }, 0},
                        {"down", [](int l, int by) { return l + by; }, 31},
                        {"bfly", [](int l, int by) { return l ^ by; }, 31},
                        {"idx", [](int, int by) { return by; }, 31}};
  for (const Mode &mode : modes)
    for (const int width : {32, 16, 8, 4})
      for (const int by : {0, 1, 3, 7, 16, 31}) {
        const uint32_t c = static_cast<uint32_t>(32 - width) << 8 | mode.clamp;
        const auto got = mapPtx<uint32_t, uint32_t>(
            fmt::format("shfl.sync.{}.b32 %d|%p, %a, {}, {}, 0xffffffff;\n"
                        "@!%p add.u32 %d, %d, 1;",
                        mode.name, by, c),
            a);
        for (int t = 0; t < 64; ++t) {
          const int l = t % 32, base = l / width * width;
          int from = mode.from(l, by);
          if (std::string(mode.name) == "idx")
            from = base + by % width;
          const bool inside = from >= base && from < base + width;
          // bfly and idx may not leave the segment upwards; up is bounded below, down above.
          const uint32_t expected =
              a[static_cast<size_t>(t - l + (inside ? from : l))] + (inside ? 0 : 1);
          INFO(mode.name << " width " << width << " by " << by << " lane " << l);
          if (std::string(mode.name) == "bfly" && from < base)
            continue; // a lower segment: PTX lets it be read
          REQUIRE(got[static_cast<size_t>(t)] == expected);
        }
      }
}

TEST_CASE("votes, ballots and matches", "[ptx]") {
  auto a = lanes(5);
  for (uint32_t &x : a)
    x %= 5;
  const auto ballot = mapPtx<uint32_t, uint32_t>(
      "setp.gt.u32 %p, %a, 2; vote.sync.ballot.b32 %d, %p, 0xffffffff;", a);
  const auto any = mapPtx<uint32_t, uint32_t>(
      "setp.gt.u32 %p, %a, 7; vote.sync.any.pred %p, !%p, -1; selp.u32 %d, 1, 0, %p;", a);
  const auto same = mapPtx<uint32_t, uint32_t>("match.any.sync.b32 %d, %a, 0xffffffff;", a);
  const auto all =
      mapPtx<uint32_t, uint32_t>("match.all.sync.b32 %d|%p, 7, -1; @!%p mov.u32 %d, 0;", a);
  for (size_t t = 0; t < a.size(); ++t) {
    uint32_t yes = 0, equal = 0;
    for (size_t l = 0; l < 32; ++l) {
      yes |= (a[t / 32 * 32 + l] > 2 ? 1u : 0u) << l;
      equal |= (a[t / 32 * 32 + l] == a[t] ? 1u : 0u) << l;
    }
    CHECK(ballot[t] == yes);
    CHECK(any[t] == 1);
    CHECK(same[t] == equal);
    CHECK(all[t] == 0xffffffff);
  }
}

TEST_CASE("warp reductions, by halves with two member masks", "[ptx]") {
  const auto a = lanes(7);
  const std::string masks = ".reg .b32 %m; mov.u32 %m, %laneid; setp.lt.u32 %p, %m, 16;\n"
                            "selp.b32 %m, 0x0000ffff, 0xffff0000, %p;\n";
  const auto sum = mapPtx<uint32_t, uint32_t>(masks + "redux.sync.add.u32 %d, %a, %m;", a);
  const auto low = mapPtx<uint32_t, uint32_t>(masks + "redux.sync.min.s32 %d, %a, %m;", a);
  const auto bits = mapPtx<uint32_t, uint32_t>(masks + "redux.sync.xor.b32 %d, %a, %m;", a);
  for (size_t t = 0; t < a.size(); ++t) {
    const auto first = a.begin() + static_cast<std::ptrdiff_t>(t / 16 * 16);
    CHECK(sum[t] == std::accumulate(first, first + 16, 0u));
    CHECK(static_cast<int32_t>(low[t]) ==
          std::accumulate(first, first + 16, INT32_MAX, [](int32_t x, uint32_t y) {
            return std::min(x, static_cast<int32_t>(y));
          }));
    CHECK(bits[t] == std::accumulate(first, first + 16, 0u, std::bit_xor<>()));
  }
}

TEST_CASE("lanes of both sides of a branch meet in a warp barrier", "[ptx]") {
  // Each side writes to shared memory, waits for the other, and reads what it wrote.
  const std::string body = R"(
.shared .b32 s[32]; .reg .b32 %t, %a, %b, %v; .reg .b64 %q; .reg .pred %p;
mov.u32 %t, %tid.x; mov.u32 %b, s; shl.b32 %a, %t, 2; add.u32 %a, %a, %b;
and.b32 %v, %t, 1; setp.eq.u32 %p, %v, 0;
@%p bra EVEN;
st.shared.u32 [%a], %t; bar.warp.sync -1; ld.shared.u32 %v, [%a+-4]; bra DONE;
EVEN:
st.shared.u32 [%a], %t; bar.warp.sync 0xffffffff; ld.shared.u32 %v, [%a+4];
DONE:
ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 4, %q; st.global.u32 [%q], %v;)";
  std::vector<Bytes> buffers = {Bytes(128)};
  const auto report = runPtx(ptxModule(".param .u64 p0", body), buffers);
  REQUIRE(report.ok());
  const auto got = valuesOf<uint32_t>(buffers[0]);
  for (uint32_t t = 0; t < 32; ++t)
    CHECK(got[t] == (t ^ 1));
}

TEST_CASE("a shuffle from a lane that is not there is an error", "[ptx]") {
  std::vector<Bytes> buffers = {Bytes(128)};
  const auto report =
      runPtx(ptxModule(".param .u64 p0", ".reg .b32 %t, %v; .reg .pred %p; mov.u32 %t, %tid.x;\n"
                                         "setp.lt.u32 %p, %t, 16;\n"
                                         "@%p shfl.sync.idx.b32 %v, %t, 20, 31, 0x0000ffff;"),
             buffers);
  REQUIRE(!report.ok());
  CHECK(report.error().message.find("does not take part") != std::string::npos);
}
