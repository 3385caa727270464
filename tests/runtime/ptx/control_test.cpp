// Control flow: divergence against a scalar reference, calls, tables, barriers, deadlock, bounds.
#include "tests/runtime/ptx/PtxKernel.h"

#include <random>

using namespace heddle::test;

namespace {

/// A random structured program over four registers, as PTX and as something to run by lane.
class RandomProgram {
public:
  explicit RandomProgram(uint64_t seed) : random(seed) {
    for (int i = 0; i < 4; ++i)
      text += statement(0, i);
  }

  std::string text;

  uint32_t run(uint32_t a, uint32_t b) const {
    uint32_t r[4] = {a, b, a ^ b, a + b};
    for (const Node &node : program)
      execute(node, r);
    return r[0] ^ r[1] * 3 ^ r[2] * 5 ^ r[3] * 7;
  }

private:
  struct Node {
    int kind; // 0: op, 1: if, 2: loop
    int x, y, z;
    std::vector<Node> first, second;
  };

  static void execute(const Node &n, uint32_t *r) {
    if (n.kind == 0) {
      if (n.z % 3 == 1)
        r[n.x] *= 5; // before the other operand is read: it may be the same
      r[n.x] = n.z % 3 == 0 ? r[n.x] + r[n.y] : n.z % 3 == 1 ? r[n.x] ^ r[n.y] : r[n.y] - r[n.x];
    } else if (n.kind == 1) {
      for (const Node &m : (r[n.x] & 7) < static_cast<uint32_t>(n.z % 7) ? n.first : n.second)
        execute(m, r);
    } else {
      for (uint32_t i = 0; i < (r[n.x] & 3) + 1; ++i) {
        if (i == 2 && (r[n.y] & 1))
          break;
        for (const Node &m : n.first)
          execute(m, r);
      }
    }
  }

  std::string statement(int depth, int) {
    program.push_back(make(depth));
    return print(program.back());
  }

  Node make(int depth) {
    Node n{depth < 4 ? static_cast<int>(random() % 3) : 0,
           pick(),
           pick(),
           static_cast<int>(random() % 100),
           {},
           {}};
    for (int i = 0; n.kind && i < 2; ++i) {
      n.first.push_back(make(depth + 1));
      n.second.push_back(make(depth + 1));
    }
    return n;
  }
  int pick() { return static_cast<int>(random() % 4); }

  std::string print(const Node &n) {
    const int id = labels++;
    std::string s;
    if (n.kind == 0) {
      if (n.z % 3 == 0)
        return fmt::format("add.u32 %x{0}, %x{0}, %x{1};\n", n.x, n.y);
      if (n.z % 3 == 1)
        return fmt::format("mul.lo.u32 %x{0}, %x{0}, 5; xor.b32 %x{0}, %x{0}, %x{1};\n", n.x, n.y);
      return fmt::format("sub.u32 %x{0}, %x{1}, %x{0};\n", n.x, n.y);
    }
    if (n.kind == 1) {
      s = fmt::format(
          "{{ .reg .pred %c; .reg .b32 %y; and.b32 %y, %x{}, 7; setp.lt.u32 %c, %y, {};\n"
          "@!%c bra E{};\n",
          n.x, n.z % 7, id);
      for (const Node &m : n.first)
        s += print(m);
      s += fmt::format("bra D{0};\nE{0}:\n", id);
      for (const Node &m : n.second)
        s += print(m);
      return s + fmt::format("D{}: }}\n", id);
    }
    // The bound is taken anew in every round, as in the reference.
    s = fmt::format(
        "{{ .reg .pred %c; .reg .b32 %i, %y; mov.u32 %i, 0;\nL{1}: and.b32 %y, %x{0}, 3;\n"
        "add.u32 %y, %y, 1; setp.ge.u32 %c, %i, %y; @%c bra D{1};\n"
        "and.b32 %y, %x{2}, 1; setp.ne.u32 %c, %y, 0; setp.eq.and.u32 %c, %i, 2, %c;\n"
        "@%c bra D{1};\n",
        n.x, id, n.y);
    for (const Node &m : n.first)
      s += print(m);
    return s + fmt::format("add.u32 %i, %i, 1; bra L{0};\nD{0}: }}\n", id);
  }

