// ld and st of every space, with vectors; prefetches, which do nothing.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Bulk.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <cstring>

namespace heddle::ptx {

namespace {

struct Wide128 {
  uint64_t low, high;
};

/// As forLanes, for what is no vector code: no bits to look for where all lanes take part.
template <class F> [[gnu::always_inline]] inline void eachLane(uint32_t mask, F f) {
  if (mask == kAllLanes) {
#pragma clang loop vectorize(disable) unroll_count(8)
    for (int l = 0; l < kLanes; ++l)
      f(l);
  } else {
    for (uint32_t rest = mask; rest; rest &= rest - 1)
      f(std::countr_zero(rest));
  }
}

/// M in memory, R in the register: wider registers are filled by sign or zero.
template <class M, class R> void load(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  mask = w.resolve(i, mask, static_cast<int>(sizeof(M)) * i.count, Warp::Access::Read, at);
  if (!mask)
    return;
  w.polls += i.variant;
  for (int k = 0; k < i.count; ++k) {
    R *d = w.dst<R>(i.ops[k]);
    eachLane(mask, [&](int l) {
      M value;
      std::memcpy(&value, at.host[l] + static_cast<size_t>(k) * sizeof(M), sizeof(M));
      if constexpr (std::is_same_v<M, R>)
        d[l] = value;
      else
        d[l] = static_cast<R>(value);
    });
  }
}

template <class M, class R> void store(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  mask = w.resolve(i, mask, static_cast<int>(sizeof(M)) * i.count, Warp::Access::Write, at);
  if (!mask)
    return;
  for (int k = 0; k < i.count; ++k) {
    const R *a = w.src<R>(i.ops[1 + k]);
    eachLane(mask, [&](int l) {
      M value;
      if constexpr (std::is_same_v<M, R>)
        value = a[l];
      else
        value = static_cast<M>(a[l]);
      std::memcpy(at.host[l] + static_cast<size_t>(k) * sizeof(M), &value, sizeof(M));
    });
  }
}

/// A kernel parameter: the same for all lanes.
template <class M, class R> void loadParam(Warp &w, const Inst &i, uint32_t mask) {
  const std::byte *from = w.block->launch.config.params.data() + i.imm;
  for (int k = 0; k < i.count; ++k) {
    M value;
    std::memcpy(&value, from + static_cast<size_t>(k) * sizeof(M), sizeof(M));
    R *d = w.dst<R>(i.ops[k]);
    forLanes(mask, [&](int l) {
      if constexpr (std::is_same_v<M, R>)
        d[l] = value;
      else
        d[l] = static_cast<R>(value);
    });
  }
}

/// A .param variable in the frame: `table` bytes for each lane.
std::byte *frameBytes(Warp &w, const Inst &i, int lane) {
  return w.bases[Operand::Frame] + i.ops[i.address].offset + static_cast<size_t>(lane) * i.table +
         i.imm;
}

template <class M, class R> void loadFrame(Warp &w, const Inst &i, uint32_t mask) {
  for (int k = 0; k < i.count; ++k)
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      M value;
      std::memcpy(&value, frameBytes(w, i, l) + static_cast<size_t>(k) * sizeof(M), sizeof(M));
      if constexpr (std::is_same_v<M, R>)
        w.dst<R>(i.ops[k])[l] = value;
      else
        w.dst<R>(i.ops[k])[l] = static_cast<R>(value);
    }
}

template <class M, class R> void storeFrame(Warp &w, const Inst &i, uint32_t mask) {
  for (int k = 0; k < i.count; ++k)
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const int l = std::countr_zero(rest);
      M value;
      if constexpr (std::is_same_v<M, R>)
        value = w.src<R>(i.ops[1 + k])[l];
      else
        value = static_cast<M>(w.src<R>(i.ops[1 + k])[l]);
      std::memcpy(frameBytes(w, i, l) + static_cast<size_t>(k) * sizeof(M), &value, sizeof(M));
    }
}

enum class Way : uint8_t { Memory, Param, Frame };

template <bool loads, class M, class R> Handler handlerOf(Way way) {
  if constexpr (loads)
    return way == Way::Memory  ? &load<M, R>
           : way == Way::Param ? static_cast<Handler>(&loadParam<M, R>)
                               : &loadFrame<M, R>;
  else
    return way == Way::Memory  ? &store<M, R>
           : way == Way::Frame ? static_cast<Handler>(&storeFrame<M, R>)
                               : nullptr;
}

template <bool loads, class M> Handler forRegister(int bytes, Way way) {
  if (bytes == 2 && sizeof(M) <= 2)
    return handlerOf<loads, M, std::conditional_t<sizeof(M) == 2, M, uint16_t>>(way);
  if (bytes == 4 && sizeof(M) <= 4)
    return handlerOf<loads, M, std::conditional_t<sizeof(M) == 4, M, uint32_t>>(way);
  if (bytes == 8)
    return handlerOf<loads, M, std::conditional_t<sizeof(M) == 8, M, uint64_t>>(way);
  return nullptr;
}

