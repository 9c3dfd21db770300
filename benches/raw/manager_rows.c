/*
 * The raw side of the area `manager`: a server that echoes, in one loop around poll, and
 * clients that write a message and read it back.
 *
 * It owns the server and its clients, forked for one round. It must never do anything with
 * a message: what a manager adds to the trip is what the other sides show. The bench
 * compiles it with `cc` (benches/versus/raw.rs), drives it and checks its answers.
 *
 * VALUE is nanoseconds for all operations. The conversation is in yardstick.h.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "workers.h"

/* About what a call of ours takes on the wire. */
enum { MESSAGE = 64, WINDOW = 64, MOST_CLIENTS = 4, ROOM = 1 << 16 };

static char room[ROOM];
static int listener = -1;
static int ends[MOST_CLIENTS][2];
static unsigned clients;
static uint64_t per_operation;

/* The server. */

static void echo_until_the_end(int *sockets, unsigned count)
{
    struct pollfd ready[MOST_CLIENTS + 1];
    unsigned open = count;
    for (unsigned i = 0; i < count; i++)
        ready[i] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
    while (open > 0) {
        if (poll(ready, count, -1) < 0)
            fail("poll");
        for (unsigned i = 0; i < count; i++) {
            if (!ready[i].revents)
                continue;
            ssize_t size = read(ready[i].fd, room, ROOM);
            if (size > 0) {
                write_all(ready[i].fd, room, (size_t)size);
            } else {
                ready[i].fd = -1;
                open--;
            }
        }
    }
}

static void accept_and_echo(void)
{
    int socket;
    while ((socket = accept(listener, NULL, NULL)) >= 0) {
        int yes = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        echo_until_the_end(&socket, 1);
        close(socket);
    }
}

static pid_t start_server(void)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        int sockets[MOST_CLIENTS];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; i < clients; i++) {
            close(ends[i][0]);
            sockets[i] = ends[i][1];
        }
        if (clients)
            echo_until_the_end(sockets, clients);
        else
            accept_and_echo();
        _exit(0);
    }
    for (unsigned i = 0; i < clients; i++)
        close(ends[i][1]);
    return pid;
}

static void end_server(pid_t pid)
{
    kill(pid, SIGKILL);
    if (waitpid(pid, NULL, 0) != pid)
        fail("waitpid");
}

/* The ways to it. */

static void listen_by(int family)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const void *address = family == AF_INET ? (void *)&in : (void *)&un;
    /* A Unix socket without a name gets an abstract one. */
    socklen_t size = family == AF_INET ? sizeof in : sizeof un.sun_family;
    listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, address, size) < 0 || listen(listener, 8) < 0)
        fail("listen");
}

static int connect_to_it(void)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail("getsockname");
    int yes = 1, end = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (end < 0 || connect(end, (struct sockaddr *)&address, size) < 0)
        fail("connect");
    setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return end;
}

