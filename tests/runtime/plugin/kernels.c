/* Hand-written kernels with the entry type of the CPU device, in place of compiled ones.
 *
 *   scale_rows   y = factor * x for 4 rows a grid point; the sum of y goes to partials[point]
 *   sum_partials s[0] = sum of the partials in ascending order
 *   add_index    s[0] += index of the repetition
 */
#include <stdint.h>

#ifndef SIGN
#define SIGN 1 /* -1 makes another image with the same entries */
#endif

struct block {
  const float *x;
  float *y, *s;
  int64_t x_stride, y_stride;
  int64_t rows, columns;
  double factor;
  double *partials;
  int64_t repeat;
};

void scale_rows(const void *data, int64_t first, int64_t last, void *scratch) {
  const struct block *b = data;
  double *sum = scratch; /* 64 bytes of this worker alone */
  for (int64_t point = first; point < last; ++point) {
    *sum = 0;
    for (int64_t row = 4 * point; row < 4 * point + 4 && row < b->rows; ++row)
      for (int64_t column = 0; column < b->columns; ++column) {
        const float y = (float)(SIGN * b->factor * b->x[row * b->x_stride + column]);
        b->y[row * b->y_stride + column] = y;
        *sum += y;
      }
    b->partials[point] = *sum;
  }
}

void sum_partials(const void *data, int64_t first, int64_t last, void *scratch) {
  const struct block *b = data;
  double sum = 0;
  (void)first, (void)last, (void)scratch;
  for (int64_t point = 0; point < (b->rows + 3) / 4; ++point)
    sum += b->partials[point];
  b->s[0] = (float)sum;
}

void add_index(const void *data, int64_t first, int64_t last, void *scratch) {
  const struct block *b = data;
  (void)first, (void)last, (void)scratch;
  b->s[0] += (float)b->repeat;
}