template <bool loads> Handler handlerFor(Type type, int registerBytes, Way way) {
  switch (type) {
  case Type::S8:
    return forRegister<loads, int8_t>(registerBytes, way);
  case Type::S16:
    return forRegister<loads, int16_t>(registerBytes, way);
  case Type::S32:
    return forRegister<loads, int32_t>(registerBytes, way);
  case Type::B128:
    return handlerOf<loads, Wide128, Wide128>(way);
  default:
    break;
  }
  switch (bitsOf(type)) {
  case 8:
    return forRegister<loads, uint8_t>(registerBytes, way);
  case 16:
    return forRegister<loads, uint16_t>(registerBytes, way);
  case 32:
    return forRegister<loads, uint32_t>(registerBytes, way);
  case 64:
    return forRegister<loads, uint64_t>(registerBytes, way);
  default:
    return nullptr;
  }
}

/// Orders, scopes and cache hints: a block runs on one thread of the host, and a warp's accesses
/// take effect one after the other, so none changes what an access does here.
void takeHints(Decoder &d) {
  for (const char *hint :
       {"weak", "volatile", "relaxed", "acquire", "release", "mmio", "cta", "cluster", "gpu", "sys",
        "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "unified"})
    d.take(hint);
  while (!d.takePrefix("L1::").empty())
    ;
  while (!d.takePrefix("L2::").empty())
    ;
}

Class classOf(Space space, bool loads) {
  switch (space) {
  case Space::Shared:
    return loads ? Class::SharedLoad : Class::SharedStore;
  case Space::Local:
    return Class::LocalAccess;
  case Space::Param:
  case Space::Const:
    return Class::ParamLoad;
  default:
    return loads ? Class::GlobalLoad : Class::GlobalStore;
  }
}

int takeVector(Decoder &d) {
  constexpr int kCounts[] = {2, 4, 8};
  const int found = d.takeOneOf({"v2", "v4", "v8"});
  return found < 0 ? 1 : kCounts[found];
}

template <bool loads> bool decodeAccess(Decoder &d) {
  if (!loads && d.take("async"))
    return decodeStoreAsync(d);
  d.inst.variant = d.has("volatile") || d.has("relaxed") || d.has("acquire") || d.has("mmio");
  takeHints(d);
  const Space space = d.takeSpace();
  const int count = takeVector(d);
  const Type type = d.takeType();
  const int bytes = bitsOf(type) / 8 * count;
  if (type == Type::None || type == Type::Pred || bytes > 32 || !d.expectOperands(2, 3))
    return d.refuse("expected a type and an access of at most 32 bytes");
  // A third operand is a cache policy: it changes no value.
  d.inst.count = static_cast<uint8_t>(count);
  d.inst.kind = classOf(space, loads);
  const size_t memory = loads ? 1 : 0, registers = loads ? 0 : 1;
  if (loads && !d.results(registers, type, static_cast<size_t>(count), true))
    return false;
  if (!d.address(memory, space))
    return false;
  if (!loads && !d.sources(registers, type, static_cast<size_t>(count), true))
    return false;
  const Way way = d.frameVariable ? Way::Frame : d.kernelParam ? Way::Param : Way::Memory;
  const int64_t extent = way == Way::Frame ? static_cast<int64_t>(d.inst.table) : d.paramBytes();
  if (way != Way::Memory && (d.inst.imm < 0 || d.inst.imm + bytes > extent))
    return d.refuse("it reaches beyond its parameter");
  const size_t firstRegister = loads ? 0 : 1;
  d.inst.run = handlerFor<loads>(type, d.operandBytes(firstRegister), way);
  return true;
}

void doNothing(Warp &, const Inst &, uint32_t) {}

bool decodePrefetch(Decoder &d) {
  takeHints(d);
  d.takeSpace();
  for (const char *hint : {"L1", "L2", "evict_last", "evict_normal"})
    d.take(hint);
  d.inst.run = &doNothing;
  return true;
}

/// createpolicy gives a number that only cache hints take.
void makePolicy(Warp &w, const Inst &i, uint32_t mask) {
  uint64_t *d = w.dst<uint64_t>(i.ops[0]);
  forLanes(mask, [&](int l) { d[l] = 1; });
}

bool decodePolicy(Decoder &d) {
  for (const char *word : {"fractional", "range", "cvt", "global", "b64"})
    d.take(word);
  takeHints(d);
  d.inst.run = &makePolicy;
  return d.operandCount() >= 1 && d.result(0, Type::B64);
}

constexpr Opcode kOpcodes[] = {{"ld", decodeAccess<true>},    {"ldu", decodeAccess<true>},
                               {"st", decodeAccess<false>},   {"prefetch", decodePrefetch},
                               {"prefetchu", decodePrefetch}, {"applypriority", decodePrefetch},
                               {"discard", decodePrefetch},   {"createpolicy", decodePolicy}};

} // namespace

std::span<const Opcode> memoryOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
