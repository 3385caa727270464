// The two functions of the device's run-time library that compilers call: vprintf, __assertfail.
#include "runtime/devices/ptx/Block.h"
#include "runtime/devices/ptx/Observer.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle::ptx {

namespace {

/// The 8-byte value of lane `lane` in argument `index` of a call.
uint64_t argument(Warp &w, const Inst &inst, size_t index, int lane) {
  const Path &path = w.running();
  const CallSite &site = path.frame->function->calls[inst.table];
  if (index >= site.arguments.size())
    return 0;
  const FrameVariable &v = site.arguments[index];
  if (v.inRegister)
    return w.lane(v.reg, lane);
  uint64_t value = 0;
  std::memcpy(&value, path.frame->memory + v.offset + static_cast<uint32_t>(lane) * v.bytes,
              std::min<size_t>(v.bytes, 8));
  return value;
}

std::string readString(Warp &w, const Inst &inst, int lane, uint64_t address) {
  std::string text;
  while (text.size() < 4096) {
    const std::byte *at =
        w.resolveOne(inst, lane, Space::Generic, address++, 1, 1, Warp::Access::Read);
    if (!at || *at == std::byte{0})
      break;
    text += static_cast<char>(*at);
  }
  return text;
}

/// printf's conversions; values stand one after the other, each at a multiple of its size.
std::string formatted(Warp &w, const Inst &inst, int lane, const std::string &format,
                      uint64_t values) {
  std::string out;
  for (size_t i = 0; i < format.size() && !w.stop; ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string spec = "%";
    for (++i; i < format.size() && !std::strchr("diouxXcsfFeEgGaAp%", format[i]); ++i)
      if (!std::strchr("hlzjtL", format[i]))
        spec += format[i];
    if (i >= format.size())
      break;
    const char conversion = format[i];
    if (conversion == '%') {
      out += '%';
      continue;
    }
    const bool real = std::strchr("fFeEgGaA", conversion);
    const bool wide = real || conversion == 's' || conversion == 'p' ||
                      (i >= 1 && (format[i - 1] == 'l' || format[i - 1] == 'z'));
    const uint64_t size = wide ? 8 : 4;
    values = (values + size - 1) / size * size;
    const std::byte *at = w.resolveOne(inst, lane, Space::Generic, values, static_cast<int>(size),
                                       static_cast<int>(size), Warp::Access::Read);
    if (!at)
      break;
    uint64_t bits = 0;
    std::memcpy(&bits, at, size);
    values += size;
    char text[512];
    if (real)
      std::snprintf(text, sizeof(text), (spec + conversion).c_str(), std::bit_cast<double>(bits));
    else if (conversion == 's')
      std::snprintf(text, sizeof(text), (spec + "s").c_str(),
                    readString(w, inst, lane, bits).c_str());
    else if (conversion == 'd' || conversion == 'i')
      std::snprintf(text, sizeof(text), (spec + "lld").c_str(),
                    wide ? static_cast<long long>(bits)
                         : static_cast<long long>(static_cast<int32_t>(bits)));
    else if (conversion == 'c')
      std::snprintf(text, sizeof(text), (spec + "c").c_str(), static_cast<int>(bits));
    else if (conversion == 'p')
      std::snprintf(text, sizeof(text), "%#llx", static_cast<unsigned long long>(bits));
    else
      std::snprintf(text, sizeof(text), (spec + "ll" + conversion).c_str(),
                    static_cast<unsigned long long>(bits));
    out += text;
  }
  return out;
}

} // namespace

void runIntrinsic(Warp &w, const Inst &inst, const Function &callee, uint32_t mask) {
  for (uint32_t rest = mask; rest && !w.stop; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const std::string text = readString(w, inst, lane, argument(w, inst, 0, lane));
    if (callee.intrinsic == Function::Intrinsic::AssertFail) {
      w.fail(inst, uint32_t{1} << lane,
             fmt::format("assertion failed: {} ({}:{})", text,
                         readString(w, inst, lane, argument(w, inst, 1, lane)),
                         static_cast<uint32_t>(argument(w, inst, 2, lane))));
      return;
    }
    const std::string line = formatted(w, inst, lane, text, argument(w, inst, 1, lane));
    std::lock_guard lock(w.block->launch.mutex);
    w.block->launch.printed += line;
  }
}

} // namespace heddle::ptx
