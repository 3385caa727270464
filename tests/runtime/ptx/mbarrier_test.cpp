// mbarriers: counts against a plain machine, kernels that hand data over, and what the checker
// finds in kernels that do it wrong.
#include "runtime/devices/ptx/Mbarrier.h"
#include "tests/runtime/ptx/PtxKernel.h"

using namespace heddle;
using namespace heddle::test;

namespace {

/// `warps` warps; p0 and p1 point to 4096 bytes each. Returns the report of a checked run.
Result<ptx::Report> runChecked(const std::string &body, int warps, ptx::CopyTime time,
                               std::vector<Bytes> *buffers = nullptr) {
  std::vector<Bytes> own = {bytesOf(samples<uint32_t>(1024, 5)), bytesOf(std::vector<int>(1024))};
  PtxLaunch launch;
  launch.block[0] = 32 * warps;
  launch.options.check = true;
  launch.options.copies = time;
  return runPtx(ptxModule(".param .u64 p0, .param .u64 p1", body), buffers ? *buffers : own,
                launch);
}

std::string kindOf(const std::string &body, int warps, ptx::CopyTime time = ptx::CopyTime::Late) {
  const auto report = runChecked(body, warps, time);
  if (!report.ok())
    return report.error().message;
  return report->findings.empty() ? report->verdict() : report->findings[0].kind;
}

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

constexpr ptx::CopyTime kTimes[] = {ptx::CopyTime::Early, ptx::CopyTime::Late,
                                    ptx::CopyTime::Random};

/// Warp 0's lane 0 loads 16 times 256 bytes through two stages; warp 1 reads them, adds its lane,
/// and hands the stage back.
constexpr const char *kPipeline = R"(
.shared .align 128 .b8 s[512]; .shared .align 8 .b8 bars[32];
.reg .b32 %t, %i, %st, %ph, %full, %empty, %a, %x, %y, %b; .reg .b64 %q, %r, %tok; .reg .pred %p, %w, %e;
mov.u32 %t, %tid.x; ld.param.u64 %q, [p0]; ld.param.u64 %r, [p1]; mov.u32 %b, bars;
setp.eq.u32 %p, %t, 0;
@%p mbarrier.init.shared.b64 [bars], 1; @%p mbarrier.init.shared.b64 [bars+8], 1;
@%p mbarrier.init.shared.b64 [bars+16], 32; @%p mbarrier.init.shared.b64 [bars+24], 32;
@%p fence.mbarrier_init.release.cluster;
bar.sync 0;
mov.u32 %i, 0;
setp.ge.u32 %w, %t, 32; @%w bra CONSUME;
setp.ne.u32 %p, %t, 0; @%p bra DONE;
PRODUCE:
and.b32 %st, %i, 1; shr.u32 %ph, %i, 1; and.b32 %ph, %ph, 1; xor.b32 %ph, %ph, 1;
mad.lo.u32 %full, %st, 8, %b; add.u32 %empty, %full, 16;
FREE: mbarrier.try_wait.parity.shared::cta.b64 %e, [%empty], %ph; @!%e bra FREE;
mbarrier.arrive.expect_tx.shared::cta.b64 %tok, [%full], 256;
mov.u32 %a, s; mad.lo.u32 %a, %st, 256, %a;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%a], [%q], 256, [%full];
add.u64 %q, %q, 256; add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 16; @%p bra PRODUCE;
bra DONE;
CONSUME:
sub.u32 %t, %t, 32; mad.wide.u32 %r, %t, 8, %r;
NEXT:
and.b32 %st, %i, 1; shr.u32 %ph, %i, 1; and.b32 %ph, %ph, 1;
mad.lo.u32 %full, %st, 8, %b; add.u32 %empty, %full, 16;
FILL: mbarrier.try_wait.parity.shared::cta.b64 %e, [%full], %ph; @!%e bra FILL;
mov.u32 %a, s; mad.lo.u32 %a, %st, 256, %a; mad.lo.u32 %a, %t, 8, %a;
ld.shared.v2.b32 {%x, %y}, [%a]; add.u32 %x, %x, %t; st.global.v2.b32 [%r], {%x, %y};
mbarrier.arrive.shared::cta.b64 _, [%empty];
add.u64 %r, %r, 256; add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 16; @%p bra NEXT;
DONE:)";

} // namespace

