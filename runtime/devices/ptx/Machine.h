// The PTX machine: a CPU that runs the PTX text NVRTC makes.
//
//   Machine machine;
//   HEDDLE_TRY(module, machine.load(text, "kernel.ptx"));
//   HEDDLE_TRY(program, module->kernel("flash_fwd"));
//   HEDDLE_TRY(buffer, machine.memory.allocate(bytes, "q"));
//   ParamBlock params(*program);
//   HEDDLE_CHECK(params.set(0, buffer->address));
//   HEDDLE_TRY(report, machine.launch(*program, {.params = params.bytes()}, {}));
#pragma once

#include "runtime/devices/ptx/Counts.h"
#include "runtime/devices/ptx/Memory.h"
#include "runtime/devices/ptx/Program.h"
#include "runtime/devices/ptx/Traffic.h"

#include <map>
#include <optional>
#include <span>

namespace heddle::ptx {

struct LaunchConfig {
  int64_t grid[3] = {1, 1, 1};
  int64_t block[3] = {1, 1, 1};
  int64_t sharedBytes = 0;
  int64_t cluster[3] = {0, 0, 0}; // blocks of a cluster; zeros: what the kernel says
  std::span<const std::byte> params = {};
};

/// How the tensor cores' sums are made.
enum class Numbers : uint8_t {
  Fast,     // f32 fused multiply-adds
  Faithful, // alignment and truncation of the generation named by .target
};

/// When asynchronous copies take effect, of all the moments that are legal.
enum class CopyTime : uint8_t { Early, Late, Random };

struct LaunchOptions {
  Numbers numbers = Numbers::Fast;
  CopyTime copies = CopyTime::Early;
  uint64_t seed = 1;                    // of what is random
  bool check = false;                   // look for what Finding names
  bool counts = false;                  // Report::counts and Report::traffic
  bool firstSlice = false;              // run blocks (x, 0, 0) alone, count for all
  int threads = 1;                      // of the host, at least 1; 0: all
  int64_t stepLimit = int64_t{1} << 28; // warp instructions of one warp; more is an endless loop
  int64_t sharedLimit = 232448;         // bytes of shared memory a block may have
};

/// What a kernel did wrong: "race", "missing wait", "barrier divergence",
/// "pending copy", "uninitialised register", "uninitialised shared memory",
/// "uninitialised global memory", or "error": what ends a launch without the
/// checker too.
struct Finding {
  std::string kind, message;
  int line = 0;     // of the PTX
  std::string cuda; // "kernel.cu:12", where .loc says it
  int64_t block[3] = {0, 0, 0};
  int warp = 0;
  uint32_t lanes = 0; // of the first time
  uint64_t times = 0;

  std::string toString() const;
};

struct Report {
  int64_t blocks = 0; // of the grid
  uint64_t warpInstructions = 0;
  std::vector<uint64_t> counts; // by instruction of the kernel, if asked for
  ClassCounts classes;          // and by class and loop
  std::vector<LoopCount> loops;
  std::string printed; // what the kernel's printf wrote
  Traffic traffic;
  std::vector<Finding> findings;
  std::vector<std::string> unmodelled; // instructions of the kernel whose effect is not modelled

  /// "clean", "findings" or "incomplete" (no findings, but not all is
  /// modelled); of a checked run.
  const char *verdict() const;
};

/// The arguments of a launch, laid out as the kernel's signature says.
class ParamBlock {
public:
  explicit ParamBlock(const Program &program);
  /// Sets argument `index`; fails if the sizes differ.
  Status setBytes(size_t index, std::span<const std::byte> value);
  template <class T> Status set(size_t index, const T &value) {
    return setBytes(index, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  std::span<const std::byte> bytes() const { return block; }

private:
  const Program &program;
  std::vector<std::byte> block;
};

/// PTX text that is loaded: its variables have addresses.
class Module {
public:
  /// The kernel of this name, decoded on the first call. Fails with NotFound,
  /// and with Unsupported naming opcode and line if the machine does not know
  /// all of it.
  Result<const Program *> kernel(const std::string &name);
  std::vector<std::string> kernels() const;
  /// A variable's buffer, or null.
  Buffer *variable(const std::string &name) const;
  const ModuleSyntax &syntax() const { return text; }
  /// What the machine does not know of this kernel.
  Result<std::vector<Refusal>> refusals(const std::string &name);
  /// The same of all functions, called or not; each place once, in the order of the text.
  std::vector<Refusal> allRefusals();

private:
  friend class Machine;
  friend class Decoder;
  Result<Program *> decoded(const std::string &name);

  ModuleSyntax text;
  std::map<std::string, Buffer *> globals;
  std::map<std::string, std::unique_ptr<Program>> programs;
  std::map<std::string, int> functionIndex; // into text.functions
};

class Machine {
public:
  Result<std::unique_ptr<Module>> load(std::string_view text, const std::string &file);
  Status unload(Module &module);
  /// Runs a grid to its end. Fails with what the kernel did wrong: kind, line,
  /// lanes, address.
  Result<Report> launch(const Program &program, const LaunchConfig &config,
                        const LaunchOptions &options);

  Memory memory;
};

/// Bytes of shared memory that a block may have on a target: "sm_86" -> 101376.
int64_t sharedLimitOf(std::string_view target);

/// The address of a function, as the kernels see it.
constexpr uint64_t codeAddress(int function) {
  return (kCodeSlot << kSlotBits) + 16 * (static_cast<uint64_t>(function) + 1);
}

} // namespace heddle::ptx
