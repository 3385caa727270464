// kv_int8: form attention, sm_80
// problem   D=64 Dv=64 G=2
//           in  q: bf16[B, Tq, Hq, 64]
//           in  k: i8[B, Tk, Hk, 64]
//           in  v: i8[B, Tk, Hk, 64]
//           in  k_scale: f32[B, Tk, Hk]
//           in  v_scale: f32[B, Tk, Hk]
//           out o: bf16[B, Tq, Hq, 64]
//           out lse: f32[B, Tq, Hq]
// schedule  BM=128 BN=128 CHUNK=0 QREG=1 RESCALE=0 SPLIT=0 STAGES=2 TMA=0 VCOLS=256 WARPS=8
// launch    attn: grid (ceildiv(Tq, 128), Hq, B), block 256, dynamic shared memory 32768 bytes
// argument  one struct of 240 bytes by value, see Parameters; strides count elements, the last dimension is contiguous
// assumes   pointers and strides of 16-bit tensors are multiples of 16 bytes
//           and those of 8-bit tensors of 8

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
__device__ __forceinline__ void store_shared(u32 to, u32 x) {
  asm volatile("st.shared.b32 [%0], %1;" : : "r"(to), "r"(x) : "memory");
}
__device__ __forceinline__ uint4 load_shared_16(u32 from) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
  return x;
}
// By an addition: conversions of integers take four times as long.
__device__ __forceinline__ float from_i8(int x) {
  return __int_as_float((x & 0xff) ^ 0x4b000080) - 8388736.0f;
}
// 8 bytes at once; zeros where not `valid`.
__device__ __forceinline__ void load_codes_8(u32 (&x)[2], const void *from, bool valid) {
  const uint2 codes = valid ? *(const uint2 *)from : make_uint2(0, 0);
  x[0] = codes.x;
  x[1] = codes.y;
}
__device__ __forceinline__ void store_shared_16(u32 to, u32 x, u32 y, u32 z, u32 w) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
               : : "r"(to), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
// Offset of a byte of a row; chunks of 16 bytes are xored with MASK bits of the row.
template <int PITCH, int SHIFT, int MASK> __device__ __forceinline__ u32 place(int row, int byte) {
  return row * PITCH + (byte ^ (row >> SHIFT & MASK) * 16);
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
  const signed char *k;          // 72
  long long k_stride0;           // 80
  long long k_stride1;           // 88
  long long k_stride2;           // 96
  const signed char *v;          // 104
  long long v_stride0;           // 112
  long long v_stride1;           // 120
  long long v_stride2;           // 128
  const float *k_scale;          // 136
  long long k_scale_stride0;     // 144
  long long k_scale_stride1;     // 152
  const float *v_scale;          // 160
  long long v_scale_stride0;     // 168
  long long v_scale_stride1;     // 176
  u16 *o;                        // 184
  long long o_stride0;           // 192
  long long o_stride1;           // 200
  long long o_stride2;           // 208
  float *lse;                    // 216
  long long lse_stride0;         // 224
  long long lse_stride1;         // 232
};

