// Device memory of the machine: buffers far apart in a 47-bit address space, so that an access one
// byte beyond a buffer never meets another one.
#pragma once

#include "runtime/Result.h"
#include "runtime/devices/ptx/Types.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace heddle::ptx {

struct Shadow;

// Generic addresses: which 4 GiB they lie in says what they mean.
inline constexpr uint64_t kSlotBits = 32;
inline constexpr uint64_t kSharedSlot = 0x100, kLocalSlot = 0x200, kParamSlot = 0x300,
                          kCodeSlot = 0x400;
inline constexpr uint64_t kFirstSlot = 0x1000, kLastSlot = 0x7fff;
/// Shared memory begins after the 1 KiB that the hardware keeps for itself (sm_80 and later).
inline constexpr uint64_t kSharedBase = 1024;
/// Shared addresses of a named block of the cluster: its rank + 1 stands above these bits.
inline constexpr uint64_t kRankBits = 24;
inline constexpr uint64_t kLocalBase = 256;
inline constexpr uint64_t kParamBase = 256;

struct Buffer {
  uint64_t address = 0;
  uint64_t bytes = 0;
  std::byte *data = nullptr;
  std::unique_ptr<std::byte[]> owned;
  std::string name; // "buffer 3", or a variable's name
  bool readOnly = false;
  std::unique_ptr<Shadow> shadow; // while a checked launch runs, and after it

  Buffer();
  ~Buffer();
};

class Memory {
public:
  /// `bytes` at least 1, 256-byte aligned, zeroed but counted as uninitialised by the checker.
  Result<Buffer *> allocate(uint64_t bytes, std::string name);
  /// The same over the caller's memory, which is initialised.
  Result<Buffer *> adopt(std::byte *data, uint64_t bytes, std::string name);
  Status release(uint64_t address);
  /// The buffer that an address lies in or next to, or null.
  Buffer *find(uint64_t address) const {
    const uint64_t slot = address >> kSlotBits;
    return slot - kFirstSlot < slots.size() ? slots[slot - kFirstSlot] : nullptr;
  }
  /// Host memory of [address, address + bytes), which must lie in one buffer.
  Result<std::byte *> host(uint64_t address, uint64_t bytes) const;
  Status write(uint64_t address, std::span<const std::byte> from);
  Status read(uint64_t address, std::span<std::byte> into) const;
  /// "byte 4096 of buffer 2 (4096 bytes)" and the like.
  std::string describe(uint64_t address) const;
  const std::vector<std::unique_ptr<Buffer>> &all() const { return buffers; }

private:
  Result<Buffer *> place(std::unique_ptr<Buffer> buffer);

  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<Buffer *> slots;
  uint64_t next = 0; // slots are given out in a circle: a freed address stays invalid for long
  uint64_t made = 0;
};

} // namespace heddle::ptx
