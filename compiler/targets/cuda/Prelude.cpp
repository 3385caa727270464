// Wrappers by name. Each is the shortest spelling of its instruction; sources: PTX ISA.
#include "compiler/targets/cuda/Prelude.h"

#include <cctype>
#include <cstddef>
#include <vector>

namespace heddle::compiler::cuda {
namespace {

struct Definition {
  std::string_view name, text;
};

#define HEDDLE_INLINE "__device__ __forceinline__ "

// clang-format off
/// ldmatrix of 16 columns of b and the two products of them; `how`: as b lies, ".trans" or "".
#define HEDDLE_MMA_PAIR(name, type, how)                                                           \
  {name, "// d += a b0, e += a b1, where ldmatrix reads the blocks b0 and b1 of 8 columns at `from`.\n" \
   HEDDLE_INLINE "void " name "(float (&d)[2][2], float (&e)[2][2],\n"                             \
   "    u32 a0, u32 a1, u32 a2, u32 a3, u32 from) {\n"                                             \
   "  asm volatile(\"{ .reg .b32 b<4>;\\n\"\n"                                                     \
   "    \"ldmatrix.sync.aligned.m8n8.x4" how ".shared.b16 {b0, b1, b2, b3}, [%12];\\n\"\n"         \
   "    \"mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 \"\n"                        \
   "    \"{%0, %1, %2, %3}, {%8, %9, %10, %11}, {b0, b1}, {%0, %1, %2, %3};\\n\"\n"                \
   "    \"mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 \"\n"                        \
   "    \"{%4, %5, %6, %7}, {%8, %9, %10, %11}, {b2, b3}, {%4, %5, %6, %7}; }\"\n"                 \
   "    : \"+f\"(d[0][0]), \"+f\"(d[0][1]), \"+f\"(d[1][0]), \"+f\"(d[1][1]),\n"                   \
   "      \"+f\"(e[0][0]), \"+f\"(e[0][1]), \"+f\"(e[1][0]), \"+f\"(e[1][1])\n"                    \
   "    : \"r\"(a0), \"r\"(a1), \"r\"(a2), \"r\"(a3), \"r\"(from) : \"memory\");\n}\n"}
// clang-format on

constexpr Definition kDefinitions[] = {
    {"u16", "typedef unsigned short u16;\n"},
    {"u32", "typedef unsigned int u32;\n"},
    {"i64", "typedef long long i64;\n"},
    {"infinity", HEDDLE_INLINE "float infinity() { return __int_as_float(0x7f800000); }\n"},

    {"TensorMap", "// What cuTensorMapEncodeTiled makes.\n"
                  "struct __align__(128) TensorMap { unsigned char opaque[128]; };\n"},

    // Numbers.
    {"exp2_approx", HEDDLE_INLINE R"(float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
)"},
    {"log2_approx", HEDDLE_INLINE R"(float log2_approx(float x) {
  float y;
  asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
)"},
    {"reciprocal", HEDDLE_INLINE R"(float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
)"},
    {"sqrt_approx", HEDDLE_INLINE R"(float sqrt_approx(float x) {
  float y;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
)"},
    {"rsqrt_approx", HEDDLE_INLINE R"(float rsqrt_approx(float x) {
  float y;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
)"},
    {"divide", HEDDLE_INLINE R"(float divide(float x, float y) {
  float z;
  asm("div.full.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
)"},
    // tanh.approx is good to 2^-11 only, which a cap of 50 would turn into 0.02 in an exponent.
    {"tanh_exp2", HEDDLE_INLINE R"(float tanh_exp2(float x) {
  return 1.0f - 2.0f * reciprocal(1.0f + exp2_approx(x * 2.88539008f));
}
)"},
    // sin.approx is good within [-pi, pi] only, and sinf would take local memory. Three parts of 2
    // pi keep the difference exact to f32 for any angle that f32 holds to a turn.
    {"turn_within", "// x less whole turns of 2 pi, in [-pi, pi].\n" HEDDLE_INLINE
                    R"(float turn_within(float x) {
  float turns = rintf(x * 0.159154943f);
  x = fmaf(turns, -6.28125f, x);
  x = fmaf(turns, -1.93530717e-3f, x);
  return fmaf(turns, -1.02531317e-11f, x);
}
)"},
    {"sin_reduced", HEDDLE_INLINE R"(float sin_reduced(float x) {
  float y;
  asm("sin.approx.f32 %0, %1;" : "=f"(y) : "f"(turn_within(x)));
  return y;
}
)"},
    {"cos_reduced", HEDDLE_INLINE R"(float cos_reduced(float x) {
  float y;
  asm("cos.approx.f32 %0, %1;" : "=f"(y) : "f"(turn_within(x)));
  return y;
}
)"},
    {"pow_approx", HEDDLE_INLINE R"(float pow_approx(float x, float y) {
  return exp2_approx(y * log2_approx(x));
}
)"},
    {"max_nan", HEDDLE_INLINE R"(float max_nan(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
)"},
    {"min_nan", HEDDLE_INLINE R"(float min_nan(float x, float y) {
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
)"},
    {"from_bf16", HEDDLE_INLINE R"(float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }
)"},
    {"from_f16", HEDDLE_INLINE R"(float from_f16(u16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}
)"},
    {"from_e5m2", HEDDLE_INLINE
     R"(float from_e5m2(unsigned char x) { return from_f16((u16)(x << 8)); }
)"},
    {"from_e4m3", "// As the bits of an f16 with 8 less in the exponent. 0x7f is no number: there, "
                  "and only there,\n"
                  "// the addition carries into the exponent's highest bit, and all of the "
                  "exponent is ones.\n" HEDDLE_INLINE
                  R"(float from_e4m3(unsigned char x) {
  const u32 magnitude = (x & 0x7f) << 7;
  return from_f16((u16)((x & 0x80) << 8 | magnitude | (magnitude + 0x80) & 0x4000)) * 256.0f;
}
)"},
    {"to_bf16", HEDDLE_INLINE R"(u16 to_bf16(float x) {
  u16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
)"},
    {"to_f16", HEDDLE_INLINE R"(u16 to_f16(float x) {
  u16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
)"},
    {"pack_bf16", "// Two numbers in a register, the first in the low half.\n" HEDDLE_INLINE
                  R"(u32 pack_bf16(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
)"},
    {"pack_f16", "// Two numbers in a register, the first in the low half.\n" HEDDLE_INLINE
                 R"(u32 pack_f16(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
)"},
    // sm_80 multiplies pairs of bf16 only as it adds: - 0 is what changes nothing.
    {"multiply_bf16", "// Two products of 16 bits.\n" HEDDLE_INLINE
                      R"(u32 multiply_bf16(u32 x, u32 y) {
  u32 pair;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(x), "r"(y), "r"(0x80008000u));
  return pair;
}
)"},
    {"multiply_f16", "// Two products of 16 bits.\n" HEDDLE_INLINE
                     R"(u32 multiply_f16(u32 x, u32 y) {
  u32 pair;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
  return pair;
}
)"},

    // Copies.
    {"copy_16",
     "// 16 bytes from global to shared memory in the background; zeros where not `valid`."
     "\n" HEDDLE_INLINE R"(void copy_16(u32 to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               : : "r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
)"},
    {"row_at", "// `rows` rows further down, in one instruction.\n"
               "template <typename T> " HEDDLE_INLINE R"(T *row_at(T *from, int rows, int stride) {
  T *row;
  asm("mad.wide.s32 %0, %1, %2, %3;"
      : "=l"(row) : "r"(stride), "r"(rows * (int)sizeof(T)), "l"(from));
  return row;
}
)"},
    {"advance",
     "// `from` + `bytes`, always as one addition: the compiler would multiply for each sum.\n"
     "template <typename T> " HEDDLE_INLINE R"(T *advance(T *from, i64 bytes) {
  T *to;
  asm("add.s64 %0, %1, %2;" : "=l"(to) : "l"(from), "l"(bytes));
  return to;
}
)"},
    {"store_16", HEDDLE_INLINE R"(void store_16(void *to, uint4 x) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
               : : "l"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}
)"},
    {"commit_copies", HEDDLE_INLINE
     R"(void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
)"},
    {"wait_copies", "// Until all groups of copies but the newest N have landed.\n"
                    "template <int N> " HEDDLE_INLINE R"(void wait_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}
)"},
    // Tiles by TMA.
    {"init_barrier",
     "// A barrier in shared memory whose phase ends with one arrival and the bytes\n"
     "// that it announces.\n" HEDDLE_INLINE R"(void init_barrier(u32 barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(barrier) : "memory");
}
)"},
    {"show_barriers",
     "// To TMA, which completes their phases.\n" HEDDLE_INLINE
     R"(void show_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory"); }
)"},
    {"wait_tile", "// Until the phase of this parity is over: the tile has landed.\n" HEDDLE_INLINE
                  R"(void wait_tile(u32 barrier, u32 parity) {
  asm volatile("{ .reg .pred landed;\n"
               "again: mbarrier.try_wait.parity.shared::cta.b64 landed, [%0], %1;\n"
               "@!landed bra again; }"
               : : "r"(barrier), "r"(parity) : "memory");
}
)"},
    {"copy_tile",
     "// Starts the copy of a tile, of which the barrier hears: its first row and panel, and\n"
     "// where it lies along the other dimensions.\n" HEDDLE_INLINE
     R"(void copy_tile(u32 to, const TensorMap &map, u32 barrier, int bytes, int row, int panel, int x,
                          int y) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               : : "r"(barrier), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.tensor.5d.shared::cta.global.tile.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];"
               : : "r"(to), "l"(&map), "r"(0), "r"(row), "r"(panel), "r"(x), "r"(y), "r"(barrier)
               : "memory");
}
)"},
    {"store_shared", HEDDLE_INLINE R"(void store_shared(u32 to, u32 x) {
  asm volatile("st.shared.b32 [%0], %1;" : : "r"(to), "r"(x) : "memory");
}
)"},
    {"load_shared_16", HEDDLE_INLINE R"(uint4 load_shared_16(u32 from) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
  return x;
}
)"},
    {"from_i8",
     "// By an addition: conversions of integers take four times as long.\n" HEDDLE_INLINE
     R"(float from_i8(int x) {
  return __int_as_float((x & 0xff) ^ 0x4b000080) - 8388736.0f;
}
)"},
    {"load_codes_8", "// 8 bytes at once; zeros where not `valid`.\n" HEDDLE_INLINE
                     R"(void load_codes_8(u32 (&x)[2], const void *from, bool valid) {
  const uint2 codes = valid ? *(const uint2 *)from : make_uint2(0, 0);
  x[0] = codes.x;
  x[1] = codes.y;
}
)"},
    {"load_shared_f32", HEDDLE_INLINE R"(float load_shared_f32(u32 from) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(from) : "memory");
  return x;
}
)"},
    // The shuffle says by itself whether there is such a lane.
    {"add_lane_below", HEDDLE_INLINE R"(float add_lane_below(float x, int distance, int last) {
  asm volatile("{ .reg .f32 far; .reg .pred there; shfl.sync.up.b32 far|there, %0, %1, %2, -1; "
               "@there add.f32 %0, %0, far; }" : "+f"(x) : "r"(distance), "r"(last));
  return x;
}
)"},
    {"add_lane_above", HEDDLE_INLINE R"(float add_lane_above(float x, int distance, int last) {
  asm volatile("{ .reg .f32 far; .reg .pred there; shfl.sync.down.b32 far|there, %0, %1, %2, -1; "
               "@there add.f32 %0, %0, far; }" : "+f"(x) : "r"(distance), "r"(last));
  return x;
}
)"},
    {"load_shared_pair", HEDDLE_INLINE R"(float2 load_shared_pair(u32 from) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(from) : "memory");
  return x;
}
)"},
    {"load_shared_u32", HEDDLE_INLINE R"(u32 load_shared_u32(u32 from) {
  u32 x;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
  return x;
}
)"},
    {"load_shared_u16", HEDDLE_INLINE R"(u16 load_shared_u16(u32 from) {
  u16 x;
  asm volatile("ld.shared.b16 %0, [%1];" : "=h"(x) : "r"(from) : "memory");
  return x;
}
)"},
    {"store_shared_f32", HEDDLE_INLINE R"(void store_shared_f32(u32 to, float x) {
  asm volatile("st.shared.f32 [%0], %1;" : : "r"(to), "f"(x) : "memory");
}
)"},
    {"store_shared_pair", HEDDLE_INLINE R"(void store_shared_pair(u32 to, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" : : "r"(to), "f"(x), "f"(y) : "memory");
}
)"},
    {"store_shared_u16", HEDDLE_INLINE R"(void store_shared_u16(u32 to, u16 x) {
  asm volatile("st.shared.b16 [%0], %1;" : : "r"(to), "h"(x) : "memory");
}
)"},
    {"transpose_matrix",
     "// Rows of an 8 x 8 block of 16 bits, a pair a lane, to its columns.\n" HEDDLE_INLINE
     R"(u32 transpose_matrix(u32 x) {
  u32 y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}
)"},
    {"store_shared_16", HEDDLE_INLINE R"(void store_shared_16(u32 to, u32 x, u32 y, u32 z, u32 w) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
               : : "r"(to), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
)"},
    {"place",
     "// Offset of a byte of a row; chunks of 16 bytes are xored with MASK bits of the row.\n"
     "template <int PITCH, int SHIFT, int MASK> " HEDDLE_INLINE
     R"(u32 place(int row, int byte) {
  return row * PITCH + (byte ^ (row >> SHIFT & MASK) * 16);
}
)"},

    // Matrix fragments.
    {"load_matrix_x4",
     "// Four 8x8 matrices; lane 8 i + r gives the address of row r of matrix i.\n" HEDDLE_INLINE
     R"(void load_matrix_x4(u32 (&x)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from) : "memory");
}
)"},
    {"load_matrix_x2", HEDDLE_INLINE R"(void load_matrix_x2(u32 (&x)[2], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(x[0]), "=r"(x[1]) : "r"(from) : "memory");
}
)"},
    {"load_matrix_x4_trans", "// As load_matrix_x4, each matrix transposed.\n" HEDDLE_INLINE
                             R"(void load_matrix_x4_trans(u32 (&x)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from) : "memory");
}
)"},
    {"load_matrix_x2_trans", HEDDLE_INLINE
     R"(void load_matrix_x2_trans(u32 (&x)[2], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(x[0]), "=r"(x[1]) : "r"(from) : "memory");
}
)"},
    {"mma_bf16",
     "// d += a b for 16x16 and 16x8 fragments of a warp: mma.m16n8k16.\n" HEDDLE_INLINE
     R"(void mma_bf16(float (&d)[2][2], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[1][0]), "+f"(d[1][1])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
)"},
    {"mma_f16", "// d += a b for 16x16 and 16x8 fragments of a warp: mma.m16n8k16.\n" HEDDLE_INLINE
                R"(void mma_f16(float (&d)[2][2], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[1][0]), "+f"(d[1][1])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
)"},
    // One asm statement, since the compiler takes time for each: a tenth less in all.
    HEDDLE_MMA_PAIR("mma_pair_bf16", "bf16", ""),
    HEDDLE_MMA_PAIR("mma_pair_bf16_trans", "bf16", ".trans"),
    HEDDLE_MMA_PAIR("mma_pair_f16", "f16", ""),
    HEDDLE_MMA_PAIR("mma_pair_f16_trans", "f16", ".trans"),

    // Triangular systems. Numbers as two of 16 bits, whose sum is good to 2^-17.
    {"split_pair", "// x and y as the sums of the halves of two registers.\n" HEDDLE_INLINE
                   R"(void split_pair(float x, float y, u32 &high, u32 &low) {
  high = pack_bf16(x, y);
  low = pack_bf16(x - __uint_as_float(high << 16), y - __uint_as_float(high & 0xffff0000u));
}
)"},
    {"prepare_solve",
     "// (I + stril L), as solve_rows reads it: -L beside the blocks of 16 on the diagonal, their\n"
     "// inverses there; a column of an inverse a lane, by substitution.\n"
     "template <int TOKENS, int PITCH, int THREADS> " HEDDLE_INLINE
     R"(void prepare_solve(u32 lower, u32 high, u32 low) {
  constexpr int ROW = 2 * TOKENS + 16, BLOCKS = TOKENS / 16, PAIRS = BLOCKS * (BLOCKS - 1) * 64;
#pragma unroll 1
  for (int first = 0; first < PAIRS; first += THREADS) {
    const int n = first + threadIdx.x;
    if (n >= PAIRS)
      break;
    int i = 1, j = n / 128; // a block below the diagonal
#pragma unroll
    for (int above = 1; above < BLOCKS - 1; ++above)
      if (j >= i)
        j -= i++;
    const int row = i * 16 + n % 128 / 8, column = j * 16 + n % 8 * 2;
    const u32 from = lower + row * PITCH + column * 4, to = row * ROW + column * 2;
    const float2 pair = load_shared_pair(from);
    u32 big, small;
    split_pair(-pair.x, -pair.y, big, small);
    store_shared(high + to, big);
    store_shared(low + to, small);
  }
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int first = 0; first < BLOCKS; first += THREADS / 32) {
    const int block = first + threadIdx.x / 32;
    if (lane >= 16 || block >= BLOCKS)
      continue;
    const u32 from = lower + block * 16 * (PITCH + 4), to = block * 16 * (ROW + 2) + lane * 2;
    float x[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      x[i] = lane == i ? 1.0f : 0.0f;
#pragma unroll
      for (int j = 0; j < i; j += 4) {
        const uint4 l = load_shared_16(from + i * PITCH + j * 4);
        x[i] -= __uint_as_float(l.x) * x[j];
        if (j + 1 < i)
          x[i] -= __uint_as_float(l.y) * x[j + 1];
        if (j + 2 < i)
          x[i] -= __uint_as_float(l.z) * x[j + 2];
        if (j + 3 < i)
          x[i] -= __uint_as_float(l.w) * x[j + 3];
      }
      const u16 big = to_bf16(x[i]);
      store_shared_u16(high + to + i * ROW, big);
      store_shared_u16(low + to + i * ROW, to_bf16(x[i] - from_bf16(big)));
    }
  }
}
)"},
    {"rank_of", "// Scores as integers of the same order; 0: no candidate.\n" HEDDLE_INLINE
                R"(u32 rank_of(float score, int id) {
  const int bits = __float_as_int(score + 0.0f); // -0 is 0
  return score > -infinity() && id >= 0 ? (u32)(bits ^ (bits >> 31 | (int)0x80000000)) : 0;
}
)"},
    {"score_of", HEDDLE_INLINE R"(float score_of(u32 rank) {
  return __int_as_float((int)(rank ^ ((int)~rank >> 31 | 0x80000000)));
}
)"},
    {"take_best",
     "// Pairs of score and id of the KEEP best of a warp's candidates, in their order; of equals\n"
     "// those of the smallest ids. Free places, last, are (-inf, -1).\n"
     "template <int COUNT, int KEEP> " HEDDLE_INLINE
     R"(void take_best(const u32 (&rank)[COUNT], const int (&id)[COUNT], u32 to) {
  const int lane = threadIdx.x % 32;
  // The worst rank that is kept, bit by bit, and how many reach it.
  u32 worst = 0;
  int kept = 0;
#pragma unroll 1
  for (u32 bit = 1u << 31; bit != 0 && kept != KEEP; bit >>= 1) {
    int reach = 0;
#pragma unroll
    for (int n = 0; n < COUNT; ++n)
      reach += rank[n] >= (worst | bit);
    reach = __reduce_add_sync(0xffffffffu, reach);
    if (reach >= KEEP) {
      worst |= bit;
      kept = reach;
    }
  }
  worst = max(worst, 1u);
  // Of those that equal it, the largest id that is kept.
  int last = 0x7fffffff;
  if (kept > KEEP) {
    int room = 0;
#pragma unroll
    for (int n = 0; n < COUNT; ++n)
      room += rank[n] > worst;
    room = KEEP - __reduce_add_sync(0xffffffffu, room);
    last = 0;
#pragma unroll 1
    for (int bit = 1 << 30; bit != 0; bit >>= 1) {
      int below = 0;
#pragma unroll
      for (int n = 0; n < COUNT; ++n)
        below += rank[n] == worst && id[n] < (last | bit);
      if (__reduce_add_sync(0xffffffffu, below) < room)
        last |= bit;
    }
  }
  __syncwarp(); // what lay there is read
  int place = 0;
#pragma unroll
  for (int n = 0; n < COUNT; ++n) {
    const bool keep = rank[n] > worst || (rank[n] == worst && id[n] <= last);
    const u32 lanes = __ballot_sync(0xffffffffu, keep);
    const int mine = place + __popc(lanes & ((1u << lane) - 1));
    if (keep && mine < KEEP)
      store_shared_pair(to + mine * 8, score_of(rank[n]), __int_as_float(id[n]));
    place += __popc(lanes);
  }
#pragma unroll 1
  for (int free = place + lane; free < KEEP; free += 32)
    store_shared_pair(to + free * 8, -infinity(), __int_as_float(-1));
  __syncwarp();
}
)"},
    {"multiply_split",
     "// x += a b for a block of 16 tokens, each factor as two of 16 bits.\n" HEDDLE_INLINE
     R"(void multiply_split(float (&x)[2][2], float (&y)[2][2], const u32 (&a)[4], const u32 (&a_low)[4],
                               u32 high, u32 low) {
  u32 b[4], b_low[4];
  load_matrix_x4(b, high);
  load_matrix_x4(b_low, low);
  mma_bf16(x, a_low[0], a_low[1], a_low[2], a_low[3], b[0], b[1]);
  mma_bf16(y, a_low[0], a_low[1], a_low[2], a_low[3], b[2], b[3]);
  mma_bf16(x, a[0], a[1], a[2], a[3], b_low[0], b_low[1]);
  mma_bf16(y, a[0], a[1], a[2], a[3], b_low[2], b_low[3]);
  mma_bf16(x, a[0], a[1], a[2], a[3], b[0], b[1]);
  mma_bf16(y, a[0], a[1], a[2], a[3], b[2], b[3]);
}
)"},
    {"split_fragments", HEDDLE_INLINE
     R"(void split_fragments(const float (&x)[2][2], const float (&y)[2][2], u32 (&high)[4], u32 (&low)[4]) {
  split_pair(x[0][0], x[0][1], high[0], low[0]);
  split_pair(x[1][0], x[1][1], high[1], low[1]);
  split_pair(y[0][0], y[0][1], high[2], low[2]);
  split_pair(y[1][0], y[1][1], high[3], low[3]);
}
)"},
    {"solve_rows", "// Rows x of X' from those of B', (I + stril L) X = B, block by block.\n"
                   "template <int TOKENS> " HEDDLE_INLINE
                   R"(void solve_rows(float (&x)[TOKENS / 8][2][2], u32 high, u32 low) {
  constexpr int ROW = 2 * TOKENS + 16;
  const int lane = threadIdx.x % 32;
  const u32 at = (lane % 8 + lane / 16 * 8) * ROW + lane / 8 % 2 * 16;
  u32 big[TOKENS / 16][4], small[TOKENS / 16][4];
#pragma unroll
  for (int i = 0; i < TOKENS / 16; ++i) {
    float(&even)[2][2] = x[2 * i], (&odd)[2][2] = x[2 * i + 1];
    const u32 row = at + i * 16 * ROW;
#pragma unroll
    for (int j = 0; j < i; ++j)
      multiply_split(even, odd, big[j], small[j], high + row + j * 32, low + row + j * 32);
    split_fragments(even, odd, big[i], small[i]);
#pragma unroll
    for (int n = 0; n < 4; ++n)
      even[n / 2][n % 2] = odd[n / 2][n % 2] = 0.0f;
    multiply_split(even, odd, big[i], small[i], high + row + i * 32, low + row + i * 32);
    split_fragments(even, odd, big[i], small[i]);
  }
}
)"},
};

/// Whether `text` has `name` as a word.
bool uses(std::string_view text, std::string_view name) {
  const auto isWord = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    size_t end = at + name.size();
    if ((at == 0 || !isWord(text[at - 1])) && (end == text.size() || !isWord(text[end])))
      return true;
  }
  return false;
}

} // namespace

std::string preludeFor(std::string_view body) {
  constexpr size_t count = sizeof(kDefinitions) / sizeof(kDefinitions[0]);
  std::vector<bool> needed(count, false);
  // Definitions use earlier ones only, so one pass from the last to the first finds all.
  for (size_t n = count; n > 0; --n) {
    const Definition &definition = kDefinitions[n - 1];
    needed[n - 1] = uses(body, definition.name);
    for (size_t later = n; later < count && !needed[n - 1]; ++later)
      needed[n - 1] = needed[later] && uses(kDefinitions[later].text, definition.name);
  }
  std::string text;
  for (size_t n = 0; n < count; ++n)
    if (needed[n])
      text += kDefinitions[n].text;
  return text;
}

} // namespace heddle::compiler::cuda
