// Threads take candidates in the order of the space; whoever finishes one
// records it. Records are JSON texts: {"ms": 0.71, "bound": "issue slots", ...}
// or {"refusal": "..."}.
#include "autotune/EstimateSweep.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <thread>

namespace heddle::autotune {
namespace {

constexpr int64_t kBytesOfCompile = int64_t(512) << 20;

std::string keyOf(const std::string &problem, const Schedule &schedule) {
  return fmt::format("estimate v1\n{}\n{}", problem, toString(schedule));
}

std::string format(const Estimated &candidate) {
  const Outlook &o = candidate.outlook;
  return nlohmann::json{{"refusal", candidate.refusal},
                        {"ms", o.milliseconds},
                        {"bound", o.bound},
                        {"registers", o.registers},
                        {"spill_bytes", o.spillBytes},
                        {"stack_bytes", o.stackBytes},
                        {"shared_bytes", o.sharedBytes},
                        {"blocks", o.blocks},
                        {"occupancy", o.occupancy},
                        {"limit", o.occupancyLimit},
                        {"other_per_mma", o.otherPerMma}}
      .dump();
}

bool parse(const std::string &text, Estimated &candidate) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("refusal") || !json.contains("ms"))
    return false;
  const auto number = [&](const char *key) { return json.value(key, int64_t(0)); };
  candidate.refusal = json.value("refusal", "");
  candidate.outlook = {json.value("ms", 0.0),   json.value("bound", ""),
                       number("registers"),     number("spill_bytes"),
                       number("stack_bytes"),   number("shared_bytes"),
                       number("blocks"),        json.value("occupancy", 0.0),
                       json.value("limit", ""), json.value("other_per_mma", 0.0)};
  return !candidate.refusal.empty() || candidate.outlook.milliseconds > 0;
}

/// Bytes the system says are available, or a lot where it says nothing.
int64_t freeMemory() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  for (int64_t kilobytes = 0; file >> word;)
    if (word == "MemAvailable:" && file >> kilobytes)
      return kilobytes << 10;
  return int64_t(1) << 40;
}

std::string bestNote(const EstimateSweep &sweep) {
  const Estimated *best = nullptr;
  for (const Estimated &candidate : sweep.candidates)
    if (candidate.refusal.empty() && candidate.outlook.milliseconds > 0 &&
        (!best || candidate.outlook.milliseconds < best->outlook.milliseconds))
      best = &candidate;
  return best ? fmt::format("best estimate so far {} ({:.3f} ms)", toString(best->schedule),
                            best->outlook.milliseconds)
              : "";
}

/// One sweep under way; everything but `assess` happens under the lock.
class Work {
public:
  Work(EstimateSweep &sweep, std::vector<size_t> open, const std::string &problem,
       const Assess &assess, Records &records, const ProgressCallback &progress)
      : sweep(sweep), open(std::move(open)), problem(problem), assess(assess), records(records),
        progress(progress) {}

  void run() {
    for (size_t index; take(index);) {
      const Result<Outlook> outlook = assess(sweep.candidates[index].schedule);
      const std::lock_guard lock(mutex);
      Estimated &candidate = sweep.candidates[index];
      if (outlook.ok())
        candidate.outlook = *outlook;
      candidate.refusal = outlook.ok() ? objection(*outlook) : outlook.error().message;
      records.put(keyOf(problem, candidate.schedule), format(candidate));
      ++sweep.compiled;
      tell();
    }
  }
  /// Reports how far it is; a refusal stops every thread after what it is at.
  void tell() {
    stopped |= !progress(sweep.compiled + sweep.reused,
                         static_cast<int64_t>(sweep.candidates.size()), bestNote(sweep));
  }
  bool stopped = false;

private:
  bool take(size_t &index) {
    const std::lock_guard lock(mutex);
    if (stopped || next == open.size())
      return false;
    index = open[next++];
    return true;
  }

  EstimateSweep &sweep;
  std::vector<size_t> open;
  const std::string &problem;
  const Assess &assess;
  Records &records;
  const ProgressCallback &progress;
  std::mutex mutex;
  size_t next = 0;
};

Status chooseWinner(EstimateSweep &sweep) {
  const auto better = [](const Estimated &a, const Estimated &b) {
    if (a.refusal.empty() != b.refusal.empty())
      return a.refusal.empty();
    return a.refusal.empty() && a.outlook.milliseconds < b.outlook.milliseconds;
  };
  const auto best = std::min_element(sweep.candidates.begin(), sweep.candidates.end(), better);
  if (!best->refusal.empty())
    return Error{ErrorCode::Unsupported,
                 fmt::format("none of {} schedules is left; the first is refused: {}",
                             sweep.candidates.size(), sweep.candidates[0].refusal)};
  sweep.winner = static_cast<size_t>(best - sweep.candidates.begin());
  return {};
}

} // namespace

std::string objection(const Outlook &outlook) {
  if (outlook.spillBytes > 0)
    return fmt::format("spills {} bytes of registers", outlook.spillBytes);
  if (outlook.stackBytes > 0)
    return fmt::format("keeps {} bytes a thread in local memory", outlook.stackBytes);
  if (outlook.blocks == 0)
    return fmt::format("no block fits a multiprocessor: {} are exceeded", outlook.occupancyLimit);
  return "";
}

int compileThreads(int asked) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int64_t fit = std::max<int64_t>(1, freeMemory() / kBytesOfCompile);
  return static_cast<int>(std::min<int64_t>(asked > 0 ? asked : cores, fit));
}

Result<EstimateSweep> estimateSweep(const std::vector<Schedule> &space, const std::string &problem,
                                    const Assess &assess, Records &records, int threads,
                                    const ProgressCallback &progress) {
  if (space.empty())
    return Error{ErrorCode::InvalidArgument,
                 "found no legal schedule to sweep, expected at least one"};
  EstimateSweep sweep;
  std::vector<size_t> open;
  for (const Schedule &schedule : space) {
    Estimated candidate{schedule, {}, {}, false};
    const std::optional<std::string> text = records.get(keyOf(problem, schedule));
    candidate.fromRecords = text && parse(*text, candidate);
    if (!candidate.fromRecords)
      open.push_back(sweep.candidates.size());
    sweep.reused += candidate.fromRecords;
    sweep.candidates.push_back(std::move(candidate));
  }
  Work work(sweep, open, problem, assess, records, progress);
  work.tell();
  std::vector<std::thread> others;
  for (int n = 1; n < std::min<int>(threads, static_cast<int>(open.size())); ++n)
    others.emplace_back([&] { work.run(); });
  work.run();
  for (std::thread &other : others)
    other.join();
  if (work.stopped && sweep.compiled + sweep.reused < static_cast<int64_t>(space.size()))
    return Error{ErrorCode::InvalidArgument,
                 "the sweep was stopped",
                 "",
                 {"what was estimated is kept: the same command goes on from there"}};
  HEDDLE_CHECK(chooseWinner(sweep));
  return sweep;
}

} // namespace heddle::autotune
