// mma.sync: D = A B + C with A 16 x K, B K x 8. One 32-bit register holds w = 4
// / (element bytes) consecutive k's, beginning at w * q; lane t has g = t / 4,
// q = t % 4:
//   A register r: row g + 8 (r % 2), k's of half r / 2    B register r: column
//   g, k's of half r C register i: row g + 8 (i / 2), column 2 q + i % 2
// So register r of A, seen as 32 lanes, is an 8 x 4 block of k groups in row
// order.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"
#include "runtime/devices/ptx/ops/TensorCore.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

namespace heddle::ptx {

namespace {

constexpr int kMaxK = 32;

/// The values of the 8-bit formats by their bits.
template <float (*decode)(uint8_t)> const std::array<float, 256> &valuesOf() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> v{};
    for (int i = 0; i < 256; ++i)
      v[static_cast<size_t>(i)] = decode(static_cast<uint8_t>(i));
    return v;
  }();
  return values;
}

/// Element e (of w) of 32 registers as values.
template <class V>
[[gnu::always_inline]] inline void elements(const uint32_t *reg, Type type, int e, V *out) {
  switch (type) {
  case Type::F16:
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(widenF16(static_cast<uint16_t>(reg[l] >> (16 * e))));
    break;
  case Type::BF16:
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(floatOfBits(e ? reg[l] & 0xffff0000 : reg[l] << 16));
    break;
  case Type::TF32: // the low 13 bits are ignored
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(floatOfBits(reg[l] & 0xffffe000));
    break;
  case Type::E4M3:
  case Type::E5M2: {
    const auto &values = type == Type::E4M3 ? valuesOf<decodeE4M3>() : valuesOf<decodeE5M2>();
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(values[reg[l] >> (8 * e) & 0xff]);
    break;
  }
  case Type::S8:
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(static_cast<int8_t>(reg[l] >> (8 * e)));
    break;
  default:
    for (int l = 0; l < kLanes; ++l)
      out[l] = static_cast<V>(reg[l] >> (8 * e) & 0xff);
  }
}

constexpr int perRegister(Type type) {
  return type == Type::TF32 ? 1 : type == Type::F16 || type == Type::BF16 ? 2 : 4;
}

/// Operands of one product. Column j = half * 4 w + e * 4 + q of `a` and row j
/// of `b` belong together; the real k is half * 4 w + q * w + e.
template <class V> struct Tiles {
  alignas(64) V a[2][kMaxK / 4][kLanes]; // [row half][j / 4][4 g + q]
  alignas(64) V b[kMaxK][8];             // [j][n]
};

using U8 = uint32_t __attribute__((vector_size(32)));
using F8 = float __attribute__((vector_size(32)));

/// The same of 16-bit floats, eight at once.
template <Type type> [[gnu::always_inline]] inline F8 widened(U8 pairs, int e) {
  if constexpr (type == Type::BF16) {
    return std::bit_cast<F8>(e ? pairs & 0xffff0000 : pairs << 16);
  } else {
    using S8 = uint16_t __attribute__((vector_size(16)));
    using H8 = _Float16 __attribute__((vector_size(16)));
    return __builtin_convertvector(
        std::bit_cast<H8>(__builtin_convertvector(pairs >> (16 * e), S8)), F8);
  }
}

/// Element q of every four: {v[0][q], v[0][4 + q], v[1][q], ..}.
template <int q> [[gnu::always_inline]] inline U8 column(const U8 *v) {
  const auto low = __builtin_shufflevector(v[0], v[1], q, 4 + q, 8 + q, 12 + q);
  const auto high = __builtin_shufflevector(v[2], v[3], q, 4 + q, 8 + q, 12 + q);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}

