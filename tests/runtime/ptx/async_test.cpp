// cp.async: sizes, zero filling, groups; early and late copies differ only if a wait is missing.
#include "tests/runtime/ptx/PtxKernel.h"

using namespace heddle;
using namespace heddle::test;

namespace {

/// Each lane copies 16 bytes twice in two groups, of which `wait` are left pending.
std::vector<uint32_t> copyTwice(int wait, ptx::CopyTime time) {
  const std::string body = fmt::format(R"(
.shared .align 16 .b8 s[1024]; .reg .b32 %t, %a, %n, %v; .reg .b64 %q, %r;
mov.u32 %t, %tid.x; mov.u32 %a, s; mad.lo.u32 %a, %t, 16, %a;
st.shared.v4.b32 [%a], {{-1, -1, -1, -1}}; st.shared.v4.b32 [%a+512], {{-1, -1, -1, -1}};
ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 16, %q; min.u32 %n, %t, 16;
cp.async.cg.shared.global [%a], [%q], 16, %n; cp.async.commit_group;
cp.async.ca.shared.global.L2::128B [%a+516], [%q+4], 4; cp.async.commit_group;
cp.async.wait_group {};
ld.param.u64 %r, [p1]; mad.wide.u32 %r, %t, 32, %r;
.reg .b32 %x<4>;
ld.shared.v4.b32 {{%x0,%x1,%x2,%x3}}, [%a]; st.global.v4.b32 [%r], {{%x0,%x1,%x2,%x3}};
ld.shared.v4.b32 {{%x0,%x1,%x2,%x3}}, [%a+512]; st.global.v4.b32 [%r+16], {{%x0,%x1,%x2,%x3}};)",
                                       wait);
  std::vector<Bytes> buffers = {bytesOf(samples<uint32_t>(128, 9)), Bytes(1024)};
  PtxLaunch launch;
  launch.options.copies = time;
  const auto report = runPtx(ptxModule(".param .u64 p0, .param .u64 p1", body), buffers, launch);
  if (!report.ok())
    FAIL(report.error().toString());
  return valuesOf<uint32_t>(buffers[1]);
}

} // namespace

TEST_CASE("cp.async fills with zeros beyond its source", "[ptx]") {
  const auto from = samples<uint32_t>(128, 9);
  for (const ptx::CopyTime time :
       {ptx::CopyTime::Early, ptx::CopyTime::Late, ptx::CopyTime::Random}) {
    const auto got = copyTwice(0, time);
    for (size_t t = 0; t < 32; ++t) {
      for (size_t byte = 0; byte < 16; ++byte) {
        const uint32_t word = byte < std::min<size_t>(t, 16) ? from[4 * t + byte / 4] : 0;
        CHECK((got[8 * t + byte / 4] >> (8 * (byte % 4)) & 255) ==
              (word >> (8 * (byte % 4)) & 255));
      }
      CHECK(got[8 * t + 4] == ~0u);
      CHECK(got[8 * t + 5] == from[4 * t + 1]);
      CHECK(got[8 * t + 6] == ~0u);
    }
  }
}

TEST_CASE("a late copy is not there before its group is waited for", "[ptx]") {
  const auto from = samples<uint32_t>(128, 9);
  const auto got = copyTwice(1, ptx::CopyTime::Late);
  for (size_t t = 16; t < 32; ++t) {
    CHECK(got[8 * t] == from[4 * t]); // the older group
    CHECK(got[8 * t + 5] == ~0u);     // the newer one
  }
  CHECK(copyTwice(1, ptx::CopyTime::Early)[8 * 20 + 5] == from[81]);
}
