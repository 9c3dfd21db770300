/*
 * Worker processes of the raw side: forked for one round, started together through
 * a gate in shared memory, and asked afterwards what they did and when.
 *
 * It owns the memory that a round's processes share. It must never add to what a
 * row times: each worker reads the clock after the gate and at its own end.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "yardstick.h"

enum { MOST_WORKERS = 8, DOUBLES = 1000000, GATE_NS = 1000000, POLL_NS = 50000, BATCH = 64 };

/* One cache line each, so that no row pays for a neighbour's writes. */
#define LINE _Alignas(64)

struct report {
    LINE uint64_t began_ns;
    uint64_t ended_ns, count, check;
};

static struct shared {
    LINE atomic_uint ready;
    _Atomic uint64_t start_ns;
    struct report reports[MOST_WORKERS];
    /* The words of the rows about locks and their kin; zero when a round begins. */
    LINE atomic_uint lock;
    LINE volatile uint64_t guarded;
    LINE _Atomic uint64_t counter;
    struct {
        LINE atomic_uint value;
    } semaphores[4];
    LINE atomic_uint event;
    _Atomic uint64_t waiting, set_ns;
    LINE atomic_uint arrived;
    LINE atomic_uint generation;
    LINE double doubles[DOUBLES];
} *shared;

/* What the current round is about; set before the workers are forked. */
static uint64_t round_operations;
static unsigned round_workers;
static pid_t pids[MOST_WORKERS];

static void sleep_ns(uint64_t ns)
{
    struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&pause, NULL);
}

/* A new round: nothing of the last one is left but the array of doubles. */
static void prepare(uint64_t operations)
{
    if (!shared) {
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
            fail("mmap");
    }
    memset(shared, 0, offsetof(struct shared, doubles));
    round_operations = operations;
    round_workers = 0;
}

/* How many of the round's operations fall to one of `count` equal workers. */
static uint64_t portion(unsigned worker, unsigned count)
{
    return round_operations / count + (worker < round_operations % count);
}

static void pass_gate(void)
{
    atomic_fetch_add(&shared->ready, 1);
    uint64_t start;
    while ((start = atomic_load(&shared->start_ns)) == 0)
        sleep_ns(POLL_NS);
    uint64_t now = now_ns();
    if (start > now)
        sleep_ns(start - now);
}

static void start_worker(void (*run)(unsigned worker, struct report *report), unsigned argument)
{
    unsigned worker = round_workers++;
    pids[worker] = fork();
    if (pids[worker] < 0)
        fail("fork");
    if (pids[worker] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(ROW_DEADLINE_S); /* alarms are not inherited */
        struct report *report = &shared->reports[worker];
        pass_gate();
        report->began_ns = now_ns();
        run(argument, report);
        report->ended_ns = now_ns();
        _exit(0);
    }
}

static void open_gate(void)
{
    while (atomic_load(&shared->ready) < round_workers)
        sleep_ns(POLL_NS);
    atomic_store(&shared->start_ns, now_ns() + GATE_NS);
}

/* Waits for all, and gives the time from the first begin to the last end. */
static uint64_t join_workers(void)
{
    uint64_t began = UINT64_MAX, ended = 0;
    for (unsigned w = 0; w < round_workers; w++) {
        int status = -1;
        if (waitpid(pids[w], &status, 0) != pids[w] || status != 0)
            fail("a worker failed");
        const struct report *report = &shared->reports[w];
        began = report->began_ns < began ? report->began_ns : began;
        ended = report->ended_ns > ended ? report->ended_ns : ended;
    }
    return ended - began;
}

static uint64_t sum_of_checks(void)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < round_workers; w++)
        sum += shared->reports[w].check;
    return sum;
}

/* Turns until the window of `round_operations` milliseconds is over, in batches so
 * that the clock is not what is measured. */
static inline __attribute__((always_inline)) void take_turns(struct report *report, void (*turn)(void))
{
    uint64_t end = atomic_load(&shared->start_ns) + round_operations * 1000000u, count = 0;
    do {
        for (int i = 0; i < BATCH; i++)
            turn();
        count += BATCH;
    } while (now_ns() < end);
    report->count = count;
}

#endif
