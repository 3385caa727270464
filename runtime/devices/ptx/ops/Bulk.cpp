// cp.async.bulk and cp.reduce.async.bulk, with tensor maps or without: an issue is turned into
// pieces of memory that move; Cluster says when.
//   tile of a tensor map -> rows of the box -> 16-byte chunks where a swizzle moves them
// Elements beyond the tensor are filled on the way in and left out on the way back; the mbarrier
// hears of all bytes of the box either way.
#include "runtime/devices/ptx/Cluster.h"
#include "runtime/devices/ptx/Observer.h"
#include "runtime/devices/ptx/ops/Lanes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

using Kind = BulkCopy::Kind;

/// How the operands of an issue lie in Inst::ops, each after the one before it.
enum : uint8_t { Tensor = 1, Multicast = 2, LoadsGlobal = 4 }; // Inst::extra

/// The address that a lane gives in operand `at`, with a constant offset.
uint64_t addressOf(const Warp &w, const Operand &o, int l, int64_t offset) {
  return w.lane(o, l) + static_cast<uint64_t>(offset);
}

struct Issue {
  Warp &w;
  const Inst &i;
  int lane;
  BulkCopy copy;

  bool fail(std::string message) {
    w.fail(i, uint32_t{1} << lane, std::move(message));
    return false;
  }
  std::byte *shared(uint64_t address, int64_t bytes, int align, Warp::Access access) {
    return w.resolveOne(i, lane, Space::Shared, address, static_cast<int>(bytes), align, access);
  }
  bool signal(uint64_t address, int64_t bytes) {
    std::byte *host = w.resolveOne(i, lane, Space::Shared, address, 8, 8, Warp::Access::Atomic);
    const auto at = host ? w.block->cluster.sharedOffset(host) : std::nullopt;
    if (!at)
      return false;
    Block &block = w.block->cluster.blockAt(*at);
    const uint32_t offset = static_cast<uint32_t>(host - block.shared);
    if (!block.findMbarrier(w, i, lane, offset))
      return false;
    copy.signals.push_back({&block, offset, bytes});
    return true;
  }
  bool multicast(uint32_t ranks);
  bool tile(const TensorMap &map, const int32_t *at, uint64_t sharedAddress, std::byte *sharedHost);
  bool row(const TensorMap &map, int64_t first, uint64_t global, bool inside,
           uint64_t sharedAddress, std::byte *sharedHost, uint64_t offset);
  bool piece(const TensorMap &map, std::byte *inShared, uint64_t global, uint32_t bytes,
             bool inside);
};

/// The same into the blocks of the mask, at the same places of their shared memory.
bool Issue::multicast(uint32_t ranks) {
  Cluster &cluster = w.block->cluster;
  if (ranks == 0 || ranks >> cluster.blocks.size())
    return fail(
        fmt::format("multicast to blocks {:#x} of a cluster of {}", ranks, cluster.blocks.size()));
  const std::vector<BulkCopy::Piece> pieces = std::move(copy.pieces);
  const std::vector<BulkCopy::Signal> signals = std::move(copy.signals);
  copy.pieces.clear();
  copy.signals.clear();
  for (uint32_t rest = ranks; rest; rest &= rest - 1) {
    Block &block = *cluster.blocks[static_cast<size_t>(std::countr_zero(rest))];
    for (BulkCopy::Piece piece : pieces) {
      const Block &from = cluster.blockAt(*cluster.sharedOffset(piece.to));
      piece.to = block.shared + (piece.to - from.shared);
      copy.pieces.push_back(piece);
    }
    for (BulkCopy::Signal signal : signals) {
      signal.block = &block;
      if (!block.findMbarrier(w, i, lane, signal.offset))
        return false;
      copy.signals.push_back(signal);
    }
  }
  return true;
}

bool Issue::piece(const TensorMap &map, std::byte *inShared, uint64_t global, uint32_t bytes,
                  bool inside) {
  const bool loads = copy.kind == Kind::Load;
  if (!inside) {
    if (loads)
      copy.pieces.push_back({inShared, nullptr, bytes, 0});
    return true;
  }
  const auto host = w.block->launch.memory->host(global, bytes);
  if (!host.ok())
    return fail(fmt::format("out of bounds: the tensor of the map at {:#x} reaches beyond its "
                            "buffer: {}",
                            map.address, host.error().message));
  if (loads)
    copy.pieces.push_back({inShared, *host, bytes, global});
  else
    copy.pieces.push_back({*host, inShared, bytes, global});
  return true;
}