static void connect_all(bool by_tcp, unsigned count)
{
    if (by_tcp)
        listen_by(AF_INET);
    for (clients = 0; clients < count; clients++) {
        int *pair = ends[clients];
        if (!by_tcp) {
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                fail("socketpair");
            continue;
        }
        int yes = 1;
        pair[0] = connect_to_it();
        pair[1] = accept(listener, NULL, NULL);
        if (pair[1] < 0)
            fail("accept");
        setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
    if (by_tcp)
        close(listener);
}

/* Bodies of the clients. */

static void ask(unsigned client, struct report *report)
{
    uint64_t message[MESSAGE / sizeof(uint64_t)] = {0};
    uint64_t turns = portion(client, clients) * per_operation;
    for (uint64_t i = 0; i < turns; i++) {
        message[0] = i;
        write_all(ends[client][0], message, sizeof message);
        read_all(ends[client][0], message, sizeof message);
        report->check += message[0] == i;
    }
    report->check /= per_operation;
}

static void ask_many(unsigned client, struct report *report)
{
    uint64_t left = portion(client, clients);
    while (left > 0) {
        uint64_t count = left < WINDOW ? left : WINDOW;
        write_all(ends[client][0], room, count * MESSAGE);
        read_all(ends[client][0], room, count * MESSAGE);
        report->check += count;
        left -= count;
    }
}

static struct answer calls(uint64_t operations, bool by_tcp, unsigned count, uint64_t trips,
                           void (*body)(unsigned, struct report *))
{
    prepare(operations);
    per_operation = trips;
    connect_all(by_tcp, count);
    pid_t server = start_server();
    for (unsigned client = 0; client < count; client++)
        start_worker(body, client);
    open_gate();
    uint64_t took = join_workers();
    for (unsigned client = 0; client < count; client++)
        close(ends[client][0]);
    end_server(server);
    return (struct answer){took, sum_of_checks()};
}

/* Rows. */

static struct answer one(uint64_t operations) { return calls(operations, false, 1, 1, ask); }

static struct answer four(uint64_t operations) { return calls(operations, false, 4, 1, ask); }

static struct answer pair(uint64_t operations) { return calls(operations, false, 1, 2, ask); }

static struct answer four_pairs(uint64_t operations) { return calls(operations, false, 4, 2, ask); }

static struct answer many(uint64_t operations) { return calls(operations, false, 1, 1, ask_many); }

static struct answer tcp_one(uint64_t operations) { return calls(operations, true, 1, 1, ask); }

static struct answer tcp_four(uint64_t operations) { return calls(operations, true, 4, 1, ask); }

static struct answer tcp_pair(uint64_t operations) { return calls(operations, true, 1, 2, ask); }

static struct answer tcp_four_pairs(uint64_t operations) { return calls(operations, true, 4, 2, ask); }

static struct answer tcp_many(uint64_t operations) { return calls(operations, true, 1, 1, ask_many); }

static struct answer connects(uint64_t operations, int family)
{
    uint64_t check = 0;
    clients = 0;
    listen_by(family);
    pid_t server = start_server();
    uint64_t began = now_ns();
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t message[MESSAGE / sizeof(uint64_t)] = {i};
        int end = connect_to_it();
        write_all(end, message, sizeof message);
        read_all(end, message, sizeof message);
        check += message[0] == i;
        close(end);
    }
    uint64_t took = now_ns() - began;
    end_server(server);
    close(listener);
    return (struct answer){took, check};
}

static struct answer unix_connect(uint64_t operations) { return connects(operations, AF_UNIX); }

static struct answer tcp_connect(uint64_t operations) { return connects(operations, AF_INET); }

static struct answer start(uint64_t operations)
{
    struct answer answer = {0, 0};
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t message[MESSAGE / sizeof(uint64_t)] = {i};
        uint64_t began = now_ns();
        connect_all(false, 1);
        pid_t server = start_server();
        write_all(ends[0][0], message, sizeof message);
        read_all(ends[0][0], message, sizeof message);
        answer.value += now_ns() - began;
        answer.check += message[0] == i;
        close(ends[0][0]);
        end_server(server);
    }
    return answer;
}

static const struct row ROWS[] = {
    {"manager_dict_set", one}, {"manager_dict_get", one}, {"manager_list_append", one},
    {"manager_queue", pair}, {"manager_value_set", one}, {"manager_own_call", one},
    {"manager_dict_set_4", four}, {"manager_dict_get_4", four}, {"manager_list_append_4", four},
    {"manager_dict_set_threads_4", four}, {"manager_queue_4", four_pairs}, {"manager_value_set_4", four}, {"manager_own_call_4", four},
    {"manager_tcp_dict_set", tcp_one}, {"manager_tcp_dict_get", tcp_one},
    {"manager_tcp_list_append", tcp_one}, {"manager_tcp_queue", tcp_pair},
    {"manager_tcp_value_set", tcp_one}, {"manager_tcp_own_call", tcp_one},
    {"manager_tcp_dict_set_4", tcp_four},
    {"manager_tcp_dict_get_4", tcp_four}, {"manager_tcp_list_append_4", tcp_four},
    {"manager_tcp_queue_4", tcp_four_pairs}, {"manager_tcp_value_set_4", tcp_four},
    {"manager_tcp_own_call_4", tcp_four},
    {"manager_pipelined", many}, {"manager_tcp_pipelined", tcp_many},
    {"manager_connect", unix_connect}, {"manager_tcp_connect", tcp_connect},
    {"manager_start", start},
};

int main(void) { return serve(ROWS, sizeof ROWS / sizeof ROWS[0]); }
