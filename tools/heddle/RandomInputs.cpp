// Counter-based random numbers (a value depends on seed and place alone), shaped by value rules
// and, where a pattern decodes what it reads, by names, so that scores are as large as trained
// ones: with scales far from those a softmax is a maximum, and its error says nothing.
//   offsets of 3 sequences over 100 tokens -> 0, 41, 41, 100 (one of them may be empty)
#include "tools/heddle/RandomInputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heddle::tool {
namespace {

uint64_t scramble(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t bitsAt(uint64_t seed, uint64_t index) { return scramble(scramble(seed) ^ index); }

double normalAt(uint64_t seed, uint64_t index) {
  uint64_t bits = bitsAt(seed, index);
  double u = static_cast<double>((bits >> 32) + 1) * 0x1p-32;
  double v = static_cast<double>(bits & 0xffffffff) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

class Filler {
public:
  Filler(HostTensor &tensor, uint64_t seed) : tensor(tensor), seed(seed) {}

  /// Each element from its place and its index in the last dimension.
  template <typename F> void each(F value) {
    int64_t last = std::max<int64_t>(1, tensor.shape().empty() ? 1 : tensor.shape().back());
    for (int64_t n = 0; n < tensor.elements(); ++n)
      storeElement(tensor.dtype(), tensor.data(), n, value(n, n % last));
  }

  int64_t below(int64_t n, int64_t limit) const {
    return limit <= 0 ? 0 : static_cast<int64_t>(bitsAt(seed, n) % static_cast<uint64_t>(limit));
  }

  void offsets(int64_t limit) {
    std::vector<int64_t> cuts{0};
    for (int64_t n = 1; n + 1 < tensor.elements(); ++n)
      cuts.push_back(below(n, limit + 1));
    std::sort(cuts.begin(), cuts.end());
    cuts.push_back(limit);
    each([&](int64_t n, int64_t) { return static_cast<double>(cuts[n]); });
  }

  /// Runs of about 100 numbers, each run the place where it begins: starts of documents.
  void starts() {
    int64_t start = 0;
    each([&](int64_t n, int64_t at) {
      start = at == 0 || below(n, 100) == 0 ? at : start;
      return static_cast<double>(start);
    });
  }

  /// Rising lists with -1 at the end of some.
  void lists(int64_t limit) {
    int64_t width = std::max<int64_t>(1, tensor.shape().back());
    for (int64_t row = 0; row * width < tensor.elements(); ++row) {
      int64_t count = std::min(width - below(row, 2), limit), at = 0;
      for (int64_t n = 0; n < width; ++n) {
        int64_t room = limit - at - (count - n);
        if (n < count)
          at +=
              below(row * width + n, std::max<int64_t>(1, 2 * room / std::max<int64_t>(1, count)));
        at = std::min(at, std::max<int64_t>(0, limit - (count - n)));
        storeElement(tensor.dtype(), tensor.data(), row * width + n,
                     n < count ? static_cast<double>(at++) : -1);
      }
    }
  }

private:
  HostTensor &tensor;
  uint64_t seed;
};

/// Lengths: uneven, but not beyond what the table of pages (if there is one) has room for.
int64_t mostKeys(const Signature &signature, const std::vector<HostTensor> &tensors, size_t index) {
  for (const ValueRule &rule : signature.valueRules) {
    if (rule.kind != ValueRule::Pages || rule.lengths != static_cast<int32_t>(index))
      continue;
    const std::vector<int64_t> table = tensors[rule.tensor].shape();
    int64_t sequences = std::max<int64_t>(1, tensors[index].elements());
    int64_t pages = rule.starts < 0 ? table.back() : table[0] / sequences;
    return pages * tensors[rule.limitOf].shape()[rule.slotDim];
  }
  for (size_t n = 0; n < tensors.size(); ++n) // a ring: as many keys as it has slots, and more
    if (signature.tensors[n].name == "k")
      return 2 * tensors[n].shape()[1];
  return 0;
}

const HostTensor *find(const Signature &signature, const std::vector<HostTensor> &tensors,
                       const std::string &name) {
  for (size_t n = 0; n < tensors.size(); ++n)
    if (signature.tensors[n].name == name)
      return &tensors[n];
  return nullptr;
}

/// Scales, zero points, code numbers, signs: names of the library's codecs. Whether it is
/// one.
bool fillCodec(Filler &fill, const Signature &signature, const std::vector<HostTensor> &tensors,
               size_t index, uint64_t own) {
  const std::string &name = signature.tensors[index].name;
  const std::vector<int64_t> shape = tensors[index].shape();
  const size_t cut = name.rfind('_');
  const std::string of = name.substr(0, cut), kind = cut == name.npos ? "" : name.substr(cut + 1);
  if (kind == "scale" || kind == "norm" || kind == "gamma") {
    const HostTensor *codes = find(signature, tensors, of);
    // The spread of what they multiply: int8, nibbles less their zero point, or numbers of about 1.
    const double spread = !codes                        ? 1
                          : codes->dtype() == DType::I8 ? 73
                          : codes->dtype() == DType::U8 ? 6
                                                        : 1;
    fill.each([&](int64_t n, int64_t) {
      return (0.5 + static_cast<double>(fill.below(n, 1 << 20)) * 0x1p-20) / spread;
    });
    return true;
  }
  const HostTensor *book = find(signature, tensors, of + "_book");
  if (kind == "zero")
    fill.each([&](int64_t n, int64_t) { return static_cast<double>(fill.below(n, 16)); });
  else if (kind == "code" && book)
    fill.each(
        [&](int64_t n, int64_t) { return static_cast<double>(fill.below(n, book->shape()[0])); });
  else if (kind == "sign")
    fill.each([&](int64_t n, int64_t) { return fill.below(n, 2) ? 1.0 : -1.0; });
  else
    return false;
  return true;
}

bool decodes(const Signature &signature, const std::vector<HostTensor> &tensors) {
  for (size_t n = 0; n < tensors.size(); ++n)
    if (const std::string &name = signature.tensors[n].name;
        name.starts_with("k_scale") || name.ends_with("_book"))
      return true;
  return false;
}

} // namespace

Status fillRandom(const Signature &signature, std::vector<HostTensor> &tensors, size_t index,
                  uint64_t seed) {
  HostTensor &tensor = tensors[index];
  Filler fill(tensor, seed * 1000003 + index);
  uint64_t own = seed * 1000003 + index;
  std::vector<TensorView> views;
  for (const HostTensor &each : tensors)
    views.push_back(each.view());
  for (const ValueRule &rule : signature.valueRules) {
    if (rule.kind == ValueRule::Pages && rule.starts == static_cast<int32_t>(index)) {
      int64_t pages = views[rule.tensor].shape[0] / std::max<int64_t>(1, tensor.elements());
      fill.each([&](int64_t n, int64_t) { return static_cast<double>(n * pages); });
      return {};
    }
    const bool isEmpty =
        (rule.kind == ValueRule::NotNegative || rule.kind == ValueRule::Segments) &&
        rule.lengths >= 0 &&
        (rule.tensor == static_cast<int32_t>(index) || rule.limitOf == static_cast<int32_t>(index));
    if (isEmpty) { // no token so far, and a bank without states
      fill.each([](int64_t, int64_t) { return 0.0; });
      return {};
    }
    if (rule.tensor != static_cast<int32_t>(index))
      continue;
    const int64_t limit = limitOf(rule, views);
    switch (rule.kind) {
    case ValueRule::Offsets:
      fill.offsets(limit);
      return {};
    case ValueRule::NotNegative: {
      const int64_t most = mostKeys(signature, tensors, index);
      fill.each([&](int64_t n, int64_t) {
        return static_cast<double>(most - fill.below(n, most / 4 + 1));
      });
      return {};
    }
    case ValueRule::Pages: // a page may serve several sequences: prefixes are shared
      fill.each([&](int64_t n, int64_t) { return static_cast<double>((n * 7 + 3) % limit); });
      return {};
    case ValueRule::Parents:
      fill.each([&](int64_t n, int64_t node) {
        return static_cast<double>(node - 1 - fill.below(n, std::min<int64_t>(node + 1, 3)));
      });
      return {};
    case ValueRule::Ascending:
      fill.starts();
      return {};
    case ValueRule::List:
      fill.lists(limit);
      return {};
    case ValueRule::LogDecay:
      fill.each([&](int64_t n, int64_t) { return -0.1 * std::fabs(normalAt(own, n)); });
      return {};
    case ValueRule::Rate: {
      const double most =
          rule.limitOf < 0 ? 1 : 1 / static_cast<double>(std::max<int64_t>(1, limit));
      fill.each([&](int64_t n, int64_t) {
        return most * static_cast<double>(fill.below(n, 1 << 20)) * 0x1p-20;
      });
      return {};
    }
    case ValueRule::Segments:
    case ValueRule::Mask:
      fill.each([&](int64_t n, int64_t) { return static_cast<double>(fill.below(n, 2)); });
      return {};
    case ValueRule::Weight: { // keeps lengths, about
      const double spread = std::sqrt(static_cast<double>(std::max<int64_t>(1, limit)));
      fill.each([&](int64_t n, int64_t) { return normalAt(own, n) / spread; });
      return {};
    }
    }
  }
  if (decodes(signature, tensors) && fillCodec(fill, signature, tensors, index, own))
    return {};
  if (isFloat(tensor.dtype())) {
    const bool bound = signature.tensors[index].name == "lb"; // of gates, from below: in [0, 1)
    fill.each([&](int64_t n, int64_t) {
      return bound ? static_cast<double>(fill.below(n, 256)) / 256 : normalAt(own, n);
    });
    return {};
  }
  if (tensor.dtype() != DType::I8 && tensor.dtype() != DType::U8)
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("input '{}' holds integers whose meaning the pattern does not say: "
                             "give it by --input {}=FILE",
                             signature.tensors[index].name, signature.tensors[index].name)};
  const double shift = tensor.dtype() == DType::I8 ? 127 : 0;
  fill.each([&](int64_t n, int64_t) { return static_cast<double>(fill.below(n, 255)) - shift; });
  return {};
}

} // namespace heddle::tool