/// One row of the box: `first` is the coordinate along dimension 0, `global` the address of that
/// dimension's element 0.
bool Issue::row(const TensorMap &map, int64_t first, uint64_t global, bool inside,
                uint64_t sharedAddress, std::byte *sharedHost, uint64_t offset) {
  const int64_t es = map.elementBytes(), step = map.elementStrides[0], count = map.extent(0);
  const int64_t extent = static_cast<int64_t>(map.dims[0]);
  for (int64_t e = 0; e < count;) {
    const uint64_t to = offset + static_cast<uint64_t>(e * es);
    const int64_t at = first + e * step;
    const bool in = inside && at >= 0 && at < extent;
    // As far as the elements lie next to each other, inside or outside, and in one chunk.
    int64_t run = step > 1 ? 1 : in ? extent - at : inside && at < 0 ? -at : count - e;
    run = std::min(run, count - e);
    if (map.swizzle != Swizzle::None)
      run = std::min(run, (16 - static_cast<int64_t>(to % 16)) / es);
    const uint64_t moved = swizzled(map.swizzle, sharedAddress + to) - sharedAddress;
    if (!piece(map, sharedHost + static_cast<int64_t>(moved),
               global + static_cast<uint64_t>(at * es), static_cast<uint32_t>(run * es), in))
      return false;
    e += run;
  }
  return true;
}

bool Issue::tile(const TensorMap &map, const int32_t *at, uint64_t sharedAddress,
                 std::byte *sharedHost) {
  int64_t rows = 1;
  for (int d = 1; d < map.rank; ++d)
    rows *= map.extent(d);
  const uint64_t rowBytes = static_cast<uint64_t>(map.extent(0) * map.elementBytes());
  for (int64_t r = 0; r < rows; ++r) {
    uint64_t global = map.address;
    bool inside = true;
    for (int64_t d = 1, rest = r; d < map.rank; rest /= map.extent(static_cast<int>(d)), ++d) {
      const size_t k = static_cast<size_t>(d);
      const int64_t c = at[d] + rest % map.extent(static_cast<int>(d)) * map.elementStrides[k];
      inside = inside && c >= 0 && c < static_cast<int64_t>(map.dims[k]);
      global += static_cast<uint64_t>(c) * map.strides[k];
    }
    if (!row(map, at[0], global, inside, sharedAddress, sharedHost,
             static_cast<uint64_t>(r) * rowBytes))
      return false;
  }
  return true;
}

/// NaN of the element type that a map fills with.
uint64_t fillOf(const TensorMap &map) {
  if (map.fill == TensorMap::Fill::Zero)
    return 0;
  switch (map.type) {
  case 6: // F16
    return 0x7fff;
  case 9: // BF16
    return 0x7fff;
  case 8: // F64
    return 0x7fffffffffffffff;
  default:
    return map.elementBytes() == 4 ? 0x7fffffff : 0;
  }
}

/// The type that a reduction computes in.
Type elementType(const TensorMap &map) {
  constexpr Type kTypes[] = {Type::None, Type::None, Type::U32, Type::S32, Type::U64,
                             Type::S64,  Type::F16,  Type::F32, Type::F64, Type::BF16};
  return map.type < std::size(kTypes) ? kTypes[map.type] : Type::None;
}

