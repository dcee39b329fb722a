"""Sends what is due: takes deliveries, calls their endpoints at once, and writes how each went."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import stamina
import structlog

from milepost import tracing
from milepost.projections import webhooks
from milepost.projections.endpoints import Attempt
from milepost.projections.listening import LOST, RETRY_SECONDS
from milepost.projections.webhooks import Claim, Disabled, Pool
from milepost.sealing import CannotSeal, Seal
from milepost.webhooks import metrics, schedule, spans
from milepost.webhooks.calls import Answer, Caller
from milepost.webhooks.messages import notice
from milepost.webhooks.signing import sign

# Calls at once: of one endpoint, of one tenant, and of all by this worker. 128 payloads of the largest
# size are 150 MB.
PER_ENDPOINT: Final = 8
PER_TENANT: Final = 32
CALLS: Final = 128
# A call and what is written of it take much less; whoever takes longer has died.
LEASE: Final = timedelta(seconds=60)
# Of the lease, what writing may take after the longest call.
_WRITE_SECONDS: Final = 30.0
# When the end is asked for, calls under way may take so much longer.
_DRAIN_SECONDS: Final = 3.0
# Whatever was not told: another worker that died between two statements, a lost notification.
_LOOK_SECONDS: Final = 10.0
_log: Final = structlog.get_logger(__name__)


class Sender:
    """Sends deliveries, many at once, beside other workers that do the same.

    Args:
        pool: where deliveries are.
        caller: calls endpoints.
        seal: opens their secrets.
    """

    def __init__(self, pool: Pool, caller: Caller, seal: Seal) -> None:
        self._pool = pool
        self._caller = caller
        self._seal = seal
        self._under_way: dict[asyncio.Task[None], Claim] = {}
        self._news = asyncio.Event()
        self._ending = False

    def wake(self) -> None:
        """Something may be due, or there is room for it."""
        self._news.set()

    async def run(self) -> None:
        """Send until `end`, then finish: calls under way get some seconds, the rest is given back.

        A database that goes away is waited for.
        """
        while not self._ending:
            self._news.clear()
            try:
                pause = await self._take()
            except LOST as error:
                _log.warning("cannot_take_deliveries", error=repr(error))
                # Of connections that are gone without a word, each would cost as long as this one.
                await self._pool.expire_connections()
                pause = RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
        await self._finish()

    def end(self) -> None:
        """Let `run` come to its end."""
        self._ending = True
        self.wake()

    async def _finish(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_DRAIN_SECONDS)
        if not (left := dict(self._under_way)):
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await webhooks.release(self._pool, left.values())
        except LOST as error:
            _log.warning("deliveries_wait_for_their_lease", count=len(left), error=repr(error))

    async def _take(self) -> float | None:
        """Start what is due and has room; seconds until there may be more, None: when there is news."""
        room = CALLS - len(self._under_way)
        if not room:
            return None
        claims = await webhooks.claim(
            self._pool,
            Counter(claim.endpoint for claim in self._under_way.values()),
            per_endpoint=PER_ENDPOINT,
            per_tenant=PER_TENANT,
            most=room,
            lease=LEASE,
        )
        for claim in claims:
            task = asyncio.create_task(self._send(claim))
            self._under_way[task] = claim
            metrics.IN_PROGRESS.inc()
            task.add_done_callback(self._sent)
        if len(claims) == room:
            return None
        due = await webhooks.next_due(self._pool)
        return _LOOK_SECONDS if due is None else min(due, _LOOK_SECONDS)

    def _sent(self, task: asyncio.Task[None]) -> None:
        claim = self._under_way.pop(task)
        metrics.IN_PROGRESS.dec()
        if not task.cancelled() and (error := task.exception()) is not None:
            # A mistake of ours: it is sent again when the lease is over.
            _log.error("not_sent", delivery=str(claim.delivery_id), exc_info=error)
        self.wake()

    async def _send(self, claim: Claim) -> None:
        at = datetime.now(UTC)
        try:
            headers = sign(self._secrets(claim), claim.message_id, at, claim.payload)
        except CannotSeal as error:
            # Not the endpoint's fault: no attempt. It is taken again when the lease is over.
            metrics.UNSIGNED.inc()
            _log.error(
                "cannot_sign",
                tenant=claim.tenant,
                endpoint=str(claim.endpoint_id),
                error=str(error),
            )
            return
        with spans.sending(claim) as span:
            if traceparent := tracing.traceparent():
                headers["traceparent"] = traceparent
            answer = await self._caller.call(claim.url, headers, claim.payload)
            spans.answered(span, answer)
        following = schedule.after(
            answer.status_code,
            claim.attempts + 1,
            retry_after=answer.retry_after_seconds,
            chance=random.random(),
        )
        metrics.attempted(following, answer.duration_seconds)
        _log.debug(
            "sent",
            tenant=claim.tenant,
            endpoint=str(claim.endpoint_id),
            message=claim.message_id,
            status=answer.status_code,
            then=following.status,
        )
        try:
            await self._write(claim, at, answer, following)
        except LOST as error:
            # The lease ends, and the message is sent again under the same id.
            _log.warning("attempt_not_written", delivery=str(claim.delivery_id), error=repr(error))

    def _secrets(self, claim: Claim) -> list[str]:
        """What to sign with: never nothing. Raises CannotSeal."""
        if not claim.sealed:
            raise CannotSeal("The endpoint has no signing secret that is valid. Rotate it.")
        return [self._seal.open(sealed) for sealed in claim.sealed]

    async def _write(
        self, claim: Claim, at: datetime, answer: Answer, following: schedule.Next
    ) -> None:
        attempt = Attempt(
            at, answer.duration_seconds, answer.status_code, answer.error, answer.text
        )
        async for trial in stamina.retry_context(
            on=LOST, attempts=None, timeout=_WRITE_SECONDS, wait_initial=0.05, wait_max=2.0
        ):
            with trial:
                disabled = await self._write_once(claim, attempt, following)
        if disabled is not None:
            metrics.DISABLED.labels(disabled.reason).inc()
            _log.warning(
                "endpoint_disabled",
                tenant=claim.tenant,
                endpoint=str(claim.endpoint_id),
                reason=disabled.reason,
                failing_since=str(disabled.endpoint.failing_since),
                told=len(disabled.others),
            )

    async def _write_once(
        self, claim: Claim, attempt: Attempt, following: schedule.Next
    ) -> Disabled | None:
        async with self._pool.acquire() as connection, connection.transaction():
            if following.status == "delivered":
                await webhooks.answered(connection, claim)
                await webhooks.attempted(connection, claim, attempt, "delivered", None)
                return None
            since = await webhooks.failed(connection, claim, attempt.attempted_at)
            held = await webhooks.attempted(
                connection, claim, attempt, following.status, following.wait
            )
            now = datetime.now(UTC)
            if (
                since is None
                or not held
                or not (reason := schedule.to_disable(following, since, now))
            ):
                return None
            disabled = await webhooks.disable(connection, claim, reason, now)
            if disabled is not None:
                message = notice(claim.tenant, disabled)
                await webhooks.note(connection, message, disabled.others)
            return disabled
