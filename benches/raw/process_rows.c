/*
 * The raw side of the area `process`: what the system itself takes for the same
 * work, in the fastest simple loop that C allows.
 *
 * It owns the yardsticks that need a small single-threaded program to clone.
 * (Those that exec are in benches/versus/process/yardstick.rs, since they exec the
 * bench's own image.) It must never use anything that a library would add: no
 * threads, no allocation inside a timed section, no event loop. The bench compiles
 * it with `cc` (benches/versus/raw.rs), drives it and checks its answers.
 *
 * VALUE is the sum over the operations: nanoseconds; KiB for idle_private_mib. The
 * conversation is in yardstick.h.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "yardstick.h"

enum { MESSAGE_BYTES = 64, GROUP = 200, ADDEND = 5, NOTICE_DEADLINE_MS = 10000 };

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct child {
    pid_t pid;
    int pidfd;
    int socket; /* our end of the pair; the child's end is closed here */
};

/* The raw system call spares glibc's at-fork handlers. What runs in the child
 * afterwards is system calls only, so the stale cached thread id does no harm. */
static pid_t clone_self(int *pidfd)
{
    unsigned long flags = SIGCHLD | (pidfd ? CLONE_PIDFD : 0);
    pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, pidfd, 0, 0);
    if (pid < 0)
        fail("clone");
    return pid;
}

/* Starts a child that runs `body` on its end of a fresh socket pair. */
static struct child start(void (*body)(int, uint64_t), uint64_t operations)
{
    struct child child;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    child.pid = clone_self(&child.pidfd);
    if (child.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        body(ends[1], operations);
        _exit(0);
    }
    close(ends[1]);
    child.socket = ends[0];
    return child;
}

static void await_ready(const struct child *child)
{
    char ready;
    read_all(child->socket, &ready, 1);
    if (ready != 'r')
        fail("a ready byte of the wrong value");
}

/* Death to known: poll on the pidfd, then take the status through it. */
static int join(const struct child *child)
{
    struct pollfd notice = {.fd = child->pidfd, .events = POLLIN};
    siginfo_t status = {0};
    if (poll(&notice, 1, NOTICE_DEADLINE_MS) != 1)
        fail("no notice of a death");
    if (waitid(P_PIDFD, (id_t)child->pidfd, &status, WEXITED) < 0)
        fail("waitid");
    return status.si_code == CLD_EXITED ? status.si_status : -status.si_status;
}

static void forget(const struct child *child)
{
    close(child->socket);
    close(child->pidfd);
}

static void kill_child(const struct child *child)
{
    if (kill(child->pid, SIGKILL) < 0)
        fail("kill");
}

/* Bodies of the children. */

static void ready_then_pause(int socket, uint64_t operations)
{
    (void)operations;
    write_all(socket, "r", 1);
    for (;;)
        pause();
}

static void ready_then_leave_when_told(int socket, uint64_t operations)
{
    char told;
    (void)operations;
    write_all(socket, "r", 1);
    read_all(socket, &told, 1);
}

/* Answers each message with the sum so far, as a counter's `add` does. */
static void add_and_reply(int socket, uint64_t operations)
{
    char message[MESSAGE_BYTES];
    uint64_t sum = 0, addend;
    while (operations-- > 0) {
        read_all(socket, message, sizeof message);
        memcpy(&addend, message, sizeof addend);
        sum += addend;
        memcpy(message, &sum, sizeof sum);
        write_all(socket, message, sizeof message);
    }
    pause();
}

/* Takes one-way messages, as many as one read yields, and replies at the last. */
static void add_silently(int socket, uint64_t operations)
{
    static char buffer[1024 * MESSAGE_BYTES];
    uint64_t sum = 0, taken = 0, addend;
    size_t held = 0;
    while (taken < operations) {
        size_t at = 0;
        ssize_t n = read(socket, buffer + held, sizeof buffer - held);
        if (n <= 0)
            fail("read");
        held += (size_t)n;
        for (; held - at >= MESSAGE_BYTES; at += MESSAGE_BYTES, taken++) {
            memcpy(&addend, buffer + at, sizeof addend);
            sum += addend;
        }
        memmove(buffer, buffer + at, held - at);
        held -= at;
    }
    write_all(socket, &sum, sizeof sum);
    pause();
}

/* Rows. */

static struct answer forkserver_noop(uint64_t operations)
{
    struct answer answer = {0};
    uint64_t began = now_ns();
    for (uint64_t i = 0; i < operations; i++) {
        int status = -1;
        pid_t pid = clone_self(NULL);
        if (pid == 0)
            _exit(0);
        if (waitpid(pid, &status, 0) != pid)
            fail("waitpid");
        answer.check += status == 0;
    }
    answer.value = now_ns() - began;
    return answer;
}