/// ops: [shared end, other end or map, coordinates.., mbarrier, ranks] by lane; imm, imm2 and table
/// are the offsets of the first two and of the mbarrier.
bool issueTensor(Issue &issue) {
  const Inst &i = issue.i;
  Warp &w = issue.w;
  const int rank = i.count, l = issue.lane;
  const bool loads = issue.copy.kind == Kind::Load;
  const uint64_t sharedAt = addressOf(w, i.ops[0], l, i.imm);
  const std::byte *image = w.resolveOne(i, l, Space::Generic, addressOf(w, i.ops[1], l, i.imm2),
                                        128, 64, Warp::Access::Read);
  if (!image)
    return false;
  const auto map = decodeTensorMap(std::span<const std::byte, 128>(image, 128));
  if (!map.ok())
    return issue.fail(map.error().message);
  if (map->rank != rank)
    return issue.fail(
        fmt::format("a copy of rank {} with a tensor map of rank {}", rank, map->rank));
  int32_t coordinates[kTensorMapRank] = {};
  for (int d = 0; d < rank; ++d)
    coordinates[d] = static_cast<int32_t>(w.lane(i.ops[2 + d], l));
  const int64_t bytes = map->boxBytes();
  std::byte *host =
      issue.shared(sharedAt, bytes, 128, loads ? Warp::Access::Write : Warp::Access::Read);
  issue.copy.fillBytes = static_cast<uint8_t>(map->elementBytes());
  issue.copy.fill = fillOf(*map);
  issue.copy.type = static_cast<uint8_t>(elementType(*map));
  if (issue.copy.kind == Kind::Reduce && issue.copy.type == static_cast<uint8_t>(Type::None))
    return issue.fail("a reduction of elements that red does not know");
  if (!host || !issue.tile(*map, coordinates, sharedAt & ((uint64_t{1} << kRankBits) - 1), host))
    return false;
  return !loads ||
         issue.signal(addressOf(w, i.ops[2 + rank], l, static_cast<int32_t>(i.table)), bytes);
}

/// ops: [shared end, other end, bytes, mbarrier, ranks].
bool issuePlain(Issue &issue) {
  const Inst &i = issue.i;
  Warp &w = issue.w;
  const int l = issue.lane;
  const uint32_t bytes = static_cast<uint32_t>(w.lane(i.ops[2], l));
  const bool loads = issue.copy.kind == Kind::Load;
  if (bytes % 16 != 0 || bytes > (1u << 20))
    return issue.fail(fmt::format("a bulk copy of {} bytes, expected a multiple of 16", bytes));
  if (bytes == 0)
    return !loads || issue.signal(addressOf(w, i.ops[3], l, static_cast<int32_t>(i.table)), 0);
  std::byte *in = issue.shared(addressOf(w, i.ops[0], l, i.imm), bytes, 16,
                               loads ? Warp::Access::Write : Warp::Access::Read);
  const uint64_t other = addressOf(w, i.ops[1], l, i.imm2);
  // A copy between blocks reads the other end in shared memory too.
  const bool global = !loads || (i.extra & LoadsGlobal);
  std::byte *out =
      w.resolveOne(i, l, global ? Space::Global : Space::Shared, other, static_cast<int>(bytes), 16,
                   loads ? Warp::Access::Read : Warp::Access::Write);
  if (!in || !out)
    return false;
  if (loads)
    issue.copy.pieces.push_back({in, out, bytes, global ? other : 0});
  else
    issue.copy.pieces.push_back({out, in, bytes, other});
  return !loads || issue.signal(addressOf(w, i.ops[3], l, static_cast<int32_t>(i.table)), bytes);
}

template <Kind kind> void runBulk(Warp &w, const Inst &i, uint32_t mask) {
  Cluster &cluster = w.block->cluster;
  for (uint32_t rest = mask; rest && !w.stop; rest &= rest - 1) {
    Issue issue{w, i, std::countr_zero(rest), {}};
    BulkCopy &copy = issue.copy;
    copy.kind = kind;
    copy.warp = &w;
    copy.lane = issue.lane;
    copy.inst = &i;
    copy.group = w.bulkCommits[issue.lane];
    copy.operation = static_cast<uint8_t>(i.flops >> 8);
    copy.type = static_cast<uint8_t>(i.flops);
    if (!(i.extra & Tensor ? issueTensor(issue) : issuePlain(issue)))
      return;
    if ((i.extra & Multicast) &&
        !issue.multicast(
            static_cast<uint32_t>(w.lane(i.ops[i.results + i.sources - 1], issue.lane)) & 0xffff))
      return;
    if (w.observer)
      w.observer->bulkIssued(copy);
    cluster.submit(std::move(copy));
  }
}

void commitBulk(Warp &w, const Inst &, uint32_t mask) {
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    ++w.bulkCommits[std::countr_zero(rest)];
}

