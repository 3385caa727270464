// The checker: a right kernel is clean, and each of its mutants is found. Counts against closed
// forms.
#include "runtime/devices/ptx/DriverControl.h"
#include "tests/runtime/ptx/PtxKernel.h"

using namespace heddle;
using namespace heddle::test;

namespace {

/// Two warps copy a tile asynchronously, one double-buffered step ahead, and each lane sums what
/// the opposite lane's thread copied. Marked lines are what mutants change.
const char *const kPipeline = R"(
.shared .align 16 .b8 tile[2048]; .reg .b32 %t, %i, %a, %b, %o, %v, %sum, %stage; .reg .b64 %q, %r;
.reg .pred %p, %c;
mov.u32 %t, %tid.x; mov.u32 %b, tile; ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 16, %q;
mad.lo.u32 %a, %t, 16, %b; xor.b32 %o, %t, 63; mad.lo.u32 %o, %o, 16, %b;
mov.u32 %sum, 0; mov.u32 %i, 0;
cp.async.cg.shared.global [%a], [%q], 16;
cp.async.commit_group; //first commit
LOOP:
and.b32 %stage, %i, 1; shl.b32 %stage, %stage, 10;
setp.lt.u32 %c, %i, 3; xor.b32 %v, %stage, 1024; add.u32 %v, %v, %a; add.s64 %q, %q, 1024;
@%c cp.async.cg.shared.global [%v], [%q], 16;
cp.async.commit_group; //commit
cp.async.wait_group 1; //wait
bar.sync 0; //arrival
add.u32 %v, %o, %stage;
ld.shared.u32 %v, [%v]; add.u32 %sum, %sum, %v;
bar.sync 0; //release
add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 4; @%p bra LOOP;
cp.async.wait_all; //drain
ld.param.u64 %r, [p1]; mad.wide.u32 %r, %t, 4, %r; st.global.u32 [%r], %sum; //store
)";

Result<ptx::Report> checked(std::string body, std::vector<Bytes> &buffers, PtxLaunch launch = {}) {
  launch.options.check = launch.options.counts = true;
  return runPtx(ptxModule(".param .u64 p0, .param .u64 p1", body), buffers, launch);
}

std::vector<Bytes> pipelineBuffers() {
  return {bytesOf(samples<uint32_t>(4 * 256, 3)), Bytes(256)};
}

/// The pipeline with the line that holds `mark` replaced.
std::string mutant(const std::string &mark, const std::string &line) {
  std::string text = kPipeline;
  const size_t at = text.find(mark);
  const size_t begin = text.rfind('\n', at) + 1;
  return text.replace(begin, text.find('\n', at) - begin, line);
}

std::string kindsOf(const ptx::Report &report) {
  std::string kinds;
  for (const ptx::Finding &f : report.findings)
    kinds += f.kind + " (" + f.message + "); ";
  return kinds;
}

ptx::Report report(const std::string &body, PtxLaunch launch = {},
                   std::vector<Bytes> buffers = {}) {
  if (buffers.empty())
    buffers = {bytesOf(std::vector<uint32_t>(64, 1)), Bytes(1024)};
  const auto result = checked(body, buffers, launch);
  if (!result.ok())
    FAIL(result.error().toString());
  return *result;
}

PtxLaunch warps(int count) {
  PtxLaunch launch;
  launch.block[0] = 32 * count;
  return launch;
}

} // namespace

TEST_CASE("a pipeline of asynchronous copies is clean and right, at any time of the copies",
          "[ptx]") {
  for (const ptx::CopyTime time :
       {ptx::CopyTime::Early, ptx::CopyTime::Late, ptx::CopyTime::Random}) {
    auto buffers = pipelineBuffers();
    PtxLaunch launch = warps(2);
    launch.options.copies = time;
    const auto result = checked(kPipeline, buffers, launch);
    REQUIRE(result.ok());
    INFO(kindsOf(*result));
    CHECK(std::string(result->verdict()) == "clean");
    const auto from = samples<uint32_t>(4 * 256, 3), got = valuesOf<uint32_t>(buffers[1]);
    for (size_t t = 0; t < 64; ++t) {
      uint32_t sum = 0;
      for (size_t step = 0; step < 4; ++step)
        sum += from[256 * step + 4 * (t ^ 63)];
      CHECK(got[t] == sum);
    }
  }
}

