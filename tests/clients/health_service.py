"""A gRPC server with the health service of `grpcio-health-checking`.

`health_service.py [CERTIFICATE KEY]` prints its port, and takes lines `SERVICE SERVING|NOT_SERVING`.
"""
import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
servicer.set("shop.Orders", health_pb2.HealthCheckResponse.SERVING)
if len(sys.argv) > 1:
    certificate, key = (open(name, "rb").read() for name in sys.argv[1:3])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
for line in sys.stdin:
    service, state = line.split()
    servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(state))
server.stop(None)
