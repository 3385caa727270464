// The thread pool: every point once, loops inside loops, loops side by side.
#include "runtime/devices/cpu/ThreadPool.h"
#include "tests/support/Test.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

using heddle::cpu::ThreadPool;

namespace {

/// Counts visits of each point and the workers that came.
struct Visits {
  explicit Visits(int64_t points) : counts(points) {}
  std::vector<std::atomic<int>> counts;
  std::atomic<int64_t> largestPiece = 0;
  std::atomic<bool> wrongWorker = false;
  int workers = 0;

  static void body(void *context, int64_t first, int64_t last, int worker) {
    Visits &visits = *static_cast<Visits *>(context);
    if (worker < 0 || worker >= visits.workers || first >= last)
      visits.wrongWorker = true;
    if (last - first > visits.largestPiece)
      visits.largestPiece = last - first;
    for (int64_t point = first; point < last; ++point)
      ++visits.counts[point];
  }
  bool allOnce() const {
    for (const std::atomic<int> &count : counts)
      if (count != 1)
        return false;
    return !wrongWorker;
  }
};

} // namespace

TEST_CASE("every point is visited once, whatever threads, points and chunks", "[threads]") {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (int64_t points : {0, 1, 2, 7, 64, 1000})
      for (int64_t chunk : {0, 1, 3, 64, 5000}) {
        Visits visits(points);
        visits.workers = threads;
        pool.run(points, chunk, Visits::body, &visits);
        INFO(threads << " threads, " << points << " points, chunks of " << chunk);
        REQUIRE(visits.allOnce());
        if (threads > 1)
          REQUIRE(visits.largestPiece <= std::max<int64_t>(chunk, 1));
      }
  }
}

TEST_CASE("many short loops in a row", "[threads]") {
  ThreadPool pool(4);
  for (int round = 0; round < 2000; ++round) {
    Visits visits(9);
    visits.workers = 4;
    pool.run(9, 1, Visits::body, &visits);
    REQUIRE(visits.allOnce());
  }
}

TEST_CASE("loops started inside loops and from several threads all finish", "[threads]") {
  struct Outer {
    ThreadPool pool{3};
    std::deque<Visits> inner;
  } outer;
  for (int n = 0; n < 16; ++n)
    outer.inner.emplace_back(50).workers = 3;
  const auto nest = [](void *context, int64_t first, int64_t last, int) {
    Outer &outer = *static_cast<Outer *>(context);
    for (int64_t n = first; n < last; ++n)
      outer.pool.run(50, 4, Visits::body, &outer.inner[n]);
  };
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 2; ++caller)
    callers.emplace_back([&, caller] {
      struct Half {
        Outer *outer;
        int64_t offset;
      } half{&outer, 8 * caller};
      outer.pool.run(
          8, 1,
          [](void *context, int64_t first, int64_t last, int worker) {
            const Half &half = *static_cast<Half *>(context);
            decltype(nest) inner{};
            inner(half.outer, half.offset + first, half.offset + last, worker);
          },
          &half);
    });
  for (std::thread &caller : callers)
    caller.join();
  for (const Visits &visits : outer.inner)
    CHECK(visits.allOnce());
}

TEST_CASE("chunks go out in ascending order", "[threads]") {
  struct Order {
    std::mutex mutex;
    std::vector<int64_t> firsts;
  } order;
  ThreadPool pool(1);
  pool.run(
      10, 1,
      [](void *context, int64_t first, int64_t, int) {
        Order &order = *static_cast<Order *>(context);
        const std::lock_guard lock(order.mutex);
        order.firsts.push_back(first);
      },
      &order);
  CHECK(order.firsts == std::vector<int64_t>{0}); // alone: in one piece
}

TEST_CASE("a child made by fork runs loops on its one thread, and ends", "[threads]") {
  ThreadPool pool(4);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20); // a hang is a failure, not a stuck test
    Visits visits(100);
    visits.workers = 4;
    pool.run(100, 1, Visits::body, &visits);
    ::_exit(visits.allOnce() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  Visits visits(100);
  visits.workers = 4;
  pool.run(100, 1, Visits::body, &visits);
  CHECK(visits.allOnce());
}
