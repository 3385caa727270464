// wmma.load, wmma.mma, wmma.store. PTX leaves open which element a lane's register holds; here
// element e of lane t is number (32 e + t) mod (rows * columns) of the matrix in row order. (f16
// operands have room for every element twice.) The layouts matter for memory only.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"
#include "runtime/devices/ptx/ops/TensorCore.h"

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

struct Shape {
  const char *name;
  int m, n, k;
};
constexpr Shape kShapes[] = {{"m16n16k16", 16, 16, 16},
                             {"m32n8k16", 32, 8, 16},
                             {"m8n32k16", 8, 32, 16},
                             {"m16n16k8", 16, 16, 8}};

enum Role : uint8_t { A, B, C };

int rowsOf(const Shape &s, Role r) { return r == B ? s.k : s.m; }
int columnsOf(const Shape &s, Role r) { return r == A ? s.k : s.n; }

/// Elements in a register of 32 bits.
int packed(Type type) { return 32 / std::max(8, std::min(32, bitsOf(type))); }

int registersOf(const Shape &s, Role r, Type type) {
  if (r != C && type == Type::F16)
    return 8;
  return rowsOf(s, r) * columnsOf(s, r) / 32 / packed(type);
}

bool wholeNumbers(Type type) { return type == Type::S8 || type == Type::U8 || type == Type::S32; }

double valueOf(Type type, uint32_t bits) {
  switch (type) {
  case Type::F16:
    return widenF16(static_cast<uint16_t>(bits));
  case Type::BF16:
    return widenBF16(static_cast<uint16_t>(bits));
  case Type::TF32:
    return floatOfBits(bits & 0xffffe000);
  case Type::S8:
    return static_cast<int8_t>(bits);
  case Type::U8:
    return static_cast<uint8_t>(bits);
  case Type::S32:
    return static_cast<int32_t>(bits);
  default:
    return floatOfBits(bits);
  }
}

/// variant: shape, extra: type; imm2: role, + 4 for column order. ops: registers and address and
/// stride, in the order of the instruction; count: registers.
struct Access {
  const Shape &shape;
  Role role;
  Type type;
  bool columnOrder;

  explicit Access(const Inst &i)
      : shape(kShapes[i.variant]), role(static_cast<Role>(i.imm2 & 3)),
        type(static_cast<Type>(i.extra)), columnOrder(i.imm2 & 4) {}
  int bytes() const { return std::max(8, std::min(32, bitsOf(type))) / 8; }

  /// Host memory of element e of every lane. False after an error.
  bool find(Warp &w, const Inst &i, int e, bool store, Warp::Addresses &at) const {
    const Operand &base = i.ops[i.address], &stride = i.ops[i.results + i.sources - 1];
    const int rows = rowsOf(shape, role), columns = columnsOf(shape, role);
    const auto access = store ? Warp::Access::Write : Warp::Access::Read;
    for (int l = 0; l < kLanes; ++l) {
      const int number = (kLanes * e + l) % (rows * columns);
      const auto row = static_cast<uint64_t>(number / columns),
                 column = static_cast<uint64_t>(number % columns);
      const uint64_t step = w.lane(stride, l);
      const uint64_t element = columnOrder ? column * step + row : row * step + column;
      at.address[l] =
          w.lane(base, l) + static_cast<uint64_t>(i.imm) + element * static_cast<uint64_t>(bytes());
      at.host[l] = w.resolveOne(i, l, i.space, at.address[l], bytes(), bytes(), access);
      if (!at.host[l])
        return false;
    }
    if (w.observer)
      w.observer->access(w, i, kAllLanes, at, bytes(), access);
    return true;
  }
};

void loadFragment(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const Access access(i);
  const int per = packed(access.type);
  // The base may stand in a register that is a result, too.
  uint32_t loaded[16][kLanes] = {};
  Warp::Addresses at;
  for (int e = 0; e < i.count * per; ++e) {
    if (!access.find(w, i, e, false, at))
      return;
    for (int l = 0; l < kLanes; ++l) {
      uint32_t bits = 0;
      std::memcpy(&bits, at.host[l], static_cast<size_t>(access.bytes()));
      loaded[e / per][l] |= bits << (8 * access.bytes() * (e % per) % 32);
    }
  }
  for (int r = 0; r < i.count; ++r)
    std::copy_n(loaded[r], kLanes, w.dst<uint32_t>(i.ops[r]));
}