TEST_CASE("mutants of the pipeline are found", "[ptx]") {
  const std::pair<const char *, const char *> mutants[] = {
      {"//wait", ""},
      {"//wait", "cp.async.wait_group 2;"},
      {"//arrival", ""},
      {"//release", ""},
      {"//arrival", "bar.warp.sync -1;"},
      {"//commit", ""},
      {"//first commit", ""},
      {"//store", "ld.param.u64 %r, [p1]; mad.wide.u32 %r, %t, 8, %r; st.global.u32 [%r], %sum;"},
      {"and.b32 %stage", "mov.u32 %stage, 0;"},
      {"setp.lt.u32 %c", "setp.lt.u32 %c, %i, 9; xor.b32 %v, %stage, 1024; add.u32 %v, %v, %a; "
                         "add.s64 %q, %q, 1024;"},
      {"setp.lt.u32 %c",
       "setp.lt.u32 %c, %i, 3; mov.u32 %v, %stage; add.u32 %v, %v, %a; add.s64 %q, %q, 1024;"},
      {"mov.u32 %sum", "mov.u32 %i, 0;"},
  };
  for (const auto &[mark, line] : mutants) {
    auto buffers = pipelineBuffers();
    const auto result = checked(mutant(mark, line), buffers, warps(2));
    INFO(mark << " -> " << line);
    REQUIRE(result.ok());
    CHECK(std::string(result->verdict()) == "findings");
  }
}

TEST_CASE("each kind of finding has its kernel", "[ptx]") {
  const std::string head =
      ".shared .align 16 .b8 s[256]; .reg .b32 %t, %a, %v, %w; .reg .b64 %q;\n"
      ".reg .pred %p; mov.u32 %t, %tid.x; ld.param.u64 %q, [p1]; mov.u32 %a, s;\n"
      "mad.lo.u32 %a, %t, 4, %a; mad.wide.u32 %q, %t, 4, %q;\n";
  const auto kind = [&](const std::string &body, int count = 1) {
    const ptx::Report r = report(head + body, warps(count));
    return r.findings.empty() ? std::string("clean") : r.findings[0].kind;
  };
  CHECK(kind("ld.shared.u32 %v, [%a];") == "uninitialised shared memory");
  CHECK(kind("st.global.u32 [%q], %w;") == "uninitialised register");
  CHECK(kind("add.u32 %v, %w, 1; mov.u32 %w, %v; st.global.u32 [%q], %w;") ==
        "uninitialised register");
  CHECK(kind("setp.eq.u32 %p, %w, 0; @%p st.global.u32 [%q], %t;") == "uninitialised register");
  CHECK(kind("st.shared.u32 [%a], %w; ld.shared.u32 %v, [%a];") == "uninitialised shared memory");
  CHECK(kind("st.shared.u32 [%a], %t; xor.b32 %v, %a, 4; ld.shared.u32 %v, [%v];") == "race");
  CHECK(
      kind(
          "st.shared.u32 [%a], %t; bar.warp.sync -1; xor.b32 %v, %a, 4; ld.shared.u32 %v, [%v];") ==
      "clean");
  CHECK(
      kind("st.shared.u32 [%a], %t; bar.warp.sync -1; xor.b32 %v, %a, 128; ld.shared.u32 %v, [%v];",
           2) != "clean");
  CHECK(
      kind("st.global.u32 [%q], %t; xor.b32 %v, %t, 32; sub.s32 %v, %v, %t; mul.wide.s32 %q, %v, "
           "4;\n"
           ".reg .b64 %z; ld.param.u64 %z, [p1]; add.s64 %q, %q, %z; mad.wide.u32 %q, %t, 4, %q;\n"
           "ld.global.u32 %v, [%q];",
           2) != "clean");
  CHECK(kind("setp.lt.u32 %p, %t, 16; @%p bar.sync 0;") == "barrier divergence");
  CHECK(kind(".reg .b64 %z; ld.param.u64 %z, [p0]; cp.async.ca.shared.global [%a], [%z], 4;") ==
        "pending copy");
  CHECK(kind("ld.global.u32 %v, [%q+1024];") == "error");
  // Lanes without a value may shuffle, as long as nobody uses it.
  CHECK(kind("setp.lt.u32 %p, %t, 16; @%p mov.u32 %w, 3; @%p st.global.u32 [%q], %w;") == "clean");
  const ptx::Report unmodelled = report(head + "setmaxnreg.dec.sync.aligned.u32 40;");
  CHECK(std::string(unmodelled.verdict()) == "incomplete");
}

