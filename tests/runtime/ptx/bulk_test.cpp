// Bulk and tensor copies: every element of a box against the definition, with swizzles, strides and
// edges; stores clip; proxies and groups are checked.
#include "runtime/devices/ptx/TensorMap.h"
#include "tests/runtime/ptx/PtxKernel.h"

#include <fmt/ranges.h>

using namespace heddle;
using namespace heddle::test;

namespace {

struct Box {
  int rank = 2;
  int64_t dims[5] = {1, 1, 1, 1, 1}, box[5] = {1, 1, 1, 1, 1}, step[5] = {1, 1, 1, 1, 1};
  int64_t at[5] = {0, 0, 0, 0, 0};
  ptx::Swizzle swizzle = ptx::Swizzle::None;
  ptx::TensorMap::Fill fill = ptx::TensorMap::Fill::Zero;
  int64_t extent(int d) const { return (box[d] + step[d] - 1) / step[d]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d)
      n *= extent(d);
    return n;
  }
};

/// Runs a kernel (p0 a tensor map of float32 over `tensor`, p1 a pointer to `other`) with one warp.
Result<ptx::Report> runWithMap(const std::string &body, const Box &b, std::vector<float> &tensor,
                               std::vector<float> &other, ptx::LaunchOptions options,
                               int64_t pad = 0) {
  ptx::Machine machine;
  HEDDLE_TRY(module, machine.load(ptxModule(".param .align 64 .b8 p0[128], .param .u64 p1", body),
                                  "test.ptx"));
  HEDDLE_TRY(kernel, module->kernel("kernel"));
  const auto place = [&](std::vector<float> &values) -> Result<uint64_t> {
    HEDDLE_TRY(buffer, machine.memory.allocate(values.size() * 4, ""));
    HEDDLE_CHECK(machine.memory.write(buffer->address, std::as_bytes(std::span(values))));
    return buffer->address;
  };
  HEDDLE_TRY(at, place(tensor));
  HEDDLE_TRY(otherAt, place(other));
  ptx::TensorMap map;
  map.type = 7;
  map.rank = static_cast<uint8_t>(b.rank);
  map.address = at;
  map.swizzle = b.swizzle;
  map.fill = b.fill;
  uint64_t stride = 4;
  for (size_t d = 0; d < static_cast<size_t>(b.rank); ++d) {
    map.dims[d] = static_cast<uint64_t>(b.dims[d]);
    map.strides[d] = stride;
    map.box[d] = static_cast<uint32_t>(b.box[d]);
    map.elementStrides[d] = static_cast<uint32_t>(b.step[d]);
    stride = d == 0 ? static_cast<uint64_t>(b.dims[0] + pad) * 4 : stride * map.dims[d];
  }
  HEDDLE_TRY(image, ptx::encodeTensorMap(map));
  ptx::ParamBlock params(*kernel);
  HEDDLE_CHECK(params.setBytes(0, image));
  HEDDLE_CHECK(params.set(1, otherAt));
  ptx::LaunchConfig config;
  config.block[0] = 32;
  config.sharedBytes = 65536;
  config.params = params.bytes();
  HEDDLE_TRY(report, machine.launch(*kernel, config, options));
  HEDDLE_CHECK(machine.memory.read(at, std::as_writable_bytes(std::span(tensor))));
  HEDDLE_CHECK(machine.memory.read(otherAt, std::as_writable_bytes(std::span(other))));
  return report;
}

const std::string kHead =
    ".extern .shared .align 1024 .b8 s[];\n"
    ".shared .align 8 .b64 b; .reg .b64 %m, %o, %k; .reg .b32 %t, %i, %a, %v; .reg .pred %p, %z;\n"
    "mov.u32 %t, %tid.x; setp.eq.u32 %z, %t, 0; mov.b64 %m, p0; cvta.param.u64 %m, %m;\n"
    "ld.param.u64 %o, [p1];\n";

std::string coordinates(const Box &b) {
  return fmt::format("{{{}}}", fmt::join(b.at, b.at + b.rank, ", "));
}

