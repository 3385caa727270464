// gqa: form attention, sm_80
// problem   D=128 Dv=128 G=4
//           in  q: bf16[B, Tq, Hq, 128]
//           in  k: bf16[B, Tk, Hk, 128]
//           in  v: bf16[B, Tk, Hk, 128]
//           out o: bf16[B, Tq, Hq, 128]
//           out lse: f32[B, Tq, Hq]
// schedule  BM=16 BN=64 CHUNK=0 QREG=1 RESCALE=0 SPLIT=512 STAGES=2 TMA=0 VCOLS=256 WARPS=1
// launch    split: grid (Hk, ceildiv(Tk, 512), B), block 32, dynamic shared memory 69632 bytes
// launch    merge: grid (Hk, B, 1), block 32, dynamic shared memory 0 bytes
// workspace part_m: 4 * B * ceildiv(Tk, 512) * Hq bytes
// workspace part_l: 4 * B * ceildiv(Tk, 512) * Hq bytes
// workspace part_o: 4 * B * ceildiv(Tk, 512) * Hq * 128 bytes
// argument  one struct of 216 bytes by value, see Parameters; strides count elements, the last dimension is contiguous
// assumes   pointers and strides of 16-bit tensors are multiples of 16 bytes

typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float divide(float x, float y) {
  float z;
  asm("div.full.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
__device__ __forceinline__ float max_nan(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
__device__ __forceinline__ u16 to_bf16(float x) {
  u16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
// Two numbers in a register, the first in the low half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
// 16 bytes from global to shared memory in the background; zeros where not `valid`.
__device__ __forceinline__ void copy_16(u32 to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               : : "r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
// `rows` rows further down, in one instruction.
template <typename T> __device__ __forceinline__ T *row_at(T *from, int rows, int stride) {
  T *row;
  asm("mad.wide.s32 %0, %1, %2, %3;"
      : "=l"(row) : "r"(stride), "r"(rows * (int)sizeof(T)), "l"(from));
  return row;
}
// `from` + `bytes`, always as one addition: the compiler would multiply for each sum.
template <typename T> __device__ __forceinline__ T *advance(T *from, i64 bytes) {
  T *to;
  asm("add.s64 %0, %1, %2;" : "=l"(to) : "l"(from), "l"(bytes));
  return to;
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
// Until all groups of copies but the newest N have landed.
template <int N> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}
// Four 8x8 matrices; lane 8 i + r gives the address of row r of matrix i.
__device__ __forceinline__ void load_matrix_x4(u32 (&x)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from) : "memory");
}
// d += a b0, e += a b1, where ldmatrix reads the blocks b0 and b1 of 8 columns at `from`.
__device__ __forceinline__ void mma_pair_bf16(float (&d)[2][2], float (&e)[2][2],
    u32 a0, u32 a1, u32 a2, u32 a3, u32 from) {
  asm volatile("{ .reg .b32 b<4>;\n"
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [%12];\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
    "{%0, %1, %2, %3}, {%8, %9, %10, %11}, {b0, b1}, {%0, %1, %2, %3};\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
    "{%4, %5, %6, %7}, {%8, %9, %10, %11}, {b2, b3}, {%4, %5, %6, %7}; }"
    : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[1][0]), "+f"(d[1][1]),
      "+f"(e[0][0]), "+f"(e[0][1]), "+f"(e[1][0]), "+f"(e[1][1])
    : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(from) : "memory");
}
// d += a b0, e += a b1, where ldmatrix reads the blocks b0 and b1 of 8 columns at `from`.
__device__ __forceinline__ void mma_pair_bf16_trans(float (&d)[2][2], float (&e)[2][2],
    u32 a0, u32 a1, u32 a2, u32 a3, u32 from) {
  asm volatile("{ .reg .b32 b<4>;\n"
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [%12];\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
    "{%0, %1, %2, %3}, {%8, %9, %10, %11}, {b0, b1}, {%0, %1, %2, %3};\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
    "{%4, %5, %6, %7}, {%8, %9, %10, %11}, {b2, b3}, {%4, %5, %6, %7}; }"
    : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[1][0]), "+f"(d[1][1]),
      "+f"(e[0][0]), "+f"(e[0][1]), "+f"(e[1][0]), "+f"(e[1][1])
    : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(from) : "memory");
}

struct Parameters {
  long long B;                   // 0
  long long Tq;                  // 8
  long long Hq;                  // 16
  long long Tk;                  // 24
  long long Hk;                  // 32
  const u16 *q;                  // 40
  long long q_stride0;           // 48
  long long q_stride1;           // 56
  long long q_stride2;           // 64
  const u16 *k;                  // 72
  long long k_stride0;           // 80
  long long k_stride1;           // 88
  long long k_stride2;           // 96
  const u16 *v;                  // 104
  long long v_stride0;           // 112
  long long v_stride1;           // 120
  long long v_stride2;           // 128
  u16 *o;                        // 136
  long long o_stride0;           // 144
  long long o_stride1;           // 152
  long long o_stride2;           // 160
  float *lse;                    // 168
  long long lse_stride0;         // 176
  long long lse_stride1;         // 184
  float *part_m;                 // 192
  float *part_l;                 // 200
  float *part_o;                 // 208
};

extern "C" __global__ void __launch_bounds__(32) split(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const u32 smem = (u32)__cvta_generic_to_shared(shared_memory);
  const int lane = threadIdx.x % 32;
  const int group = lane / 4; // of four threads that share rows of fragments
  const int quad = lane % 4;
  const int hk = blockIdx.x;
  const int part = blockIdx.y;
  const int b = blockIdx.z;
  const int Tq = (int)p.Tq;
  const int Tk = (int)p.Tk;
  const i64 q_stride0 = (i64)p.q_stride0;
  const int q_stride2 = (int)p.q_stride2;
  const int copy_row = threadIdx.x / 8;
  const int copy_chunk = threadIdx.x % 8;
  const i64 q_stride2_bytes = (i64)q_stride2 * 8;
  const i64 k_stride0 = (i64)p.k_stride0;
  const int k_stride1 = (int)p.k_stride1;
  const int k_stride2 = (int)p.k_stride2;
  const i64 v_stride0 = (i64)p.v_stride0;
  const int v_stride1 = (int)p.v_stride1;
  const int v_stride2 = (int)p.v_stride2;
  const i64 k_stride1_bytes = (i64)k_stride1 * 8;
  const i64 v_stride1_bytes = (i64)v_stride1 * 8;
  const u32 q_lane = smem + (lane % 16) * 256 + (lane / 16 ^ (lane % 16) % 8) * 16;
  const u32 k_lane = smem + 4096 + (lane % 8 + lane / 16 * 8) * 256 + (lane / 8 % 2 ^ (lane % 8 + lane / 16 * 8) % 8) * 16;
  const int column = 2 * quad;
  const u32 v_lane = smem + 36864 + (lane % 16) * 256 + (lane / 16 ^ (lane % 16) % 8) * 16;
  const i64 part_m_stride0 = (i64)(((int)p.Tk + 512 - 1) / 512) * (int)p.Hq;
  const int part_m_stride1 = (int)p.Hq;
  const int row = group;
  const i64 part_o_stride0 = (i64)(((int)p.Tk + 512 - 1) / 512) * (int)p.Hq * 128;
  const int part_o_stride1 = (int)p.Hq * 128;
  const int part_o_stride2 = 128;
  const int head0 = hk * 4;
  const int offset = Tk - Tq;
  auto *const q = p.q + (i64)b * q_stride0;
  // q: 1 slot of 16 x 128, rows of 256 bytes, chunks swizzled.
  auto *const q_from = q + (i64)copy_row * q_stride2 + copy_chunk * 8;
  const u32 q_to = smem + copy_row * 256 + (copy_chunk ^ copy_row % 8) * 16;
  // Copy the next tile of q.
  auto *const from = row_at(q_from, head0, q_stride2);
  const int rows_left = 4 - copy_row;
  auto *rows_from = from;
  #pragma unroll
  for (int pass = 0; pass < 4; ++pass) {
    const bool valid = (pass * 4) < rows_left;
    #pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
      copy_16((q_to ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from + piece * 64, valid);
    }
    rows_from = advance(rows_from, q_stride2_bytes);
  }
  commit_copies();
  auto *const k = p.k + (i64)b * k_stride0 + (i64)hk * k_stride2;
  auto *const v = p.v + (i64)b * v_stride0 + (i64)hk * v_stride2;
  const int first_key = part * 512;
  const int at = max(min(offset, 536870911), -536870911);
  const int at2 = min(first_key + 512, Tk) - 1;
  const int at3 = min(at2, offset) + 1;
  const bool is = first_key <= at3;
  const bool is2 = ((max(offset, first_key) <= offset) && (first_key <= at2)) && is;
  const int keys_begin = is2 ? first_key : 0;
  const int keys_end = is2 ? at3 : 0;
  const int at4 = max(is ? first_key : 0, keys_begin);
  const int at5 = max(min(is ? at3 : 0, keys_end) - at4, 0);
  const int at6 = ((at5 - ((at5 < 0) ? 63 : 0)) / 64) * 64;
  const int full_begin = (at6 <= 0) ? keys_begin : at4;
  const int at7 = max(at6, 0);
  const int full_end = full_begin + at7;
  const int edge_tiles = max(((full_begin - keys_begin) + 63) / 64, 0);
  const int edge_origin = full_end - (edge_tiles * 64);
  const int edge_tiles2 = edge_tiles + max(((keys_end - full_end) + 63) / 64, 0);
  const int full_origin = full_begin - (edge_tiles2 * 64);
  const int tiles = edge_tiles2 + max((at7 + 63) / 64, 0);
  // k: 2 slots of 64 x 128, rows of 256 bytes, chunks swizzled.
  auto *const k_from = k + (i64)copy_row * k_stride1 + copy_chunk * 8;
  const u32 k_to = smem + 4096 + copy_row * 256 + (copy_chunk ^ copy_row % 8) * 16;
  u32 k_fill = 0, k_next = 0; // slots to fill and to take next
  // v: 2 slots of 64 x 128, rows of 256 bytes, chunks swizzled.
  auto *const v_from = v + (i64)copy_row * v_stride1 + copy_chunk * 8;
  const u32 v_to = smem + 36864 + copy_row * 256 + (copy_chunk ^ copy_row % 8) * 16;
  u32 v_fill = 0, v_next = 0; // slots to fill and to take next
  const bool more = tiles > 0;
  if (more) {
    const bool in_edge = edge_tiles2 > 0;
    const bool in_edge2 = edge_tiles > 0;
    const int next_key = in_edge2 ? keys_begin : (in_edge ? edge_origin : full_origin);
    // Copy the next tile of k.
    auto *const from2 = row_at(k_from, next_key, k_stride1);
    const u32 to = k_to + k_fill;
    const int rows_left2 = ((in_edge2 ? full_begin : (in_edge ? keys_end : full_end)) - next_key) - copy_row;
    auto *rows_from2 = from2;
    #pragma unroll
    for (int pass = 0; pass < 16; ++pass) {
      const bool valid2 = (pass * 4) < rows_left2;
      #pragma unroll
      for (int piece = 0; piece < 2; ++piece) {
        copy_16((to ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from2 + piece * 64, valid2);
      }
      rows_from2 = advance(rows_from2, k_stride1_bytes);
    }
    k_fill = 16384 - k_fill;
  }
  commit_copies();
  if (more) {
    const bool in_edge3 = edge_tiles2 > 0;
    const bool in_edge4 = edge_tiles > 0;
    const int next_key2 = in_edge4 ? keys_begin : (in_edge3 ? edge_origin : full_origin);
    // Copy the next tile of v.
    auto *const from3 = row_at(v_from, next_key2, v_stride1);
    const u32 to2 = v_to + v_fill;
    const int rows_left3 = ((in_edge4 ? full_begin : (in_edge3 ? keys_end : full_end)) - next_key2) - copy_row;
    auto *rows_from3 = from3;
    #pragma unroll
    for (int pass = 0; pass < 16; ++pass) {
      const bool valid3 = (pass * 4) < rows_left3;
      #pragma unroll
      for (int piece = 0; piece < 2; ++piece) {
        copy_16((to2 ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from3 + piece * 64, valid3);
      }
      rows_from3 = advance(rows_from3, v_stride1_bytes);
    }
    v_fill = 16384 - v_fill;
  }
  commit_copies();
  wait_copies<2>();
  __syncthreads();
  u32 q_fragments[16][2];
  #pragma unroll
  for (int k16 = 0; k16 < 8; ++k16) {
    u32 a[4];
    load_matrix_x4(a, (q_lane ^ k16 % 4 * 32) + k16 / 4 * 128);
    q_fragments[2 * k16][0] = a[0];
    q_fragments[2 * k16][1] = a[1];
    q_fragments[2 * k16 + 1][0] = a[2];
    q_fragments[2 * k16 + 1][1] = a[3];
  }
  float running_max[2];
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    running_max[half] = -infinity();
  }
  float running_sum[2];
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    running_sum[half] = 0.0f;
  }
  float running_out[16][2][2];
  #pragma unroll
  for (int n = 0; n < 16; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        running_out[n][half][c] = 0.0f;
      }
    }
  }
  int tile = 0;
  // Tiles at the support's edge: masked.
  const int left = max((full_begin - keys_begin + 63) / 64, 0);
  const int trips = left + max((keys_end - full_end + 63) / 64, 0);
  for (int trip = 0; trip < trips; ++trip) {
    const int j = trip < left ? keys_begin + trip * 64 : full_end + (trip - left) * 64;
    const int next_tile = tile + 1;
    const int end = (j < full_begin) ? full_begin : keys_end;
    wait_copies<1>();
    __syncthreads();
    const u32 k_slot = k_next;
    k_next = 16384 - k_next;
    const bool more2 = next_tile < tiles;
    if (more2) {
      const bool in_edge5 = next_tile < edge_tiles2;
      const bool in_edge6 = next_tile < edge_tiles;
      const int next_key3 = (next_tile * 64) + (in_edge6 ? keys_begin : (in_edge5 ? edge_origin : full_origin));
      // Copy the next tile of k.
      auto *const from4 = row_at(k_from, next_key3, k_stride1);
      const u32 to3 = k_to + k_fill;
      const int rows_left4 = ((in_edge6 ? full_begin : (in_edge5 ? keys_end : full_end)) - next_key3) - copy_row;
      auto *rows_from4 = from4;
      #pragma unroll
      for (int pass = 0; pass < 16; ++pass) {
        const bool valid4 = (pass * 4) < rows_left4;
        #pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          copy_16((to3 ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from4 + piece * 64, valid4);
        }
        rows_from4 = advance(rows_from4, k_stride1_bytes);
      }
      k_fill = 16384 - k_fill;
    }
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    const u32 v_slot = v_next;
    v_next = 16384 - v_next;
    if (more2) {
      const bool in_edge7 = next_tile < edge_tiles2;
      const bool in_edge8 = next_tile < edge_tiles;
      const int next_key4 = (next_tile * 64) + (in_edge8 ? keys_begin : (in_edge7 ? edge_origin : full_origin));
      // Copy the next tile of v.
      auto *const from5 = row_at(v_from, next_key4, v_stride1);
      const u32 to4 = v_to + v_fill;
      const int rows_left5 = ((in_edge8 ? full_begin : (in_edge7 ? keys_end : full_end)) - next_key4) - copy_row;
      auto *rows_from5 = from5;
      #pragma unroll
      for (int pass = 0; pass < 16; ++pass) {
        const bool valid5 = (pass * 4) < rows_left5;
        #pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          copy_16((to4 ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from5 + piece * 64, valid5);
        }
        rows_from5 = advance(rows_from5, v_stride1_bytes);
      }
      v_fill = 16384 - v_fill;
    }
    commit_copies();
    // The tile in parts.
    for (int j_2 = 0; j_2 < min(end - j, 64); j_2 += 32) {
      const u32 k_part = k_slot + j_2 * 256;
      const u32 v_part = v_slot + j_2 * 256;
      // Products with k'.
      float acc[4][2][2];
      #pragma unroll
      for (int n = 0; n < 4; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          #pragma unroll
          for (int c = 0; c < 2; ++c) {
            acc[n][half][c] = 0.0f;
          }
        }
      }
      const u32 k_at = k_lane + k_part;
      #pragma unroll
      for (int k16 = 0; k16 < 8; ++k16) {
        #pragma unroll
        for (int n = 0; n < 4; n += 2) {
          mma_pair_bf16(acc[n], acc[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_at ^ k16 % 4 * 32) + k16 / 4 * 128 + n * 2048);
        }
      }
      // Scores of pairs outside the support go.
      #pragma unroll
      for (int n = 0; n < 4; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          #pragma unroll
          for (int c = 0; c < 2; ++c) {
            acc[n][half][c] = ((((j + j_2) + column + 8 * n + c) <= at) && (((j + j_2) + column + 8 * n + c) < end)) ? acc[n][half][c] : (-infinity());
          }
        }
      }
      // Maxima of rows, in each of their threads.
      float row_max[2];
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = -infinity();
        #pragma unroll
        for (int n = 0; n < 4; ++n) {
          largest = fmaxf(largest, fmaxf(acc[n][half][0], acc[n][half][1]));
        }
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
        row_max[half] = largest;
      }
      // The maximum so far, scaled.
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        row_max[half] = max_nan(row_max[half] * 0.127517432f, running_max[half]);
      }
      // A finite base also where a row has seen no key yet.
      float base[2];
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        base[half] = (row_max[half] == (-infinity())) ? 0.0f : row_max[half];
      }
      // By what earlier sums shrink under the new maximum.
      float factor[2];
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        factor[half] = exp2_approx(running_max[half] - base[half]);
      }
      // Weights.
      #pragma unroll
      for (int n = 0; n < 4; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          #pragma unroll
          for (int c = 0; c < 2; ++c) {
            acc[n][half][c] = exp2_approx((acc[n][half][c] * 0.127517432f) - base[half]);
          }
        }
      }
      // What was summed so far, under the new maximum.
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        running_sum[half] = running_sum[half] * factor[half];
      }
      // Sums of weights, each thread its own share.
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = running_sum[half];
        #pragma unroll
        for (int n = 0; n < 4; ++n) {
          sum = sum + (acc[n][half][0] + acc[n][half][1]);
        }
        running_sum[half] = sum;
      }
      // Rounded, two in a register, as products take them.
      u32 rounded[4][2];
      #pragma unroll
      for (int n = 0; n < 4; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          rounded[n][half] = pack_bf16(acc[n][half][0], acc[n][half][1]);
        }
      }
      // What was summed so far, under the new maximum.
      #pragma unroll
      for (int n = 0; n < 16; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          #pragma unroll
          for (int c = 0; c < 2; ++c) {
            running_out[n][half][c] = running_out[n][half][c] * factor[half];
          }
        }
      }
      // Add products with v.
      const u32 v_at = v_lane + v_part;
      #pragma unroll
      for (int k16 = 0; k16 < 2; ++k16) {
        #pragma unroll
        for (int n = 0; n < 16; n += 2) {
          mma_pair_bf16_trans(running_out[n], running_out[n + 1], rounded[2 * k16][0], rounded[2 * k16][1], rounded[2 * k16 + 1][0], rounded[2 * k16 + 1][1], (v_at ^ n % 8 * 16) + n / 8 * 128 + k16 * 4096);
        }
      }
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        running_max[half] = row_max[half];
      }
    }
    tile = next_tile;
  }
  // Tiles wholly inside the support.
  for (int j_3 = full_begin; j_3 < full_end; j_3 += 64) {
    const int next_tile2 = tile + 1;
    wait_copies<1>();
    __syncthreads();
    const u32 k_slot2 = k_next;
    k_next = 16384 - k_next;
    const bool more3 = next_tile2 < tiles;
    if (more3) {
      // Copy the next tile of k.
      auto *const from6 = row_at(k_from, ((next_tile2 * 64) + full_origin), k_stride1);
      const u32 to5 = k_to + k_fill;
      auto *rows_from6 = from6;
      #pragma unroll
      for (int pass = 0; pass < 16; ++pass) {
        #pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          copy_16((to5 ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from6 + piece * 64, true);
        }
        rows_from6 = advance(rows_from6, k_stride1_bytes);
      }
      k_fill = 16384 - k_fill;
    }
    commit_copies();
    // Products with k'.
    float acc2[8][2][2];
    #pragma unroll
    for (int n = 0; n < 8; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc2[n][half][c] = 0.0f;
        }
      }
    }
    const u32 k_at2 = k_lane + k_slot2;
    #pragma unroll
    for (int k16 = 0; k16 < 8; ++k16) {
      #pragma unroll
      for (int n = 0; n < 8; n += 2) {
        mma_pair_bf16(acc2[n], acc2[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_at2 ^ k16 % 4 * 32) + k16 / 4 * 128 + n * 2048);
      }
    }
    // Maxima of rows, in each of their threads.
    float row_max2[2];
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest2 = -infinity();
      #pragma unroll
      for (int n = 0; n < 8; ++n) {
        largest2 = fmaxf(largest2, fmaxf(acc2[n][half][0], acc2[n][half][1]));
      }
      largest2 = fmaxf(largest2, __shfl_xor_sync(0xffffffffu, largest2, 1));
      largest2 = fmaxf(largest2, __shfl_xor_sync(0xffffffffu, largest2, 2));
      row_max2[half] = largest2;
    }
    // The maximum so far, scaled.
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      row_max2[half] = max_nan(row_max2[half] * 0.127517432f, running_max[half]);
    }
    // A finite base also where a row has seen no key yet.
    float base2[2];
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      base2[half] = (row_max2[half] == (-infinity())) ? 0.0f : row_max2[half];
    }
    // By what earlier sums shrink under the new maximum.
    float factor2[2];
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      factor2[half] = exp2_approx(running_max[half] - base2[half]);
    }
    // Weights.
    #pragma unroll
    for (int n = 0; n < 8; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc2[n][half][c] = exp2_approx((acc2[n][half][c] * 0.127517432f) - base2[half]);
        }
      }
    }
    // What was summed so far, under the new maximum.
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      running_sum[half] = running_sum[half] * factor2[half];
    }
    // Sums of weights, each thread its own share.
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum2 = running_sum[half];
      #pragma unroll
      for (int n = 0; n < 8; ++n) {
        sum2 = sum2 + (acc2[n][half][0] + acc2[n][half][1]);
      }
      running_sum[half] = sum2;
    }
    // Rounded, two in a register, as products take them.
    u32 rounded2[8][2];
    #pragma unroll
    for (int n = 0; n < 8; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        rounded2[n][half] = pack_bf16(acc2[n][half][0], acc2[n][half][1]);
      }
    }
    // What was summed so far, under the new maximum.
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          running_out[n][half][c] = running_out[n][half][c] * factor2[half];
        }
      }
    }
    wait_copies<1>();
    __syncthreads();
    const u32 v_slot2 = v_next;
    v_next = 16384 - v_next;
    if (more3) {
      // Copy the next tile of v.
      auto *const from7 = row_at(v_from, ((next_tile2 * 64) + full_origin), v_stride1);
      const u32 to6 = v_to + v_fill;
      auto *rows_from7 = from7;
      #pragma unroll
      for (int pass = 0; pass < 16; ++pass) {
        #pragma unroll
        for (int piece = 0; piece < 2; ++piece) {
          copy_16((to6 ^ (pass * 4) % 8 * 16) + (pass * 4) * 256 + piece * 128, rows_from7 + piece * 64, true);
        }
        rows_from7 = advance(rows_from7, v_stride1_bytes);
      }
      v_fill = 16384 - v_fill;
    }
    commit_copies();
    // Add products with v.
    const u32 v_at2 = v_lane + v_slot2;
    #pragma unroll
    for (int k16 = 0; k16 < 4; ++k16) {
      #pragma unroll
      for (int n = 0; n < 16; n += 2) {
        mma_pair_bf16_trans(running_out[n], running_out[n + 1], rounded2[2 * k16][0], rounded2[2 * k16][1], rounded2[2 * k16 + 1][0], rounded2[2 * k16 + 1][1], (v_at2 ^ n % 8 * 16) + n / 8 * 128 + k16 * 4096);
      }
    }
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      running_max[half] = row_max2[half];
    }
    tile = next_tile2;
  }
  // Sums of rows, in each of their threads.
  float row_sum[2];
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum3 = running_sum[half];
    sum3 = sum3 + __shfl_xor_sync(0xffffffffu, sum3, 1);
    sum3 = sum3 + __shfl_xor_sync(0xffffffffu, sum3, 2);
    row_sum[half] = sum3;
  }
  auto *const part_m = p.part_m + (i64)b * part_m_stride0 + (i64)part * part_m_stride1;
  // Store part_m.
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (quad == 0 && row + 8 * half < 4)
      part_m[(head0 + row + 8 * half)] = running_max[half];
  }
  auto *const part_l = p.part_l + (i64)b * part_m_stride0 + (i64)part * part_m_stride1;
  // Store part_l.
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (quad == 0 && row + 8 * half < 4)
      part_l[(head0 + row + 8 * half)] = row_sum[half];
  }
  auto *const part_o = p.part_o + (i64)b * part_o_stride0 + (i64)part * part_o_stride1;
  // Store part_o.
  auto *const to7 = &part_o[(i64)(head0 + row) * part_o_stride2 + column];
  const int rows_left6 = 4 - (row);
  #pragma unroll
  for (int n = 0; n < 16; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        auto *const row_place = row_at(to7, half * 8, part_o_stride2) + (n * 8 + c * 1);
        if (half * 8 < rows_left6)
          *row_place = running_out[n][half][c];
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(32) merge(const __grid_constant__ Parameters p) {
  const int lane = threadIdx.x % 32;
  const int hk = blockIdx.x;
  const int b = blockIdx.y;
  const int Tk = (int)p.Tk;
  const i64 part_m_stride0 = (i64)(((int)p.Tk + 512 - 1) / 512) * (int)p.Hq;
  const int part_m_stride1 = (int)p.Hq;
  const i64 part_o_stride0 = (i64)(((int)p.Tk + 512 - 1) / 512) * (int)p.Hq * 128;
  const int part_o_stride1 = (int)p.Hq * 128;
  const int part_o_stride2 = 128;
  const int column = lane;
  const i64 o_stride0 = (i64)p.o_stride0;
  const int o_stride2 = (int)p.o_stride2;
  const i64 lse_stride0 = (i64)p.lse_stride0;
  const int head0 = hk * 4;
  float running_max[4];
  #pragma unroll
  for (int e1 = 0; e1 < 4; ++e1) {
    running_max[e1] = -infinity();
  }
  float running_sum[4];
  #pragma unroll
  for (int e1 = 0; e1 < 4; ++e1) {
    running_sum[e1] = 0.0f;
  }
  float running_sum2[4][4];
  #pragma unroll
  for (int r1 = 0; r1 < 4; ++r1) {
    #pragma unroll
    for (int e32 = 0; e32 < 4; ++e32) {
      running_sum2[r1][e32] = 0.0f;
    }
  }
  // All tiles.
  #pragma unroll 4
  for (int j = 0; j < ((Tk + 511) / 512); j += 1) {
    auto *const part_m = p.part_m + (i64)b * part_m_stride0 + (i64)j * part_m_stride1;
    float part_m_part[4];
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      part_m_part[e1] = part_m[(head0 + e1)];
    }
    auto *const part_l = p.part_l + (i64)b * part_m_stride0 + (i64)j * part_m_stride1;
    float part_l_part[4];
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      part_l_part[e1] = part_l[(head0 + e1)];
    }
    auto *const part_o = p.part_o + (i64)b * part_o_stride0 + (i64)j * part_o_stride1;
    float part_o_part[4][4];
    #pragma unroll
    for (int r1 = 0; r1 < 4; ++r1) {
      #pragma unroll
      for (int e32 = 0; e32 < 4; ++e32) {
        part_o_part[r1][e32] = part_o[(i64)(head0 + r1) * part_o_stride2 + (column + 32 * e32)];
      }
    }
    // The maximum so far.
    float r[4];
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      r[e1] = max_nan(running_max[e1], part_m_part[e1]);
    }
    // A finite base also where a row has seen no key yet.
    float base[4];
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      base[e1] = (r[e1] == (-infinity())) ? 0.0f : r[e1];
    }
    // By what earlier sums shrink under the new maximum.
    float factor[4];
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      factor[e1] = exp2_approx(running_max[e1] - base[e1]);
    }
    // By what earlier sums shrink under the new maximum.
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      part_m_part[e1] = exp2_approx(part_m_part[e1] - base[e1]);
    }
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      part_l_part[e1] = (running_sum[e1] * factor[e1]) + (part_l_part[e1] * part_m_part[e1]);
    }
    #pragma unroll
    for (int r1 = 0; r1 < 4; ++r1) {
      #pragma unroll
      for (int e32 = 0; e32 < 4; ++e32) {
        running_sum2[r1][e32] = (running_sum2[r1][e32] * factor[r1]) + (part_o_part[r1][e32] * part_m_part[r1]);
      }
    }
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      running_max[e1] = r[e1];
    }
    #pragma unroll
    for (int e1 = 0; e1 < 4; ++e1) {
      running_sum[e1] = part_l_part[e1];
    }
  }
  float reciprocal[4];
  #pragma unroll
  for (int e1 = 0; e1 < 4; ++e1) {
    reciprocal[e1] = divide(1.0f, running_sum[e1]);
  }
  u16 rounded[4][4];
  #pragma unroll
  for (int r1 = 0; r1 < 4; ++r1) {
    #pragma unroll
    for (int e32 = 0; e32 < 4; ++e32) {
      rounded[r1][e32] = to_bf16(((running_sum[r1] != 0.0f) ? (running_sum2[r1][e32] * reciprocal[r1]) : 0.0f));
    }
  }
  auto *const o = p.o + (i64)b * o_stride0;
  // Store o.
  #pragma unroll
  for (int r1 = 0; r1 < 4; ++r1) {
    #pragma unroll
    for (int e32 = 0; e32 < 4; ++e32) {
      o[(i64)(head0 + r1) * o_stride2 + (column + 32 * e32)] = rounded[r1][e32];
    }
  }
  float lse_rows[4];
  #pragma unroll
  for (int e1 = 0; e1 < 4; ++e1) {
    lse_rows[e1] = (running_sum[e1] > 0.0f) ? ((running_max[e1] + log2_approx(running_sum[e1])) * 0.693147182f) : (-infinity());
  }
  auto *const lse = p.lse + (i64)b * lse_stride0;
  // Store lse.
  #pragma unroll
  for (int e1 = 0; e1 < 4; ++e1) {
    if (lane == 0)
      lse[(head0 + e1)] = lse_rows[e1];
  }
}
