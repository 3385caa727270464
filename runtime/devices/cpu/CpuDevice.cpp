// Loads shared objects and runs their entries over grid points. A worker's scratch is its own part
// of the caller's scratch memory; a launch allocates nothing.
//   grid 16 x 8 x 1, 2 threads: points 0..127, x fastest, handed out in chunks in ascending order
#include "runtime/devices/cpu/CpuDevice.h"

#include "runtime/devices/cpu/SharedImage.h"
#include "runtime/devices/cpu/ThreadPool.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace heddle::cpu {
namespace {

constexpr int kMaxThreads = 4096;
constexpr int64_t kChunksPerThread = 8; ///< how finely a grid of equal points is shared out
constexpr int64_t kMaxPoints = int64_t(1) << 62;

using Entry = void (*)(const void *block, int64_t first, int64_t last, void *scratch);

constexpr int64_t kLine = 64;
/// Tensors are walked in streams: a page of this size is looked up 512 times less often.
constexpr int64_t kHugePage = int64_t(2) << 20;

int64_t roundUp(int64_t bytes, int64_t unit = kLine) { return (bytes + unit - 1) / unit * unit; }

struct Call {
  Entry entry;
  const void *block;
  char *scratch;
  int64_t scratchStep;
};

void runChunk(void *context, int64_t first, int64_t last, int worker) {
  const Call &call = *static_cast<const Call *>(context);
  call.entry(call.block, first, last, call.scratch + worker * call.scratchStep);
}

class CpuKernel : public LoadedKernel {
public:
  CpuKernel(std::shared_ptr<ThreadPool> pool, SharedImage image, std::vector<Entry> entries,
            std::vector<bool> longestFirst)
      : pool(std::move(pool)), image(std::move(image)), entries(std::move(entries)),
        longestFirst(std::move(longestFirst)) {}

  int64_t scratchBytes(int64_t sharedBytes) const override {
    int64_t all = 0;
    const bool fits = !__builtin_mul_overflow(roundUp(sharedBytes), pool->threads(), &all);
    return fits ? all : INT64_MAX;
  }

  Status encode(const TensorMapValues &, void *) const override {
    return Error{ErrorCode::Unsupported,
                 "found a tensor map among a kernel's arguments, expected none on the CPU"};
  }

  Status run(int64_t index, const GridLaunch &launch, const void *block, void *scratch,
             Stream stream) override {
    if (stream)
      return Error{ErrorCode::InvalidArgument,
                   "found a stream for a kernel of the CPU, expected none; pass null"};
    int64_t points = 1;
    for (int64_t extent : launch.grid)
      if (extent < 0 || __builtin_mul_overflow(points, extent, &points) || points > kMaxPoints)
        return Error{ErrorCode::ResourceExhausted,
                     fmt::format("found a grid of {} x {} x {} points, expected fewer than 2^62",
                                 launch.grid[0], launch.grid[1], launch.grid[2])};
    // Points of falling cost go out one by one, so that the last to finish is a cheap one.
    const int64_t chunk = longestFirst[index]
                              ? 1
                              : std::max<int64_t>(1, points / (pool->threads() * kChunksPerThread));
    Call call{entries[index], block, static_cast<char *>(scratch), roundUp(launch.sharedBytes)};
    pool->run(points, chunk, runChunk, &call);
    return {};
  }

private:
  std::shared_ptr<ThreadPool> pool;
  SharedImage image;
  std::vector<Entry> entries;
  std::vector<bool> longestFirst;
};

class CpuDevice : public Device {
public:
  CpuDevice(int threads, HostInfo host)
      : info(std::move(host)), description(info.facts()),
        pool(std::make_shared<ThreadPool>(threads)) {}

  const std::string &name() const override { return cpuName; }
  const std::string &target() const override { return cpuName; }
  const std::string &facts() const override { return description; }
  int workers() const override { return pool->threads(); }
  bool runs(const std::string &target) const override { return target == cpuName; }

  bool usesHostMemory() const override { return true; }
  Result<void *> allocate(int64_t bytes) override {
    const bool large = bytes >= kHugePage;
    const int64_t unit = large ? kHugePage : kLine;
    const size_t size = static_cast<size_t>(roundUp(std::max<int64_t>(bytes, 1), unit));
    void *memory = std::aligned_alloc(static_cast<size_t>(unit), size);
    if (memory && large)
      ::madvise(memory, size, MADV_HUGEPAGE); // where the system gives none, small pages do
    if (!memory)
      return Error{ErrorCode::ResourceExhausted,
                   fmt::format("cannot allocate {} bytes of memory", bytes)};
    return memory;
  }
  void release(void *memory) override { std::free(memory); }
  Status copyIn(void *device, const void *host, int64_t bytes) override {
    std::memcpy(device, host, static_cast<size_t>(bytes));
    return {};
  }
  Status copyOut(void *host, const void *device, int64_t bytes) override {
    return copyIn(host, device, bytes);
  }
  Status checkMemory(const void *, const std::string &) const override { return {}; }
  Status finish(Stream) override { return {}; }

  Result<std::unique_ptr<LoadedKernel>> load(const Artifact &artifact) override {
    HEDDLE_CHECK(checkFeatures(artifact));
    HEDDLE_TRY(image, SharedImage::load(artifact.image));
    std::vector<Entry> entries;
    std::vector<bool> longestFirst;
    for (const Launch &launch : artifact.launches) {
      void *address = image.find(launch.entry);
      if (!address)
        return Error{ErrorCode::CorruptData,
                     fmt::format("found no entry {} in the code of {}; compile it again",
                                 launch.entry, artifact.name)};
      entries.push_back(reinterpret_cast<Entry>(address));
      longestFirst.push_back(launch.longestFirst);
    }
    return std::unique_ptr<LoadedKernel>(std::make_unique<CpuKernel>(
        pool, std::move(image), std::move(entries), std::move(longestFirst)));
  }

private:
  Status checkFeatures(const Artifact &artifact) const {
    if (artifact.target != cpuName)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found code for {}, expected code for cpu", artifact.target)};
    std::vector<std::string> missing;
    bool tiles = false;
    for (const std::string &feature : artifact.requiredFeatures) {
      if (!info.has(feature))
        missing.push_back(feature);
      tiles |= feature.starts_with("amx");
    }
    if (!missing.empty())
      return Error{
          ErrorCode::Unsupported,
          fmt::format("{} needs {}, which this processor ({}) has not; compile it for this "
                      "processor",
                      artifact.name, fmt::join(missing, ", "), info.model)};
    return tiles ? requestAmx() : Status();
  }

  const std::string cpuName = "cpu";
  HostInfo info;
  std::string description;
  std::shared_ptr<ThreadPool> pool;
};

} // namespace

Result<std::unique_ptr<Device>> openCpuDevice(int threads) {
  return openCpuDevice(threads, detectHost());
}

Result<std::unique_ptr<Device>> openCpuDevice(int threads, HostInfo host) {
  if (threads < 0 || threads > kMaxThreads)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found {} threads, expected 1 to {}, or 0 for every core", threads,
                             kMaxThreads)};
  const int workers = threads ? threads : host.cores;
  try {
    return std::unique_ptr<Device>(std::make_unique<CpuDevice>(workers, std::move(host)));
  } catch (const std::system_error &refused) {
    return Error{
        ErrorCode::ResourceExhausted,
        fmt::format("cannot start {} threads: {}; ask for fewer", workers, refused.what())};
  }
}

} // namespace heddle::cpu
