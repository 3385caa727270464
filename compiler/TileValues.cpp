// Value ops on tiles of double, each by its definition: loops over coordinates, no blocking.
//   multiply Q[i, d] K[j, d] into S[i, j]:   S[i, j] += Q[i, d] * K[j, d] over all (i, j) x (d)
#include "compiler/TileValues.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace heddle::compiler {
namespace {

/// A tile's lines along `dim`: line n of `outer * inner` starts at start(n) and steps by `inner`.
struct Lines {
  int64_t outer = 1, length = 1, inner = 1;
  Lines(const Extents &extents, int64_t dim) : length(extents[dim]) {
    for (int64_t d = 0; d < static_cast<int64_t>(extents.size()); ++d)
      (d < dim ? outer : d > dim ? inner : length) *= d == dim ? 1 : extents[d];
  }
  int64_t count() const { return outer * inner; }
  int64_t start(int64_t line) const { return line / inner * length * inner + line % inner; }
};

} // namespace

int64_t elementCount(const Extents &extents) {
  return std::accumulate(extents.begin(), extents.end(), int64_t(1), std::multiplies<>());
}

Extents rowMajorStrides(const Extents &extents) {
  Extents strides(extents.size(), 1);
  for (int64_t d = static_cast<int64_t>(extents.size()) - 2; d >= 0; --d)
    strides[d] = strides[d + 1] * extents[d + 1];
  return strides;
}

std::vector<int64_t> offsetsOf(const Extents &extents, const Extents &strides) {
  std::vector<int64_t> offsets = {0};
  for (size_t d = 0; d < extents.size(); ++d) {
    std::vector<int64_t> longer;
    longer.reserve(offsets.size() * extents[d]);
    for (int64_t offset : offsets)
      for (int64_t c = 0; c < extents[d]; ++c)
        longer.push_back(offset + c * strides[d]);
    offsets = std::move(longer);
  }
  return offsets;
}

Extents stridesAlong(const Extents &tile, const std::vector<int64_t> &positions, int64_t count) {
  assert(tile.size() == positions.size() && "a tile needs a position for each dimension");
  Extents strides(count, 0), own = rowMajorStrides(tile);
  for (size_t d = 0; d < tile.size(); ++d)
    strides[positions[d]] = own[d];
  return strides;
}

HostTile multiply(const HostTile &a, const std::vector<int64_t> &aPositions, const HostTile &b,
                  const std::vector<int64_t> &bPositions, const HostTile &c,
                  const Extents &extents) {
  int64_t dims = extents.size(), kept = c.extents.size();
  Extents aStrides = stridesAlong(a.extents, aPositions, dims);
  Extents bStrides = stridesAlong(b.extents, bPositions, dims);
  auto split = [&](const Extents &list, bool contracted) {
    return contracted ? Extents(list.begin() + kept, list.end())
                      : Extents(list.begin(), list.begin() + kept);
  };
  std::vector<int64_t> aKept = offsetsOf(c.extents, split(aStrides, false));
  std::vector<int64_t> bKept = offsetsOf(c.extents, split(bStrides, false));
  std::vector<int64_t> aSummed = offsetsOf(split(extents, true), split(aStrides, true));
  std::vector<int64_t> bSummed = offsetsOf(split(extents, true), split(bStrides, true));
  HostTile result = c;
  for (size_t n = 0; n < result.elements.size(); ++n) {
    double sum = 0;
    for (size_t k = 0; k < aSummed.size(); ++k)
      sum += a.elements[aKept[n] + aSummed[k]] * b.elements[bKept[n] + bSummed[k]];
    result.elements[n] += sum;
  }
  return result;
}

HostTile reduce(const HostTile &tile, int64_t dim, const HostTile &init,
                const std::function<double(double, double)> &combine) {
  Lines lines(tile.extents, dim);
  HostTile result = init;
  // Shares of a kept dimension are dealt out in turn.
  bool shares = init.extents.size() == tile.extents.size();
  std::vector<int64_t> kept = tile.extents;
  kept[dim] = shares ? init.extents[dim] : 1;
  Lines places(kept, dim);
  for (int64_t line = 0; line < lines.count(); ++line)
    for (int64_t n = 0; n < lines.length; ++n) {
      double &place = result.elements[places.start(line) + n % kept[dim] * places.inner];
      place = combine(place, tile.elements[lines.start(line) + n * lines.inner]);
    }
  return result;
}

HostTile scan(const HostTile &tile, int64_t dim, bool exclusive, bool reverse, double neutral,
              const std::function<double(double, double)> &combine) {
  Lines lines(tile.extents, dim);
  HostTile result = tile;
  for (int64_t line = 0; line < lines.count(); ++line) {
    double running = neutral;
    for (int64_t n = 0; n < lines.length; ++n) {
      int64_t place = reverse ? lines.length - 1 - n : n;
      double &element = result.elements[lines.start(line) + place * lines.inner];
      double next = combine(running, element);
      element = exclusive ? running : next;
      running = next;
    }
  }
  return result;
}

