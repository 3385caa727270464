// Prices of forms. Sizes of linear attention, K = V = 64, causal, in units a token:
//   attention  T/2 pairs x (K + V + weight)      2048 tokens: 150,000
//   chunked    C x (K + V) + 2 K V + per chunk   C = 64: 20,000
//   recurrent  passes over the state: 8 K V      38,000
// The prices of passes, weights and launches were fitted to measured kernels with AVX-512.
#include "compiler/forms/FormCost.h"

#include <algorithm>
#include <cmath>

namespace heddle::compiler {
namespace {

constexpr double kPass = 4;         ///< one read, or one write, of an element of the state
constexpr double kToken = 1500;     ///< loads, sums and stores of a token walked alone
constexpr double kChunk = 12000;    ///< the same of a chunk, with its factors
constexpr double kFeature = 90;     ///< a token's power feature, of its query and of its key
constexpr double kWeight = 6;       ///< mask and sum of a pair
constexpr double kDecay = 14;       ///< exponential of a pair's decay
constexpr double kFeatureDecay = 9; ///< the same, a feature of a pair
constexpr double kUnit = 0.15;      ///< a multiply-add of the matrix unit
constexpr double kUnitWeight = 12;  ///< mask and sum of a pair whose product went through memory
constexpr double kTie = 1.1;        ///< of chunks about as good the longest: fewer, larger products
constexpr double kLaunch = 60000;   ///< a further launch: maps and prefix sums before pairs

double recurrent(const MixSizes &m, double length) {
  double passes = m.solves ? 4 : 3; // decay and write, read of the old value, read
  return length * (kToken + kPass * passes * m.features * m.value);
}

double chunked(const MixSizes &m, double length, double C) {
  double F = m.features, V = m.value, P = m.pairFeatures;
  bool apart = m.decay == StateDecay::Feature;
  // Chunks of whole tiles; powers are made in blocks narrower than what the unit sums.
  bool unit = m.unit && static_cast<int64_t>(C) % 32 == 0 && m.features == m.pairFeatures;
  double product = unit ? kUnit : 1, passes = unit ? 3 : 2;
  double pair = (apart ? kFeatureDecay * P : product * P) + product * V +
                (unit ? kUnitWeight : kWeight) + (m.decays ? kDecay : 0);
  double pairs = C * C * pair;
  double state = product * 2 * C * F * V + passes * kPass * F * V;
  if (m.solves)
    pairs *= 2, state += product * C * F * V;
  if (F != P)
    state += C * F * kFeature;
  return std::ceil(length / C) * (kChunk + pairs + state);
}

double attention(const MixSizes &m, double length) {
  double keys = (length + 1) / 2; // of a row
  if (m.listed > 0)
    keys = std::min<double>(keys, m.listed);
  double products = (m.unit ? kUnit : 1) * (m.key + m.value) + (m.unit ? kUnitWeight : kWeight);
  double pairs = length * keys * (products + (m.decays ? kDecay : 0));
  double states = (m.givesState + m.takesState) * kPass * (length + 1) * m.key * m.value;
  return pairs + states + (m.decays || m.givesState ? kLaunch : 0);
}

} // namespace

MixSizes sizesOf(const ScanProblem &scan) {
  // A power of a product needs no features where pairs are weighed.
  int64_t pairFeatures = scan.polynomial.degree ? scan.D : scan.features;
  MixSizes m{scan.D, scan.Dv, scan.features, pairFeatures, scan.decay};
  m.decays = scan.decay != StateDecay::None;
  pattern::UpdateKind update = scan.op().getUpdate();
  m.solves = update != pattern::UpdateKind::add;
  m.givesState = scan.result("state");
  m.takesState = scan.input("in_state");
  return m;
}

MixSizes sizesOf(const MixProblem &pairs) {
  MixSizes m{pairs.D, pairs.Dv, 0, pairs.D};
  pattern::MixOp mix = pairs.mix;
  m.decays = mix.getWeight() == pattern::WeightKind::exp; // an exponential a pair
  m.listed = pairs.listed;
  return m;
}

Result<std::vector<MixSizes>> mixSizes(const FormRequest &request) {
  HEDDLE_TRY(graph, readGraph(request, MixAs::Steps));
  std::vector<MixSizes> sizes;
  for (const Stage &stage : graph.stages)
    if (auto scan = std::get_if<ScanProblem>(&stage))
      sizes.push_back(sizesOf(*scan));
    else if (auto pairs = std::get_if<MixProblem>(&stage))
      sizes.push_back(sizesOf(*pairs));
  for (MixSizes &m : sizes)
    m.unit = hasMatrixUnit(request.request);
  return sizes;
}

bool hasMatrixUnit(const Request &request) {
  auto all = request.dtypes.find("*");
  return request.target == "cpu" && all != request.dtypes.end() && all->second == DType::BF16 &&
         llvm::StringRef(request.deviceFacts).contains("amx_bf16");
}

int64_t bestChunk(const MixSizes &sizes, int64_t length) {
  constexpr int64_t kChunks[] = {16, 32, 64, 128};
  double least = chunked(sizes, length, kChunks[0]);
  for (int64_t chunk : kChunks)
    least = std::min(least, chunked(sizes, length, chunk));
  int64_t best = kChunks[0];
  for (int64_t chunk : kChunks)
    if (chunked(sizes, length, chunk) <= kTie * least)
      best = chunk;
  return best;
}

std::optional<double> estimatedUnits(llvm::StringRef form, llvm::ArrayRef<MixSizes> mixes,
                                     int64_t length) {
  double units = 0;
  for (const MixSizes &m : mixes) {
    if (form == "attention" || m.features == 0)
      units += attention(m, length);
    else if (form == "recurrent")
      units += recurrent(m, length);
    else if (form == "chunked")
      units += chunked(m, length, bestChunk(m, length));
    else
      return std::nullopt;
  }
  return units;
}

int64_t nominalLength(const Request &request) {
  constexpr int64_t kLengths[] = {1, 16, 64, 2048, 16384};
  auto length = request.extents.find("T");
  return kLengths[length == request.extents.end() ? ExtentClass::Any : length->second.bound];
}

} // namespace heddle::compiler
