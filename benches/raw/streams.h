/*
 * Pipes and queues as the raw side has them: system calls on descriptors that the
 * workers inherit. One write and one read for each frame or datagram where the
 * system takes it whole.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include <arpa/inet.h>
#include <sys/socket.h>

#include "workers.h"

enum { SMALL = 64, HEADER = 4, RECORDS = 64, LARGEST = 1 << 20 };

/* Frames as Python's connections write them: length in network order, payload. */
struct frame {
    uint32_t length;
    unsigned char payload[LARGEST];
} __attribute__((packed));

static struct frame frame;
static size_t payload_size;
static int there[2], back[2]; /* reading and writing end, where there are two */

static void make_socket_pair(int type, int ends[2])
{
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
}

static void close_pair(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void fill_frame(size_t size)
{
    payload_size = size;
    frame.length = htonl((uint32_t)size);
    for (size_t i = 0; i < size; i++)
        frame.payload[i] = (unsigned char)(i * 31 + 7);
}

static void read_frame(int fd)
{
    frame.length = 0;
    frame.payload[0] = 0;
    read_all(fd, &frame, HEADER + payload_size);
}

/* Whether what was read is the frame; `read_frame` has seen to its size. */
static bool is_frame(void) { return ntohl(frame.length) == payload_size && frame.payload[0] == 7; }

/* Bodies of the workers. */

static void write_frames(unsigned worker, struct report *report)
{
    (void)worker, (void)report;
    for (uint64_t i = 0; i < round_operations; i++)
        write_all(there[1], &frame, HEADER + payload_size);
}

static void read_frames(unsigned worker, struct report *report)
{
    (void)worker;
    for (uint64_t i = 0; i < round_operations; i++) {
        read_frame(there[0]);
        report->check += is_frame();
    }
}

static void ask(unsigned worker, struct report *report)
{
    (void)worker;
    for (uint64_t i = 0; i < round_operations; i++) {
        write_all(there[1], &frame, HEADER + payload_size);
        read_frame(there[1]);
        report->check += is_frame();
    }
}

static void echo(unsigned worker, struct report *report)
{
    (void)worker, (void)report;
    for (uint64_t i = 0; i < round_operations; i++) {
        read_frame(there[0]);
        write_all(there[0], &frame, HEADER + payload_size);
    }
}

static void read_datagram(int fd, void *to, size_t size)
{
    if (read(fd, to, size) != (ssize_t)size)
        fail("read of a datagram");
}

static void write_datagram(int fd, const void *from, size_t size)
{
    if (write(fd, from, size) != (ssize_t)size)
        fail("write of a datagram");
}

/* Records of a queue: a number and a filling. A datagram holds `per_datagram` of
 * them, but for the last one of the first producer. */
struct record {
    uint64_t number, filling[7];
};

static unsigned parties;
static uint64_t per_datagram, in_last;

static uint64_t records_of(unsigned worker)
{
    uint64_t datagrams = portion(worker, parties);
    return datagrams * per_datagram - (worker == 0 ? per_datagram - in_last : 0);
}

static void produce(unsigned worker, struct report *report)
{
    struct record records[RECORDS] = {0};
    (void)report;
    for (uint64_t left = records_of(worker); left > 0;) {
        uint64_t count = left < per_datagram ? left : per_datagram;
        for (uint64_t i = 0; i < count; i++)
            records[i].number = left--;
        write_datagram(there[1], records, count * sizeof *records);
    }
}

static void consume(unsigned worker, struct report *report)
{
    struct record records[RECORDS];
    for (uint64_t left = portion(worker, parties); left > 0; left--) {
        ssize_t size = read(there[0], records, sizeof records);
        if (size <= 0)
            fail("read of records");
        for (size_t i = 0; i < (size_t)size / sizeof *records; i++)
            report->check += records[i].number;
    }
}

static void ask_by_datagrams(unsigned worker, struct report *report)
{
    struct record record = {0};
    (void)worker;
    for (uint64_t i = 0; i < round_operations; i++) {
        record.number = i;
        write_datagram(there[1], &record, sizeof record);
        read_datagram(back[0], &record, sizeof record);
        report->check += record.number == i + 1;
    }
}

static void answer_by_datagrams(unsigned worker, struct report *report)
{
    struct record record;
    (void)worker, (void)report;
    for (uint64_t i = 0; i < round_operations; i++) {
        read_datagram(there[0], &record, sizeof record);
        record.number++;
        write_datagram(back[1], &record, sizeof record);
    }
}

/* Rows. */

static struct answer finish(void)
{
    open_gate();
    uint64_t took = join_workers();
    close_pair(there);
    return (struct answer){took, sum_of_checks()};
}

static struct answer one_way(uint64_t operations, size_t size)
{
    prepare(operations);
    fill_frame(size);
    start_worker(write_frames, 0);
    start_worker(read_frames, 0);
    return finish();
}

static struct answer one_way_by_stream(uint64_t operations, size_t size)
{
    make_socket_pair(SOCK_STREAM, there);
    return one_way(operations, size);
}

static struct answer pipe_round_trip(uint64_t operations)
{
    prepare(operations);
    fill_frame(SMALL);
    make_socket_pair(SOCK_STREAM, there);
    start_worker(ask, 0);
    start_worker(echo, 0);
    return finish();
}

/* A one-way pipe of ours is a socket pair with one direction shut down, since it carries
 * descriptors: so the same frames go over the same kind of descriptor here. */
static struct answer pipe_64b_one_way(uint64_t operations)
{
    make_socket_pair(SOCK_STREAM, there);
    if (shutdown(there[0], SHUT_WR) < 0 || shutdown(there[1], SHUT_RD) < 0)
        fail("shutdown");
    return one_way(operations, SMALL);
}

static struct answer pipe_64b_duplex(uint64_t operations) { return one_way_by_stream(operations, SMALL); }

static struct answer pipe_64kib(uint64_t operations) { return one_way_by_stream(operations, 1 << 16); }

static struct answer pipe_1mib(uint64_t operations) { return one_way_by_stream(operations, 1 << 20); }

static struct answer queue(uint64_t operations, unsigned pairs, unsigned records)
{
    uint64_t sum = 0, datagrams = (operations + records - 1) / records;
    prepare(datagrams);
    parties = pairs;
    per_datagram = records;
    in_last = operations - (datagrams - 1) * records;
    make_socket_pair(SOCK_SEQPACKET, there);
    for (unsigned w = 0; w < pairs; w++) {
        start_worker(produce, w);
        start_worker(consume, w);
        sum += records_of(w) * (records_of(w) + 1) / 2;
    }
    struct answer answer = finish();
    answer.check = answer.check == sum ? operations : 0;
    return answer;
}

static struct answer queue_1_1(uint64_t operations) { return queue(operations, 1, 1); }

static struct answer queue_4_4(uint64_t operations) { return queue(operations, 4, 1); }

static struct answer queue_many_1_1(uint64_t operations) { return queue(operations, 1, RECORDS); }

static struct answer queue_many_4_4(uint64_t operations) { return queue(operations, 4, RECORDS); }

static struct answer queue_round_trip(uint64_t operations)
{
    prepare(operations);
    make_socket_pair(SOCK_SEQPACKET, there);
    make_socket_pair(SOCK_SEQPACKET, back);
    start_worker(ask_by_datagrams, 0);
    start_worker(answer_by_datagrams, 0);
    struct answer answer = finish();
    close_pair(back);
    return answer;
}

#endif
