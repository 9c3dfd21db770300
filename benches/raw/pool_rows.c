/*
 * The raw side of the area `pool`: workers over sockets, without any encoding, in the
 * fastest simple loop that C allows.
 *
 * It owns a pool of forked workers that square numbers. It must never use anything that a
 * library would add: no threads, no crash rules, no allocation inside a timed section. The
 * bench compiles it with `cc` (benches/versus/raw.rs), drives it and checks its answers.
 *
 * VALUE is nanoseconds for all operations. The conversation is in yardstick.h.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "yardstick.h"

enum { MOST = 4, CHUNK = 125000, ITEMS = 1000000, WINDOW = 32, MIB = 1 << 20 };

struct worker {
    pid_t pid;
    int socket;
};

static struct worker workers[MOST];
static unsigned count;
static uint64_t numbers[ITEMS], results[ITEMS];
static char large[MIB], back[MIB];

/* Bodies of the workers; each ends with its socket. */

static void square_as_they_come(int socket)
{
    uint64_t tasks[WINDOW];
    ssize_t size;
    while ((size = read(socket, tasks, sizeof tasks)) > 0) {
        /* The rest of one that came in part. */
        size_t cut = (size_t)size % sizeof *tasks;
        if (cut) {
            read_all(socket, (char *)tasks + size, sizeof *tasks - cut);
            size += (ssize_t)(sizeof *tasks - cut);
        }
        for (size_t i = 0; i < (size_t)size / sizeof *tasks; i++)
            tasks[i] *= tasks[i];
        write_all(socket, tasks, (size_t)size);
    }
}

static void square_chunks(int socket)
{
    for (;;) {
        size_t have = 0;
        while (have < sizeof(uint64_t) * CHUNK) {
            ssize_t size = read(socket, (char *)numbers + have, sizeof(uint64_t) * CHUNK - have);
            if (size <= 0)
                return;
            have += (size_t)size;
        }
        for (size_t i = 0; i < CHUNK; i++)
            numbers[i] *= numbers[i];
        write_all(socket, numbers, sizeof(uint64_t) * CHUNK);
    }
}

static void echo_large(int socket)
{
    for (;;) {
        for (size_t have = 0; have < MIB;) {
            ssize_t size = read(socket, large + have, MIB - have);
            if (size <= 0)
                return;
            have += (size_t)size;
        }
        write_all(socket, large, MIB);
    }
}

