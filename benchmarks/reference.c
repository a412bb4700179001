/* The limit: one PUB and some SUBs in C on the same libzmq that the pyzmq wheel carries.

   reference pub ENDPOINT COUNT SIZE RATE SUBSCRIBERS   RATE messages a second, 0: as fast as it goes
   reference sub ENDPOINT COUNT SOCKETS TOPIC           every socket receives COUNT messages

   pub waits for its subscribers, sends, waits until they have left, and prints [when it began, its processor time];
   sub prints [when it had all, p50, p99]: times of CLOCK_MONOTONIC in s, waits from send to receive in us. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

/* From zmq.h: only what is used here, since the wheel brings no header. */
void *zmq_ctx_new(void);
void *zmq_socket(void *, int);
int zmq_bind(void *, const char *), zmq_connect(void *, const char *), zmq_close(void *), zmq_ctx_term(void *);
int zmq_setsockopt(void *, int, const void *, size_t);
int zmq_send(void *, const void *, size_t, int), zmq_recv(void *, void *, size_t, int);
enum { SUB = 2, XPUB = 9, SUBSCRIBE = 6, SNDHWM = 23, RCVHWM = 24, XPUB_VERBOSER = 78 };

static char buffer[1 << 20];

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(int64_t at) {
    struct timespec t = {at / 1000000000LL, at % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {}
}

static int publish(void *context, char **argv) {
    long count = atol(argv[3]), size = atol(argv[4]), rate = atol(argv[5]), subscribers = atol(argv[6]);
    int none = 0, all = 1;
    void *socket = zmq_socket(context, XPUB);
    zmq_setsockopt(socket, SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, XPUB_VERBOSER, &all, sizeof all);
    if (zmq_bind(socket, argv[2])) return 1;
    for (long i = 0; i < subscribers; i++) zmq_recv(socket, buffer, sizeof buffer, 0); /* they subscribe */
    memset(buffer, 'x', sizeof buffer);
    int64_t begun = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < count; i++) {
        if (rate) sleep_until(begun + i * (1000000000LL / rate));
        int64_t sent = rate ? now(CLOCK_MONOTONIC) : 0;
        memcpy(buffer, &sent, sizeof sent);
        zmq_send(socket, buffer, size, 0);
    }
    for (long i = 0; i < subscribers; i++) zmq_recv(socket, buffer, sizeof buffer, 0); /* they leave */
    printf("[%.9f, %.9f]\n", begun / 1e9, (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9);
    zmq_close(socket);
    return 0;
}

static int ascending(const void *a, const void *b) {
    return (*(int64_t *)a > *(int64_t *)b) - (*(int64_t *)a < *(int64_t *)b);
}

static int receive(void *context, char **argv) {
    long count = atol(argv[3]), sockets = atol(argv[4]), skip = count / 10, left = count - skip;
    int none = 0;
    void **each = calloc(sockets, sizeof *each);
    int64_t *waits = calloc(count, sizeof *waits), sent;
    for (long s = 0; s < sockets; s++) {
        each[s] = zmq_socket(context, SUB);
        zmq_setsockopt(each[s], RCVHWM, &none, sizeof none);
        zmq_setsockopt(each[s], SUBSCRIBE, argv[5], strlen(argv[5]));
        if (zmq_connect(each[s], argv[2])) return 1;
    }
    for (long i = 0; i < count; i++) {
        for (long s = 0; s < sockets; s++) zmq_recv(each[s], buffer, sizeof buffer, 0);
        memcpy(&sent, buffer, sizeof sent);
        waits[i] = now(CLOCK_MONOTONIC) - sent;
    }
    double ended = now(CLOCK_MONOTONIC) / 1e9;
    qsort(waits + skip, left, sizeof *waits, ascending);
    printf("[%.9f, %.3f, %.3f]\n", ended, waits[skip + left / 2] / 1e3, waits[skip + (left - 1) * 99 / 100] / 1e3);
    for (long s = 0; s < sockets; s++) zmq_close(each[s]);
    return 0;
}

int main(int argc, char **argv) {
    prctl(PR_SET_TIMERSLACK, 1);
    void *context = zmq_ctx_new();
    int failed = argc == 7 && !strcmp(argv[1], "pub") ? publish(context, argv)
               : argc == 6 && !strcmp(argv[1], "sub") ? receive(context, argv) : 2;
    if (!failed) zmq_ctx_term(context);
    return failed;
}
