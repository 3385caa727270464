/* The C interface from C11, with a compiler library that needs no LLVM: every function, and every
 * mistake it must survive. Prints the counts that tools/run_tests.py reads. */
#include "runtime/heddle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures = 0;
static int logged = 0;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                               \
      ++failures;                                                                                  \
    }                                                                                              \
  } while (0)

/* The call fails with this status, and the message holds this text. */
#define REFUSED(call, expected, text)                                                              \
  do {                                                                                             \
    heddle_error *error = NULL;                                                                    \
    const heddle_status status = (call);                                                           \
    CHECK(status == (expected));                                                                   \
    CHECK(heddle_error_status(error) == (expected));                                               \
    if (!strstr(heddle_error_message(error), text)) {                                              \
      printf("%s:%d: no '%s' in: %s\n", __FILE__, __LINE__, text, heddle_error_message(error));    \
      ++failures;                                                                                  \
    }                                                                                              \
    heddle_error_destroy(error);                                                                   \
  } while (0)

static void log_line(void *user, int level, const char *message) {
  (void)message;
  CHECK(user == &logged && (level == 1 || level == 2));
  ++logged;
}

struct buffer {
  char *bytes;
  size_t size;
};

static void keep(void *user, const void *bytes, size_t size) {
  struct buffer *buffer = user;
  free(buffer->bytes);
  buffer->bytes = malloc(size + 1);
  memcpy(buffer->bytes, bytes, size);
  buffer->bytes[size] = 0;
  buffer->size = size;
}

static heddle_tensor tensor(float *data, int32_t rank, int64_t rows, int64_t columns) {
  heddle_tensor t = {.data = data, .dtype = HEDDLE_F32, .rank = rank};
  t.shape[0] = rows;
  t.strides[0] = rank == 2 ? columns : 1;
  t.shape[1] = rank == 2 ? columns : 0;
  t.strides[1] = rank == 2;
  return t;
}

/* Runs y = factor * x and compares. */
static int computes(const heddle_kernel *kernel, double factor) {
  float x[7 * 10], y[7 * 10], s;
  double sum = 0;
  for (int n = 0; n < 70; ++n)
    x[n] = (float)(n % 13);
  const heddle_tensor tensors[] = {tensor(x, 2, 7, 10), tensor(y, 2, 7, 10), tensor(&s, 1, 1, 1)};
  const heddle_parameter parameters[] = {{"factor", factor}};
  int64_t bytes = -1;
  if (heddle_kernel_workspace(kernel, tensors, 3, parameters, 1, &bytes, NULL) || bytes <= 0)
    return 0;
  void *workspace = aligned_alloc(64, (size_t)bytes);
  const heddle_status status =
      heddle_kernel_launch(kernel, tensors, 3, parameters, 1, workspace, bytes, NULL);
  REFUSED(heddle_kernel_launch(kernel, tensors, 3, parameters, 1, workspace, bytes - 64, &error),
          HEDDLE_INVALID_ARGUMENT, "found a workspace of");
  free(workspace);
  for (int n = 0; n < 70; ++n) {
    if (y[n] != (float)factor * x[n])
      return 0;
    sum += y[n];
  }
  return status == HEDDLE_OK && s == (float)sum + 3;
}

static void test_errors(void) {
  CHECK(strlen(heddle_version_string()) >= 5);
  CHECK(heddle_error_status(NULL) == HEDDLE_OK);
  CHECK(strcmp(heddle_error_message(NULL), "") == 0);
  CHECK(heddle_error_note_count(NULL) == 0);
  CHECK(heddle_error_note(NULL, 0) == NULL);
  heddle_error_destroy(NULL);
  heddle_context_destroy(NULL);
  heddle_kernel_release(NULL);
  CHECK(heddle_kernel_tensor_count(NULL) == 0);
  CHECK(strcmp(heddle_kernel_schedule(NULL), "") == 0);
  heddle_kernel_artifact(NULL, NULL, NULL);
  heddle_kernel_request_text(NULL, NULL, NULL);
  heddle_tensor_info info = {.size = sizeof(info)};
  REFUSED(heddle_kernel_tensor(NULL, 0, &info, &error), HEDDLE_INVALID_ARGUMENT, "kernel");
}

static void test_context(const char *store) {
  heddle_context *context = NULL;
  heddle_context_options options = {.size = sizeof(options), .store_directory = store};
  options.threads = -1;
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_INVALID_ARGUMENT, "-1 threads");
  CHECK(context == NULL);
  options.threads = 1;
  options.device = "abacus";
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_NOT_FOUND, "'abacus'");
  options.size = 0;
  REFUSED(heddle_context_create(&options, &context, &error), HEDDLE_INVALID_ARGUMENT, "found size");
  REFUSED(heddle_context_create(&options, NULL, &error), HEDDLE_INVALID_ARGUMENT, "null pointer");
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_INVALID_ARGUMENT);
  options.size = sizeof(size_t) + sizeof(uint32_t); /* a caller that knows two fields */
  options.flags = HEDDLE_NO_STORE;
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_OK);
  heddle_context_destroy(context);
}

