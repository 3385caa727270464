// Walks the blocks of a power's features like an odometer whose digits never fall to the right.
#include "compiler/forms/PowerFeatures.h"

#include "compiler/forms/TileSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <numbers>

namespace heddle::compiler {

using namespace mlir;

PowerFeatures::PowerFeatures(ScanKernel &kernel, const ScanProblem &scan)
    : kernel(kernel), w(kernel.w), scan(scan), W(scan.D >= 96 ? 32 : 16) {
  if (!scan.polynomial.taylor)
    return;
  scaleQ = kernel.number(scan.polynomial.scaleQ);
  scaleK = kernel.number(scan.polynomial.scaleK);
}

/// How many blocks there are: each tuple of the leading digits has ceil((D - last digit) / W).
int64_t PowerFeatures::blocks() const {
  int64_t D = scan.D, digits = scan.polynomial.degree - 1;
  if (whole())
    return D * ((D + W - 1) / W);
  // tuples[a]: leading digits that end in a.
  std::vector<int64_t> tuples(D, 1);
  for (int64_t n = 1; n < digits; ++n)
    for (int64_t a = 1; a < D; ++a)
      tuples[a] += tuples[a - 1];
  int64_t count = 0;
  for (int64_t a = 0; a < D; ++a)
    count += tuples[a] * ((D - a + W - 1) / W);
  return count;
}

llvm::SmallVector<Value> PowerFeatures::forBlocks(
    ValueRange start,
    llvm::function_ref<llvm::SmallVector<Value>(const PowerBlock &, ValueRange)> body) {
  int64_t digits = scan.polynomial.degree - 1;
  Value zero = w.constant(0), D = w.constant(scan.D), one = w.constant(1);
  llvm::SmallVector<Value> carried(start);
  carried.append(digits + 1, zero); // digits, the last index
  carried.push_back(w.constant(scan.polynomial.taylor ? 1 + scan.D : 0));
  auto choose = [&](Value condition, Value x, Value y) -> Value {
    return arith::SelectOp::create(w.builder, w.location, condition, x, y);
  };
  auto reached = [&](Value x, Value limit) -> Value {
    return arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::sge, x, limit);
  };
  carried = w.loop(zero, w.constant(blocks()), 1, carried, [&](Value, ValueRange in) {
    PowerBlock at;
    ValueRange state = in.drop_front(start.size());
    at.digits.assign(state.begin(), state.begin() + digits);
    at.last = state[digits], at.row = state[digits + 1];
    at.count = w.min(w.sub(D, at.last), w.constant(W));
    at.weights = weightsOf(at);
    llvm::SmallVector<Value> out = body(at, in.take_front(start.size()));
    // The last index moves on; past the end, the digit before it does, and so on to the left.
    llvm::SmallVector<Value> next(at.digits);
    Value last = w.add(at.last, w.constant(W)), over = reached(last, D);
    llvm::SmallVector<Value> turned(digits + 1);
    turned[digits] = over;
    for (int64_t n = digits; n-- > 0;) {
      next[n] = choose(turned[n + 1], w.add(next[n], one), next[n]);
      turned[n] = reached(next[n], D);
    }
    for (int64_t n = 1; n < digits; ++n)
      next[n] = choose(turned[n], next[n - 1], next[n]);
    out.append(next.begin(), next.end());
    out.push_back(choose(over, whole() ? zero : next[digits - 1], last));
    out.push_back(w.add(at.row, at.count));
    return out;
  });
  carried.resize(start.size());
  return carried;
}