/// Loads the box and copies shared memory out, word by word.
std::string loadKernel(const Box &b) {
  return kHead +
         fmt::format(
             "@%z mbarrier.init.shared.b64 [b], 1; @%z fence.proxy.async; bar.sync 0; @!%z bra W;\n"
             "mbarrier.arrive.expect_tx.shared.b64 _, [b], {0};\n"
             "cp.async.bulk.tensor.{1}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
             "[s], "
             "[%m, {2}], [b];\n"
             "W: mbarrier.try_wait.parity.shared.b64 %p, [b], 0; @!%p bra W;\n"
             "mov.u32 %i, %t;\nL: setp.ge.u32 %p, %i, {3}; @%p bra E;\n"
             "mov.u32 %a, s; mad.lo.u32 %a, %i, 4, %a; ld.shared.u32 %v, [%a];\n"
             "mad.wide.u32 %k, %i, 4, %o; st.global.u32 [%k], %v; add.u32 %i, %i, 32; bra L; E:",
             b.elements() * 4, b.rank, coordinates(b), b.elements());
}

/// The element of the tensor at the i-th place of the box, or its index -1 outside.
int64_t elementAt(const Box &b, int64_t i, int64_t pad) {
  int64_t index = 0, stride = 1;
  bool inside = true;
  for (int d = 0; d < b.rank; ++d) {
    const int64_t c = b.at[d] + i % b.extent(d) * b.step[d];
    i /= b.extent(d);
    inside = inside && c >= 0 && c < b.dims[d];
    index += c * stride;
    stride *= b.dims[d] + (d == 0 ? pad : 0);
  }
  return inside ? index : -1;
}

std::vector<float> numbered(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i + 1);
  return values;
}

int64_t tensorElements(const Box &b, int64_t pad) {
  int64_t n = b.dims[0] + pad;
  for (int d = 1; d < b.rank; ++d)
    n *= b.dims[d];
  return n;
}

const Box kBoxes[] = {
    {1, {100}, {64}, {1}, {48}},
    {2, {64, 20}, {32, 16}, {1, 1}, {-8, 12}, ptx::Swizzle::B128},
    {2, {40, 9}, {16, 8}, {1, 1}, {32, -3}, ptx::Swizzle::B64},
    {2, {24, 33}, {8, 32}, {1, 1}, {20, 7}, ptx::Swizzle::B32, ptx::TensorMap::Fill::NaN},
    {3, {16, 5, 7}, {8, 4, 3}, {1, 1, 1}, {12, 3, 5}},
    {4, {8, 3, 4, 5}, {8, 2, 2, 3}, {1, 1, 1, 1}, {4, 2, 1, 3}, ptx::Swizzle::B32},
    {5, {4, 3, 2, 3, 4}, {4, 2, 2, 2, 2}, {1, 1, 1, 1, 1}, {-1, 0, 1, 2, 3}},
    {2, {64, 20}, {32, 16}, {2, 3}, {3, 1}},
};

} // namespace

TEST_CASE("tensor loads bring each element of the box to its swizzled place", "[ptx]") {
  for (const Box &b : kBoxes) {
    const int64_t pad = b.dims[0] % 4 ? 4 - b.dims[0] % 4 : 4;
    std::vector<float> tensor = numbered(tensorElements(b, pad));
    std::vector<float> got(static_cast<size_t>(b.elements()), -1.0f);
    for (const ptx::CopyTime time : {ptx::CopyTime::Early, ptx::CopyTime::Late}) {
      ptx::LaunchOptions options;
      options.check = true;
      options.copies = time;
      const auto report = runWithMap(loadKernel(b), b, tensor, got, options, pad);
      if (!report.ok())
        FAIL(report.error().toString());
      for (const ptx::Finding &f : report->findings)
        UNSCOPED_INFO(f.toString());
      CHECK(std::string(report->verdict()) == "clean");
      for (int64_t i = 0; i < b.elements(); ++i) {
        // Chunk c of 128-byte line r stands at c ^ (r % 8), and so on for the narrower ones.
        const int64_t byte = 4 * i, line = byte / 128;
        const int64_t rows = b.swizzle == ptx::Swizzle::None ? 1 : 1 << static_cast<int>(b.swizzle);
        const int64_t place = byte ^ (line % rows) << 4;
        const float value = got[static_cast<size_t>(place / 4)];
        const int64_t element = elementAt(b, i, pad);
        INFO("rank " << b.rank << " element " << i);
        if (element >= 0)
          REQUIRE(value == static_cast<float>(element + 1));
        else if (b.fill == ptx::TensorMap::Fill::Zero)
          REQUIRE(value == 0.0f);
        else
          REQUIRE(value != value);
      }
    }
  }
}

