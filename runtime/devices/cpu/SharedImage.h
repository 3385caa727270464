// A shared object loaded from its bytes.
#pragma once

#include "runtime/Result.h"

#include <memory>
#include <string>
#include <string_view>

namespace heddle::cpu {

class SharedImage {
public:
  /// Loads the bytes with local binding. What was checked is what is loaded: the bytes go into a
  /// memory file, never through a path that somebody could change; only where the system refuses
  /// executable memory files, through a private file that is removed at once. CorruptData if the
  /// loader refuses the bytes.
  static Result<SharedImage> load(std::string_view bytes);

  /// The address of a function, or null.
  void *find(const std::string &symbol) const;

private:
  struct Close {
    void operator()(void *handle) const;
  };
  std::unique_ptr<void, Close> handle;
};

} // namespace heddle::cpu
