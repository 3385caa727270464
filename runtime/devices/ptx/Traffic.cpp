// Counts bank conflicts and sectors. Source of the phases: the usual practice
// of swizzled kernels; how hardware splits 8- and 16-byte accesses with lanes
// missing is not documented.
#include "runtime/devices/ptx/Traffic.h"

#include <algorithm>

namespace heddle::ptx {

void Traffic::add(const Traffic &other) {
  sharedRequests += other.sharedRequests;
  sharedWavefronts += other.sharedWavefronts;
  sharedIdeal += other.sharedIdeal;
  globalRequests += other.globalRequests;
  globalSectors += other.globalSectors;
  globalBytes += other.globalBytes;
  tensorFlops += other.tensorFlops;
}

void Traffic::scale(uint64_t factor) {
  for (uint64_t *count : {&sharedRequests, &sharedWavefronts, &sharedIdeal, &globalRequests,
                          &globalSectors, &globalBytes, &tensorFlops})
    *count *= factor;
}

Wavefronts sharedWavefronts(const uint64_t *addresses, uint32_t mask, int bytes) {
  const int words = std::max(1, bytes / 4), lanes = 32 / words;
  Wavefronts result{0, 0};
  for (int first = 0; first < 32; first += lanes) {
    uint64_t seen[32][32]; // words of each bank
    int counts[32] = {};
    bool any = false;
    for (int l = first; l < first + lanes; ++l) {
      if (!(mask >> l & 1))
        continue;
      any = true;
      for (int k = 0; k < words; ++k) {
        const uint64_t word = addresses[l] / 4 + static_cast<uint64_t>(k);
        const int bank = static_cast<int>(word % 32);
        if (std::find(seen[bank], seen[bank] + counts[bank], word) == seen[bank] + counts[bank])
          seen[bank][counts[bank]++] = word;
      }
    }
    if (!any)
      continue;
    result.taken += *std::max_element(counts, counts + 32);
    result.ideal += 1;
  }
  return result;
}

int globalSectors(const uint64_t *addresses, uint32_t mask, int bytes) {
  uint64_t sectors[64];
  int count = 0;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1)
      for (uint64_t s = addresses[l] / 32;
           s <= (addresses[l] + static_cast<uint64_t>(bytes) - 1) / 32; ++s)
        if (count < 64)
          sectors[count++] = s;
  std::sort(sectors, sectors + count);
  return static_cast<int>(std::unique(sectors, sectors + count) - sectors);
}

} // namespace heddle::ptx