TEST_CASE("an mbarrier that a tensor load completes is fenced after its init", "[ptx]") {
  const Box &b = kBoxes[1];
  const std::string with = loadKernel(b), fence = "@%z fence.proxy.async;";
  const auto kindOf = [&](const std::string &instead) {
    std::string text = with;
    text.replace(text.find(fence), fence.size(), instead);
    std::vector<float> tensor = numbered(tensorElements(b, 4));
    std::vector<float> got(static_cast<size_t>(b.elements()));
    ptx::LaunchOptions options;
    options.check = true;
    const auto report = runWithMap(text, b, tensor, got, options, 4);
    if (!report.ok())
      FAIL(report.error().toString());
    return report->findings.empty() ? std::string("clean") : report->findings[0].kind;
  };
  CHECK(kindOf("@%z fence.mbarrier_init.release.cluster;") == "clean");
  CHECK(kindOf("bar.sync 0; fence.proxy.async.shared::cta;") == "clean"); // as Triton does
  CHECK(kindOf("") == "missing proxy fence");
  CHECK(kindOf("@!%z fence.mbarrier_init.release.cluster;") == "missing proxy fence");
}

TEST_CASE("tensor stores and reductions leave what is outside alone", "[ptx]") {
  for (const Box &b : kBoxes)
    for (const bool adds : {false, true}) {
      if (b.swizzle != ptx::Swizzle::None)
        continue;
      const int64_t pad = b.dims[0] % 4 ? 4 - b.dims[0] % 4 : 4;
      const std::string body =
          kHead +
          fmt::format(
              "mov.u32 %i, %t;\nL: setp.ge.u32 %p, %i, {0}; @%p bra E;\n"
              "mov.u32 %a, s; mad.lo.u32 %a, %i, 4, %a; mad.wide.u32 %k, %i, 4, %o;\n"
              "ld.global.u32 %v, [%k]; st.shared.u32 [%a], %v; add.u32 %i, %i, 32; bra L;\n"
              "E: fence.proxy.async.shared::cta; bar.sync 0; @!%z bra X;\n"
              "cp{1}.async.bulk.tensor.{2}d.global.shared::cta{3}.tile.bulk_group [%m, {4}], [s];\n"
              "cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; X:",
              b.elements(), adds ? ".reduce" : "", b.rank, adds ? ".add" : "", coordinates(b));
      const std::vector<float> before = numbered(tensorElements(b, pad));
      std::vector<float> tensor = before, from = numbered(b.elements());
      ptx::LaunchOptions options;
      options.check = true;
      options.copies = ptx::CopyTime::Late;
      const auto run = [&](const std::string &text) {
        auto report = runWithMap(text, b, tensor, from, options, pad);
        if (!report.ok())
          FAIL(report.error().toString());
        return report->findings.empty() ? std::string("clean") : report->findings[0].kind;
      };
      CHECK(run(body) == "clean");
      std::vector<float> expected = before;
      for (int64_t i = 0; i < b.elements(); ++i)
        if (const int64_t e = elementAt(b, i, pad); e >= 0)
          expected[static_cast<size_t>(e)] =
              (adds ? expected[static_cast<size_t>(e)] : 0) + static_cast<float>(i + 1);
      CHECK(tensor == expected);
      const auto without = [&](const char *what) {
        std::string text = body;
        return run(text.erase(text.find(what), std::string(what).size()));
      };
      CHECK(without("fence.proxy.async.shared::cta;") == "missing proxy fence");
      CHECK(without("cp.async.bulk.wait_group.read 0;") == "pending copy");
      CHECK(without("bar.sync 0;") != "clean");
      if (elementAt(b, 0, pad) < 0)
        continue; // the first element of the box is not read
      std::string early = body;
      early.replace(early.find("cp.async.bulk.wait_group.read 0;"), 32,
                    "st.shared.u32 [s], 0; cp.async.bulk.wait_group 0;");
      CHECK(run(early) == "missing wait");
    }
}

