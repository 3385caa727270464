// Occupancy against the rules written another way, and against values of cuda_occupancy.h
// (CUDA 13.0).
#include "compiler/machine/Occupancy.h"
#include "tests/support/Test.h"

using namespace heddle::compiler;

namespace {

struct Known {
  const char *machine;
  int64_t threads, registers, sharedBytes, blocks;
};

constexpr Known kKnown[] = {
    {"a100", 832, 229, 82657, 0},     {"a100", 64, 111, 98072, 1},
    {"a100", 384, 73, 0, 2},          {"a100", 512, 40, 0, 3},
    {"a100", 32, 109, 0, 16},         {"a100", 320, 129, 80235, 1},
    {"a100", 832, 198, 95190, 0},     {"a100", 96, 101, 14591, 5},
    {"a100", 64, 81, 85051, 1},       {"a100", 800, 61, 20042, 1},
    {"a100", 192, 160, 41135, 2},     {"a100", 256, 96, 78209, 2},
    {"rtx4090", 64, 173, 51694, 1},   {"rtx4090", 224, 139, 82058, 1},
    {"rtx4090", 256, 103, 0, 2},      {"rtx4090", 384, 23, 9060, 4},
    {"rtx4090", 96, 106, 56248, 1},   {"rtx4090", 192, 146, 0, 2},
    {"rtx4090", 448, 135, 21006, 0},  {"rtx4090", 224, 72, 40589, 2},
    {"rtx4090", 160, 83, 11000, 4},   {"rtx4090", 640, 137, 40064, 0},
    {"rtx4090", 384, 200, 27187, 0},  {"rtx4090", 64, 242, 52225, 1},
    {"h100", 352, 32, 56703, 4},      {"h100", 320, 41, 99072, 2},
    {"h100", 384, 102, 66134, 1},     {"h100", 800, 195, 40237, 0},
    {"h100", 160, 168, 0, 2},         {"h100", 224, 139, 0, 1},
    {"h100", 896, 146, 0, 0},         {"h100", 320, 143, 110611, 1},
    {"h100", 32, 180, 7058, 8},       {"h100", 672, 92, 91074, 0},
    {"h100", 384, 216, 6202, 0},      {"h100", 192, 183, 61218, 1},
    {"rtx5090", 448, 223, 90125, 0},  {"rtx5090", 32, 255, 100144, 1},
    {"rtx5090", 384, 180, 56277, 0},  {"rtx5090", 960, 188, 0, 0},
    {"rtx5090", 128, 157, 106076, 0}, {"rtx5090", 256, 28, 64091, 1},
    {"rtx5090", 1024, 62, 0, 1},      {"rtx5090", 96, 112, 26626, 3},
    {"rtx5090", 32, 53, 85234, 1},    {"rtx5090", 736, 207, 131, 0},
    {"rtx5090", 352, 87, 63172, 1},   {"rtx5090", 96, 120, 22190, 4},
};

} // namespace

TEST_CASE("blocks of a multiprocessor are those of NVIDIA's own rules") {
  for (const Known &known : kKnown) {
    INFO(known.machine << " " << known.threads << " threads, " << known.registers << " registers, "
                       << known.sharedBytes << " bytes");
    const Machine machine = loadMachine(known.machine).value();
    const Occupancy found =
        occupancyOf(machine, {known.threads, known.registers, known.sharedBytes});
    CHECK(found.blocks == known.blocks);
    CHECK(found.warps == known.blocks * ((known.threads + 31) / 32));
    CHECK(found.share == Approx(static_cast<double>(found.warps) / machine.gpu.warps));
  }
}

TEST_CASE("the limit that is full first is named") {
  const Machine a100 = loadMachine("a100").value();
  CHECK(occupancyOf(a100, {256, 255, 0}).limit == "registers");
  CHECK(occupancyOf(a100, {128, 64, 100000}).limit == "shared memory");
  CHECK(occupancyOf(a100, {1024, 16, 0}).limit == "warps");
  CHECK(occupancyOf(a100, {32, 16, 0}).limit == "blocks");
  CHECK(occupancyOf(a100, {0, 16, 0}).blocks == 0);
  CHECK(occupancyOf(a100, {2048, 16, 0}).blocks == 0);
  CHECK(occupancyOf(a100, {128, 64, 170000}).blocks == 0);
  CHECK(occupancyOf(a100, {1024, 128, 0}).blocks == 0);
}

TEST_CASE("more of anything never gives more blocks") {
  const Machine machine = loadMachine("rtx4090").value();
  for (int64_t threads = 32; threads <= 1024; threads += 32)
    for (int64_t registers = 16; registers <= 255; registers += 13)
      for (int64_t shared = 0; shared <= 102400; shared += 10240) {
        const int64_t blocks = occupancyOf(machine, {threads, registers, shared}).blocks;
        CHECK(blocks >= occupancyOf(machine, {threads, registers + 1, shared}).blocks);
        CHECK(blocks >= occupancyOf(machine, {threads, registers, shared + 1}).blocks);
        CHECK(blocks * shared <= machine.gpu.sharedBytesPerMultiprocessor);
        CHECK(blocks * threads * registers <= machine.gpu.registersPerMultiprocessor);
      }
}
