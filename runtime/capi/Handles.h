// What the sources of the C interface share: the objects behind its handles, the checks that every
// function begins with, and the way errors leave.
#pragma once

#include "runtime/Jit.h"
#include "runtime/Pattern.h"
#include "runtime/heddle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>

struct heddle_error {
  heddle::Error error;
  std::string message;
};

namespace heddle::capi {

enum class Kind : uint64_t {
  Context = 0x4854584f43444548,
  Pattern = 0x4e52545441504548,
  Kernel = 0x4c4e52454b444548,
};
inline constexpr uint64_t kGone = 0xdead4544dead4544;

/// An object behind a handle, marked with its kind while it lives. Where HEDDLE_KEEP_HANDLES is
/// defined (debug builds) the mark outlives the object, so that use after it was given back is
/// always found; else it is found as long as nobody else got the memory.
template <Kind kind, typename T> struct Handle {
  uint64_t mark = static_cast<uint64_t>(kind);
  std::optional<T> object;

  explicit Handle(T value) : object(std::move(value)) {}
};

template <typename T> void giveBack(T *handle) {
  if (!handle || handle->mark == kGone)
    return;
  // A volatile write, or the compiler drops it as the last one before the memory is freed.
  *const_cast<volatile uint64_t *>(&handle->mark) = kGone;
  handle->object.reset();
#ifndef HEDDLE_KEEP_HANDLES
  delete handle;
#endif
}

} // namespace heddle::capi

struct heddle_context
    : heddle::capi::Handle<heddle::capi::Kind::Context, std::shared_ptr<heddle::Context>> {
  using Handle::Handle;
};

struct heddle_pattern
    : heddle::capi::Handle<heddle::capi::Kind::Pattern, std::shared_ptr<heddle::Pattern>> {
  using Handle::Handle;
};

struct heddle_kernel : heddle::capi::Handle<heddle::capi::Kind::Kernel,
                                            std::shared_ptr<const heddle::Pattern::Entry>> {
  using Handle::Handle;
  const heddle::Kernel &kernel() const { return *(*object)->found.kernel; }
};

namespace heddle::capi {

inline Error wrong(std::string message) { return {ErrorCode::InvalidArgument, std::move(message)}; }
inline Error nullPointer(const char *what) {
  return wrong(fmt::format("found a null pointer for {}", what));
}

template <Kind kind, typename T> Status alive(const Handle<kind, T> *handle, const char *what) {
  if (!handle)
    return nullPointer(what);
  if (handle->mark == static_cast<uint64_t>(kind))
    return {};
  return wrong(
      handle->mark == kGone
          ? fmt::format("found {} that was given back already, expected a living one", what)
          : fmt::format("found another object for {}", what));
}

heddle_status report(const Error &error, heddle_error **out);

/// Runs `work`, which returns a Status, and reports its error.
template <typename Work> heddle_status guarded(heddle_error **out, Work work) {
  try {
    const Status status = work();
    return status.ok() ? HEDDLE_OK : report(status.error(), out);
  } catch (const std::bad_alloc &) {
    return report({ErrorCode::ResourceExhausted, "out of memory"}, out);
  } catch (const std::exception &thrown) {
    return report({ErrorCode::Internal, thrown.what()}, out);
  }
}

inline std::string text(const char *given) { return given ? given : ""; }

/// The caller's struct in our size: fields it does not know are 0. Fails if its size makes no
/// sense.
template <typename T> Status sized(const T *given, const char *what, T &known) {
  known = {};
  if (!given)
    return nullPointer(what);
  if (given->size < sizeof(size_t) || given->size > 4096)
    return wrong(
        fmt::format("found size {} in {}, expected sizeof of the struct", given->size, what));
  std::memcpy(&known, given, std::min(given->size, sizeof(T)));
  return {};
}

/// Our struct to the caller's, as much as it knows.
template <typename T> void giveSized(const T &known, T *out) {
  const size_t size = out->size;
  std::memcpy(out, &known, std::min(size, sizeof(T)));
  out->size = size;
}

Result<DType> dtypeOf(int32_t value);

/// Values made as they are needed, up to N of them without allocation; the others' memory stays
/// untouched.
template <typename T, size_t N> class Few {
  static_assert(std::is_trivially_destructible_v<T>);

public:
  /// Room for `count` values, which the caller constructs.
  T *room(size_t count) {
    size = count;
    if (count > N)
      many = std::make_unique<std::byte[]>(count * sizeof(T));
    data = reinterpret_cast<T *>(count > N ? many.get() : few);
    return data;
  }
  std::span<const T> span() const { return {data, size}; }

private:
  alignas(T) std::byte few[N * sizeof(T)];
  std::unique_ptr<std::byte[]> many;
  T *data = nullptr;
  size_t size = 0;
};

/// The caller's arrays as the runtime wants them.
struct Arrays {
  Few<TensorView, 16> tensors;
  Few<ParameterValue, 16> parameters;

  Status fill(const heddle_tensor *given, size_t count, const heddle_parameter *values,
              size_t valueCount);
};

using NamedExtents = Few<NamedExtent, 16>;
Status fill(NamedExtents &extents, const heddle_extent *given, size_t count);

} // namespace heddle::capi