TEST_CASE("global memory that nobody wrote is not to be read", "[ptx]") {
  ptx::Machine machine;
  const auto module = machine.load(ptxModule(".param .u64 p0",
                                             ".reg .b64 %q; .reg .b32 %v; ld.param.u64 %q, [p0];\n"
                                             "st.global.u32 [%q], 1; ld.global.u32 %v, [%q];\n"
                                             "ld.global.u32 %v, [%q+4];"),
                                   "test.ptx");
  REQUIRE(module.ok());
  const auto kernel = (*module)->kernel("kernel");
  REQUIRE(kernel.ok());
  ptx::ParamBlock params(**kernel);
  const auto buffer = machine.memory.allocate(8, "tensor");
  REQUIRE(params.set(0, (*buffer)->address).ok());
  ptx::LaunchConfig config;
  config.params = params.bytes();
  ptx::LaunchOptions options;
  options.check = true;
  const auto result = machine.launch(**kernel, config, options);
  REQUIRE(result.ok());
  REQUIRE(result->findings.size() == 1);
  CHECK(result->findings[0].kind == "uninitialised global memory");
  CHECK(result->findings[0].message.find("byte 4 of tensor") != std::string::npos);
}

TEST_CASE("bank conflicts and sectors equal their closed forms", "[ptx]") {
  // Lane t reads word t * stride: conflicts of degree gcd(stride, 32).
  for (const int stride : {1, 2, 4, 8, 16, 32, 3, 5}) {
    int degree = 1;
    while (stride % (2 * degree) == 0 && degree < 32)
      degree *= 2;
    const ptx::Report r = report(fmt::format(
        ".shared .align 16 .b8 s[4096]; .reg .b32 %t, %a, %v; mov.u32 %t, %tid.x; mov.u32 %a, s;\n"
        "mad.lo.u32 %a, %t, {}, %a; st.shared.u32 [%a], %t;",
        4 * stride));
    INFO(stride);
    CHECK(r.traffic.sharedWavefronts == static_cast<uint64_t>(degree));
    CHECK(r.traffic.sharedIdeal == 1);
  }
  for (const int stride : {1, 2, 8, 16}) {
    const ptx::Report r = report(
        fmt::format(".reg .b32 %t; .reg .b64 %q; mov.u32 %t, %tid.x; ld.param.u64 %q, [p1];\n"
                    "mad.wide.u32 %q, %t, {}, %q; st.global.u32 [%q], %t;",
                    stride),
        {}, {Bytes(4), Bytes(1024)});
    if (stride % 4 == 0) {
      CHECK(r.traffic.globalSectors == static_cast<uint64_t>(std::min(32, stride)));
      CHECK(r.traffic.globalBytes == 128);
    } else {
      CHECK(r.findings[0].kind == "error"); // misaligned
    }
  }
}

TEST_CASE("tensor-core operations are counted", "[ptx]") {
  const ptx::Report r =
      report(".reg .b32 %r<6>; .reg .f32 %f<4>; .reg .pred %p; .reg .b32 %i; mov.u32 %i, 0;\n"
             "mov.u32 %r0, 0; mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 0; mov.u32 %r4, 0; "
             "mov.u32 %r5, 0;\n"
             "mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;\n"
             "L: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, "
             "{%r0,%r1,%r2,%r3}, "
             "{%r4,%r5}, {%f0,%f1,%f2,%f3};\n"
             "add.u32 %i, %i, 1; setp.lt.u32 %p, %i, 7; @%p bra L;");
  CHECK(std::string(r.verdict()) == "clean");
  CHECK(r.traffic.tensorFlops == 7 * 4096);
}

TEST_CASE("counts of the first slice of a grid stand for all of it", "[ptx]") {
  // Blocks differ along x only.
  const std::string body =
      ".shared .align 16 .b8 s[256]; .reg .b32 %t, %a, %v, %x, %i; .reg .pred %p;\n"
      "mov.u32 %t, %tid.x; mov.u32 %x, %ctaid.x; mov.u32 %a, s; mad.lo.u32 %a, %t, 8, %a;\n"
      "mov.u32 %i, 0; L: st.shared.u32 [%a], %t; add.u32 %i, %i, 1; setp.le.u32 %p, %i, %x;\n"
      "@%p bra L;";
  PtxLaunch launch;
  launch.grid[0] = 3, launch.grid[1] = 4, launch.grid[2] = 5;
  launch.options.counts = true;
  std::vector<Bytes> none;
  const auto whole = runPtx(ptxModule("", body), none, launch);
  launch.options.firstSlice = true;
  const auto slice = runPtx(ptxModule("", body), none, launch);
  REQUIRE((whole.ok() && slice.ok()));
  CHECK(whole->blocks == 60);
  CHECK(slice->blocks == 60);
  CHECK(slice->warpInstructions == whole->warpInstructions);
  CHECK(slice->counts == whole->counts);
  CHECK(slice->classes == whole->classes);
  CHECK(slice->traffic.sharedWavefronts == 2 * 20 * (1 + 2 + 3));
  CHECK(slice->traffic.sharedWavefronts == whole->traffic.sharedWavefronts);
}
