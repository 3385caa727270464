// dense_softmax: form attention, sm_80
// problem   D=64 Dv=64 G=1
//           in  q: f16[B, Tq, Hq, 64]
//           in  k: f16[B, Tk, Hk, 64]
//           in  v: f16[B, Tk, Hk, 64]
//           out o: f16[B, Tq, Hq, 64]
//           out lse: f32[B, Tq, Hq]
// schedule  BM=128 BN=128 CHUNK=0 QREG=1 RESCALE=0 SPLIT=0 STAGES=2 TMA=0 VCOLS=256 WARPS=8
// launch    attn: grid (ceildiv(Tq, 128), Hq, B), block 256, dynamic shared memory 81920 bytes
// argument  one struct of 192 bytes by value, see Parameters; strides count elements, the last dimension is contiguous
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
// Two numbers in a register, the first in the low half.
__device__ __forceinline__ u32 pack_f16(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
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
__device__ __forceinline__ void store_shared(u32 to, u32 x) {
  asm volatile("st.shared.b32 [%0], %1;" : : "r"(to), "r"(x) : "memory");
}
__device__ __forceinline__ uint4 load_shared_16(u32 from) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
  return x;
}
// Four 8x8 matrices; lane 8 i + r gives the address of row r of matrix i.
__device__ __forceinline__ void load_matrix_x4(u32 (&x)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(from) : "memory");
}
// d += a b0, e += a b1, where ldmatrix reads the blocks b0 and b1 of 8 columns at `from`.
__device__ __forceinline__ void mma_pair_f16(float (&d)[2][2], float (&e)[2][2],
    u32 a0, u32 a1, u32 a2, u32 a3, u32 from) {
  asm volatile("{ .reg .b32 b<4>;\n"
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {b0, b1, b2, b3}, [%12];\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
    "{%0, %1, %2, %3}, {%8, %9, %10, %11}, {b0, b1}, {%0, %1, %2, %3};\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
    "{%4, %5, %6, %7}, {%8, %9, %10, %11}, {b2, b3}, {%4, %5, %6, %7}; }"
    : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[1][0]), "+f"(d[1][1]),
      "+f"(e[0][0]), "+f"(e[0][1]), "+f"(e[1][0]), "+f"(e[1][1])
    : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(from) : "memory");
}
// d += a b0, e += a b1, where ldmatrix reads the blocks b0 and b1 of 8 columns at `from`.
__device__ __forceinline__ void mma_pair_f16_trans(float (&d)[2][2], float (&e)[2][2],
    u32 a0, u32 a1, u32 a2, u32 a3, u32 from) {
  asm volatile("{ .reg .b32 b<4>;\n"
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {b0, b1, b2, b3}, [%12];\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
    "{%0, %1, %2, %3}, {%8, %9, %10, %11}, {b0, b1}, {%0, %1, %2, %3};\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
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
};

extern "C" __global__ void __launch_bounds__(256) attn(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const u32 smem = (u32)__cvta_generic_to_shared(shared_memory);
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int group = lane / 4; // of four threads that share rows of fragments
  const int quad = lane % 4;
  const int block = blockIdx.x;
  const int hq = blockIdx.y;
  const int b = blockIdx.z;
  const int Tq = (int)p.Tq;
  const int Tk = (int)p.Tk;
  const i64 q_stride0 = (i64)p.q_stride0;
  const int q_stride1 = (int)p.q_stride1;
  const int q_stride2 = (int)p.q_stride2;
  const int copy_row = threadIdx.x / 8;
  const int copy_chunk = threadIdx.x % 8;
  const i64 q_stride1_bytes = (i64)q_stride1 * 64;
  const int Hk = (int)p.Hk;
  const int Hq = (int)p.Hq;
  const i64 k_stride0 = (i64)p.k_stride0;
  const int k_stride1 = (int)p.k_stride1;
  const int k_stride2 = (int)p.k_stride2;
  const i64 v_stride0 = (i64)p.v_stride0;
  const int v_stride1 = (int)p.v_stride1;
  const int v_stride2 = (int)p.v_stride2;
  const i64 k_stride1_bytes = (i64)k_stride1 * 64;
  const i64 v_stride1_bytes = (i64)v_stride1 * 64;
  const u32 q_lane = smem + (warp * 16 + lane % 16) * 128 + (lane / 16 ^ (warp * 16 + lane % 16) % 8) * 16;
  const u32 k_lane = smem + 16384 + (lane % 8 + lane / 16 * 8) * 128 + (lane / 8 % 2 ^ (lane % 8 + lane / 16 * 8) % 8) * 16;
  const int column = 2 * quad;
  const u32 v_lane = smem + 49152 + (lane % 16) * 128 + (lane / 16 ^ (lane % 16) % 8) * 16;
  const i64 o_stride0 = (i64)p.o_stride0;
  const int o_stride1 = (int)p.o_stride1;
  const int o_stride2 = (int)p.o_stride2;
  const int row = 16 * warp + group;
  const u32 turned_lane = smem + row * 128 + row % 8 * 16 + quad * 4;
  const i64 o_stride1_bytes = (i64)o_stride1 * 64;
  const i64 lse_stride0 = (i64)p.lse_stride0;
  const int lse_stride1 = (int)p.lse_stride1;
  const int row0 = block * 128;
  const int rows = Tq - row0;
  const int offset = Tk - Tq;
  auto *const q = p.q + (i64)b * q_stride0 + (i64)hq * q_stride2;
  // q: 1 slot of 128 x 64, rows of 128 bytes, chunks swizzled.
  auto *const q_from = q + (i64)copy_row * q_stride1 + copy_chunk * 8;
  const u32 q_to = smem + copy_row * 128 + (copy_chunk ^ copy_row % 8) * 16;
  // Copy the next tile of q.
  auto *const from = row_at(q_from, row0, q_stride1);
  const int rows_left = rows - copy_row;
  auto *rows_from = from;
  #pragma unroll
  for (int pass = 0; pass < 4; ++pass) {
    copy_16(q_to + (pass * 32) * 128, rows_from, (pass * 32) < rows_left);
    rows_from = advance(rows_from, q_stride1_bytes);
  }
  commit_copies();
  const int key_head = (hq * Hk) / Hq;
  auto *const k = p.k + (i64)b * k_stride0 + (i64)key_head * k_stride2;
  auto *const v = p.v + (i64)b * v_stride0 + (i64)key_head * v_stride2;
  const bool is = (row0 + offset) <= ((min(row0 + 128, Tq) + offset) - 1);
  const bool is2 = Tk >= 0;
  const int keys_end = ((is && ((Tk - 1) >= 0)) && is2) ? Tk : 0;
  const int at = max(min((is && is2) ? Tk : 0, keys_end), 0);
  const int edge_begin = max(((at - ((at < 0) ? 127 : 0)) / 128) * 128, 0);
  const int edge_tiles = max(((keys_end - edge_begin) + 127) / 128, 0);
  const int full_origin = 0 - (edge_tiles * 128);
  const int tiles = edge_tiles + max((edge_begin + 127) / 128, 0);
  // k: 2 slots of 128 x 64, rows of 128 bytes, chunks swizzled.
  auto *const k_from = k + (i64)copy_row * k_stride1 + copy_chunk * 8;
  const u32 k_to = smem + 16384 + copy_row * 128 + (copy_chunk ^ copy_row % 8) * 16;
  u32 k_fill = 0, k_next = 0; // slots to fill and to take next
  // v: 2 slots of 128 x 64, rows of 128 bytes, chunks swizzled.
  auto *const v_from = v + (i64)copy_row * v_stride1 + copy_chunk * 8;
  const u32 v_to = smem + 49152 + copy_row * 128 + (copy_chunk ^ copy_row % 8) * 16;
  u32 v_fill = 0, v_next = 0; // slots to fill and to take next
  const bool more = tiles > 0;
  if (more) {
    const bool in_edge = edge_tiles > 0;
    const int next_key = in_edge ? edge_begin : full_origin;
    // Copy the next tile of k.
    auto *const from2 = row_at(k_from, next_key, k_stride1);
    const u32 to = k_to + k_fill;
    const int rows_left2 = ((in_edge ? keys_end : edge_begin) - next_key) - copy_row;
    auto *rows_from2 = from2;
    #pragma unroll
    for (int pass = 0; pass < 4; ++pass) {
      copy_16(to + (pass * 32) * 128, rows_from2, (pass * 32) < rows_left2);
      rows_from2 = advance(rows_from2, k_stride1_bytes);
    }
    k_fill = 16384 - k_fill;
  }
  commit_copies();
  if (more) {
    const bool in_edge2 = edge_tiles > 0;
    const int next_key2 = in_edge2 ? edge_begin : full_origin;
    // Copy the next tile of v.
    auto *const from3 = row_at(v_from, next_key2, v_stride1);
    const u32 to2 = v_to + v_fill;
    const int rows_left3 = ((in_edge2 ? keys_end : edge_begin) - next_key2) - copy_row;
    auto *rows_from3 = from3;
    #pragma unroll
    for (int pass = 0; pass < 4; ++pass) {
      copy_16(to2 + (pass * 32) * 128, rows_from3, (pass * 32) < rows_left3);
      rows_from3 = advance(rows_from3, v_stride1_bytes);
    }
    v_fill = 16384 - v_fill;
  }
  commit_copies();
  wait_copies<2>();
  __syncthreads();
  u32 q_fragments[8][2];
  #pragma unroll
  for (int k16 = 0; k16 < 4; ++k16) {
    u32 a[4];
    load_matrix_x4(a, (q_lane ^ k16 * 32));
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
  float running_out[8][2][2];
  #pragma unroll
  for (int n = 0; n < 8; ++n) {
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
  for (int j = edge_begin; j < keys_end; j += 128) {
    const int next_tile = tile + 1;
    wait_copies<1>();
    __syncthreads();
    const u32 k_slot = k_next;
    k_next = 16384 - k_next;
    const bool more2 = next_tile < tiles;
    if (more2) {
      const bool in_edge3 = next_tile < edge_tiles;
      const int next_key3 = (next_tile * 128) + (in_edge3 ? edge_begin : full_origin);
      // Copy the next tile of k.
      auto *const from4 = row_at(k_from, next_key3, k_stride1);
      const u32 to3 = k_to + k_fill;
      const int rows_left4 = ((in_edge3 ? keys_end : edge_begin) - next_key3) - copy_row;
      auto *rows_from4 = from4;
      #pragma unroll
      for (int pass = 0; pass < 4; ++pass) {
        copy_16(to3 + (pass * 32) * 128, rows_from4, (pass * 32) < rows_left4);
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
      const bool in_edge4 = next_tile < edge_tiles;
      const int next_key4 = (next_tile * 128) + (in_edge4 ? edge_begin : full_origin);
      // Copy the next tile of v.
      auto *const from5 = row_at(v_from, next_key4, v_stride1);
      const u32 to4 = v_to + v_fill;
      const int rows_left5 = ((in_edge4 ? keys_end : edge_begin) - next_key4) - copy_row;
      auto *rows_from5 = from5;
      #pragma unroll
      for (int pass = 0; pass < 4; ++pass) {
        copy_16(to4 + (pass * 32) * 128, rows_from5, (pass * 32) < rows_left5);
        rows_from5 = advance(rows_from5, v_stride1_bytes);
      }
      v_fill = 16384 - v_fill;
    }
    commit_copies();
    // The tile in parts.
    for (int j_2 = 0; j_2 < min(keys_end - j, 128); j_2 += 32) {
      const u32 k_part = k_slot + j_2 * 128;
      const u32 v_part = v_slot + j_2 * 128;
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
      for (int k16 = 0; k16 < 4; ++k16) {
        #pragma unroll
        for (int n = 0; n < 4; n += 2) {
          mma_pair_f16(acc[n], acc[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_at ^ k16 * 32) + n * 1024);
        }
      }
      // Scores of pairs outside the support go.
      #pragma unroll
      for (int n = 0; n < 4; ++n) {
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
          #pragma unroll
          for (int c = 0; c < 2; ++c) {
            acc[n][half][c] = (((j + j_2) + column + 8 * n + c) < keys_end) ? acc[n][half][c] : (-infinity());
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
        row_max[half] = max_nan(row_max[half] * 0.180336878f, running_max[half]);
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
            acc[n][half][c] = exp2_approx((acc[n][half][c] * 0.180336878f) - base[half]);
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
          rounded[n][half] = pack_f16(acc[n][half][0], acc[n][half][1]);
        }
      }
      // What was summed so far, under the new maximum.
      #pragma unroll
      for (int n = 0; n < 8; ++n) {
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
        for (int n = 0; n < 8; n += 2) {
          mma_pair_f16_trans(running_out[n], running_out[n + 1], rounded[2 * k16][0], rounded[2 * k16][1], rounded[2 * k16 + 1][0], rounded[2 * k16 + 1][1], (v_at ^ n * 16) + k16 * 2048);
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
  for (int j_3 = 0; j_3 < edge_begin; j_3 += 128) {
    const int next_tile2 = tile + 1;
    wait_copies<1>();
    __syncthreads();
    const u32 k_slot2 = k_next;
    k_next = 16384 - k_next;
    const bool more3 = next_tile2 < tiles;
    if (more3) {
      // Copy the next tile of k.
      auto *const from6 = row_at(k_from, ((next_tile2 * 128) + full_origin), k_stride1);
      const u32 to5 = k_to + k_fill;
      auto *rows_from6 = from6;
      #pragma unroll
      for (int pass = 0; pass < 4; ++pass) {
        copy_16(to5 + (pass * 32) * 128, rows_from6, true);
        rows_from6 = advance(rows_from6, k_stride1_bytes);
      }
      k_fill = 16384 - k_fill;
    }
    commit_copies();
    // Products with k'.
    float acc2[16][2][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
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
    for (int k16 = 0; k16 < 4; ++k16) {
      #pragma unroll
      for (int n = 0; n < 16; n += 2) {
        mma_pair_f16(acc2[n], acc2[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_at2 ^ k16 * 32) + n * 1024);
      }
    }
    // Maxima of rows, in each of their threads.
    float row_max2[2];
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest2 = -infinity();
      #pragma unroll
      for (int n = 0; n < 16; ++n) {
        largest2 = fmaxf(largest2, fmaxf(acc2[n][half][0], acc2[n][half][1]));
      }
      largest2 = fmaxf(largest2, __shfl_xor_sync(0xffffffffu, largest2, 1));
      largest2 = fmaxf(largest2, __shfl_xor_sync(0xffffffffu, largest2, 2));
      row_max2[half] = largest2;
    }
    // The maximum so far, scaled.
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      row_max2[half] = max_nan(row_max2[half] * 0.180336878f, running_max[half]);
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
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc2[n][half][c] = exp2_approx((acc2[n][half][c] * 0.180336878f) - base2[half]);
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
      for (int n = 0; n < 16; ++n) {
        sum2 = sum2 + (acc2[n][half][0] + acc2[n][half][1]);
      }
      running_sum[half] = sum2;
    }
    // Rounded, two in a register, as products take them.
    u32 rounded2[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        rounded2[n][half] = pack_f16(acc2[n][half][0], acc2[n][half][1]);
      }
    }
    // What was summed so far, under the new maximum.
    #pragma unroll
    for (int n = 0; n < 8; ++n) {
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
      auto *const from7 = row_at(v_from, ((next_tile2 * 128) + full_origin), v_stride1);
      const u32 to6 = v_to + v_fill;
      auto *rows_from7 = from7;
      #pragma unroll
      for (int pass = 0; pass < 4; ++pass) {
        copy_16(to6 + (pass * 32) * 128, rows_from7, true);
        rows_from7 = advance(rows_from7, v_stride1_bytes);
      }
      v_fill = 16384 - v_fill;
    }
    commit_copies();
    // Add products with v.
    const u32 v_at2 = v_lane + v_slot2;
    #pragma unroll
    for (int k16 = 0; k16 < 8; ++k16) {
      #pragma unroll
      for (int n = 0; n < 8; n += 2) {
        mma_pair_f16_trans(running_out[n], running_out[n + 1], rounded2[2 * k16][0], rounded2[2 * k16][1], rounded2[2 * k16 + 1][0], rounded2[2 * k16 + 1][1], (v_at2 ^ n * 16) + k16 * 2048);
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
  float reciprocal[2];
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    reciprocal[half] = divide(1.0f, row_sum[half]);
  }
  // Rounded, two in a register, as products take them.
  u32 rounded3[8][2];
  #pragma unroll
  for (int n = 0; n < 8; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float pair[2];
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        pair[c] = (row_sum[half] != 0.0f) ? (running_out[n][half][c] * reciprocal[half]) : 0.0f;
      }
      rounded3[n][half] = pack_f16(pair[0], pair[1]);
    }
  }
  auto *const o = p.o + (i64)b * o_stride0 + (i64)hq * o_stride2;
  __syncthreads();
  // Results to shared memory, row by row.
  #pragma unroll
  for (int n = 0; n < 8; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      store_shared((turned_lane ^ n * 16) + half * 1024, rounded3[n][half]);
    }
  }
  __syncthreads();
  // Store whole rows of o.
  const u32 from8 = smem + copy_row * 128 + (copy_chunk ^ copy_row % 8) * 16;
  auto *const to7 = o + (i64)(row0 + copy_row) * o_stride1 + copy_chunk * 8;
  const int rows_left6 = rows - copy_row;
  auto *rows_from8 = to7;
  #pragma unroll
  for (int pass = 0; pass < 4; ++pass) {
    if ((pass * 32) < rows_left6)
      *(uint4 *)(rows_from8) = load_shared_16(from8 + (pass * 32) * 128);
    rows_from8 = advance(rows_from8, o_stride1_bytes);
  }
  float lse_rows[2];
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    lse_rows[half] = (row_sum[half] > 0.0f) ? ((running_max[half] + log2_approx(row_sum[half])) * 0.693147182f) : (-infinity());
  }
  auto *const lse = p.lse + (i64)b * lse_stride0 + (i64)hq * 1;
  // Store lse.
  #pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (quad == 0 && row + 8 * half < rows)
      lse[(i64)(row0 + row + 8 * half) * lse_stride1] = lse_rows[half];
  }
}