/// unpack for pairs of 16-bit floats: B's registers are turned before they are widened.
template <Type type>
[[gnu::always_inline]] inline void unpackPairs(Warp &w, const Operand *a, const Operand *b, int k,
                                               Tiles<float> &tiles) {
  for (int half = 0; half < k / 8; ++half) {
    for (int rows = 0; rows < 2; ++rows) {
      const U8 *from = reinterpret_cast<const U8 *>(w.src<uint32_t>(a[2 * half + rows]));
      for (int e = 0; e < 2; ++e) {
        F8 *to = reinterpret_cast<F8 *>(tiles.a[rows][2 * half + e]);
        for (int n = 0; n < 4; ++n)
          to[n] = widened<type>(from[n], e);
      }
    }
    const U8 *from = reinterpret_cast<const U8 *>(w.src<uint32_t>(b[half]));
    const U8 turned[4] = {column<0>(from), column<1>(from), column<2>(from), column<3>(from)};
    for (int e = 0; e < 2; ++e)
      for (int q = 0; q < 4; ++q)
        *reinterpret_cast<F8 *>(tiles.b[4 * (2 * half + e) + q]) = widened<type>(turned[q], e);
  }
}

template <class V>
[[gnu::always_inline]] inline void unpack(Warp &w, const Inst &i, const Operand *a,
                                          const Operand *b, Type aType, Type bType, int k,
                                          Tiles<V> &tiles) {
  const int width = perRegister(aType), halves = k / (4 * width);
  for (int half = 0; half < halves; ++half) {
    for (int e = 0; e < width; ++e) {
      const int block = half * width + e;
      for (int rows = 0; rows < 2; ++rows)
        elements(w.src<uint32_t>(a[2 * half + rows]), aType, e, tiles.a[rows][block]);
      alignas(64) V column[kLanes];
      elements(w.src<uint32_t>(b[half]), bType, e, column);
      for (int q = 0; q < 4; ++q)
        for (int n = 0; n < 8; ++n)
          tiles.b[4 * block + q][n] = column[4 * n + q];
    }
  }
}

/// acc[16][8] += A B in plain arithmetic of V. Eight rows at once: as many sums as hide the latency
/// of a multiply-add, and as fit the registers.
template <class V> void multiply(const Tiles<V> &tiles, int k, V (&acc)[16][8]) {
  for (int rows = 0; rows < 2; ++rows) {
    V sum[8][8];
    for (int r = 0; r < 8; ++r)
      for (int n = 0; n < 8; ++n)
        sum[r][n] = acc[8 * rows + r][n];
    for (int block = 0; block < k / 4; ++block) {
      const V *a = tiles.a[rows][block];
      for (int q = 0; q < 4; ++q) {
        const V *b = tiles.b[4 * block + q];
        for (int r = 0; r < 8; ++r)
#pragma clang loop vectorize(enable)
          for (int n = 0; n < 8; ++n) {
            if constexpr (std::is_same_v<V, float>)
              sum[r][n] = __builtin_fmaf(a[4 * r + q], b[n], sum[r][n]);
            else
              sum[r][n] += a[4 * r + q] * b[n];
          }
      }
    }
    for (int r = 0; r < 8; ++r)
      for (int n = 0; n < 8; ++n)
        acc[8 * rows + r][n] = sum[r][n];
  }
}

void multiplyFaithful(const Tiles<float> &tiles, Type type, int k, const StepRule &rule, bool half,
                      float (&acc)[16][8]) {
  const int width = perRegister(type);
  float a[16][kMaxK], b[kMaxK][8];
  for (int j = 0; j < k; ++j) {
    const int part = j / (4 * width), e = j / 4 % width, q = j % 4;
    const int at = part * 4 * width + q * width + e;
    for (int row = 0; row < 16; ++row)
      a[row][at] = tiles.a[row / 8][j / 4][4 * (row % 8) + q];
    for (int n = 0; n < 8; ++n)
      b[at][n] = tiles.b[j][n];
  }
  for (int row = 0; row < 16; ++row)
    for (int n = 0; n < 8; ++n)
      acc[row][n] = dotFaithful(a[row], &b[0][n], 8, k, acc[row][n], rule, half);
}

