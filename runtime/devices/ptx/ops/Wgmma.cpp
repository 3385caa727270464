// wgmma (sm_90a): D (64 x N) = A B + D by a group of four warps, B and perhaps A in shared memory,
// described by 64-bit descriptors. Each warp makes its own 16 rows when it issues the instruction;
// that accumulators are not to be touched before wgmma.wait_group is the checker's business.
//   warp w of the group: rows 16w.. in the layout of mma.sync's C, register i: column 8 (i / 4) +
//   ..
// Source of descriptors and layouts: PTX manual, "Asynchronous Warpgroup Level Matrix
// Instructions".
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"
#include "runtime/devices/ptx/ops/TensorCore.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

namespace heddle::ptx {

namespace {

enum : int64_t { HalfD = 1, RegistersA = 2, TransA = 4, TransB = 8, NegA = 16, NegB = 32 };

struct Matrix {
  uint64_t start, leading, stride; // bytes
  Swizzle swizzle;
  bool transposed; // MN-major
};

Matrix parseDescriptor(uint64_t d, bool transposed) {
  constexpr Swizzle kModes[] = {Swizzle::None, Swizzle::B128, Swizzle::B64, Swizzle::B32};
  return {(d & 0x3fff) << 4, (d >> 16 & 0x3fff) << 4, (d >> 32 & 0x3fff) << 4, kModes[d >> 62],
          transposed};
}

/// Where element (r, k) of a matrix with r along M or N lies, before the swizzle.
uint64_t offsetOf(const Matrix &m, uint64_t r, uint64_t k, uint64_t es) {
  const uint64_t per = 16 / es, width = uint64_t{16} << static_cast<int>(m.swizzle);
  if (!m.transposed)
    return m.swizzle == Swizzle::None
               ? r % 8 * 16 + r / 8 * m.stride + k * es / 16 * m.leading + k * es % 16
               : r % 8 * width + r / 8 * m.stride + k * es;
  if (m.swizzle == Swizzle::None)
    return r % per * es + r / per * m.stride + k % 8 * 16 + k / 8 * m.leading;
  const uint64_t row = width / es;
  return r % row * es + r / row * m.leading + k % 8 * width + k / 8 * m.stride;
}

double valueOf(Type type, uint32_t bits) {
  switch (type) {
  case Type::F16:
    return widenF16(static_cast<uint16_t>(bits));
  case Type::BF16:
    return floatOfBits(bits << 16);
  case Type::TF32:
    return floatOfBits(bits & 0xffffe000);
  case Type::E4M3:
    return decodeE4M3(static_cast<uint8_t>(bits));
  case Type::E5M2:
    return decodeE5M2(static_cast<uint8_t>(bits));
  case Type::S8:
    return static_cast<int8_t>(bits);
  default:
    return bits;
  }
}

uint64_t bytesOf(Type type) {
  return type == Type::TF32 ? 4 : type == Type::F16 || type == Type::BF16 ? 2 : 1;
}

/// Rows first.. of a matrix in shared memory as values, `depth` of them a row. False after an
/// error.
template <class V>
bool readMatrix(Warp &w, const Inst &i, uint64_t descriptor, bool transposed, Type type, int first,
                int rows, int depth, bool negative, std::vector<V> &out) {
  if (descriptor >> 49 & 7) {
    w.fail(i, kAllLanes, "a matrix descriptor with a base offset is not supported");
    return false;
  }
  const Matrix m = parseDescriptor(descriptor, transposed);
  const uint64_t es = bytesOf(type);
  Block &block = *w.block;
  uint64_t noted = ~uint64_t{0};
  out.resize(static_cast<size_t>(rows * depth));
  for (int r = 0; r < rows; ++r)
    for (int k = 0; k < depth; ++k) {
      const uint64_t at =
          swizzled(m.swizzle, m.start + offsetOf(m, static_cast<uint64_t>(first + r),
                                                 static_cast<uint64_t>(k), es)) -
          kSharedBase;
      if (at + es > block.sharedBytes) {
        w.fail(i, kAllLanes,
               fmt::format("out of bounds: a matrix descriptor reaches byte {} of {} of shared "
                           "memory",
                           static_cast<int64_t>(at), block.sharedBytes));
        return false;
      }
      uint32_t bits = 0;
      std::memcpy(&bits, block.shared + at, es);
      const V value = static_cast<V>(valueOf(type, bits));
      out[static_cast<size_t>(r * depth + k)] = negative ? -value : value;
      if (w.observer && at / 16 != noted) {
        noted = at / 16;
        w.observer->engineRead(w, i, block.shared + at / 16 * 16, 16);
      }
    }
  return true;
}

/// A's fragment in registers: as that of mma.sync.
template <class V>
void readFragment(Warp &w, const Operand *a, Type type, int depth, bool negative,
                  std::vector<V> &out) {
  const int per = static_cast<int>(4 / bytesOf(type)), bits = 32 / per;
  out.resize(static_cast<size_t>(16 * depth));
  for (int reg = 0; reg < 4; ++reg) {
    const uint32_t *from = w.src<uint32_t>(a[reg]);
    for (int l = 0; l < kLanes; ++l)
      for (int e = 0; e < per; ++e) {
        const uint32_t part = from[l] >> (e * bits);
        const V value = static_cast<V>(valueOf(type, per == 1 ? part : part & ((1u << bits) - 1)));
        const int row = (l >> 2) + 8 * (reg & 1), k = per * (l & 3) + e + 4 * per * (reg >> 1);
        out[static_cast<size_t>(row * depth + k)] = negative ? -value : value;
      }
  }
}

StepRule groupRule(Type type) {
  if (type == Type::E4M3 || type == Type::E5M2)
    return {32, 13, 13, false};
  return {type == Type::TF32 ? 8 : 16, 25, 23, false};
}

template <class V>
V dot(Warp &w, const Inst &i, const V *a, const V *b, int depth, V sum, bool halfD) {
  if constexpr (std::is_same_v<V, float>)
    if (w.block->launch.options.numbers == Numbers::Faithful)
      return dotFaithful(a, b, 1, depth, sum, groupRule(static_cast<Type>(i.variant)), halfD);
  for (int k = 0; k < depth; ++k)
    if constexpr (std::is_same_v<V, float>)
      sum = __builtin_fmaf(a[k], b[k], sum);
    else
      sum = static_cast<V>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(a[k] * b[k]));
  return sum;
}

/// ops: D's registers, A's descriptor or registers, B's descriptor, whether D is added.
template <class V> void runWgmma(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const int depth = i.count, columns = static_cast<int>(i.imm2);
  const bool halfD = i.imm & HalfD, inRegisters = i.imm & RegistersA;
  const Operand *a = i.ops + i.results, *b = a + (inRegisters ? 4 : 1);
  std::vector<V> left, right;
  if (inRegisters)
    readFragment(w, a, static_cast<Type>(i.variant), depth, i.imm & NegA, left);
  else if (!readMatrix(w, i, w.src<uint64_t>(a[0])[0], i.imm & TransA, static_cast<Type>(i.variant),
                       16 * (w.index % 4), 16, depth, i.imm & NegA, left))
    return;
  if (!readMatrix(w, i, w.src<uint64_t>(b[0])[0], i.imm & TransB, static_cast<Type>(i.extra), 0,
                  columns, depth, i.imm & NegB, right))
    return;
  const bool adds = w.predicate(b[1]) & 1;
  for (int reg = 0; reg < columns / 2; ++reg) {
    const Operand &d = i.ops[halfD ? reg / 2 : reg];
    for (int l = 0; l < kLanes; ++l) {
      const int row = (l >> 2) + 8 * (reg >> 1 & 1),
                column = 8 * (reg >> 2) + 2 * (l & 3) + (reg & 1);
      const V *x = &left[static_cast<size_t>(row * depth)],
              *y = &right[static_cast<size_t>(column * depth)];
      if (halfD) {
        uint32_t &pair = w.dst<uint32_t>(d)[l];
        const int shift = 16 * (reg & 1);
        const V before =
            adds ? static_cast<V>(widenF16(static_cast<uint16_t>(pair >> shift))) : V{};
        const uint32_t half = narrowF16(static_cast<float>(dot(w, i, x, y, depth, before, true)));
        pair = (pair & ~(0xffffu << shift)) | half << shift;
      } else {
        V &to = w.dst<V>(d)[l];
        to = dot(w, i, x, y, depth, adds ? to : V{}, false);
      }
    }
  }
  if (w.observer)
    w.observer->groupProduct(w, i);
}

void commitGroup(Warp &w, const Inst &, uint32_t) { ++w.productCommits; }

void waitGroup(Warp &w, const Inst &i, uint32_t) {
  if (w.observer)
    w.observer->groupWaited(w, static_cast<uint32_t>(i.imm));
}

void doNothing(Warp &, const Inst &, uint32_t) {}

/// The integer after a modifier's prefix "m64n": "m64n128k16" -> 128, 16.
bool takeShape(Decoder &d, int &columns, int &depth) {
  const std::string shape = d.takePrefix("m64n");
  const char *at = shape.data() + std::min<size_t>(4, shape.size()),
             *end = shape.data() + shape.size();
  const auto [next, error] = std::from_chars(at, end, columns);
  return error == std::errc() && next != end && *next == 'k' &&
         std::from_chars(next + 1, end, depth).ptr == end && columns >= 8 && columns <= 256 &&
         columns % 8 == 0;
}

/// A constant among the operands: 1 or -1, 0 or 1.
bool constantOf(Decoder &d, size_t i, int64_t &value) {
  if (i >= d.operandCount() || d.operand(i).kind != OperandSyntax::Kind::Integer)
    return false;
  value = d.operand(i).integer;
  return true;
}

bool decodeProduct(Decoder &d) {
  int columns = 0, depth = 0;
  if (!takeShape(d, columns, depth))
    return d.refuse("expected a shape m64nNkK with N a multiple of 8 up to 256");
  if (d.take("satfinite"))
    return d.refuse(".satfinite is not supported");
  const Type to = d.takeType(), a = d.takeType(), b = d.takeType();
  const bool integers = a == Type::S8 || a == Type::U8;
  const bool eight = a == Type::E4M3 || a == Type::E5M2;
  const bool known = integers ? to == Type::S32 && (b == Type::S8 || b == Type::U8)
                     : eight  ? b == Type::E4M3 || b == Type::E5M2
                              : a == b && (a == Type::F16 || a == Type::BF16 || a == Type::TF32);
  const bool half = to == Type::F16;
  if (!known || depth != static_cast<int>(32 / bytesOf(a)) ||
      (!integers && to != Type::F32 && !(half && (a == Type::F16 || eight))))
    return d.refuse("no such product of these shapes and types");
  const bool inRegisters = d.operandCount() > 1 && d.operand(1).kind == OperandSyntax::Kind::Vector;
  d.inst.imm = (half ? HalfD : 0) | (inRegisters ? RegistersA : 0);
  int64_t scaleA = 1, scaleB = 1, transA = 0, transB = 0;
  const bool narrow = a == Type::F16 || a == Type::BF16;
  const size_t last = integers ? 4 : narrow ? (inRegisters ? 7 : 8) : 6;
  if (!d.expectOperands(last, last) ||
      (!integers && (!constantOf(d, 4, scaleA) || !constantOf(d, 5, scaleB))) ||
      (narrow && !inRegisters && (!constantOf(d, 6, transA) || !constantOf(d, 7, transB))) ||
      (narrow && inRegisters && !constantOf(d, 6, transB)))
    return d.refuse("expected {d}, a, b, scale-d, and the constants of this type");
  d.inst.imm |= (transA ? TransA : 0) | (transB ? TransB : 0) | (scaleA < 0 ? NegA : 0) |
                (scaleB < 0 ? NegB : 0);
  d.inst.imm2 = columns;
  d.inst.count = static_cast<uint8_t>(depth);
  d.inst.variant = static_cast<uint8_t>(a);
  d.inst.extra = static_cast<uint8_t>(b);
  d.inst.flops = static_cast<uint32_t>(2 * 16 * columns * depth); // of a warp
  d.inst.kind = Class::Tensor;
  d.inst.run = integers ? &runWgmma<int32_t> : &runWgmma<float>;
  return d.results(0, half ? Type::B32 : to,
                   static_cast<size_t>(half ? columns / 4 : columns / 2)) &&
         (inRegisters ? d.sources(1, Type::B32, 4) : d.source(1, Type::B64)) &&
         d.source(2, Type::B64) && d.source(3, Type::Pred);
}

bool decodeWgmma(Decoder &d) {
  const int kind = d.takeOneOf({"mma_async", "fence", "commit_group", "wait_group"});
  if (kind < 0 || !d.take("sync") || !d.take("aligned"))
    return d.refuse("expected wgmma.mma_async, .fence, .commit_group or .wait_group .sync.aligned");
  if (kind == 0)
    return decodeProduct(d);
  d.inst.kind = Class::Control;
  d.inst.run = kind == 1 ? &doNothing : kind == 2 ? &commitGroup : &waitGroup;
  return kind == 3 ? d.expectOperands(1, 1) && constantOf(d, 0, d.inst.imm)
                   : d.expectOperands(0, 0);
}

constexpr Opcode kOpcodes[] = {{"wgmma", decodeWgmma}};

} // namespace

std::span<const Opcode> wgmmaOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