TEST_CASE("tensor maps say what is wrong with them", "[ptx]") {
  ptx::TensorMap map;
  map.type = 9;
  map.rank = 2;
  map.address = 0x100000000000;
  map.dims = {64, 8};
  map.strides = {2, 128};
  map.box = {64, 8};
  map.swizzle = ptx::Swizzle::B128;
  const auto image = ptx::encodeTensorMap(map);
  REQUIRE(image.ok());
  const auto back = ptx::decodeTensorMap(*image);
  REQUIRE(back.ok());
  CHECK(back->boxBytes() == 1024);
  CHECK(back->strides[1] == 128);
  ptx::TensorMapImage broken = *image;
  broken[30] ^= std::byte{1};
  CHECK(!ptx::decodeTensorMap(broken).ok());
  const auto wrong = [&](auto change) {
    ptx::TensorMap m = map;
    change(m);
    return ptx::encodeTensorMap(m).ok();
  };
  CHECK(!wrong([](auto &m) { m.address += 8; }));
  CHECK(!wrong([](auto &m) { m.strides[1] = 136; }));
  CHECK(!wrong([](auto &m) { m.box[0] = 72; }));
  CHECK(!wrong([](auto &m) { m.box[1] = 257; }));
  CHECK(!wrong([](auto &m) { m.rank = 6; }));
  CHECK(!wrong([](auto &m) { m.elementStrides[1] = 9; }));
  CHECK(!wrong([](auto &m) { m.swizzle = ptx::Swizzle::B64; }));
  CHECK(!wrong([](auto &m) { m.type = 40; }));
}

TEST_CASE("a cluster's blocks meet, and reach each other's shared memory", "[ptx]") {
  // Each block writes its rank + its lane into the next one's memory, which sums what it got.
  const std::string body = R"(
.shared .align 16 .b32 s[32]; .reg .b32 %t, %r, %n, %a, %v, %g; .reg .b64 %o; .reg .pred %p;
mov.u32 %t, %tid.x; mov.u32 %r, %cluster_ctarank; mov.u32 %n, %cluster_nctarank;
add.u32 %v, %r, %t; add.u32 %g, %r, 1; rem.u32 %g, %g, %n;
mov.u32 %a, s; mapa.shared::cluster.u32 %a, %a, %g; mad.lo.u32 %a, %t, 4, %a;
barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
st.shared::cluster.u32 [%a], %v;
barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;
mov.u32 %a, s; xor.b32 %g, %t, 1; mad.lo.u32 %a, %g, 4, %a; ld.shared.u32 %v, [%a];
ld.param.u64 %o, [p0]; mov.u32 %g, %ctaid.x; mad.lo.u32 %g, %g, 32, %t; mad.wide.u32 %o, %g, 4, %o;
st.global.u32 [%o], %v;)";
  const auto run = [&](const std::string &text, std::vector<Bytes> &buffers) {
    std::string module = ptxModule(".param .u64 p0", text);
    module.replace(module.find(")\n{"), 3, ") .reqnctapercluster 4, 1, 1\n{");
    PtxLaunch launch;
    launch.grid[0] = 8;
    launch.options.check = true;
    return runPtx(module, buffers, launch);
  };
  std::vector<Bytes> buffers = {Bytes(1024)};
  const auto report = run(body, buffers);
  if (!report.ok())
    FAIL(report.error().toString());
  for (const ptx::Finding &f : report->findings)
    UNSCOPED_INFO(f.toString());
  CHECK(std::string(report->verdict()) == "clean");
  const auto got = valuesOf<uint32_t>(buffers[0]);
  for (uint32_t block = 0; block < 8; ++block)
    for (uint32_t t = 0; t < 32; ++t)
      CHECK(got[32 * block + t] == (block % 4 + 3) % 4 + (t ^ 1));
  std::string racy = body;
  racy.erase(
      racy.find("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"),
      77);
  const auto found = run(racy, buffers);
  REQUIRE(found.ok());
  CHECK(std::string(found->verdict()) == "findings");
  std::string stuck = body;
  stuck.insert(stuck.find("st.shared::cluster"), "setp.eq.u32 %p, %r, 2; @%p exit;\n");
  CHECK(run(stuck, buffers).ok());
}

