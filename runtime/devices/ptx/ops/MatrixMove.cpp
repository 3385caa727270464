// ldmatrix, stmatrix, movmatrix: 8x8 matrices of 16 bits between shared memory and fragments.
//   plain: lane t holds row t/4, columns 2(t%4) and 2(t%4)+1;  .trans: the transpose of that
// Row r of matrix j (16 bytes) is at the address that lane 8j + r gives.
#include "runtime/devices/ptx/ops/Lanes.h"

#include <bit>
#include <cstring>

namespace heddle::ptx {

namespace {

struct Matrix {
  uint16_t at[8][8];
};

uint32_t fragment(const Matrix &m, int lane, bool transposed) {
  const int g = lane >> 2, c = 2 * (lane & 3);
  const uint32_t low = transposed ? m.at[c][g] : m.at[g][c];
  const uint32_t high = transposed ? m.at[c + 1][g] : m.at[g][c + 1];
  return low | high << 16;
}

void setFragment(Matrix &m, int lane, bool transposed, uint32_t value) {
  const int g = lane >> 2, c = 2 * (lane & 3);
  (transposed ? m.at[c][g] : m.at[g][c]) = static_cast<uint16_t>(value);
  (transposed ? m.at[c + 1][g] : m.at[g][c + 1]) = static_cast<uint16_t>(value >> 16);
}

uint32_t addressLanes(int matrices) {
  return matrices == 4 ? kAllLanes : (uint32_t{1} << (8 * matrices)) - 1;
}

using S8 = uint16_t __attribute__((vector_size(16), aligned(2)));
using U8 = uint32_t __attribute__((vector_size(32)));

/// Columns 2i and 2i + 1 of four rows of pairs: {z[0][2i], .., z[3][2i], z[0][2i + 1], ..}.
template <int i> U8 twoColumns(const U8 *z) {
  const U8 front =
      __builtin_shufflevector(z[0], z[1], 2 * i, 8 + 2 * i, -1, -1, 2 * i + 1, 9 + 2 * i, -1, -1);
  const U8 back =
      __builtin_shufflevector(z[2], z[3], 2 * i, 8 + 2 * i, -1, -1, 2 * i + 1, 9 + 2 * i, -1, -1);
  return __builtin_shufflevector(front, back, 0, 1, 8, 9, 4, 5, 12, 13);
}

/// Fragments of the transpose of the matrix whose rows are at `rows`.
void loadTransposed(std::byte *const *rows, uint32_t *fragments) {
  U8 pairs[4]; // [q][g]: elements g of rows 2q and 2q + 1
  for (int q = 0; q < 4; ++q) {
    S8 even, odd;
    std::memcpy(&even, rows[2 * q], 16);
    std::memcpy(&odd, rows[2 * q + 1], 16);
    pairs[q] = std::bit_cast<U8>(
        __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  }
  U8 *to = reinterpret_cast<U8 *>(fragments);
  to[0] = twoColumns<0>(pairs);
  to[1] = twoColumns<1>(pairs);
  to[2] = twoColumns<2>(pairs);
  to[3] = twoColumns<3>(pairs);
}

void loadMatrices(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  if (!w.needAllLanes(i, mask) || !w.resolve(i, addressLanes(i.count), 16, Warp::Access::Read, at))
    return;
  for (int j = 0; j < i.count; ++j) {
    uint32_t *d = w.dst<uint32_t>(i.ops[j]);
    if (i.variant)
      loadTransposed(at.host + 8 * j, d);
    else // lane t's two elements are the t-th pair of the matrix
      for (int r = 0; r < 8; ++r)
        std::memcpy(d + 4 * r, at.host[8 * j + r], 16);
  }
}

void storeMatrices(Warp &w, const Inst &i, uint32_t mask) {
  Warp::Addresses at;
  if (!w.needAllLanes(i, mask) || !w.resolve(i, addressLanes(i.count), 16, Warp::Access::Write, at))
    return;
  for (int j = 0; j < i.count; ++j) {
    const uint32_t *a = w.src<uint32_t>(i.ops[1 + j]);
    Matrix m;
    for (int l = 0; l < kLanes; ++l)
      setFragment(m, l, i.variant, a[l]);
    for (int r = 0; r < 8; ++r)
      std::memcpy(at.host[8 * j + r], m.at[r], 16);
  }
}

void transposeMatrix(Warp &w, const Inst &i, uint32_t mask) {
  if (!w.needAllLanes(i, mask))
    return;
  Matrix m;
  const uint32_t *a = w.src<uint32_t>(i.ops[1]);
  std::memcpy(m.at, a, sizeof(m));
  uint32_t *d = w.dst<uint32_t>(i.ops[0]);
  for (int l = 0; l < kLanes; ++l)
    d[l] = fragment(m, l, true);
}

bool takeAligned(Decoder &d) {
  const bool sync = d.take("sync"), aligned = d.take("aligned");
  d.inst.kind = Class::MatrixMove;
  return sync && aligned;
}

bool takeShape(Decoder &d) {
  constexpr int kCounts[] = {1, 2, 4};
  const bool shape = d.take("m8n8");
  const int count = d.takeOneOf({"x1", "x2", "x4"});
  d.inst.variant = d.take("trans");
  if (!(d.take("shared") || d.take("shared::cta")))
    d.inst.space = Space::Generic;
  else
    d.inst.space = Space::Shared;
  if (!shape || count < 0 || d.takeType() != Type::B16)
    return d.refuse("only .m8n8 with .x1, .x2 or .x4 and .b16 is supported");
  d.inst.count = static_cast<uint8_t>(kCounts[count]);
  return true;
}

bool decodeLoad(Decoder &d) {
  if (!takeAligned(d) || !takeShape(d) || !d.expectOperands(2, 2))
    return d.refuse("expected ldmatrix.sync.aligned.m8n8.<count>.shared.b16 {..}, [a]");
  d.inst.run = &loadMatrices;
  const Space space = d.inst.space;
  return d.results(0, Type::B32, d.inst.count) && d.address(1, space);
}

bool decodeStore(Decoder &d) {
  if (!takeAligned(d) || !takeShape(d) || !d.expectOperands(2, 2))
    return d.refuse("expected stmatrix.sync.aligned.m8n8.<count>.shared.b16 [a], {..}");
  d.inst.run = &storeMatrices;
  const Space space = d.inst.space;
  return d.address(0, space) && d.sources(1, Type::B32, d.inst.count);
}

bool decodeMove(Decoder &d) {
  if (!takeAligned(d) || !d.take("m8n8") || !d.take("trans") || d.takeType() != Type::B16 ||
      !d.expectOperands(2, 2))
    return d.refuse("expected movmatrix.sync.aligned.m8n8.trans.b16 d, a");
  d.inst.run = &transposeMatrix;
  return d.result(0, Type::B32) && d.source(1, Type::B32);
}

constexpr Opcode kOpcodes[] = {
    {"ldmatrix", decodeLoad}, {"stmatrix", decodeStore}, {"movmatrix", decodeMove}};

} // namespace

std::span<const Opcode> matrixMoveOpcodes() { return kOpcodes; }

} // namespace heddle::ptx
