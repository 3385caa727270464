// The pool's loop: the caller publishes the loop, opens it and raises `round`; every worker that
// wakes counts itself in, takes chunks from one counter until none is left and counts itself out.
// The caller takes chunks too, then closes the loop and waits for those inside: a worker that the
// system has not run yet is not waited for, it finds the loop closed.
//   points 10, chunk 4, 2 threads:  caller [0,4)  worker [4,8)  caller [8,10)
#include "runtime/devices/cpu/ThreadPool.h"

#include <unistd.h>

#include <algorithm>

namespace heddle::cpu {

static void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` is not `old`, awake for some microseconds first: to be woken takes longer
/// than the next loop of a launch, or the next launch of a model, is often away.
template <typename T> static void waitAwake(const std::atomic<T> &value, T old) {
  constexpr int kLooks = 256; // with a pause between: 4 to 16 us
  for (int look = 0; look < kLooks; ++look) {
    if (value.load(std::memory_order_acquire) != old)
      return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

ThreadPool::ThreadPool(int threads) : owner(::getpid()) {
  try {
    for (int worker = 1; worker < threads; ++worker)
      workers.emplace_back([this, worker] { work(worker); });
  } catch (...) {
    stop(); // those that did start
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping = true;
  ++round;
  round.notify_all();
  for (std::thread &worker : workers)
    if (forked())
      worker.detach(); // it lives in the parent process alone
    else
      worker.join();
}

bool ThreadPool::forked() const { return ::getpid() != owner; }

void ThreadPool::takeChunks(int worker) {
  // Relaxed: the points are independent, and `round` and `unfinished` order everything else.
  for (;;) {
    const int64_t first = next.fetch_add(chunk, std::memory_order_relaxed);
    if (first >= points)
      return;
    body(context, first, std::min(first + chunk, points), worker);
  }
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    waitAwake(round, seen);
    seen = round.load(std::memory_order_acquire);
    if (stopping)
      return;
    if (inside.fetch_add(1, std::memory_order_acq_rel) >= 0)
      takeChunks(worker);
    if (inside.fetch_sub(1, std::memory_order_acq_rel) == kClosed + 1)
      inside.notify_one();
  }
}

void ThreadPool::run(int64_t count, int64_t size, Body function, void *argument) {
  if (count <= 0)
    return;
  const int64_t step = std::max<int64_t>(size, 1);
  if (workers.empty() || count <= step || forked() ||
      busy.exchange(true, std::memory_order_acquire)) {
    function(argument, 0, count, 0);
    return;
  }
  body = function;
  context = argument;
  points = count;
  chunk = step;
  next.store(0, std::memory_order_relaxed);
  inside.fetch_sub(kClosed, std::memory_order_release); // a late worker may be on its way out
  round.fetch_add(1, std::memory_order_release);
  round.notify_all();
  takeChunks(0);
  inside.fetch_add(kClosed, std::memory_order_acq_rel);
  for (int left = inside.load(std::memory_order_acquire); left != kClosed;
       left = inside.load(std::memory_order_acquire))
    waitAwake(inside, left);
  busy.store(false, std::memory_order_release);
}

} // namespace heddle::cpu