static void start_one(struct worker *worker, void (*body)(int))
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    worker->pid = fork();
    if (worker->pid < 0)
        fail("fork");
    if (worker->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        for (unsigned w = 0; w < count; w++)
            if (&workers[w] != worker)
                close(workers[w].socket);
        body(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    worker->socket = ends[0];
}

static void start(unsigned wanted, void (*body)(int))
{
    for (count = 0; count < wanted; count++)
        start_one(&workers[count], body);
}

static void stop(void)
{
    for (unsigned w = 0; w < count; w++)
        close(workers[w].socket);
    for (unsigned w = 0; w < count; w++)
        if (waitpid(workers[w].pid, NULL, 0) != workers[w].pid)
            fail("waitpid");
}

static uint64_t ask(int socket, uint64_t number)
{
    write_all(socket, &number, sizeof number);
    read_all(socket, &number, sizeof number);
    return number;
}

/* Rows. */

static struct answer pool_map_1m(uint64_t operations)
{
    struct answer answer = {0, 0};
    for (size_t i = 0; i < ITEMS; i++)
        numbers[i] = i;
    start(2, square_chunks);
    for (uint64_t op = 0; op < operations; op++) {
        uint64_t began = now_ns();
        unsigned sent = 0, taken = 0;
        while (taken < ITEMS / CHUNK) {
            for (; sent < ITEMS / CHUNK && sent < taken + count; sent++)
                write_all(workers[sent % count].socket, numbers + sent * CHUNK, sizeof(uint64_t) * CHUNK);
            read_all(workers[taken % count].socket, results + taken * CHUNK, sizeof(uint64_t) * CHUNK);
            taken++;
        }
        answer.value += now_ns() - began;
        answer.check += results[ITEMS - 1] == (uint64_t)(ITEMS - 1) * (ITEMS - 1);
    }
    stop();
    return answer;
}

static struct answer stream(uint64_t operations, unsigned wanted)
{
    static uint64_t tasks[WINDOW];
    uint64_t given = 0, taken = 0, sum = 0, under_way[MOST] = {0};
    struct pollfd ready[MOST];
    start(wanted, square_as_they_come);
    for (unsigned w = 0; w < count; w++)
        ready[w] = (struct pollfd){.fd = workers[w].socket, .events = POLLIN};
    uint64_t began = now_ns();
    while (taken < operations) {
        for (unsigned w = 0; w < count; w++) {
            /* As a pool does: what has become free is supplied again. */
            size_t room = under_way[w] > WINDOW / 2 ? 0 : WINDOW - under_way[w], n = 0;
            while (n < room && given < operations)
                tasks[n++] = given++;
            if (n > 0)
                write_all(ready[w].fd, tasks, n * sizeof *tasks);
            under_way[w] += n;
        }
        if (poll(ready, count, -1) < 0)
            fail("poll");
        for (unsigned w = 0; w < count; w++) {
            if (!(ready[w].revents & POLLIN))
                continue;
            ssize_t size = read(ready[w].fd, tasks, sizeof tasks);
            if (size <= 0 || size % (ssize_t)sizeof *tasks)
                fail("read of results");
            for (size_t i = 0; i < (size_t)size / sizeof *tasks; i++)
                sum += tasks[i];
            under_way[w] -= (size_t)size / sizeof *tasks;
            taken += (size_t)size / sizeof *tasks;
        }
    }
    struct answer answer = {now_ns() - began, operations};
    uint64_t wanted_sum = 0;
    for (uint64_t i = 0; i < operations; i++)
        wanted_sum += i * i;
    answer.check = sum == wanted_sum ? operations : 0;
    stop();
    return answer;
}

static struct answer pool_imap_2(uint64_t operations) { return stream(operations, 2); }

static struct answer pool_imap_4(uint64_t operations) { return stream(operations, 4); }

static struct answer pool_apply(uint64_t operations)
{
    struct answer answer = {0, 0};
    start(2, square_as_they_come);
    uint64_t began = now_ns();
    for (uint64_t op = 0; op < operations; op++)
        answer.check += ask(workers[op % count].socket, op) == op * op;
    answer.value = now_ns() - began;
    stop();
    return answer;
}

static struct answer pool_apply_1mib(uint64_t operations)
{
    struct answer answer = {0, 0};
    memset(large, 7, MIB);
    start(2, echo_large);
    uint64_t began = now_ns();
    for (uint64_t op = 0; op < operations; op++) {
        write_all(workers[op % count].socket, large, MIB);
        read_all(workers[op % count].socket, back, MIB);
        answer.check += back[MIB - 1] == 7;
    }
    answer.value = now_ns() - began;
    stop();
    return answer;
}

static struct answer pool_first_result(uint64_t operations)
{
    struct answer answer = {0, 0};
    for (uint64_t op = 0; op < operations; op++) {
        uint64_t began = now_ns();
        start(2, square_as_they_come);
        answer.check += ask(workers[0].socket, 5) == 25;
        answer.value += now_ns() - began;
        stop();
    }
    return answer;
}

static struct answer pool_heal(uint64_t operations)
{
    struct answer answer = {0, 0};
    start(1, square_as_they_come);
    for (uint64_t op = 0; op < operations; op++) {
        uint64_t nothing, began = now_ns();
        kill(workers[0].pid, SIGKILL);
        if (read(workers[0].socket, &nothing, sizeof nothing) > 0)
            fail("a result that nobody asked for");
        if (waitpid(workers[0].pid, NULL, 0) != workers[0].pid)
            fail("waitpid");
        close(workers[0].socket);
        start_one(&workers[0], square_as_they_come);
        answer.check += ask(workers[0].socket, 5) == 25;
        answer.value += now_ns() - began;
    }
    stop();
    return answer;
}

#define ROW(name) {#name, name}

static const struct row ROWS[] = {
    ROW(pool_map_1m), ROW(pool_imap_2), ROW(pool_imap_4), ROW(pool_apply), ROW(pool_apply_1mib),
    ROW(pool_first_result), ROW(pool_heal),
    {"executor_round_trip", pool_apply}, {"executor_throughput", pool_imap_2},
};

int main(void) { return serve(ROWS, sizeof ROWS / sizeof ROWS[0]); }
