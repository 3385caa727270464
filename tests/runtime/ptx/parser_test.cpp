// The parser: scopes, labels and expressions; bad text gets a reason and a line, whatever it is.
#include "tests/runtime/Mutate.h"
#include "tests/runtime/ptx/PtxKernel.h"

using namespace heddle;
using namespace heddle::test;

namespace {

std::string parseError(const std::string &text) {
  const auto module = ptx::parseModule(text, "t.ptx");
  return module.ok() ? "no error" : module.error().toString();
}

const char *const kHead = ".version 8.0\n.target sm_80\n.address_size 64\n";

std::string decodeError(const std::string &body) {
  ptx::Machine machine;
  auto module = machine.load(ptxModule("", body), "t.ptx");
  if (!module.ok())
    return module.error().toString();
  const auto kernel = (*module)->kernel("kernel");
  return kernel.ok() ? "no error" : kernel.error().toString();
}

} // namespace

TEST_CASE("bad PTX is refused with what was found and where", "[ptx]") {
  CHECK(parseError("") ==
        "t.ptx:1:1: invalid argument: PTX begins with .version, found the end of the text");
  CHECK(parseError(".version 3.0\n.target sm_20") ==
        "t.ptx:1:10: invalid argument: PTX 3.0 is not known; 6.0 to 9.9 are");
  const std::string head = kHead;
  CHECK(parseError(head + ".entry k() { bra NOWHERE; }") ==
        "t.ptx:4:25: invalid argument: label 'NOWHERE' is not declared");
  CHECK(parseError(head + ".entry k() { add.u32 %r1, %r2; ").find("closing brace") !=
        std::string::npos);
  CHECK(parseError(head + ".entry k() { @%p ret; }").find("no predicate register") !=
        std::string::npos);
  CHECK(parseError(head + ".shared .b8 a[1] = {1};").find("no initial value") != std::string::npos);
  CHECK(parseError(head + ".global .b8 a[99999999999];").find("out of bounds") !=
        std::string::npos);
  CHECK(parseError(head + "@#!").find("expected .entry") != std::string::npos);
  CHECK(parseError(head + ".entry k() { A: ret; A: ret; }").find("stands twice") !=
        std::string::npos);
}

TEST_CASE("a directive may run into its type", "[ptx]") {
  ptx::Machine machine;
  CHECK(machine.load(ptxModule("", "{.reg.b32 %a; mov.b32 %a, 1;}"), "t.ptx").ok());
}

TEST_CASE("what the machine does not know is refused by name and line", "[ptx]") {
  CHECK(decodeError("frobnicate.f32 1;") ==
        "t.ptx:7: unsupported: frobnicate.f32: the machine does not know this opcode");
  CHECK(decodeError(".reg .b32 %a; add.strange.u32 %a, %a, 1;") ==
        "t.ptx:7: unsupported: add.strange.u32: the machine does not know the modifier '.strange' "
        "here");
  CHECK(decodeError(".reg .b32 %a; .reg .b64 %b; add.u32 %a, %b, 1;").find("register %b is .b64") !=
        std::string::npos);
  CHECK(decodeError(".reg .b32 %a; mov.u32 %a, %nosuch;").find("%nosuch") != std::string::npos);
  CHECK(decodeError(".reg .b32 %a; mov.u32 %a, nosuch;").find("'nosuch' is not declared") !=
        std::string::npos);
  ptx::Machine machine;
  auto module = machine.load(ptxModule("", ""), "t.ptx");
  REQUIRE(module.ok());
  CHECK((*module)->kernel("other").error().message == "no kernel 'other' in t.ptx; it has: kernel");
}

TEST_CASE("names are looked up by scope", "[ptx]") {
  const auto got = mapPtx<uint32_t, uint32_t>(R"(
mov.u32 %d, %a;
{ .reg .b32 %d, %r<3>; .reg .pred %p; mov.u32 %d, 77; mov.u32 %r2, %d; setp.eq.u32 %p, %d, 77; @%p bra L; L: }
{ .reg .b32 %x; L: add.u32 %d, %d, (2+3)*4-0x4; }
)",
                                              std::vector<uint32_t>{1, 2, 3});
  CHECK(got == std::vector<uint32_t>{17, 18, 19});
}

TEST_CASE("variables keep their initial values and addresses", "[ptx]") {
  const std::string outside = ".const .align 4 .f32 c[2] = {1.5, 0f40000000};\n"
                              ".global .align 8 .u64 g[2] = {c+4, generic(h)};\n"
                              ".global .align 2 .u16 h[3] = {1, 2, 0xffff};\n";
  const std::string body = R"(
.reg .b64 %q, %g; .reg .b32 %h; .reg .f32 %f; ld.param.u64 %q, [p0];
mov.u64 %g, g; ld.global.u64 %g, [%g]; ld.const.f32 %f, [%g]; st.global.f32 [%q], %f;
ld.const.f32 %f, [c]; st.global.f32 [%q+4], %f;
ld.global.u64 %g, [g+8]; ld.global.s16 %h, [%g+4]; st.global.u32 [%q+8], %h;)";
  std::vector<Bytes> buffers = {Bytes(12)};
  PtxLaunch one;
  one.block[0] = 1;
  const auto report = runPtx(ptxModule(".param .u64 p0", body, "sm_80", outside), buffers, one);
  INFO((report.ok() ? "" : report.error().toString()));
  REQUIRE(report.ok());
  CHECK(valuesOf<float>(buffers[0])[0] == 2.0f);
  CHECK(valuesOf<float>(buffers[0])[1] == 1.5f);
  CHECK(valuesOf<uint32_t>(buffers[0])[2] == ~0u);
}

