/* Heddle's C interface: kernels for attention and retention patterns, compiled on first use, kept
 * in a store, launched on the caller's tensors. C11 and C++20.
 *
 *   heddle_context_options options = {.size = sizeof options, .threads = 8};
 *   heddle_context_create(&options, &context, &error);
 *   heddle_pattern_create(context, text, NULL, &pattern, &error);           once per pattern
 *   heddle_request request = {.size = sizeof request, .tensors = tensors, .tensor_count = 5};
 *   heddle_kernel_get(pattern, &request, &kernel, &error);                  per call, or kept
 *   heddle_call call = {.size = sizeof call, .tensors = tensors, .tensor_count = 5, ...};
 *   heddle_kernel_launch(kernel, &call, &error);
 *
 * Rules
 * - Objects are opaque. What a function creates, the caller gives back with the matching destroy or
 *   release function; NULL is allowed there. Texts that an accessor returns live as long as the
 *   object. An object of the wrong kind is an error; so is one that was given back, for certain in
 *   debug builds of the library.
 * - A function that can fail returns a heddle_status: 0, or what kind of mistake it was. If `error`
 *   is not NULL it then points to an error object that the caller destroys; on success it is left
 *   alone. Nothing is thrown.
 * - Structs with a `size` field grow at the end only: set it to sizeof the struct and the rest to
 * 0.
 * - A context, a pattern and a kernel may be used by several threads at once, with a workspace for
 *   each launch in flight. There is no global state. A launch allocates nothing.
 * - A tensor's shape is what the host knows. Where a length is data of the device (the lengths of
 *   sequences, in a tensor of their own), the shape gives its upper bound. */
#ifndef HEDDLE_H
#define HEDDLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEDDLE_MAX_RANK 8

typedef enum heddle_status {
  HEDDLE_OK = 0,
  HEDDLE_INVALID_ARGUMENT = 1,
  HEDDLE_INVALID_PATTERN = 2,
  HEDDLE_UNSUPPORTED = 3,
  HEDDLE_NOT_FOUND = 4,
  HEDDLE_CORRUPT_DATA = 5,
  HEDDLE_RESOURCE_EXHAUSTED = 6,
  HEDDLE_IO_ERROR = 7,
  HEDDLE_COMPILER_FAILURE = 8,
  HEDDLE_CHECK_FAILED = 9,
  HEDDLE_INTERNAL = 10,
  HEDDLE_NOT_READY = 11 /* still being made when the deadline passed; ask again later */
} heddle_status;

typedef enum heddle_dtype {
  HEDDLE_F64 = 1,
  HEDDLE_F32 = 2,
  HEDDLE_BF16 = 3,
  HEDDLE_F16 = 4,
  HEDDLE_F8E4M3 = 5,
  HEDDLE_F8E5M2 = 6,
  HEDDLE_I64 = 7,
  HEDDLE_I32 = 8,
  HEDDLE_I8 = 9,
  HEDDLE_U8 = 10
} heddle_dtype;

typedef struct heddle_context heddle_context;
typedef struct heddle_pattern heddle_pattern;
typedef struct heddle_kernel heddle_kernel;
typedef struct heddle_error heddle_error;

/* Receives bytes during a call; they are not valid afterwards. */
typedef void (*heddle_bytes_callback)(void *user, const void *bytes, size_t size);

/* ---- version and errors ------------------------------------------------------------------------
 */

/* "0.1.0" */
const char *heddle_version_string(void);

heddle_status heddle_error_status(const heddle_error *error);
/* What was found, what was expected, what to do; with place and kind in front. */
const char *heddle_error_message(const heddle_error *error);
size_t heddle_error_note_count(const heddle_error *error);
/* NULL if there is no such note. */
const char *heddle_error_note(const heddle_error *error, size_t index);
void heddle_error_destroy(heddle_error *error);

/* ---- context ------------------------------------------------------------------------------------
 */

enum {
  HEDDLE_NO_STORE = 1,           /* read and write nothing on disk */
  HEDDLE_TRUST_SHARED_STORE = 2, /* use a store that others can write to: its entries run as you */
  HEDDLE_NO_COMPILE = 4,         /* as if every request said HEDDLE_MISS_REFUSE */
  HEDDLE_NO_WINNERS = 8          /* ignore what sweeps found best */
};

