// Persistent threads that share out grid points.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace heddle::cpu {

/// Runs one loop at a time over its threads and the caller's. A loop started while another runs
/// (from a second thread, or from inside a loop) is run by its caller alone, so nothing can wait in
/// a circle. In a child made by fork, which has the caller's thread alone, so are all loops. A loop
/// allocates nothing.
class ThreadPool {
public:
  /// Work on the points [first, last), as worker number `worker` of `threads()`.
  using Body = void (*)(void *context, int64_t first, int64_t last, int worker);

  /// `threads` counts the caller: 1 starts no thread. Throws std::system_error if the system
  /// refuses to start one.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int threads() const { return static_cast<int>(workers.size()) + 1; }

  /// Calls `body` until all of [0, points) is done, `chunk` points (at least 1) at a time, handed
  /// out in ascending order to whoever is free; the caller alone takes them in one piece. Returns
  /// when everything is done.
  void run(int64_t points, int64_t chunk, Body body, void *context);

private:
  void stop();
  bool forked() const;
  void work(int worker);
  void takeChunks(int worker);

  const pid_t owner; ///< the process that has the threads
  std::vector<std::thread> workers;
  std::atomic<bool> busy = false; ///< a loop is running

  // The loop in progress; written while `inside` is closed and nobody is in, read by those inside.
  Body body = nullptr;
  void *context = nullptr;
  int64_t points = 0, chunk = 1;
  std::atomic<int64_t> next = 0; ///< first point not handed out

  std::atomic<uint32_t> round = 0; ///< counts loops; workers wait for it to change
  static constexpr int kClosed = -(1 << 30);
  std::atomic<int> inside = kClosed; ///< workers in the loop, less 2^30 while none may enter
  std::atomic<bool> stopping = false;
};

} // namespace heddle::cpu
