/*
 * Locks and their kin, values and arrays as the raw side has them: plain futex
 * algorithms and atomic instructions on memory that the workers share. None of
 * them survives a death, times out, or knows who holds it.
 */
#ifndef WORDS_H
#define WORDS_H

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "workers.h"

/* DOUBLES_SUM: of at % 7 over the whole array. */
enum { DOUBLES_SUM = 2999997, SECTION_NS = 2000, SETTLE_NS = 200000, SHORT_SPIN = 250, RATIO_PARTS = 1000000 };

static void futex_wait(atomic_uint *word, unsigned seen) { syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL); }

static void futex_wake(atomic_uint *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE, count); }

static inline void relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

static inline void busy_ns(uint64_t ns)
{
    uint64_t end = now_ns() + ns;
    while (now_ns() < end)
        ;
}

/* Drepper's second mutex ("Futexes Are Tricky", https://akkadia.org/drepper/futex.pdf):
 * 0 is free, 1 taken, 2 taken with sleepers. */
static inline void lock(atomic_uint *word)
{
    unsigned seen = 0;
    if (atomic_compare_exchange_strong_explicit(word, &seen, 1, memory_order_acquire, memory_order_relaxed))
        return;
    if (seen != 2)
        seen = atomic_exchange_explicit(word, 2, memory_order_acquire);
    while (seen != 0) {
        futex_wait(word, 2);
        seen = atomic_exchange_explicit(word, 2, memory_order_acquire);
    }
}

static inline void unlock(atomic_uint *word)
{
    if (atomic_fetch_sub_explicit(word, 1, memory_order_release) != 1) {
        atomic_store_explicit(word, 0, memory_order_release);
        futex_wake(word, 1);
    }
}

/* A counting semaphore that sleeps at once. */
static void acquire(atomic_uint *value)
{
    unsigned seen = atomic_load_explicit(value, memory_order_relaxed);
    for (;;) {
        if (seen == 0) {
            futex_wait(value, 0);
            seen = atomic_load_explicit(value, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(value, &seen, seen - 1, memory_order_acquire,
                                                         memory_order_relaxed)) {
            return;
        }
    }
}

static void release(atomic_uint *value)
{
    atomic_fetch_add_explicit(value, 1, memory_order_release);
    futex_wake(value, 1);
}

/* A generation and a count; a short spin before the sleep. True for the last. */
static bool meet(unsigned parties)
{
    unsigned generation = atomic_load(&shared->generation);
    if (atomic_fetch_add(&shared->arrived, 1) + 1 == parties) {
        atomic_store(&shared->arrived, 0);
        atomic_store(&shared->generation, generation + 1);
        futex_wake(&shared->generation, INT_MAX);
        return true;
    }
    for (int i = 0; i < SHORT_SPIN; i++) {
        if (atomic_load_explicit(&shared->generation, memory_order_acquire) != generation)
            return false;
        relax();
    }
    while (atomic_load(&shared->generation) == generation)
        futex_wait(&shared->generation, generation);
    return false;
}

/* Bodies of the workers. */

static inline void empty_section(void)
{
    lock(&shared->lock);
    shared->guarded++;
    unlock(&shared->lock);
}

static inline void long_section(void)
{
    lock(&shared->lock);
    shared->guarded++;
    busy_ns(SECTION_NS);
    unlock(&shared->lock);
}

static inline void section_and_thought(void)
{
    long_section();
    busy_ns(SECTION_NS);
}

static inline void add(void) { atomic_fetch_add_explicit(&shared->counter, 1, memory_order_relaxed); }

static void empty_sections(unsigned worker, struct report *report) { take_turns(report, empty_section); }

static void long_sections(unsigned worker, struct report *report) { take_turns(report, long_section); }

static void sections_and_thoughts(unsigned worker, struct report *report) { take_turns(report, section_and_thought); }

static void adds(unsigned worker, struct report *report) { take_turns(report, add); }

static void uncontended(unsigned worker, struct report *report)
{
    for (uint64_t i = 0; i < round_operations; i++)
        empty_section();
    report->check = shared->guarded;
}

/* Workers 2n and 2n + 1 are a pair, with semaphores 2n and 2n + 1. */
static void ping_pong(unsigned worker, struct report *report)
{
    atomic_uint *own = &shared->semaphores[worker].value, *other = &shared->semaphores[worker ^ 1].value;
    for (uint64_t i = 0; i < round_operations; i++) {
        if (worker % 2 == 0) {
            release(other);
            acquire(own);
            report->check++;
        } else {
            acquire(own);
            release(other);
        }
    }
}

/* The sleeper says that it is about to sleep; the waker gives it the time to. */
static void sleep_and_stamp(unsigned worker, struct report *report)
{
    for (uint64_t i = 1; i <= round_operations; i++) {
        atomic_store(&shared->waiting, i);
        while (atomic_load(&shared->event) == 0)
            futex_wait(&shared->event, 0);
        report->count += now_ns() - atomic_load(&shared->set_ns);
        atomic_store(&shared->event, 0);
        report->check++;
    }
}

static void stamp_and_wake(unsigned worker, struct report *report)
{
    for (uint64_t i = 1; i <= round_operations; i++) {
        while (atomic_load(&shared->waiting) < i)
            sleep_ns(POLL_NS);
        sleep_ns(SETTLE_NS);
        atomic_store(&shared->set_ns, now_ns());
        atomic_store(&shared->event, 1);
        futex_wake(&shared->event, 1);
    }
}

static void meetings(unsigned parties, struct report *report)
{
    for (uint64_t i = 0; i < round_operations; i++)
        report->check += meet(parties);
}

static void sums(unsigned worker, struct report *report)
{
    for (uint64_t i = 0; i <= round_operations; i++) {
        double sum = 0;
        __asm__ volatile("" ::: "memory");
        for (unsigned at = 0; at < DOUBLES; at++)
            sum += shared->doubles[at];
        if (i == 0)
            report->began_ns = now_ns(); /* the first one touches the pages */
        else
            report->check += sum == DOUBLES_SUM;
    }
}

/* Rows. */

static uint64_t run(unsigned workers, void (*body)(unsigned, struct report *))
{
    for (unsigned w = 0; w < workers; w++)
        start_worker(body, w);
    open_gate();
    return join_workers();
}

/* How many turns were taken in a window, if that is what the shared count says. */
static struct answer count(uint64_t total)
{
    struct answer answer = {0};
    for (unsigned w = 0; w < round_workers; w++)
        answer.value += shared->reports[w].count;
    answer.check = answer.value == total;
    return answer;
}

/* The slowest of the workers, in parts of the fastest. */
static struct answer fairness(struct answer counted)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned w = 0; w < round_workers; w++) {
        uint64_t turns = shared->reports[w].count;
        least = turns < least ? turns : least;
        most = turns > most ? turns : most;
    }
    counted.value = least * RATIO_PARTS / most;
    return counted;
}

