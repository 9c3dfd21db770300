/*
 * What the programs of the raw side share: the clock, whole reads and writes, and
 * the conversation with the bench.
 *
 * It owns how a program is asked for a row and answers. It must never time
 * anything: a row reads the clock itself.
 *
 * On stdin: lines `row operations`. On stdout, for each: `ok VALUE CHECK`, where
 * VALUE is in the row's unit and CHECK proves that the work was done; or `err TEXT`.
 * A program ends with its stdin.
 */
#ifndef YARDSTICK_H
#define YARDSTICK_H

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROW_DEADLINE_S = 60 };

struct answer {
    uint64_t value;
    uint64_t check;
};

struct row {
    const char *name;
    struct answer (*run)(uint64_t operations);
};

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A broken yardstick measures nothing: say why and leave. The children follow,
 * because each asked for SIGKILL at its parent's death. */
static void fail(const char *what)
{
    printf("err %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static inline void write_all(int fd, const void *from, size_t size)
{
    const char *at = from;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("write");
        at += n;
        size -= (size_t)n;
    }
}

static inline void read_all(int fd, void *to, size_t size)
{
    char *at = to;
    while (size > 0) {
        ssize_t n = read(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("read");
        at += n;
        size -= (size_t)n;
    }
}

/* Answers until stdin ends. */
static int serve(const struct row *rows, size_t count)
{
    char name[64];
    uint64_t operations;
    while (scanf("%63s %" SCNu64, name, &operations) == 2) {
        size_t row = 0;
        while (row < count && strcmp(rows[row].name, name) != 0)
            row++;
        if (row == count) {
            printf("err no such row: %s\n", name);
        } else {
            alarm(ROW_DEADLINE_S); /* the default action ends a stuck yardstick */
            struct answer answer = rows[row].run(operations);
            alarm(0);
            printf("ok %" PRIu64 " %" PRIu64 "\n", answer.value, answer.check);
        }
        fflush(stdout);
    }
    return 0;
}

#endif