static void test_requests(heddle_context *context) {
  const heddle_extent extents[] = {{"T", 7}, {"D", 10}};
  const heddle_request good = {.size = sizeof(good),
                               .pattern = "scale",
                               .extents = extents,
                               .extent_count = 2,
                               .dtype = HEDDLE_F32};
  heddle_kernel *kernel = NULL;
  heddle_request bad = good;
  bad.pattern = NULL;
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "pattern");
  bad.pattern = "refuse";
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_PATTERN,
          "p.heddle:1:1: invalid pattern: found refuse");
  bad = good;
  bad.dtype = 77;
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "type 77");
  bad = good;
  bad.extents = NULL;
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "extents");
  bad = good;
  bad.extent_count = 1;
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "no extent for D");
  bad = good;
  bad.schedule = "BM";
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT,
          "KNOB=NUMBER");
  const heddle_parameter infinite[] = {{"factor", INFINITY}};
  bad = good;
  bad.parameters = infinite;
  bad.parameter_count = 1;
  REFUSED(heddle_kernel_get(context, &bad, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "finite");
  REFUSED(heddle_kernel_get(context, NULL, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "null");
  REFUSED(heddle_kernel_get(NULL, &good, &kernel, &error), HEDDLE_INVALID_ARGUMENT, "null");
  REFUSED(heddle_kernel_get_by_text(context, "x", 1, &kernel, &error), HEDDLE_CORRUPT_DATA, "");
  REFUSED(heddle_kernel_from_artifact(context, "x", 1, &kernel, &error), HEDDLE_CORRUPT_DATA, "");
  CHECK(kernel == NULL);
}

static void test_kernels(heddle_context *context) {
  const heddle_extent extents[] = {{"T", 7}, {"D", 10}};
  const heddle_request request = {.size = sizeof(request),
                                  .pattern = "scale",
                                  .extents = extents,
                                  .extent_count = 2,
                                  .dtype = HEDDLE_F32};
  heddle_kernel *kernel = NULL, *same = NULL, *loaded = NULL, *tuned = NULL;
  CHECK(heddle_kernel_get(context, &request, &kernel, NULL) == HEDDLE_OK);
  CHECK(logged == 1); /* that it was compiled */
  CHECK(computes(kernel, 2) && computes(kernel, -1.5));

  CHECK(heddle_kernel_tensor_count(kernel) == 3);
  heddle_tensor_info info = {.size = sizeof(info)};
  CHECK(heddle_kernel_tensor(kernel, 1, &info, NULL) == HEDDLE_OK);
  CHECK(strcmp(info.name, "y") == 0 && info.rank == 2 && info.is_result == 1);
  CHECK(info.dtype == HEDDLE_F32);
  REFUSED(heddle_kernel_tensor(kernel, 3, &info, &error), HEDDLE_INVALID_ARGUMENT, "tensor 3");

  struct buffer text = {NULL, 0}, artifact = {NULL, 0}, record = {NULL, 0};
  heddle_kernel_request_text(kernel, keep, &text);
  CHECK(heddle_kernel_get_by_text(context, text.bytes, text.size, &same, NULL) == HEDDLE_OK);
  heddle_kernel_artifact(kernel, keep, &artifact);
  CHECK(heddle_kernel_from_artifact(context, artifact.bytes, artifact.size, &loaded, NULL) ==
        HEDDLE_OK);
  CHECK(computes(same, 3) && computes(loaded, 4));

  CHECK(heddle_store_set_winner(context, text.bytes, text.size, "BM=8", NULL) == HEDDLE_OK);
  CHECK(heddle_kernel_get(context, &request, &tuned, NULL) == HEDDLE_OK);
  CHECK(strcmp(heddle_kernel_schedule(tuned), "BM=8") == 0);
  CHECK(heddle_store_put(context, "measurement", "k-1", "1.5 ms", 6, NULL) == HEDDLE_OK);
  CHECK(heddle_store_get(context, "measurement", "k-1", keep, &record, NULL) == HEDDLE_OK);
  CHECK(record.size == 6 && strcmp(record.bytes, "1.5 ms") == 0);
  REFUSED(heddle_store_get(context, "measurement", "k-2", keep, &record, &error), HEDDLE_NOT_FOUND,
          "k-2");
  REFUSED(heddle_store_put(context, "thing", "k", "", 0, &error), HEDDLE_INVALID_ARGUMENT, "thing");
  REFUSED(heddle_store_put(context, "winner", "../k", "", 0, &error), HEDDLE_INVALID_ARGUMENT,
          "../k");

  heddle_context_destroy(context); /* kernels live on */
  CHECK(computes(kernel, 5));
  heddle_tensor nothing = {.rank = 99};
  int64_t bytes = 0;
  REFUSED(heddle_kernel_workspace(kernel, &nothing, 1, NULL, 0, &bytes, &error),
          HEDDLE_INVALID_ARGUMENT, "99 dimensions");
  REFUSED(heddle_kernel_workspace(kernel, NULL, 3, NULL, 0, &bytes, &error),
          HEDDLE_INVALID_ARGUMENT, "null pointer");
  REFUSED(heddle_kernel_launch(kernel, &nothing, 0, NULL, 0, NULL, 0, &error),
          HEDDLE_INVALID_ARGUMENT, "found 0 tensors, expected 3: x, y, s");
  heddle_kernel_release(kernel);
  heddle_kernel_release(same);
  heddle_kernel_release(loaded);
  heddle_kernel_release(tuned);
  free(text.bytes);
  free(artifact.bytes);
  free(record.bytes);
}

int main(void) {
  char store[] = "/tmp/heddle-c-XXXXXX";
  if (!mkdtemp(store))
    return 1;
  test_errors();
  test_context(store);
  heddle_context *context = NULL;
  const heddle_context_options options = {.size = sizeof(options),
                                          .threads = 2,
                                          .store_directory = store,
                                          .compiler = FAKE_COMPILER,
                                          .log = log_line,
                                          .log_user = &logged};
  CHECK(heddle_context_create(&options, &context, NULL) == HEDDLE_OK);
  test_requests(context);
  test_kernels(context);
  char command[64];
  snprintf(command, sizeof(command), "rm -rf %s", store);
  CHECK(system(command) == 0);
  printf("heddle-test: %d passed, %d failed, 0 skipped\n", failures ? 3 : 4, failures ? 1 : 0);
  return failures != 0;
}
