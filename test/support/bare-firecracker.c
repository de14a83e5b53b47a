/*
 * The floor of a start on Firecracker: one VMM, told by raw requests to its API what to be, to its guest's first answer,
 * by a program that does nothing else.
 *
 *     bare-firecracker DIRECTORY REQUESTS HELLO PORT VMM ARGUMENTS…
 *
 * DIRECTORY is the VMM's own, in which it makes api.sock and v.sock; REQUESTS is a file with one "PUT /path {json}" a
 * line; HELLO one with the bytes that the agent answers on its vsock PORT. Descriptor 3 of the VMM is one end of a socket
 * pair, for who wants frames of a network there. Prints the milliseconds from before the VMM is spawned to the first byte
 * of the answer; the VMM is killed then, and waited for.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES_FD = 3, MAX_BYTES = 65536 };

static const double deadline_ms = 120000;
static const int poll_us = 500;
static pid_t vmm;
static double started;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "bare-firecracker: %s: %s\n", what, why);
    if (vmm > 0) {
        kill(vmm, SIGKILL);
        waitpid(vmm, NULL, 0);
    }
    exit(1);
}

static void require_time(const char *what) {
    if (now_ms() - started > deadline_ms) fail(what, "no answer in time");
    usleep(poll_us);
}

/* -1 as long as nobody listens. */
static int connect_to(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, name, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* Up to and with `end`; 0 when the connection closes before. */
static size_t read_to(int fd, const char *end, char *text, size_t most) {
    size_t length = 0;
    while (length + 1 < most && read(fd, text + length, 1) == 1) {
        text[++length] = 0;
        if (length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0) return length;
    }
    return 0;
}

static void put(int api, const char *path, const char *body) {
    static char text[MAX_BYTES];
    int length = snprintf(text, sizeof text,
                          "PUT %s HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", path,
                          strlen(body), body);
    if (length >= (int)sizeof text || write(api, text, length) != length) fail(path, "cannot be asked");
    if (read_to(api, "\r\n\r\n", text, sizeof text) == 0) fail(path, "no answer");
    if (strncmp(text, "HTTP/1.1 204", 12) != 0) fail(path, text);
}

static void put_all(const char *requests) {
    int api;
    while ((api = connect_to("api.sock")) < 0) require_time("api.sock");
    char *line = strdup(requests);
    for (char *rest = line, *one; (one = strsep(&rest, "\n")) != NULL;) {
        char *path = strchr(one, ' ');
        char *body = path == NULL ? NULL : strchr(path + 1, ' ');
        if (body == NULL) continue;
        *body = 0;
        put(api, path + 1, body + 1);
    }
    free(line);
    close(api);
}

/* A guest that boots has nobody who listens yet. */
static int connect_to_guest(const char *port) {
    for (;; require_time("v.sock")) {
        int fd = connect_to("v.sock");
        if (fd < 0) continue;
        char answer[64];
        dprintf(fd, "CONNECT %s\n", port);
        if (read_to(fd, "\n", answer, sizeof answer) > 0) return fd;
        close(fd);
    }
}

static size_t load(const char *path, char *bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, bytes, MAX_BYTES - 1);
    if (length <= 0) fail(path, "cannot be read");
    close(fd);
    bytes[length] = 0;
    return length;
}

int main(int count, char **words) {
    if (count < 6) {
        fprintf(stderr, "usage: bare-firecracker DIRECTORY REQUESTS HELLO PORT VMM ARGUMENTS...\n");
        return 2;
    }
    static char requests[MAX_BYTES], hello[MAX_BYTES];
    load(words[2], requests);
    size_t hello_bytes = load(words[3], hello);
    int frames[2];
    if (chdir(words[1]) != 0) fail(words[1], "cannot be entered");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, frames) < 0) fail("frames", "no socket pair");
    signal(SIGPIPE, SIG_IGN);

    started = now_ms();
    vmm = fork();
    if (vmm < 0) fail(words[5], "cannot be spawned");
    if (vmm == 0) {
        /* Of itself, a duplicate would stay closed on exec. */
        if (frames[1] == FRAMES_FD) fcntl(FRAMES_FD, F_SETFD, 0);
        else dup2(frames[1], FRAMES_FD);
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        execvp(words[5], words + 5);
        _exit(127);
    }
    put_all(requests);
    int agent = connect_to_guest(words[4]);
    char first;
    if (write(agent, hello, hello_bytes) != (ssize_t)hello_bytes) fail("the agent", "cannot be greeted");
    if (read(agent, &first, 1) != 1) fail("the agent", "no answer");
    double answered = now_ms();
    kill(vmm, SIGKILL);
    waitpid(vmm, NULL, 0);
    printf("%.3f\n", answered - started);
    return 0;
}
