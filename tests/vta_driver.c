/* VTA's driver functions over a plain interpreter of streams: one instruction after the other, in the
   order that tokens allow, written apart from the project's simulator. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA (1u << 28)
#define PAGE 4096u

static uint8_t* arena;
static uint32_t used = PAGE;

static uint32_t uop[8192];
static int8_t inp[2048][16], wgt[1024][16][16];
static int32_t acc[2048][16];
int vta_test_runs = 0;

void* VTAMemAlloc(size_t size, int cached) {
  (void)cached;
  if (!arena && posix_memalign((void**)&arena, PAGE, ARENA)) return NULL;
  uint32_t pages = (uint32_t)((size + PAGE - 1) / PAGE);
  if (used + pages * PAGE > ARENA) return NULL;
  void* found = arena + used;
  used += pages * PAGE;
  memset(found, 0x5a, pages * PAGE);
  return found;
}
uint32_t VTAMemGetPhyAddr(void* p) { return (uint32_t)((uint8_t*)p - arena); }
void VTAMemFree(void* p) { (void)p; }
void VTAFlushCache(void* v, uint32_t p, int n) { (void)v; (void)p; (void)n; }
void VTAInvalidateCache(void* v, uint32_t p, int n) { (void)v; (void)p; (void)n; }
void VTAMemCopyFromHost(void* d, const void* s, size_t n) { memcpy(d, s, n); }
void VTAMemCopyToHost(void* d, const void* s, size_t n) { memcpy(d, s, n); }
void* VTADeviceAlloc(void) { return arena ? arena : VTAMemAlloc(1, 0); }
void VTADeviceFree(void* d) { (void)d; }

static uint32_t bits(const uint64_t* w, int low, int n) {
  return (uint32_t)(w[low / 64] >> (low % 64) & ((1ull << n) - 1));
}

static void load(const uint64_t* w) {
  static const int sizes[] = {4, 256, 16, 64};
  uint32_t id = bits(w, 7, 3), at = bits(w, 10, 16), base = bits(w, 26, 32);
  uint32_t rows = bits(w, 64, 16), columns = bits(w, 80, 16), stride = bits(w, 96, 16);
  uint32_t top = bits(w, 112, 4), bottom = bits(w, 116, 4), left = bits(w, 120, 4),
           right = bits(w, 124, 4);
  uint8_t* pads[] = {(uint8_t*)uop, (uint8_t*)wgt, (uint8_t*)inp, (uint8_t*)acc};
  size_t size = sizes[id];
  uint8_t* to = pads[id] + at * size;
  for (uint32_t y = 0; y < top + rows + bottom; ++y)
    for (uint32_t x = 0; x < left + columns + right; ++x, to += size) {
      int inside = y >= top && y < top + rows && x >= left && x < left + columns;
      if (inside)
        memcpy(to, arena + (base + (size_t)(y - top) * stride + x - left) * size, size);
      else
        memset(to, 0, size);
    }
}

static void store(const uint64_t* w) {
  uint32_t at = bits(w, 10, 16), base = bits(w, 26, 32);
  uint32_t rows = bits(w, 64, 16), columns = bits(w, 80, 16), stride = bits(w, 96, 16);
  for (uint32_t y = 0; y < rows; ++y)
    for (uint32_t x = 0; x < columns; ++x, ++at)
      for (int lane = 0; lane < 16; ++lane)
        arena[(base + (size_t)y * stride + x) * 16 + lane] = (uint8_t)acc[at][lane];
}

static void loop(const uint64_t* w, int alu) {
  uint32_t begin = bits(w, 8, 13), end = bits(w, 21, 14);
  for (uint32_t o = 0; o < bits(w, 35, 14); ++o)
    for (uint32_t i = 0; i < bits(w, 49, 14); ++i)
      for (uint32_t u = begin; u < end; ++u) {
        uint32_t d = (uop[u] & 2047) + o * bits(w, 64, 11) + i * bits(w, 75, 11);
        uint32_t s = (uop[u] >> 11 & 2047) + o * bits(w, 86, 11) + i * bits(w, 97, 11);
        if (alu) {
          int16_t imm = (int16_t)bits(w, 112, 16);
          for (int n = 0; n < 16; ++n) {
            int32_t x = acc[d][n], y = bits(w, 111, 1) ? imm : acc[s][n];
            switch (bits(w, 108, 3)) {
              case 0: x = x < y ? x : y; break;
              case 1: x = x > y ? x : y; break;
              case 2: x = (int32_t)((uint32_t)x + (uint32_t)y); break;
              case 3: x = y >= 0 ? x >> y : (int32_t)((uint32_t)x << -y); break;
              default: abort();
            }
            acc[d][n] = x;
          }
        } else if (bits(w, 7, 1)) {
          memset(acc[d], 0, sizeof acc[d]);
        } else {
          uint32_t k = (uop[u] >> 22) + o * bits(w, 108, 10) + i * bits(w, 118, 10);
          for (int n = 0; n < 16; ++n)
            for (int j = 0; j < 16; ++j) acc[d][n] += (int32_t)inp[s][j] * wgt[k][n][j];
        }
      }
}

/* Queue 0 loads, 1 computes, 2 stores; tokens[a][b] wait from queue a to queue b. */
int VTADeviceRun(void* device, uint32_t address, uint32_t count, uint32_t wait) {
  (void)device; (void)wait;
  const uint64_t* code = (const uint64_t*)(arena + address);
  uint32_t next[3] = {0, 0, 0};
  int tokens[3][3] = {{0}}, moved = 1;
  ++vta_test_runs;
  while (moved) {
    moved = 0;
    for (int q = 2; q >= 0; --q) {
      for (;;) {
        const uint64_t* w = NULL;
        for (; next[q] < count; ++next[q]) {
          const uint64_t* each = code + 2 * next[q];
          uint32_t op = bits(each, 0, 3), id = bits(each, 7, 3);
          int queue = op == 1 ? 2 : op == 0 && (id == 1 || id == 2) ? 0 : 1;
          if (queue == q) { w = each; break; }
        }
        if (!w) break;
        if (bits(w, 3, 1) && !tokens[q - 1][q]) break;
        if (bits(w, 4, 1) && !tokens[q + 1][q]) break;
        if (bits(w, 3, 1)) --tokens[q - 1][q];
        if (bits(w, 4, 1)) --tokens[q + 1][q];
        uint32_t op = bits(w, 0, 3);
        if (op == 0 && bits(w, 80, 16)) load(w);
        if (op == 1 && bits(w, 80, 16)) store(w);
        if (op == 2 || op == 4) loop(w, op == 4);
        if (bits(w, 5, 1)) ++tokens[q][q - 1];
        if (bits(w, 6, 1)) ++tokens[q][q + 1];
        ++next[q];
        moved = 1;
        if (op == 3) return 0;
      }
    }
  }
  return 1;
}