static struct answer start_200_forkserver(uint64_t operations)
{
    struct answer answer = {0};
    struct child group[GROUP];
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t began = now_ns();
        for (int c = 0; c < GROUP; c++)
            group[c] = start(ready_then_leave_when_told, 0);
        for (int c = 0; c < GROUP; c++)
            await_ready(&group[c]);
        for (int c = 0; c < GROUP; c++)
            write_all(group[c].socket, "q", 1);
        for (int c = 0; c < GROUP; c++) {
            answer.check += join(&group[c]) == 0;
            forget(&group[c]);
        }
        answer.value += now_ns() - began;
    }
    return answer;
}

static uint64_t call_once(const struct child *child)
{
    char message[MESSAGE_BYTES] = {0};
    uint64_t addend = ADDEND, sum;
    memcpy(message, &addend, sizeof addend);
    write_all(child->socket, message, sizeof message);
    read_all(child->socket, message, sizeof message);
    memcpy(&sum, message, sizeof sum);
    return sum;
}

static void end(const struct child *child)
{
    kill_child(child);
    join(child);
    forget(child);
}

static struct answer call_blocking(uint64_t operations)
{
    struct answer answer = {0};
    struct child counter = start(add_and_reply, operations);
    uint64_t began = now_ns();
    for (uint64_t i = 0; i < operations; i++)
        answer.check = call_once(&counter);
    answer.value = now_ns() - began;
    end(&counter);
    return answer;
}

static struct answer cast(uint64_t operations)
{
    struct answer answer = {0};
    char message[MESSAGE_BYTES] = {0};
    uint64_t addend = ADDEND;
    struct child counter = start(add_silently, operations);
    memcpy(message, &addend, sizeof addend);
    uint64_t began = now_ns();
    for (uint64_t i = 0; i < operations; i++)
        write_all(counter.socket, message, sizeof message);
    read_all(counter.socket, &answer.check, sizeof answer.check);
    answer.value = now_ns() - began;
    end(&counter);
    return answer;
}

static uint64_t private_kib(pid_t pid)
{
    char path[64], line[256];
    uint64_t total = 0, kib;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *rollup = fopen(path, "r");
    if (!rollup)
        fail(path);
    while (fgets(line, sizeof line, rollup))
        if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1 || sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1)
            total += kib;
    fclose(rollup);
    return total;
}

/* The second child is asked, since what the first one alone has mapped would
 * count as private although a second child shares it. */
static struct answer idle_private_mib(uint64_t operations)
{
    struct answer answer = {0};
    for (uint64_t i = 0; i < operations; i++) {
        struct child first = start(add_and_reply, 1), second = start(add_and_reply, 1);
        call_once(&first);
        answer.check += call_once(&second);
        answer.value += private_kib(second.pid);
        end(&first);
        end(&second);
    }
    return answer;
}

static struct answer death_to_join(uint64_t operations)
{
    struct answer answer = {0};
    struct timespec settle = {.tv_nsec = 1000000};
    for (uint64_t i = 0; i < operations; i++) {
        struct child victim = start(ready_then_pause, 0);
        await_ready(&victim);
        nanosleep(&settle, NULL); /* a death met asleep, not on the way to sleep */
        uint64_t began = now_ns();
        kill_child(&victim);
        answer.check += join(&victim) == -SIGKILL;
        answer.value += now_ns() - began;
        forget(&victim);
    }
    return answer;
}

static struct answer supervisor_restart(uint64_t operations)
{
    struct answer answer = {0};
    struct child worker = start(ready_then_pause, 0);
    await_ready(&worker);
    for (uint64_t i = 0; i < operations; i++) {
        pid_t before = worker.pid;
        uint64_t began = now_ns();
        kill_child(&worker);
        join(&worker);
        forget(&worker);
        worker = start(ready_then_pause, 0);
        await_ready(&worker);
        answer.value += now_ns() - began;
        answer.check += worker.pid != before;
    }
    end(&worker);
    return answer;
}

static const struct row ROWS[] = {
    {"forkserver_noop", forkserver_noop}, {"start_200_forkserver", start_200_forkserver},
    {"idle_private_mib", idle_private_mib}, {"death_to_join", death_to_join},
    {"call_blocking", call_blocking}, {"cast", cast}, {"supervisor_restart", supervisor_restart},
};

int main(void) { return serve(ROWS, sizeof ROWS / sizeof ROWS[0]); }
