"""Several origins that say who answers, as clusters of one or as one cluster."""
from harness import ProxyTest
from origin import Origin, reply
from process import hostport


def named(name):
    """A script for every path of an origin that tells which origin it is."""
    def script(conn, request):
        conn.read_body(request)
        conn.send(reply(name.encode()))
    return script


class NamedOrigins(ProxyTest):
    names = ()

    @classmethod
    def clusters(cls):
        cls.origins = {name: Origin(name) for name in cls.names}
        for name, origin in cls.origins.items():
            origin.default = named(name)
        return {name: [origin.address] for name, origin in cls.origins.items()}

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for origin in getattr(cls, "origins", {}).values():
            origin.close()


class OneCluster(NamedOrigins):
    """All origins in one cluster, with its settings."""

    settings = {}
    weights = {}

    @classmethod
    def clusters(cls):
        single = super().clusters()
        return {"all": [(single[name][0], cls.weights.get(name, 1)) for name in cls.names]}

    @classmethod
    def finish_config(cls):
        cls.config["clusters"][0].update(cls.settings)

    @classmethod
    def address(cls, name):
        return hostport(cls.origins[name].address)

    def state(self, name, reason):
        return self.skein.metric("skein_endpoint_state", endpoint=self.address(name), reason=reason)

    def outstanding(self):
        """Requests that count as outstanding anywhere, by the balancer and by what there is."""
        metrics = self.skein.metrics()
        return (sum(metrics["skein_endpoint_load"].values()),
                sum(metrics["skein_endpoint_outstanding"].values()))