void storeFragment(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const Access access(i);
  const int per = packed(access.type);
  Warp::Addresses at;
  for (int e = 0; e < i.count * per; ++e) {
    if (!access.find(w, i, e, true, at))
      return;
    const uint32_t *from = w.src<uint32_t>(i.ops[1 + e / per]);
    for (int l = 0; l < kLanes; ++l) {
      const uint32_t bits = from[l] >> (8 * access.bytes() * (e % per) % 32);
      std::memcpy(at.host[l], &bits, static_cast<size_t>(access.bytes()));
    }
  }
}

/// A matrix out of its fragment, as floats or as whole numbers in them (of at most 8 bits).
void gather(Warp &w, const Operand *regs, const Shape &shape, Role role, Type type, float *out) {
  const int total = rowsOf(shape, role) * columnsOf(shape, role), per = packed(type);
  for (int number = 0; number < total; ++number) {
    const int e = number / kLanes, l = number % kLanes;
    const uint32_t bits = w.src<uint32_t>(regs[e / per])[l] >> (32 / per * (e % per) % 32);
    out[number] = static_cast<float>(valueOf(type, bits));
  }
}

/// variant: shape; extra: type of A and B; imm: bit 0 D is f16, bit 1 C is f16, bit 2 saturate, bit
/// 3 B is unsigned; imm2: generation.
void multiplyFragments(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  const Shape &shape = kShapes[i.variant];
  const Type type = static_cast<Type>(i.extra);
  const Type bType =
      type == Type::S8 || type == Type::U8 ? (i.imm & 8 ? Type::U8 : Type::S8) : type;
  float a[512], b[512];
  const Operand *from = i.ops + i.results;
  gather(w, from, shape, A, type, a);
  from += registersOf(shape, A, type);
  gather(w, from, shape, B, bType, b);
  from += registersOf(shape, B, type);
  const bool whole = wholeNumbers(type), halfD = i.imm & 1, halfC = i.imm & 2;
  const bool faithful = w.block->launch.options.numbers == Numbers::Faithful;
  const StepRule rule = stepRule(static_cast<int>(i.imm2), type);
  uint32_t results[8][kLanes] = {};
  for (int number = 0; number < shape.m * shape.n; ++number) {
    const int e = number / kLanes, l = number % kLanes;
    const float *row = a + number / shape.n * shape.k, *column = b + number % shape.n;
    if (whole) {
      int64_t sum = static_cast<int32_t>(w.src<uint32_t>(from[e])[l]);
      for (int k = 0; k < shape.k; ++k)
        sum += static_cast<int64_t>(row[k]) * static_cast<int64_t>(column[k * shape.n]);
      results[e][l] =
          static_cast<uint32_t>(i.imm & 4 ? std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX) : sum);
      continue;
    }
    const uint32_t bits =
        halfC ? w.src<uint32_t>(from[e / 2])[l] >> (16 * (e % 2)) : w.src<uint32_t>(from[e])[l];
    float sum = static_cast<float>(valueOf(halfC ? Type::F16 : Type::F32, bits));
    if (faithful)
      sum = dotFaithful(row, column, shape.n, shape.k, sum, rule, halfD);
    else
      for (int k = 0; k < shape.k; ++k)
        sum = __builtin_fmaf(row[k], column[k * shape.n], sum);
    if (halfD)
      results[e / 2][l] |= static_cast<uint32_t>(narrowF16(sum)) << (16 * (e % 2));
    else
      results[e][l] = bitsOfFloat(sum);
  }
  for (int r = 0; r < i.results; ++r)
    std::copy_n(results[r], kLanes, w.dst<uint32_t>(i.ops[r]));
}

bool takeShape(Decoder &d) {
  for (size_t s = 0; s < std::size(kShapes); ++s)
    if (d.take(kShapes[s].name)) {
      d.inst.variant = static_cast<uint8_t>(s);
      return true;
    }
  return d.refuse("only shapes m16n16k16, m32n8k16, m8n32k16 and m16n16k8 are supported");
}