static struct answer contend(uint64_t operations, unsigned workers, void (*body)(unsigned, struct report *))
{
    prepare(operations);
    run(workers, body);
    return count(shared->guarded);
}

static struct answer lock_uncontended(uint64_t operations)
{
    prepare(operations);
    uint64_t took = run(1, uncontended);
    return (struct answer){took, sum_of_checks()};
}

static struct answer lock_2_empty(uint64_t window) { return contend(window, 2, empty_sections); }
static struct answer lock_4_empty(uint64_t window) { return contend(window, 4, empty_sections); }
static struct answer lock_2_2us(uint64_t window) { return contend(window, 2, long_sections); }
static struct answer lock_4_2us(uint64_t window) { return contend(window, 4, long_sections); }
static struct answer lock_2_think(uint64_t window) { return contend(window, 2, sections_and_thoughts); }
static struct answer lock_2_empty_fair(uint64_t window) { return fairness(lock_2_empty(window)); }
static struct answer lock_4_empty_fair(uint64_t window) { return fairness(lock_4_empty(window)); }
static struct answer lock_2_2us_fair(uint64_t window) { return fairness(lock_2_2us(window)); }
static struct answer lock_4_2us_fair(uint64_t window) { return fairness(lock_4_2us(window)); }

static struct answer semaphores(uint64_t operations, unsigned pairs)
{
    prepare(operations);
    uint64_t took = run(2 * pairs, ping_pong);
    return (struct answer){took, sum_of_checks() / pairs};
}

static struct answer semaphore_1_pair(uint64_t operations) { return semaphores(operations, 1); }
static struct answer semaphore_2_pairs(uint64_t operations) { return semaphores(operations, 2); }

static struct answer futex_wake_row(uint64_t operations)
{
    prepare(operations);
    start_worker(sleep_and_stamp, 0);
    start_worker(stamp_and_wake, 0);
    open_gate();
    join_workers();
    return (struct answer){shared->reports[0].count, sum_of_checks()};
}

static struct answer barrier(uint64_t operations, unsigned parties)
{
    prepare(operations);
    for (unsigned w = 0; w < parties; w++)
        start_worker(meetings, parties);
    open_gate();
    uint64_t took = join_workers();
    return (struct answer){took, sum_of_checks()};
}

static struct answer barrier_2(uint64_t operations) { return barrier(operations, 2); }
static struct answer barrier_4(uint64_t operations) { return barrier(operations, 4); }

static struct answer value_add_1(uint64_t window) { return contend(window, 1, empty_sections); }
static struct answer value_add_2(uint64_t window) { return contend(window, 2, empty_sections); }

static struct answer atomic_adds(uint64_t window, unsigned workers)
{
    prepare(window);
    run(workers, adds);
    return count(atomic_load(&shared->counter));
}

static struct answer value_fetch_add_1(uint64_t window) { return atomic_adds(window, 1); }
static struct answer value_fetch_add_2(uint64_t window) { return atomic_adds(window, 2); }

static struct answer array_sum(uint64_t operations)
{
    prepare(operations);
    for (unsigned at = 0; at < DOUBLES; at++)
        shared->doubles[at] = at % 7;
    uint64_t took = run(1, sums);
    return (struct answer){took, sum_of_checks()};
}

#endif
