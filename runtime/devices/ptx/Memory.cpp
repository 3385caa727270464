// Allocation: each buffer takes whole slots of 4 GiB of addresses (not of memory) and begins 1 MiB
// into its first one, so offsets before and after it are recognised as its own.
#include "runtime/devices/ptx/Memory.h"

#include "runtime/devices/ptx/Shadow.h"

#include <fmt/format.h>

#include <cstring>
#include <new>

namespace heddle::ptx {

namespace {

constexpr uint64_t kLead = uint64_t{1} << 20;
constexpr uint64_t kMaxBytes = uint64_t{1} << 40;

uint64_t slotsFor(uint64_t bytes) { return ((kLead * 2 + bytes) >> kSlotBits) + 1; }

} // namespace

Buffer::Buffer() = default;
Buffer::~Buffer() = default;

Result<Buffer *> Memory::place(std::unique_ptr<Buffer> buffer) {
  const uint64_t needed = slotsFor(buffer->bytes), room = kLastSlot - kFirstSlot;
  for (uint64_t tried = 0; tried < room; ++tried, ++next) {
    if (next + needed > room)
      next = 0;
    if (slots.size() < next + needed)
      slots.resize(next + needed, nullptr);
    bool free = true;
    for (uint64_t i = 0; i < needed; ++i)
      free = free && !slots[next + i];
    if (!free)
      continue;
    buffer->address = ((kFirstSlot + next) << kSlotBits) + kLead;
    for (uint64_t i = 0; i < needed; ++i)
      slots[next + i] = buffer.get();
    next += needed;
    buffers.push_back(std::move(buffer));
    return buffers.back().get();
  }
  return Error{ErrorCode::ResourceExhausted, "the machine's address space is full: free buffers"};
}

Result<Buffer *> Memory::allocate(uint64_t bytes, std::string name) {
  if (bytes == 0 || bytes > kMaxBytes)
    return Error{bytes == 0 ? ErrorCode::InvalidArgument : ErrorCode::ResourceExhausted,
                 fmt::format("a buffer of {} bytes: 1 byte to 1 TiB can be had", bytes)};
  auto buffer = std::make_unique<Buffer>();
  buffer->owned.reset(new (std::nothrow) std::byte[bytes + 256]());
  if (!buffer->owned)
    return Error{ErrorCode::ResourceExhausted, fmt::format("no memory for {} bytes", bytes)};
  const uint64_t misfit = reinterpret_cast<uint64_t>(buffer->owned.get()) % 256;
  buffer->data = buffer->owned.get() + (256 - misfit) % 256;
  buffer->bytes = bytes;
  buffer->name = name.empty() ? fmt::format("buffer {}", ++made) : std::move(name);
  buffer->shadow = std::make_unique<Shadow>(bytes, false);
  return place(std::move(buffer));
}

Result<Buffer *> Memory::adopt(std::byte *data, uint64_t bytes, std::string name) {
  auto buffer = std::make_unique<Buffer>();
  buffer->data = data;
  buffer->bytes = bytes;
  buffer->name = name.empty() ? fmt::format("buffer {}", ++made) : std::move(name);
  buffer->shadow = std::make_unique<Shadow>(bytes, true);
  return place(std::move(buffer));
}

Status Memory::release(uint64_t address) {
  Buffer *buffer = find(address);
  if (!buffer || buffer->address != address)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("address {:#x} begins no buffer: it cannot be freed", address)};
  for (Buffer *&slot : slots)
    if (slot == buffer)
      slot = nullptr;
  std::erase_if(buffers, [&](const auto &b) { return b.get() == buffer; });
  return {};
}

std::string Memory::describe(uint64_t address) const {
  const Buffer *buffer = find(address);
  if (!buffer)
    return fmt::format("address {:#x}, which lies in no buffer", address);
  const int64_t offset = static_cast<int64_t>(address - buffer->address);
  return fmt::format("byte {} of {} ({} bytes)", offset, buffer->name, buffer->bytes);
}

Result<std::byte *> Memory::host(uint64_t address, uint64_t bytes) const {
  const Buffer *buffer = find(address);
  const uint64_t offset = buffer ? address - buffer->address : 0;
  if (!buffer || offset > buffer->bytes || bytes > buffer->bytes - offset)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("{} bytes at {} do not lie in one buffer", bytes, describe(address))};
  return buffer->data + offset;
}

Status Memory::write(uint64_t address, std::span<const std::byte> from) {
  if (from.empty())
    return {};
  HEDDLE_TRY(to, host(address, from.size()));
  std::memcpy(to, from.data(), from.size());
  Buffer *buffer = find(address);
  buffer->shadow->set(address - buffer->address, from.size());
  return {};
}

Status Memory::read(uint64_t address, std::span<std::byte> into) const {
  if (into.empty())
    return {};
  HEDDLE_TRY(from, host(address, into.size()));
  std::memcpy(into.data(), from, into.size());
  return {};
}

} // namespace heddle::ptx