  std::mt19937_64 random;
  std::vector<Node> program;
  int labels = 0;
};

std::string errorOf(const std::string &body, PtxLaunch launch = {}) {
  std::vector<Bytes> buffers = {Bytes(128)};
  const auto report = runPtx(ptxModule(".param .u64 p0", body), buffers, launch);
  return report.ok() ? "no error" : report.error().toString();
}

bool contains(const std::string &text, const char *part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("random divergent programs equal a scalar interpreter", "[ptx]") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const RandomProgram program(seed);
    const auto a = samples<uint32_t>(101, seed), b = samples<uint32_t>(101, seed + 1000);
    const auto got = mapPtx<uint32_t, uint32_t>(
        ".reg .b32 %x<4>; mov.u32 %x0, %a; mov.u32 %x1, %b; xor.b32 %x2, %a, %b;\n"
        "add.u32 %x3, %a, %b;\n" +
            program.text +
            "mul.lo.u32 %x1, %x1, 3; mul.lo.u32 %x2, %x2, 5; mul.lo.u32 %x3, %x3, 7;\n"
            "xor.b32 %d, %x0, %x1; xor.b32 %d, %d, %x2; xor.b32 %d, %d, %x3;",
        a, b);
    for (size_t i = 0; i < a.size(); ++i) {
      INFO("seed " << seed << " element " << i);
      REQUIRE(got[i] == program.run(a[i], b[i]));
    }
  }
}

TEST_CASE("recursion and calls by address diverge by lane", "[ptx]") {
  const std::string functions = R"(
.func (.param .b32 r) fib (.param .b32 n)
{
  .reg .b32 %n, %x, %y; .reg .pred %p;
  ld.param.b32 %n, [n]; setp.lt.u32 %p, %n, 2; @%p bra BASE;
  sub.u32 %x, %n, 1;
  { .param .b32 a; .param .b32 v; st.param.b32 [a], %x; call.uni (v), fib, (a); ld.param.b32 %y, [v]; }
  sub.u32 %x, %n, 2;
  { .param .b32 a; .param .b32 v; st.param.b32 [a], %x; call.uni (v), fib, (a); ld.param.b32 %x, [v]; }
  add.u32 %n, %x, %y;
BASE:
  st.param.b32 [r], %n; ret;
}
.func (.reg .b32 %r) twice (.reg .b32 %n) { add.u32 %r, %n, %n; ret; }
.func (.reg .b32 %r) square (.reg .b32 %n) { mul.lo.u32 %r, %n, %n; ret; }
.global .align 8 .u64 table[2] = {twice, square};
)";
  const std::string body = R"(
.reg .b32 %t, %v, %w; .reg .b64 %q, %f; .reg .pred %p;
mov.u32 %t, %tid.x; rem.u32 %v, %t, 11;
{ .param .b32 a; .param .b32 r; st.param.b32 [a], %v; call.uni (r), fib, (a); ld.param.b32 %v, [r]; }
and.b32 %w, %t, 1; mov.u64 %f, table; mad.wide.u32 %f, %w, 8, %f; ld.global.u64 %f, [%f];
proto: .callprototype (.reg .b32 _) _ (.reg .b32 _);
call (%w), %f, (%t), proto;
add.u32 %v, %v, %w;
ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 4, %q; st.global.u32 [%q], %v;)";
  std::vector<Bytes> buffers = {Bytes(64 * 4)};
  PtxLaunch launch;
  launch.block[0] = 64;
  const auto report =
      runPtx(ptxModule(".param .u64 p0", body, "sm_80", functions), buffers, launch);
  INFO((report.ok() ? "" : report.error().toString()));
  REQUIRE(report.ok());
  const auto got = valuesOf<uint32_t>(buffers[0]);
  constexpr uint32_t kFib[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55};
  for (uint32_t t = 0; t < 64; ++t)
    CHECK(got[t] == kFib[t % 11] + (t & 1 ? t * t : 2 * t));
}

TEST_CASE("tables of branch targets", "[ptx]") {
  const auto a = samples<uint32_t>(200, 1);
  const auto got = mapPtx<uint32_t, uint32_t>(R"(
.reg .b32 %k; rem.u32 %k, %a, 3;
targets: .branchtargets T0, T1, T2;
brx.idx %k, targets;
T0: add.u32 %d, %a, 10; bra OUT;
T1: mul.lo.u32 %d, %a, 3; bra OUT;
T2: not.b32 %d, %a;
OUT:)",
                                              a);
  for (size_t i = 0; i < a.size(); ++i)
    CHECK(got[i] == (a[i] % 3 == 0 ? a[i] + 10 : a[i] % 3 == 1 ? a[i] * 3 : ~a[i]));
}

