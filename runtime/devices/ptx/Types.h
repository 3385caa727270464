// The types of PTX instructions and registers.
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle::ptx {

// clang-format off
enum class Type : uint8_t {
  None, Pred, B8, B16, B32, B64, B128, U8, U16, U32, U64, S8, S16, S32, S64,
  F16, F16x2, BF16, BF16x2, TF32, F32, F32x2, F64, U16x2, S16x2,
  E4M3, E5M2, E4M3x2, E5M2x2, UE8M0x2,
};
// clang-format on

/// Bits of one value: a packed pair counts whole; a predicate has 1.
int bitsOf(Type type);
/// "f16x2" for Type::F16x2; Type::None for a word that names no type.
Type parseType(std::string_view word);
const char *toString(Type type);

constexpr bool isSigned(Type t) { return t >= Type::S8 && t <= Type::S64; }
constexpr bool isUnsigned(Type t) { return t >= Type::U8 && t <= Type::U64; }
constexpr bool isInteger(Type t) { return isSigned(t) || isUnsigned(t); }
constexpr bool isUntyped(Type t) { return t >= Type::B8 && t <= Type::B128; }
constexpr bool isFloat(Type t) { return t == Type::F32 || t == Type::F64; }

/// State spaces. Generic is what an instruction without a space means.
enum class Space : uint8_t { Generic, Reg, Param, Const, Shared, Local, Global };
const char *toString(Space space);

} // namespace heddle::ptx
