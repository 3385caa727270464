// A lease on making one entry of the store: of several processes that miss the same key one
// compiles, and the others wait for its entry. The holder's process and boot are written in the
// lease, so that a holder that was killed is found out at once; whoever cannot be asked (another
// computer on a shared folder, another container) is waited for a bounded time. Nothing depends on
// a lease but work done twice.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace heddle {

class Lease {
public:
  /// Takes the lease at `path`, which lies beside the entry. While another process holds it, waits
  /// until `arrived()` says that the entry is there, the holder is gone, or `patience` is over. A
  /// folder that cannot be written to gives no lease and does not wait.
  Lease(std::string path, std::chrono::milliseconds patience, const std::function<bool()> &arrived);
  /// Gives it back.
  ~Lease();
  Lease(const Lease &) = delete;
  Lease &operator=(const Lease &) = delete;

  /// False: somebody made the entry, or the wait is over, or there are no leases here.
  bool held() const { return mine; }

private:
  std::string path;
  bool mine = false;
};

} // namespace heddle