/* level 1: normal but slow, 2: work goes on, but not as asked. May come from several threads. */
typedef void (*heddle_log_callback)(void *user, int level, const char *message);

typedef enum heddle_compile_stage {
  HEDDLE_COMPILE_QUEUED = 1, /* only if it is left to a background thread */
  HEDDLE_COMPILE_STARTED = 2,
  HEDDLE_COMPILE_FINISHED = 3,
  HEDDLE_COMPILE_FAILED = 4
} heddle_compile_stage;

typedef struct heddle_compile_event {
  size_t size;
  int32_t stage;
  int32_t waiting;     /* kernels that are queued or being made, this one included */
  const char *what;    /* "causal_softmax D=128 bf16 for cpu" */
  const char *key;     /* the same for all events of one kernel */
  double milliseconds; /* the compiler's; at the end */
} heddle_compile_event;

/* The event is valid during the call. May come from several threads; must not use the context. */
typedef void (*heddle_progress_callback)(void *user, const heddle_compile_event *event);

typedef struct heddle_context_options {
  size_t size;
  uint32_t flags;
  int32_t threads;             /* 0: every core the process may use */
  const char *device;          /* NULL: "cpu" */
  const char *store_directory; /* NULL: $HEDDLE_CACHE, $XDG_CACHE_HOME/heddle, ~/.cache/heddle */
  const char *compiler;        /* NULL: $HEDDLE_COMPILER, else beside the library */
  const char *compiler_build;  /* NULL: the compiler's own; else the build that filled the store */
  heddle_log_callback log;
  void *log_user;
  const char *const *bundles; /* files of `heddle build`, opened read-only, looked at in order */
  size_t bundle_count;
  int64_t store_bytes;     /* size bound of the store; 0: 2 GiB */
  int32_t compile_threads; /* most compilers at once; 0: 1 */
  int32_t lease_wait_ms;   /* for another process that makes the same kernel; 0: 10 s */
  int64_t compile_bytes;   /* memory bound for compilers at once, each reckoned at 256 MiB; the
                              first always runs. 0: none */
  heddle_progress_callback progress;
  void *progress_user;
} heddle_context_options;

/* `options` may be NULL: all defaults. */
heddle_status heddle_context_create(const heddle_context_options *options, heddle_context **context,
                                    heddle_error **error);
/* Patterns and kernels live on; the compile under way is waited for once the last pattern goes. */
void heddle_context_destroy(heddle_context *context);

/* ---- tensors and patterns -----------------------------------------------------------------------
 */

typedef struct heddle_extent {
  const char *name; /* a dim of the pattern; "T" sets every length, "H" every head count */
  int64_t value;
} heddle_extent;

typedef struct heddle_parameter {
  const char *name;
  double value; /* integral where the parameter is an integer */
} heddle_parameter;

typedef struct heddle_tensor {
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[HEDDLE_MAX_RANK];
  int64_t strides[HEDDLE_MAX_RANK]; /* in elements; the innermost must be 1 */
} heddle_tensor;

typedef struct heddle_tensor_info {
  size_t size;
  const char *name;
  int32_t dtype; /* 0: any one, the same for all such tensors of a call */
  int32_t rank;
  int32_t is_result;
  int32_t next; /* of an input of a pattern that is a state: the result, by index, that the run
                   after takes in its place; else -1. -1 too for tensors of a kernel */
} heddle_tensor_info;

typedef struct heddle_parameter_info {
  size_t size;
  const char *name;
  double default_value;
  int32_t is_integer;
  int32_t is_constant; /* fixed when the kernel is made; else passed to each launch */
  int32_t is_required; /* has no default */
} heddle_parameter_info;

/* Reads a pattern: the text of a pattern file, and which pattern of it (NULL: the only one). From
 * the store, a bundle, or the compiler. The pattern keeps its context alive. */
heddle_status heddle_pattern_create(heddle_context *context, const char *text, const char *name,
                                    heddle_pattern **pattern, heddle_error **error);
void heddle_pattern_destroy(heddle_pattern *pattern);

