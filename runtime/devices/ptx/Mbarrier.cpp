// Counts of an mbarrier, with the limits of the PTX manual.
#include "runtime/devices/ptx/Mbarrier.h"

#include <fmt/format.h>

namespace heddle::ptx {

std::string Mbarrier::init(uint64_t count) {
  if (count < 1 || count > static_cast<uint64_t>(kMost))
    return fmt::format("mbarrier of {} arrivals: 1 to {} can be had", count, kMost);
  *this = Mbarrier();
  expected = pending = static_cast<uint32_t>(count);
  return "";
}

std::string Mbarrier::settle() {
  if (pending == 0 && bytes == 0) {
    pending = expected;
    ++phase;
  }
  return "";
}

std::string Mbarrier::expectBytes(int64_t count) {
  if (bytes + count > kMost || count < 0)
    return fmt::format("an mbarrier expects {} bytes in all, and it can count {}", bytes + count,
                       kMost);
  bytes += count;
  return settle();
}

std::string Mbarrier::completeBytes(int64_t count) {
  if (bytes - count < -kMost)
    return fmt::format("{} bytes come to an mbarrier that expects {}: its count ends at -{}", count,
                       bytes, kMost);
  bytes -= count;
  return settle();
}

std::string Mbarrier::arrive(uint64_t count, bool drop) {
  if (count < 1 || count > pending)
    return fmt::format("{} arrivals at an mbarrier, where {} of {} are still to come", count,
                       pending, expected);
  pending -= static_cast<uint32_t>(count);
  if (drop)
    expected -= static_cast<uint32_t>(count);
  return settle();
}

std::string Mbarrier::addPending() {
  if (pending >= static_cast<uint64_t>(kMost))
    return fmt::format("more than {} arrivals are pending at an mbarrier", kMost);
  ++pending;
  return "";
}

} // namespace heddle::ptx
