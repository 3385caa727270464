// The pool's loop: the caller publishes the loop and raises `round`; every worker takes chunks from
// one counter until none is left, then counts itself out; the caller takes chunks too and waits for
// the count to reach 0.
//   points 10, chunk 4, 2 threads:  caller [0,4)  worker [4,8)  caller [8,10)
#include "runtime/devices/cpu/ThreadPool.h"

#include <unistd.h>

#include <algorithm>

namespace heddle::cpu {

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
    round.wait(seen, std::memory_order_acquire);
    seen = round.load(std::memory_order_acquire);
    if (stopping)
      return;
    takeChunks(worker);
    if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1)
      unfinished.notify_one();
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
  unfinished.store(static_cast<int>(workers.size()), std::memory_order_relaxed);
  round.fetch_add(1, std::memory_order_release);
  round.notify_all();
  takeChunks(0);
  for (int left = unfinished.load(std::memory_order_acquire); left != 0;
       left = unfinished.load(std::memory_order_acquire))
    unfinished.wait(left, std::memory_order_acquire);
  busy.store(false, std::memory_order_release);
}

} // namespace heddle::cpu
