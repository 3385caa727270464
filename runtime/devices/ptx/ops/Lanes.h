// Handlers made of a function of one lane's values: unary, binary, ternary over 32 lanes.
#pragma once

#include "runtime/devices/ptx/Decoder.h"
#include "runtime/devices/ptx/Warp.h"

namespace heddle::ptx {

/// d = Op::run(a), and so on; Op is a struct with a static template or function `run`.
template <class Op, class D, class A> void unary(Warp &w, const Inst &i, uint32_t mask) {
  D *d = w.dst<D>(i.ops[0]);
  const A *a = w.src<A>(i.ops[1]);
  forLanes(mask, [&](int l) { d[l] = Op::run(a[l]); });
}

template <class Op, class D, class A, class B = A>
void binary(Warp &w, const Inst &i, uint32_t mask) {
  D *d = w.dst<D>(i.ops[0]);
  const A *a = w.src<A>(i.ops[1]);
  const B *b = w.src<B>(i.ops[2]);
  forLanes(mask, [&](int l) { d[l] = Op::run(a[l], b[l]); });
}

template <class Op, class D, class A, class B = A, class C = A>
void ternary(Warp &w, const Inst &i, uint32_t mask) {
  D *d = w.dst<D>(i.ops[0]);
  const A *a = w.src<A>(i.ops[1]);
  const B *b = w.src<B>(i.ops[2]);
  const C *c = w.src<C>(i.ops[3]);
  forLanes(mask, [&](int l) { d[l] = Op::run(a[l], b[l], c[l]); });
}

/// Adds operand 0 as the result and the others as sources, all of one type.
inline bool sameTypes(Decoder &d, Type type, size_t sources) {
  if (!d.expectOperands(sources + 1, sources + 1) || !d.result(0, type))
    return false;
  for (size_t i = 1; i <= sources; ++i)
    if (!d.source(i, type))
      return false;
  return true;
}

/// Calls f.template operator()<T>() for the C++ type of an integer type; null for another.
template <class F> Handler forInteger(Type type, F f) {
  switch (type) {
  case Type::U16:
    return f.template operator()<uint16_t>();
  case Type::U32:
    return f.template operator()<uint32_t>();
  case Type::U64:
    return f.template operator()<uint64_t>();
  case Type::S16:
    return f.template operator()<int16_t>();
  case Type::S32:
    return f.template operator()<int32_t>();
  case Type::S64:
    return f.template operator()<int64_t>();
  default:
    return nullptr;
  }
}

/// The same for the width of an untyped (or any) register.
template <class F> Handler forWidth(Type type, F f) {
  switch (laneBytes(type)) {
  case 2:
    return f.template operator()<uint16_t>();
  case 4:
    return f.template operator()<uint32_t>();
  case 8:
    return f.template operator()<uint64_t>();
  default:
    return nullptr;
  }
}

template <class T> using UnsignedOf = std::make_unsigned_t<T>;

template <class T> struct WiderOf;
template <> struct WiderOf<uint16_t> {
  using Type = uint32_t;
};
template <> struct WiderOf<int16_t> {
  using Type = int32_t;
};
template <> struct WiderOf<uint32_t> {
  using Type = uint64_t;
};
template <> struct WiderOf<int32_t> {
  using Type = int64_t;
};
template <> struct WiderOf<uint64_t> {
  using Type = unsigned __int128;
};
template <> struct WiderOf<int64_t> {
  using Type = __int128;
};
template <class T> using Wider = typename WiderOf<T>::Type;

} // namespace heddle::ptx
