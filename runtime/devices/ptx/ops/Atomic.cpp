// atom and red: add, min, max, inc, dec, and, or, xor, exch, cas on memory of any space. Blocks run
// on several threads of the host, so each element is updated by a compare-and-swap of the host.
#include "runtime/devices/ptx/Bulk.h"
#include "runtime/devices/ptx/ops/Formats.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <atomic>
#include <cstring>

namespace heddle::ptx {

namespace {

enum AtomicOp : uint8_t { Add, Min, Max, Inc, Dec, And, Or, Xor, Exch, Cas };

uint16_t halves(AtomicOp op, Type type, uint16_t a, uint16_t b) {
  const bool f16 = type == Type::F16 || type == Type::F16x2;
  const float x = f16 ? widenF16(a) : widenBF16(a), y = f16 ? widenF16(b) : widenBF16(b);
  const float result = op == Add ? x + y : (op == Min) == (x < y) ? x : y;
  return f16 ? narrowF16(result) : narrowBF16(result);
}

template <class T> T integers(AtomicOp op, T a, T b) {
  switch (op) {
  case Add:
    return static_cast<T>(static_cast<UnsignedOf<T>>(a) + static_cast<UnsignedOf<T>>(b));
  case Min:
    return b < a ? b : a;
  case Max:
    return a < b ? b : a;
  case Inc:
    return a >= b ? T{0} : static_cast<T>(a + 1);
  case Dec:
    return a == 0 || a > b ? b : static_cast<T>(a - 1);
  case And:
    return a & b;
  case Or:
    return a | b;
  case Xor:
    return a ^ b;
  default:
    return b;
  }
}

/// What memory holds after the operation: a = what it held, b and c = the operands.
uint64_t updated(AtomicOp op, Type type, uint64_t a, uint64_t b, uint64_t c) {
  if (op == Cas)
    return a == b ? c : a;
  if (op == Exch)
    return b;
  switch (type) {
  case Type::F32: {
    const float x = floatOfBits(static_cast<uint32_t>(a)),
                y = floatOfBits(static_cast<uint32_t>(b));
    return bitsOfFloat(op == Add ? x + y : (op == Min) == (x < y) ? x : y);
  }
  case Type::F64:
    return std::bit_cast<uint64_t>(std::bit_cast<double>(a) + std::bit_cast<double>(b));
  case Type::F16:
  case Type::BF16:
    return halves(op, type, static_cast<uint16_t>(a), static_cast<uint16_t>(b));
  case Type::F16x2:
  case Type::BF16x2:
    return halves(op, type, static_cast<uint16_t>(a), static_cast<uint16_t>(b)) |
           static_cast<uint64_t>(
               halves(op, type, static_cast<uint16_t>(a >> 16), static_cast<uint16_t>(b >> 16)))
               << 16;
  case Type::S32:
    return static_cast<uint32_t>(
        integers<int32_t>(op, static_cast<int32_t>(a), static_cast<int32_t>(b)));
  case Type::S64:
    return static_cast<uint64_t>(
        integers<int64_t>(op, static_cast<int64_t>(a), static_cast<int64_t>(b)));
  case Type::U64:
  case Type::B64:
    return integers<uint64_t>(op, a, b);
  default:
    return integers<uint32_t>(op, static_cast<uint32_t>(a), static_cast<uint32_t>(b));
  }
}

template <class U> U update(std::byte *at, AtomicOp op, Type type, uint64_t b, uint64_t c) {
  std::atomic_ref<U> cell(*reinterpret_cast<U *>(at));
  U before = cell.load();
  while (!cell.compare_exchange_weak(before, static_cast<U>(updated(op, type, before, b, c))))
    ;
  return before;
}

/// ops: [d,] address, b's (one for each element), c. variant: operation, extra: type.
template <class U> void runAtomic(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  mask = w.resolve(i, mask, static_cast<int>(sizeof(U)) * i.count, Warp::Access::Atomic, at);
  ++w.polls;
  const auto op = static_cast<AtomicOp>(i.variant);
  const Type type = static_cast<Type>(i.extra);
  const Operand *values = i.ops + i.address + 1;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    for (int k = 0; k < i.count; ++k) {
      const uint64_t c = op == Cas ? w.lane(values[1], l) : 0;
      const U before = update<U>(at.host[l] + static_cast<size_t>(k) * sizeof(U), op, type,
                                 w.lane(values[k], l), c);
      if (i.results)
        w.dst<U>(i.ops[k])[l] = before;
    }
  }
}

bool decodeAtomic(Decoder &d) {
  const bool returns = d.syntax().opcode == "atom";
  for (const char *hint : {"relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu",
                           "sys", "L2::cache_hint"})
    d.take(hint);
  const Space space = d.takeSpace();
  const int op =
      d.takeOneOf({"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"});
  d.take("noftz");
  const int vector = d.takeOneOf({"v2", "v4", "v8"});
  const int count = vector < 0 ? 1 : 2 << vector;
  const Type type = d.takeType();
  const size_t first = returns ? 1 : 0, values = op == Cas ? 2 : 1;
  if (op < 0 || type == Type::None || type == Type::B128 ||
      !d.expectOperands(first + 1 + values, first + 2 + values))
    return d.refuse("expected an operation, a type, an address and values");
  const bool floats = !isInteger(type) && !isUntyped(type);
  const bool fits = op == Exch || op == Cas ? !floats
                    : op >= And             ? isUntyped(type)
                    : op >= Inc             ? type == Type::U32
                    : op == Add             ? !isUntyped(type)
                                            : !isUntyped(type) && type != Type::F64;
  if (!fits || (count > 1 && (!floats || space == Space::Shared)))
    return d.refuse("this operation does not exist for this type");
  d.inst.variant = static_cast<uint8_t>(op);
  d.inst.extra = static_cast<uint8_t>(type);
  d.inst.count = static_cast<uint8_t>(count);
  d.inst.kind = Class::Atomic;
  if (returns && !d.results(0, type, static_cast<size_t>(count)))
    return false;
  if (!d.address(first, space) || !d.sources(first + 1, type, static_cast<size_t>(count)) ||
      (op == Cas && !d.source(first + 2, type)))
    return false;
  d.inst.run = forWidth(type, []<class U>() -> Handler { return &runAtomic<U>; });
  return true;
}

template <class U>
void reduceElement(std::byte *to, AtomicOp op, Type type, const std::byte *from) {
  U value;
  std::memcpy(&value, from, sizeof value);
  update<U>(to, op, type, value, 0);
}

constexpr Opcode kOpcodes[] = {{"atom", decodeAtomic}, {"red", decodeAtomic}};

} // namespace

void reduceAt(std::byte *to, uint8_t operation, uint8_t typeNumber, const std::byte *from) {
  const auto op = static_cast<AtomicOp>(operation);
  const auto type = static_cast<Type>(typeNumber);
  switch (bitsOf(type)) {
  case 16:
    return reduceElement<uint16_t>(to, op, type, from);
  case 32:
    return reduceElement<uint32_t>(to, op, type, from);
  default:
    return reduceElement<uint64_t>(to, op, type, from);
  }
}

std::span<const Opcode> atomicOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
