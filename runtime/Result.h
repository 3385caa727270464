// Result<T>: a value or an Error. No exceptions cross Heddle's boundaries.
#pragma once

#include "runtime/Error.h"

#include <cassert>
#include <utility>
#include <variant>

namespace heddle {

/// A value of T, or the Error that says why there is none.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::move(value)) {}
  Result(Error error) : state(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(state); }
  explicit operator bool() const { return ok(); }

  T &operator*() { return value(); }
  const T &operator*() const { return value(); }
  T *operator->() { return &value(); }
  const T *operator->() const { return &value(); }

  T &value() {
    assert(ok() && "the value of a failed Result was read");
    return std::get<T>(state);
  }
  const T &value() const {
    assert(ok() && "the value of a failed Result was read");
    return std::get<T>(state);
  }
  const Error &error() const {
    assert(!ok() && "the error of a successful Result was read");
    return std::get<Error>(state);
  }

private:
  std::variant<T, Error> state;
};

/// Success, or the Error that says what went wrong.
template <> class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Error error) : state(std::move(error)) {}

  bool ok() const { return std::holds_alternative<std::monostate>(state); }
  explicit operator bool() const { return ok(); }
  const Error &error() const {
    assert(!ok() && "the error of a successful Result was read");
    return std::get<Error>(state);
  }

private:
  std::variant<std::monostate, Error> state;
};

using Status = Result<void>;

} // namespace heddle

/// Evaluates a Result expression; on failure returns its Error from the enclosing function, else
/// binds the value:  HEDDLE_TRY(artifact, compile(request));
#define HEDDLE_TRY(name, expression)                                                               \
  auto name##Result = (expression);                                                                \
  if (!name##Result.ok())                                                                          \
    return name##Result.error();                                                                   \
  auto name = std::move(*name##Result)

/// The same for a Status.
#define HEDDLE_CHECK(expression)                                                                   \
  do {                                                                                             \
    auto heddleStatus = (expression);                                                              \
    if (!heddleStatus.ok())                                                                        \
      return heddleStatus.error();                                                                 \
  } while (false)
