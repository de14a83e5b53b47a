/*
 * The floor of a start: one VMM, restored from a template or booting, to its guest's first answer, by a program that
 * does nothing else. It stands in the place of FlameBox, with the same descriptors for the VMM.
 *
 *     restore STATE HELLO VMM ARGUMENTS…
 *
 * STATE is the file with the devices' state, or "-" for a VMM that boots; HELLO one with the bytes that the agent
 * answers. Prints the milliseconds from before the VMM is spawned to the first byte of the answer; the VMM is killed
 * then, and waited for.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { QMP, AGENT, CONSOLE, NETWORK, STREAMS };
/* The VMM's descriptor of the first stream; the others follow, and behind them the state. */
enum { FIRST_FD = 3, HIGH_FD = 100 };

static const int deadline_ms = 30000;
static const char commands[] =
    "{\"execute\":\"qmp_capabilities\"}\n"
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
    "[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}\n"
    "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:7\"}}\n";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void send_all(int fd, const char *bytes, size_t length) {
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) fail("send");
}

/* Moves the descriptors out of each other's way first: one may have the number that another is to get. */
static void become_vmm(int theirs[STREAMS], int state, char **command) {
    int given[STREAMS + 1];
    for (int i = 0; i <= STREAMS; i++) {
        given[i] = fcntl(i < STREAMS ? theirs[i] : state, F_DUPFD_CLOEXEC, HIGH_FD);
        if (given[i] < 0) fail("fcntl");
    }
    for (int i = 0; i <= STREAMS; i++)
        if (dup2(given[i], FIRST_FD + i) < 0) fail("dup2");
    execvp(command[0], command);
    fail(command[0]);
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: restore STATE HELLO VMM ARGUMENTS...\n");
        return 2;
    }
    char hello[4096];
    int file = open(words[2], O_RDONLY | O_CLOEXEC);
    ssize_t hello_bytes = file < 0 ? -1 : read(file, hello, sizeof hello);
    if (hello_bytes <= 0) fail(words[2]);

    double started = now_ms();
    int restores = strcmp(words[1], "-") != 0;
    int state = open(restores ? words[1] : "/dev/null", O_RDONLY | O_CLOEXEC);
    if (state < 0) fail(words[1]);
    int ours[STREAMS], theirs[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) fail("socketpair");
        ours[i] = pair[0];
        theirs[i] = pair[1];
    }
    pid_t vmm = fork();
    if (vmm < 0) fail("fork");
    if (vmm == 0) become_vmm(theirs, state, words + 3);
    for (int i = 0; i < STREAMS; i++) close(theirs[i]);
    if (restores) send_all(ours[QMP], commands, sizeof commands - 1);
    send_all(ours[AGENT], hello, hello_bytes);

    struct pollfd waiting[STREAMS];
    for (int i = 0; i < STREAMS; i++) waiting[i] = (struct pollfd){ours[i], POLLIN, 0};
    char bytes[65536];
    double answered = -1;
    while (answered < 0) {
        if (poll(waiting, STREAMS, deadline_ms) <= 0) break;
        if (waiting[AGENT].revents & POLLIN) answered = now_ms();
        for (int i = 0; i < STREAMS; i++)
            if (waiting[i].revents && i != AGENT && read(waiting[i].fd, bytes, sizeof bytes) <= 0) waiting[i].fd = -1;
        if (waiting[AGENT].revents & POLLHUP) break;
    }
    kill(vmm, SIGKILL);
    waitpid(vmm, NULL, 0);
    if (answered < 0) {
        fprintf(stderr, "restore: the guest did not answer\n");
        return 1;
    }
    printf("%.3f\n", answered - started);
    return 0;
}