/// Registers 2h and 2h+1 of C are, interleaved, rows 8h..8h+7.
template <class V> void loadAccumulator(Warp &w, const Operand *c, bool half, V (&acc)[16][8]) {
  for (int rows = 0; rows < 2; ++rows) {
    V *to = acc[8 * rows];
    if (half) {
      const uint32_t *pair = w.src<uint32_t>(c[rows]);
      for (int l = 0; l < kLanes; ++l) {
        to[2 * l] = static_cast<V>(widenF16(static_cast<uint16_t>(pair[l])));
        to[2 * l + 1] = static_cast<V>(widenF16(static_cast<uint16_t>(pair[l] >> 16)));
      }
      continue;
    }
    const V *even = w.src<V>(c[2 * rows]), *odd = w.src<V>(c[2 * rows + 1]);
    for (int l = 0; l < kLanes; ++l) {
      to[2 * l] = even[l];
      to[2 * l + 1] = odd[l];
    }
  }
}

template <class V> void storeAccumulator(Warp &w, const Operand *d, bool half, V (&acc)[16][8]) {
  for (int rows = 0; rows < 2; ++rows) {
    const V *from = acc[8 * rows];
    if (half) {
      uint32_t *pair = w.dst<uint32_t>(d[rows]);
      for (int l = 0; l < kLanes; ++l)
        pair[l] = narrowF16(static_cast<float>(from[2 * l])) |
                  static_cast<uint32_t>(narrowF16(static_cast<float>(from[2 * l + 1]))) << 16;
      continue;
    }
    V *even = w.dst<V>(d[2 * rows]), *odd = w.dst<V>(d[2 * rows + 1]);
    for (int l = 0; l < kLanes; ++l) {
      even[l] = from[2 * l];
      odd[l] = from[2 * l + 1];
    }
  }
}

/// variant: type of A, extra: type of B, count: k; imm: bit 0 D is f16, bit 1 C
/// is f16, bit 2 saturate; imm2: generation.
template <class V, Type fixed> void runMma(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const Type aType = fixed == Type::None ? static_cast<Type>(i.variant) : fixed;
  const Type bType = fixed == Type::None ? static_cast<Type>(i.extra) : fixed;
  const int k = i.count, halves = k / (4 * perRegister(aType));
  const Operand *a = i.ops + i.results, *b = a + 2 * halves, *c = b + halves;
  Tiles<V> tiles;
  if constexpr (fixed == Type::BF16 || fixed == Type::F16)
    unpackPairs<fixed>(w, a, b, k, tiles);
  else
    unpack(w, i, a, b, aType, bType, k, tiles);
  alignas(64) V acc[16][8];
  const bool halfD = i.imm & 1, halfC = i.imm & 2;
  loadAccumulator(w, c, halfC, acc);
  if constexpr (std::is_same_v<V, float>) {
    if (w.block->launch.options.numbers == Numbers::Faithful)
      multiplyFaithful(tiles, aType, k, stepRule(static_cast<int>(i.imm2), aType), halfD, acc);
    else
      multiply(tiles, k, acc);
  } else if (i.imm & 4) {
    int32_t product[16][8] = {};
    multiply(tiles, k, product);
    for (int r = 0; r < 16; ++r)
      for (int n = 0; n < 8; ++n)
        acc[r][n] = static_cast<int32_t>(
            std::clamp<int64_t>(int64_t{acc[r][n]} + product[r][n], INT32_MIN, INT32_MAX));
  } else {
    uint32_t sums[16][8];
    int32_t product[16][8] = {};
    multiply(tiles, k, product);
    for (int r = 0; r < 16; ++r)
      for (int n = 0; n < 8; ++n)
        acc[r][n] = static_cast<int32_t>(sums[r][n] = static_cast<uint32_t>(acc[r][n]) +
                                                      static_cast<uint32_t>(product[r][n]));
  }
  storeAccumulator(w, i.ops, halfD, acc);
}

