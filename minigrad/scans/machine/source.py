"""The C that every function of lines has: its frame, and how numbers are moved."""

TEXT = """{head}
#define T {number}
typedef void (*gemm_t)(int, int, int, int64_t, int64_t, int64_t, T, const T *, int64_t, const T *,
    int64_t, T, T *, int64_t);
typedef void (*gemv_t)(int, int, int64_t, int64_t, T, const T *, int64_t, const T *, int64_t, T,
    T *, int64_t);
{copies}{kernels}{rows}
{function}
"""

# A matrix that lies column by column is turned in blocks of 16 by 16, in four rounds that
# interleave rows: 0.27 ms for 100 of 256 by 64, where loops took 0.64, and NumPy 0.69.
COPIES = """
static inline void copy(intptr_t n, const T *x, T *y) {
    for (intptr_t i = 0; i < n; i++) y[i] = x[i];
}
static inline void add(intptr_t n, const T *x, T *y) {
    for (intptr_t i = 0; i < n; i++) y[i] += x[i];
}
#define ZIP(a, b, k) __builtin_shufflevector(a, b, k, k + 16, k + 1, k + 17, k + 2, k + 18, k + 3, \
    k + 19, k + 4, k + 20, k + 5, k + 21, k + 6, k + 22, k + 7, k + 23)
static void tile(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along, T *y,
    intptr_t to) {
#if __has_builtin(__builtin_shufflevector)
    if (down == 1 && n == 16 && m == 16) {
        typedef T row __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T))));
        row a[16], b[16];
        for (int k = 0; k < 16; k++) a[k] = *(const row *)(x + k * along);
        for (int round = 0; round < 4; round++) {
            for (int k = 0; k < 8; k++) b[2 * k] = ZIP(a[k], a[k + 8], 0);
            for (int k = 0; k < 8; k++) b[2 * k + 1] = ZIP(a[k], a[k + 8], 8);
            for (int k = 0; k < 16; k++) a[k] = b[k];
        }
        for (int k = 0; k < 16; k++) *(row *)(y + k * to) = a[k];
        return;
    }
#endif
    for (intptr_t i = 0; i < n; i++)
        for (intptr_t j = 0; j < m; j++) y[i * to + j] = x[i * down + j * along];
}
static void move(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along, T *y,
    intptr_t to_down, intptr_t to_along) {
    if (to_along != 1 && to_down == 1) move(m, n, x, along, down, y, to_along, to_down);
    else if (to_along != 1)
        for (intptr_t i = 0; i < n; i++) for (intptr_t j = 0; j < m; j++)
            y[i * to_down + j * to_along] = x[i * down + j * along];
    else if (along == 1 && down == m && to_down == m) copy(n * m, x, y);
    else if (along == 1) for (intptr_t i = 0; i < n; i++) copy(m, x + i * down, y + i * to_down);
    else for (intptr_t i = 0; i < n; i += 16) for (intptr_t j = 0; j < m; j += 16)
        tile(n - i < 16 ? n - i : 16, m - j < 16 ? m - j : 16, x + i * down + j * along, down,
            along, y + i * to_down + j, to_down);
}
static inline const T *dense(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along,
    T *y) {
    if (along == 1 && down == m) return x;
    move(n, m, x, down, along, y, m, 1);
    return y;
}
"""

LOOP = """
void run(intptr_t first, intptr_t step, intptr_t begin, intptr_t end, intptr_t count, T **at,
    const intptr_t *apart, gemm_t gemm, gemv_t gemv) {{
{names}
{spaces}
{before}
    for (intptr_t k = begin; k < end; k++) {{
        const intptr_t t = first + k * step;
{body}
    }}
{after}
}}
"""

# NumPy gives a function of whole arrays their strides in bytes, behind as many steps as arrays.
BLOCK = """
#define SIZE (intptr_t)sizeof(T)
__attribute__((optimize("O1"))) /* or gcc takes 20 s, not 1, for a loop of 50 steps written out */
void loop_{number}(char **given, const intptr_t *dims, const intptr_t *steps, void *data) {{
    const gemm_t gemm = ((void **)data)[0];
    const gemv_t gemv = ((void **)data)[1];
    T *const work = malloc({room} * sizeof(T)), *at[{count}], *copies[{count}] = {{0}};
{spaces}
{arrays}
{names}
{before}
{body}
{after}
    free(work);
    for (int k = 0; k < {count}; k++) free(copies[k]);
    if (fetestexcept(REPORTED)) feclearexcept(REPORTED);
}}
"""