bool fits(const Shape &shape, Role role, Type type) {
  const bool operand =
      type == Type::F16 || type == Type::BF16 || type == Type::S8 || type == Type::U8;
  if (role == C)
    return type == Type::F16 || type == Type::F32 || type == Type::S32;
  return shape.k == 8 ? type == Type::TF32 : operand;
}

/// Registers of a fragment are .b32, or .f32 and .s32 for accumulators.
Type registerType(Type type) { return type == Type::F32 || type == Type::S32 ? type : Type::B32; }

bool decodeMove(Decoder &d, bool store) {
  const int role = store ? (d.take("d") ? 2 : -1) : d.takeOneOf({"a", "b", "c"});
  const int order = d.takeOneOf({"row", "col"});
  if (role < 0 || order < 0 || !takeShape(d))
    return d.refuse("expected a matrix, .row or .col, and a shape");
  const Shape &shape = kShapes[d.inst.variant];
  const Space space = d.takeSpace();
  const Type type = d.takeType();
  if (!fits(shape, static_cast<Role>(role), type) || !d.expectOperands(2, 3))
    return d.refuse("no such matrix of this shape and type");
  const int count = registersOf(shape, static_cast<Role>(role), type);
  d.inst.kind = Class::MatrixMove;
  d.inst.extra = static_cast<uint8_t>(type);
  d.inst.imm2 = role | order << 2;
  d.inst.count = static_cast<uint8_t>(count);
  d.inst.run = store ? &storeFragment : &loadFragment;
  const Type reg = registerType(type);
  if (store ? !d.address(0, space) || !d.sources(1, reg, static_cast<size_t>(count))
            : !d.results(0, reg, static_cast<size_t>(count)) || !d.address(1, space))
    return false;
  if (d.operandCount() == 3)
    return d.source(2, Type::U32);
  const bool byRows = order == 0;
  const int leading =
      byRows ? columnsOf(shape, static_cast<Role>(role)) : rowsOf(shape, static_cast<Role>(role));
  d.constantSource(static_cast<uint64_t>(leading), 4);
  return true;
}

bool decodeProduct(Decoder &d) {
  d.take("row");
  d.take("row");
  d.take("col");
  d.take("col");
  if (!takeShape(d))
    return false;
  const Shape &shape = kShapes[d.inst.variant];
  const bool saturates = d.take("satfinite");
  Type types[4];
  for (Type &type : types)
    type = d.takeType();
  const bool plain = types[2] == Type::None; // .dtype.ctype, of f16 products
  const Type to = types[0], from = plain ? types[1] : types[3];
  const Type a = plain ? Type::F16 : types[1], b = plain ? Type::F16 : types[2];
  const bool whole = a == Type::S8 || a == Type::U8;
  if (!fits(shape, A, a) || !fits(shape, B, b) || (!whole && a != b) || !fits(shape, C, to) ||
      !fits(shape, C, from) || (to == Type::S32) != whole || (from == Type::S32) != whole ||
      ((to == Type::F16 || from == Type::F16) && a != Type::F16) || !d.expectOperands(4, 4))
    return d.refuse("no such product of these shapes and types");
  d.inst.kind = Class::Tensor;
  d.inst.extra = static_cast<uint8_t>(a);
  d.inst.imm = (to == Type::F16) | (from == Type::F16) << 1 | saturates << 2 | (b == Type::U8) << 3;
  d.inst.imm2 = smNumber(d.target());
  d.inst.flops = static_cast<uint32_t>(2 * shape.m * shape.n * shape.k);
  d.inst.run = &multiplyFragments;
  const auto count = [&](Role role, Type type) {
    return static_cast<size_t>(registersOf(shape, role, type));
  };
  return d.results(0, registerType(to), count(C, to)) && d.sources(1, Type::B32, count(A, a)) &&
         d.sources(2, Type::B32, count(B, b)) && d.sources(3, registerType(from), count(C, from));
}

} // namespace

bool decodeWmma(Decoder &d) {
  const int what = d.takeOneOf({"load", "mma", "store"});
  const bool sync = d.take("sync"), aligned = d.take("aligned");
  if (what < 0 || !sync || !aligned)
    return d.refuse("expected wmma.load, wmma.mma or wmma.store with .sync.aligned");
  return what == 1 ? decodeProduct(d) : decodeMove(d, what == 2);
}

} // namespace heddle::ptx
