// The state of an mbarrier object, and what happens to it.
//
// A phase is complete when no arrival is pending and every byte that was expected has come; then
// the next one begins. Source: PTX manual, "Parallel Synchronization and Communication
// Instructions: mbarrier".
#pragma once

#include <cstdint>
#include <string>

namespace heddle::ptx {

struct Mbarrier {
  static constexpr int64_t kMost = (int64_t{1} << 20) - 1; // of counts, and of bytes either way

  uint32_t expected = 0, pending = 0; // arrivals of each phase; still to come in this one
  int64_t bytes = 0;                  // expected and not come; negative if they came first
  uint64_t phase = 0;                 // phases complete

  /// All of these return what is wrong, or "".
  std::string init(uint64_t count);
  std::string expectBytes(int64_t count);
  std::string completeBytes(int64_t count);
  /// `drop`: the thread takes part in no later phase.
  std::string arrive(uint64_t count, bool drop = false);
  /// One more arrival is to come in this phase (cp.async.mbarrier.arrive without .noinc).
  std::string addPending();

  /// What arrive returns: the phase it was in, and how many were pending.
  uint64_t token() const { return phase << 24 | pending; }
  static uint32_t pendingOf(uint64_t token) { return token & 0xffffff; }
  bool completed(uint64_t token) const { return phase > token >> 24; }
  /// Whether the phase with this parity is complete: the one in progress has the other.
  bool completedParity(uint32_t parity) const { return (phase & 1) != (parity & 1); }

  /// What stands in its 8 bytes of shared memory: opaque, but never the same after a change.
  uint64_t image() const {
    return (uint64_t{0xb} << 60 | phase << 44) ^ uint64_t { expected } << 30 ^
           uint64_t { pending } << 22 ^ static_cast<uint64_t>(bytes & 0x3fffff);
  }

private:
  std::string settle(); // begins the next phase if this one is complete
};

} // namespace heddle::ptx