const char *heddle_pattern_name(const heddle_pattern *pattern);
/* Tensors in the order a launch takes them: inputs, then results. */
size_t heddle_pattern_tensor_count(const heddle_pattern *pattern);
heddle_status heddle_pattern_tensor(const heddle_pattern *pattern, size_t index,
                                    heddle_tensor_info *info, heddle_error **error);
size_t heddle_pattern_parameter_count(const heddle_pattern *pattern);
heddle_status heddle_pattern_parameter(const heddle_pattern *pattern, size_t index,
                                       heddle_parameter_info *info, heddle_error **error);

/* ---- kernels ------------------------------------------------------------------------------------
 */

typedef enum heddle_miss {
  HEDDLE_MISS_WAIT = 0,     /* for the kernel; HEDDLE_NOT_READY at the deadline, and compiling goes
                               on in the background */
  HEDDLE_MISS_STAND_IN = 1, /* take a kernel of a wider class or the default schedule, if memory,
                               store or a bundle has one, while the better one is compiled in the
                               background; else HEDDLE_NOT_READY */
  HEDDLE_MISS_REFUSE = 2 /* take what could stand in, else HEDDLE_NOT_FOUND; nothing is compiled */
} heddle_miss;

typedef struct heddle_request {
  size_t size;
  const heddle_tensor *tensors; /* of the call: all, or the inputs alone; their data is not read */
  size_t tensor_count;          /* 0: extents and dtype say what is asked for */
  const heddle_extent *extents;
  size_t extent_count;
  const heddle_parameter *parameters; /* constants that differ from their default */
  size_t parameter_count;
  int32_t dtype;        /* with extents: of tensors without a type of their own */
  int32_t on_miss;      /* heddle_miss */
  int32_t deadline_ms;  /* WAIT: 0 waits as long as it takes. STAND_IN: 0 does not wait at all */
  const char *form;     /* NULL: chosen; attention, recurrent, chunked */
  const char *schedule; /* NULL: the winner of a sweep, else the default; "BM=64,BN=128" */
  const char *flags;    /* NULL; code-generation flags */
} heddle_request;

/* The kernel for a request: from memory (a microsecond), store, bundle, or the compiler. Lengths
 * and batch of the request choose a class of kernels; a launch may have any that the kernel's class
 * admits. */
heddle_status heddle_kernel_get(heddle_pattern *pattern, const heddle_request *request,
                                heddle_kernel **kernel, heddle_error **error);
/* The same for a request in its canonical text (as heddle_kernel_request_text gives it). */
heddle_status heddle_kernel_get_by_text(heddle_context *context, const char *text, size_t size,
                                        heddle_kernel **kernel, heddle_error **error);
/* A kernel from artifact bytes that the caller kept. */
heddle_status heddle_kernel_from_artifact(heddle_context *context, const void *bytes, size_t size,
                                          heddle_kernel **kernel, heddle_error **error);
void heddle_kernel_release(heddle_kernel *kernel);

/* The artifact's bytes, to be kept and loaded with heddle_kernel_from_artifact. */
void heddle_kernel_artifact(const heddle_kernel *kernel, heddle_bytes_callback callback,
                            void *user);
/* The complete request in its canonical text; nothing for a kernel made from artifact bytes. */
void heddle_kernel_request_text(const heddle_kernel *kernel, heddle_bytes_callback callback,
                                void *user);

typedef enum heddle_source {
  HEDDLE_COMPILED = 1,
  HEDDLE_FROM_STORE = 2,
  HEDDLE_FROM_BUNDLE = 3,
  HEDDLE_FROM_BYTES = 4
} heddle_source;

typedef struct heddle_kernel_info {
  size_t size;
  int32_t source; /* heddle_source */
  int32_t is_tuned;
  int32_t is_stand_in;  /* a better one was being compiled when this one was got */
  double compile_ms;    /* 0 unless compiled by this context */
  double load_ms;       /* of loading the code */
  const char *name;     /* of the pattern */
  const char *target;   /* "cpu" */
  const char *form;     /* "attention" */
  const char *schedule; /* "ISA=5,BM=64,..." */
  const char *notes;    /* slower paths taken, forms refused; one a line */
  const char *key;      /* of the request; "" for a kernel made from artifact bytes */
} heddle_kernel_info;

