/*
 * The raw side of the area `ipc`: what the same system calls and shared words take
 * in the fastest simple loop that C allows.
 *
 * It owns which rows there are; streams.h has pipes and queues, words.h locks, their
 * kin and shared memory, workers.h the processes that do a round. It must never use
 * anything that a library would add: no threads, no crash rules, no allocation. The
 * bench compiles it with `cc` (benches/versus/raw.rs), drives it and checks its
 * answers. A row whose name ends in a number of workers or a section is a window of
 * `operations` milliseconds and answers how many turns were taken.
 */
#define _GNU_SOURCE
#include "streams.h"
#include "words.h"

#define ROW(name) {#name, name}

static const struct row ROWS[] = {
    ROW(pipe_round_trip), ROW(pipe_64b_one_way), ROW(pipe_64b_duplex), ROW(pipe_64kib), ROW(pipe_1mib),
    ROW(queue_1_1), ROW(queue_4_4), ROW(queue_many_1_1), ROW(queue_many_4_4), ROW(queue_round_trip),
    {"queue_1mib", pipe_1mib},
    ROW(lock_uncontended), ROW(lock_2_empty), ROW(lock_2_empty_fair), ROW(lock_4_empty), ROW(lock_4_empty_fair),
    ROW(lock_2_2us), ROW(lock_2_2us_fair), ROW(lock_4_2us), ROW(lock_4_2us_fair), ROW(lock_2_think),
    ROW(semaphore_1_pair), ROW(semaphore_2_pairs),
    {"event_wake", futex_wake_row}, {"condition_wake", futex_wake_row},
    ROW(barrier_2), ROW(barrier_4),
    ROW(value_add_1), ROW(value_add_2), ROW(value_fetch_add_1), ROW(value_fetch_add_2), ROW(array_sum),
};

int main(void) { return serve(ROWS, sizeof ROWS / sizeof ROWS[0]); }