extern "C" __global__ void __launch_bounds__(256) attn(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const u32 smem = (u32)__cvta_generic_to_shared(shared_memory);
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int group = lane / 4; // of four threads that share rows of fragments
  const int quad = lane % 4;
  const int block = gridDim.x - 1 - blockIdx.x;
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
  const u32 q_lane = smem + (warp * 16 + lane % 16) * 128 + (lane / 16 ^ (warp * 16 + lane % 16) % 8) * 16;
  const i64 k_stride0 = (i64)p.k_stride0;
  const int k_stride1 = (int)p.k_stride1;
  const int k_stride2 = (int)p.k_stride2;
  const int row = 4 * warp + (int)(threadIdx.x / 8 % 4);
  const int column = 8 * (int)(threadIdx.x % 8);
  const i64 k_scale_stride0 = (i64)p.k_scale_stride0;
  const int k_scale_stride1 = (int)p.k_scale_stride1;
  const int column2 = 2 * quad;
  const i64 v_stride0 = (i64)p.v_stride0;
  const int v_stride1 = (int)p.v_stride1;
  const int v_stride2 = (int)p.v_stride2;
  const i64 v_scale_stride0 = (i64)p.v_scale_stride0;
  const int v_scale_stride1 = (int)p.v_scale_stride1;
  const u32 k_rows_lane = smem + (lane % 8 + lane / 16 * 8) * 128 + (lane / 8 % 2 ^ (lane % 8 + lane / 16 * 8) % 8) * 16;
  const int row2 = 16 * warp + group;
  const u32 v_rows_lane = smem + 16384 + (lane % 16) * 128 + (lane / 16 ^ (lane % 16) % 8) * 16;
  const i64 o_stride0 = (i64)p.o_stride0;
  const int o_stride1 = (int)p.o_stride1;
  const int o_stride2 = (int)p.o_stride2;
  const u32 turned_lane = smem + row2 * 128 + row2 % 8 * 16 + quad * 4;
  const i64 o_stride1_bytes = (i64)o_stride1 * 64;
  const i64 lse_stride0 = (i64)p.lse_stride0;
  const int lse_stride1 = (int)p.lse_stride1;
  const int row0 = block * 128;
  const int rows = Tq - row0;
  const int offset = Tk - Tq;
  const int first_position = row0 + offset;
  const int key_head = hq / 2;
  const int last_position = (min(row0 + 128, Tq) + offset) - 1;
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
  wait_copies<0>();
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
  const int at = Tk - 1;
  const int at2 = min(at, first_position) + 1;
  const int at3 = min(at, max(last_position, first_position)) + 1;
  const int keys_end = (((max(first_position, 0) <= last_position) && (at >= 0)) && (at3 >= 0)) ? at3 : 0;
  const int at4 = max(min(((first_position <= last_position) && (at2 >= 0)) ? at2 : 0, keys_end), 0);
  const int at5 = max(((at4 - ((at4 < 0) ? 127 : 0)) / 128) * 128, 0);
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
  // Tiles at the support's edge: masked.
  for (int j = at5; j < keys_end; j += 128) {
    const int at6 = Tk - j;
    auto *const k = p.k + (i64)b * k_stride0 + (i64)key_head * k_stride2;
    signed char k_part[4][4][2];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      u32 codes[2];
      load_codes_8(codes, &k[(i64)(j + row + 32 * r32) * k_stride1 + column], row + 32 * r32 < at6);
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          k_part[r32][e2][c] = (signed char)(codes[(2 * e2 + c) / 4] >> ((2 * e2 + c) % 4 * 8));
        }
      }
    }
    auto *const k_scale = p.k_scale + (i64)b * k_scale_stride0 + (i64)key_head * 1;
    float k_scale_part[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        k_scale_part[n][c] = (column2 + 8 * n + c < at6 ? k_scale[(i64)(j + column2 + 8 * n + c) * k_scale_stride1] : (float)0.0f);
      }
    }
    u32 t[4][4];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        u16 pair[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair[c] = to_bf16(from_i8(((int)k_part[r32][e2][c])));
        }
        t[r32][e2] = (u32)pair[0] | (u32)pair[1] << 16;
      }
    }
    __syncthreads();
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      store_shared_16(smem + place<128, 0, 7>(row + 32 * r32, (column) * 2), t[r32][0], t[r32][1], t[r32][2], t[r32][3]);
    }
    auto *const v = p.v + (i64)b * v_stride0 + (i64)key_head * v_stride2;
    signed char v_part[4][4][2];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      u32 codes2[2];
      load_codes_8(codes2, &v[(i64)(j + row + 32 * r32) * v_stride1 + column], row + 32 * r32 < at6);
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          v_part[r32][e2][c] = (signed char)(codes2[(2 * e2 + c) / 4] >> ((2 * e2 + c) % 4 * 8));
        }
      }
    }
    auto *const v_scale = p.v_scale + (i64)b * v_scale_stride0 + (i64)key_head * 1;
    float v_scale_part[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        v_scale_part[n][c] = (column2 + 8 * n + c < at6 ? v_scale[(i64)(j + column2 + 8 * n + c) * v_scale_stride1] : (float)0.0f);
      }
    }
    bool r[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        r[n][c] = (j + column2 + 8 * n + c) < keys_end;
      }
    }
    bool r_2[4];
    #pragma unroll
    for (int e32 = 0; e32 < 4; ++e32) {
      r_2[e32] = (j + row + 32 * e32) < keys_end;
    }
    // Rounded, two in a register, as products take them.
    u32 rounded[4][4];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        float pair2[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair2[c] = r_2[r32] ? from_i8(((int)v_part[r32][e2][c])) : 0.0f;
        }
        rounded[r32][e2] = pack_bf16(pair2[0], pair2[1]);
      }
    }
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      store_shared_16(smem + 16384 + place<128, 0, 7>(row + 32 * r32, (column) * 2), rounded[r32][0], rounded[r32][1], rounded[r32][2], rounded[r32][3]);
    }
    __syncthreads();
    // Products with k_rows'.
    float acc[16][2][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc[n][half][c] = 0.0f;
        }
      }
    }
    #pragma unroll
    for (int k16 = 0; k16 < 4; ++k16) {
      #pragma unroll
      for (int n = 0; n < 16; n += 2) {
        mma_pair_bf16(acc[n], acc[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_rows_lane ^ k16 * 32) + n * 1024);
      }
    }
    // Scores of pairs outside the support go.
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc[n][half][c] = (((j + column2 + 8 * n + c) <= (first_position + row2 + 8 * half)) && ((j + column2 + 8 * n + c) < keys_end)) ? (acc[n][half][c] * k_scale_part[n][c]) : (-infinity());
        }
      }
    }
    // Maxima of rows, in each of their threads.
    float row_max[2];
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = -infinity();
      #pragma unroll
      for (int n = 0; n < 16; ++n) {
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
    for (int n = 0; n < 16; ++n) {
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
      for (int n = 0; n < 16; ++n) {
        sum = sum + (acc[n][half][0] + acc[n][half][1]);
      }
      running_sum[half] = sum;
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
    // Rounded, two in a register, as products take them.
    u32 rounded2[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        float pair3[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair3[c] = acc[n][half][c] * (r[n][c] ? v_scale_part[n][c] : 0.0f);
        }
        rounded2[n][half] = pack_bf16(pair3[0], pair3[1]);
      }
    }
    // Add products with v_rows.
    #pragma unroll
    for (int k16 = 0; k16 < 8; ++k16) {
      #pragma unroll
      for (int n = 0; n < 8; n += 2) {
        mma_pair_bf16_trans(running_out[n], running_out[n + 1], rounded2[2 * k16][0], rounded2[2 * k16][1], rounded2[2 * k16 + 1][0], rounded2[2 * k16 + 1][1], (v_rows_lane ^ n * 16) + k16 * 2048);
      }
    }
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      running_max[half] = row_max[half];
    }
  }
  // Tiles wholly inside the support.
  for (int j_2 = 0; j_2 < at5; j_2 += 128) {
    auto *const k2 = p.k + (i64)b * k_stride0 + (i64)key_head * k_stride2;
    signed char k_part2[4][4][2];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      u32 codes3[2];
      load_codes_8(codes3, &k2[(i64)(j_2 + row + 32 * r32) * k_stride1 + column], true);
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          k_part2[r32][e2][c] = (signed char)(codes3[(2 * e2 + c) / 4] >> ((2 * e2 + c) % 4 * 8));
        }
      }
    }
    auto *const k_scale2 = p.k_scale + (i64)b * k_scale_stride0 + (i64)key_head * 1;
    float k_scale_part2[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        k_scale_part2[n][c] = k_scale2[(i64)(j_2 + column2 + 8 * n + c) * k_scale_stride1];
      }
    }
    u32 t2[4][4];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        u16 pair4[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair4[c] = to_bf16(from_i8(((int)k_part2[r32][e2][c])));
        }
        t2[r32][e2] = (u32)pair4[0] | (u32)pair4[1] << 16;
      }
    }
    __syncthreads();
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      store_shared_16(smem + place<128, 0, 7>(row + 32 * r32, (column) * 2), t2[r32][0], t2[r32][1], t2[r32][2], t2[r32][3]);
    }
    auto *const v2 = p.v + (i64)b * v_stride0 + (i64)key_head * v_stride2;
    signed char v_part2[4][4][2];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      u32 codes4[2];
      load_codes_8(codes4, &v2[(i64)(j_2 + row + 32 * r32) * v_stride1 + column], true);
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          v_part2[r32][e2][c] = (signed char)(codes4[(2 * e2 + c) / 4] >> ((2 * e2 + c) % 4 * 8));
        }
      }
    }
    auto *const v_scale2 = p.v_scale + (i64)b * v_scale_stride0 + (i64)key_head * 1;
    float v_scale_part2[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        v_scale_part2[n][c] = v_scale2[(i64)(j_2 + column2 + 8 * n + c) * v_scale_stride1];
      }
    }
    u32 t3[4][4];
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      #pragma unroll
      for (int e2 = 0; e2 < 4; ++e2) {
        u16 pair5[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair5[c] = to_bf16(from_i8(((int)v_part2[r32][e2][c])));
        }
        t3[r32][e2] = (u32)pair5[0] | (u32)pair5[1] << 16;
      }
    }
    #pragma unroll
    for (int r32 = 0; r32 < 4; ++r32) {
      store_shared_16(smem + 16384 + place<128, 0, 7>(row + 32 * r32, (column) * 2), t3[r32][0], t3[r32][1], t3[r32][2], t3[r32][3]);
    }
    __syncthreads();
    // Products with k_rows'.
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
    #pragma unroll
    for (int k16 = 0; k16 < 4; ++k16) {
      #pragma unroll
      for (int n = 0; n < 16; n += 2) {
        mma_pair_bf16(acc2[n], acc2[n + 1], q_fragments[2 * k16][0], q_fragments[2 * k16][1], q_fragments[2 * k16 + 1][0], q_fragments[2 * k16 + 1][1], (k_rows_lane ^ k16 * 32) + n * 1024);
      }
    }
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          acc2[n][half][c] = acc2[n][half][c] * k_scale_part2[n][c];
        }
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
    // Rounded, two in a register, as products take them.
    u32 rounded3[16][2];
    #pragma unroll
    for (int n = 0; n < 16; ++n) {
      #pragma unroll
      for (int half = 0; half < 2; ++half) {
        float pair6[2];
        #pragma unroll
        for (int c = 0; c < 2; ++c) {
          pair6[c] = acc2[n][half][c] * v_scale_part2[n][c];
        }
        rounded3[n][half] = pack_bf16(pair6[0], pair6[1]);
      }
    }
    // Add products with v_rows.
    #pragma unroll
    for (int k16 = 0; k16 < 8; ++k16) {
      #pragma unroll
      for (int n = 0; n < 8; n += 2) {
        mma_pair_bf16_trans(running_out[n], running_out[n + 1], rounded3[2 * k16][0], rounded3[2 * k16][1], rounded3[2 * k16 + 1][0], rounded3[2 * k16 + 1][1], (v_rows_lane ^ n * 16) + k16 * 2048);
      }
    }
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      running_max[half] = row_max2[half];
    }
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
  u32 rounded4[8][2];
  #pragma unroll
  for (int n = 0; n < 8; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      float pair7[2];
      #pragma unroll
      for (int c = 0; c < 2; ++c) {
        pair7[c] = (row_sum[half] != 0.0f) ? (running_out[n][half][c] * reciprocal[half]) : 0.0f;
      }
      rounded4[n][half] = pack_bf16(pair7[0], pair7[1]);
    }
  }
  auto *const o = p.o + (i64)b * o_stride0 + (i64)hq * o_stride2;
  __syncthreads();
  // Results to shared memory, row by row.
  #pragma unroll
  for (int n = 0; n < 8; ++n) {
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
      store_shared((turned_lane ^ n * 16) + half * 1024, rounded4[n][half]);
    }
  }
  __syncthreads();
  // Store whole rows of o.
  const u32 from2 = smem + copy_row * 128 + (copy_chunk ^ copy_row % 8) * 16;
  auto *const to = o + (i64)(row0 + copy_row) * o_stride1 + copy_chunk * 8;
  const int rows_left2 = rows - copy_row;
  auto *rows_from2 = to;
  #pragma unroll
  for (int pass = 0; pass < 4; ++pass) {
    if ((pass * 32) < rows_left2)
      *(uint4 *)(rows_from2) = load_shared_16(from2 + (pass * 32) * 128);
    rows_from2 = advance(rows_from2, o_stride1_bytes);
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
    if (quad == 0 && row2 + 8 * half < rows)
      lse[(i64)(row0 + row2 + 8 * half) * lse_stride1] = lse_rows[half];
  }
}
