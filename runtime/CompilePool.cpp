// Threads that take work from a queue, and a count of running compilers that they share with
// callers who compile on threads of their own.
#include "runtime/CompilePool.h"

#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace heddle {

static int limitOf(int threads, int64_t memoryBytes) {
  const int64_t fitting = memoryBytes > 0 ? memoryBytes / kCompilerBytes : threads;
  return static_cast<int>(std::clamp<int64_t>(fitting, 1, std::max(threads, 1)));
}

CompilePool::CompilePool(int threads, int64_t memoryBytes)
    : limit(limitOf(threads, memoryBytes)), owner(::getpid()) {}

CompilePool::~CompilePool() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    queue.clear();
  }
  changed.notify_all();
  for (std::thread &thread : threads)
    if (::getpid() == owner)
      thread.join();
    else
      thread.detach(); // it lives in the parent process alone
}

void CompilePool::begin(std::unique_lock<std::mutex> &lock) {
  changed.wait(lock, [&] { return running < limit; });
  ++running;
}

void CompilePool::end(std::unique_lock<std::mutex> &lock) {
  lock.lock();
  --running;
  lock.unlock();
  changed.notify_all();
}

void CompilePool::runHere(const std::function<void()> &work) {
  if (::getpid() != owner) { // a fork: the parent's compilers do not run here
    work();
    return;
  }
  std::unique_lock lock(mutex);
  begin(lock);
  lock.unlock();
  work();
  end(lock);
}

void CompilePool::work() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return stopping || (!queue.empty() && running < limit); });
    if (stopping)
      return;
    const std::function<void()> next = std::move(queue.front());
    queue.pop_front();
    ++running;
    lock.unlock();
    next();
    end(lock);
    lock.lock();
  }
}

bool CompilePool::post(std::function<void()> work) {
  if (::getpid() != owner)
    return false;
  {
    const std::lock_guard lock(mutex);
    if (static_cast<int>(threads.size()) < limit) {
      try {
        threads.emplace_back([this] { this->work(); });
      } catch (const std::system_error &) {
        if (threads.empty())
          return false;
      }
    }
    queue.push_back(std::move(work));
  }
  changed.notify_all();
  return true;
}

} // namespace heddle