TEST_CASE("spinning lanes do not keep the one they wait for from running", "[ptx]") {
  // Every lane takes a lock by compare and swap, adds one, and gives it back.
  const std::string body = R"(
.reg .b32 %o, %v; .reg .b64 %q; .reg .pred %p;
ld.param.u64 %q, [p0];
AGAIN: atom.global.cas.b32 %o, [%q], 0, 1; setp.ne.u32 %p, %o, 0; @%p bra AGAIN;
ld.volatile.global.u32 %v, [%q+4]; add.u32 %v, %v, 1; st.volatile.global.u32 [%q+4], %v;
membar.gl; atom.global.exch.b32 %o, [%q], 0;)";
  std::vector<Bytes> buffers = {Bytes(8)};
  PtxLaunch launch;
  launch.block[0] = 96;
  REQUIRE(runPtx(ptxModule(".param .u64 p0", body), buffers, launch).ok());
  CHECK(valuesOf<uint32_t>(buffers[0])[1] == 96);
}

TEST_CASE("block barriers order warps; named ones take counts; bar.red reduces", "[ptx]") {
  const std::string body = R"(
.shared .b32 s[128]; .reg .b32 %t, %a, %b, %v, %n; .reg .b64 %q; .reg .pred %p;
mov.u32 %t, %tid.x; mov.u32 %b, s; shl.b32 %a, %t, 2; add.u32 %a, %a, %b;
st.shared.u32 [%a], %t; bar.sync 0;
xor.b32 %v, %t, 127; shl.b32 %v, %v, 2; add.u32 %v, %v, %b; ld.shared.u32 %v, [%v];
setp.lt.u32 %p, %t, 64; @%p bar.sync 3, 64;
setp.gt.u32 %p, %t, 100; bar.red.popc.u32 %n, 1, %p; mad.lo.u32 %v, %n, 1000, %v;
ld.param.u64 %q, [p0]; mad.wide.u32 %q, %t, 4, %q; st.global.u32 [%q], %v;)";
  std::vector<Bytes> buffers = {Bytes(512)};
  PtxLaunch launch;
  launch.block[0] = 128;
  const auto report = runPtx(ptxModule(".param .u64 p0", body), buffers, launch);
  INFO((report.ok() ? "" : report.error().toString()));
  REQUIRE(report.ok());
  for (uint32_t t = 0; t < 128; ++t)
    CHECK(valuesOf<uint32_t>(buffers[0])[t] == 27000 + (t ^ 127));
}

TEST_CASE("deadlocks and endless loops are found and placed", "[ptx]") {
  PtxLaunch two;
  two.block[0] = 64;
  const std::string stuck = errorOf(".reg .b32 %t; .reg .pred %p; mov.u32 %t, %tid.x;\n"
                                    "setp.lt.u32 %p, %t, 32; @%p bar.sync 1, 64;",
                                    two);
  CHECK(contains(stuck, "deadlock"));
  CHECK(contains(stuck, "line 8"));
  PtxLaunch bounded;
  bounded.options.stepLimit = 100000;
  CHECK(contains(errorOf("L: bra L;", bounded), "endless loop"));
  CHECK(contains(errorOf("trap;"), "trap"));
}

TEST_CASE("accesses outside memory are refused to the byte", "[ptx]") {
  const std::string head = ".reg .b32 %v; .reg .b64 %q; .shared .b32 s[4]; .reg .b32 %a;\n"
                           "ld.param.u64 %q, [p0]; mov.u32 %a, s;\n";
  CHECK(errorOf(head + "ld.global.u32 %v, [%q+124];") == "no error");
  CHECK(contains(errorOf(head + "ld.global.u8 %v, [%q+128];"), "byte 128 of buffer 1 (128 bytes)"));
  CHECK(contains(errorOf(head + "st.global.u8 [%q+-1], %v;"), "byte -1 of buffer 1"));
  CHECK(contains(errorOf(head + "ld.global.u32 %v, [%q+2];"), "misaligned"));
  CHECK(contains(errorOf(head + "ld.shared.u32 %v, [%a+16];"), "shared memory"));
  CHECK(contains(errorOf(head + "ld.global.u32 %v, [0];"), "lies in no buffer"));
}

TEST_CASE("launches that cannot be are refused", "[ptx]") {
  PtxLaunch launch;
  launch.block[0] = 2048;
  CHECK(contains(errorOf("", launch), "2048 x 1 x 1 threads"));
  launch.block[0] = 32;
  launch.shared = 1 << 20;
  CHECK(contains(errorOf("", launch), "shared memory"));
  launch.shared = 0;
  launch.grid[1] = 70000;
  CHECK(contains(errorOf("", launch), "grid"));
}