TEST_CASE("an mbarrier counts as a plain machine does", "[ptx]") {
  std::mt19937 random(7);
  for (int run = 0; run < 200; ++run) {
    ptx::Mbarrier m;
    const int expected = 1 + static_cast<int>(random() % 4);
    REQUIRE(m.init(static_cast<uint64_t>(expected)).empty());
    int pending = expected, phase = 0, drops = 0;
    int64_t bytes = 0;
    for (int step = 0; step < 60; ++step) {
      const uint64_t token = m.token();
      const int before = phase;
      switch (random() % 4) {
      case 0:
        bytes += 16;
        REQUIRE(m.expectBytes(16).empty());
        break;
      case 1:
        bytes -= 16;
        REQUIRE(m.completeBytes(16).empty());
        break;
      default: {
        const bool drop = random() % 16 == 0 && expected - drops > 1;
        const bool possible = pending > 0;
        REQUIRE(m.arrive(1, drop && possible).empty() == possible);
        pending -= possible;
        drops += drop && possible;
      }
      }
      if (pending == 0 && bytes == 0) {
        ++phase;
        pending = expected - drops;
      }
      CHECK(m.phase == static_cast<uint64_t>(phase));
      CHECK(m.pending == static_cast<uint32_t>(pending));
      CHECK(m.bytes == bytes);
      CHECK(m.completed(token) == (phase > before));
      CHECK(m.completedParity(0) == (phase % 2 == 1));
      CHECK(m.completedParity(1) == (phase % 2 == 0));
    }
  }
  ptx::Mbarrier m;
  CHECK(m.init(0) != "");
  CHECK(m.init(1 << 20) != "");
  CHECK(m.init((1 << 20) - 1) == "");
  CHECK(m.expectBytes(1 << 20) != "");
}

TEST_CASE("a pipeline of bulk copies hands over what it loads", "[ptx]") {
  const auto from = samples<uint32_t>(1024, 5);
  for (const ptx::CopyTime time : kTimes) {
    std::vector<Bytes> buffers = {bytesOf(from), bytesOf(std::vector<int>(1024))};
    const auto report = runChecked(kPipeline, 2, time, &buffers);
    if (!report.ok())
      FAIL(report.error().toString());
    for (const ptx::Finding &f : report->findings)
      UNSCOPED_INFO(f.toString());
    CHECK(std::string(report->verdict()) == "clean");
    const auto got = valuesOf<uint32_t>(buffers[1]);
    for (size_t n = 0; n < 1024; ++n)
      REQUIRE(got[n] == from[n] + (n % 2 ? 0 : static_cast<uint32_t>(n / 2 % 32)));
  }
}

TEST_CASE("a pipeline without one of its waits, arrivals or counts is found out", "[ptx]") {
  const std::pair<const char *, const char *> mutants[] = {
      {"@!%e bra FILL;", ""},                               // data not waited for
      {"@!%e bra FREE;", ""},                               // stage not waited for
      {"xor.b32 %ph, %ph, 1;", ""},                         // the other parity
      {"mbarrier.arrive.shared::cta.b64 _, [%empty];", ""}, // stage never handed back
      {"[%full], 256;", "[%full], 512;"},                   // more than comes
      {"[%full], 256;", "[%full], 128;"},                   // less than comes
      {"mbarrier.arrive.expect_tx.shared::cta.b64 %tok, [%full], 256;", ""},
      {"mad.lo.u32 %a, %st, 256, %a; mad.lo", "mad.lo"}, // always stage 0
      {"shr.u32 %ph, %i, 1; and.b32 %ph, %ph, 1;\nmad",
       "mov.u32 %ph, 0;\nmad"},           // phase never flips
      {"bar.sync 0;", ""},                // initialised in time?
      {"[bars+16], 32", "[bars+16], 31"}, // one reader not waited for
  };
  for (const auto &[from, to] : mutants) {
    INFO(from << " -> " << to);
    const std::string body = replaced(kPipeline, from, to);
    bool found = false;
    for (const ptx::CopyTime time : kTimes)
      found = found || kindOf(body, 2, time) != "clean";
    CHECK(found);
  }
}

