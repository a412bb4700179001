/* The limit: one PUB and one SUB in C on the same libzmq that the pyzmq wheel carries.
   reference pub ENDPOINT COUNT SIZE | reference sub ENDPOINT COUNT ; both print CLOCK_MONOTONIC in ns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* From zmq.h: only what is used here, since the wheel brings no header. */
void *zmq_ctx_new(void);
void *zmq_socket(void *, int);
int zmq_bind(void *, const char *), zmq_connect(void *, const char *), zmq_close(void *), zmq_ctx_term(void *);
int zmq_setsockopt(void *, int, const void *, size_t);
int zmq_send(void *, const void *, size_t, int), zmq_recv(void *, void *, size_t, int);
enum { SUB = 2, XPUB = 9, SUBSCRIBE = 6, SNDHWM = 23, RCVHWM = 24 };

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long count = atol(argv[3]);
    int none = 0;
    char buffer[65536];
    void *context = zmq_ctx_new();
    if (!strcmp(argv[1], "pub")) {
        int size = atoi(argv[4]);
        void *socket = zmq_socket(context, XPUB);
        zmq_setsockopt(socket, SNDHWM, &none, sizeof none);
        if (zmq_bind(socket, argv[2])) return 1;
        zmq_recv(socket, buffer, sizeof buffer, 0); /* the subscription */
        memset(buffer, 'x', sizeof buffer);
        printf("%lld\n", now());
        for (long i = 0; i < count; i++) zmq_send(socket, buffer, size, 0);
        fflush(stdout);
        zmq_close(socket);
    } else {
        void *socket = zmq_socket(context, SUB);
        zmq_setsockopt(socket, RCVHWM, &none, sizeof none);
        zmq_setsockopt(socket, SUBSCRIBE, "", 0);
        if (zmq_connect(socket, argv[2])) return 1;
        for (long i = 0; i < count; i++) zmq_recv(socket, buffer, sizeof buffer, 0);
        printf("%lld\n", now());
        zmq_close(socket);
    }
    return zmq_ctx_term(context);
}
