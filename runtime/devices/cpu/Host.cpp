// Host detection by CPUID (Intel SDM volume 2A, AMD APM volume 3) and XGETBV: an instruction set
// counts only if the operating system saves its registers (XCR0).
//   Zen 4 -> features {... avx2 avx512f avx512_bf16 ...}, l1 32768, l2 1048576, l3 33554432
#include "runtime/devices/cpu/Host.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace heddle::cpu {
namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// All zero if the processor does not know the leaf.
Registers cpuid(uint32_t leaf, uint32_t sub = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, sub, &r.eax, &r.ebx, &r.ecx, &r.edx))
    return {};
  return r;
}

uint64_t enabledStates() {
  if (!(cpuid(1).ecx & (1u << 27))) // OSXSAVE
    return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Bits of XCR0 that must be set: xmm and ymm; also opmask and zmm; also tile configuration and
// data.
constexpr uint64_t kNoState = 0, kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;

struct FeatureBit {
  const char *name;
  uint32_t leaf, sub;
  char reg;
  int bit;
  uint64_t states;
};
constexpr FeatureBit kFeatures[] = {
    {"ssse3", 1, 0, 'c', 9, kNoState},      {"fma", 1, 0, 'c', 12, kYmm},
    {"sse4_1", 1, 0, 'c', 19, kNoState},    {"sse4_2", 1, 0, 'c', 20, kNoState},
    {"movbe", 1, 0, 'c', 22, kNoState},     {"popcnt", 1, 0, 'c', 23, kNoState},
    {"avx", 1, 0, 'c', 28, kYmm},           {"f16c", 1, 0, 'c', 29, kYmm},
    {"bmi1", 7, 0, 'b', 3, kNoState},       {"avx2", 7, 0, 'b', 5, kYmm},
    {"bmi2", 7, 0, 'b', 8, kNoState},       {"avx512f", 7, 0, 'b', 16, kZmm},
    {"avx512dq", 7, 0, 'b', 17, kZmm},      {"avx512ifma", 7, 0, 'b', 21, kZmm},
    {"avx512cd", 7, 0, 'b', 28, kZmm},      {"avx512bw", 7, 0, 'b', 30, kZmm},
    {"avx512vl", 7, 0, 'b', 31, kZmm},      {"avx512vbmi", 7, 0, 'c', 1, kZmm},
    {"avx512_vbmi2", 7, 0, 'c', 6, kZmm},   {"avx512_vnni", 7, 0, 'c', 11, kZmm},
    {"avx512_bitalg", 7, 0, 'c', 12, kZmm}, {"avx512_vpopcntdq", 7, 0, 'c', 14, kZmm},
    {"amx_bf16", 7, 0, 'd', 22, kTiles},    {"avx512_fp16", 7, 0, 'd', 23, kZmm},
    {"amx_tile", 7, 0, 'd', 24, kTiles},    {"amx_int8", 7, 0, 'd', 25, kTiles},
    {"avx_vnni", 7, 1, 'a', 4, kYmm},       {"avx512_bf16", 7, 1, 'a', 5, kZmm},
    {"amx_fp16", 7, 1, 'a', 21, kTiles},    {"abm", 0x80000001, 0, 'c', 5, kNoState},
};

std::vector<std::string> detectFeatures() {
  const uint64_t states = enabledStates();
  std::vector<std::string> names;
  for (const FeatureBit &feature : kFeatures) {
    if (feature.sub > 0 && cpuid(feature.leaf).eax < feature.sub)
      continue;
    const Registers r = cpuid(feature.leaf, feature.sub);
    const uint32_t value = feature.reg == 'a'   ? r.eax
                           : feature.reg == 'b' ? r.ebx
                           : feature.reg == 'c' ? r.ecx
                                                : r.edx;
    if ((value >> feature.bit & 1) && (states & feature.states) == feature.states)
      names.push_back(feature.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void append(std::string &text, uint32_t word) {
  char bytes[4];
  std::memcpy(bytes, &word, 4);
  text.append(bytes, 4);
}

std::string detectVendor() {
  const Registers r = cpuid(0);
  std::string vendor;
  for (uint32_t word : {r.ebx, r.edx, r.ecx})
    append(vendor, word);
  return vendor;
}

std::string detectModel() {
  std::string model;
  for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
    const Registers r = cpuid(leaf);
    for (uint32_t word : {r.eax, r.ebx, r.ecx, r.edx})
      append(model, word);
  }
  model = model.c_str();
  while (!model.empty() && model.back() == ' ')
    model.pop_back();
  return model.substr(std::min(model.find_first_not_of(' '), model.size()));
}

/// Deterministic cache parameters: leaf 4 (Intel), 0x8000001d (AMD); the same fields in both.
void detectCaches(HostInfo &host) {
  const uint32_t leaf = host.vendor == "AuthenticAMD" ? 0x8000001d : 4;
  for (uint32_t sub = 0; sub < 8; ++sub) {
    const Registers r = cpuid(leaf, sub);
    const uint32_t type = r.eax & 31, level = r.eax >> 5 & 7;
    if (type == 0)
      return;
    const int64_t bytes = int64_t((r.ebx >> 22) + 1) * ((r.ebx >> 12 & 1023) + 1) *
                          ((r.ebx & 4095) + 1) * (int64_t(r.ecx) + 1);
    if (type == 2) // instructions
      continue;
    (level == 1 ? host.l1Bytes : level == 2 ? host.l2Bytes : host.l3Bytes) = bytes;
  }
}

#else

std::vector<std::string> detectFeatures() { return {}; }
std::string detectVendor() { return "unknown"; }
std::string detectModel() { return "unknown"; }
void detectCaches(HostInfo &) {}

#endif

int allowedCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0)
    return 1;
  return std::max(1, CPU_COUNT(&set));
}

} // namespace

bool HostInfo::has(std::string_view feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

std::string HostInfo::facts() const {
  std::string name = model;
  std::replace(name.begin(), name.end(), ';', ' ');
  return fmt::format("vendor {}; model {}; features {}; l1 {}; l2 {}; l3 {}", vendor, name,
                     fmt::join(features, " "), l1Bytes, l2Bytes, l3Bytes);
}

HostInfo detectHost() {
  HostInfo host;
  host.vendor = detectVendor();
  host.model = detectModel();
  host.features = detectFeatures();
  detectCaches(host);
  host.cores = allowedCores();
  return host;
}

Status requestAmx() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18; // Linux arch/x86 prctl.h
#if defined(__x86_64__)
  if (::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0)
    return {};
  const std::string reason = std::system_category().message(errno);
#else
  const std::string reason = "not an x86 processor";
#endif
  return Error{ErrorCode::Unsupported,
               fmt::format("the operating system refuses AMX tiles: {}; choose a schedule without "
                           "them (request {}, {})",
                           reason, kRequestPermission, kTileData)};
}

} // namespace heddle::cpu