/// imm: groups that may stay pending.
void waitBulk(Warp &w, const Inst &i, uint32_t mask) {
  const uint32_t keep = static_cast<uint32_t>(i.imm);
  w.block->cluster.completeWhere([&](const BulkCopy &copy) {
    return copy.warp == &w && (mask >> copy.lane & 1) && copy.kind != Kind::Load &&
           copy.kind != Kind::Arrive && copy.group + keep < w.bulkCommits[copy.lane];
  });
  if (w.observer)
    w.observer->bulkWaited(w, mask, keep);
}

void doNothing(Warp &, const Inst &, uint32_t) {}

bool isSpace(const std::string &word) {
  return word == "global" || word == "shared::cta" || word == "shared::cluster";
}

/// Takes the two spaces: where to, where from.
bool takeEnds(Decoder &d, std::string &to, std::string &from) {
  for (const std::string &word : d.syntax().modifiers)
    if (isSpace(word))
      (to.empty() ? to : from) = word;
  return d.take(to) && (from == to || d.take(from));
}

/// [shared end] and the other end; the shared one comes first in ops.
bool takeAddresses(Decoder &d, size_t sharedAt, size_t otherAt, Space other) {
  if (!d.address(sharedAt, Space::Shared))
    return false;
  const int64_t first = d.inst.imm;
  if (!d.address(otherAt, other))
    return false;
  d.inst.imm2 = d.inst.imm;
  d.inst.imm = first;
  d.inst.address = 0;
  return true;
}

bool takeMbarrier(Decoder &d, size_t at) {
  const int64_t first = d.inst.imm;
  if (!d.address(at, Space::Shared))
    return false;
  d.inst.table = static_cast<uint32_t>(d.inst.imm);
  d.inst.imm = first;
  d.inst.address = 0;
  return true;
}

bool takeReduction(Decoder &d) {
  const int op = d.takeOneOf({"add", "min", "max", "inc", "dec", "and", "or", "xor"});
  if (op < 0)
    return d.refuse("expected add, min, max, inc, dec, and, or, xor");
  d.take("noftz");
  d.inst.flops = static_cast<uint32_t>(op) << 8;
  return true;
}

/// cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
///     [to], [map, {x, y}], [mbarrier] [, ranks] [, policy]
/// cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [map, {x, y}], [from] [, policy]
bool decodeTensor(Decoder &d, bool reduces, const std::string &to, bool loads) {
  const int rank = d.takeOneOf({"1d", "2d", "3d", "4d", "5d"}) + 1;
  d.take("tile");
  const bool multicast = d.take("multicast::cluster");
  d.take("L2::cache_hint");
  const std::string way = loads ? "mbarrier::complete_tx::bytes" : "bulk_group";
  if (rank < 1 || !d.take(way))
    return d.refuse("expected 1d to 5d, tile mode, and " + way);
  const size_t mapAt = loads ? 1 : 0;
  if (!d.expectOperands(loads ? 3 : 2, loads ? 5 : 3))
    return false;
  const OperandSyntax &where = d.operand(mapAt);
  if (where.kind != OperandSyntax::Kind::Address || where.parts.size() != 2 ||
      where.parts[1].parts.size() != static_cast<size_t>(rank))
    return d.refuse(fmt::format("expected [map, {{{} coordinates}}]", rank));
  d.inst.count = static_cast<uint8_t>(rank);
  d.inst.extra = static_cast<uint8_t>(Tensor | (multicast ? Multicast : 0));
  d.inst.run = loads     ? &runBulk<Kind::Load>
               : reduces ? &runBulk<Kind::Reduce>
                         : &runBulk<Kind::Store>;
  if (!takeAddresses(d, loads ? 0 : 1, mapAt, Space::Generic))
    return false;
  for (const OperandSyntax &coordinate : where.parts[1].parts)
    if (!d.source(coordinate, Type::B32))
      return false;
  if (!loads)
    return true;
  return takeMbarrier(d, 2) && (!multicast || (d.expectOperands(4, 5) && d.source(3, Type::B16)));
}

