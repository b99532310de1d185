"""How a simulated upstream is told to behave."""

from __future__ import annotations

from dataclasses import dataclass

from semcache_async.errors import ConfigError
from semcache_async.simulator.apis import APIS
from semcache_async.simulator.faults import NoSuchFaultError, read_faults

__all__ = ["SimulatorOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How the simulated upstream behaves. Raises ``ConfigError`` for nonsense."""

    median_ms: float = 800.0
    """Median time to the first token, lognormal."""
    sigma: float = 0.35
    """Spread of that time: the standard deviation of its logarithm."""
    tokens_per_s: float = 50.0
    """After the first token; 0: all at once."""
    tokens: int = 40
    """How much each answer says beyond the question."""
    seed: int = 0
    fail_rate: float = 0.0
    """Share of the calls that get ``fail_status``."""
    fail_status: int = 500
    faults: str = ""
    """``Faults`` in writing, for requests that name none."""
    models: tuple[str, ...] = ()
    """Those there are; none: any name will do."""
    api_key: str | None = None
    apis: tuple[str, ...] = tuple(APIS)
    """Those it speaks; of others it has no path."""

    def __post_init__(self) -> None:
        ranges = {
            "median_ms": (0.0, 3_600_000.0),
            "sigma": (0.0, 5.0),
            "tokens_per_s": (0.0, 1e9),
            "tokens": (0, 100_000),
            "fail_rate": (0.0, 1.0),
            "fail_status": (400, 599),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be within {least:g} and {most:g}.")
        if strange := set(self.apis) - set(APIS):
            known = ", ".join(APIS)
            raise ConfigError(f"apis: no {', '.join(sorted(strange))} here. There are: {known}.")
        try:
            read_faults(self.faults)
        except NoSuchFaultError as error:
            raise ConfigError(f"faults: {error}") from error