TEST_CASE("st.async writes to a block of the cluster, and its mbarrier hears of it", "[ptx]") {
  // Each block sends two words a lane to the other one, which sums them.
  const std::string body = R"(
.shared .align 16 .b32 s[64]; .shared .align 8 .b64 b; .reg .b32 %t, %r, %g, %a, %m, %v, %u;
.reg .b64 %o; .reg .pred %p, %z;
mov.u32 %t, %tid.x; mov.u32 %r, %cluster_ctarank; xor.b32 %g, %r, 1; setp.eq.u32 %z, %t, 0;
@%z mbarrier.init.shared.b64 [b], 1; @%z mbarrier.arrive.expect_tx.shared.b64 _, [b], 256;
fence.mbarrier_init.release.cluster; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
mov.u32 %a, s; mapa.shared::cluster.u32 %a, %a, %g; mad.lo.u32 %a, %t, 8, %a;
mov.u32 %m, b; mapa.shared::cluster.u32 %m, %m, %g;
mad.lo.u32 %v, %r, 100, %t; add.u32 %u, %v, 1000;
st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%a], {%v, %u}, [%m];
W: mbarrier.try_wait.parity.shared.b64 %p, [b], 0; @!%p bra W;
mov.u32 %a, s; mad.lo.u32 %a, %t, 8, %a; ld.shared.v2.u32 {%v, %u}, [%a]; add.u32 %v, %v, %u;
ld.param.u64 %o, [p0]; mov.u32 %g, %ctaid.x; mad.lo.u32 %g, %g, 32, %t; mad.wide.u32 %o, %g, 4, %o;
st.global.u32 [%o], %v; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;)";
  const auto run = [&](const std::string &text, ptx::CopyTime copies, std::vector<Bytes> &buffers) {
    std::string module = ptxModule(".param .u64 p0", text);
    module.replace(module.find(")\n{"), 3, ") .reqnctapercluster 2, 1, 1\n{");
    PtxLaunch launch;
    launch.grid[0] = 4;
    launch.options.check = true;
    launch.options.copies = copies;
    const auto report = runPtx(module, buffers, launch);
    if (!report.ok())
      FAIL(report.error().toString());
    return report->findings.empty() ? std::string("clean") : report->findings[0].toString();
  };
  const auto changed = [&](const std::string &what, const std::string &instead) {
    std::string text = body;
    return text.replace(text.find(what), what.size(), instead);
  };
  using Catch::Matchers::Contains;
  for (const ptx::CopyTime copies : {ptx::CopyTime::Early, ptx::CopyTime::Late}) {
    std::vector<Bytes> buffers = {Bytes(512)};
    CHECK(run(body, copies, buffers) == "clean");
    const auto got = valuesOf<uint32_t>(buffers[0]);
    for (uint32_t i = 0; i < 128; ++i)
      CHECK(got[i] == 2 * (100 * (i / 32 % 2 ^ 1) + i % 32) + 1000);
    CHECK(run(changed("@!%p bra W;", ""), copies, buffers) != "clean");
    CHECK_THAT(run(changed("mapa.shared::cluster.u32 %m, %m, %g;", ""), copies, buffers),
               Contains("another block"));
    CHECK_THAT(run(changed("b], 256", "b], 264"), copies, buffers), Contains("deadlock"));
  }
}
