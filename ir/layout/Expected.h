// Expected<T>: what the layout algebra returns. ir/layout knows only the standard library, so it
// has its own small type; callers turn a Failure's text into their own kind of error.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace heddle::layout {

/// Why there is no answer: what was found and what was expected; lower case, no full stop.
struct Failure {
  std::string text;
};

/// A value of T, or the Failure that says why there is none.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : state(std::move(value)) {}
  Expected(Failure failure) : state(std::move(failure)) {}

  bool ok() const { return std::holds_alternative<T>(state); }
  explicit operator bool() const { return ok(); }

  const T &operator*() const & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  const T *operator->() const { return &value(); }
  const T &value() const & {
    assert(ok() && "the value of a failed Expected was read");
    return std::get<T>(state);
  }
  T value() && {
    assert(ok() && "the value of a failed Expected was read");
    return std::get<T>(std::move(state));
  }
  /// The reason; must not be asked of a success.
  const std::string &text() const {
    assert(!ok() && "the failure of a successful Expected was read");
    return std::get<Failure>(state).text;
  }

private:
  std::variant<T, Failure> state;
};

} // namespace heddle::layout
