/* SPDX-License-Identifier: MIT */
#include "core/hash.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/cursor.h"

static uint64_t key[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        ssize_t got = read(fd, key, sizeof key);
        close(fd);
        if (got == (ssize_t)sizeof key)
            return;
    }
    struct timespec now; /* without a random source: hard to guess from outside is enough */
    clock_gettime(CLOCK_MONOTONIC, &now);
    key[0] = (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32;
    key[1] = (uint64_t)(uintptr_t)&now;
}

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotate(v[1], 13) ^ v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17) ^ v[2]; v[2] = rotate(v[2], 32);
}

uint64_t gs_hash(const void *data, size_t n)
{
    const uint8_t *p = data;

    pthread_once(&once, draw_key);
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint64_t m = gs_load_u64(p + i);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    uint8_t tail[8] = {[7] = (uint8_t)n}; /* the rest, and the length's low byte */
    if (n % 8)
        memcpy(tail, p + (n & ~(size_t)7), n % 8);
    v[3] ^= gs_load_u64(tail);
    sip_round(v);
    v[0] ^= gs_load_u64(tail);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Words are mixed in by xor and a multiplication with an odd constant (FNV's construction on
 * 64-bit words), then the high half is folded down, which a product alone never does. */
uint64_t gs_fingerprint(uint64_t seed, const void *data, size_t n)
{
    const uint64_t prime = 0x9e3779b97f4a7c15u;
    const uint8_t *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;

    for (size_t i = 0; i + 8 <= n; i += 8) {
        h = (h ^ gs_load_u64(p + i)) * prime;
        h ^= h >> 32;
    }
    uint8_t tail[8] = {[7] = (uint8_t)n};
    if (n % 8)
        memcpy(tail, p + (n & ~(size_t)7), n % 8);
    h = (h ^ gs_load_u64(tail)) * prime;
    return h ^ h >> 29;
}
