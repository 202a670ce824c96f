#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t _mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void peer_ask(struct peer *p, int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    if (p->asked)
        return;
    p->asked = true;
    if (getpeername(fd, (struct sockaddr *)&a, &len))
        return;
    if (a.ss_family == AF_INET6) {
        memcpy(p->address, &((struct sockaddr_in6 *)&a)->sin6_addr, sizeof(p->address));
    } else {
        memcpy(p->address, _mapped, sizeof(_mapped));
        memcpy(p->address + sizeof(_mapped), &((struct sockaddr_in *)&a)->sin_addr, 4);
    }
    p->known = true;
}

bool peer_is_v4(const struct peer *p)
{
    return p->known && memcmp(p->address, _mapped, sizeof(_mapped)) == 0;
}

const char *peer_text(const struct peer *p, char buf[PEER_TEXT_MAX])
{
    if (!p->known)
        return strcpy(buf, "unknown");
    if (peer_is_v4(p))
        return inet_ntop(AF_INET, p->address + sizeof(_mapped), buf, PEER_TEXT_MAX);
    return inet_ntop(AF_INET6, p->address, buf, PEER_TEXT_MAX);
}
