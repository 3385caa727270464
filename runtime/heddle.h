/* Heddle's C interface: kernels for attention and retention patterns, compiled on first use, kept
 * in a store, launched on the caller's tensors. C11 and C++20.
 *
 *   heddle_context *context;                       heddle_error *error = NULL;
 *   heddle_context_options options = {.size = sizeof options, .threads = 8};
 *   if (heddle_context_create(&options, &context, &error)) { puts(heddle_error_message(error)); ...
 * }
 *
 * Rules
 * - Objects are opaque. What a function creates, the caller gives back with the matching destroy or
 *   release function; NULL is allowed there. Texts that an accessor returns live as long as the
 *   object.
 * - A function that can fail returns a heddle_status: 0, or what kind of mistake it was. If `error`
 *   is not NULL it then points to an error object that the caller destroys; on success it is left
 *   alone. Nothing is thrown.
 * - Structs with a `size` field grow at the end only: set it to sizeof the struct and the rest to
 * 0.
 * - A context may be used by several threads at once; so may a kernel, with a workspace for each
 *   launch in flight. There is no global state. A launch allocates nothing. */
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
  HEDDLE_INTERNAL = 10
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
  HEDDLE_NO_COMPILE = 4,         /* a kernel that is not in the store is an error */
  HEDDLE_NO_WINNERS = 8          /* ignore what sweeps found best */
};

/* level 1: normal but slow, 2: work goes on, but not as asked. May come from several threads. */
typedef void (*heddle_log_callback)(void *user, int level, const char *message);

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
} heddle_context_options;

/* `options` may be NULL: all defaults. */
heddle_status heddle_context_create(const heddle_context_options *options, heddle_context **context,
                                    heddle_error **error);
/* Kernels live on. */
void heddle_context_destroy(heddle_context *context);

/* ---- kernels ------------------------------------------------------------------------------------
 */

typedef struct heddle_extent {
  const char *name; /* a dim of the pattern; "T" sets every length, "H" every head count */
  int64_t value;
} heddle_extent;

typedef struct heddle_parameter {
  const char *name;
  double value; /* integral where the parameter is an integer */
} heddle_parameter;

typedef struct heddle_request {
  size_t size;
  const char *pattern; /* the text of a pattern file */
  const char *name;    /* which pattern of the text; NULL: the only one */
  const heddle_extent *extents;
  size_t extent_count;
  const heddle_parameter *parameters; /* constants that differ from their default */
  size_t parameter_count;
  int32_t dtype;        /* heddle_dtype of tensors without a type of their own */
  int32_t unaligned;    /* not 0: rows may start anywhere, not only at multiples of 64 bytes */
  const char *form;     /* NULL: chosen; attention, recurrent, chunked */
  const char *schedule; /* NULL: the winner of a sweep, else the default; "BM=64,BN=128" */
  const char *flags;    /* NULL; code-generation flags */
} heddle_request;

/* The kernel for a request: from memory, the store, or the compiler. Lengths and batch of the
 * request choose a class of kernels; a launch may have any that the kernel's class admits. */
heddle_status heddle_kernel_get(heddle_context *context, const heddle_request *request,
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
/* "ISA=5,BM=64,..." */
const char *heddle_kernel_schedule(const heddle_kernel *kernel);

typedef struct heddle_tensor_info {
  size_t size;
  const char *name;
  int32_t dtype;
  int32_t rank;
  int32_t is_result;
} heddle_tensor_info;

/* Tensors in the order a launch takes them: inputs, then results. */
size_t heddle_kernel_tensor_count(const heddle_kernel *kernel);
heddle_status heddle_kernel_tensor(const heddle_kernel *kernel, size_t index,
                                   heddle_tensor_info *info, heddle_error **error);

/* ---- launches -----------------------------------------------------------------------------------
 */

typedef struct heddle_tensor {
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[HEDDLE_MAX_RANK];
  int64_t strides[HEDDLE_MAX_RANK]; /* in elements; the innermost must be 1 */
} heddle_tensor;

/* Bytes of workspace that a launch with these tensors and parameters needs; the same checks as the
 * launch. */
heddle_status heddle_kernel_workspace(const heddle_kernel *kernel, const heddle_tensor *tensors,
                                      size_t tensor_count, const heddle_parameter *parameters,
                                      size_t parameter_count, int64_t *bytes, heddle_error **error);
/* Checks everything, then runs to the end. `workspace` is 64-byte aligned. Nothing has run after
 * HEDDLE_INVALID_ARGUMENT. */
heddle_status heddle_kernel_launch(const heddle_kernel *kernel, const heddle_tensor *tensors,
                                   size_t tensor_count, const heddle_parameter *parameters,
                                   size_t parameter_count, void *workspace, int64_t workspace_bytes,
                                   heddle_error **error);

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