/// m8n8k4.f64: A one element (row g, k q), B one (k q, column g), C two (row g,
/// columns 2q, 2q+1).
void runDouble(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const double *a = w.src<double>(i.ops[2]), *b = w.src<double>(i.ops[3]);
  double result[2][kLanes];
  for (int e = 0; e < 2; ++e)
    for (int l = 0; l < kLanes; ++l) {
      double sum = w.src<double>(i.ops[4 + e])[l];
      for (int k = 0; k < 4; ++k)
        sum = std::fma(a[(l & ~3) + k], b[4 * (2 * (l & 3) + e) + k], sum);
      result[e][l] = sum;
    }
  for (int e = 0; e < 2; ++e)
    std::copy_n(result[e], kLanes, w.dst<double>(i.ops[e]));
}

bool decodeDouble(Decoder &d) {
  for (int k = 0; k < 4; ++k)
    if (d.takeType() != Type::F64)
      return d.refuse("expected four types .f64");
  d.inst.run = &runDouble;
  return d.expectOperands(4, 4) && d.results(0, Type::F64, 2) && d.sources(1, Type::F64, 1) &&
         d.sources(2, Type::F64, 1) && d.sources(3, Type::F64, 2);
}

bool decodeMma(Decoder &d) {
  const bool sync = d.take("sync"), aligned = d.take("aligned");
  d.inst.kind = Class::Tensor;
  if (!sync || !aligned)
    return d.refuse("expected mma.sync.aligned");
  const bool row = d.take("row"), col = d.take("col");
  if (d.take("m8n8k4") && row && col)
    return decodeDouble(d);
  constexpr int kDepths[] = {4, 8, 16, 32};
  const int depth = d.takeOneOf({"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"});
  const bool saturates = d.take("satfinite");
  d.take("kind::f8f6f4");
  const Type to = d.takeType(), a = d.takeType(), b = d.takeType(), from = d.takeType();
  if (depth < 0 || !row || !col)
    return d.refuse("this shape is not supported; m16n8k4 to m16n8k32 with .row.col are");
  const int k = kDepths[depth];
  const bool whole = a == Type::S8 || a == Type::U8;
  const bool eight = a == Type::E4M3 || a == Type::E5M2;
  const bool known = a == Type::F16 || a == Type::BF16 ? a == b && (k == 8 || k == 16)
                     : a == Type::TF32                 ? a == b && (k == 4 || k == 8)
                     : whole                           ? (b == Type::S8 || b == Type::U8) && k >= 16
                     : eight ? (b == Type::E4M3 || b == Type::E5M2) && k >= 16
                             : false;
  const bool halves = a == Type::F16 || eight;
  const bool result = whole ? to == Type::S32 && from == to
                            : (to == Type::F32 || (to == Type::F16 && halves)) &&
                                  (from == Type::F32 || (from == Type::F16 && halves));
  if (!known || !result || (saturates && !whole))
    return d.refuse("no such product of these shapes and types");
  const size_t parts = static_cast<size_t>(k / (4 * perRegister(a)));
  if (!d.expectOperands(4, 4) ||
      !d.results(0, to == Type::F16 ? Type::B32 : to, to == Type::F16 ? 2 : 4) ||
      !d.sources(1, Type::B32, 2 * parts) || !d.sources(2, Type::B32, parts) ||
      !d.sources(3, from == Type::F16 ? Type::B32 : from, from == Type::F16 ? 2 : 4))
    return false;
  d.inst.variant = static_cast<uint8_t>(a);
  d.inst.extra = static_cast<uint8_t>(b);
  d.inst.count = static_cast<uint8_t>(k);
  d.inst.imm = (to == Type::F16) | (from == Type::F16) << 1 | saturates << 2;
  d.inst.imm2 = smNumber(d.target());
  d.inst.flops = static_cast<uint32_t>(2 * 16 * 8 * k);
  d.inst.run = whole             ? &runMma<int32_t, Type::None>
               : a == Type::F16  ? static_cast<Handler>(&runMma<float, Type::F16>)
               : a == Type::BF16 ? &runMma<float, Type::BF16>
                                 : &runMma<float, Type::None>;
  return true;
}

constexpr Opcode kOpcodes[] = {{"mma", decodeMma}, {"wmma", decodeWmma}};

} // namespace

std::span<const Opcode> matrixOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
