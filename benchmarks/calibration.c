/* What the machine can do, on one or more threads: bytes a second, and vectors of 16 floats a second.
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

static __m512 read_all(const float *data, size_t count) {
    __m512 sum[8];
    for (int i = 0; i < 8; i++) sum[i] = _mm512_setzero_ps();
    for (size_t n = 0; n + 128 <= count; n += 128)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) sum[i] = _mm512_add_ps(sum[i], _mm512_loadu_ps(data + n + 16 * i));
    for (int i = 1; i < 8; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return sum[0];
}

/* Gathers (kind 1), permutes of two registers (2) or multiply-adds (3), 8 independent chains. */
#define CHAINS(operation)                                                   \
    for (long n = 0; n < repeats; n++) {                                    \
        a = operation(a); b = operation(b); c = operation(c); d = operation(d); \
        e = operation(e); f = operation(f); g = operation(g); h = operation(h); \
        __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h)); \
    }
#define GATHER(v) _mm512_add_ps(v, _mm512_i32gather_ps(_mm512_castps_si512(_mm512_and_ps(v, small)), data, 4))
#define PERMUTE(v) _mm512_permutex2var_ps(v, index, high)
#define MULTIPLY(v) _mm512_fmadd_ps(low, high, v)

static __m512 calculate(const float *data, long repeats, int kind) {
    __m512 low = _mm512_loadu_ps(data), high = _mm512_loadu_ps(data + 16), small = _mm512_castsi512_ps(_mm512_set1_epi32(1023));
    __m512 a = low, b = low, c = low, d = low, e = low, f = low, g = low, h = low;
    __m512i index = _mm512_set_epi32(3, 7, 19, 4, 5, 9, 10, 17, 30, 2, 6, 7, 8, 15, 3, 6);
    if (kind == 1) CHAINS(GATHER)
    else if (kind == 2) CHAINS(PERMUTE)
    else CHAINS(MULTIPLY)
    return _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)), _mm512_add_ps(_mm512_add_ps(e, f), _mm512_add_ps(g, h)));
}

static void *run(void *argument) {
    Job *job = argument;
    __m512 sum = _mm512_setzero_ps();
    if (job->kind) sum = calculate(job->data, job->repeats, job->kind);
    else for (long n = 0; n < job->repeats; n++) sum = _mm512_add_ps(sum, read_all(job->data, job->bytes / 4));
    job->result = _mm512_reduce_add_ps(sum);
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
