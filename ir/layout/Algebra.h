// Algebra of layouts: composition, complement, divide, product, inverse. Each function states its
// post-condition; where the answer is no layout, or cannot be proved to be one, it fails with the
// reason and never returns a wrong layout. A, B, T, R are layouts; |A| is size(A).
#pragma once

#include "ir/layout/Layout.h"

#include <span>

namespace heddle::layout {

/// R = A o B: first B, then A.
/// Post: R(i) == A(B(i)) for all i < |B|. The shape of R refines that of B: each leaf of B becomes
/// a leaf or a flat tuple of the same size, so coordinates of B are coordinates of R.
/// Fails if cosize(B) > |A| (B leaves the domain of A), or if A o B is not a layout of such a
/// shape: (4,2):(1,8) o 6:1 splits 6 at 4. Extents need not be powers of two.
Expected<Layout> compose(const Layout &a, const Layout &b);

/// By mode: (A0 o T0, A1 o T1, ..., remaining modes of A unchanged).
/// Fails if there are more tiles than modes of A, or as compose.
Expected<Layout> composeModes(const Layout &a, std::span<const Layout> tiles);

/// The layout that repeats A through [0, size).
/// Post: with A' = dropReplication(A): (A', R) is a bijection onto [0, size); R is increasing;
/// |A'| * |R| == size. complement(4:1, 24) = 6:4, complement(6:4, 24) = 4:1.
/// Fails if A' does not tile [0, size): strides that do not divide, overlaps, or a remainder.
Expected<Layout> complement(const Layout &a, int64_t size);
/// The least size that complement accepts; it accepts just the multiples.
/// tilingPeriod(4:2) = 8. Fails if dropReplication(A) tiles no size.
Expected<int64_t> tilingPeriod(const Layout &a);

/// Splits A by the tile T: mode 0 walks inside a tile, mode 1 over the tiles.
/// Post: R = A o (T, complement(T, |A|)); so |R| == |A|, mode 0 == A o T, and R takes the same
/// values as A, as often. Fails if T is replicated and as complement and compose: 1000 is not split
/// by 128:1.
Expected<Layout> logicalDivide(const Layout &a, const Layout &tile);
/// By mode: ((T0,rest0), (T1,rest1), ..., remaining modes of A).
Expected<Layout> logicalDivideModes(const Layout &a, std::span<const Layout> tiles);
/// As logicalDivideModes, regrouped: zipped ((T0,T1,..),(rest0,rest1,..,remaining modes)),
/// tiled ((T0,T1,..), rest0, rest1, .., remaining modes).
/// Post: the value at coordinate ((t..),(r..)) is that of logicalDivideModes at ((t0,r0),..).
Expected<Layout> zippedDivide(const Layout &a, std::span<const Layout> tiles);
Expected<Layout> tiledDivide(const Layout &a, std::span<const Layout> tiles);

/// Repeats the tile A as B says: mode 0 is A, mode 1 places the copies.
/// Post: R.mode(0) == A; R.mode(1) has B's shape or a refinement; value (a, b) is A(a) + C(B(b)),
/// C the complement of A long enough for B. Hence copies do not overlap, and R is injective
/// (bijective) where A is (bijective) and B is. Fails as complement and compose.
Expected<Layout> logicalProduct(const Layout &a, const Layout &b);
/// The same product with mode k of A and of B paired; the shorter is filled up with 1:0.
/// blocked: ((A0,B0),(A1,B1),..), copies of A side by side; raked: ((B0,A0),(B1,A1),..), elements
/// of A dealt out in turn.
/// Post: the value at ((a0,b0),..) (raked: ((b0,a0),..)) is that of logicalProduct at (a, b).
Expected<Layout> blockedProduct(const Layout &a, const Layout &b);
Expected<Layout> rakedProduct(const Layout &a, const Layout &b);

/// Post: A(R(i)) == i for all i < |R|, R injective. |R| is |A'| if A' = dropReplication(A) is
/// bijective; else the run 0..|R|-1 that whole leaves of A reach one after the other, 1 at least.
Layout rightInverse(const Layout &a);

/// Post: R(A(i)) == i for all i < |A|; |R| >= cosize(A). Padded rows are fine:
/// leftInverse((64,4):(1,72)) = (72,4):(1,64).
/// Fails if A is not injective (replication: dropReplication first) or a stride, in order, does not
/// divide the next one.
Expected<Layout> leftInverse(const Layout &a);

} // namespace heddle::layout
