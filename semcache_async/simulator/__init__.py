"""An OpenAI-compatible upstream without a model: for demonstrations, tests and load."""

from semcache_async.simulator.app import SIMULATOR, Simulator, SimulatorOptions, make_simulator
from semcache_async.simulator.running import simulated

__all__ = ["SIMULATOR", "Simulator", "SimulatorOptions", "make_simulator", "simulated"]