TEST_CASE("damaged PTX never breaks the parser or the decoder", "[ptx]") {
  const std::string text = ptxModule(
      ".param .u64 p0, .param .align 8 .b8 p1[16]",
      R"(
.reg .b32 %r<9>; .reg .pred %p<3>; .reg .f32 %f<4>; .reg .b64 %q<4>; .shared .align 16 .b8 s[64];
ld.param.u64 %q1, [p0]; ld.param.v2.u32 {%r1, %r2}, [p1+8]; mov.b64 {%r3, %r4}, %q1;
setp.lt.and.f32 %p1|%p2, %f1, 0f3F800000, !%p1; @!%p2 bra L1; { .reg .b32 %z; L0: bra L0; }
L1: .loc 1 2 3, function_name $L__x, inlined_at 1 2 3
T: .branchtargets L1, L2;
brx.idx %r1, T;
L2: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f0,%f1,%f2,%f3};
cp.async.cg.shared.global [%r1+16], [%q1], 16, %r2; shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, -1;
)",
      "sm_80", ".global .align 4 .b8 g[8] = {1, 2, 3};\n.extern .shared .align 16 .b8 d[];\n");
  int refused = 0;
  forEachMutation(text, 3000, [&](const std::string &bytes) {
    ptx::Machine machine;
    auto module = machine.load(bytes, "m.ptx");
    if (!module.ok()) {
      REQUIRE(!module.error().message.empty());
      REQUIRE(!module.error().where.empty());
      ++refused;
      return;
    }
    for (const std::string &name : (*module)->kernels()) {
      const auto kernel = (*module)->kernel(name);
      refused += !kernel.ok();
    }
  });
  CHECK(refused > 1000);
}

TEST_CASE("forms that a decoder does not take are refused, never run", "[ptx]") {
  for (const char *code : {"mbarrier.init.shared.b32 [b], 1;", "mbarrier.inval.shared.b32 [b];",
                           "mbarrier.pending_count.b32 %r, %q;", "ld.shared.u32 %r, [b], 1, 2;",
                           "cp.async.mbarrier.arrive.shared.b32 [b];"}) {
    INFO(code);
    ptx::Machine machine;
    const auto module = machine.load(
        ptxModule("",
                  fmt::format(".shared .align 8 .b64 b; .reg .b32 %r; .reg .b64 %q;\n{}", code)),
        "test.ptx");
    REQUIRE(module.ok());
    const auto kernel = (*module)->kernel("kernel");
    REQUIRE(!kernel.ok());
    CHECK(kernel.error().code == ErrorCode::Unsupported);
    CHECK(!(*module)->allRefusals().empty());
  }
}

TEST_CASE("any instructions in any order run to their end, a finding or the bound on steps",
          "[ptx]") {
  // # is a register of the type before it, drawn for each place.
  constexpr const char *kLines[] = {
      "add.u32 %r#, %r#, %r#;",
      "mov.u32 %r#, %tid.x;",
      "@%p# mov.b32 %r#, 7;",
      "mov.u64 %q#, s;",
      "setp.lt.s32 %p#, %r#, %r#;",
      "@%p# bra L;",
      "bar.sync 0;",
      "@%p# bar.sync 1, 64;",
      "ld.shared.v2.u32 {%r#, %r#}, [%r#];",
      "st.shared.u32 [s+8], %r#;",
      "ld.global.u32 %r#, [%q#];",
      "st.u32 [%q#], %r#;",
      "atom.shared.add.u32 %r#, [s], %r#;",
      "cvt.u64.u32 %q#, %r#;",
      "shfl.sync.bfly.b32 %r#, %r#, 1, 31, -1;",
      "vote.sync.any.pred %p#, %p#, %r#;",
      "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r#, %r#}, [s];",
      "@%p# exit;",
      "movmatrix.sync.aligned.m8n8.trans.b16 %r#, %r#;",
      "cp.async.ca.shared.global [s], [%q#], 8;",
      "cp.async.commit_group;",
      "cp.async.wait_group 0;",
      "@%p# mbarrier.init.shared.b64 [b], 2;",
      "mbarrier.arrive.shared.b64 %q#, [b];",
      "mbarrier.try_wait.parity.shared.b64 %p#, [b], %r#;",
      "fence.proxy.async;",
      "mbarrier.arrive.expect_tx.shared.b64 _, [b], 16;",
      "match.any.sync.b32 %r#, %r#, -1;",
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%q#], %r#, [b];"};
  std::mt19937 random(11);
  int ran = 0;
  for (int round = 0; round < 400; ++round) {
    std::string body = ".shared .align 16 .b8 s[64]; .shared .align 8 .b64 b; .reg .b32 %r<4>; "
                       ".reg .b64 %q<4>; .reg .pred %p<4>;\nld.param.u64 %q0, [p0];\n";
    const size_t label = random() % 8;
    for (size_t line = 0; line < 8; ++line) {
      body += line == label ? "L:\n" : "";
      for (const char *c = kLines[random() % std::size(kLines)]; *c; ++c)
        body += *c == '#' ? std::to_string(random() % 4) : std::string(1, *c);
      body += "\n";
    }
    std::vector<Bytes> buffers = {Bytes(64)};
    PtxLaunch launch;
    launch.block[0] = 64;
    launch.options.check = random() % 2;
    launch.options.copies = ptx::CopyTime::Random;
    launch.options.stepLimit = 300;
    const auto report = runPtx(ptxModule(".param .u64 p0", body), buffers, launch);
    INFO(body << (report ? "" : report.error().toString()));
    REQUIRE((report.ok() || report.error().code == ErrorCode::CheckFailed));
    ran += report.ok();
  }
  CHECK(ran > 100);
}
