// Rules of hand-over in time: rings are filled before they are read, equally often, and freed after
// the last read; roles own their tiles and agree on their branches.
#include "ir/tile/TileVerify.h"

#include "llvm/ADT/MapVector.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace heddle::tile {
namespace {

/// The role's region that holds `op`, or null outside roles.
Region *roleOf(Operation *op) {
  for (Region *region = op->getParentRegion(); region; region = region->getParentRegion())
    if (isa_and_nonnull<RolesOp>(region->getParentOp()))
      return region;
  return nullptr;
}

/// Enclosing loops by their bounds and step: ops with equal ones run equally often.
SmallVector<std::pair<ValueRange, int64_t>> tripsOf(Operation *op) {
  SmallVector<std::pair<ValueRange, int64_t>> trips;
  for (ForOp loop = op->getParentOfType<ForOp>(); loop; loop = loop->getParentOfType<ForOp>())
    trips.push_back({loop.getBounds(), loop.getStep()});
  return trips;
}

bool sameTrips(Operation *a, Operation *b) {
  return llvm::equal(tripsOf(a), tripsOf(b), [](const auto &x, const auto &y) {
    return x.second == y.second && llvm::equal(x.first, y.first);
  });
}

/// Ops of one ring: puts, and takes and releases of each role.
struct RingUse {
  SmallVector<Operation *> puts, takes, releases;
};

/// Equal numbers of a and b wherever all of them run in loops of the same bounds.
LogicalResult verifyBalance(RingOp ring, ArrayRef<Operation *> a, StringRef aName,
                            ArrayRef<Operation *> b, StringRef bName) {
  bool comparable = llvm::all_of(a, [&](Operation *op) { return sameTrips(op, a.front()); }) &&
                    llvm::all_of(b, [&](Operation *op) { return sameTrips(op, a.front()); });
  if (!comparable || a.size() == b.size())
    return success();
  return ring.emitOpError() << "'" << ring.getName() << "' has " << a.size() << " " << aName
                            << " and " << b.size() << " " << bName
                            << " in loops of the same bounds, expected as many";
}

/// A take with puts of its own role only needs one of them before it, on each path.
LogicalResult verifyPutBefore(Operation *take, ArrayRef<Operation *> puts) {
  for (Operation *put : puts) {
    if (roleOf(put) != roleOf(take))
      return success();
    // A loop that runs earlier may hold it, and a branch that is taken whenever the take is
    // reached: a tile is put ahead only if there is one.
    for (Operation *op = put; op && !isa<KernelOp>(op); op = op->getParentOp()) {
      Operation *ancestor = op->getBlock()->findAncestorOpInBlock(*take);
      if (ancestor && op->isBeforeInBlock(ancestor))
        return success();
      if (!isa<ForOp, scf::IfOp>(op->getParentOp()))
        break;
    }
  }
  return take->emitOpError() << "waits for a slot that no put before it fills";
}

/// Within a block, a slot's tile is not used after the release that frees it.
LogicalResult verifyReleases(Operation *release, ArrayRef<Operation *> takes,
                             ArrayRef<Operation *> releases) {
  Block *block = release->getBlock();
  SmallVector<Operation *> taken;
  for (Operation *take : takes)
    if (take->getBlock() == block && take->isBeforeInBlock(release))
      taken.push_back(take);
  size_t before = llvm::count_if(releases, [&](Operation *other) {
    return other->getBlock() == block && other->isBeforeInBlock(release);
  });
  if (before >= taken.size())
    return success(); // frees a slot of an earlier trip
  for (Operation *user : taken[before]->getResult(0).getUsers()) {
    Operation *ancestor = block->findAncestorOpInBlock(*user);
    if (ancestor && release->isBeforeInBlock(ancestor))
      return user->emitOpError() << "reads a slot of a ring after its release";
  }
  return success();
}

/// With roles, tiles and effects belong to one of them.
LogicalResult verifyPlaces(KernelOp kernel) {
  Block &block = kernel.getBody().front();
  auto roles = block.getOps<RolesOp>();
  if (roles.empty())
    return success();
  if (!llvm::hasSingleElement(roles))
    return (*std::next(roles.begin())).emitOpError() << "is the second in its kernel";
  for (Operation &op : block.without_terminator()) {
    bool outside = isa<RolesOp, RingOp, ViewOp, ScalarOp, ReadOp>(op) || isScalarOp(&op);
    if (!outside)
      return op.emitOpError() << "stands beside tile.roles, expected it inside one role: a tile "
                                 "belongs to one role";
  }
  return success();
}

/// A branch inside a role whose condition only that role knows holds nothing another role waits
/// for.
LogicalResult verifyBranches(KernelOp kernel) {
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    if (!isa<PutOp, TakeOp, ReleaseOp, BarrierOp>(op))
      return WalkResult::advance();
    Region *role = roleOf(op);
    for (scf::IfOp branch = op->getParentOfType<scf::IfOp>(); branch && role;
         branch = branch->getParentOfType<scf::IfOp>()) {
      if (!role->isAncestor(branch.getCondition().getParentRegion()))
        continue;
      op->emitOpError() << "stands in a branch whose condition is computed inside one role, "
                           "expected one that all roles share";
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

} // namespace

LogicalResult verifyRing(RingOp ring) {
  SmallVector<Operation *> puts;
  llvm::MapVector<Region *, RingUse> readers;
  // The uses of a value are listed backwards; a walk gives program order.
  ring->getParentOfType<KernelOp>().getBody().walk([&](Operation *op) {
    if (PutOp put = dyn_cast<PutOp>(op); put && put.getRing() == ring)
      puts.push_back(op);
    else if (TakeOp take = dyn_cast<TakeOp>(op); take && take.getRing() == ring)
      readers[roleOf(op)].takes.push_back(op);
    else if (ReleaseOp release = dyn_cast<ReleaseOp>(op); release && release.getRing() == ring)
      readers[roleOf(op)].releases.push_back(op);
  });
  if (puts.empty() || readers.empty())
    return ring.emitOpError() << "'" << ring.getName() << "' has no "
                              << (puts.empty() ? "put" : "take") << ", expected both";
  for (Operation *put : puts)
    if (roleOf(put) != roleOf(puts.front()))
      return put->emitOpError() << "fills ring '" << ring.getName()
                                << "' from a second role, expected one producer";
  for (auto &[role, use] : readers) {
    if (failed(verifyBalance(ring, puts, "puts", use.takes, "takes")) ||
        failed(verifyBalance(ring, use.takes, "takes", use.releases, "releases")))
      return failure();
    for (Operation *take : use.takes)
      if (failed(verifyPutBefore(take, puts)))
        return failure();
    for (Operation *release : use.releases)
      if (failed(verifyReleases(release, use.takes, use.releases)))
        return failure();
  }
  return success();
}

LogicalResult verifyRoles(KernelOp kernel) {
  return success(succeeded(verifyPlaces(kernel)) && succeeded(verifyBranches(kernel)));
}

} // namespace heddle::tile
