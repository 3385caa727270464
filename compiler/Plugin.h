/* The C boundary between libheddle and libheddle-compiler. Both sides include this header and
 * nothing else of each other's; C11 and C++20. Texts and records cross as bytes: requests in their
 * canonical text (runtime/Request.h), artifacts, signatures and errors as their serialize() writes.
 *
 * Every function returns 0 and gives its result to the sink in one call, or returns another value
 * and gives a serialised Error to the sink. The bytes are valid during the call only. All functions
 * may be called from any thread, several at once. */
#ifndef HEDDLE_COMPILER_PLUGIN_H
#define HEDDLE_COMPILER_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a function changes its meaning; functions are only ever added at the end. */
#define HEDDLE_COMPILER_API_VERSION 3
#define HEDDLE_COMPILER_MAX_RANK 8

typedef struct heddle_bytes {
  const char *data;
  size_t size;
} heddle_bytes;

typedef void (*heddle_sink)(void *user, const char *bytes, size_t size);

/* A tensor by its name in the pattern; strides in elements. dtype: runtime/DType.h. */
typedef struct heddle_compiler_tensor {
  heddle_bytes name;
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[HEDDLE_COMPILER_MAX_RANK];
  int64_t strides[HEDDLE_COMPILER_MAX_RANK];
} heddle_compiler_tensor;

typedef struct heddle_compiler_parameter {
  heddle_bytes name;
  double value;
} heddle_compiler_parameter;

typedef struct heddle_compiler_extent {
  heddle_bytes name;
  int64_t value;
} heddle_compiler_extent;

/* A call of the pattern: its tensors, parameters and extents. rows (interpret only): row_count
 * triples (batch, head, row); all rows if 0. explain needs no tensors, only extents. */
typedef struct heddle_compiler_call {
  const heddle_compiler_tensor *inputs;
  size_t input_count;
  const heddle_compiler_tensor *results;
  size_t result_count;
  const heddle_compiler_parameter *parameters;
  size_t parameter_count;
  const heddle_compiler_extent *extents;
  size_t extent_count;
  const int64_t *rows;
  size_t row_count;
} heddle_compiler_call;

/* How results are compared with the definition. */
typedef struct heddle_compiler_check {
  double budget;     /* flops of the interpreter below which every row is checked */
  int64_t most_rows; /* rows to sample otherwise */
  uint64_t seed;     /* of the random rows */
} heddle_compiler_check;

/* A sweep. progress returns 0 to stop after what is being measured; what was measured is kept. */
typedef struct heddle_compiler_sweep {
  int64_t budget;               /* most candidates; 0: all */
  int32_t threads;              /* of the device */
  heddle_bytes store_directory; /* where measurements are kept; empty: nowhere */
  heddle_compiler_check check;  /* of every candidate */
  int (*progress)(void *user, int64_t done, int64_t total, heddle_bytes note);
  void *progress_user;
} heddle_compiler_sweep;

typedef struct heddle_compiler_api {
  size_t size; /* of this struct as the compiler knows it */
  uint32_t version;
  const char *heddle_version;

  /* request -> artifact */
  int (*compile)(heddle_bytes request, heddle_sink sink, void *user);
  /* pattern text, name or nothing -> signature */
  int (*describe)(heddle_bytes pattern, heddle_bytes name, heddle_sink sink, void *user);
  /* request, station or nothing -> text of the station, or the names of all, one a line */
  int (*show)(heddle_bytes request, heddle_bytes station, heddle_sink sink, void *user);
  /* request -> one schedule a line, BM=64,BN=128; the default first */
  int (*enumerate)(heddle_bytes request, heddle_sink sink, void *user);
  /* request, extents and parameters -> JSON object: form, cost, refusals */
  int (*explain)(heddle_bytes request, const heddle_compiler_call *call, heddle_sink sink,
                 void *user);
  /* JSON arrays of knobs and of machines */
  int (*knobs)(heddle_sink sink, void *user);
  int (*machines)(heddle_sink sink, void *user);
  /* fills call->results (dense f64 tensors); gives the sink nothing of use */
  int (*interpret)(heddle_bytes request, const heddle_compiler_call *call, heddle_sink sink,
                   void *user);
  /* compares call->results with the definition on call->inputs -> JSON report */
  int (*check)(heddle_bytes request, const heddle_compiler_call *call,
               const heddle_compiler_check *options, heddle_sink sink, void *user);
  /* measures candidate schedules on call's tensors (results are overwritten) -> JSON report */
  int (*tune)(heddle_bytes request, const heddle_compiler_call *call,
              const heddle_compiler_sweep *options, heddle_sink sink, void *user);
  /* facts of an artifact made for a GPU -> JSON array, one object a launch: registers, spills,
   * shared memory, occupancy; loops of the machine code where sass is not 0; an estimate of its
   * time from dynamic counts, if these are not empty: {"bytes": compulsory traffic, "launches":
   * reports of the PTX machine} */
  int (*inspect)(heddle_bytes request, heddle_bytes artifact, int32_t sass, heddle_bytes counts,
                 heddle_sink sink, void *user);
  /* compiles candidate schedules for a GPU and ranks them by an estimate; call needs no tensors but
   * extents and parameters, options no check -> JSON report */
  int (*estimate)(heddle_bytes request, const heddle_compiler_call *call,
                  const heddle_compiler_sweep *options, heddle_sink sink, void *user);
} heddle_compiler_api;

/* The one symbol the library shows. NULL if it does not speak the version asked for. */
const heddle_compiler_api *heddle_compiler_get_api(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif
