/*
 * The other end of the network contract (test/contract/network.ts), static, for an image with busybox.
 *
 *     network-probe serve PORT                says what it hears in capitals, over TCP and UDP
 *     network-probe craft PORTS ADDRESS…      writes whole frames, past the kernel's routing: one datagram to each of
 *                                             PORTS (with commas) of each address
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void raise_letters(char *text, ssize_t length) {
  for (ssize_t i = 0; i < length; i++) text[i] = (char)toupper((unsigned char)text[i]);
}

static int bound(int type, int port) {
  int fd = socket(AF_INET, type, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 64) < 0) fail("listen");
  return fd;
}

static void serve(int port) {
  static char text[65536];
  struct pollfd ends[2] = {{bound(SOCK_STREAM, port), POLLIN, 0}, {bound(SOCK_DGRAM, port), POLLIN, 0}};
  puts("listening");
  fflush(stdout);
  while (poll(ends, 2, -1) > 0) {
    if (ends[0].revents) {
      int client = accept(ends[0].fd, NULL, NULL);
      for (ssize_t n; (n = read(client, text, sizeof text)) > 0;) {
        raise_letters(text, n);
        if (write(client, text, (size_t)n) != n) break;
      }
      close(client);
    }
    if (ends[1].revents) {
      struct sockaddr_in from;
      socklen_t length = sizeof from;
      ssize_t n = recvfrom(ends[1].fd, text, sizeof text, 0, (struct sockaddr *)&from, &length);
      raise_letters(text, n);
      if (n >= 0) sendto(ends[1].fd, text, (size_t)n, 0, (struct sockaddr *)&from, length);
    }
  }
}

static uint16_t checksum(const uint8_t *data, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)(data[i] << 8 | data[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static void put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void craft(char *ports, char **addresses) {
  int wire = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
  struct ifreq request = {0};
  strcpy(request.ifr_name, "eth0");
  if (wire < 0 || ioctl(wire, SIOCGIFINDEX, &request) < 0) fail("packet socket");
  struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = request.ifr_ifindex};
  uint8_t mac[6], own[4];
  if (ioctl(wire, SIOCGIFHWADDR, &request) < 0) fail("address");
  memcpy(mac, request.ifr_hwaddr.sa_data, 6);
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  if (ioctl(any, SIOCGIFADDR, &request) < 0) fail("address");
  memcpy(own, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr, 4);
  for (char **address = addresses; *address != NULL; address++) {
    char list[256];
    snprintf(list, sizeof list, "%s", ports);
    for (char *port = strtok(list, ","); port != NULL; port = strtok(NULL, ",")) {
      uint8_t frame[256] = {0};
      char *text = (char *)frame + 14 + 20 + 8;
      int length = snprintf(text, 128, "to %s", *address);
      memset(frame, 0xff, 6);
      memcpy(frame + 6, mac, 6);
      put16(frame + 12, ETH_P_IP);
      uint8_t *ip = frame + 14, *udp = ip + 20;
      ip[0] = 0x45;
      put16(ip + 2, (uint16_t)(28 + length));
      put16(ip + 4, 1);
      ip[8] = 64;
      ip[9] = IPPROTO_UDP;
      memcpy(ip + 12, own, 4);
      inet_pton(AF_INET, *address, ip + 16);
      put16(ip + 10, checksum(ip, 20));
      put16(udp, 4000);
      put16(udp + 2, (uint16_t)atoi(port));
      put16(udp + 4, (uint16_t)(8 + length));
      if (sendto(wire, frame, (size_t)(42 + length), 0, (struct sockaddr *)&link, sizeof link) < 0) fail("send");
      usleep(100000);
    }
  }
  usleep(500000);
}

int main(int count, char **words) {
  if (count == 3 && strcmp(words[1], "serve") == 0) serve(atoi(words[2]));
  if (count > 3 && strcmp(words[1], "craft") == 0) craft(words[2], words + 3);
  return 0;
}