TEST_CASE("arrivals by count, by state, dropped ones, and by cp.async", "[ptx]") {
  const std::string head =
      ".shared .align 16 .b8 s[1024]; .shared .align 8 .b64 b; .reg .b64 %k, %q, %r;\n"
      ".reg .b32 %t, %a, %v, %n; .reg .pred %p, %z; mov.u32 %t, %tid.x;\n"
      "setp.eq.u32 %z, %t, 0; ld.param.u64 %q, [p0]; ld.param.u64 %r, [p1];\n"
      "mov.u32 %a, s; mad.lo.u32 %a, %t, 16, %a; mad.wide.u32 %q, %t, 16, %q;\n"
      "mad.wide.u32 %r, %t, 4, %r;\n";
  // Each of 64 threads copies 16 bytes; its neighbour in the other warp reads them.
  const std::string copies = head +
                             "@%z mbarrier.init.shared.b64 [b], 64; bar.sync 0;\n"
                             "cp.async.cg.shared.global [%a], [%q], 16;\n"
                             "cp.async.mbarrier.arrive.noinc.shared.b64 [b];\n"
                             "W: mbarrier.test_wait.parity.shared.b64 %p, [b], 0; @!%p bra W;\n"
                             "xor.b32 %a, %a, 512; ld.shared.u32 %v, [%a]; st.global.u32 [%r], %v;";
  CHECK(kindOf(copies, 2) == "clean");
  CHECK(kindOf(
            replaced(copies, "W: mbarrier.test_wait.parity.shared.b64 %p, [b], 0; @!%p bra W;", ""),
            2) == "missing wait");
  const std::string state =
      head + "@%z mbarrier.init.shared.b64 [b], 96; bar.sync 0; st.shared.u32 [%a], %t;\n"
             "@%z mbarrier.arrive.shared.b64 _, [b], 32;\n"
             "mbarrier.arrive.shared.b64 %k, [b];\n"
             "W: mbarrier.try_wait.shared.b64 %p, [b], %k; @!%p bra W;\n"
             "xor.b32 %a, %a, 512; ld.shared.u32 %v, [%a]; st.global.u32 [%r], %v;";
  CHECK(kindOf(state, 2) == "clean");
  CHECK(kindOf(replaced(state, "[b], 96", "[b], 97"), 2).find("deadlock") == std::string::npos);
  const auto stuck = runChecked(replaced(state, "[b], 96", "[b], 97"), 2, ptx::CopyTime::Early);
  REQUIRE(stuck.ok());
  REQUIRE(stuck->findings.size() == 1);
  CHECK(stuck->findings[0].message.find("1 of 97 arrivals") != std::string::npos);
  CHECK(kindOf(replaced(state, "arrive.shared.b64 %k", "arrive_drop.shared.b64 %k"), 2) == "clean");
  // Only the lane that arrives hands over what it wrote.
  const std::string elected =
      head +
      "@%z mbarrier.init.shared.b64 [b], 1; bar.sync 0; setp.ge.u32 %p, %t, 32; @%p bra R;\n"
      "st.shared.u32 [%a], %t; bar.warp.sync -1; @%z mbarrier.arrive.shared.b64 _, [b]; bra E;\n"
      "R: mbarrier.try_wait.parity.shared.b64 %p, [b], 0; @!%p bra R;\n"
      "xor.b32 %a, %a, 512; ld.shared.u32 %v, [%a]; st.global.u32 [%r], %v; E:";
  CHECK(kindOf(elected, 2) == "clean");
  CHECK(kindOf(replaced(elected, "bar.warp.sync -1;", ""), 2) == "race");
  CHECK(kindOf(replaced(elected, "bar.warp.sync -1;", "mov.u32 %n, b; st.shared.u32 [%n], 0;"),
               2) != "clean");
  CHECK(kindOf(head + "mbarrier.arrive.shared.b64 _, [b];", 1) != "clean");
}
