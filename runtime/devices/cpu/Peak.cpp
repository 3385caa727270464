// Measures peak rates. A loop body is a row of instructions that do not wait for each other (20
// accumulators of 512 bits, 12 of 256: latency times throughput needs 8 to 12); a round is as many
// trips as take half a millisecond.
//
//   vfmadd231ps zmm30, zmm31, zmm0      zmm0 += zmm30 * zmm31: 16 lanes, 32 operations
//   vfmadd231ps zmm30, zmm31, zmm1      needs nothing of the line before
//   ...                                 20 lines, then dec, jnz
#include "runtime/devices/cpu/Peak.h"

#include "runtime/devices/cpu/Host.h"
#include "runtime/devices/cpu/ThreadPool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace heddle {

namespace {

// clang-format off
#define HEDDLE_TIMES12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define HEDDLE_TIMES20(X) HEDDLE_TIMES12(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19)
#define HEDDLE_CLOBBER12 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#define HEDDLE_CLOBBER20 HEDDLE_CLOBBER12, "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19"
#define HEDDLE_CLEAR_YMM(n) "vxorps %%ymm" #n ", %%ymm" #n ", %%ymm" #n "\n"
#define HEDDLE_CLEAR_ZMM(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n"
#define HEDDLE_FMA_YMM(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
#define HEDDLE_FMA_ZMM(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n"
#define HEDDLE_DOT_ZMM(n) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #n "\n"
// clang-format on

/// Operands that keep the accumulators normal numbers for any number of trips: two bf16 of 2^-40,
/// read as f32 about the same.
constexpr uint32_t kSmall = 0x2b802b80;

/// One round: `trips` trips through the body. Only Read looks at the memory.
using Loop = void (*)(int64_t trips, const std::byte *memory);

__attribute__((target("avx2,fma"))) void fmaYmm(int64_t trips, const std::byte *) {
  asm volatile("vbroadcastss %1, %%ymm14\nvbroadcastss %1, %%ymm15\n" HEDDLE_TIMES12(
                   HEDDLE_CLEAR_YMM) "1:\n" HEDDLE_TIMES12(HEDDLE_FMA_YMM) "dec %0\njnz 1b\n"
                                                                           "vzeroupper\n"
               : "+r"(trips)
               : "m"(kSmall)
               : HEDDLE_CLOBBER12, "xmm14", "xmm15", "cc");
}

__attribute__((target("avx512f"))) void fmaZmm(int64_t trips, const std::byte *) {
  asm volatile("vbroadcastss %1, %%zmm30\nvbroadcastss %1, %%zmm31\n" HEDDLE_TIMES20(
                   HEDDLE_CLEAR_ZMM) "1:\n" HEDDLE_TIMES20(HEDDLE_FMA_ZMM) "dec %0\njnz 1b\n"
                                                                           "vzeroupper\n"
               : "+r"(trips)
               : "m"(kSmall)
               : HEDDLE_CLOBBER20, "xmm30", "xmm31", "cc");
}

__attribute__((target("avx512f,avx512bf16"))) void dotZmm(int64_t trips, const std::byte *) {
  asm volatile("vbroadcastss %1, %%zmm30\nvbroadcastss %1, %%zmm31\n" HEDDLE_TIMES20(
                   HEDDLE_CLEAR_ZMM) "1:\n" HEDDLE_TIMES20(HEDDLE_DOT_ZMM) "dec %0\njnz 1b\n"
                                                                           "vzeroupper\n"
               : "+r"(trips)
               : "m"(kSmall)
               : HEDDLE_CLOBBER20, "xmm30", "xmm31", "cc");
}

/// 16 rows of 64 bytes in each of the 8 tile registers (Intel SDM volume 1, chapter 18).
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void dotTiles(int64_t trips, const std::byte *) {
  constexpr TileConfiguration kConfiguration;
  asm volatile("ldtilecfg %1\n"
               "tilezero %%tmm0\ntilezero %%tmm1\ntilezero %%tmm2\ntilezero %%tmm3\n"
               "tilezero %%tmm4\ntilezero %%tmm5\ntilezero %%tmm6\ntilezero %%tmm7\n"
               "1:\n"
               "tdpbf16ps %%tmm7, %%tmm6, %%tmm0\ntdpbf16ps %%tmm7, %%tmm6, %%tmm1\n"
               "tdpbf16ps %%tmm7, %%tmm6, %%tmm2\ntdpbf16ps %%tmm7, %%tmm6, %%tmm3\n"
               "tdpbf16ps %%tmm7, %%tmm6, %%tmm4\ntdpbf16ps %%tmm7, %%tmm6, %%tmm5\n"
               "dec %0\njnz 1b\ntilerelease\n"
               : "+r"(trips)
               : "m"(kConfiguration)
               : "cc");
}
constexpr double kTileWorkPerTrip = 6 * 2 * 16 * 16 * 32;

constexpr int64_t kReadBytesPerTrip = 256;

__attribute__((target("avx2"))) void readYmm(int64_t trips, const std::byte *memory) {
  asm volatile("1:\n"
               "vmovaps (%1), %%ymm0\nvmovaps 32(%1), %%ymm1\n"
               "vmovaps 64(%1), %%ymm2\nvmovaps 96(%1), %%ymm3\n"
               "vmovaps 128(%1), %%ymm4\nvmovaps 160(%1), %%ymm5\n"
               "vmovaps 192(%1), %%ymm6\nvmovaps 224(%1), %%ymm7\n"
               "add $256, %1\ndec %0\njnz 1b\nvzeroupper\n"
               : "+r"(trips), "+r"(memory)
               :
               : HEDDLE_CLOBBER12, "cc", "memory");
}

__attribute__((target("avx512f"))) void readZmm(int64_t trips, const std::byte *memory) {
  asm volatile("1:\n"
               "vmovaps (%1), %%zmm0\nvmovaps 64(%1), %%zmm1\n"
               "vmovaps 128(%1), %%zmm2\nvmovaps 192(%1), %%zmm3\n"
               "add $256, %1\ndec %0\njnz 1b\nvzeroupper\n"
               : "+r"(trips), "+r"(memory)
               :
               : HEDDLE_CLOBBER12, "cc", "memory");
}

/// A loop, and what a trip of it does: operations or bytes.
struct Unit {
  const char *instruction;
  Loop loop;
  double workPerTrip;
};

/// The widest loop that this processor can run.
Result<Unit> unitFor(PeakKind kind) {
  __builtin_cpu_init();
  bool avx512 = __builtin_cpu_supports("avx512f");
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (kind == PeakKind::Bf16Dot) {
    if (cpu::detectHost().has("amx_bf16") && cpu::requestAmx().ok())
      return Unit{"tdpbf16ps tmm", dotTiles, kTileWorkPerTrip};
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
      return Unit{"vdpbf16ps zmm", dotZmm, 20 * 64};
    return Error{ErrorCode::Unsupported,
                 "this processor has no bf16 dot product, expected AVX512-BF16"};
  }
  if (!avx512 && !avx2)
    return Error{ErrorCode::Unsupported,
                 "this processor has no vector multiply-add, expected AVX-512 or AVX2 with FMA"};
  if (kind == PeakKind::Read)
    return avx512 ? Unit{"vmovaps zmm", readZmm, kReadBytesPerTrip}
                  : Unit{"vmovaps ymm", readYmm, kReadBytesPerTrip};
  return avx512 ? Unit{"vfmadd231ps zmm", fmaZmm, 20 * 32}
                : Unit{"vfmadd231ps ymm", fmaYmm, 12 * 16};
}

constexpr double kRoundSeconds = 0.5e-3;
constexpr int64_t kPieceBytes = int64_t{256} << 10; ///< what a thread reads at a time
constexpr int64_t kPiecesPerThread = 64;            ///< in a round, and in all kMostPieces
constexpr int64_t kMostPieces = 4096;
constexpr size_t kPageBytes = size_t{2} << 20; ///< large pages, as large tensors have
constexpr int kLeastRounds = 5;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct FreeMemory {
  void operator()(void *pointer) const { std::free(pointer); }
};
using Memory = std::unique_ptr<std::byte, FreeMemory>;

int64_t piecesOfRound(int64_t threads) {
  return std::max(threads, std::min(threads * kPiecesPerThread, kMostPieces));
}

/// Memory of whole rounds, so large that a piece has left the last-level cache when its turn comes
/// again.
int64_t bytesToRead(int64_t cacheBytes, int64_t roundBytes) {
  int64_t cache = cacheBytes > 0 ? cacheBytes : sysconf(_SC_LEVEL3_CACHE_SIZE);
  constexpr int64_t kLeast = int64_t{64} << 20;
  constexpr int64_t kMost = int64_t{1} << 30;
  int64_t wanted = std::clamp(4 * cache, kLeast, kMost);
  return (wanted + roundBytes - 1) / roundBytes * roundBytes;
}

/// Touched, so that no round pays for page faults. Null if there is not so much.
Memory allocate(int64_t bytes) {
  size_t size = static_cast<size_t>(bytes);
  Memory memory(static_cast<std::byte *>(std::aligned_alloc(kPageBytes, size)));
  if (!memory)
    return memory;
  madvise(memory.get(), size, MADV_HUGEPAGE); // a wish: small pages do too
  std::memset(memory.get(), 1, size);
  return memory;
}

/// Trips that take about a round.
int64_t calibrate(const Unit &unit) {
  int64_t trips = 1000;
  while (true) {
    double start = now();
    unit.loop(trips, nullptr);
    if (now() - start >= kRoundSeconds / 2)
      return trips;
    trips *= 2;
  }
}

/// Rates of a thread's rounds for as long as asked.
std::vector<double> measureRounds(const Unit &unit, double seconds) {
  int64_t trips = calibrate(unit);
  std::vector<double> rates;
  double begin = now();
  for (double start = begin;
       start - begin < seconds || rates.size() < static_cast<size_t>(kLeastRounds);) {
    unit.loop(trips, nullptr);
    double end = now();
    rates.push_back(static_cast<double>(trips) * unit.workPerTrip / (end - start));
    start = end;
  }
  return rates;
}

/// Every thread's rounds, all threads at the same time: what a core computes takes nothing from the
/// others, so their rates add up.
std::vector<std::vector<double>> measureThreads(const Unit &unit, const PeakOptions &options) {
  std::vector<std::vector<double>> rates(static_cast<size_t>(options.threads));
  std::barrier together(options.threads);
  auto work = [&](size_t thread) {
    together.arrive_and_wait();
    rates[thread] = measureRounds(unit, options.seconds);
  };
  std::vector<std::jthread> others;
  for (size_t thread = 1; thread < rates.size(); ++thread)
    others.emplace_back(work, thread);
  work(0);
  others.clear(); // joins
  return rates;
}

/// Rates of rounds in which all threads read, as they share out a kernel's grid points. They share
/// what is measured, so a round lasts until all is read: the best rounds of each thread by itself
/// would add up to more than memory gives.
std::vector<double> measureReading(const Unit &unit, std::span<const std::byte> memory,
                                   const PeakOptions &options) {
  struct Round {
    const Unit &unit;
    const std::byte *memory;
  } round{unit, memory.data()};
  cpu::ThreadPool::Body read = [](void *context, int64_t first, int64_t last, int) {
    auto *round = static_cast<Round *>(context);
    round->unit.loop((last - first) * (kPieceBytes / kReadBytesPerTrip),
                     round->memory + first * kPieceBytes);
  };
  cpu::ThreadPool pool(options.threads);
  const int64_t pieces = piecesOfRound(options.threads);
  const size_t roundBytes = static_cast<size_t>(pieces * kPieceBytes);
  std::vector<double> rates;
  double begin = now();
  for (double start = begin, end = 0;
       start - begin < options.seconds || rates.size() < static_cast<size_t>(kLeastRounds);
       start = end) {
    pool.run(pieces, 1, read, &round);
    end = now();
    rates.push_back(static_cast<double>(roundBytes) / (end - start));
    round.memory += roundBytes;
    if (round.memory == memory.data() + memory.size())
      round.memory = memory.data();
  }
  return rates;
}

PeakRate summarise(std::vector<std::vector<double>> threads, const Unit &unit) {
  PeakRate rate;
  rate.instruction = unit.instruction;
  rate.rounds = static_cast<int>(threads.front().size());
  for (std::vector<double> &rounds : threads) {
    std::sort(rounds.begin(), rounds.end());
    rate.best += rounds.back();
    rate.median += rounds[rounds.size() / 2];
    rate.rounds = std::min(rate.rounds, static_cast<int>(rounds.size()));
  }
  return rate;
}

} // namespace

Result<PeakRate> measurePeak(PeakKind kind, const PeakOptions &options) {
  if (options.threads < 1 || options.threads > 1024)
    return Error{ErrorCode::InvalidArgument,
                 std::to_string(options.threads) + " threads, expected 1 to 1024"};
  if (!std::isfinite(options.seconds) || options.seconds < 0 || options.cacheBytes < 0)
    return Error{ErrorCode::InvalidArgument,
                 "a time or a cache size that is negative or not finite, expected 0 at least"};
  HEDDLE_TRY(unit, unitFor(kind));
  if (kind != PeakKind::Read)
    return summarise(measureThreads(unit, options), unit);
  int64_t bytes = bytesToRead(options.cacheBytes, piecesOfRound(options.threads) * kPieceBytes);
  Memory memory = allocate(bytes);
  if (!memory)
    return Error{ErrorCode::ResourceExhausted,
                 "no " + std::to_string(bytes >> 20) + " MiB of memory to read"};
  std::span<const std::byte> view(memory.get(), static_cast<size_t>(bytes));
  return summarise({measureReading(unit, view, options)}, unit);
}

} // namespace heddle
