// What accesses cost the memory system: wavefronts of shared memory, sectors of
// global memory.
#pragma once

#include <cstdint>

namespace heddle::ptx {

/// Sums over all accesses of a launch.
struct Traffic {
  uint64_t sharedRequests = 0;   // warp instructions
  uint64_t sharedWavefronts = 0; // cycles of the 32 banks of 4 bytes
  uint64_t sharedIdeal = 0;      // the same without conflicts
  uint64_t globalRequests = 0;
  uint64_t globalSectors = 0; // of 32 bytes, as requested
  uint64_t globalBytes = 0;   // that lanes asked for
  uint64_t tensorFlops = 0;

  void add(const Traffic &other);
  void scale(uint64_t factor);
};

/// Wavefronts of one access of shared memory: lanes go in phases (32 lanes of
/// up to 4 bytes, 16 of 8, 8 of 16), and a phase takes as many as the fullest
/// bank has distinct words.
struct Wavefronts {
  int taken, ideal;
};
Wavefronts sharedWavefronts(const uint64_t *addresses, uint32_t mask, int bytes);

/// Distinct sectors of 32 bytes that the lanes of an access touch.
int globalSectors(const uint64_t *addresses, uint32_t mask, int bytes);

} // namespace heddle::ptx