bool decodePlain(Decoder &d, bool reduces, const std::string &from, bool loads) {
  const bool multicast = d.take("multicast::cluster");
  d.take("L2::cache_hint");
  const std::string way = loads ? "mbarrier::complete_tx::bytes" : "bulk_group";
  if (!d.take(way))
    return d.refuse("expected " + way);
  if (reduces) {
    const Type type = d.takeType();
    if (loads || type == Type::None)
      return d.refuse("only reductions into global memory are supported");
    d.inst.flops |= static_cast<uint32_t>(type);
  }
  if (!d.expectOperands(loads ? 4 : 3, loads ? 6 : 4))
    return false;
  d.inst.extra =
      static_cast<uint8_t>((multicast ? Multicast : 0) | (from == "global" ? LoadsGlobal : 0));
  d.inst.run = loads     ? &runBulk<Kind::Load>
               : reduces ? &runBulk<Kind::Reduce>
                         : &runBulk<Kind::Store>;
  const bool between = loads && from != "global";
  if (!takeAddresses(d, loads ? 0 : 1, loads ? 1 : 0, between ? Space::Shared : Space::Global) ||
      !d.source(2, Type::B32))
    return false;
  return !loads ||
         (takeMbarrier(d, 3) && (!multicast || (d.expectOperands(5, 6) && d.source(4, Type::B16))));
}

} // namespace

bool decodeBulk(Decoder &d, bool reduces) {
  d.take("bulk");
  d.inst.kind = Class::AsyncCopy;
  if (d.take("commit_group")) {
    d.inst.run = &commitBulk;
    return d.expectOperands(0, 0);
  }
  if (d.take("wait_group")) {
    d.inst.variant = d.take("read");
    d.inst.run = &waitBulk;
    if (!d.expectOperands(1, 1) || d.operand(0).kind != OperandSyntax::Kind::Integer ||
        d.operand(0).integer < 0)
      return d.refuse("expected cp.async.bulk.wait_group with a constant");
    d.inst.imm = std::min<int64_t>(d.operand(0).integer, INT32_MAX);
    return true;
  }
  if (d.take("prefetch")) { // brings lines into the L2 cache: changes no value
    for (const char *word :
         {"L2", "global", "tensor", "1d", "2d", "3d", "4d", "5d", "tile", "L2::cache_hint"})
      d.take(word);
    d.inst.run = &doNothing;
    return true;
  }
  std::string to, from;
  const bool tensor = d.take("tensor");
  if (!takeEnds(d, to, from))
    return d.refuse("expected where to and where from: global, shared::cta, shared::cluster");
  if (reduces && !takeReduction(d))
    return false;
  const bool loads = to != "global";
  if (tensor ? loads == (from != "global") : from == "global" && !loads)
    return d.refuse("one end lies in global memory, the other in shared memory");
  return tensor ? decodeTensor(d, reduces, to, loads) : decodePlain(d, reduces, from, loads);
}

void perform(Cluster &cluster, const BulkCopy &copy) {
  if (copy.kind == Kind::Arrive)
    copy.warp->completeCopiesBefore(copy.lane, copy.copies);
  for (const BulkCopy::Piece &piece : copy.pieces) {
    if (copy.kind == Kind::Reduce) {
      const size_t es = static_cast<size_t>(bitsOf(static_cast<Type>(copy.type)) / 8);
      for (size_t at = 0; at + es <= piece.bytes; at += es)
        reduceAt(piece.to + at, copy.operation, copy.type, piece.from + at);
    } else if (piece.from) {
      std::memcpy(piece.to, piece.from, piece.bytes);
    } else {
      for (size_t at = 0; at < piece.bytes; at += copy.fillBytes)
        std::memcpy(piece.to + at, &copy.fill, copy.fillBytes);
    }
  }
  Warp &warp = *copy.warp;
  for (const BulkCopy::Signal &signal : copy.signals) {
    Mbarrier *m = signal.block->findMbarrier(warp, *copy.inst, copy.lane, signal.offset);
    if (!m)
      return;
    const uint64_t before = m->phase;
    if (copy.kind == Kind::Arrive && warp.observer)
      warp.observer->mbarrierArrive(warp, copy.lane, *signal.block, signal.offset);
    if (copy.kind == Kind::Load && warp.observer)
      warp.observer->bulkDone(copy, signal, before);
    const std::string wrong =
        copy.kind == Kind::Arrive ? m->arrive(1) : m->completeBytes(signal.bytes);
    signal.block->noteMbarrier(signal.offset, *m, before);
    if (!wrong.empty())
      return warp.fail(*copy.inst, uint32_t{1} << copy.lane, wrong);
  }
  (void)cluster;
}

} // namespace heddle::ptx
