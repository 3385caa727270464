// Names and widths of the PTX types.
#include "runtime/devices/ptx/Types.h"

#include <iterator>

namespace heddle::ptx {

namespace {

struct Row {
  const char *name;
  int bits;
};

// In the order of the enumeration.
constexpr Row kTypes[] = {
    {"", 0},        {"pred", 1},  {"b8", 8},   {"b16", 16},    {"b32", 32},    {"b64", 64},
    {"b128", 128},  {"u8", 8},    {"u16", 16}, {"u32", 32},    {"u64", 64},    {"s8", 8},
    {"s16", 16},    {"s32", 32},  {"s64", 64}, {"f16", 16},    {"f16x2", 32},  {"bf16", 16},
    {"bf16x2", 32}, {"tf32", 32}, {"f32", 32}, {"f32x2", 64},  {"f64", 64},    {"u16x2", 32},
    {"s16x2", 32},  {"e4m3", 8},  {"e5m2", 8}, {"e4m3x2", 16}, {"e5m2x2", 16}, {"ue8m0x2", 16},
};

} // namespace

int bitsOf(Type type) { return kTypes[static_cast<int>(type)].bits; }

Type parseType(std::string_view word) {
  for (size_t i = 1; i < std::size(kTypes); ++i)
    if (word == kTypes[i].name)
      return static_cast<Type>(i);
  return Type::None;
}

const char *toString(Type type) { return kTypes[static_cast<int>(type)].name; }

const char *toString(Space space) {
  constexpr const char *kNames[] = {"generic", "reg",   "param", "const",
                                    "shared",  "local", "global"};
  return kNames[static_cast<int>(space)];
}

} // namespace heddle::ptx
