/* What the machine can do, on one or more threads: bytes a second, and vectors of floats a second.
 * AVX-512 where the compiler is told so (-march=native), AVX2 otherwise.
 *
 *   cc -O3 -march=native calibration.c -o calibration -lpthread
 *   ./calibration THREADS
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __AVX512F__
typedef __m512 Vector;
typedef __m512i Index;
enum { LANES = 16 };
#define OF(name) _mm512_##name
#define TO_INDEX(v) _mm512_castps_si512(v)
#define TO_VECTOR(i) _mm512_castsi512_ps(i)
#define GATHER_FROM(data, index) _mm512_i32gather_ps(index, data, 4)
#define PERMUTE(v) _mm512_permutex2var_ps(v, index, high)
#else
typedef __m256 Vector;
typedef __m256i Index;
enum { LANES = 8 };
#define OF(name) _mm256_##name
#define TO_INDEX(v) _mm256_castps_si256(v)
#define TO_VECTOR(i) _mm256_castsi256_ps(i)
#define GATHER_FROM(data, index) _mm256_i32gather_ps(data, index, 4)
#define PERMUTE(v) _mm256_permutevar8x32_ps(v, index)
#endif

enum { NEAR_BYTES = 1 << 23, FAR_BYTES = 1 << 28, ROUNDS = 7, MOST_THREADS = 256 };

typedef struct {
    float *data;
    size_t bytes;
    long repeats;
    int kind;
    float result;
} Job;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static Vector read_all(const float *data, size_t count) {
    Vector sum[8];
    for (int i = 0; i < 8; i++) sum[i] = OF(setzero_ps)();
    for (size_t n = 0; n + 8 * LANES <= count; n += 8 * LANES)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) sum[i] = OF(add_ps)(sum[i], OF(loadu_ps)(data + n + LANES * i));
    for (int i = 1; i < 8; i++) sum[0] = OF(add_ps)(sum[0], sum[i]);
    return sum[0];
}

/* Gathers (kind 1), permutes of registers (2) or multiply-adds (3), 8 independent chains. */
#define CHAINS(operation)                                                   \
    for (long n = 0; n < repeats; n++) {                                    \
        a = operation(a); b = operation(b); c = operation(c); d = operation(d); \
        e = operation(e); f = operation(f); g = operation(g); h = operation(h); \
        __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f), "+x"(g), "+x"(h)); \
    }
#define GATHER(v) OF(add_ps)(v, GATHER_FROM(data, TO_INDEX(OF(and_ps)(v, small))))
#define MULTIPLY(v) OF(fmadd_ps)(low, high, v)

static Vector calculate(const float *data, long repeats, int kind) {
    Vector low = OF(loadu_ps)(data), high = OF(loadu_ps)(data + LANES), small = TO_VECTOR(OF(set1_epi32)(1023));
    Vector a = low, b = low, c = low, d = low, e = low, f = low, g = low, h = low;
    static const int places[16] = {3, 7, 19, 4, 5, 9, 10, 17, 30, 2, 6, 7, 8, 15, 3, 6};
    Index index;
    memcpy(&index, places, sizeof index);
    if (kind == 1) CHAINS(GATHER)
    else if (kind == 2) CHAINS(PERMUTE)
    else CHAINS(MULTIPLY)
    return OF(add_ps)(OF(add_ps)(OF(add_ps)(a, b), OF(add_ps)(c, d)), OF(add_ps)(OF(add_ps)(e, f), OF(add_ps)(g, h)));
}

static void *run(void *argument) {
    Job *job = argument;
    Vector sum = OF(setzero_ps)();
    if (job->kind) sum = calculate(job->data, job->repeats, job->kind);
    else for (long n = 0; n < job->repeats; n++) sum = OF(add_ps)(sum, read_all(job->data, job->bytes / 4));
    float part[LANES];
    OF(storeu_ps)(part, sum);
    for (int i = 0; i < LANES; i++) job->result += part[i];
    return NULL;
}

/* Units a second of all threads together, the best of several rounds. */
static double rate(float *data, int threads, int kind, size_t bytes, long repeats, double units) {
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread[MOST_THREADS];
        Job job[MOST_THREADS];
        double start = seconds();
        for (int i = 0; i < threads; i++) {
            job[i] = (Job){data + i * (bytes / 4), bytes, repeats, kind, 0};
            pthread_create(&thread[i], NULL, run, &job[i]);
        }
        for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
        double found = threads * repeats * units / (seconds() - start);
        if (found > best) best = found;
    }
    return best;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    size_t near = NEAR_BYTES / threads, far = FAR_BYTES / threads;
    float *data = aligned_alloc(64, FAR_BYTES);
    memset(data, 0, FAR_BYTES);
    printf("{\"cache_bytes\": %.4g, ", rate(data, threads, 0, near, 40, near));
    printf("\"memory_bytes\": %.4g, ", rate(data, threads, 0, far, 1, far));
    printf("\"gathers\": %.4g, ", rate(data, threads, 1, near, 200000, 8));
    printf("\"permutes\": %.4g, ", rate(data, threads, 2, near, 2000000, 8));
    printf("\"multiplications\": %.4g}\n", rate(data, threads, 3, near, 2000000, 8));
    return 0;
}
