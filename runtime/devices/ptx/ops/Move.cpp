// mov (also packing and unpacking), cvta, isspacep, and the registers that tell the time.
#include "runtime/devices/ptx/ops/Lanes.h"

namespace heddle::ptx {

namespace {

struct Copy {
  template <class T> static T run(T a) { return a; }
};
struct Wide128 {
  uint64_t low, high;
};

void movePredicate(Warp &w, const Inst &i, uint32_t mask) {
  w.setPredicate(i.ops[0], mask, w.predicate(i.ops[1]));
}

/// The address of a local variable: where the frame's variables begin, plus imm.
template <class T> void moveLocal(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const uint64_t *base = w.src<uint64_t>(i.ops[1]);
  forLanes(mask, [&](int l) { d[l] = static_cast<T>(base[l] + static_cast<uint64_t>(i.imm)); });
}

/// {a, b, ..} -> d, low part first.
template <class Whole, class Part> void pack(Warp &w, const Inst &i, uint32_t mask) {
  Whole *d = w.dst<Whole>(i.ops[0]);
  const Part *parts[8];
  for (int k = 0; k < i.sources; ++k)
    parts[k] = w.src<Part>(i.ops[1 + k]);
  forLanes(mask, [&](int l) {
    Whole value = 0;
    for (int k = 0; k < i.sources; ++k)
      value |= static_cast<Whole>(parts[k][l]) << (8 * sizeof(Part) * static_cast<size_t>(k));
    d[l] = value;
  });
}

template <class Whole, class Part> void unpack(Warp &w, const Inst &i, uint32_t mask) {
  const Whole *a = w.src<Whole>(i.ops[i.results]);
  for (int k = 0; k < i.results; ++k) {
    Part *d = w.dst<Part>(i.ops[k]);
    forLanes(mask, [&](int l) {
      d[l] = static_cast<Part>(a[l] >> (8 * sizeof(Part) * static_cast<size_t>(k)));
    });
  }
}

template <bool into> Handler packer(int whole, int part) {
#define HEDDLE_PACK(W, P)                                                                          \
  if (whole == static_cast<int>(8 * sizeof(W)) && part == static_cast<int>(8 * sizeof(P)))         \
    return into ? &pack<W, P> : &unpack<W, P>;
  HEDDLE_PACK(uint32_t, uint16_t)
  HEDDLE_PACK(uint64_t, uint16_t)
  HEDDLE_PACK(uint64_t, uint32_t)
  HEDDLE_PACK(unsigned __int128, uint32_t)
  HEDDLE_PACK(unsigned __int128, uint64_t)
#undef HEDDLE_PACK
  return nullptr;
}

Type untyped(int bits) {
  return bits == 16 ? Type::B16 : bits == 32 ? Type::B32 : bits == 64 ? Type::B64 : Type::None;
}

/// A warp's steps stand for its clock.
template <class T> void readClock(Warp &w, const Inst &i, uint32_t mask) {
  T *d = w.dst<T>(i.ops[0]);
  const uint64_t now = (++w.clock + w.steps) >> i.variant;
  forLanes(mask, [&](int l) { d[l] = static_cast<T>(now); });
}

bool decodeClock(Decoder &d, const std::string &name, Type type) {
  d.inst.kind = Class::Move;
  d.inst.variant = name.ends_with("_hi") ? 32 : 0;
  d.inst.run = bitsOf(type) == 64 ? &readClock<uint64_t> : &readClock<uint32_t>;
  return d.result(0, type);
}

bool decodeMov(Decoder &d) {
  using Kind = OperandSyntax::Kind;
  const Type type = d.takeType();
  if (type == Type::None || !d.expectOperands(2, 2))
    return d.refuse("expected mov.<type> d, a");
  d.inst.kind = type == Type::Pred ? Class::Predicate : Class::Move;
  const OperandSyntax &to = d.operand(0), &from = d.operand(1);
  if (to.kind == Kind::Vector || from.kind == Kind::Vector) {
    const size_t count = to.kind == Kind::Vector ? to.parts.size() : from.parts.size();
    const int part = count ? bitsOf(type) / static_cast<int>(count) : 0;
    const Type partType = untyped(part);
    if (part * static_cast<int>(count) != bitsOf(type) || partType == Type::None)
      return d.refuse("the parts in braces do not make up the whole");
    const bool into = from.kind == Kind::Vector;
    d.inst.run = into ? packer<true>(bitsOf(type), part) : packer<false>(bitsOf(type), part);
    return into ? d.result(0, type) && d.sources(1, partType, count)
                : d.results(0, partType, count) && d.source(1, type);
  }
  if (from.kind == Kind::Special &&
      (from.name.starts_with("%clock") || from.name.starts_with("%globaltimer")))
    return decodeClock(d, from.name, type);
  if (!d.result(0, type) || !d.source(1, type))
    return false;
  if (d.localSymbol) {
    d.inst.imm = d.localOffset;
    d.inst.run = bitsOf(type) == 64 ? &moveLocal<uint64_t> : &moveLocal<uint32_t>;
    return true;
  }
  d.inst.run = type == Type::Pred ? &movePredicate
               : type == Type::B128
                   ? static_cast<Handler>(&unary<Copy, Wide128, Wide128>)
                   : forWidth(type, []<class T>() -> Handler { return &unary<Copy, T, T>; });
  return true;
}

/// Between a space's own addresses and generic ones: the window is in the upper 32 bits.
template <class T> void convertAddress(Warp &w, const Inst &i, uint32_t mask) {
  uint64_t *d = w.dst<uint64_t>(i.ops[0]);
  const T *a = w.src<T>(i.ops[1]);
  const uint64_t keep = i.variant ? 0xffffffff : ~uint64_t{0}, add = static_cast<uint64_t>(i.imm);
  forLanes(mask, [&](int l) { d[l] = (a[l] & keep) | add; });
}

bool decodeCvta(Decoder &d) {
  const bool to = d.take("to");
  Space space = d.takeSpace();
  const Type type = d.takeType();
  if (bitsOf(type) != 64 || space == Space::Generic)
    return d.refuse("expected cvta.<space>.u64 or cvta.to.<space>.u64");
  const uint64_t slot = space == Space::Shared  ? kSharedSlot
                        : space == Space::Local ? kLocalSlot
                        : space == Space::Param ? kParamSlot
                                                : 0;
  d.inst.kind = Class::Move;
  d.inst.variant = slot != 0;
  d.inst.imm = to ? 0 : static_cast<int64_t>(slot << kSlotBits);
  d.inst.run = &convertAddress<uint64_t>;
  if (!d.expectOperands(2, 2) || !d.result(0, type) || !d.source(1, type))
    return false;
  return !d.localSymbol || d.refuse("cvta of a local variable takes its address from a register");
}

/// isspacep: whether a generic address lies in a space.
void testSpace(Warp &w, const Inst &i, uint32_t mask) {
  const uint64_t *a = w.src<uint64_t>(i.ops[1]);
  uint32_t result = 0;
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t slot = a[l] >> kSlotBits;
    const bool in =
        i.space == Space::Global ? slot >= kFirstSlot : slot == static_cast<uint64_t>(i.imm);
    result |= static_cast<uint32_t>(in) << l;
  }
  w.setPredicate(i.ops[0], mask, result);
}

bool decodeIsspacep(Decoder &d) {
  d.inst.space = d.takeSpace();
  d.inst.imm = d.inst.space == Space::Shared  ? kSharedSlot
               : d.inst.space == Space::Local ? kLocalSlot
                                              : kParamSlot;
  if (d.inst.space == Space::Generic || d.inst.space == Space::Const)
    return d.refuse("expected .global, .shared, .local or .param");
  d.inst.kind = Class::Predicate;
  d.inst.run = &testSpace;
  return d.expectOperands(2, 2) && d.result(0, Type::Pred) && d.source(1, Type::B64);
}

constexpr Opcode kOpcodes[] = {
    {"mov", decodeMov}, {"cvta", decodeCvta}, {"isspacep", decodeIsspacep}};

} // namespace

std::span<const Opcode> moveOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
