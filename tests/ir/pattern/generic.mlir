// Rules that hold for IR our parser did not make: the verifier's own.
// RUN: heddle-opt %s --split-input-file --verify-diagnostics

// expected-error@below {{2 names for 1 arguments}}
"pattern.def"() <{sym_name = "a", argNames = ["q", "k"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

// expected-error@below {{arguments of a pattern are seq<..> or tensor<..>, found 'i32'}}
"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: i32):
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = [], extents = [], expr = #pattern.expr<{ 1 }>}> : () -> !pattern.array<tensor, i32>
  "pattern.return"(%0) : (!pattern.array<tensor, i32>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  // expected-error@below {{the result tensor<i32, D> does not fit the extents of the map}}
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, D>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  // expected-error@below {{the element of a map: unknown name 'u'}}
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ u }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  // expected-error@below {{the element of a map: q is read with 1 index, expected 2, or one more}}
  %0 = "pattern.map"(%q) <{readNames = ["q"], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ q[t] }>}> : (!pattern.array<seq, T x D>) -> !pattern.array<seq, f32, T>
  "pattern.return"(%0) : (!pattern.array<seq, f32, T>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  // expected-error@below {{'sum' cannot name a value}}
  %0 = "pattern.map"() <{readNames = [], names = ["sum"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{mix: the operand 'beta' has no use without update delta}}
  %0 = "pattern.mix"(%q, %q, %q, %q) <{roles = ["q", "k", "v", "beta"], readNames = [], names = ["o"], resultRoles = ["o"], operandSegmentSizes = array<i32: 4, 0>, featuresQ = [], featuresK = [], support = #pattern.expr<{ j le i }>, score = #pattern.expr<{ s }>, weight = 3 : i32}> : (!pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>) -> !pattern.array<seq, T x H x D>
  "pattern.return"(%0) : (!pattern.array<seq, T x H x D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{mix: the result o is seq<T x D>, expected seq<T x H x D>}}
  %0 = "pattern.mix"(%q, %q, %q) <{roles = ["q", "k", "v"], readNames = [], names = ["o"], resultRoles = ["o"], operandSegmentSizes = array<i32: 3, 0>, featuresQ = [], featuresK = [], support = #pattern.expr<{ j le i }>, score = #pattern.expr<{ s }>, weight = 3 : i32}> : (!pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>) -> !pattern.array<seq, T x D>
  "pattern.return"(%0) : (!pattern.array<seq, T x D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{support is an integer, expected a truth value}}
  %0 = "pattern.mix"(%q, %q, %q) <{roles = ["q", "k", "v"], readNames = [], names = ["o"], resultRoles = ["o"], operandSegmentSizes = array<i32: 3, 0>, featuresQ = [], featuresK = [], support = #pattern.expr<{ j }>, score = #pattern.expr<{ s }>, weight = 3 : i32}> : (!pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>) -> !pattern.array<seq, T x H x D>
  "pattern.return"(%0) : (!pattern.array<seq, T x H x D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{mix: support asks for ancestors or depths, but there is no tree clause}}
  %0 = "pattern.mix"(%q, %q, %q) <{roles = ["q", "k", "v"], readNames = [], names = ["o"], resultRoles = ["o"], operandSegmentSizes = array<i32: 3, 0>, featuresQ = [], featuresK = [], support = #pattern.expr<{ ancestor(row, j) }>, score = #pattern.expr<{ s }>, weight = 3 : i32}> : (!pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>) -> !pattern.array<seq, T x H x D>
  "pattern.return"(%0) : (!pattern.array<seq, T x H x D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{unknown feature map 'gelu'}}
  %0 = "pattern.mix"(%q, %q, %q) <{roles = ["q", "k", "v"], readNames = [], names = ["o"], resultRoles = ["o"], operandSegmentSizes = array<i32: 3, 0>, featuresQ = [#pattern.feature<"gelu", {}>], featuresK = [], support = #pattern.expr<{ true }>, score = #pattern.expr<{ s }>, weight = 3 : i32}> : (!pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>, !pattern.array<seq, T x H x D>) -> !pattern.array<seq, T x H x D>
  "pattern.return"(%0) : (!pattern.array<seq, T x H x D>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  // expected-error@below {{two values are named %q}}
  %0 = "pattern.map"() <{readNames = [], names = ["q"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

// expected-error@below {{the scalar 'h' has a reserved or repeated name}}
"pattern.def"() <{sym_name = "a", argNames = ["q"], params = [#pattern.param<"h", false, true, 4 : i64>]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

// expected-error@below {{a condition is an integer, expected a truth value}}
"pattern.def"() <{sym_name = "a", argNames = ["q"], conditions = [#pattern.expr<{ dim(T) }>]}> ({
^bb0(%q: !pattern.array<seq, T x D>):
  %0 = "pattern.map"() <{readNames = [], names = ["y"], vars = ["t"], extents = [#pattern.expr<{ dim(T) }>], expr = #pattern.expr<{ t }>}> : () -> !pattern.array<tensor, i32, T>
  "pattern.return"(%0) : (!pattern.array<tensor, i32, T>) -> ()
}) : () -> ()

// -----

"pattern.def"() <{sym_name = "a", argNames = ["q"]}> ({
^bb0(%q: !pattern.array<seq, T x H x D>):
  // expected-error@below {{return takes each computed value once, %q is an argument or repeated}}
  "pattern.return"(%q) : (!pattern.array<seq, T x H x D>) -> ()
}) : () -> ()