HostTile solveUnitLower(const HostTile &lower, const HostTile &rhs) {
  int64_t rows = rhs.extents[0], columns = rhs.extents[1];
  HostTile x = rhs;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < i; ++j)
      for (int64_t c = 0; c < columns; ++c)
        x.elements[i * columns + c] -= lower.elements[i * rows + j] * x.elements[j * columns + c];
  return x;
}

void mergeTopk(const HostTile &score, const HostTile &id, HostTile &bestScore, HostTile &bestId) {
  int64_t rows = score.extents[0], candidates = score.extents[1], k = bestScore.extents[1];
  bool shared = id.extents.size() == 1;
  struct Candidate {
    double score, id;
    size_t place;
  };
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<Candidate> all;
    auto offer = [&](double value, double number) {
      if (value > -std::numeric_limits<double>::infinity() && number >= 0)
        all.push_back({value, number, all.size()});
    };
    for (int64_t n = 0; n < k; ++n)
      offer(bestScore.elements[row * k + n], bestId.elements[row * k + n]);
    for (int64_t n = 0; n < candidates; ++n)
      offer(score.elements[row * candidates + n], id.elements[(shared ? 0 : row * candidates) + n]);
    std::sort(all.begin(), all.end(), [](const Candidate &a, const Candidate &b) {
      return a.score != b.score ? a.score > b.score : a.id < b.id;
    });
    all.resize(std::min<size_t>(all.size(), k));
    std::sort(all.begin(), all.end(),
              [](const Candidate &a, const Candidate &b) { return a.place < b.place; });
    all.resize(k, {-std::numeric_limits<double>::infinity(), -1, 0});
    for (int64_t n = 0; n < k; ++n) {
      bestScore.elements[row * k + n] = all[n].score;
      bestId.elements[row * k + n] = all[n].id;
    }
  }
}

HostTile sortIds(const HostTile &ids) {
  HostTile result = ids;
  int64_t length = ids.extents.back();
  for (auto row = result.elements.begin(); row != result.elements.end(); row += length)
    std::sort(row, row + length,
              [](double a, double b) { return (a < 0) != (b < 0) ? b < 0 : a < b; });
  return result;
}

HostTile slice(const HostTile &tile, const std::vector<int64_t> &offsets, const Extents &extents) {
  Extents strides = rowMajorStrides(tile.extents);
  int64_t first = 0;
  for (size_t d = 0; d < offsets.size(); ++d)
    first += offsets[d] * strides[d];
  HostTile result = {extents, {}};
  for (int64_t offset : offsetsOf(extents, strides))
    result.elements.push_back(tile.elements[first + offset]);
  return result;
}

HostTile reshape(const HostTile &tile, const std::vector<int64_t> &permute,
                 const Extents &extents) {
  if (permute.empty())
    return {extents, tile.elements};
  Extents strides = rowMajorStrides(tile.extents), permuted, permutedStrides;
  for (int64_t dim : permute) {
    permuted.push_back(tile.extents[dim]);
    permutedStrides.push_back(strides[dim]);
  }
  HostTile result = {extents, {}};
  for (int64_t offset : offsetsOf(permuted, permutedStrides))
    result.elements.push_back(tile.elements[offset]);
  return result;
}

HostTile decode(const HostTile &codes, int64_t bits, bool isSigned, const HostTile *scale,
                const HostTile *zero, const HostTile *table) {
  int64_t perByte = 8 / bits;
  HostTile result = {codes.extents, {}};
  result.extents.back() *= perByte;
  for (double byte : codes.elements)
    for (int64_t n = 0; n < perByte; ++n) {
      int64_t all = static_cast<int64_t>(byte) & 255;
      int64_t code = (all >> (n * bits)) & ((1 << bits) - 1);
      if (isSigned && code >= 128)
        code -= 256;
      bool known = !table || code < static_cast<int64_t>(table->elements.size());
      result.elements.push_back(!known  ? kUnspecifiedReal
                                : table ? table->elements[code]
                                        : static_cast<double>(code));
    }
  // Parameters repeat over groups: stride 0 inside a group.
  auto spread = [&](const HostTile &parameter) {
    Extents shape, strides, own = rowMajorStrides(parameter.extents);
    for (size_t d = 0; d < own.size(); ++d) {
      int64_t group = result.extents[d] / parameter.extents[d];
      shape.insert(shape.end(), {parameter.extents[d], group});
      strides.insert(strides.end(), {own[d], 0});
    }
    return offsetsOf(shape, strides);
  };
  if (zero) {
    std::vector<int64_t> places = spread(*zero);
    for (size_t n = 0; n < places.size(); ++n)
      result.elements[n] -= zero->elements[places[n]];
  }
  if (scale) {
    std::vector<int64_t> places = spread(*scale);
    for (size_t n = 0; n < places.size(); ++n)
      result.elements[n] *= scale->elements[places[n]];
  }
  return result;
}

} // namespace heddle::compiler