/// sqrt(p! / prod n_i!) over the block: the last index may go on with the run of its digit.
Value PowerFeatures::weightsOf(const PowerBlock &at) {
  Type f32 = w.builder.getF32Type();
  if (scan.polynomial.taylor && whole())
    return {};
  auto same = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(w.builder, w.location, arith::CmpIPredicate::eq, x, y);
  };
  auto choose = [&](Value condition, Value x, Value y) -> Value {
    return arith::SelectOp::create(w.builder, w.location, condition, x, y);
  };
  int64_t digits = at.digits.size();
  double factorial = digits == 1 ? 2 : digits == 2 ? 6 : 24;
  Value weight = w.real(std::sqrt(factorial)), run = w.real(1); // of the last digit
  for (int64_t n = 1; n < digits; ++n) {
    Value equal = same(at.digits[n - 1], at.digits[n]);
    Value longer = arith::AddFOp::create(w.builder, w.location, run, w.real(1));
    run = choose(equal, longer, w.real(1));
    // A run of r divides by r: sqrt once a step.
    Value two =
        arith::CmpFOp::create(w.builder, w.location, arith::CmpFPredicate::OEQ, run, w.real(2));
    Value divisor =
        choose(equal, choose(two, w.real(std::numbers::sqrt2), w.real(std::sqrt(3.0))), w.real(1));
    weight = arith::DivFOp::create(w.builder, w.location, weight, divisor);
  }
  // 1 / sqrt(run + 1) for run = 1, 2, 3.
  auto isRun = [&](double length) -> Value {
    return arith::CmpFOp::create(w.builder, w.location, arith::CmpFPredicate::OEQ, run,
                                 w.real(length));
  };
  Value again = choose(isRun(1), w.real(1 / std::numbers::sqrt2),
                       choose(isRun(2), w.real(1 / std::sqrt(3.0)), w.real(0.5)));
  Value equalLast = arith::MulFOp::create(w.builder, w.location, weight, again).getResult();
  Type i32 = w.builder.getI32Type();
  Value digit = arith::IndexCastOp::create(w.builder, w.location, i32, at.digits.back());
  Value columns = w.index(at.last, W);
  return w.elementwise(
      {columns}, {Names{"d"}}, {"d"},
      [&](OpBuilder &b, Location loc, ValueRange v) {
        Value equal = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, v[0], digit);
        return Value(arith::SelectOp::create(b, loc, equal, equalLast, weight));
      },
      f32);
}

Value PowerFeatures::block(const PowerBlock &at, const ProblemTensor &tensor, View view,
                           Value first, int64_t rows, Value valid, bool query) {
  Value wide = view({});
  OpFoldResult from(first);
  Value x = kernel.asF32(w.load(w.tileType({rows, W}, tensor.element), wide, {from, at.last},
                                ValueRange{valid, at.count}));
  llvm::SmallVector<Value> inputs{x};
  llvm::SmallVector<Names> dims{Names{"i", "d"}};
  for (Value digit : at.digits) {
    inputs.push_back(
        w.load(w.tileType({rows}, tensor.element), view(digit), {from}, ValueRange{valid}));
    dims.push_back({"i"});
  }
  bool weighed = bool(at.weights);
  if (weighed)
    inputs.push_back(at.weights), dims.push_back({"d"});
  Value c = scale(query);
  return w.elementwise(inputs, dims, {"i", "d"}, [&](OpBuilder &b, Location loc, ValueRange v) {
    Value y = v[0];
    auto times = [&](Value factor) { y = arith::MulFOp::create(b, loc, y, factor); };
    for (size_t n = 1; n <= at.digits.size(); ++n)
      times(steps::asReal(b, loc, v[n]));
    if (weighed)
      times(v.back());
    if (c) { // c^2 / sqrt(2)
      times(c), times(c);
      times(steps::real(b, loc, 1 / std::numbers::sqrt2));
    }
    return y;
  });
}

Value PowerFeatures::ofProduct(OpBuilder &b, Location at, Value s) {
  auto times = [&](Value x, Value y) { return arith::MulFOp::create(b, at, x, y).getResult(); };
  if (scan.polynomial.taylor) {
    Value x = times(times(scaleQ, scaleK), s);
    Value half = times(steps::real(b, at, 0.5), times(x, x));
    Value linear = arith::AddFOp::create(b, at, steps::real(b, at, 1), x);
    return arith::AddFOp::create(b, at, linear, half);
  }
  Value power = s;
  for (int64_t n = 1; n < scan.polynomial.degree; ++n)
    power = times(power, s);
  return power;
}

} // namespace heddle::compiler
