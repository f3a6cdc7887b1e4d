"""Where the actors of examples/actors.py are: here, or in processes of Ray's; and the signals that end it."""

import os
import signal
import time
from collections import deque
from typing import Any

import cart_pole_actor
from cart_pole_actor import Actor, Weights

PAUSE = 0.002  # seconds to wait for an answer, before looking at the learner again


class Here:
    """Actors in this process, one after another: what Ray is compared with."""

    def __init__(self, env: str, seeds: list[int]) -> None:
        self.actors = [Actor(env, seed) for seed in seeds]
        self.asked: deque = deque()

    def send(self, weights: Weights) -> Weights:
        """Bring weights to where actors find them."""
        return weights

    def ask(self, actor: int, *request: Any) -> None:
        """Ask an actor for rows."""
        self.asked.append((actor, request))

    def answer(self) -> tuple[int, Any] | None:
        """Return which actor has answered what; None if none has yet, and no answer if it has died."""
        if not self.asked:
            return time.sleep(PAUSE)
        actor, request = self.asked.popleft()
        return actor, self.actors[actor].collect(*request)

    def close(self) -> None:
        """Let them go."""


class OnRay:
    """Actors in processes of Ray's, on this machine or on the cluster that ``RAY_ADDRESS`` names."""

    def __init__(self, env: str, seeds: list[int]) -> None:
        import ray  # only here

        self.ray, self.env, self.seeds = ray, env, seeds
        ray.cloudpickle.register_pickle_by_value(cart_pole_actor)  # workers need not find the file
        here = {"address": "local", "num_cpus": len(seeds), "include_dashboard": False}  # whatever else is running
        ray.init(log_to_driver=False, **({} if "RAY_ADDRESS" in os.environ else here))
        self.remote = ray.remote(num_cpus=1)(Actor)
        self.asked: dict[Any, int] = {}
        self.actors = [self.start(actor) for actor in range(len(seeds))]

    def start(self, actor: int) -> Any:
        """Start a process for an actor."""
        handle = self.remote.remote(self.env, self.seeds[actor])
        self.asked[handle.pid.remote()] = actor
        return handle

    def send(self, weights: Weights) -> Any:
        """Bring weights to where actors find them."""
        return self.ray.put(weights)

    def ask(self, actor: int, *request: Any) -> None:
        """Ask an actor for rows."""
        self.asked[self.actors[actor].collect.remote(*request)] = actor

    def answer(self) -> tuple[int, Any] | None:
        """Return which actor has answered what; None if none has yet, and no answer if it has died."""
        ready = self.ray.wait(list(self.asked), timeout=PAUSE)[0] if self.asked else time.sleep(PAUSE)
        if not ready:
            return None
        actor = self.asked.pop(ready[0])
        try:
            answer = self.ray.get(ready[0])
        except self.ray.exceptions.RayActorError:
            self.asked = {ref: other for ref, other in self.asked.items() if other != actor}
            self.seeds[actor] += len(self.seeds)
            self.actors[actor] = self.start(actor)
            return actor, None
        if isinstance(answer, int):
            print(f"actor {actor} is process {answer}", flush=True)
            return None
        return actor, answer

    def close(self) -> None:
        """End all processes that were started."""
        self.ray.shutdown()


class Signals:
    """Remembers the first Ctrl-C or SIGTERM instead of ending the program; ``by`` says which."""

    def __init__(self) -> None:
        self.by = ""
        self.before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.hold()

    def hold(self) -> None:
        """Take the signals, from Ray too, which sets handlers when it starts."""
        for number in self.before:
            signal.signal(number, self)

    def __call__(self, number: int, _: object) -> None:
        """Remember a signal."""
        self.by = self.by or signal.Signals(number).name

    def release(self) -> None:
        """Put back what was there before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
