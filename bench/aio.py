"""grpc.aio under the yardstick's load, with messages packed by hand. Usage: aio.py TARGET CALLS IN_FLIGHT CONNECTIONS
Prints: calls per second, CPU microseconds a call, peak RSS in MB, connections used.
SPDX-License-Identifier: Apache-2.0"""
import asyncio
import resource
import sys
import time

import grpc
import grpc.aio

QASM = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"


def field(number, data):
    return bytes((number << 3 | 2, len(data))) + data  # a length of one byte is enough here


def pack(qasm):
    return field(1, field(1, qasm.encode())) + field(2, b"simulator") + b"\x18\x01"


def unpack(answer):
    job_id = answer[2 : 2 + answer[1]].decode()
    assert len(job_id) == 36
    return job_id


async def main(target, count, in_flight, connections):
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(connections)]
    methods = [
        channel.unary_unary("/arvak.v1.ArvakService/SubmitJob", request_serializer=pack, response_deserializer=unpack)
        for channel in channels
    ]
    left = 0

    async def worker():
        nonlocal left
        while left > 0:
            left -= 1
            await methods[left % connections](QASM, timeout=30)

    async def run(calls):
        nonlocal left
        left = calls
        await asyncio.gather(*(worker() for _ in range(in_flight)))

    await run(count // 10 + in_flight)
    wall, cpu = time.monotonic(), time.process_time()
    await run(count)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count / wall:.0f} {cpu / count * 1e6:.2f} {rss:.1f} {connections}")
    for channel in channels:
        await channel.close()


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
