// A small engine: one attention layer decoding token by token over a cache that grows. Kernels are
// found by the shapes it meets; the time of a step never depends on a compiler once they are warm.
//   sample_engine STORE [BUNDLE]    with a bundle: nothing is compiled, nothing is stored
#include <heddle/heddle.hpp>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

namespace api = heddle::api;

constexpr int64_t kHeads = 4, kKeyHeads = 2, kWidth = 32, kCapacity = 40;

/// The same by the definition: softmax of q . k / sqrt(width) over the keys so far.
static double reference(const std::vector<float> &q, const std::vector<float> &k,
                        const std::vector<float> &v, int64_t keys, int64_t head, int64_t column) {
  const int64_t keyHead = head / (kHeads / kKeyHeads);
  double sum = 0, weighted = 0;
  for (int64_t j = 0; j < keys; ++j) {
    const int64_t row = (j * kKeyHeads + keyHead) * kWidth;
    double dot = 0;
    for (int64_t d = 0; d < kWidth; ++d)
      dot += double(q[head * kWidth + d]) * k[row + d];
    const double weight = std::exp(dot / std::sqrt(double(kWidth)));
    sum += weight;
    weighted += weight * v[row + column];
  }
  return weighted / sum;
}

static float noise(uint32_t &state) {
  state = state * 1664525 + 1013904223;
  return float(state >> 8) / float(1 << 24) - 0.5F;
}

static std::vector<float> random(int64_t size, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float &value : values)
    value = noise(seed);
  return values;
}

static int fail(const api::Error &error) {
  std::fprintf(stderr, "%s\n", error.message().c_str());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  std::ifstream file(PATTERNS "/causal_softmax.heddle");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  api::ContextOptions options;
  options.threads = 1;
  options.store_directory = argv[1];
  const char *bundles[] = {argc > 2 ? argv[2] : nullptr};
  if (argc > 2) {
    options.bundles = bundles;
    options.bundle_count = 1;
    options.flags = HEDDLE_NO_STORE | HEDDLE_NO_COMPILE;
  }
  api::Result<api::Context> context = api::Context::create(options);
  if (!context)
    return fail(context.error());
  api::Result<api::Pattern> pattern = context->pattern(text);
  if (!pattern)
    return fail(pattern.error());

  std::vector<float> q = random(kHeads * kWidth, 1);
  std::vector<float> k = random(kCapacity * kKeyHeads * kWidth, 2), v = random(k.size(), 3);
  std::vector<float> o(q.size()), lse(kHeads);
  api::Workspace workspace;
  double worst = 0;
  for (int64_t keys = 1; keys <= kCapacity; ++keys) {
    const heddle_tensor tensors[] = {
        api::dense(q.data(), HEDDLE_F32, {1, 1, kHeads, kWidth}),
        api::dense(k.data(), HEDDLE_F32, {1, keys, kKeyHeads, kWidth}),
        api::dense(v.data(), HEDDLE_F32, {1, keys, kKeyHeads, kWidth}),
        api::dense(o.data(), HEDDLE_F32, {1, 1, kHeads, kWidth}),
        api::dense(lse.data(), HEDDLE_F32, {1, 1, kHeads}),
    };
    // std::vector gives no 64-byte rows. Any class of lengths will do: one kernel serves all steps.
    api::Result<api::Kernel> kernel = pattern->kernel(tensors);
    if (!kernel)
      return fail(kernel.error());
    const api::Status done = kernel->launch(tensors, {}, workspace);
    if (!done)
      return fail(done.error());
    for (int64_t head = 0; head < kHeads; ++head)
      for (int64_t d = 0; d < kWidth; ++d)
        worst =
            std::max(worst, std::fabs(o[head * kWidth + d] - reference(q, k, v, keys, head, d)));
  }
  std::printf("%lld steps with heddle %s, worst error %.1e\n", (long long)kCapacity,
              heddle_version_string(), worst);
  return worst < 1e-5 ? 0 : 1;
}
