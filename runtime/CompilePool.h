// Who may compile when: a bounded number of compilers at once, on threads of the pool's own or on
// the caller's, and no more of them than the memory bound has room for.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace heddle {

/// What one compiler is reckoned to need at its peak; see README.md, Choices.
inline constexpr int64_t kCompilerBytes = int64_t(256) << 20;

class CompilePool {
public:
  /// At most `threads` compilers at once (at least one), fewer if `memoryBytes` (0: no bound) has
  /// no room for as many. Threads start with the first work posted.
  CompilePool(int threads, int64_t memoryBytes);
  /// Drops what has not begun and waits for what has.
  ~CompilePool();
  CompilePool(const CompilePool &) = delete;
  CompilePool &operator=(const CompilePool &) = delete;

  /// Runs the work on the calling thread as soon as a compiler may run.
  void runHere(const std::function<void()> &work);
  /// Leaves the work to a thread of the pool. False if there can be none: the system refuses
  /// threads, or this process is a fork of the one that made the pool.
  bool post(std::function<void()> work);

  int compilers() const { return limit; }

private:
  void work();
  void begin(std::unique_lock<std::mutex> &lock);
  void end(std::unique_lock<std::mutex> &lock);

  const int limit;
  const pid_t owner;
  std::mutex mutex; ///< guards what follows
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  std::vector<std::thread> threads;
  int running = 0;
  bool stopping = false;
};

} // namespace heddle