heddle_status heddle_kernel_describe(const heddle_kernel *kernel, heddle_kernel_info *info,
                                     heddle_error **error);
/* Tensors in the order a launch takes them: inputs, then results. */
size_t heddle_kernel_tensor_count(const heddle_kernel *kernel);
heddle_status heddle_kernel_tensor(const heddle_kernel *kernel, size_t index,
                                   heddle_tensor_info *info, heddle_error **error);

/* ---- launches -----------------------------------------------------------------------------------
 */

typedef struct heddle_call {
  size_t size;
  const heddle_tensor *tensors; /* all of the kernel's, in its order */
  size_t tensor_count;
  const heddle_parameter *parameters; /* run-time ones that differ from their default */
  size_t parameter_count;
  void *workspace; /* 64-byte aligned; used until the launch has ended */
  int64_t workspace_bytes;
  void *stream; /* of the device (a CUstream): the launch does not wait for its end. NULL: it does;
                   the CPU takes NULL alone */
} heddle_call;

/* Fills in dtype, rank, shape and dense strides of tensor `index` as the request's tensors (or
 * extents) and parameters imply; `data` is left alone. This is how results are sized. */
heddle_status heddle_pattern_shape(const heddle_pattern *pattern, const heddle_request *request,
                                   size_t index, heddle_tensor *tensor, heddle_error **error);
/* Bytes of workspace that a launch with these tensors and parameters needs; the same checks as the
 * launch. Workspace and stream of the call are not looked at. */
heddle_status heddle_kernel_workspace(const heddle_kernel *kernel, const heddle_call *call,
                                      int64_t *bytes, heddle_error **error);
/* What a launch checks of the numbers in tensors (offsets of packed sequences, page tables and
 * lengths, lists, log-decays), on tensors in host memory; those with data NULL are passed by, and
 * workspace and stream are not looked at. A launch on the CPU does the same by itself. On a device
 * with memory of its own it trusts what lies there: call this with the host's copies. */
heddle_status heddle_kernel_check(const heddle_kernel *kernel, const heddle_call *call,
                                  heddle_error **error);
/* Checks everything, then launches. Nothing has run after HEDDLE_INVALID_ARGUMENT. */
heddle_status heddle_kernel_launch(const heddle_kernel *kernel, const heddle_call *call,
                                   heddle_error **error);

/* ---- tuning -------------------------------------------------------------------------------------
 */

/* Returns 0 to stop the sweep after what is being measured. */
typedef int (*heddle_tune_callback)(void *user, int64_t done, int64_t total, const char *note);

typedef struct heddle_tune_options {
  size_t size;
  int64_t budget; /* most candidates, nearest to the default first; 0: all legal ones */
  heddle_tune_callback progress;
  void *progress_user;
} heddle_tune_options;

/* Measures candidate schedules on the call's tensors, which the request must be for too, each
 * checked against the pattern's definition first; results are overwritten. The winner is kept in
 * the store, and what comes next takes it. The callback, which may be NULL, gets a JSON object:
 * winner, candidates, measured, reused, ties. `options` may be NULL. */
heddle_status heddle_pattern_tune(heddle_pattern *pattern, const heddle_request *request,
                                  const heddle_call *call, const heddle_tune_options *options,
                                  heddle_bytes_callback callback, void *user, heddle_error **error);

/* ---- store --------------------------------------------------------------------------------------
 */

/* A record by kind ("artifact", "signature", "winner", "measurement") and key (1 to 128 letters,
 * digits, '-', '_', '.'). HEDDLE_NOT_FOUND if there is none or no store. */
heddle_status heddle_store_get(heddle_context *context, const char *kind, const char *key,
                               heddle_bytes_callback callback, void *user, heddle_error **error);
heddle_status heddle_store_put(heddle_context *context, const char *kind, const char *key,
                               const void *bytes, size_t size, heddle_error **error);
/* Makes a schedule the one that requests like this without a schedule get. */
heddle_status heddle_store_set_winner(heddle_context *context, const char *request_text,
                                      size_t size, const char *schedule, heddle_error **error);

#ifdef __cplusplus
}
#endif

#endif
